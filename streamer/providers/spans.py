"""Bars put in order: cut to what was asked for, marked as open or closed, and put together to longer ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamer.providers.shape import Bar, Interval, Span


def within(bars: Iterable[Bar], span: Span) -> tuple[Bar, ...]:
    """Return the bars of a span, oldest first, the newest `limit` of them; doubles stay."""
    found = sorted((bar for bar in bars if span.from_s <= bar.start_s < span.to_s), key=lambda bar: bar.start_s)
    return tuple(found[max(0, len(found) - span.limit) :])


def is_closed(start_s: int, interval: Interval, now_ms: int) -> bool:
    """Whether a bar is over."""
    return (start_s + interval.seconds) * 1000 <= now_ms


def joined(bars: Sequence[Bar], interval: Interval, now_ms: int) -> tuple[Bar, ...]:
    """Return longer bars made of shorter ones, each beginning at a multiple of `interval` in UTC.

    The first is left out where its beginning is missing: half a bar is none. Gaps within are not seen here.
    """
    buckets: dict[int, list[Bar]] = {}
    for bar in sorted(bars, key=lambda bar: bar.start_s):
        buckets.setdefault(bar.start_s // interval.seconds * interval.seconds, []).append(bar)
    first = min(buckets, default=0)
    if buckets and buckets[first][0].start_s != first:
        del buckets[first]
    return tuple(
        _joined(start_s, parts, is_closed(start_s, interval, now_ms)) for start_s, parts in buckets.items()
    )


def widened(span: Span, interval: Interval, part: Interval) -> Span:
    """Return the span of shorter bars that it takes to put together the bars of `span`."""
    parts = interval.seconds // part.seconds
    return Span(
        span.from_s // interval.seconds * interval.seconds,
        -(-span.to_s // interval.seconds) * interval.seconds,
        span.limit * parts + parts,
    )


def _joined(start_s: int, parts: Sequence[Bar], closed: bool) -> Bar:
    volumes = [part.volume for part in parts]
    known = [volume for volume in volumes if volume is not None]
    return Bar(
        start_s,
        open=parts[0].open,
        high=max(part.high for part in parts),
        low=min(part.low for part in parts),
        close=parts[-1].close,
        volume=sum(known[1:], known[0]) if len(known) == len(volumes) else None,
        is_closed=closed and all(part.is_closed for part in parts),
    )
