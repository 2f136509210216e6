"""When markets trade, as far as a request for bars has to know it. Pure.

Crypto trades always. Stocks of the United States trade 6.5 hours on weekdays, and count their days in New York.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from streamer.providers.shape import AssetClass, Bar, Interval, Span

_LONGEST_REST_S: Final = 5 * 24 * 3600
_LATEST_S: Final = 3 * 3600
"""So long after its time a bar may still come (EODHD; of the others it takes minutes)."""


def zone(asset: AssetClass) -> tzinfo:
    """Return the zone in which a day of this asset begins at midnight."""
    return UTC if asset is AssetClass.CRYPTO else ZoneInfo("America/New_York")


def day_start_s(day: date, asset: AssetClass) -> int:
    """Return when a day of this asset begins."""
    return int(datetime.combine(day, time(), zone(asset)).timestamp())


def day_of(at_s: int, asset: AssetClass) -> date:
    """Return which day of this asset it is."""
    return datetime.fromtimestamp(at_s, zone(asset)).date()


def narrowed(span: Span, interval: Interval, asset: AssetClass, now_ms: int) -> Span:
    """Return the part of a span where its newest `limit` bars are: providers send and count all that is asked for.

    Of stocks it is taken with room for nights, weekends and holidays, so that more than `limit` may be in it. It
    ends no later than now, and is never empty.
    """
    length_s = span.limit * interval.seconds
    if asset is AssetClass.STOCK:
        # 252 of 365 days, and of those 6.5 of 24 hours, are 1 in 1.45 and 1 in 5.4.
        length_s = (length_s * 3 // 2 if interval is Interval.D1 else length_s * 6) + _LONGEST_REST_S
    to_s = max(span.from_s + 1, min(span.to_s, now_ms // 1000 + 1))
    return Span(max(span.from_s, to_s - length_s), to_s, span.limit)


def settled_ms(bars: Iterable[Bar], interval: Interval, now_ms: int) -> int:
    """Return until when all is there of a provider that sends its bars late: longer ones are over no sooner.

    That is the end of its last bar; three hours later there was no trade where there is none.
    """
    last_s = max((bar.start_s for bar in bars), default=0) + interval.seconds
    return min(now_ms, max(last_s * 1000, now_ms - _LATEST_S * 1000))
