"""What becomes of each sample of CoinGecko."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from streamer.errors import (
    Banned,
    KeyRefused,
    NoData,
    NotEntitled,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Access
from streamer.providers.coingecko import CoinGecko
from streamer.providers.coingecko_answers import read_names, read_ping, read_points, read_price, read_quota
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Series, Span, Symbol
from streamer.providers.shape import Quota as Plan
from streamer.providers.symbols import crypto
from tests.unit.providers.samples import CLOCK_MS, KEY, Expected, Gives, Reader, Refuses, body, flow, ms

ADAPTER: Final = CoinGecko(Access(key=KEY))
PRO: Final = CoinGecko(Access(key=KEY, plan="analyst"))
BTC_USD, BTC_USDT, ETH_USD = crypto("BTC", "USD"), crypto("BTC", "USDT"), crypto("ETH", "USD")
NOW_S: Final = CLOCK_MS // 1000
DAY_S: Final = 86_400
TWO_PRICES: Final = "bitcoin over tether, both in USD"


def bar(start: str, o: str, h: str, low: str, c: str) -> Bar:
    """A closed bar, without volume."""
    return Bar(ms(start) // 1000, Decimal(o), Decimal(h), Decimal(low), Decimal(c))


def bars(adapter: CoinGecko, symbol: Symbol, interval: Interval, days: int) -> Reader:
    """The flow of the bars of the last days."""
    wanted = Span(NOW_S - days * DAY_S, NOW_S, 90)
    return flow(adapter, lambda: adapter.bars(symbol, interval, wanted, CLOCK_MS))


# Each row bears its end: 13:30 is the bar of 13:00.
HALF_HOURS: Final = (
    bar("2026-11-20T13:00", "91055.0", "91210.0", "90988.0", "91174.0"),
    bar("2026-11-20T13:30", "91174.0", "91362.0", "91150.0", "91301.0"),
    bar("2026-11-20T14:00", "91301.0", "91340.0", "91102.0", "91188.0"),
    bar("2026-11-20T14:30", "91190.0", "91345.0", "91171.0", "91318.0"),
)
FOURS: Final = (
    bar("2026-11-20T00:00", "3128.4", "3140.2", "3101.7", "3110.9"),
    bar("2026-11-20T04:00", "3110.9", "3131.0", "3070.9", "3088.5"),
    bar("2026-11-20T08:00", "3088.5", "3126.6", "3080.1", "3119.8"),
)
DAYS: Final = (
    bar("2026-11-17", "89640.0", "90555.0", "89012.0", "90008.0"),
    bar("2026-11-18", "90008.0", "92840.0", "89870.0", "91790.0"),
    bar("2026-11-19", "91790.0", "93038.0", "91240.0", "92238.0"),
)
HOURS: Final = (
    bar("2026-11-20T12:00", "90890.0", "91100.0", "90802.0", "91040.0"),
    bar("2026-11-20T13:00", "91040.0", "91362.0", "90988.0", "91301.0"),
    bar("2026-11-20T14:00", "91301.0", "91345.0", "91102.0", "91318.0"),
)

EXPECTED: Final[Mapping[str, Expected]] = {
    "ping": Gives(body(read_ping), "(V3) To the Moon!"),
    "simple_price": Gives(
        flow(ADAPTER, lambda: ADAPTER.price(BTC_USDT, CLOCK_MS)),
        # 91318 / 0.999812 to 15 digits, as old as the older one.
        Price(
            BTC_USDT,
            Decimal("91335.1710121503"),
            Instrument.DERIVED,
            ms("2026-11-20T14:59:42"),
            note=TWO_PRICES,
        ),
    ),
    "simple_price_unknown_id": Refuses(UnknownSymbol, by=flow(ADAPTER, lambda: ADAPTER.price(BTC_USD, CLOCK_MS))),
    "simple_price_null_value": Refuses(
        NoData, by=body(lambda it: read_price(it, crypto("DEAD", "USD"), ["dead-coin"], "usd", CLOCK_MS))
    ),
    "ohlc_days_1": Gives(
        bars(ADAPTER, BTC_USD, Interval.M30, 1), Series(BTC_USD, Interval.M30, Instrument.AGGREGATE, HALF_HOURS)
    ),
    "ohlc_days_14": Gives(
        bars(ADAPTER, ETH_USD, Interval.H4, 14), Series(ETH_USD, Interval.H4, Instrument.AGGREGATE, FOURS)
    ),
    "ohlc_daily_pro": Gives(
        bars(PRO, BTC_USD, Interval.D1, 7), Series(BTC_USD, Interval.D1, Instrument.AGGREGATE, DAYS)
    ),
    "ohlc_range_hourly_pro": Gives(
        bars(PRO, BTC_USD, Interval.H1, 1), Series(BTC_USD, Interval.H1, Instrument.AGGREGATE, HOURS)
    ),
    "market_chart_days_1": Gives(
        body(lambda it: read_points(it, CLOCK_MS)),
        [
            (ms("2026-11-20T14:50:02.114"), Decimal("91222.714")),
            (ms("2026-11-20T14:55:03.871"), Decimal("91260.015")),
            (ms("2026-11-20T15:00:01.402"), Decimal("91318.226")),
        ],
    ),
    "market_chart_daily": Gives(
        body(lambda it: read_points(it, CLOCK_MS)),
        [
            (ms("2026-11-19"), Decimal("91790.31")),
            (ms("2026-11-20"), Decimal("92238.44")),
            (ms("2026-11-20T15:00:01"), Decimal("91318.22")),
        ],
    ),
    "coins_list": Gives(
        flow(ADAPTER, ADAPTER.listing),
        [
            Listed("bitcoin", "BTC", instrument=Instrument.AGGREGATE),
            Listed("bitcoin-avalanche-bridged-btc-b", "BTC.B", instrument=Instrument.AGGREGATE),
            Listed("ethereum", "ETH", instrument=Instrument.AGGREGATE),
            Listed("tether", "USDT", instrument=Instrument.AGGREGATE),
            Listed("bridged-usdt-sample", "USDT", instrument=Instrument.AGGREGATE),
        ],
    ),
    "supported_vs_currencies": Gives(body(read_names), {"btc", "eth", "usd", "eur", "gbp", "jpy"}),
    "key_pro": Gives(
        body(read_quota),
        Plan("Analyst", per_minute=500, per_month=500_000, used=12_044, left=487_956),
    ),
    "error_404_coin_not_found": Refuses(UnknownSymbol),
    "error_422_missing_parameter": Refuses(RestRefused),
    "error_401_key_missing": Refuses(KeyRefused),
    "error_401_plan_restricted": Refuses(NotEntitled),
    "error_401_time_range": Refuses(NotEntitled),
    "error_400_pro_key_on_public_host": Refuses(KeyRefused),
    "error_400_demo_key_on_pro_host": Refuses(KeyRefused),
    "error_429": Refuses(RestRateLimited, retry_after_s=60.0),
    "error_429_no_header": Refuses(RestRateLimited),
    "error_429_body_with_200": Refuses(RestRateLimited),
    # It does not tell how long: ours.
    "error_403_cdn_1020": Refuses(Banned, retry_after_s=300.0),
    "error_500": Refuses(RestUnavailable),
    "error_503": Refuses(RestUnavailable),
}
