"""Coinbase as a provider: public endpoints only, spot, candles newest first."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from streamer.errors import (
    BadInterval,
    Maintenance,
    MalformedAnswer,
    NoData,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnauthorized,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access, Answer, Get
from streamer.providers.coinbase import CoinbasePublic
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Series, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive

ADAPTER = CoinbasePublic(Access())
BTC_USD, BTC_USDC = crypto("BTC", "USD"), crypto("BTC", "USDC")
NOW_S = CLOCK_MS // 1000
BASE = "/api/v3/brokerage/market/products"
# From the documented answers of products and candles (November 2026), shortened.
PRODUCT: dict[str, Any] = {
    "product_id": "BTC-USD",
    "price": "84210.37",
    "status": "online",
    "is_disabled": False,
    "trading_disabled": False,
    "base_currency_id": "BTC",
    "quote_currency_id": "USD",
    "alias": "",
}
CANDLES = [
    {
        "start": "1795186800",
        "low": "84180",
        "high": "84260.12",
        "open": "84233.51",
        "close": "84210.37",
        "volume": "21.58340091",
    },
    {
        "start": "1795186500",
        "low": "84201.05",
        "high": "84302.7",
        "open": "84288",
        "close": "84233.5",
        "volume": "30.11852913",
    },
]


def sent(facts: object) -> Answer:
    """An answer of JSON."""
    return answer(json.dumps(facts))


def bar(start_s: int, values: str, *, is_closed: bool = True) -> Bar:
    """A bar of open, high, low, close and volume."""
    opened, high, low, close, volume = map(Decimal, values.split())
    return Bar(start_s, opened, high, low, close, volume, is_closed)


def error_of(found: Answer) -> RestError:
    """What the check makes of an answer."""
    with pytest.raises(RestError) as caught:
        ADAPTER.check(found, CLOCK_MS)
    return caught.value


def test_price_is_that_of_the_product() -> None:
    """The last trade, of which the time is not told."""
    asked, price = drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sent(PRODUCT))
    assert asked == [Get(f"{BASE}/BTC-USD")]
    assert price == Price(BTC_USD, Decimal("84210.37"), Instrument.SPOT)


def test_another_name_of_a_book_is_said() -> None:
    """BTC-USDC trades in the book of BTC-USD."""
    found = sent(PRODUCT | {"product_id": "BTC-USDC", "alias": "BTC-USD"})
    _, price = drive(ADAPTER, ADAPTER.price(BTC_USDC, CLOCK_MS), found)
    assert (price.symbol, price.note) == (BTC_USDC, "of the book of BTC-USD")


def test_a_halted_market_is_not_live() -> None:
    """The price stands, and may for long."""
    _, price = drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sent(PRODUCT | {"trading_disabled": True}))
    assert (price.is_live, price.note) == (False, "trading is halted")


def test_no_trade_yet_is_no_data() -> None:
    """A new product has an empty price, and no candle."""
    with pytest.raises(NoData):
        drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), sent(PRODUCT | {"price": ""}))
    flow = ADAPTER.bars(BTC_USD, Interval.M5, Span(NOW_S - 3600, NOW_S, 10), CLOCK_MS)
    with pytest.raises(NoData):
        drive(ADAPTER, flow, sent({"candles": []}))


def test_candles_are_put_in_order_and_the_open_one_is_marked() -> None:
    """They come newest first, as strings; the clock of the samples is 15:00:07."""
    span = Span(1795186500, 1795187100, 10)
    asked, series = drive(ADAPTER, ADAPTER.bars(BTC_USD, Interval.M5, span, CLOCK_MS), sent({"candles": CANDLES}))
    params = {"start": "1795186500", "end": str(NOW_S + 1), "granularity": "FIVE_MINUTE", "limit": "350"}
    assert asked == [Get(f"{BASE}/BTC-USD/candles", params)]
    older = bar(1795186500, "84288 84302.7 84201.05 84233.5 30.11852913")
    newer = bar(1795186800, "84233.51 84260.12 84180 84210.37 21.58340091", is_closed=False)
    assert series == Series(BTC_USD, Interval.M5, Instrument.SPOT, (older, newer))


@pytest.mark.parametrize("interval", list(Interval))
def test_the_most_bars_are_one_request(interval: Interval) -> None:
    """Of every length, within the 300 buckets of the older documentation and one that is begun."""
    get = next(ADAPTER.bars(BTC_USD, interval, Span(0, NOW_S, ADAPTER.max_bars), CLOCK_MS))
    assert int(get.params["end"]) - int(get.params["start"]) <= 301 * interval.seconds


def test_unknown_symbols_are_refused_before_a_request() -> None:
    """A stock; and once there is a list, what is not on it or not active."""
    adapter = CoinbasePublic(
        Access(), [Listed("BTC-USD", "BTC", "USD"), Listed("X-USD", "X", "USD", is_active=False)]
    )
    next(adapter.price(BTC_USD, CLOCK_MS))
    for symbol in (stock("SPY"), BTC_USDC, crypto("X", "USD")):
        with pytest.raises(UnknownSymbol):
            next(adapter.price(symbol, CLOCK_MS))


def test_listing_tells_what_is_active() -> None:
    """Products that are off line stay on the list."""
    off = PRODUCT | {"product_id": "X-USD", "base_currency_id": "X", "status": "delisted"}
    asked, found = drive(ADAPTER, ADAPTER.listing(), sent({"products": [PRODUCT, off]}))
    assert asked == [Get(BASE, {"product_type": "SPOT"})]
    assert [(entry.id, entry.base, entry.quote, entry.is_active) for entry in found] == [
        ("BTC-USD", "BTC", "USD", True),
        ("X-USD", "X", "USD", False),
    ]


@pytest.mark.parametrize(
    "found",
    [
        sent(PRODUCT | {"product_id": "ETH-USD"}),
        sent(PRODUCT | {"price": "NaN"}),
        sent(PRODUCT | {"price": "-1"}),
        sent([]),
        answer('{"product_id'),
    ],
)
def test_garbage_is_a_malformed_answer(found: Answer) -> None:
    """Another product, or what is no price."""
    with pytest.raises(MalformedAnswer):
        drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), found)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (answer('{"error": "NOT_FOUND", "message": "valid product_id is required"}', 404), UnknownSymbol),
        (answer('{"error": "INVALID_ARGUMENT", "message": "bad granularity"}', 400), BadInterval),
        (answer('{"error": "INVALID_ARGUMENT", "message": "too many candles"}', 400), RestRefused),
        (answer("Unauthorized", 401), RestUnauthorized),
        (answer("", 429), RestRateLimited),
        (answer("<html><body></body></html>", 429), RestRateLimited),
        (answer("<html><body>502 Bad Gateway</body></html>", 502), Maintenance),
        (answer("upstream connect error", 503), RestUnavailable),
        (answer("<html>", 200), Maintenance),
    ],
)
def test_refusals_are_told_apart_by_status(found: Answer, kind: type[RestError]) -> None:
    """The body of one status comes as JSON, as a page, as text or empty."""
    if found.status == 200:
        with pytest.raises(kind):
            drive(ADAPTER, ADAPTER.price(BTC_USD, CLOCK_MS), found)
    else:
        assert type(error_of(found)) is kind


def test_a_limit_lasts_a_second() -> None:
    """Unless a header says otherwise."""
    assert error_of(answer("", 429)).retry_after_s == 1
    assert error_of(answer("", 429, retry_after="4")).retry_after_s == 4
