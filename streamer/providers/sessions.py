"""When markets trade: the one home of it. Pure.

Crypto trades always. Stocks of the United States trade from 09:30 to 16:00 in New York, where their days are
counted too; on half days to 13:00, and not on weekends and holidays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from streamer.providers.shape import AssetClass, Bar, Interval, Span

_OPENS, _CLOSES, _CLOSES_EARLY = time(9, 30), time(16), time(13)
_SATURDAY: Final = 5
_LONGEST_REST_S: Final = 5 * 24 * 3600
"""From a Thursday's close over a holiday and a weekend."""
_LATEST_S: Final = 3 * 3600
"""So long after its time a bar may still come (EODHD; of the others it takes minutes)."""


@dataclass(frozen=True, slots=True)
class Session:
    """When stocks trade on one day, in Unix seconds; at `closes_s` they do no more."""

    opens_s: int
    closes_s: int


def zone(asset: AssetClass) -> tzinfo:
    """Return the zone in which a day of this asset begins at midnight."""
    return UTC if asset is AssetClass.CRYPTO else ZoneInfo("America/New_York")


def day_start_s(day: date, asset: AssetClass) -> int:
    """Return when a day of this asset begins."""
    return int(datetime.combine(day, time(), zone(asset)).timestamp())


def day_of(at_s: int, asset: AssetClass) -> date:
    """Return which day of this asset it is."""
    return datetime.fromtimestamp(at_s, zone(asset)).date()


def session(day: date) -> Session | None:
    """Return when stocks trade on a day, None where they do not.

    A special closure is known from the release of `holidays` on that lists it. All half days end at 13:00 here, as
    they do but for some of before 1995, which were longer.
    """
    if day.weekday() >= _SATURDAY:
        return None
    holidays, half_days = _days_off(day.year)
    if day in holidays:
        return None
    ends = (_OPENS, _CLOSES_EARLY if day in half_days else _CLOSES)
    opens, closes = (datetime.combine(day, at, zone(AssetClass.STOCK)) for at in ends)
    return Session(int(opens.timestamp()), int(closes.timestamp()))


@cache
def _days_off(year: int) -> tuple[frozenset[date], frozenset[date]]:
    """Return the holidays of a year, and its half days."""
    # Loading it takes a tenth of a second: only who deals with stocks waits for that, and once.
    from holidays import HALF_DAY, PUBLIC, financial_holidays

    # Its calendars fill themselves as they are asked, which threads must not see: what is kept is whole.
    off, half = (frozenset(financial_holidays("XNYS", years=year, categories=kind)) for kind in (PUBLIC, HALF_DAY))
    return off, half


def narrowed(span: Span, interval: Interval, asset: AssetClass, now_ms: int) -> Span:
    """Return the part of a span where its newest `limit` bars are: providers send and count all that is asked for.

    Of stocks it is taken with room for nights, weekends and holidays, so that more than `limit` may be in it. It
    ends no later than now, and is never empty.
    """
    to_s = max(span.from_s + 1, min(span.to_s, now_ms // 1000 + 1))
    return Span(max(span.from_s, to_s - room_s(span.limit, interval, asset)), to_s, span.limit)


def room_s(count: int, interval: Interval, asset: AssetClass) -> int:
    """Return how far back `count` bars may reach: of stocks also over nights, weekends and holidays."""
    length_s = count * interval.seconds
    if asset is AssetClass.CRYPTO:
        return length_s
    # 252 of 365 days, and of those 6.5 of 24 hours, are 1 in 1.45 and 1 in 5.4.
    return (length_s * 3 // 2 if interval is Interval.D1 else length_s * 6) + _LONGEST_REST_S


def settled_ms(bars: Iterable[Bar], interval: Interval, now_ms: int) -> int:
    """Return until when all is there of a provider that sends its bars late: longer ones are over no sooner.

    That is the end of its last bar; three hours later there was no trade where there is none.
    """
    last_s = max((bar.start_s for bar in bars), default=0) + interval.seconds
    return min(now_ms, max(last_s * 1000, now_ms - _LATEST_S * 1000))
