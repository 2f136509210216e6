"""Alpha Vantage: what is asked, which text is which refusal, and times in New York."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from streamer.errors import (
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    NotEntitled,
    QuotaExhausted,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
)
from streamer.providers.adapter import Access, Answer, Get
from streamer.providers.alphavantage import AlphaVantage
from streamer.providers.shape import Interval, Span, Symbol
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive, load, ms

ADAPTER = AlphaVantage(Access(key="k"))
BTC_USD, SPY = crypto("BTC", "USD"), stock("SPY")
NOW_S, DAY_S = CLOCK_MS // 1000, 86_400
BURST = (
    "Please consider spreading out your free API requests more sparingly (1 request per second). You may subscribe"
    " to any of the premium plans to lift the free key rate limit (25 requests per day)"
)
DAILY = (
    "We have detected your API key as SECRET and our standard API rate limit is 25 requests per day. premium plans"
)


def series(*times: str, zone: str = "US/Eastern", name: str = "Time Series (60min)", **meta: str) -> Answer:
    """An answer with rows at these times; in each the price stood still."""
    meta = {"2. Symbol": "SPY", "6. Time Zone": zone} | meta
    row = {f"{at}. {field}": "10" for at, field in enumerate(("open", "high", "low", "close", "volume"), 1)}
    return answer(json.dumps({"Meta Data": meta, name: dict.fromkeys(times, row)}))


def coins(*times: str) -> Answer:
    """The same of Bitcoin."""
    codes = {"2. Digital Currency Code": "BTC", "4. Market Code": "USD"}
    return series(*times, zone="UTC", name="Time Series Crypto (60min)", **codes)


def error_of(found: Answer) -> RestError:
    """What the check makes of an answer."""
    with pytest.raises(RestError) as caught:
        ADAPTER.check(found, CLOCK_MS)
    return caught.value


def said(**texts: str) -> Answer:
    """An answer that is one text."""
    return answer(json.dumps(texts))


def gets(symbol: Any, interval: Interval, span: Span) -> Get:
    """The first request for bars."""
    return next(ADAPTER.bars(symbol, interval, span, CLOCK_MS))


def test_prices_of_stocks_and_coins_are_asked_differently() -> None:
    """One path for all, by function."""
    assert next(ADAPTER.price(SPY, CLOCK_MS)) == Get("/query", {"function": "GLOBAL_QUOTE", "symbol": "SPY"})
    params = {"function": "CURRENCY_EXCHANGE_RATE", "from_currency": "BTC", "to_currency": "USD"}
    assert next(ADAPTER.price(BTC_USD, CLOCK_MS)) == Get("/query", params)


def test_no_request_names_the_key() -> None:
    """Whoever carries the request adds it: nothing that is logged here can have it."""
    assert "k" not in next(ADAPTER.price(SPY, CLOCK_MS)).params.values()


def test_days_of_a_stock_are_free_as_long_as_the_newest_hundred_do() -> None:
    """Only for what is older the whole history is asked, which the plan may not have."""
    newest = Span(0, NOW_S + DAY_S, ADAPTER.max_bars)
    recent = Span(NOW_S - 90 * DAY_S, NOW_S - 30 * DAY_S, ADAPTER.max_bars)
    older = Span(NOW_S - 300 * DAY_S, NOW_S - 200 * DAY_S, ADAPTER.max_bars)
    sizes = [gets(SPY, Interval.D1, span).params["outputsize"] for span in (newest, recent, older)]
    assert sizes == ["compact", "compact", "full"]


def test_days_of_a_coin_are_one_request() -> None:
    """In the currency that is asked for."""
    params = {"function": "DIGITAL_CURRENCY_DAILY", "symbol": "BTC", "market": "EUR"}
    assert gets(crypto("BTC", "EUR"), Interval.D1, Span(0, NOW_S, 10)) == Get("/query", params)


def test_shorter_bars_of_a_stock_are_asked_by_month() -> None:
    """The newest month first, in New York's days, and no older one than it takes."""
    span = Span(ms("2026-10-20") // 1000, ms("2026-11-02T14:30") // 1000, 2)
    flow = ADAPTER.bars(SPY, Interval.H1, span, CLOCK_MS)
    get = next(flow)
    assert get.params == {
        "function": "TIME_SERIES_INTRADAY",
        "symbol": "SPY",
        "adjusted": "false",
        "interval": "60min",
        "outputsize": "full",
        "month": "2026-11",
    }
    assert flow.send(series("2026-11-02 09:00:00", "2026-11-02 16:00:00")).params["month"] == "2026-10"
    with pytest.raises(StopIteration) as done:
        flow.send(series("2026-10-30 19:00:00", "2026-10-30 18:00:00"))
    # Daylight saving ended on 1 November: 19:00 is 23:00 UTC before it, 09:00 is 14:00 UTC after it.
    starts = [ms("2026-10-30T23:00") // 1000, ms("2026-11-02T14:00") // 1000]
    assert [bar.start_s for bar in done.value.value.bars] == starts


def test_a_month_that_is_enough_is_the_last_one() -> None:
    """Each request is one of the day's few."""
    flow = ADAPTER.bars(SPY, Interval.H1, Span(0, NOW_S, 1), CLOCK_MS)
    asked, found = drive(ADAPTER, flow, series("2026-11-19 15:00:00", "2026-11-19 14:00:00"))
    assert (len(asked), len(found.bars)) == (1, 1)


def answered(symbol: Symbol, interval: Interval, piece: tuple[int, int]) -> list[Get]:
    """The requests for all bars of a piece, where each brings too few."""
    from_s, to_s = piece
    flow, asked = ADAPTER.bars(symbol, interval, Span(from_s, to_s, 10**6), CLOCK_MS), []
    found = series("2026-10-14 15:00:00") if symbol is SPY else coins("2026-10-14 15:00:00")
    get = next(flow)
    with suppress(StopIteration, RestError):
        while True:
            asked.append(get)
            get = flow.send(found)
    return asked


@pytest.mark.parametrize("interval", [Interval.M1, Interval.H1, Interval.H4])
@pytest.mark.parametrize("day", ["02", "14", "31"])
def test_a_piece_of_a_range_is_a_month(interval: Interval, day: str) -> None:
    """One request brings a calendar month of a stock, of New York's days: no piece takes two of them."""
    later_s = 4 * 3600  # midnight in New York, in summer time at both ends
    piece = ADAPTER.piece(SPY, interval, ms(f"2026-10-{day}T12:00") // 1000, NOW_S)
    assert piece == (ms("2026-10-01") // 1000 + later_s, ms("2026-11-01") // 1000 + later_s)
    (get,) = answered(SPY, interval, piece)
    assert get.params["month"] == "2026-10"


@pytest.mark.parametrize("interval", Interval)
def test_a_coin_comes_all_at_once(interval: Interval) -> None:
    """No request names a month of it: another one would bring the same bars again."""
    whole = ADAPTER.piece(BTC_USD, interval, ms("2015-01-01") // 1000, NOW_S)
    assert whole == ADAPTER.piece(BTC_USD, interval, NOW_S, NOW_S)
    (get,) = answered(BTC_USD, interval, whole)
    assert "month" not in get.params


def test_days_are_asked_for_all_at_once() -> None:
    """Of a stock by two requests: the newest hundred, which are free, and all before."""
    long_ago_s = ms("2015-01-01") // 1000
    older, newest = (ADAPTER.piece(SPY, Interval.D1, at_s, NOW_S) for at_s in (long_ago_s, NOW_S))
    assert older[1] == newest[0]
    assert 131 * DAY_S <= NOW_S - newest[0] <= 138 * DAY_S
    sizes = [[get.params["outputsize"] for get in answered(SPY, Interval.D1, piece)] for piece in (older, newest)]
    assert sizes == [["full"], ["compact"]]


def test_four_hours_are_made_of_hours() -> None:
    """Those of a coin from one request; the last stays open until its hours are there."""
    hours = [f"2026-11-20 {at:02}:00:00" for at in range(14, 3, -1)]
    span = Span(ms("2026-11-20T04:00") // 1000, NOW_S, 10)
    asked, found = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H4, span, CLOCK_MS), coins(*hours))
    assert asked[0].params["function"] == "CRYPTO_INTRADAY"
    assert asked[0].params["interval"] == "60min"
    assert [(bar.start_s - span.from_s, bar.is_closed) for bar in found.bars] == [
        (0, True),
        (4 * 3600, True),
        (8 * 3600, False),
    ]


@pytest.mark.parametrize("interval", [Interval.M1, Interval.M5, Interval.M15, Interval.M30])
def test_short_bars_have_names_of_their_own(interval: Interval) -> None:
    """1m is 1min, and so on."""
    get = gets(BTC_USD, interval, Span(NOW_S - 3600, NOW_S, 10))
    assert get.params["interval"] == f"{interval.seconds // 60}min"


def test_nothing_in_the_time_is_no_data() -> None:
    """The answer is sound and all of it older."""
    span = Span(NOW_S - 2 * 3600, NOW_S, 10)
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.H1, span, CLOCK_MS), coins("2026-11-01 00:00:00"))


@pytest.mark.parametrize(
    "found",
    [
        series("2026-11-19 15:00:00", zone="Mars"),
        series("2026-11-19 15:00:00", **{"2. Symbol": "QQQ"}),
        series("yesterday"),
        series("2026-11-19T15:00:00+02:00"),
        series("1969-11-19 15:00:00"),
        answer('{"Meta Data": {"2. Symbol": "SPY", "6. Time Zone": "UTC"}}'),
        answer("[]"),
        answer('{"Time Series'),
    ],
)
def test_garbage_is_a_malformed_answer(found: Answer) -> None:
    """Another stock, another zone, times that are none, or nothing of it."""
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.bars(SPY, Interval.H1, Span(NOW_S - DAY_S, NOW_S, 10), CLOCK_MS), found)


def test_another_pair_is_not_passed_off() -> None:
    """A rate of another currency is no answer."""
    flow = ADAPTER.price(crypto("BTC", "EUR"), CLOCK_MS)
    with pytest.raises(MalformedAnswer, match="not of EUR"):
        drive(ADAPTER, flow, load("alphavantage/currency_exchange_rate"))


@pytest.mark.parametrize(
    ("found", "kind", "retry_after_s"),
    [
        (said(Information=BURST), RestRateLimited, 2),
        (said(Information=DAILY), QuotaExhausted, 3600),
        (said(Information="This is a premium endpoint"), NotEntitled, None),
        (said(Note="5 calls per minute and 500 calls per day, see premium"), RestRateLimited, 60),
        (
            said(Information="The *** API key is for *** purposes only. Please claim your free API key"),
            KeyRefused,
            None,
        ),
        (said(Information="something new"), RestRefused, None),
        (answer('{"Information": "This is a premium endpoint"}', 403), NotEntitled, None),
        (answer("{}", 404), RestRefused, None),
        (answer("", 429, retry_after="3"), RestRateLimited, 3),
        (answer("<html>", 502), Maintenance, None),
        (answer("", 500), RestUnavailable, None),
        (answer("<html>"), Maintenance, None),
        (answer("{}"), MalformedAnswer, None),
        (answer("timestamp,open"), MalformedAnswer, None),
    ],
)
def test_texts_are_told_apart_in_their_order(
    found: Answer, kind: type[RestError], retry_after_s: float | None
) -> None:
    """The text about bursts names the day and premium too, that about the day names premium."""
    error = error_of(found)
    assert (type(error), error.retry_after_s) == (kind, retry_after_s)


def test_the_key_in_a_text_is_in_no_error() -> None:
    """The one text that repeats it is not repeated."""
    assert "SECRET" not in str(error_of(said(Information=DAILY)))
