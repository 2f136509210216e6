"""Polygon: ways around a plan, pages, and what its limits count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamer.errors import (
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    NotEntitled,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access, Answer, Get
from streamer.providers.polygon import Polygon
from streamer.providers.polygon_answers import CLOSE_NOTE, FINISHED_NOTE, LATE_NOTE
from streamer.providers.shape import Instrument, Interval, Listed, Span, Symbol
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive, load, ms

ADAPTER = Polygon(Access(key="k"))
BTC_USD, SPY = crypto("BTC", "USD"), stock("SPY")
NOW_S = CLOCK_MS // 1000
HOUR_S = NOW_S // 3600 * 3600
DAY = Span(HOUR_S - 86_400, HOUR_S + 3600, 24)
PAST = Span(HOUR_S - 10 * 86_400, HOUR_S - 5 * 86_400, 24)


def page(*starts: int, following: str | None = None, status: str = "OK", ticker: str = "X:BTCUSD") -> Answer:
    """One page of bars in which the price stood still."""
    results = [{"t": start * 1000, "o": 1, "h": 1, "l": 1, "c": 1, "v": 1.5} for start in starts]
    body: dict[str, Any] = {"ticker": ticker, "status": status, "results": results}
    return answer(json.dumps(body | ({"next_url": following} if following else {})))


def test_a_coin_is_asked_by_its_two_names() -> None:
    """The last trade over the exchanges, live."""
    asked, price = drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), load("polygon/last_crypto_btc_usd"))
    assert asked == [Get("/v1/last/crypto/BTC/USD")]
    assert (price.instrument, price.is_live, price.note) == (Instrument.AGGREGATE, True, "")


@pytest.mark.parametrize(
    ("symbol", "first"), [(SPY, "/v2/last/trade/SPY"), (stock("BRK.B"), "/v2/last/trade/BRK.B")]
)
def test_a_plan_without_trades_has_the_last_close(symbol: Symbol, first: str) -> None:
    """What the plan refuses is asked for elsewhere, and is labelled as what it is."""
    close = json.loads(load("polygon/prev_close_spy").body) | {"ticker": symbol.base}
    answers = load("polygon/error_403_not_entitled"), answer(json.dumps(close))
    asked, price = drive(ADAPTER, ADAPTER.price(symbol, CLOCK_MS), *answers)
    assert asked == [Get(first), Get(f"/v2/aggs/ticker/{symbol.base}/prev", {"adjusted": "true"})]
    assert (price.is_live, price.note, price.instrument) == (False, CLOSE_NOTE, Instrument.STOCK)


def test_a_close_that_is_not_there_is_no_data() -> None:
    """The second way may have nothing, or be refused as well."""
    refusal = load("polygon/error_403_not_entitled")
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), refusal, load("polygon/aggs_empty"))
    with pytest.raises(NotEntitled):
        drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), refusal, refusal)


@pytest.mark.parametrize("name", ["error_429", "error_401_unknown_key", "error_404_not_found"])
def test_other_refusals_are_not_asked_twice(name: str) -> None:
    """Only what the plan lacks is looked for elsewhere."""
    with pytest.raises((RestRateLimited, KeyRefused, UnknownSymbol)):
        drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), load(f"polygon/{name}"))


def test_the_price_of_another_symbol_is_none() -> None:
    """An answer of another symbol than asked is malformed, for prices and bars."""
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.price(crypto("ETH", "USD"), CLOCK_MS), load("polygon/last_crypto_btc_usd"))
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.bars(SPY, Interval.H1, DAY, CLOCK_MS), page(HOUR_S))


def test_usdt_is_not_asked_for() -> None:
    """No pair in USDT is known; once the list is read it decides instead."""
    with pytest.raises(UnknownSymbol):
        next(ADAPTER.price(crypto("BTC", "USDT"), CLOCK_MS))
    adapter = Polygon(
        Access(key="k"), [Listed("X:BTCUSDT", "BTC", "USDT"), Listed("X:OLDUSD", "OLD", is_active=False)]
    )
    assert next(adapter.price(crypto("BTC", "USDT"), CLOCK_MS)).path == "/v1/last/crypto/BTC/USDT"
    assert next(adapter.price(SPY, CLOCK_MS)).path == "/v2/last/trade/SPY"
    for symbol in (BTC_USD, crypto("OLD", "USD"), crypto("BTCU", "SDT")):
        with pytest.raises(UnknownSymbol):
            next(adapter.price(symbol, CLOCK_MS))


@pytest.mark.parametrize(
    ("interval", "unit", "limit"),
    [
        ("1m", "1/minute", 25),
        ("30m", "30/minute", 750),
        ("1h", "1/hour", 1500),
        ("4h", "4/hour", 6000),
        ("1d", "1/day", 25),
    ],
)
def test_the_limit_counts_minutes_or_days(interval: str, unit: str, limit: int) -> None:
    """For 24 bars, and one that may be cut: so many minutes or days; the newest come first."""
    get = next(ADAPTER.bars(BTC_USD, Interval(interval), DAY, CLOCK_MS))
    path = f"/v2/aggs/ticker/X:BTCUSD/range/{unit}/{DAY.from_s * 1000}/{DAY.to_s * 1000 - 1}"
    assert get == Get(path, {"adjusted": "true", "sort": "desc", "limit": str(limit)})


def test_no_more_is_asked_for_than_a_call_may_count() -> None:
    """50,000 minutes are the most of one call."""
    get = next(ADAPTER.bars(BTC_USD, Interval.H4, Span(0, NOW_S, 800), CLOCK_MS))
    assert get.params["limit"] == "50000"


@pytest.mark.parametrize(
    ("interval", "most", "counted"),
    [
        (Interval.M1, 50_000, 1),
        (Interval.M5, 10_000, 5),
        (Interval.M15, 3333, 15),
        (Interval.M30, 1666, 30),
        (Interval.H1, 833, 60),
        (Interval.H4, 208, 240),
        (Interval.D1, 50_000, 1),
    ],
)
def test_the_most_bars_are_one_page(interval: Interval, most: int, counted: int) -> None:
    """As many as 50,000 minutes, or days, make; `limit` has room for them."""
    assert ADAPTER.most_bars(interval) == most
    get = next(ADAPTER.bars(BTC_USD, interval, Span(0, NOW_S, most), CLOCK_MS))
    assert most * counted <= int(get.params["limit"]) <= 50_000


@pytest.mark.parametrize(("symbol", "most"), [(BTC_USD, 5000), (SPY, 10_000)])
def test_a_piece_is_as_long_as_is_good_to_keep(symbol: Symbol, most: int) -> None:
    """5,000 minutes of what always trades, twice as many of what trades by day."""
    from_s, to_s = ADAPTER.piece(symbol, Interval.M1, NOW_S, NOW_S)
    assert to_s - from_s == most * 60


@pytest.mark.parametrize("at_s", range(NOW_S, NOW_S + 90 * 86_400, 10 * 86_400))
def test_no_piece_goes_back_further_than_every_plan(at_s: int) -> None:
    """Of two years the newest 23 months at least are asked for apart: what begins earlier is refused as a whole."""
    from_s, _ = ADAPTER.piece(SPY, Interval.D1, at_s - 86_400, at_s)
    assert 700 * 86_400 <= at_s - from_s <= 730 * 86_400
    assert ADAPTER.piece(SPY, Interval.D1, from_s - 1, at_s)[1] == from_s


def test_pages_are_followed_to_our_own_host() -> None:
    """A link has no key, so its path and cursor are asked for as any other; then there are enough."""
    link = "https://api.massive.com/v2/aggs/ticker/X:BTCUSD/range/1/hour/1/2?cursor=a%2Bb%3D&sort=desc"
    span = Span(HOUR_S - 86_400, HOUR_S + 3600, 3)
    pages = page(HOUR_S, HOUR_S - 3600, following=link), page(HOUR_S - 7200, HOUR_S - 10_800, following=link)
    asked, series = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, span, CLOCK_MS), *pages)
    path = "/v2/aggs/ticker/X:BTCUSD/range/1/hour/1/2"
    assert asked[1] == Get(path, {"cursor": "a+b=", "sort": "desc"})
    assert [bar.start_s for bar in series.bars] == [HOUR_S - 7200, HOUR_S - 3600, HOUR_S]
    assert [bar.is_closed for bar in series.bars] == [True, True, False]


def test_a_link_below_the_path_of_a_gateway_is_asked_below_it() -> None:
    """Where the configured address has a path, a link has it too, and it is not doubled."""
    adapter = Polygon(Access("http://127.0.0.1:9/polygon/", "k"))
    first = page(HOUR_S, following="http://127.0.0.1:9/polygon/v2/aggs/next?cursor=c")
    asked, _ = drive(adapter, adapter.bars(BTC_USD, Interval.H1, DAY, CLOCK_MS), first, page(HOUR_S - 3600))
    assert asked[1] == Get("/v2/aggs/next", {"cursor": "c"})


@pytest.mark.parametrize(
    "link",
    ["https://evil.example/v2/aggs?cursor=c", "https://api.massive.com@evil.example/v2", "//evil/", "/v2", 7, []],
)
def test_a_link_to_elsewhere_is_malformed(link: object) -> None:
    """The key is not sent to a host that an answer names."""
    body = json.loads(page(HOUR_S).body) | {"next_url": link}
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, DAY, CLOCK_MS), answer(json.dumps(body)))


def test_pages_end() -> None:
    """An empty page is the last one, whatever its link; and no list is endless."""
    link = "https://api.polygon.io/v2/aggs?cursor=c"
    pages = page(HOUR_S, following=link), page(following=link)
    assert len(drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, DAY, CLOCK_MS), *pages)[0]) == 2
    row = {"ticker": "X:BTCUSD", "market": "crypto", "active": True}
    row |= {"base_currency_symbol": "BTC", "currency_symbol": "USD"}
    endless = answer(json.dumps({"results": [row] * 1000, "next_url": link}))
    with pytest.raises(MalformedAnswer, match="more than"):
        drive(ADAPTER, ADAPTER.listing(), *[endless] * 30)


def test_the_list_of_coins_is_read_page_by_page() -> None:
    """The sample's link leads to a second page, here an empty one."""
    asked, listed = drive(ADAPTER, ADAPTER.listing(), load("polygon/reference_tickers_crypto"), answer("{}"))
    assert asked == [
        Get("/v3/reference/tickers", {"market": "crypto", "limit": "1000"}),
        Get("/v3/reference/tickers", {"cursor": "c2FtcGxlLWN1cnNvcg"}),
    ]
    assert [entry.id for entry in listed] == ["X:BTCUSD", "X:ETHUSD"]


def test_bars_before_the_span_are_cut_off() -> None:
    """Spans are stretched to whole bars by the provider: those before are no answer."""
    found = page(HOUR_S, DAY.from_s - 3600)
    series = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, DAY, CLOCK_MS), found)[1]
    assert [bar.start_s for bar in series.bars] == [HOUR_S]


def test_bars_that_come_late_are_labelled() -> None:
    """One late page makes the series late."""
    link = "https://api.massive.com/next"
    pages = page(HOUR_S, following=link), page(HOUR_S - 3600, status="DELAYED")
    series = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, DAY, CLOCK_MS), *pages)[1]
    assert (series.is_live, series.note) == (False, LATE_NOTE)


def test_a_plan_without_today_has_the_days_before() -> None:
    """What is refused with today in it is asked for until midnight, of stocks in New York, and is labelled."""
    midnight_s = ms("2026-11-20T05:00") // 1000
    span = Span(midnight_s - 3 * 86_400, NOW_S, 10)
    days = page(midnight_s - 86_400, ticker="SPY")
    refusal = load("polygon/error_403_timeframe")
    asked, series = drive(ADAPTER, ADAPTER.bars(SPY, Interval.D1, span, CLOCK_MS), refusal, days)
    assert [get.path.rpartition("/")[2] for get in asked] == [f"{NOW_S * 1000 - 1}", f"{midnight_s * 1000 - 1}"]
    assert (len(series.bars), series.is_live, series.note) == (1, False, FINISHED_NOTE)


def test_a_plan_that_is_known_to_be_free_is_not_asked_for_today() -> None:
    """It has five calls a minute: none is spent on a refusal that is certain."""
    free = Polygon(Access(key="k", plan="Free"))
    midnight_s = ms("2026-11-20") // 1000
    span = Span(midnight_s - 86_400, NOW_S, 10)
    asked, series = drive(free, free.bars(BTC_USD, Interval.H1, span, CLOCK_MS), page(midnight_s - 3600))
    assert [get.path.rpartition("/")[2] for get in asked] == [f"{midnight_s * 1000 - 1}"]
    assert (len(series.bars), series.is_live) == (1, False)


def test_days_that_the_plan_has_not_are_asked_for_once() -> None:
    """Where today is not in the span, or is all of it, there is no other way."""
    midnight_s = ms("2026-11-20") // 1000
    for span in (Span(0, midnight_s, 10), Span(midnight_s, NOW_S, 10)):
        with pytest.raises(NotEntitled):
            drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, span, CLOCK_MS), load("polygon/error_403_timeframe"))


@pytest.mark.parametrize("results", [None, [], "missing"])
def test_nothing_found_is_no_data(results: object) -> None:
    """Results may be missing, null or empty."""
    body = {"ticker": "X:BTCUSD", "status": "OK"} | ({} if results == "missing" else {"results": results})
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, DAY, CLOCK_MS), answer(json.dumps(body)))


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (
            answer('{"status": "ERROR", "error": "You\'ve exceeded the maximum requests per minute"}'),
            RestRateLimited,
        ),
        (answer('{"status": "NOT_AUTHORIZED", "message": "no"}'), NotEntitled),
        (answer('{"status": "ERROR", "error": "some other"}'), RestRefused),
        (answer("", 502), RestUnavailable),
        (answer("<html>", 502, content_type="text/html"), Maintenance),
        (answer("<html>", 200, content_type="text/html"), Maintenance),
        (answer('{"status": {"a": 1}}'), MalformedAnswer),
    ],
)
def test_a_refusal_is_told_by_its_word_too(found: Answer, kind: type[RestError]) -> None:
    """An answer of HTTP 200 may refuse; the class is the same as with the status."""
    with pytest.raises(RestError) as caught:
        drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, PAST, CLOCK_MS), found)
    assert type(caught.value) is kind


def test_a_wait_is_told_only_where_the_provider_tells() -> None:
    """No header is documented; one that comes is heeded."""
    with pytest.raises(RestRateLimited) as caught:
        ADAPTER.check(answer("", 429, retry_after="12"), CLOCK_MS)
    assert caught.value.retry_after_s == 12


@pytest.mark.parametrize("plan", ["free", "Basic"])
def test_the_free_plan_is_not_asked_for_trades(plan: str) -> None:
    """It has none, and five calls a minute."""
    flow = Polygon(Access(key="k" * 8, plan=plan)).price(SPY, CLOCK_MS)
    assert next(flow).path == "/v2/aggs/ticker/SPY/prev"
