"""EODHD: what is asked and what it costs, ways around a plan, and answers that are no JSON."""

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
    NotEntitled,
    QuotaExhausted,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
)
from streamer.providers.adapter import Access, Answer, Get
from streamer.providers.eodhd import Eodhd
from streamer.providers.shape import Bar, Instrument, Interval, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive, load, ms

ADAPTER = Eodhd(Access(key="k"))
BTC_USD, SPY = crypto("BTC", "USD"), stock("SPY")
NOW_S, DAY_S = CLOCK_MS // 1000, 86_400


def fives(*starts: int, **fields: Any) -> Answer:
    """Five minutes each, in which the price stood still."""
    row = {"open": 10, "high": 10, "low": 10, "close": 10, "volume": 2} | fields
    return answer(json.dumps([{"timestamp": start_s, **row} for start_s in starts]))


def error_of(found: Answer) -> RestError:
    """What the check makes of an answer."""
    with pytest.raises(RestError) as caught:
        ADAPTER.check(found, CLOCK_MS)
    return caught.value


@pytest.mark.parametrize(
    ("symbol", "path"),
    [(BTC_USD, "BTC-USD.CC"), (SPY, "SPY.US"), (stock("BRK.B"), "BRK-B.US")],
)
def test_symbols_name_their_exchange(symbol: Any, path: str) -> None:
    """Coins are of CC, stocks of US; JSON is asked for by name, the default is CSV."""
    assert next(ADAPTER.price(symbol, CLOCK_MS)) == Get(f"/real-time/{path}", {"fmt": "json"})


def test_a_plan_without_live_prices_has_the_last_close() -> None:
    """A refusal of the plan leads to the other endpoint, and the price is labelled as what it is."""
    refused, close = load("eodhd/error_403_free_plan"), load("eodhd/eod_last_close")
    asked, price = drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), refused, close)
    assert asked[1] == Get("/eod/SPY.US", {"filter": "last_close", "fmt": "json"})
    assert (price.price, price.is_live, price.as_of_ms) == (Decimal("666.31"), False, None)


def test_other_refusals_lead_nowhere_else() -> None:
    """A bad key is bad there too: no second call."""
    with pytest.raises(KeyRefused):
        drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), load("eodhd/error_401_unauthenticated"))


@pytest.mark.parametrize("code", ["SPY.US", "SPY"])
def test_a_name_comes_with_and_without_its_exchange(code: str) -> None:
    """Captures have it, the vendor's example has not."""
    found = answer(json.dumps({"code": code, "timestamp": "NA", "close": 667.33}))
    _, price = drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), found)
    assert (price.price, price.as_of_ms) == (Decimal("667.33"), None)


@pytest.mark.parametrize(
    "body",
    [
        '{"code": "QQQ.US", "close": 1}',
        '{"code": "SPY.US", "close": "1e"}',
        '{"code": "SPY.US", "close": 0}',
        "5",
        "[]",
    ],
)
def test_garbage_is_a_malformed_answer(body: str) -> None:
    """Another stock, or what is no price."""
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.price(SPY, CLOCK_MS), answer(body))


def test_days_of_a_stock_are_asked_as_of_new_york() -> None:
    """04:59 UTC in winter is the day before there. One call whatever the length."""
    span = Span(ms("2026-11-17T05:00") // 1000, ms("2026-11-20T05:00") // 1000, 10)
    get = next(ADAPTER.bars(SPY, Interval.D1, span, CLOCK_MS))
    days = {"from": "2026-11-17", "to": "2026-11-19", "period": "d", "order": "a", "fmt": "json"}
    assert get == Get("/eod/SPY.US", days)


def test_days_of_a_coin_are_asked_as_of_utc() -> None:
    """Coins have no exchange's day."""
    span = Span(ms("2026-11-17") // 1000, ms("2026-11-20") // 1000, 10)
    get = next(ADAPTER.bars(BTC_USD, Interval.D1, span, CLOCK_MS))
    assert (get.params["from"], get.params["to"], get.cost) == ("2026-11-17", "2026-11-19", 1)


@pytest.mark.parametrize(
    ("interval", "part"),
    [
        (Interval.M1, "1m"),
        (Interval.M5, "5m"),
        (Interval.M15, "5m"),
        (Interval.M30, "5m"),
        (Interval.H1, "1h"),
        (Interval.H4, "1h"),
    ],
)
def test_shorter_bars_cost_five_calls(interval: Interval, part: str) -> None:
    """Three lengths are its own, the others are made of them."""
    get = next(ADAPTER.bars(SPY, interval, Span(NOW_S - DAY_S, NOW_S, 10), CLOCK_MS))
    assert (get.path, get.params["interval"], get.cost) == ("/intraday/SPY.US", part, 5)


@pytest.mark.parametrize(
    ("interval", "most", "days"),
    [
        (Interval.M1, 25_000, 120),
        (Interval.M5, 25_000, 600),
        (Interval.M15, 8333, 600),
        (Interval.M30, 4166, 600),
        (Interval.H1, 25_000, 7200),
        (Interval.H4, 6250, 7200),
    ],
)
def test_the_most_bars_are_within_what_one_call_spans(interval: Interval, most: int, days: int) -> None:
    """Also those of a stock, with its nights; of bars that are put together they are as many fewer."""
    assert ADAPTER.most_bars(interval) == most
    get = next(ADAPTER.bars(SPY, interval, Span(0, NOW_S, most), CLOCK_MS))
    assert int(get.params["to"]) - int(get.params["from"]) <= days * DAY_S


def test_a_quarter_of_an_hour_is_made_of_fives() -> None:
    """The first is left out where its beginning is missing; the last is open while more may come."""
    start_s = ms("2026-11-20T14:00") // 1000
    found = fives(start_s - 300, *(start_s + at * 300 for at in range(5)))
    span = Span(start_s - 900, NOW_S, 10)
    _, series = drive(ADAPTER, ADAPTER.bars(SPY, Interval.M15, span, CLOCK_MS), found)
    ten = Decimal(10)
    assert series.bars == (
        Bar(start_s, ten, ten, ten, ten, Decimal(6)),
        Bar(start_s + 900, ten, ten, ten, ten, Decimal(4), is_closed=False),
    )
    assert (series.is_live, series.instrument) == (False, Instrument.STOCK)


def test_hours_after_the_close_no_more_will_come() -> None:
    """Where nothing traded after it, the last bar is over three hours later."""
    start_s = ms("2026-11-19T20:30") // 1000
    span = Span(start_s, start_s + 3600, 10)
    for later_s, is_closed in ((3600, False), (4 * 3600, True)):
        flow = ADAPTER.bars(SPY, Interval.M30, span, (start_s + later_s) * 1000)
        next(flow)
        with pytest.raises(StopIteration) as done:
            flow.send(fives(start_s, start_s + 300))
        assert [bar.is_closed for bar in done.value.value.bars] == [is_closed]


def test_rows_without_prices_are_left_out_and_counted() -> None:
    """Nothing is lost in silence."""
    start_s = ms("2026-11-20T14:00") // 1000
    empty, sound = (json.loads(fives(start_s + at, **row).body)[0] for at, row in ((0, {"close": None}), (300, {})))
    found = answer(json.dumps([empty, sound, {"warning": "cut"}]))
    _, series = drive(ADAPTER, ADAPTER.bars(SPY, Interval.M5, Span(start_s, NOW_S, 10), CLOCK_MS), found)
    assert len(series.bars) == 1
    assert series.note == "cut; 1 without prices left out"


def test_a_cut_that_leaves_nothing_says_why() -> None:
    """The free plan has one year: an older time has no data, and the warning is in the error."""
    span = Span(ms("2020-01-01") // 1000, ms("2020-02-01") // 1000, 10)
    with pytest.raises(NoData, match="limited by one year"):
        drive(ADAPTER, ADAPTER.bars(SPY, Interval.D1, span, CLOCK_MS), load("eodhd/eod_free_plan_warning_row"))


@pytest.mark.parametrize(
    ("found", "kind", "why"),
    [
        (answer("Forbidden for this plan", 403), NotEntitled, "Forbidden for this plan"),
        (answer('{"error": "Invalid API key", "code": 403}', 403), KeyRefused, "Invalid API key"),
        (answer("Unauthorized", 403), KeyRefused, "Unauthorized"),
        (answer('{"message": "bad", "errors": {"interval": ["x"]}}', 422), BadInterval, "bad (interval)"),
        (answer("", 418), RestRefused, "HTTP 418"),
        (answer("", 500), RestUnavailable, "HTTP 500"),
        (answer("<html>Attention", 403), Maintenance, "HTTP 403"),
        (answer("<html>no such page", 404), Maintenance, "HTTP 404"),
        (answer("<html>", 429), RestRateLimited, "HTTP 429"),
    ],
)
def test_refusals_are_told_apart_by_status_and_text(found: Answer, kind: type[RestError], why: str) -> None:
    """Plain text, JSON, a page, or nothing."""
    error = error_of(found)
    assert (type(error), error.why) == (kind, why)


def test_the_day_begins_anew_at_midnight() -> None:
    """Used up calls of a day come back at 00:00 UTC, those of a minute with the next."""
    day, minute = error_of(answer("exceeded", 402)), error_of(answer("", 429))
    assert isinstance(day, QuotaExhausted)
    assert day.retry_after_s == pytest.approx(32392.877)
    assert minute.retry_after_s == pytest.approx(52.877)


def test_a_quota_that_is_exceeded_leaves_nothing() -> None:
    """No less than 0; it names neither the user nor the address, which the answer has."""
    facts = {"apiRequests": 25, "dailyRateLimit": 20, "apiRequestsDate": "2026-11-20", "subscriptionMode": "free"}
    asked, quota = drive(ADAPTER, ADAPTER.quota(), answer(json.dumps({"email": "user@example.com"} | facts)))
    assert asked == [Get("/internal-user", {"fmt": "json"})]
    assert (quota.plan, quota.left, quota.reset_ms) == ("free", 0, ms("2026-11-21"))
    assert "example" not in repr(quota)
