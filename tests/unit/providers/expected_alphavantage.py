"""What becomes of each sample of Alpha Vantage."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from streamer.errors import (
    KeyRefused,
    MalformedAnswer,
    NotEntitled,
    QuotaExhausted,
    RestRateLimited,
    RestRefused,
    UnknownSymbol,
)
from streamer.providers.adapter import Access
from streamer.providers.alphavantage import AlphaVantage
from streamer.providers.alphavantage_answers import read_bars
from streamer.providers.shape import Bar, Instrument, Interval, Price, Series, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, KEY, Expected, Gives, Refuses, body, flow, ms

ADAPTER: Final = AlphaVantage(Access(key=KEY))
BTC_USD, BTC_EUR, ETH_USD, SPY = crypto("BTC", "USD"), crypto("BTC", "EUR"), crypto("ETH", "USD"), stock("SPY")
# Days in New York begin at 05:00 UTC in winter.
SPY_NOV_17: Final = Bar(
    ms("2026-11-17T05:00") // 1000,
    Decimal("663.1000"),
    Decimal("666.4800"),
    Decimal("661.2700"),
    Decimal("665.9000"),
    Decimal("58210433"),
)
SPY_NOV_18: Final = Bar(
    ms("2026-11-18T05:00") // 1000,
    Decimal("666.0500"),
    Decimal("669.9400"),
    Decimal("665.5000"),
    Decimal("669.1200"),
    Decimal("52870119"),
)
SPY_NOV_19: Final = Bar(
    ms("2026-11-19T05:00") // 1000,
    Decimal("668.7000"),
    Decimal("671.2000"),
    Decimal("664.8800"),
    Decimal("666.3100"),
    Decimal("61004872"),
)
# 19:55 and 19:50 in New York are 00:55 and 00:50 UTC of the next day.
SPY_1950: Final = Bar(
    ms("2026-11-20T00:50") // 1000,
    Decimal("666.3000"),
    Decimal("666.3100"),
    Decimal("666.2200"),
    Decimal("666.2600"),
    Decimal("5544"),
)
SPY_1955: Final = Bar(
    ms("2026-11-20T00:55") // 1000,
    Decimal("666.2500"),
    Decimal("666.4000"),
    Decimal("666.2000"),
    Decimal("666.3300"),
    Decimal("8120"),
)
BTC_NOV_19: Final = Bar(
    ms("2026-11-19") // 1000,
    Decimal("91779.52000000"),
    Decimal("93041.10000000"),
    Decimal("91248.70000000"),
    Decimal("92231.80000000"),
    Decimal("8804.70115210"),
)
BTC_NOV_20: Final = Bar(
    ms("2026-11-20") // 1000,
    Decimal("92231.80000000"),
    Decimal("92808.40000000"),
    Decimal("90405.00000000"),
    Decimal("91320.01000000"),
    Decimal("5208.11402207"),
    is_closed=False,
)
BTC_EUR_NOV_19: Final = Bar(
    ms("2026-11-19") // 1000,
    Decimal("79200.10000000"),
    Decimal("80288.00000000"),
    Decimal("78741.30000000"),
    Decimal("79589.60000000"),
    Decimal("8804.70115210"),
)
ETH_1450: Final = Bar(
    ms("2026-11-20T14:50") // 1000,
    Decimal("3114.05000"),
    Decimal("3118.40000"),
    Decimal("3113.20000"),
    Decimal("3117.20000"),
    Decimal("398.1102"),
)
ETH_1455: Final = Bar(
    ms("2026-11-20T14:55") // 1000,
    Decimal("3117.20000"),
    Decimal("3121.90000"),
    Decimal("3116.80000"),
    Decimal("3120.31000"),
    Decimal("412.7715"),
)
LAST_CLOSE: Final = "up to the last close"
WEEK: Final = Span(ms("2026-11-14") // 1000, ms("2026-11-21") // 1000, 100)

EXPECTED: Mapping[str, Expected] = {
    "global_quote": Gives(
        flow(ADAPTER, lambda: ADAPTER.price(SPY, CLOCK_MS)),
        Price(SPY, Decimal("666.3100"), Instrument.STOCK, is_live=False, note="of 2026-11-19"),
    ),
    "global_quote_unknown": Refuses(
        UnknownSymbol, by=flow(ADAPTER, lambda: ADAPTER.price(stock("NOSUCH"), CLOCK_MS))
    ),
    "currency_exchange_rate": Gives(
        flow(ADAPTER, lambda: ADAPTER.price(BTC_USD, CLOCK_MS)),
        Price(BTC_USD, Decimal("91320.01000000"), Instrument.AGGREGATE, ms("2026-11-20T15:00:01")),
    ),
    "time_series_daily": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.D1, WEEK, CLOCK_MS)),
        Series(SPY, Interval.D1, Instrument.STOCK, (SPY_NOV_17, SPY_NOV_18, SPY_NOV_19), False, LAST_CLOSE),
    ),
    "time_series_daily_adjusted": Gives(body(lambda it: read_bars(it, SPY, Interval.D1, CLOCK_MS)), [SPY_NOV_19]),
    "time_series_intraday_5min": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.M5, WEEK, CLOCK_MS)),
        Series(SPY, Interval.M5, Instrument.STOCK, (SPY_1950, SPY_1955), False, LAST_CLOSE),
    ),
    "digital_currency_daily": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(BTC_USD, Interval.D1, WEEK, CLOCK_MS)),
        Series(BTC_USD, Interval.D1, Instrument.AGGREGATE, (BTC_NOV_19, BTC_NOV_20)),
    ),
    "digital_currency_daily_legacy": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(BTC_EUR, Interval.D1, WEEK, CLOCK_MS)),
        Series(BTC_EUR, Interval.D1, Instrument.AGGREGATE, (BTC_EUR_NOV_19,)),
    ),
    "crypto_intraday_5min": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(ETH_USD, Interval.M5, WEEK, CLOCK_MS)),
        Series(ETH_USD, Interval.M5, Instrument.AGGREGATE, (ETH_1450, ETH_1455)),
    ),
    "error_daily_limit": Refuses(QuotaExhausted, retry_after_s=3600),
    "error_burst_limit": Refuses(RestRateLimited, retry_after_s=2),
    "error_minute_limit_legacy_note": Refuses(RestRateLimited, retry_after_s=60),
    "error_premium_endpoint": Refuses(NotEntitled),
    "error_premium_parameter": Refuses(NotEntitled),
    "error_demo_key": Refuses(KeyRefused),
    "error_missing_key": Refuses(KeyRefused),
    "error_invalid_call": Refuses(UnknownSymbol),
    "error_unknown_function": Refuses(RestRefused),
    "error_empty_object": Refuses(MalformedAnswer),
}
