"""CoinGecko: two hosts, ids that are not symbols, prices in USDT worked out, and candles that bear their end."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from streamer.errors import (
    BadInterval,
    Banned,
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
from streamer.providers.coingecko import CoinGecko
from streamer.providers.coingecko_answers import KNOWN
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Span, Symbol
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive, load

FREE = CoinGecko(Access())
PRO = CoinGecko(Access(key="k", plan="Analyst"))
BTC_USD, BTC_USDT = crypto("BTC", "USD"), crypto("BTC", "USDT")
NOW_S = CLOCK_MS // 1000
HOUR_S, DAY_S = 3600, 86_400
TODAY_S = NOW_S // DAY_S * DAY_S


def candles(*rows: tuple[int, int, int, int, int]) -> Answer:
    """Candles by their ends."""
    return answer(json.dumps([[end_s * 1000, *values] for end_s, *values in rows]))


def priced(**coins: dict[str, object]) -> Answer:
    """Prices of just now."""
    return answer(json.dumps({coin: {"last_updated_at": NOW_S - 20} | facts for coin, facts in coins.items()}))


def asked_for(adapter: CoinGecko, interval: Interval, span: Span) -> Get:
    """The one request of bars."""
    return next(adapter.bars(BTC_USD, interval, span, CLOCK_MS))


@pytest.mark.parametrize("plan", ["analyst", "Pro", " ENTERPRISE", "lite"])
def test_a_paid_plan_has_its_own_host_and_header(plan: str) -> None:
    """A key of one plan is refused by the host of the other."""
    paid = CoinGecko(Access(key="k", plan=plan))
    assert (paid.base_url, paid.key_header) == ("https://pro-api.coingecko.com/api/v3", "x-cg-pro-api-key")


@pytest.mark.parametrize("plan", ["", "demo", "free", "something"])
def test_any_other_plan_is_the_demo_one(plan: str) -> None:
    """And it works without a key; a paid one beside it changes nothing."""
    other = CoinGecko(Access(plan=plan))
    assert (other.base_url, other.key_header) == ("https://api.coingecko.com/api/v3", "x-cg-demo-api-key")
    assert not other.needs_key


def test_a_price_in_usd_is_asked_by_id() -> None:
    """With its time and all its digits."""
    asked, price = drive(FREE, FREE.price(BTC_USD, CLOCK_MS), load("coingecko/simple_price"))
    params = {"ids": "bitcoin", "vs_currencies": "usd", "include_last_updated_at": "true", "precision": "full"}
    assert asked == [Get("/simple/price", params)]
    assert (price.price, price.instrument, price.note) == (Decimal(91318), Instrument.AGGREGATE, "")


def test_a_price_in_usdt_is_worked_out_of_two() -> None:
    """One call for both prices; the result says what it is, and is as old as the older of them."""
    found = priced(bitcoin={"usd": 90000}, tether={"usd": 0.9, "last_updated_at": NOW_S - 300})
    asked, price = drive(FREE, FREE.price(BTC_USDT, CLOCK_MS), found)
    assert [get.params["ids"] for get in asked] == ["bitcoin,tether"]
    assert (price.symbol, price.price, price.instrument) == (BTC_USDT, Decimal(100000), Instrument.DERIVED)
    assert price.as_of_ms == (NOW_S - 300) * 1000
    assert price.note == "bitcoin over tether, both in USD"


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (priced(bitcoin={"usd": 1}), UnknownSymbol),
        (priced(bitcoin={"usd": 1}, tether={"usd": None}), NoData),
        (priced(bitcoin={"usd": 1}, tether={"usd": 0}), MalformedAnswer),
        (priced(bitcoin={"usd": 1}, tether={"usd": 1, "last_updated_at": 1}), MalformedAnswer),
        (answer("[]"), MalformedAnswer),
    ],
)
def test_half_of_two_prices_is_none(found: Answer, kind: type[RestError]) -> None:
    """Without a sound second price there is none."""
    with pytest.raises(RestError) as caught:
        drive(FREE, FREE.price(BTC_USDT, CLOCK_MS), found)
    assert type(caught.value) is kind


@pytest.mark.parametrize("symbol", [stock("SPY"), crypto("NOSUCH", "USD"), crypto("BTC", "CHF")])
def test_what_it_cannot_have_is_not_asked_for(symbol: Symbol) -> None:
    """Stocks, coins without an id, currencies it does not count in."""
    with pytest.raises(UnknownSymbol):
        next(FREE.price(symbol, CLOCK_MS))
    with pytest.raises(UnknownSymbol):
        next(FREE.bars(symbol, Interval.H4, Span(NOW_S - DAY_S, NOW_S, 10), CLOCK_MS))


def test_bars_in_usdt_are_not_worked_out() -> None:
    """The high of a ratio is no ratio of highs."""
    with pytest.raises(UnknownSymbol, match="USDT"):
        next(FREE.bars(BTC_USDT, Interval.H4, Span(NOW_S - DAY_S, NOW_S, 10), CLOCK_MS))


def test_well_known_coins_are_not_looked_up() -> None:
    """Symbols are not unique: the list tells the ids of those that we have none for."""
    rows = [("fake-bitcoin", "BTC"), ("kaspa", "KAS")]
    adapter = CoinGecko(Access(), [Listed(name, base) for name, base in rows])
    assert next(adapter.price(BTC_USD, CLOCK_MS)).params["ids"] == "bitcoin"
    assert next(adapter.price(crypto("KAS", "USD"), CLOCK_MS)).params["ids"] == "kaspa"
    assert KNOWN["USDT"] == "tether"


def test_which_of_several_coins_is_meant_is_not_guessed() -> None:
    """The list is in no order of size: the price of its first coin of a name may be that of an imitation."""
    rows = [("cat-wif-hat", "WIF"), ("dogwifcoin", "WIF"), ("kaspa", "KAS")]
    adapter = CoinGecko(Access(), [Listed(name, base) for name, base in rows])
    with pytest.raises(UnknownSymbol, match="2 coins are called WIF"):
        next(adapter.price(crypto("WIF", "USD"), CLOCK_MS))


@pytest.mark.parametrize(
    ("adapter", "interval", "count", "path", "params"),
    [
        (FREE, Interval.M30, 48, "ohlc", {"days": "1"}),
        (FREE, Interval.H4, 42, "ohlc", {"days": "7"}),
        (FREE, Interval.H4, 43, "ohlc", {"days": "14"}),
        (FREE, Interval.H4, 175, "ohlc", {"days": "30"}),
        (FREE, Interval.D1, 29, "ohlc", {"days": "30"}),
        (PRO, Interval.M30, 48, "ohlc", {"days": "1"}),
        (PRO, Interval.H1, 24, "ohlc", {"days": "1", "interval": "hourly"}),
        (PRO, Interval.H1, 700, "ohlc", {"days": "30", "interval": "hourly"}),
        (PRO, Interval.H4, 175, "ohlc", {"days": "30", "interval": "hourly"}),
        (PRO, Interval.D1, 175, "ohlc", {"days": "180", "interval": "daily"}),
    ],
)
def test_days_are_the_fewest_that_reach_back(
    adapter: CoinGecko, interval: Interval, count: int, path: str, params: dict[str, str]
) -> None:
    """The size of candles depends on the days that are asked for, or on a name with a paid plan."""
    get = asked_for(adapter, interval, Span(0, NOW_S + DAY_S, count))
    assert get == Get(f"/coins/bitcoin/{path}", {"vs_currency": "usd", "precision": "full"} | params)


def test_the_past_is_a_range_with_a_paid_plan() -> None:
    """Older bars than any number of days reaches, with a note on what is not documented of them."""
    span = Span(TODAY_S - 400 * DAY_S, TODAY_S - 390 * DAY_S, 60)
    found = candles(
        (span.from_s + HOUR_S, 1, 2, 1, 2), *((span.from_s + n * HOUR_S, 2, 4, 1, 3) for n in (2, 3, 4))
    )
    asked, series = drive(PRO, PRO.bars(BTC_USD, Interval.H4, span, CLOCK_MS), found)
    params = {"from": str(span.from_s), "to": str(span.to_s), "interval": "hourly"}
    assert asked == [Get("/coins/bitcoin/ohlc/range", {"vs_currency": "usd", "precision": "full"} | params)]
    assert list(series.bars) == [Bar(span.from_s, Decimal(1), Decimal(4), Decimal(1), Decimal(3))]
    assert "not documented" in series.note


@pytest.mark.parametrize(
    ("interval", "most", "length_s", "rows"),
    [(Interval.H1, 700, HOUR_S, 744), (Interval.H4, 175, HOUR_S, 744), (Interval.D1, 175, DAY_S, 180)],
)
def test_the_most_bars_are_within_one_range(interval: Interval, most: int, length_s: int, rows: int) -> None:
    """31 days of hours or 180 days, whichever a bar is made of."""
    assert PRO.most_bars(interval) == most
    to_s = TODAY_S - 400 * DAY_S
    get = asked_for(PRO, interval, Span(to_s - most * interval.seconds, to_s, most))
    assert get.path == "/coins/bitcoin/ohlc/range"
    assert int(get.params["to"]) - int(get.params["from"]) < rows * length_s


@pytest.mark.parametrize("interval", [Interval.M1, Interval.M5, Interval.M15, Interval.H1])
def test_intervals_that_it_has_not_are_refused_unasked(interval: Interval) -> None:
    """And the refusal says which ones the plan has."""
    with pytest.raises(BadInterval, match="30m, 4h, 1d"):
        asked_for(FREE, interval, Span(NOW_S - HOUR_S, NOW_S, 1))


def test_what_is_out_of_reach_is_refused_and_the_rest_is_noted() -> None:
    """A span before the reach of the plan is refused; of one that is partly within, that part comes with a note."""
    with pytest.raises(BadInterval, match="30 days"):
        asked_for(FREE, Interval.D1, Span(TODAY_S - 60 * DAY_S, TODAY_S - 31 * DAY_S, 175))
    row = (TODAY_S - 20 * DAY_S + 4 * HOUR_S, 1, 1, 1, 1)
    span = Span(TODAY_S - 60 * DAY_S, TODAY_S, 175)
    asked, series = drive(FREE, FREE.bars(BTC_USD, Interval.D1, span, CLOCK_MS), candles(row))
    assert asked[0].params["days"] == "30"
    assert (len(series.bars), series.note) == (1, "1d bars reach back 30 days on this plan")


def test_a_candle_begins_one_length_before_its_stamp() -> None:
    """It is stamped with its end, so that one of a moment in the future is still open; none has a volume."""
    end_s = NOW_S // (4 * HOUR_S) * 4 * HOUR_S
    found = candles((end_s, 1, 1, 1, 1), (end_s + 4 * HOUR_S, 1, 1, 1, 1))
    series = drive(FREE, FREE.bars(BTC_USD, Interval.H4, Span(NOW_S - DAY_S, NOW_S, 10), CLOCK_MS), found)[1]
    assert [(bar.start_s, bar.is_closed) for bar in series.bars] == [(end_s - 4 * HOUR_S, True), (end_s, False)]
    assert {bar.volume for bar in series.bars} == {None}


def test_days_are_put_together_of_four_hours() -> None:
    """Without a paid plan; a day whose beginning is missing is left out, that of today is open."""
    ends = [TODAY_S - DAY_S + hours * HOUR_S for hours in (-4, 0, 4, 8, 12, 16, 20, 24, 28)]
    rows = [(end_s, number, number + 10, number + 1, number + 2) for number, end_s in enumerate(ends)]
    series = drive(FREE, FREE.bars(BTC_USD, Interval.D1, Span(0, NOW_S, 29), CLOCK_MS), candles(*rows[1:]))[1]
    assert [bar.start_s for bar in series.bars] == [TODAY_S - DAY_S, TODAY_S]
    values = (Decimal(2), Decimal(17), Decimal(3), Decimal(9))
    assert series.bars[0] == Bar(TODAY_S - DAY_S, *values)
    assert [bar.is_closed for bar in series.bars] == [True, False]


def test_a_day_that_may_miss_candles_is_not_closed() -> None:
    """Candles come up to 35 minutes late: ten minutes after midnight yesterday may not be whole."""
    rows = [(TODAY_S - DAY_S + hours * HOUR_S, 1, 1, 1, 1) for hours in (4, 8, 12, 16, 20)]
    for minutes, closed in ((10, False), (36, True)):
        now_ms = (TODAY_S + minutes * 60) * 1000
        series = drive(FREE, FREE.bars(BTC_USD, Interval.D1, Span(0, NOW_S, 5), now_ms), candles(*rows))[1]
        assert [bar.is_closed for bar in series.bars] == [closed]


def test_no_candles_are_no_data() -> None:
    """Neither an empty answer nor one of other times is a series."""
    span = Span(NOW_S - 8 * HOUR_S, NOW_S, 2)
    for found in (candles(), candles((NOW_S - DAY_S, 1, 1, 1, 1))):
        with pytest.raises(NoData):
            drive(FREE, FREE.bars(BTC_USD, Interval.H4, span, CLOCK_MS), found)


@pytest.mark.parametrize(
    "row", ["[]", "[1795181400000]", "[1795181400000,1,1,1]", "[1795181400,1,1,null,1]", "null"]
)
def test_half_a_candle_is_malformed(row: str) -> None:
    """A row without its values is no bar."""
    flow = FREE.bars(BTC_USD, Interval.M30, Span(NOW_S - DAY_S, NOW_S, 48), CLOCK_MS)
    with pytest.raises(MalformedAnswer):
        drive(FREE, flow, answer(f"[{row}]"))


def test_quota_is_asked_of_paid_plans_alone() -> None:
    """The other host has no such endpoint."""
    assert FREE.quota() is None
    flow = PRO.quota()
    assert flow is not None
    asked, quota = drive(PRO, flow, load("coingecko/key_pro"))
    assert (asked, quota.left) == ([Get("/key")], 487_956)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (answer('{"error": {"status": {"error_code": 10005}}}', 403), NotEntitled),
        (answer('{"error": "x"}', 401), KeyRefused),
        (answer('{"status": {"error_code": 10012}}'), NotEntitled),
        (answer('{"status": {"error_code": 503}}'), RestUnavailable),
        (answer('{"status": {"error_code": 12345}}'), RestRefused),
        (answer("", 429), RestRateLimited),
        (answer("<html>", 403, content_type="text/html"), Banned),
        (answer("<html>", 503, content_type="text/html"), Maintenance),
        (answer("<html>", 200, content_type="text/html"), Maintenance),
        (answer('{"bitcoin": {"us', 200), MalformedAnswer),
    ],
)
def test_a_refusal_is_told_by_code_and_status(found: Answer, kind: type[RestError]) -> None:
    """Three shapes of errors, codes within HTTP 200, pages: each has its class."""
    with pytest.raises(RestError) as caught:
        FREE.check(found, CLOCK_MS)
    assert type(caught.value) is kind


def test_a_coin_named_like_a_field_is_no_refusal() -> None:
    """An answer that has a coin "status" or "error" in it is one of prices."""
    FREE.check(answer('{"status": {"usd": 1}, "error": {"usd": 1}}'), CLOCK_MS)
