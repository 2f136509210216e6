"""Bars: cut to a span, open or closed, and put together to longer ones."""

from __future__ import annotations

from decimal import Decimal

import pytest

from streamer.providers.shape import Bar, Interval, Span
from streamer.providers.spans import is_closed, joined, widened, within

HOUR = 3600
DAY = 24 * HOUR


def bar(
    start_s: int, price: int = 5, high: int = 6, low: int = 4, volume: int | None = 1, *, closed: bool = True
) -> Bar:
    """A bar that closes one above its open."""
    amount = None if volume is None else Decimal(volume)
    return Bar(start_s, Decimal(price), Decimal(high), Decimal(low), Decimal(price + 1), amount, closed)


def test_within_takes_the_newest_of_a_span_in_order() -> None:
    """The beginning counts in, the end does not; the oldest are left out where there are too many."""
    bars = [bar(start_s) for start_s in (300, 60, 0, 240, 120, 180)]
    assert [found.start_s for found in within(bars, Span(60, 300, 3))] == [120, 180, 240]
    assert [found.start_s for found in within(bars, Span(60, 300, 100))] == [60, 120, 180, 240]


@pytest.mark.parametrize("limit", [0, -1])
def test_within_takes_none_where_none_is_wanted(limit: int) -> None:
    """A limit of nothing is not one of everything."""
    assert within([bar(0), bar(60)], Span(0, 120, limit)) == ()


def test_doubles_stay() -> None:
    """Two bars of one time are for whoever judges them to see."""
    assert len(within([bar(0), bar(0, 7)], Span(0, 60, 10))) == 2


@pytest.mark.parametrize(("now_ms", "closed"), [(3_599_999, False), (3_600_000, True)])
def test_a_bar_is_over_at_its_end(now_ms: int, closed: bool) -> None:
    """To the millisecond."""
    assert is_closed(0, Interval.H1, now_ms) is closed


def test_bars_are_joined_at_multiples_of_the_longer_one() -> None:
    """First open, last close, highest, lowest, sum of volumes; in whatever order they came."""
    parts = [bar(4 * HOUR + n * HOUR, 5 + n, 10 - n, 4 - n, n) for n in (3, 1, 0, 2)]
    (found,) = joined(parts, Interval.H4, 8 * HOUR * 1000)
    assert found == Bar(4 * HOUR, Decimal(5), Decimal(10), Decimal(1), Decimal(9), Decimal(6))


def test_half_a_bar_at_the_beginning_is_none() -> None:
    """Where the first part is missing the longer bar would begin with a wrong price."""
    parts = [bar(hour * HOUR) for hour in (1, 2, 3, 4, 5)]
    assert [found.start_s for found in joined(parts, Interval.H4, 9 * HOUR * 1000)] == [4 * HOUR]
    assert joined(parts[:2], Interval.H4, 9 * HOUR * 1000) == ()
    assert joined([], Interval.H4, 0) == ()


def test_a_joined_bar_is_closed_when_it_and_its_parts_are() -> None:
    """By the clock, and by what the provider calls open."""
    parts = [bar(hour * HOUR) for hour in range(4)]
    assert not joined(parts, Interval.H4, 4 * HOUR * 1000 - 1)[0].is_closed
    assert joined(parts, Interval.H4, 4 * HOUR * 1000)[0].is_closed
    parts[3] = bar(3 * HOUR, closed=False)
    assert not joined(parts, Interval.H4, 4 * HOUR * 1000)[0].is_closed


def test_a_part_without_volume_leaves_the_sum_unknown() -> None:
    """A sum of some is not the volume."""
    assert joined([bar(0), bar(HOUR, volume=None)], Interval.H4, 0)[0].volume is None


def test_a_widened_span_has_all_parts_of_its_bars() -> None:
    """From the beginning of the first longer bar to the end of the last one, and as many as may be in them."""
    assert widened(Span(DAY + 1, 2 * DAY + 1, 2), Interval.D1, Interval.H4) == Span(DAY, 3 * DAY, 18)
    assert widened(Span(DAY, 2 * DAY, 1), Interval.D1, Interval.H1) == Span(DAY, 2 * DAY, 48)
