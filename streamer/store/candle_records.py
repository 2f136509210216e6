"""Candles to hash fields and back: the one place that knows how they look in Redis. Pure."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec

from streamer.model import CANDLE_S, Bucket, ProductId, Source, Stamp
from streamer.store.records import parse_count, parse_decimal, parse_json, parse_time

_encode = msgspec.json.Encoder().encode


class PendingCandles(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis does not have yet of one product's candles.

    Attributes:
        buckets: What to write, oldest first: what has changed, or all there is.
        is_whole: Whether `buckets` is all there is; then it replaces what Redis holds.
        evicted: Starts of the buckets to remove, none where it is whole.
        size: How many buckets Redis holds afterwards.
        since_s: Start of the first bucket from which on nothing is missing: no bucket there means no trades.
        newest_s: Start of the newest bucket.
        stamp: The connection of the newest message of the stream; `sequence`, `time` and `received_s` are its own.
        suspect: The stream was lost and has not said anything since; what is newer than the loss is unknown.
        waiting_since_s: Unix time at which the oldest change not yet in Redis reached us.
    """

    product_id: ProductId
    buckets: tuple[Bucket, ...]
    is_whole: bool
    evicted: tuple[int, ...]
    size: int
    since_s: int
    newest_s: int
    stamp: Stamp
    sequence: int
    time: str
    received_s: float
    suspect: bool
    waiting_since_s: float


def candle_record(pending: PendingCandles, *, epoch: int) -> dict[str, Any]:
    """Return one record for `write_candles.lua`: what to set and to drop, and the meta fields.

    All but `written_ms`, which the script takes from the clock of Redis.
    """
    fields: list[str] = []
    for bucket in pending.buckets:
        fields += (str(bucket.start_s), bucket_json(bucket))
    meta = {
        "feed": pending.stamp.feed,
        "connection": str(pending.stamp.connection),
        "sequence": str(pending.sequence),
        "epoch": str(epoch),
        "source": pending.stamp.source.value,
        "time": pending.time,
        "received_ms": str(int(pending.received_s * 1000)),
        "since_s": str(pending.since_s),
        "newest_s": str(pending.newest_s),
    }
    if pending.suspect:
        meta["suspect"] = "1"
    return {
        "whole": pending.is_whole,
        "set": fields,
        "drop": [str(start_s) for start_s in pending.evicted],
        "size": pending.size,
        "meta": meta,
    }


def bucket_json(bucket: Bucket) -> str:
    """Return the value of a bucket's field: `["open","high","low","close","volume"]`."""
    return _encode((bucket.open, bucket.high, bucket.low, bucket.close, bucket.volume)).decode()


class StoredCandles:
    """The candles of a product as read from Redis, with what a reader needs to judge them.

    Attributes:
        buckets: Those that are sound, oldest first.
        damaged: Fields passed over because they are not what the schema says.
        since_s: From this bucket on nothing is missing; it is after the newest damaged one.
        newest_s: Start of the newest bucket.
        feed: Feed id, a field of `stream:feeds`.
        connection: Which connection of that feed wrote it.
        sequence: Of the newest message, within that connection.
        epoch: Fencing epoch of its writer.
        time: When the exchange stamped the newest message.
        received_ms: Clock of the ingester when that reached it.
        written_ms: Clock of Redis at the last write.
        suspect: The stream was lost, and the product has not been seen since.
    """

    __slots__ = (
        "buckets",
        "connection",
        "damaged",
        "epoch",
        "feed",
        "newest_s",
        "received_ms",
        "sequence",
        "since_s",
        "source",
        "suspect",
        "time",
        "written_ms",
    )

    def __init__(
        self,
        raw: Mapping[str, str],
        meta: Mapping[str, str],
        known: MutableMapping[tuple[str, str], Bucket],
    ) -> None:
        """Parse both hashes.

        Raises:
            ValueError: The meta hash is not what the schema says, or the candles are not those it speaks of.
        """
        try:
            self.feed = meta["feed"]
            self.connection = parse_count(meta["connection"])
            self.sequence = parse_count(meta["sequence"])
            self.epoch = parse_count(meta["epoch"])
            self.received_ms = parse_count(meta["received_ms"])
            self.written_ms = parse_count(meta["written_ms"])
            self.source = Source(meta["source"])
            self.time = parse_time(meta["time"])
            self.since_s = parse_count(meta["since_s"])
            self.newest_s = parse_count(meta["newest_s"])
            self.suspect = meta.get("suspect") == "1"
        except KeyError as exc:
            raise ValueError(f"field {exc} is missing") from exc
        if str(self.newest_s) not in raw:
            raise ValueError(f"the newest bucket, {self.newest_s}, is missing")
        self.damaged, buckets = 0, []
        for field, value in raw.items():
            bucket = known.get((field, value))
            if bucket is not None:
                buckets.append(bucket)
                continue
            start_s = _parse_start(field)
            bucket = None if start_s is None else _parse_bucket(start_s, value)
            if bucket is not None:
                buckets.append(bucket)
                known[field, value] = bucket
                continue
            self.damaged += 1
            if start_s is not None:  # it would pass for five minutes without trades
                self.since_s = max(self.since_s, start_s + CANDLE_S)
        self.buckets = tuple(sorted(buckets, key=lambda bucket: bucket.start_s))


def parse_candles(
    raw: Mapping[str, str],
    meta: Mapping[str, str],
    known: MutableMapping[tuple[str, str], Bucket] | None = None,
) -> StoredCandles:
    """Return the candles of a product from its two hashes; read both in one transaction, they belong together.

    A damaged bucket is passed over and counted, and what is complete begins after it.

    Args:
        known: Buckets read before, by field and value: nearly all are the same the next time. Grows.

    Raises:
        ValueError: Foreign or damaged data, or one of the two hashes is gone.
    """
    return StoredCandles(raw, meta, {} if known is None else known)


def _parse_start(field: str) -> int | None:
    try:
        start_s = parse_count(field)
    except ValueError:
        return None
    return start_s if start_s % CANDLE_S == 0 and str(start_s) == field else None


def _parse_bucket(start_s: int, value: str) -> Bucket | None:
    texts = parse_json(value, tuple[str, str, str, str, str])
    if texts is None:
        return None
    try:
        *_, volume = map(parse_decimal, texts)
    except ValueError:
        return None
    return Bucket(start_s, *texts) if volume >= 0 else None
