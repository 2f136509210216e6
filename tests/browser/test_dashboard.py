"""The dashboard as a person meets it: a real browser before a real service on a simulated exchange."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.support import Dashboard, complaints_of, dashboard, visitor, worlds
from tests.support import PATIENCE, Simulator

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

from playwright.sync_api import Locator, Page, expect  # after the skip

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

FRESH_MS = 10_000 * PATIENCE
FAULT_MS = 30_000 * PATIENCE
TOKEN = "a-token-for-tests"

expect.set_options(timeout=FRESH_MS)


def opened(page: Page, service: Dashboard) -> Page:
    """Open the page and wait for the first prices."""
    page.goto(service.url)
    expect(row(page, "BTC-USD")).to_contain_text("realtime")
    return page


def row(page: Page, product_id: str) -> Locator:
    """Return the row of a product."""
    return page.locator(f'[data-product="{product_id}"]')


def expect_level(page: Page, level: str, timeout_ms: float = FRESH_MS) -> None:
    """The state has a level, in its look, its word and the title of the tab."""
    expect(page.locator("#state")).to_have_attribute("data-level", level, timeout=timeout_ms)
    words = {"lost": "Server lost"}
    expect(page.get_by_role("heading", level=1)).to_have_text(words.get(level, level.capitalize()))
    assert words.get(level, level.capitalize()) in page.title()


def test_prices_move_and_nothing_complains(served: Dashboard, page: Page) -> None:
    """Prices change by themselves, each with tier, source and age, and the console stays empty."""
    complaints = complaints_of(page)
    opened(page, served)
    expect_level(page, "healthy")
    for product_id in ("BTC-USD", "ETH-USD"):
        price = row(page, product_id).locator(".price")
        for _ in range(3):
            expect(price).not_to_have_text(price.inner_text())
        expect(row(page, product_id).locator(".badges")).to_contain_text("realtime")
        expect(row(page, product_id).locator(".badges")).to_contain_text("simulator")
        expect(row(page, product_id).locator("td.age")).to_contain_text(" s")
    expect(row(page, "BTC-USD").locator(".spark path")).to_have_attribute("d", re.compile("^M.+[LH]"))
    assert complaints == []


def test_a_person_sees_within_two_seconds_whether_all_is_well(served: Dashboard, page: Page) -> None:
    """The word is there two seconds after the page was asked for."""
    page.goto(served.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Healthy", timeout=2000 * PATIENCE)


def test_simulated_data_says_so(served: Dashboard, page: Page) -> None:
    """A banner says that prices are made up."""
    opened(page, served)
    expect(page.locator("#banner-simulated")).to_be_visible()
    expect(page.locator("#banner-simulated")).to_contain_text("Simulated data")
    expect(page.locator("#banner-lost")).to_be_hidden()


def test_a_product_is_added_removed_and_brought_back(served: Dashboard, page: Page, phone: Page) -> None:
    """What one page adds and removes is streamed or not, and another page shows the same soon after."""
    complaints = complaints_of(page)
    opened(page, served), opened(phone, served)
    page.get_by_label("Add a product").fill("doge-usd")
    page.keyboard.press("Enter")
    expect(page.locator("#add-answer")).to_contain_text("Streaming started for 1 product.")
    for one in (page, phone):
        expect(row(one, "DOGE-USD").locator(".badges")).to_contain_text("realtime")
    page.get_by_role("button", name="Remove DOGE-USD").click()
    expect(row(page, "DOGE-USD")).to_have_count(0)
    expect(page.get_by_role("button", name="Remove ETH-USD")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(row(page, "DOGE-USD").locator(".badges")).to_contain_text("realtime")
    page.get_by_role("button", name="Remove DOGE-USD").click()
    expect(row(page, "DOGE-USD")).to_have_count(0)
    expect(row(phone, "DOGE-USD")).to_have_count(0)
    expect(page.locator("#figure-products")).to_have_text("2 of 2")
    assert complaints == []


def test_what_is_no_product_is_refused_in_words(served: Dashboard, page: Page) -> None:
    """A wrong id is told at once, an unknown one with the names that look like it; nothing is added."""
    opened(page, served)
    field, answer = page.get_by_label("Add a product"), page.locator("#add-answer")
    for text, said in (
        ("", "Enter a product"),
        ("BTC/USD", "is no product id"),
        ("BTC-USD", "in the table already"),
        ("SOLL-USD", "did you mean SOL-USD"),
    ):
        field.fill(text)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(answer).to_contain_text(said)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_be_focused()
    expect(page.locator("#product-rows tr")).to_have_count(2)


def test_a_phone_needs_no_sideways_scrolling(served: Dashboard, phone: Page) -> None:
    """At 360 px everything fits, also what is long."""
    opened(phone, served)
    expect(phone.locator("#balance-rows tr").first).to_be_visible()
    expect(phone.locator("#budgets .bar").first).to_be_visible()
    phone.get_by_label("Add a product").fill("SOL-USDSOL-USDSOL-USDSOL-USDSOLX")
    phone.keyboard.press("Enter")
    expect(phone.locator("#add-answer")).to_contain_text("no product")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    for button in phone.get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or box["height"] >= 36, f"{button} is hard to hit"


def test_the_keyboard_reaches_everything(served: Dashboard, page: Page) -> None:
    """Tab leads from the skip link to the form and the buttons of each row, and shows where it is."""
    opened(page, served)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the products")).to_be_focused()
    page.keyboard.press("Enter")
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        focused = page.locator(":focus-visible")
        assert focused.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        order.append(focused.get_attribute("aria-label") or focused.get_attribute("id") or focused.inner_text())
    assert order == ["add-id", "Add", "Remove BTC-USD", "Remove ETH-USD"]


def test_balances_and_rest_are_shown(served: Dashboard, page: Page) -> None:
    """Balances, budgets and the breaker are there without being asked for."""
    opened(page, served)
    expect(page.locator("#balance-rows")).to_contain_text("USD")
    expect(page.locator("#budgets").get_by_role("meter").first).to_be_visible()
    expect(page.locator("#breaker")).to_contain_text("breaker closed")
    expect(page.locator("#feed-rows")).to_contain_text("ticker")
    expect(page.locator("#token-form")).to_be_hidden()


def test_what_the_server_says_is_never_markup(served: Dashboard, page: Page) -> None:
    """A reason with tags in it is shown as the text that it is."""
    evil = "<img src=x onerror=alert(1)><b>bold</b>"

    def answer(route: Route) -> None:
        body = {"level": "degraded", "reasons": [evil], "codes": [evil], "summary": evil, "now_ms": 0}
        body["status"] = None
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    page.route("**/stream-status?quiet=true", answer)
    page.goto(served.url)
    expect(page.locator("#state-reasons li")).to_have_text(evil)
    expect(page.locator("#state img, #state b")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_still_where_motion_is_not_wanted(served: Dashboard, browser: Browser, scheme: str) -> None:
    """With reduced motion prices change without a flash, in either colour scheme."""
    dark = scheme == "dark"
    with browser.new_context(reduced_motion="reduce", color_scheme="dark" if dark else "light") as context:
        page = opened(context.new_page(), served)
        price = row(page, "BTC-USD").locator(".price")
        expect(price).not_to_have_text(price.inner_text())
        assert page.evaluate("document.getAnimations().length") == 0


def test_errors_are_told_the_open_ones_first(served: Dashboard, page: Page) -> None:
    """What is open comes first, with what to do and since when; what is over says how long it lasted."""
    opened(page, served)
    expect(page.locator("#errors-empty")).to_have_text("No errors.")

    def error(name: str, began: str, ended: str | None) -> dict[str, object]:
        message = f"{name} is wrong; mend {name}; then look again"
        told = {"id": name, "error_type": "store", "code": name, "subject": "", "message": message}
        return told | {"timestamp": began, "resolved": ended is not None, "resolved_at": ended}

    old = error("old", "2026-01-01T10:00:00.000Z", None)
    over = [error(f"{n}", f"2026-01-02T10:00:{n}.000Z", f"2026-01-02T10:01:{n}.000Z") for n in range(40, 20, -1)]

    def answer(route: Route) -> None:
        errors = [old] if "resolved=false" in route.request.url else over
        route.fulfill(content_type="application/json", body=json.dumps({"errors": errors, "unresolved": 1}))

    page.route("**/system/errors?*", answer)
    rows = page.locator("#error-rows li")
    expect(rows).to_have_count(20)
    expect(rows.first).to_contain_text("Old is wrong")
    expect(rows.first.locator(".advice")).to_have_text("Mend old; then look again")
    expect(rows.first.locator("time")).to_have_attribute("datetime", "2026-01-01T10:00:00.000Z")
    expect(rows.first.locator("time")).to_contain_text("for ")
    expect(rows.nth(1)).to_contain_text("resolved")
    expect(rows.nth(1).locator("time")).to_contain_text("lasted 60 s")
    expect(rows.nth(1).locator(".advice")).to_be_hidden()
    expect(page.locator("#errors-count")).to_contain_text("1 open")
    expect(page.locator("#figure-errors")).to_have_text("1")


def test_who_has_moved_over_is_told_where_somebody_has(served: Dashboard, page: Page) -> None:
    """Nothing is said of it where nobody uses the compatible client."""
    opened(page, served)
    card = page.locator("#migration")
    expect(card).to_be_hidden()
    apart = {"compared": 41, "mean_difference_bp": 0.3, "max_difference_bp": 2.1}
    caller = {"last_way": "direct", "last_seen_s": 1.0, "requests": 1234}
    stats = {
        "flags": {"USE_COORDINATED_API_CALLS": True, "COORDINATED_BOT_IDS": "bot-1"},
        "progress": {"migrated": 1, "total": 2, "percentage": 50.0},
        "callers": [caller | {"caller": f"bot-{n}", "is_coordinated": n == 1} for n in (1, 2)],
        "requests_last_hour": {"served": {"product": 990, "accounts": 10}, "direct": {"product": 7}},
        "comparison": {"price": apart, "bid_ask": apart, "balance": {"compared": 0, "different": 0}},
    }
    page.route("**/migration/stats", lambda route: route.fulfill(json=stats))
    expect(card).to_be_visible(timeout=15_000 * PATIENCE)
    expect(page.locator("#migration-badge")).to_contain_text("50 % moved")
    expect(page.locator("#migration-summary")).to_contain_text("1 of 2 callers coordinated.")
    expect(page.locator("#migration-summary")).to_contain_text("1,000 answered without REST, 7 sent straight")
    expect(page.locator("#migration-compared")).to_have_text(
        "Compared with REST: 41 prices, 0.3 bp apart, at most 2.1."
    )
    expect(page.locator("#migration-rows tr")).to_have_count(2)


@worlds.test
def test_a_status_that_no_longer_comes_is_not_believed(folder: Path) -> None:
    """When prices come but the status does not, the page stops saying that all is well."""
    with dashboard(folder) as service, visitor() as page:
        opened(page, service)
        expect_level(page, "healthy")
        page.route("**/stream-status?quiet=true", lambda route: route.abort())
        expect_level(page, "unknown", FAULT_MS)
        page.unroute("**/stream-status?quiet=true")
        expect_level(page, "healthy")


@worlds.test
def test_a_frozen_exchange_is_seen_and_its_return_too(folder: Path) -> None:
    """When the exchange freezes the page says so and calls prices stale; when it is back, all is healthy again."""
    with dashboard(folder) as service, visitor() as page:
        opened(page, service)
        expect_level(page, "healthy")
        with service.frozen_exchange():
            expect_level(page, "down", FAULT_MS)
            expect(page.locator("#state-reasons")).to_contain_text("Feed")
            expect(page.locator("#banner-stale")).to_contain_text("stale", timeout=FAULT_MS)
            expect(row(page, "BTC-USD").locator(".badges")).to_contain_text("stale")
        expect_level(page, "healthy", FAULT_MS)
        expect(page.locator("#banner-stale")).to_be_hidden()
        expect(row(page, "BTC-USD").locator(".badges")).to_contain_text("realtime")


@worlds.test
def test_half_an_outage_is_degraded(folder: Path) -> None:
    """When one connection falls silent the page says degraded and which one, until it is back."""
    with (
        Simulator(folder, products=10, rate=60) as simulator,
        dashboard(folder, simulator=simulator) as service,
        visitor() as page,
    ):
        opened(page, service)
        expect_level(page, "healthy")
        connection = service_connection(page, "candles")
        simulator.fault("silence", connection=connection)
        simulator.fault("refuse_upgrade")
        expect_level(page, "degraded", FAULT_MS)
        expect(page.locator("#state-reasons")).to_contain_text("candles")
        expect(row(page, "BTC-USD").locator(".badges")).to_contain_text("realtime")
        simulator.tell({"heal": True})
        expect_level(page, "healthy", FAULT_MS)


def service_connection(page: Page, channel: str) -> int:
    """Return the number of a channel's connection."""
    status = page.request.get(f"{page.url}api/v1/ws/stream-status").json()["status"]
    [number] = [feed["connection"] for feed in status["feeds"] if feed["channel"] == channel]
    return int(number)


@worlds.test
def test_a_lost_server_is_told_and_found_again(folder: Path) -> None:
    """When the server is gone the page says so and greys prices out; when it is back, so is the page."""
    with dashboard(folder) as service, visitor() as page:
        opened(page, service)
        service.stop()
        expect_level(page, "lost", 15_000 * PATIENCE)
        expect(page.locator("#banner-lost")).to_contain_text("has not been heard for")
        expect(page.locator("table.products")).to_have_class("products old")
        service.start()
        expect_level(page, "healthy", FAULT_MS)
        expect(page.locator("#banner-lost")).to_be_hidden()
        expect(page.locator("table.products")).to_have_class("products")
        expect(row(page, "BTC-USD").locator(".badges")).to_contain_text("realtime")


@worlds.test
def test_the_token_is_asked_for_and_kept_in_the_tab_only(folder: Path) -> None:
    """Where a token is set, balances and changes need it; a wrong one is told, the right one stays in the tab."""
    with dashboard(folder, env={"STREAMER_API_TOKEN": TOKEN}) as service, visitor() as page:
        opened(page, service)
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_visible()
        expect(page.locator("#balance-rows tr")).to_have_count(0)
        field.fill("a-wrong-token")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#token-answer")).to_contain_text("does not take this token")
        page.get_by_label("Add a product").fill("SOL-USD")
        page.keyboard.press("Enter")
        expect(page.locator("#add-answer")).to_contain_text("need the token")
        expect(field).to_be_focused()
        field.fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#balance-rows")).to_contain_text("USD")
        expect(field).to_be_hidden()
        page.get_by_role("button", name="Add", exact=True).click()
        expect(row(page, "SOL-USD").locator(".badges")).to_contain_text("realtime")
        kept = page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie]")
        assert kept == [[TOKEN], 0, ""]
        page.get_by_role("button", name="Forget the token").click()
        expect(field).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
