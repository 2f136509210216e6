"""Replies of Redis to stored values; what is damaged or foreign is counted and treated as absent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from streamer.model import Bucket, Candle, ProductId, is_product_id
from streamer.reader.freshness import FeedLife, parse_feeds
from streamer.store.candle_records import StoredCandles, parse_candles
from streamer.store.records import StoredTicker

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)

_MOST_REMEMBERED = 2000
_MOST_CANDLES = 30_000


class FeedFacts(NamedTuple):
    """What a lookup has shown of the world.

    Attributes:
        now_ms: Clock of Redis.
        lives: Proof of life of each feed.
    """

    now_ms: int
    lives: Mapping[str, FeedLife]


class _FromFields(Protocol[S_co]):
    def __call__(self, fields: Mapping[str, str], /) -> S_co: ...


class Parser:
    """Reads what Redis holds.

    Attributes:
        closed_candles: Candles made before, which do not change any more.
        damaged: Values passed over because they are not what the schema says.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._feeds: tuple[Any, dict[str, FeedLife]] = (None, {})
        self.closed_candles: dict[Bucket, Candle] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._tickers: dict[ProductId, tuple[Any, StoredTicker]] = {}

    def facts(self, clock: Any, feeds: Any) -> FeedFacts:
        """Return the facts from replies of TIME and of HGETALL of the feeds."""
        raw, lives = self._feeds
        if feeds != raw:  # it changes once a second, and is read thousands of times
            lives = parse_feeds(
                as_text(feeds, errors="replace")
            )  # bytes that are no text spoil their own entry only
            self._feeds = feeds, lives  # at once: other threads read it too
        return FeedFacts(int(clock[0]) * 1000 + int(clock[1]) // 1000, lives)

    def parsed(self, parse: _FromFields[S], reply: Any) -> S | None:
        """Return a hash as `parse` reads it; None where there is none, or another thing."""
        if not reply:
            return None
        try:
            return parse(as_text(reply))
        except ValueError:
            self.damaged += 1
            return None

    def ticker(self, reply: Any, product_id: ProductId) -> StoredTicker | None:
        """Return a ticker hash; None where there is none, or it is of another product."""
        before = self._tickers.get(product_id)
        if before is not None and before[0] == reply:  # many read what changes a few times a second
            return before[1]
        stored = self.parsed(StoredTicker, reply)
        if stored is None:
            return None
        if stored.ticker.product_id != product_id:
            self.damaged += 1
            return None
        if len(self._tickers) >= _MOST_REMEMBERED:
            self._tickers.clear()
        self._tickers[product_id] = reply, stored
        return stored

    def candles(self, reply: Any, fields: Sequence[str] | None = None) -> StoredCandles | None:
        """Return candles from the reply of the transaction that reads both hashes.

        Args:
            fields: The buckets that were asked for, in order; None where all were.
        """
        if not isinstance(reply, list) or len(reply) != 2 or not reply[0] or not reply[1]:
            return None
        raw = as_text(reply[0]) if fields is None else _picked(fields, reply[0])
        if len(self._buckets) > _MOST_CANDLES:
            self._buckets.clear()
            self.closed_candles.clear()
        try:
            stored = parse_candles(raw, as_text(reply[1]), self._buckets)
        except ValueError:
            self.damaged += 1
            return None
        self.damaged += stored.damaged
        if fields is not None:
            stored.since_s = max(stored.since_s, int(fields[0]))
        return stored


def as_text(raw: Any, *, errors: str = "strict") -> dict[str, str]:
    """Return a reply of HGETALL as text; a key of another type, or bytes that are no text, as {}."""
    if isinstance(raw, list):  # RESP2
        raw = dict(zip(raw[::2], raw[1::2], strict=False))
    if not isinstance(raw, dict):
        return {}
    try:
        return {name.decode(errors=errors): value.decode(errors=errors) for name, value in raw.items()}
    except UnicodeDecodeError:
        return {}


def _picked(fields: Sequence[str], values: Any) -> dict[str, str]:
    """Return a reply of HMGET as text."""
    if not isinstance(values, list):
        return {}
    try:
        return {field: value.decode() for field, value in zip(fields, values, strict=True) if value is not None}
    except UnicodeDecodeError:
        return {}


def names(raw: Any) -> frozenset[str]:
    """Return the members of a set that can be ids; a key of another type as none."""
    members = raw if isinstance(raw, set | list) else ()
    return frozenset(name for member in members if is_product_id(name := member.decode("ascii", "replace")))
