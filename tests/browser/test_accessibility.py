"""The page for everyone: no barrier that axe-core calls serious or critical, in any state that it can be in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import barriers
from tests.browser.support import Dashboard, dashboard

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

from playwright.sync_api import Page, expect  # after the skip

from tests.browser.test_dashboard import expect_level, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
ERRORS = [
    {
        "id": f"{number}",
        "error_type": "market_data",
        "code": "feed_silent",
        "subject": f"default.market-{number}",
        "message": f"feed default.market-{number} is silent; it reconnects by itself",
        "timestamp": "2026-09-21T14:13:20.000Z",
        "resolved": number > 0,
        "resolved_at": "2026-09-21T14:14:20.000Z" if number > 0 else None,
    }
    for number in range(3)
]


def told(page: Page, level: str) -> None:
    """Let the server say that it is at this level, with a reason and errors; prices and feeds stay as they are."""

    def status(route: Any) -> None:
        body = route.fetch().json()
        reason = "feed default.market-0 is refused by the exchange: HTTP 403; it goes on trying"
        body |= {"level": level, "reasons": [reason], "codes": ["feed_refused"]}
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    errors = json.dumps({"errors": ERRORS, "unresolved": 1})
    page.route("**/stream-status?quiet=true", status)
    page.route("**/system/errors?*", lambda route: route.fulfill(content_type="application/json", body=errors))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", ["healthy", "degraded", "down"])
def test_no_barrier_at_any_level(served: Dashboard, browser: Browser, level: str, size: str, scheme: str) -> None:
    """Healthy, degraded with errors and down; on a desktop and a phone; light and dark."""
    with browser.new_context(
        viewport=SIZES[size],  # type: ignore[arg-type]
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",  # a colour half-way between two is no colour of the page
    ) as context:
        page = context.new_page()
        if level != "healthy":
            told(page, level)
        opened(page, served)
        expect_level(page, level)
        expect(page.locator("#errors-count")).to_be_visible()
        expect(page.locator("#budgets .bar").first).to_be_visible()
        assert barriers(page) == []


def test_no_barrier_where_the_token_is_asked_for(tmp_path: Path, page: Page) -> None:
    """The form for the token, empty and with a refusal."""
    with dashboard(tmp_path, env={"STREAMER_API_TOKEN": "a-token-for-tests"}) as service:
        opened(page, service)
        expect(page.get_by_label("Token", exact=True)).to_be_visible()
        assert barriers(page) == []
        page.get_by_label("Token", exact=True).fill("a-wrong-token")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#token-answer")).to_contain_text("does not take this token")
        assert barriers(page) == []


def test_axe_would_find_a_barrier(served: Dashboard, page: Page) -> None:
    """Else the tests above could not fail: text that is too pale, and a button without a name."""
    opened(page, served)
    page.evaluate(
        """() => {
          document.getElementById("state-summary").style.color = "#eee";
          document.querySelector("#add button").textContent = "";
        }"""
    )
    found = " ".join(barriers(page))
    assert "color-contrast" in found
    assert "button-name" in found
