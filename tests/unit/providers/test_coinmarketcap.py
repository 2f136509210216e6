"""CoinMarketCap: what is asked, in which units, and what is refused before anything is asked."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from streamer.errors import (
    BadInterval,
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    QuotaExhausted,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access, Answer, Get
from streamer.providers.coinmarketcap import CoinMarketCap
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive, ms

ADAPTER = CoinMarketCap(Access(key="k"))
BTC_USD = crypto("BTC", "USD")
NOW_S = CLOCK_MS // 1000


def sound(data: Any) -> Answer:
    """An answer as the provider sends it."""
    return answer(json.dumps({"status": {"error_code": 0, "error_message": None}, "data": data}))


def refused(status: int, code: object, said: str = "no", **headers: str) -> Answer:
    """A refusal as the provider sends it."""
    return answer(json.dumps({"status": {"error_code": code, "error_message": said}}), status, **headers)


def coin(**fields: Any) -> dict[str, Any]:
    """Bitcoin, with these fields."""
    return {"id": 1, "name": "Bitcoin", "symbol": "BTC", **fields}


def hour(at: str, price: str = "100") -> dict[str, Any]:
    """One hour in which the price stood still."""
    values = {name: float(price) for name in ("open", "high", "low", "close")}
    return {"time_open": at, "quote": {"USD": {**values, "volume": 5}}}


def error_of(found: Answer) -> RestError:
    """What the check makes of an answer."""
    with pytest.raises(RestError) as caught:
        ADAPTER.check(found, CLOCK_MS)
    return caught.value


def test_price_is_asked_by_number() -> None:
    """One request by number and currency, one credit."""
    quote = {"USD": {"price": 91322.4, "last_updated": None}}
    asked, price = drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sound({"1": coin(quote=quote)}))
    assert asked == [Get("/v2/cryptocurrency/quotes/latest", {"id": "1", "convert": "USD"})]
    assert (price.price, price.as_of_ms, price.instrument) == (Decimal("91322.4"), None, Instrument.AGGREGATE)


def test_unknown_names_are_refused_before_a_request() -> None:
    """A stock, and a coin that neither we nor the list know, cost nothing."""
    for symbol in (stock("SPY"), crypto("NOSUCH", "USD")):
        with pytest.raises(UnknownSymbol, match=symbol.base):
            next(ADAPTER.price(symbol, CLOCK_MS))


def test_the_list_adds_coins_and_takes_none_away() -> None:
    """A coin of the list is asked for by its number there; one that we know keeps ours."""
    adapter = CoinMarketCap(Access(), [Listed("31469", "BTC"), Listed("24478", "PEPE")])
    assert next(adapter.price(crypto("PEPE", "USD"), CLOCK_MS)).params["id"] == "24478"
    assert next(adapter.price(BTC_USD, CLOCK_MS)).params["id"] == "1"


def test_another_coin_is_not_passed_off() -> None:
    """Where a number stands for another coin, there is no price; nor where the answer lacks the coin."""
    other = {"id": 1, "symbol": "BTX", "quote": {"USD": {"price": 1}}}
    with pytest.raises(MalformedAnswer, match="coin 1 is BTX"):
        drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sound({"1": other}))
    with pytest.raises(UnknownSymbol):
        drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sound({}))


def test_a_price_of_null_is_no_data() -> None:
    """The coin is there and has no price: nothing to count against the provider."""
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sound([coin(quote=[{"symbol": "USD", "price": None}])]))


@pytest.mark.parametrize("body", ["{}", "[]", '{"data": 5}', '{"data": [{"id": 1, "symbol": "BTC"}]}', '{"data": '])
def test_garbage_is_a_malformed_answer(body: str) -> None:
    """Whatever else comes with a 200."""
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), answer(body))


def test_bars_ask_for_one_more_at_either_end() -> None:
    """The start is exclusive, and the open period counts: so it begins a day earlier, and its count has room."""
    span = Span(ms("2026-11-17") // 1000, ms("2026-11-20") // 1000, 10)
    get = next(ADAPTER.bars(BTC_USD, Interval.D1, span, CLOCK_MS))
    assert get == Get(
        "/v2/cryptocurrency/ohlcv/historical",
        {
            "id": "1",
            "convert": "USD",
            "time_period": "daily",
            "interval": "daily",
            "time_start": "2026-11-16T00:00:00Z",
            "time_end": "2026-11-20T00:00:00Z",
            "count": "5",
        },
    )


def test_bars_cost_a_credit_for_a_hundred_points() -> None:
    """Of a long span only its newest part is asked for: credits are counted by points."""
    get = next(ADAPTER.bars(BTC_USD, Interval.H1, Span(0, NOW_S, 300), CLOCK_MS))
    assert (get.params["count"], get.cost) == ("302", 4)
    assert get.params["time_start"] == "2026-11-08T02:00:07Z"


@pytest.mark.parametrize(("interval", "credits"), [(Interval.H1, 5), (Interval.D1, 5), (Interval.H4, 20)])
def test_the_most_bars_are_one_request(interval: Interval, credits: int) -> None:
    """Within the 10,000 points of one, and the 30 credits of a minute; the two that are counted too fit in."""
    to_s = NOW_S // (4 * 3600) * 4 * 3600
    span = Span(to_s - ADAPTER.most_bars(interval) * interval.seconds, to_s, ADAPTER.most_bars(interval))
    get = next(ADAPTER.bars(BTC_USD, interval, span, CLOCK_MS))
    assert (int(get.params["count"]) <= 10_000, get.cost) == (True, credits)


def test_four_hours_are_made_of_hours() -> None:
    """The last one stays open until its last hour has come, whatever the clock says."""
    hours = [hour(f"2026-11-20T{at:02}:00:00.000Z", str(100 + at)) for at in range(4, 11)]
    span = Span(ms("2026-11-20T04:00") // 1000, ms("2026-11-20T12:00") // 1000, 10)
    now_ms = ms("2026-11-20T12:01")
    flow = ADAPTER.bars(BTC_USD, Interval.H4, span, now_ms)
    assert next(flow).params["time_period"] == "hourly"
    with pytest.raises(StopIteration) as done:
        flow.send(sound(coin(quotes=hours)))
    first, second = done.value.value.bars
    assert first == Bar(span.from_s, Decimal("104.0"), Decimal("107.0"), Decimal("104.0"), Decimal("107.0"))
    assert (second.close, second.is_closed) == (Decimal("110.0"), False)


def test_bars_outside_of_the_span_are_cut() -> None:
    """What was asked for to be sure is not handed on; nothing left is no data."""
    span = Span(ms("2026-11-20T13:00") // 1000, ms("2026-11-20T14:00") // 1000, 10)
    hours = [hour(f"2026-11-20T{at}:00:00.000Z") for at in (12, 13, 14)]
    _, series = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, span, CLOCK_MS), sound(coin(quotes=hours)))
    assert [bar.start_s for bar in series.bars] == [span.from_s]
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, span, CLOCK_MS), sound(coin(quotes=[])))


def test_volume_in_money_is_left_out_and_said() -> None:
    """It is of all markets and in the currency asked for: none is better than one in other units."""
    span = Span(ms("2026-11-20T13:00") // 1000, ms("2026-11-20T14:00") // 1000, 10)
    quotes = [hour("2026-11-20T13:00:00.000Z")]
    _, series = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, span, CLOCK_MS), sound(coin(quotes=quotes)))
    assert series.bars[0].volume is None
    assert "volume" in series.note


def test_intervals_it_lacks_are_refused_before_a_request() -> None:
    """It has hours and days."""
    for interval in set(Interval) - ADAPTER.intervals:
        with pytest.raises(BadInterval, match=interval):
            next(ADAPTER.bars(BTC_USD, interval, Span(NOW_S - 600, NOW_S, 10), CLOCK_MS))


def test_listing_is_in_the_order_of_size() -> None:
    """Of two coins with one name the larger comes first, so that it is the one that is meant."""
    rows = [
        {"id": 24478, "symbol": "PEPE", "is_active": 1},
        {"id": 8, "symbol": "pepe", "is_active": 0},
    ]
    asked, found = drive(ADAPTER, ADAPTER.listing(), sound(rows))
    assert asked[0].path == "/v1/cryptocurrency/map"
    assert asked[0].params["sort"] == "cmc_rank"
    assert found == [Listed("24478", "PEPE"), Listed("8", "PEPE", is_active=False)]


def test_a_quota_without_a_number_is_unknown() -> None:
    """Plans without a limit have null there."""
    data = {
        "plan": {"rate_limit_minute": None},
        "usage": {"current_month": {"credits_used": 7, "credits_left": None}},
    }
    _, quota = drive(ADAPTER, ADAPTER.quota(), sound(data))
    assert (quota.per_minute, quota.used, quota.left, quota.reset_ms) == (None, 7, None, None)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (refused(200, "1001"), KeyRefused),
        (refused(200, 1009), QuotaExhausted),
        (refused(400, 400, 'Invalid value for "time_period": "x"'), BadInterval),
        (refused(200, "400", 'Invalid value for "convert": "x"'), UnknownSymbol),
        (refused(200, "418"), RestRefused),
        (refused(200, "busy"), RestUnavailable),
        (refused(401, None), KeyRefused),
        (answer("", 503), RestUnavailable),
        (answer("<html>Attention Required", 403), Maintenance),
        (answer("<html>slow down", 429), RestRateLimited),
        (answer("<!DOCTYPE html>", 200), Maintenance),
        (answer('{"status": {"error_code"', 200), MalformedAnswer),
    ],
)
def test_the_code_counts_before_the_status(found: Answer, kind: type[RestError]) -> None:
    """A code is one in a 200 as well, and as a string; without one the status tells."""
    assert type(error_of(found)) is kind


@pytest.mark.parametrize("code", [0, "0", None, ""])
def test_no_error_in_its_ways_to_say_so(code: object) -> None:
    """All of these have been seen."""
    ADAPTER.check(refused(200, code), CLOCK_MS)


def test_limits_say_when_to_come_again() -> None:
    """By the header; else a minute's limit ends with the minute, a day's at midnight UTC, a month's is not told."""
    assert error_of(refused(429, 1009, retry_after="9")).retry_after_s == 9
    assert error_of(refused(429, 1008)).retry_after_s == pytest.approx(52.877)
    assert error_of(refused(429, 1009)).retry_after_s == pytest.approx(32392.877)
    assert error_of(refused(429, 1010)).retry_after_s is None
