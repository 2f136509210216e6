"""What becomes of each sample of CoinMarketCap."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from streamer.errors import (
    KeyRefused,
    NotEntitled,
    QuotaExhausted,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access
from streamer.providers.coinmarketcap import CoinMarketCap
from streamer.providers.coinmarketcap_answers import read_bars, read_price, read_running_day
from streamer.providers.shape import Bar, Instrument, Interval, Price, Quota, Series, Span
from streamer.providers.symbols import crypto
from tests.unit.providers.samples import CLOCK_MS, KEY, Expected, Gives, Refuses, body, flow, ms

ADAPTER: Final = CoinMarketCap(Access(key=KEY))
BTC_USD, ETH_USD, BTC_USDT = crypto("BTC", "USD"), crypto("ETH", "USD"), crypto("BTC", "USDT")
NO_VOLUME: Final = "without volume: the provider's is of all markets, in the quote currency"

AS_OF_MS: Final = ms("2026-11-20T14:59:00")
BTC_PRICE: Final = Price(BTC_USD, Decimal("91322.4077120044"), Instrument.AGGREGATE, AS_OF_MS)
ETH_PRICE: Final = Price(ETH_USD, Decimal("3120.50110422"), Instrument.AGGREGATE, AS_OF_MS)
NOV_18: Final = Bar(
    ms("2026-11-18") // 1000,
    Decimal("90010.2214"),
    Decimal("92848.9011"),
    Decimal("89866.0042"),
    Decimal("91788.442"),
)
NOV_19: Final = Bar(
    ms("2026-11-19") // 1000,
    Decimal("91788.442"),
    Decimal("93041.7702"),
    Decimal("91233.112"),
    Decimal("92235.5104"),
)
ETH_NOV_19: Final = Bar(
    ms("2026-11-19") // 1000, Decimal("3140.31"), Decimal("3188.52"), Decimal("3097.6"), Decimal("3128.02")
)
HOUR_13: Final = Bar(
    ms("2026-11-20T13:00") // 1000,
    Decimal("91041.1"),
    Decimal("91360.77"),
    Decimal("90990.05"),
    Decimal("91300.84"),
)
HOUR_14: Final = Bar(
    ms("2026-11-20T14:00") // 1000,
    Decimal("91300.84"),
    Decimal("91348.1"),
    Decimal("91099.4"),
    Decimal("91310.02"),
)
NOV_20: Final = Bar(
    ms("2026-11-20") // 1000,
    Decimal("92235.5104"),
    Decimal("92811.0021"),
    Decimal("90401.7733"),
    Decimal("91322.4077"),
    is_closed=False,
)
DAYS: Final = Span(ms("2026-11-18") // 1000, ms("2026-11-20") // 1000, 10)
HOURS: Final = Span(ms("2026-11-20T13:00") // 1000, ms("2026-11-20T15:00") // 1000, 10)

EXPECTED: Mapping[str, Expected] = {
    "quotes_v1_by_symbol": Gives(body(lambda it: read_price(it, BTC_USD, "1", CLOCK_MS)), BTC_PRICE),
    "quotes_v2_by_id": Gives(flow(ADAPTER, lambda: ADAPTER.price(ETH_USD, CLOCK_MS)), ETH_PRICE),
    "quotes_v2_by_symbol_ambiguous": Gives(body(lambda it: read_price(it, BTC_USD, "1", CLOCK_MS)), BTC_PRICE),
    "quotes_v2_unknown_skipped": Refuses(
        UnknownSymbol, by=body(lambda it: read_price(it, crypto("NOSUCH", "USD"), "999999", CLOCK_MS))
    ),
    "quotes_v2_two_converts": Gives(
        flow(ADAPTER, lambda: ADAPTER.price(BTC_USDT, CLOCK_MS)),
        Price(
            BTC_USDT,
            Decimal("91340.0212"),
            Instrument.DERIVED,
            AS_OF_MS,
            note="converted from USD by the provider",
        ),
    ),
    "quotes_v3_by_id": Gives(body(lambda it: read_price(it, BTC_USD, "1", CLOCK_MS)), BTC_PRICE),
    "simple_price_v2": Gives(body(lambda it: read_price(it, ETH_USD, "1027", CLOCK_MS)), ETH_PRICE),
    "ohlcv_v2_daily": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(BTC_USD, Interval.D1, DAYS, CLOCK_MS)),
        Series(BTC_USD, Interval.D1, Instrument.AGGREGATE, (NOV_18, NOV_19), note=NO_VOLUME),
    ),
    "ohlcv_v2_hourly": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(BTC_USD, Interval.H1, HOURS, CLOCK_MS)),
        Series(BTC_USD, Interval.H1, Instrument.AGGREGATE, (HOUR_13, HOUR_14), note=NO_VOLUME),
    ),
    "ohlcv_v2_two_ids": Gives(body(lambda it: read_bars(it, ETH_USD, "1027", Interval.D1, CLOCK_MS)), [ETH_NOV_19]),
    "ohlcv_v2_latest": Gives(body(lambda it: read_running_day(it, BTC_USD, "1", CLOCK_MS)), NOV_20),
    "key_info": Gives(
        flow(ADAPTER, ADAPTER.quota),
        Quota(per_minute=30, per_month=15000, used=4120, left=10880, reset_ms=ms("2026-12-01")),
    ),
    "error_400_invalid_value": Refuses(UnknownSymbol),
    "error_400_not_allowed": Refuses(RestRefused),
    "error_401_1001_invalid_key": Refuses(KeyRefused),
    "error_401_1002_missing_key": Refuses(KeyRefused),
    "error_402_1003_activate": Refuses(NotEntitled),
    "error_402_1004_expired": Refuses(NotEntitled),
    "error_403_1005_key_required": Refuses(KeyRefused),
    "error_403_1006_plan": Refuses(NotEntitled),
    "error_403_1007_disabled": Refuses(KeyRefused),
    "error_429_1008_minute": Refuses(RestRateLimited, retry_after_s=53),
    "error_429_1009_daily": Refuses(QuotaExhausted, retry_after_s=32392.877),
    "error_429_1010_monthly": Refuses(QuotaExhausted),
    "error_429_1011_ip": Refuses(RestRateLimited, retry_after_s=52.877),
    "error_500": Refuses(RestUnavailable),
    "error_code_inside_200": Refuses(RestUnavailable),
}
