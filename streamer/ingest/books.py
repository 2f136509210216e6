"""The newest value of every product, and which of them Redis does not have yet. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from streamer.ingest.dirty import Dirty
from streamer.model import ProductId, Tick
from streamer.quality.ticks import Band, Jump


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A value on its way to Redis.

    Attributes:
        suspect: A sequence gap may have robbed us of a newer value.
        since_s: Unix time at which the oldest change not yet in Redis reached us.
        status: The exchange's word for the state of the product where that is not "online", else None.
        jump: How far the price is out of the band of those written before, None where it is not.
    """

    product_id: ProductId
    tick: Tick
    suspect: bool
    since_s: float
    status: str | None = None
    jump: Jump | None = None


class TickerBook:
    """Newest tick per product. Old or repeated ticks are refused, so replay is harmless.

    Conflates: while the sink is busy further ticks only replace state, so a slow or absent Redis costs
    freshness, never memory.

    Args:
        on_dirty: Called when there is something to write where there was nothing.

    Attributes:
        updates: Ticks taken so far, a product.
        refused: Ticks that were older than what we held, or repeated.
        conflated: Updates that a newer one has replaced before they were written.
        jumps: Ticks handed over whose price was out of its band.
    """

    def __init__(self, on_dirty: Callable[[], None] = lambda: None) -> None:
        self._latest: dict[ProductId, Tick] = {}
        self._dirty = Dirty[ProductId](on_dirty)
        self._suspect: set[ProductId] = set()
        self._status: dict[ProductId, str] = {}
        self._judged: dict[ProductId, tuple[Band, Tick, Jump | None]] = {}
        self.updates: defaultdict[ProductId, int] = defaultdict(int)
        self.refused = self.conflated = self.jumps = 0

    def __len__(self) -> int:
        return len(self._latest)

    def get(self, product_id: ProductId) -> Tick | None:
        """Return the newest tick of a product, None before the first."""
        return self._latest.get(product_id)

    def apply(self, product_id: ProductId, tick: Tick) -> bool:
        """Take a tick if it is newer than what we hold; return whether it was.

        Within one connection the sequence decides, across connections the exchange's time.
        """
        last = self._latest.get(product_id)
        if last is not None:
            if last.stamp is tick.stamp:
                if tick.sequence <= last.sequence:
                    self.refused += 1
                    return False
            elif tick.time[:-1] < last.time[:-1]:  # without the Z, a shorter fraction sorts before a longer one
                self.refused += 1
                return False
        self._latest[product_id] = tick
        self.updates[product_id] += 1
        if self._suspect:
            self._suspect.discard(product_id)
        if product_id not in self._dirty:
            self._dirty.mark(product_id, tick.received_s)
        else:
            self.conflated += 1
        return True

    def superseded(self, updates: int) -> None:
        """Count updates that were not even given to us, because a newer one had come with them."""
        self.conflated += updates

    def suspect(self, product_ids: Iterable[ProductId], now_s: float) -> None:
        """Cast doubt on products until their next tick; readers see it."""
        for product_id in product_ids:
            if product_id in self._latest and product_id not in self._suspect:
                self._suspect.add(product_id)
                self._dirty.mark(product_id, now_s)

    def tell(self, statuses: Mapping[ProductId, str], now_s: float) -> None:
        """Take which products are not online, and the exchange's word for each; all others are online."""
        for product_id in self._status.keys() | statuses.keys():
            if self._status.get(product_id) != statuses.get(product_id) and product_id in self._latest:
                self._dirty.mark(product_id, now_s)
        self._status = dict(statuses)

    def rewrite(self, product_ids: Iterable[ProductId] | None, now_s: float) -> None:
        """Have products written again (None: all), as after a restart of Redis or to renew their life there."""
        if product_ids is None:
            self._dirty.clear()  # what waited for another owner has not waited for us
            product_ids = list(self._latest)
        for product_id in product_ids:
            if product_id in self._latest:
                self._dirty.mark(product_id, now_s)

    def forget(self, keep: Collection[ProductId]) -> set[ProductId]:
        """Drop every product but those to `keep`, because nobody wants them any more; return what was dropped."""
        dropped = self._latest.keys() - keep
        for product_id in dropped:
            del self._latest[product_id]
            self.updates.pop(product_id, None)
            self._dirty.pop(product_id, None)
            self._suspect.discard(product_id)
            self._judged.pop(product_id, None)
        return dropped

    def drain(self, limit: int) -> list[Pending]:
        """Hand over up to `limit` products to write, longest waiting first."""
        suspect, offline = self._suspect, self._status
        return [
            Pending(p, tick := self._latest[p], p in suspect, since_s, offline.get(p), self._jump(p, tick))
            for p, since_s in self._dirty.take(limit)
        ]

    def _jump(self, product_id: ProductId, tick: Tick) -> Jump | None:
        """Judge a tick when it is written: what is replaced before that, nobody reads."""
        judged = self._judged.get(product_id)
        if judged is None:
            band = Band()
        elif judged[1] is tick:
            return judged[2]  # written once more, which confirms nothing
        else:
            band = judged[0]
        jump = band.judge(tick.fields.price, tick.received_s)
        self._judged[product_id] = band, tick, jump
        if jump is not None:
            self.jumps += 1
        return jump

    def restore(self, batch: Iterable[Pending]) -> None:
        """Take back what could not be written; what has changed since goes on with its newer value."""
        self._dirty.put_back((p.product_id, p.since_s) for p in batch if p.product_id in self._latest)

    @property
    def dirty(self) -> int:
        """How many products Redis does not have the newest value of."""
        return len(self._dirty)

    def oldest_dirty_s(self) -> float | None:
        """Unix time of the longest waiting change, None where there is none."""
        return self._dirty.oldest_s
