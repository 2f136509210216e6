"""What becomes of each sample of EODHD."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from streamer.errors import (
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    NotEntitled,
    QuotaExhausted,
    RestRateLimited,
    RestRefused,
    UnknownSymbol,
)
from streamer.providers.adapter import Access
from streamer.providers.eodhd import Eodhd
from streamer.providers.eodhd_answers import read_close, read_price
from streamer.providers.shape import Bar, Instrument, Interval, Price, Quota, Series, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, KEY, Expected, Gives, Refuses, body, flow, ms

ADAPTER: Final = Eodhd(Access(key=KEY))
BTC_USD, SPY, NOSUCH = crypto("BTC", "USD"), stock("SPY"), stock("NOSUCH")
NO_VOLUME: Final = "without volume: the provider's is in the quote currency"
WARNING: Final = "Data is limited by one year as you have free subscription"

# Days in New York begin at 05:00 UTC in winter.
SPY_NOV_17: Final = Bar(
    ms("2026-11-17T05:00") // 1000,
    Decimal("663.1"),
    Decimal("666.48"),
    Decimal("661.27"),
    Decimal("665.9"),
    Decimal(58210433),
)
SPY_NOV_18: Final = Bar(
    ms("2026-11-18T05:00") // 1000,
    Decimal("666.05"),
    Decimal("669.94"),
    Decimal("665.5"),
    Decimal("669.12"),
    Decimal(52870119),
)
SPY_NOV_19: Final = Bar(
    ms("2026-11-19T05:00") // 1000,
    Decimal("668.7"),
    Decimal("671.2"),
    Decimal("664.88"),
    Decimal("666.31"),
    Decimal(61004872),
)
BTC_NOV_18: Final = Bar(
    ms("2026-11-18") // 1000, Decimal("90010.2"), Decimal("92848.9"), Decimal("89866.0"), Decimal("91788.4")
)
BTC_NOV_19: Final = Bar(
    ms("2026-11-19") // 1000, Decimal("91788.4"), Decimal("93041.8"), Decimal("91233.1"), Decimal("92235.5")
)
BTC_FIVES: Final = (
    Bar(1795046400, Decimal("91788.4"), Decimal("91850.2"), Decimal("91760.0"), Decimal("91822.7")),
    Bar(1795046700, Decimal("91822.7"), Decimal("91831.0"), Decimal("91742.5"), Decimal("91770.3")),
    Bar(1795047000, Decimal("91770.3"), Decimal("91801.9"), Decimal("91755.1"), Decimal("91790.6")),
)
SPY_MINUTES: Final = (
    Bar(1795098600, Decimal("668.7"), Decimal("668.9"), Decimal("668.41"), Decimal("668.52"), Decimal(1102334)),
    Bar(1795098720, Decimal("668.55"), Decimal("668.71"), Decimal("668.3"), Decimal("668.44"), Decimal(402118)),
)
WEEK: Final = Span(ms("2026-11-14") // 1000, ms("2026-11-21") // 1000, 100)


def spy_days(*bars: Bar, note: str = "") -> Series:
    """Days of SPY."""
    return Series(SPY, Interval.D1, Instrument.STOCK, bars, is_live=False, note=note)


EXPECTED: Mapping[str, Expected] = {
    "real_time_btc_usd": Gives(
        flow(ADAPTER, lambda: ADAPTER.price(BTC_USD, CLOCK_MS)),
        Price(BTC_USD, Decimal("91311.2"), Instrument.AGGREGATE, 1795186740000),
    ),
    "real_time_batch": Gives(
        body(lambda it: read_price(it, SPY, "SPY.US", CLOCK_MS)),
        Price(SPY, Decimal("667.33"), Instrument.STOCK, 1795185840000, is_live=False, note="15 to 20 minutes late"),
    ),
    "real_time_na": Refuses(NoData, by=flow(ADAPTER, lambda: ADAPTER.price(NOSUCH, CLOCK_MS))),
    "real_time_csv_default": Refuses(MalformedAnswer, by=flow(ADAPTER, lambda: ADAPTER.price(SPY, CLOCK_MS))),
    "eod_spy": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.D1, WEEK, CLOCK_MS)),
        spy_days(SPY_NOV_17, SPY_NOV_18, SPY_NOV_19),
    ),
    "eod_btc_usd": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(BTC_USD, Interval.D1, WEEK, CLOCK_MS)),
        Series(
            BTC_USD,
            Interval.D1,
            Instrument.AGGREGATE,
            (BTC_NOV_18, BTC_NOV_19),
            is_live=False,
            note=NO_VOLUME,
        ),
    ),
    "eod_last_close": Gives(
        body(lambda it: read_close(it, SPY)),
        Price(SPY, Decimal("666.31"), Instrument.STOCK, is_live=False, note="the last close"),
    ),
    "eod_free_plan_warning": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.D1, WEEK, CLOCK_MS)),
        spy_days(SPY_NOV_18, SPY_NOV_19, note=WARNING),
    ),
    "eod_free_plan_warning_row": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.D1, WEEK, CLOCK_MS)),
        spy_days(SPY_NOV_19, note=WARNING),
    ),
    "eod_empty": Refuses(NoData, by=flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.D1, WEEK, CLOCK_MS))),
    "intraday_5m_btc_usd": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(BTC_USD, Interval.M5, WEEK, CLOCK_MS)),
        Series(BTC_USD, Interval.M5, Instrument.AGGREGATE, BTC_FIVES, is_live=False, note=NO_VOLUME),
    ),
    "intraday_1m_nulls": Gives(
        flow(ADAPTER, lambda: ADAPTER.bars(SPY, Interval.M1, WEEK, CLOCK_MS)),
        Series(SPY, Interval.M1, Instrument.STOCK, SPY_MINUTES, is_live=False, note="1 without prices left out"),
    ),
    "internal_user": Gives(
        flow(ADAPTER, ADAPTER.quota),
        Quota("paid", per_day=100_000, used=5301, left=94_699, reset_ms=ms("2026-11-21")),
    ),
    "error_401_unauthenticated": Refuses(KeyRefused),
    # Until midnight, as the clock of the samples is 15:00:07.123.
    "error_402_daily_limit": Refuses(QuotaExhausted, retry_after_s=32392.877),
    "error_403_free_plan": Refuses(NotEntitled),
    "error_403_json": Refuses(KeyRefused),
    "error_404_ticker": Refuses(UnknownSymbol),
    "error_422_validation": Refuses(RestRefused),
    "error_429_html": Refuses(RestRateLimited, retry_after_s=53),
    "error_429_json": Refuses(RestRateLimited, retry_after_s=52.877),
    "error_502_maintenance": Refuses(Maintenance),
}
