"""What becomes of each sample of Binance."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from streamer.errors import (
    BadInterval,
    Banned,
    GeoBlocked,
    NoData,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access
from streamer.providers.binance import Binance
from streamer.providers.binance_answers import BestQuotes, read_price, read_prices, read_quotes, read_time
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Series, Span
from streamer.providers.symbols import crypto
from tests.unit.providers.samples import CLOCK_MS, KEY, Expected, Gives, Refuses, body, flow, ms

ADAPTER: Final = Binance(Access(key=KEY))
BTC_USDT, ETH_USDT, BTC_USDC = crypto("BTC", "USDT"), crypto("ETH", "USDT"), crypto("BTC", "USDC")
LAST: Final = Price(BTC_USDT, Decimal("91284.50"), Instrument.PERPETUAL, ms("2026-11-20T15:00:06.871"))


def bar(start: str, o: str, h: str, low: str, c: str, volume: str, *, is_closed: bool = True) -> Bar:
    """A kline from its strings."""
    return Bar(ms(start) // 1000, Decimal(o), Decimal(h), Decimal(low), Decimal(c), Decimal(volume), is_closed)


def span(start: str, end: str, limit: int = 10) -> Span:
    """A span between two times in UTC."""
    return Span(ms(start) // 1000, ms(end) // 1000, limit)


MINUTES: Final = (
    bar("2026-11-20T14:57", "91240.00", "91266.30", "91231.70", "91258.10", "63.418"),
    bar("2026-11-20T14:58", "91258.10", "91301.90", "91250.00", "91297.40", "88.902"),
    bar("2026-11-20T14:59", "91297.40", "91299.90", "91261.20", "91270.60", "54.007"),
    bar("2026-11-20T15:00", "91270.60", "91288.80", "91268.00", "91284.50", "9.551", is_closed=False),
)
DAYS: Final = (
    bar("2026-11-18", "3078.10", "3155.00", "3041.77", "3140.26", "1804311.227"),
    bar("2026-11-19", "3140.26", "3188.40", "3098.05", "3127.90", "1655208.940"),
    bar("2026-11-20", "3127.91", "3149.63", "3070.20", "3119.32", "902114.508", is_closed=False),
)
LIMITED_S: Final = 53.0
BAN_S: Final = 300.0
"""By the text: until 1795187107123."""

EXPECTED: Final[Mapping[str, Expected]] = {
    "ping": Gives(body(lambda it: it), {}),
    "time": Gives(body(lambda it: read_time(it, CLOCK_MS)), CLOCK_MS),
    "ticker_price_v1_single": Gives(body(lambda it: read_price(it, BTC_USDT, CLOCK_MS)), LAST),
    "ticker_price_v2_single": Gives(flow(ADAPTER, lambda: ADAPTER.price(BTC_USDT, CLOCK_MS)), LAST),
    "ticker_price_v2_all": Gives(
        body(lambda it: read_prices(it, [BTC_USDT, ETH_USDT, BTC_USDC, crypto("SOL", "USDT")], CLOCK_MS)),
        {
            BTC_USDT: LAST,
            ETH_USDT: Price(ETH_USDT, Decimal("3119.32"), Instrument.PERPETUAL, ms("2026-11-20T15:00:06.455")),
            BTC_USDC: Price(BTC_USDC, Decimal("91291.10"), Instrument.PERPETUAL, ms("2026-11-20T15:00:05.902")),
        },
    ),
    "ticker_24hr_single": Gives(body(lambda it: read_price(it, BTC_USDT, CLOCK_MS)), LAST),
    "ticker_book_single": Gives(
        body(lambda it: read_quotes(it, BTC_USDT, CLOCK_MS)),
        BestQuotes(Decimal("91284.40"), Decimal("91284.50"), ms("2026-11-20T15:00:06.990")),
    ),
    "klines_1m": Gives(
        flow(
            ADAPTER,
            lambda: ADAPTER.bars(BTC_USDT, Interval.M1, span("2026-11-20T14:57", "2026-11-20T15:01"), CLOCK_MS),
        ),
        Series(BTC_USDT, Interval.M1, Instrument.PERPETUAL, MINUTES),
    ),
    "klines_1d": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(ETH_USDT, Interval.D1, span("2026-11-18", "2026-11-21"), CLOCK_MS)),
        Series(ETH_USDT, Interval.D1, Instrument.PERPETUAL, DAYS),
    ),
    "klines_empty": Refuses(
        NoData,
        by=flow(ADAPTER, lambda: ADAPTER.bars(BTC_USDT, Interval.M1, span("2026-11-21", "2026-11-22"), CLOCK_MS)),
    ),
    "exchange_info": Gives(
        flow(ADAPTER, ADAPTER.listing),
        [
            Listed("BTCUSDT", "BTC", "USDT", Instrument.PERPETUAL),
            Listed("ETHUSDT", "ETH", "USDT", Instrument.PERPETUAL),
            Listed("OLDUSDT", "OLD", "USDT", Instrument.PERPETUAL, is_active=False),
        ],
    ),
    "error_invalid_symbol": Refuses(UnknownSymbol),
    "error_invalid_interval": Refuses(BadInterval),
    "error_missing_parameter": Refuses(RestRefused),
    "error_illegal_characters": Refuses(RestRefused),
    "error_bad_parameter_value": Refuses(RestRefused),
    "error_start_after_end": Refuses(RestRefused),
    "error_rate_limited_429": Refuses(RestRateLimited, retry_after_s=LIMITED_S),
    "error_ip_banned_418": Refuses(Banned, retry_after_s=BAN_S),
    "error_internal_500": Refuses(RestUnavailable),
    "error_internal_1001": Refuses(RestUnavailable),
    "error_timeout_1007": Refuses(RestUnavailable),
    "error_throttled_1008": Refuses(RestUnavailable),
    "error_unavailable_503": Refuses(RestUnavailable),
    "error_geo_blocked_451": Refuses(GeoBlocked),
    # No header: to the end of the minute.
    "error_waf_403": Refuses(RestRateLimited, retry_after_s=52.877),
}
