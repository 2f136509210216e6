"""When stocks of the US trade: weekdays from 09:30 to 16:00 in New York. Pure.

Holidays and half days are not known here; see `missed` for what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from streamer.providers.shape import Interval

NEW_YORK: Final = ZoneInfo("America/New_York")
_OPEN, _CLOSE = time(9, 30), time(16)
_SATURDAY: Final = 5
_LONGEST: Final = timedelta(days=36_525)


@dataclass(frozen=True, slots=True)
class Missed:
    """What a gap between two bars of a stock means.

    Attributes:
        bars: How many are missing; whole days that may have been a holiday are not among them.
        days: Weekdays that may have been a holiday: those that stand alone.
    """

    bars: int
    days: int


def missed(before_s: int, after_s: int, interval: Interval) -> Missed:
    """Return what is missing between two bars that begin at these Unix seconds.

    A lone weekday without a bar is taken for a holiday, two in a row are a gap. Bars count only where they would
    begin within a session: before and after it there are some with one provider and none with another.
    """
    if after_s - before_s > _LONGEST.total_seconds():
        return Missed(0, 0)
    if interval is Interval.D1:
        # Whether the day of a bar begins at midnight in New York or in UTC, the date in UTC is the same.
        days = list(_weekdays(_utc_date(before_s) + timedelta(days=1), _utc_date(after_s)))
        return Missed(0, 1) if len(days) == 1 else Missed(len(days), 0)
    step_s = interval.seconds
    first, last = _date(before_s), _date(after_s)
    by_day = {
        day: count
        for day in _weekdays(first, last + timedelta(days=1))
        if (count := _slots_within(day, before_s, after_s, step_s))
    }
    whole = [day for day in by_day if first < day < last]
    holidays = whole if len(whole) == 1 else []
    return Missed(sum(count for day, count in by_day.items() if day not in holidays), len(holidays))


def _slots_within(day: date, before_s: int, after_s: int, step_s: int) -> int:
    """Return how many bars between the two would begin within the session of a day."""
    opens_s = int(datetime.combine(day, _OPEN, NEW_YORK).timestamp())
    closes_s = int(datetime.combine(day, _CLOSE, NEW_YORK).timestamp())
    first = max(1, -(-(opens_s - before_s) // step_s))
    end = -(-(min(closes_s, after_s) - before_s) // step_s)
    return max(0, end - first)


def _weekdays(first: date, end: date) -> Iterator[date]:
    while first < end:
        if first.weekday() < _SATURDAY:
            yield first
        first += timedelta(days=1)


def _utc_date(at_s: int) -> date:
    return datetime.fromtimestamp(at_s, UTC).date()


def _date(at_s: int) -> date:
    return datetime.fromtimestamp(at_s, NEW_YORK).date()
