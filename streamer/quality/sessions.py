"""How many bars of a stock are missing between two. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from streamer.providers.sessions import day_of, session
from streamer.providers.shape import AssetClass, Interval

_DAY: Final = timedelta(days=1)
_LONGEST_S: Final = 36_525 * 86_400


def missed(before_s: int, after_s: int, interval: Interval) -> int:
    """Return how many bars are missing between two that begin at these Unix seconds.

    Bars count only where they would begin within a session: before and after it there are some with one provider
    and none with another.
    """
    if after_s - before_s > _LONGEST_S:
        return 0
    if interval is Interval.D1:
        # Whether the day of a bar begins at midnight in New York or in UTC, the date in UTC is the same.
        return sum(session(day) is not None for day in _days(_utc_date(before_s) + _DAY, _utc_date(after_s)))
    first, last = (day_of(at_s, AssetClass.STOCK) for at_s in (before_s, after_s))
    return sum(_slots_within(day, before_s, after_s, interval.seconds) for day in _days(first, last + _DAY))


def _slots_within(day: date, before_s: int, after_s: int, step_s: int) -> int:
    """Return how many bars between the two would begin within the session of a day."""
    hours = session(day)
    if hours is None:
        return 0
    first = max(1, -(-(hours.opens_s - before_s) // step_s))
    end = -(-(min(hours.closes_s, after_s) - before_s) // step_s)
    return max(0, end - first)


def _days(first: date, end: date) -> Iterator[date]:
    while first < end:
        yield first
        first += _DAY


def _utc_date(at_s: int) -> date:
    return datetime.fromtimestamp(at_s, UTC).date()
