"""The card of other providers: who can be asked, what it has cost, how good the answers were; for everyone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import barriers
from tests.browser.support import Dashboard, complaints_of
from tests.browser.test_accessibility import SIZES

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

from playwright.sync_api import Locator, Page, expect  # after the skip

from tests.browser.test_dashboard import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PATH = "**/api/v1/data/providers"
WINDOW = {"used": 3, "allowed": 10, "length_s": 1.0}


def row(name: str, **changed: Any) -> dict[str, Any]:
    """What the route says of a provider that is well."""
    whole = {"name": name, "title": name.capitalize(), "assets": ["crypto"], "intervals": ["1h"], "calls": 3}
    whole |= {"needs_key": False, "has_key": False, "held": None, "breaker": "closed", "blocked_s": 0.0}
    return whole | {"windows": [WINDOW], "scores": []} | changed


def scored(symbol: str, score: float | None) -> dict[str, Any]:
    """A quality."""
    return {"symbol": symbol, "score": score, "parts": {}}


ODD = "<img src=x onerror=alert(1)> refused"
ROWS = [
    row("coinbase", scores=[scored("BTC-USD", 99.6), scored("ETH-USD", 41.2), scored("SOL-USD", None)]),
    row("binance", held={"kind": "Banned", "why": ODD, "left_s": 340.0}),
    row("coingecko", breaker="open", windows=[WINDOW, {"used": 166, "allowed": 166, "length_s": 86400.0}]),
    row("polygon", needs_key=True, has_key=True, breaker="half-open"),
    row("eodhd", needs_key=True, has_key=True, blocked_s=12.3),
    row("coinmarketcap", windows=[WINDOW | {"used": 10}, {"used": 166, "allowed": 166, "length_s": 86400.0}]),
    row("alphavantage", needs_key=True),
]


def told(page: Page, rows: list[dict[str, Any]]) -> None:
    """Let the server say this of the providers."""
    order = {"crypto": ["coinbase", "binance"], "stock": ["polygon", "eodhd"]}
    body = json.dumps({"providers": rows, "order": order, "by_score": False})
    page.route(PATH, lambda route: route.fulfill(content_type="application/json", body=body))


def line(page: Page, name: str) -> Locator:
    """Return the row of a provider."""
    return page.locator(f'[data-provider="{name}"]')


def test_the_card_says_what_the_service_says(served: Dashboard, page: Page) -> None:
    """A row for each provider; those that need a key and have none say so; the console stays empty."""
    complaints = complaints_of(page)
    opened(page, served)
    rows = served.ask("api/v1/data/providers")["providers"]
    expect(page.locator("#provider-rows tr")).to_have_count(len(rows))
    for one in rows:
        expect(line(page, one["name"])).to_contain_text(one["title"])
        words = "no key" if one["needs_key"] and not one["has_key"] else "can be asked"
        expect(line(page, one["name"])).to_contain_text(words)
        expect(line(page, one["name"]).get_by_role("meter")).to_have_count(len(one["windows"]))
    expect(page.locator("#providers-order")).to_contain_text("pairs: coinbase, binance")
    assert complaints == []


def test_each_state_has_its_words(served: Dashboard, page: Page) -> None:
    """Whoever cannot be asked says why and for how long; a provider's words never become markup."""
    complaints = complaints_of(page)
    told(page, ROWS)
    opened(page, served)
    for name, words in {
        "coinbase": "can be asked",
        "binance": "held for 5 min",
        "coingecko": "breaker open",
        "polygon": "breaker half-open",
        "eodhd": "limited for 12 s",
        "coinmarketcap": "budget used up",
        "alphavantage": "no key",
    }.items():
        expect(line(page, name).locator(".badge")).to_contain_text(words)
    expect(line(page, "binance").locator(".note").first).to_have_text(f"Banned: {ODD}")
    expect(page.locator("#providers-badge")).to_contain_text("1 of 7 can be asked")
    expect(page.locator("#providers img")).to_have_count(0)
    assert complaints == []


def test_scores_and_budgets_are_told(served: Dashboard, page: Page) -> None:
    """The worst and the best score with its symbol; a used up budget; nothing where nothing is known."""
    told(page, ROWS)
    opened(page, served)
    cells = line(page, "coinbase").get_by_role("cell")
    expect(cells.nth(2)).to_have_text("41ETH-USD")
    expect(cells.nth(3)).to_have_text("100BTC-USD")
    expect(cells.nth(4)).to_have_text("3")
    expect(line(page, "binance").get_by_role("cell").nth(2)).to_have_text("–")
    used_up = line(page, "coingecko").get_by_role("meter", name="in 24 h: 166 of 166 calls used")
    expect(used_up).to_have_attribute("data-tone", "bad")
    expect(used_up).to_have_attribute("aria-valuenow", "166")


def test_what_was_last_said_stands_while_redis_is_away(served: Dashboard, page: Page) -> None:
    """A refusal takes no row away; where nothing was ever said there is no card."""
    is_away = True

    def answer(route: Route) -> None:
        if is_away:
            problem = json.dumps({"title": "Redis is unavailable", "status": 503})
            route.fulfill(status=503, content_type="application/problem+json", body=problem)
        else:
            body = json.dumps({"providers": ROWS, "order": {}, "by_score": False})
            route.fulfill(content_type="application/json", body=body)

    page.route(PATH, answer)
    with page.expect_response(PATH):
        opened(page, served)
    expect(page.locator("#providers")).to_be_hidden()
    is_away = False
    expect(page.locator("#provider-rows tr")).to_have_count(len(ROWS), timeout=30_000)
    is_away = True
    with page.expect_response(PATH):
        pass
    expect(page.locator("#provider-rows tr")).to_have_count(len(ROWS))


def test_a_phone_shows_all_of_it_without_sideways_scrolling(served: Dashboard, phone: Page) -> None:
    """Each figure names its column, and nothing is wider than the screen."""
    told(phone, ROWS)
    opened(phone, served)
    expect(line(phone, "coingecko")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    widest = phone.evaluate(
        "Math.max(...[...document.querySelectorAll('#providers *')].filter((e) => !e.closest('thead, caption'))"
        ".map((e) => e.getBoundingClientRect().right)) <= innerWidth"
    )
    assert widest
    label = line(phone, "coinbase").get_by_role("cell").nth(3)
    assert "Best score" in label.evaluate("(e) => getComputedStyle(e, '::before').content")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_barrier_in_any_state(served: Dashboard, browser: Browser, size: str, scheme: str) -> None:
    """All states at once; on a desktop and a phone; light and dark."""
    with browser.new_context(
        viewport=SIZES[size],  # type: ignore[arg-type]
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    ) as context:
        page = context.new_page()
        told(page, ROWS)
        opened(page, served)
        expect(line(page, "alphavantage")).to_be_visible()
        assert barriers(page) == []
