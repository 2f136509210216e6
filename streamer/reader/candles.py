"""Stored five-minute candles to the candles that were asked for: aggregated, complete, and judged. Pure."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import replace
from decimal import Context, Decimal, Inexact
from functools import reduce
from itertools import groupby

from streamer.errors import ConfigError
from streamer.model import CANDLE_S, CLOSING_S, Bucket, Candle, Granularity, Reading, Tier
from streamer.reader.freshness import STALE_AFTER_S, FeedLife, age_since, certain_ms, why_not_realtime
from streamer.store.candle_records import StoredCandles

# The default context rounds to 28 digits. Volumes have at most 64: a sum of any number of them fits.
_EXACT = Context(prec=200, traps=[Inexact])


def aggregate(
    buckets: Iterable[Bucket],
    granularity: Granularity,
    *,
    since_s: int,
    now_s: float,
    known: MutableMapping[Bucket, Candle] | None = None,
) -> list[Candle]:
    """Return candles made of five-minute buckets, the oldest first.

    They begin at multiples of their length in Unix time, so days are days in UTC. Where nothing was traded there is
    no candle. One that begins before `since_s` would be incomplete and is left out, also at five minutes.

    Args:
        buckets: In any order, each start once.
        since_s: The bucket from which on none is missing but those without trades.
        now_s: Unix time up to which the buckets are known. A candle is closed from two seconds after its end on:
            until then its last values may still come.
        known: Closed five-minute candles made before, which do not change any more. Grows.

    Raises:
        ConfigError: The candles asked for cannot be made of five-minute ones.
    """
    length_s = granularity.seconds
    if length_s % CANDLE_S:
        raise ConfigError(
            "granularity", granularity.value, f"expected a multiple of {CANDLE_S} s: it is {length_s} s"
        )

    def start_of(bucket: Bucket) -> int:
        return bucket.start_s // length_s * length_s

    ordered = sorted((b for b in buckets if start_of(b) >= since_s), key=lambda bucket: bucket.start_s)
    if length_s == CANDLE_S:
        return [_single(bucket, now_s, {} if known is None else known) for bucket in ordered]
    return [
        _candle(start_s, list(parts), closed=start_s + length_s + CLOSING_S <= now_s)
        for start_s, parts in groupby(ordered, start_of)
    ]


def _single(bucket: Bucket, now_s: float, known: MutableMapping[Bucket, Candle]) -> Candle:
    candle = known.get(bucket)
    if candle is None:
        closed = bucket.start_s + CANDLE_S + CLOSING_S <= now_s
        candle = _candle(bucket.start_s, [bucket], closed=closed)
        if closed:
            known[bucket] = candle
    return candle


def _candle(start_s: int, parts: list[Bucket], *, closed: bool) -> Candle:
    return Candle(
        start_s=start_s,
        open=Decimal(parts[0].open),
        high=max(Decimal(part.high) for part in parts),
        low=min(Decimal(part.low) for part in parts),
        close=Decimal(parts[-1].close),
        volume=reduce(_EXACT.add, (Decimal(part.volume) for part in parts)),
        closed=closed,
    )


def candles_reading(
    stored: StoredCandles,
    feed: FeedLife | None,
    now_ms: int,
    granularity: Granularity,
    *,
    limit: int | None = None,
    stale_after_s: float = STALE_AFTER_S,
    known: MutableMapping[Bucket, Candle] | None = None,
) -> Reading[tuple[Candle, ...]]:
    """Return stored candles as a reading, judged at `now_ms` on the clock of Redis.

    Realtime by the rules of a ticker. A candle counts as closed only where the stream was known to be whole when it
    closed: of a dead feed the last candle stays open, however long ago it ended.

    Args:
        limit: How many, the newest; None means all that are complete. Fewer come where less is known or traded.
        known: See `aggregate`.

    Raises:
        ConfigError: The candles asked for cannot be made of five-minute ones, or `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError("limit", limit, "expected 1 or more")
    reason = why_not_realtime(stored, feed, now_ms, stale_after_s)
    known_ms = certain_ms(stored, feed, now_ms)
    now_s = min(known_ms, now_ms) / 1000
    candles = aggregate(stored.buckets, granularity, since_s=stored.since_s, now_s=now_s, known=known)
    return Reading(
        value=tuple(candles if limit is None else candles[-limit:]),
        tier=Tier.STALE if reason else Tier.REALTIME,
        age_s=age_since(known_ms, now_ms, is_realtime=reason is None),
        value_age_s=max(0.0, now_ms / 1000 - stored.time.timestamp()),
        as_of=stored.time,
        source=stored.source.value,
        reason=reason,
    )


def reaches_back(
    stored: StoredCandles, candles: Sequence[Candle], granularity: Granularity, limit: int, now_ms: int
) -> bool:
    """Whether the stream has all of the newest `limit` candles: so many, or from the first of them on.

    Args:
        candles: What was made of `stored`.
    """
    length_s = granularity.seconds
    first_s = (now_ms // 1000 // length_s - limit + 1) * length_s
    return len(candles) >= limit or stored.since_s <= first_s


def extended(
    stream: Reading[tuple[Candle, ...]],
    copy: Reading[tuple[Candle, ...]],
    granularity: Granularity,
    limit: int,
    fetched_ms: int,
) -> Reading[tuple[Candle, ...]] | None:
    """Return the stream's candles with those of a REST copy before them; None where a hole is between them.

    A closed candle does not change any more, so the whole is as good as the stream, whatever the age of the copy.

    Args:
        copy: The newest `limit` candles when it was fetched.
        fetched_ms: When that was, on the clock of Redis.
    """
    if not stream.value:
        return None
    from_s = stream.value[0].start_s
    if from_s + CLOSING_S > fetched_ms / 1000 or copy.source != stream.source:
        return None
    earlier = tuple(candle for candle in copy.value if candle.start_s < from_s)
    if not all(candle.closed for candle in earlier):
        return None
    return replace(stream, value=(earlier + stream.value)[-limit:])
