"""What becomes of each sample of Polygon."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from streamer.errors import KeyRefused, NoData, NotEntitled, RestRateLimited, RestRefused, UnknownSymbol
from streamer.providers.adapter import Access
from streamer.providers.polygon import Polygon
from streamer.providers.polygon_answers import (
    CLOSE_NOTE,
    LATE_NOTE,
    read_clock,
    read_close,
    read_listing,
    read_snapshot,
    read_snapshots,
    read_trades,
)
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Series, Span, Symbol
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, KEY, Expected, Gives, Reader, Refuses, body, flow, ms

ADAPTER: Final = Polygon(Access(key=KEY))
BTC_USD, SPY, NOSUCH = crypto("BTC", "USD"), stock("SPY"), stock("NOSUCH")


def bar(start: str, o: str, h: str, low: str, c: str, volume: str) -> Bar:
    """A closed bar from its numbers as they stand in the sample."""
    return Bar(ms(start) // 1000, Decimal(o), Decimal(h), Decimal(low), Decimal(c), Decimal(volume))


def bars(symbol: Symbol, interval: Interval, start: str, end: str, limit: int = 10) -> Reader:
    """The flow of bars between two times in UTC."""
    wanted = Span(ms(start) // 1000, ms(end) // 1000, limit)
    return flow(ADAPTER, lambda: ADAPTER.bars(symbol, interval, wanted, CLOCK_MS))


def snapshots(it: Any) -> dict[Symbol, object]:
    """A snapshot of two; an error by its class and text."""
    found = read_snapshots(it, [BTC_USD, NOSUCH], CLOCK_MS)
    return {key: (type(each), str(each)) if isinstance(each, Exception) else each for key, each in found.items()}


BTC_LAST: Final = Price(BTC_USD, Decimal("91320.01"), Instrument.AGGREGATE, ms("2026-11-20T15:00:06.883"))
MINUTES: Final = (
    bar("2026-11-20T14:57", "91276.12", "91301.88", "91268.4", "91293.05", "4.71833205"),
    bar("2026-11-20T14:58", "91293.05", "91338.2", "91286.71", "91332.97", "6.02217714"),
    bar("2026-11-20T14:59", "91332.97", "91335.0", "91297.63", "91306.44", "3.80916652"),
)
HOURS: Final = (
    bar("2026-11-18T00:00", "90011.4", "90402.0", "89875.03", "90310.77", "201.33018842"),
    bar("2026-11-18T01:00", "90310.77", "90588.9", "90201.5", "90455.18", "188.72005116"),
)
DAYS: Final = (
    bar("2026-11-17T05:00", "663.1", "666.48", "661.27", "665.9", "58210433.0"),
    bar("2026-11-18T05:00", "666.05", "669.94", "665.5", "669.12", "52870119.0"),
    bar("2026-11-19T05:00", "668.7", "671.2", "664.88", "666.31", "61004872.0"),
)
FIVES: Final = (
    bar("2026-11-20T14:30", "666.9", "668.1", "666.4", "667.75", "1910227.0"),
    bar("2026-11-20T14:35", "667.74", "668.02", "667.1", "667.33", "1280844.0"),
)

EXPECTED: Final[Mapping[str, Expected]] = {
    "aggs_1m_btc_usd": Gives(
        bars(BTC_USD, Interval.M1, "2026-11-20T14:57", "2026-11-20T15:00"),
        Series(BTC_USD, Interval.M1, Instrument.AGGREGATE, MINUTES),
    ),
    # Two are enough, so that the next page is not asked for.
    "aggs_1h_btc_usd_paged": Gives(
        bars(BTC_USD, Interval.H1, "2026-11-18T00:00", "2026-11-20T00:00", 2),
        Series(BTC_USD, Interval.H1, Instrument.AGGREGATE, HOURS),
    ),
    "aggs_1d_spy": Gives(
        bars(SPY, Interval.D1, "2026-11-17", "2026-11-20"), Series(SPY, Interval.D1, Instrument.STOCK, DAYS)
    ),
    "aggs_delayed_spy": Gives(
        bars(SPY, Interval.M5, "2026-11-20", "2026-11-21"),
        Series(SPY, Interval.M5, Instrument.STOCK, FIVES, is_live=False, note=LATE_NOTE),
    ),
    "aggs_empty": Refuses(NoData, by=bars(SPY, Interval.D1, "2026-11-21", "2026-11-23")),
    "prev_close_spy": Gives(
        body(lambda it: read_close(it, SPY, CLOCK_MS)),
        Price(SPY, Decimal("666.31"), Instrument.STOCK, ms("2026-11-19T21:00"), False, CLOSE_NOTE),
    ),
    "last_trade_spy": Gives(
        flow(ADAPTER, lambda: ADAPTER.price(SPY, CLOCK_MS)),
        Price(SPY, Decimal("667.41"), Instrument.STOCK, ms("2026-11-20T15:00:07.122")),
    ),
    "last_crypto_btc_usd": Gives(flow(ADAPTER, lambda: ADAPTER.price(BTC_USD, CLOCK_MS)), BTC_LAST),
    "snapshot_crypto_btc_usd": Gives(body(lambda it: read_snapshot(it, BTC_USD, CLOCK_MS)), BTC_LAST),
    "snapshot_v3_mixed": Gives(
        body(snapshots),
        {BTC_USD: BTC_LAST, NOSUCH: (UnknownSymbol, "REST polygon snapshot: Ticker not found.")},
    ),
    "trades_v3_btc_usd": Gives(
        body(lambda it: read_trades(it, BTC_USD, CLOCK_MS)),
        [
            BTC_LAST,
            Price(BTC_USD, Decimal("91319.55"), Instrument.AGGREGATE, ms("2026-11-20T15:00:06.511")),
        ],
    ),
    "reference_tickers_crypto": Gives(
        body(read_listing),
        [
            Listed("X:BTCUSD", "BTC", "USD", Instrument.AGGREGATE),
            Listed("X:ETHUSD", "ETH", "USD", Instrument.AGGREGATE),
        ],
    ),
    "market_status_now": Gives(body(read_clock), (ms("2026-11-20T15:00:07"), True)),
    "error_401_no_key": Refuses(KeyRefused),
    "error_401_unknown_key": Refuses(KeyRefused),
    "error_403_not_entitled": Refuses(NotEntitled),
    "error_403_timeframe": Refuses(NotEntitled),
    "error_400_bad_time": Refuses(RestRefused),
    "error_400_to_before_from": Refuses(RestRefused),
    "error_404_not_found": Refuses(UnknownSymbol),
    "error_409_conflict": Refuses(RestRefused),
    "error_429": Refuses(RestRateLimited),
    "error_429_empty_body": Refuses(RestRateLimited),
}
