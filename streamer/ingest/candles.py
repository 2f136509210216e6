"""The newest five-minute candles of every product, from where on they are complete, and what Redis lacks. Pure.

The exchange sends no bucket for five minutes without trades, so a bucket that is missing means "no trades" or "we
do not know". Coverage tells the two apart: for each product the book knows from which bucket on it has everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import Final

from streamer.ingest.dirty import Dirty
from streamer.model import CANDLE_S, CLOSING_S, Bucket, ProductId, Stamp
from streamer.store.candle_records import PendingCandles

KEEP: Final = 350
"""Buckets kept of a product, the newest: as many as one REST answer may hold."""

_NOTICED_WITHIN_S = 4
"""A gap shows at the next heartbeat, a second later; a connection that is silent is given up after 3.5 s."""
_AHEAD_S = 86_400
"""A bucket that begins later than a day from now is damaged; it would pass for the newest until then."""
_ENDLESS = 1 << 60
_MOST_SPANS = 50
"""Pieces of coverage kept of a product; more come only where the stream breaks for days without a backfill."""

_Origin = tuple[Stamp | None, int]
"""Connection and sequence of the message that a bucket came in; None where it is from REST."""


class CandleBook:
    """The newest buckets of each product, and what of them Redis does not have yet.

    Within one connection the later message wins. Across connections, and against REST, messages have no common
    order; but a bucket only ever gains trades, so the one with the larger volume knows more of it and wins.

    Conflates: a slow or absent Redis costs freshness, never memory. Give it what the feed has put in order; a late
    frame may be left out.

    Args:
        on_dirty: Called when there is something to write where there was nothing.
        keep: Buckets to keep of a product.

    Attributes:
        refused: Buckets passed over because they cannot be: not at a multiple of five minutes, or far ahead.
    """

    def __init__(self, on_dirty: Callable[[], None] = lambda: None, *, keep: int = KEEP) -> None:
        self._keep = keep
        self._products: dict[ProductId, _Product] = {}
        self._dirty = Dirty[ProductId](on_dirty)
        self.refused = 0

    def __len__(self) -> int:
        return len(self._products)

    def buckets(self, product_id: ProductId) -> list[Bucket]:
        """Return the buckets of a product, oldest first; [] where there are none."""
        product = self._products.get(product_id)
        return product.sorted_buckets() if product is not None else []

    def since_s(self, product_id: ProductId) -> int | None:
        """Return from which bucket on nothing is missing, up to now or to the last loss; None if from none."""
        product = self._products.get(product_id)
        return product.since_s if product is not None and product.spans else None

    def stamp(self, product_id: ProductId) -> Stamp | None:
        """Return through which connection the stream last spoke of a product, None before it first did."""
        product = self._products.get(product_id)
        return product.stamp if product is not None else None

    def is_suspect(self, product_id: ProductId) -> bool:
        """Whether the stream of a product was lost and has not spoken since."""
        product = self._products.get(product_id)
        return product is not None and product.is_suspect

    # -- what comes in ------------------------------------------------------------------------------------------

    def apply(
        self,
        product_id: ProductId,
        buckets: Iterable[Bucket],
        *,
        stamp: Stamp,
        sequence: int,
        time: str,
        received_s: float,
        is_snapshot: bool = False,
    ) -> bool:
        """Take the buckets of one message of the stream; return whether there is something to write.

        Args:
            buckets: With sound numbers, in any order.
            stamp: Its connection.
            sequence: Of its frame, within that connection.
            time: The exchange's timestamp of the frame, RFC 3339 ending in Z.
            received_s: Unix time at which the frame reached us.
            is_snapshot: Whether it is a snapshot of which nothing was dropped on the way. Then buckets missing
                between its oldest and now had no trades. Else only an unbroken run up to its newest is complete.
        """
        sound = self._sound(buckets, received_s)
        if not sound:
            return False
        product = self._products.setdefault(product_id, _Product())
        changed = product.take(sound, (stamp, sequence), self._keep)
        if product.is_in_order(stamp, sequence, time):
            start_s = min(b.start_s for b in sound) if is_snapshot else _run_start(sound)
            changed |= product.follow(start_s, stamp, sequence, time, received_s)
        if changed:
            self._mark(product_id, product, received_s)
        return changed

    def backfilled(self, product_id: ProductId, buckets: Iterable[Bucket], from_s: int, to_s: int) -> bool:
        """Take what REST has answered for a range; return whether there is something to write.

        Args:
            buckets: All that the answer holds.
            from_s: Where the range begins, Unix seconds.
            to_s: Where it ends, or when it was asked for, whichever is earlier. What had ended two seconds before
                is complete.
        """
        product = self._products.setdefault(product_id, _Product())
        changed = product.take(self._sound(buckets, to_s), (None, 0), self._keep)
        start_s, end_s = -(-from_s // CANDLE_S) * CANDLE_S, _bucket_at(to_s - CLOSING_S)
        changed |= product.fill(start_s, end_s)
        if changed:
            self._mark(product_id, product, to_s)
        return changed

    def lost(self, product_ids: Iterable[ProductId], now_s: float) -> None:
        """A gap or the end of a connection: coverage of these products ends with the buckets known to be complete.

        It goes on where the next snapshot, or a backfill, reaches back to there; else it starts anew.

        Args:
            now_s: Unix time at which the loss was noticed. A feed that takes more than 4 s to notice its silence
                must give the time of its last proof of life.
        """
        for product_id in product_ids:
            product = self._products.get(product_id)
            if product is not None and product.lose(now_s):
                self._mark(product_id, product, now_s)

    def needs(self, product_ids: Iterable[ProductId]) -> list[ProductId]:
        """Return those of which a backfill is needed, in the order given.

        Their coverage is shorter than what the book keeps, and none has been joined to it since it began. Never
        one of which the stream has not spoken (again): a snapshot may spare the backfill, and one done before
        would leave a hole.
        """
        return [p for p in product_ids if p in self._products and self._products[p].needs_backfill(self._keep)]

    # -- what goes out ------------------------------------------------------------------------------------------

    def rewrite(self, product_ids: Iterable[ProductId] | None, now_s: float) -> None:
        """Have products written whole (None: all): Redis has lost them, or what it has is not ours."""
        if product_ids is None:
            self._dirty.clear()  # what waited for another owner has not waited for us
            product_ids = list(self._products)
        for product_id in product_ids:
            if product_id in self._products:
                self._products[product_id].whole()
                self._mark(product_id, self._products[product_id], now_s)

    def renew(self, product_ids: Iterable[ProductId], now_s: float) -> None:
        """Have the life of products in Redis renewed, with what has changed and no more.

        Where Redis turns out not to have them whole, its answer says so.
        """
        for product_id in product_ids:
            if product_id in self._products:
                self._mark(product_id, self._products[product_id], now_s)

    def forget(self, keep: Collection[ProductId]) -> set[ProductId]:
        """Drop every product but those to `keep`, because nobody wants them any more; return what was dropped."""
        dropped = self._products.keys() - keep
        for product_id in dropped:
            del self._products[product_id]
            self._dirty.pop(product_id, None)
        return dropped

    def drain(self, limit: int) -> list[PendingCandles]:
        """Hand over up to `limit` products to write, longest waiting first."""
        return [self._products[p].pending(p, waiting_since_s) for p, waiting_since_s in self._dirty.take(limit)]

    def restore(self, batch: Iterable[PendingCandles]) -> None:
        """Take back what could not be written; what has changed since goes on with its newer value."""
        known = [pending for pending in batch if pending.product_id in self._products]
        for pending in known:
            self._products[pending.product_id].put_back(pending)
        self._dirty.put_back((pending.product_id, pending.waiting_since_s) for pending in known)

    @property
    def dirty(self) -> int:
        """How many products Redis does not have the newest candles of."""
        return len(self._dirty)

    def oldest_dirty_s(self) -> float | None:
        """Unix time of the longest waiting change, None where there is none."""
        return self._dirty.oldest_s

    def _sound(self, buckets: Iterable[Bucket], now_s: float) -> list[Bucket]:
        given = list(buckets)
        sound = [b for b in given if b.start_s % CANDLE_S == 0 and 0 <= b.start_s <= now_s + _AHEAD_S]
        self.refused += len(given) - len(sound)
        return sound

    def _mark(self, product_id: ProductId, product: _Product, since_s: float) -> None:
        if product.stamp is not None:  # a reader could not judge what no connection vouches for
            self._dirty.mark(product_id, since_s)


class _Product:
    """The buckets of one product.

    Attributes:
        floor_s: What is older has been dropped.
        spans: From which bucket to which (the first that is not) everything is known; apart and in order. While
            the stream is not lost, the last one has no end.
        changed: Starts of buckets that Redis does not have; empty while `is_whole`, as is `evicted`.
        is_whole: Whether Redis needs all of it.
        is_joined: Whether a backfill has been joined to the last span.
    """

    __slots__ = (
        "buckets",
        "changed",
        "evicted",
        "floor_s",
        "is_joined",
        "is_suspect",
        "is_whole",
        "newest_s",
        "origins",
        "received_s",
        "sequence",
        "spans",
        "stamp",
        "time",
    )

    def __init__(self) -> None:
        self.buckets: dict[int, Bucket] = {}
        self.origins: dict[int, _Origin] = {}
        self.newest_s = self.floor_s = 0
        self.spans: list[tuple[int, int]] = []
        self.stamp: Stamp | None = None
        self.sequence, self.time, self.received_s = 0, "", 0.0
        self.is_suspect = self.is_joined = False
        self.is_whole = True
        self.changed: set[int] = set()
        self.evicted: set[int] = set()

    @property
    def since_s(self) -> int:
        return self.spans[-1][0]

    @property
    def is_live(self) -> bool:
        return bool(self.spans) and self.spans[-1][1] == _ENDLESS

    def sorted_buckets(self) -> list[Bucket]:
        return [self.buckets[start_s] for start_s in sorted(self.buckets)]

    def take(self, sound: Iterable[Bucket], origin: _Origin, keep: int) -> bool:
        """Keep what is better than what we have; return whether anything was."""
        changed = False
        for bucket in sound:
            start_s = bucket.start_s
            if start_s >= self.floor_s and self._is_better(bucket, origin):
                self.buckets[start_s], self.origins[start_s] = bucket, origin
                self.newest_s = max(self.newest_s, start_s)
                changed = True
                if not self.is_whole:
                    self.changed.add(start_s)
        if len(self.buckets) > keep:
            self._evict(len(self.buckets) - keep)
        return changed

    def _is_better(self, bucket: Bucket, origin: _Origin) -> bool:
        held = self.buckets.get(bucket.start_s)
        if held is None:
            return True
        stamp, sequence = self.origins[bucket.start_s]
        if stamp is not None and stamp == origin[0] and sequence != origin[1]:
            if sequence > origin[1]:
                return False
            self.origins[bucket.start_s] = origin
            return bucket != held
        return Decimal(bucket.volume) > Decimal(held.volume)

    def _evict(self, count: int) -> None:
        starts = sorted(self.buckets)
        for start_s in starts[:count]:
            del self.buckets[start_s], self.origins[start_s]
            self.changed.discard(start_s)
        if not self.is_whole:
            self.evicted.update(starts[:count])
            if len(self.evicted) > len(self.buckets):  # Redis has been away for long
                self.whole()
        self.floor_s = starts[count]
        cut = [(max(a, self.floor_s), max(b, self.floor_s)) for a, b in self.spans]
        self.spans = [span for span in cut[:-1] if span[0] < span[1]] + cut[-1:]

    # -- coverage -----------------------------------------------------------------------------------------------

    def is_in_order(self, stamp: Stamp, sequence: int, time: str) -> bool:
        """Whether a message is the newest yet, and so says where the stream is."""
        if self.stamp is None:
            return True
        if stamp != self.stamp:
            # Servers differ by a moment, so a new connection may seem to begin in the past; and a product that is
            # moved to another feed may come to an older connection.
            return stamp.connection > self.stamp.connection or time[:-1] > self.time[:-1]
        # A frame may speak of a product twice; but repeated after a loss it proves nothing.
        return sequence > self.sequence or (sequence == self.sequence and self.is_live)

    def follow(self, start_s: int, stamp: Stamp, sequence: int, time: str, received_s: float) -> bool:
        """The stream goes on, with everything from `start_s` on; return whether a reader must know."""
        before = self._shown()
        if stamp != self.stamp:
            self.lose(self.received_s)
            # Redis refuses what seems to be older than what we have written.
            time = max(time, self.time, key=lambda text: text[:-1])
        was_live = self.is_live
        self.stamp, self.sequence, self.time, self.received_s = stamp, sequence, time, received_s
        self.is_suspect = False
        if not was_live:
            self.is_joined = self.is_joined and bool(self.spans) and max(start_s, self.floor_s) <= self.spans[-1][1]
        self._cover(start_s, _ENDLESS)
        return self._shown() != before

    def fill(self, start_s: int, end_s: int) -> bool:
        """REST has told everything between; return whether a reader must know."""
        before = self._shown()
        if max(start_s, self.floor_s) < end_s:
            self._cover(start_s, end_s)
        self.is_joined = self.is_joined or (self.is_live and self.since_s <= max(start_s, self.floor_s))
        return self._shown() != before

    def lose(self, now_s: float) -> bool:
        """What comes from here on is not seen; return whether a reader must know."""
        if not self.is_live:
            return False
        start_s = self.since_s
        # Kept also where it is empty: what is older does not reach up to here.
        self.spans[-1] = (start_s, max(start_s, _bucket_at(now_s - CLOSING_S - _NOTICED_WITHIN_S)))
        self.is_suspect = True
        return True

    def needs_backfill(self, keep: int) -> bool:
        return self.is_live and not self.is_joined and self.newest_s - self.since_s < (keep - 1) * CANDLE_S

    def _cover(self, start_s: int, end_s: int) -> None:
        start_s, apart = max(start_s, self.floor_s), []
        for a, b in self.spans:
            if b < start_s or a > end_s:
                apart.append((a, b))
            else:
                start_s, end_s = min(a, start_s), max(b, end_s)
        self.spans = sorted([*apart, (start_s, end_s)])[-_MOST_SPANS:]

    def _shown(self) -> tuple[Stamp | None, bool, int | None]:
        return self.stamp, self.is_suspect, self.since_s if self.spans else None

    # -- on the way to Redis ------------------------------------------------------------------------------------

    def whole(self) -> None:
        self.is_whole = True
        self.changed.clear()
        self.evicted.clear()

    def pending(self, product_id: ProductId, waiting_since_s: float) -> PendingCandles:
        assert self.stamp is not None
        starts = sorted(self.buckets if self.is_whole else self.changed)
        pending = PendingCandles(
            product_id=product_id,
            buckets=tuple(self.buckets[start_s] for start_s in starts),
            is_whole=self.is_whole,
            evicted=tuple(sorted(self.evicted)),
            size=len(self.buckets),
            since_s=self.since_s,
            newest_s=self.newest_s,
            stamp=self.stamp,
            sequence=self.sequence,
            time=self.time,
            received_s=self.received_s,
            suspect=self.is_suspect,
            waiting_since_s=waiting_since_s,
        )
        self.is_whole = False
        self.changed.clear()
        self.evicted.clear()
        return pending

    def put_back(self, pending: PendingCandles) -> None:
        if pending.is_whole:
            self.whole()
        elif not self.is_whole:
            self.changed.update(b.start_s for b in pending.buckets if b.start_s in self.buckets)
            self.evicted.update(pending.evicted)


def _bucket_at(at_s: float) -> int:
    """Return the start of the bucket of a time."""
    return int(at_s // CANDLE_S) * CANDLE_S


def _run_start(buckets: Iterable[Bucket]) -> int:
    """Return the oldest start from which no bucket is missing up to the newest."""
    starts = {bucket.start_s for bucket in buckets}
    start_s = max(starts)
    while start_s - CANDLE_S in starts:
        start_s -= CANDLE_S
    return start_s
