"""Binance: what is asked, what is refused unasked, and how long its limits last."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from streamer.errors import (
    Banned,
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access, Answer, Get
from streamer.providers.binance import Binance
from streamer.providers.binance_answers import read_listing
from streamer.providers.shape import Instrument, Interval, Listed, Quota, Span, Symbol
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive, load

ADAPTER = Binance(Access())
BTC_USDT = crypto("BTC", "USDT")
NOW_S = CLOCK_MS // 1000
MINUTE_S = NOW_S // 60 * 60


def klines(*starts: int, price: str = "10") -> Answer:
    """Minutes in which the price stood still."""
    return answer(json.dumps([[start * 1000, price, price, price, price, "1", 0, "0", 0] for start in starts]))


def test_a_price_is_asked_of_the_second_version() -> None:
    """The price of one symbol, under its name there; it is that of a perpetual."""
    asked, price = drive(ADAPTER, ADAPTER.price(BTC_USDT, CLOCK_MS), load("binance/ticker_price_v2_single"))
    assert asked == [Get("/fapi/v2/ticker/price", {"symbol": "BTCUSDT"})]
    assert price.instrument is Instrument.PERPETUAL


def test_the_price_of_another_symbol_is_none() -> None:
    """An answer of another symbol than asked is malformed."""
    other = answer('{"symbol": "ETHUSDT", "price": "1", "time": 1795186806871}')
    with pytest.raises(MalformedAnswer, match="ETHUSDT"):
        drive(ADAPTER, ADAPTER.price(BTC_USDT, CLOCK_MS), other)


@pytest.mark.parametrize("symbol", [crypto("BTC", "USD"), stock("SPY")])
def test_what_it_cannot_have_is_not_asked_for(symbol: Symbol) -> None:
    """Neither USD nor stocks: BTC-USD is not answered from BTCUSDT."""
    with pytest.raises(UnknownSymbol):
        next(ADAPTER.price(symbol, CLOCK_MS))
    with pytest.raises(UnknownSymbol):
        next(ADAPTER.bars(symbol, Interval.M1, Span(0, 60, 1), CLOCK_MS))


def test_the_list_decides_once_it_is_read() -> None:
    """With a list, what is not on it or no longer traded is not asked for; names may be in Chinese."""
    names = {"BTCUSDT": True, "OLDUSDT": False, "币安USDT": True}
    listed = [Listed(name, name.removesuffix("USDT"), "USDT", is_active=on) for name, on in names.items()]
    adapter = Binance(Access(), listed)
    assert next(adapter.price(BTC_USDT, CLOCK_MS)).params == {"symbol": "BTCUSDT"}
    assert next(adapter.price(crypto("币安", "USDT"), CLOCK_MS)).params == {"symbol": "币安USDT"}
    for base in ("OLD", "SOL"):
        with pytest.raises(UnknownSymbol):
            next(adapter.price(crypto(base, "USDT"), CLOCK_MS))


@pytest.mark.parametrize("listed", [[], [Listed("BTCUSDT", "BTC", "USDT")]])
def test_another_pair_of_the_same_letters_is_unknown(listed: list[Listed]) -> None:
    """BTCU in SDT is not BTC in USDT, though both would be asked for as BTCUSDT."""
    with pytest.raises(UnknownSymbol):
        next(Binance(Access(), listed).price(crypto("BTCU", "SDT"), CLOCK_MS))


def test_bars_are_asked_for_from_the_newest_back() -> None:
    """It counts from the beginning of a span, so that begins where the newest bars do, and ends now."""
    span = Span(MINUTE_S - 86_400, MINUTE_S + 86_400, 3)
    starts = [MINUTE_S - 120, MINUTE_S - 60, MINUTE_S]
    asked, series = drive(ADAPTER, ADAPTER.bars(BTC_USDT, Interval.M1, span, CLOCK_MS), klines(*starts))
    (get,) = asked
    assert get.path == "/fapi/v1/klines"
    assert get.params == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": str((NOW_S + 1 - 180) * 1000),
        "endTime": str((NOW_S + 1) * 1000 - 1),
        "limit": "3",
    }
    assert [bar.start_s for bar in series.bars] == starts
    assert [bar.is_closed for bar in series.bars] == [True, True, False]


def test_bars_out_of_the_span_are_cut_off() -> None:
    """Bars from before and after what was asked for are no answer; none at all is no data."""
    span = Span(MINUTE_S - 180, MINUTE_S - 60, 10)
    starts = [MINUTE_S - 240, MINUTE_S - 120, MINUTE_S - 60]
    series = drive(ADAPTER, ADAPTER.bars(BTC_USDT, Interval.M1, span, CLOCK_MS), klines(*starts))[1]
    assert [bar.start_s for bar in series.bars] == [MINUTE_S - 120]
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.bars(BTC_USDT, Interval.M1, span, CLOCK_MS), klines(MINUTE_S - 240))


@pytest.mark.parametrize(
    "row",
    ["[]", "[1795186620000]", '[1795186620000,"1","1","1","0","1"]', '[1795186620000,"1","1","NaN","1","1"]', "7"],
)
def test_half_a_kline_is_malformed(row: str) -> None:
    """A row without its values, or with one that is no price, is no bar."""
    span = Span(MINUTE_S - 3600, MINUTE_S, 10)
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.bars(BTC_USDT, Interval.M1, span, CLOCK_MS), answer(f"[{row}]"))


def test_quota_is_told_by_a_header() -> None:
    """What is used comes from the header; where that is missing it is not known."""
    assert drive(ADAPTER, ADAPTER.quota(), load("binance/time")) == (
        [Get("/fapi/v1/time")],
        Quota(per_minute=2400, used=2),
    )
    assert drive(ADAPTER, ADAPTER.quota(), answer('{"serverTime": 1795186807123}'))[1].used is None


def test_contracts_on_stocks_and_with_an_end_are_not_listed() -> None:
    """Of the list only perpetuals are taken."""
    kinds = ["PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER"]
    entries = [
        {"symbol": f"A{kind}", "baseAsset": "A", "quoteAsset": "USDT", "contractType": kind, "status": "TRADING"}
        for kind in kinds
    ]
    assert [entry.id for entry in read_listing({"symbols": entries})] == ["APERPETUAL"]


def refused(found: Answer) -> RestError:
    """What the check makes of an answer."""
    with pytest.raises(RestError) as caught:
        ADAPTER.check(found, CLOCK_MS)
    return caught.value


def test_a_ban_lasts_until_the_time_in_its_text() -> None:
    """The text tells the end; without it a header; without both the shortest ban there is."""
    told = answer('{"code": -1003, "msg": "Way too many requests; IP(1.2.3.4) banned until 1795186867123."}', 418)
    assert (type(refused(told)), refused(told).retry_after_s) == (Banned, 60.0)
    assert refused(answer("{}", 418, retry_after="7")).retry_after_s == 7
    assert refused(answer("", 418)).retry_after_s == 120


def test_a_limit_lasts_to_the_end_of_the_minute() -> None:
    """Without a header, calls are counted anew with the next minute: it is 15:00:07.123."""
    assert refused(answer("{}", 429)).retry_after_s == pytest.approx(52.877)
    assert refused(answer("{}", 429, retry_after="Fri, 20 Nov 2026 15:00:17 GMT")).retry_after_s == pytest.approx(
        9.877
    )


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (answer("<html>Maintenance</html>", 503, content_type="text/html"), Maintenance),
        (answer("<html>Maintenance</html>", 200, content_type="text/html"), Maintenance),
        (answer('{"code": -2015, "msg": "Invalid API-key"}', 401), KeyRefused),
        (answer('{"code": "-1121", "msg": null}', 400), RestRefused),
        (answer("[]", 500), RestUnavailable),
        (answer('{"symbol": "BTCUSDT", "pri', 200), MalformedAnswer),
    ],
)
def test_a_refusal_is_told_by_code_and_status(found: Answer, kind: type[Exception]) -> None:
    """Pages, codes of the wrong type, bodies without any code: each has its class."""
    with pytest.raises(kind) as caught:
        drive(ADAPTER, ADAPTER.price(BTC_USDT, CLOCK_MS), found)
    assert type(caught.value) is kind
    assert not isinstance(caught.value, RestRateLimited)


def test_prices_keep_the_digits_of_the_wire() -> None:
    """A price is the decimal that was sent, not a float near it."""
    found = answer('{"symbol": "BTCUSDT", "price": "0.10000000000000000001", "time": 1795186806871}')
    assert drive(ADAPTER, ADAPTER.price(BTC_USDT, CLOCK_MS), found)[1].price == Decimal("0.10000000000000000001")
