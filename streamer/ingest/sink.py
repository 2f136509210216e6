"""The only writer of realtime keys: drains the dirty set into one script call after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

import msgspec
import structlog

from streamer.errors import StoreUnavailable
from streamer.ingest.books import Pending, TickerBook
from streamer.ingest.lease import Lease
from streamer.model import ProductId
from streamer.store.connect import Script, Store
from streamer.store.keys import STALE_TTL_S, TICKER_TTL_S, Keys
from streamer.store.records import ticker_record

log = structlog.get_logger(__name__)

_BATCH = 500
"""Products a script call: keeps Redis busy for some 8 ms at most."""
_PAUSE_PER_PRODUCT_S = 0.00015
_MAX_PAUSE_S = 0.05
_RETRY_S = 0.25


class Sink:
    """Writes what is dirty as soon as it is, and never more than Redis and this core can bear.

    Idle, a tick is written at once. A flush of n products is followed by a pause of n x 0.15 ms (at most 50 ms):
    one product a flush hardly notices, a hundred a flush conflate to some 55 flushes a second, so that writing
    takes a small part of the core that the frames need.

    Attributes:
        writes: Products written since start.
        older: Writes refused because Redis held something newer.
        failures: Script calls that Redis did not answer.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        lease: Lease,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.book = TickerBook(self.wake)
        self._keys, self._lease = keys, lease
        self._script = Script(store, "write_tickers")
        self._retire = Script(store, "retire_tickers")
        self._leaving: set[ProductId] = set()
        self._monotonic, self._wall = monotonic, wall
        self._pairs: dict[ProductId, tuple[str, str]] = {}
        self._ready = asyncio.Event()
        self._pack = msgspec.msgpack.Encoder().encode
        self.writes = self.older = self.failures = 0
        self.failing_since: float | None = None

    def wake(self) -> None:
        """There is something to write, or something has changed that may allow writing."""
        self._ready.set()

    async def run(self) -> None:
        """Write until cancelled. Redis trouble is waited out; the book conflates meanwhile."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self.book.dirty and self._lease.is_ours(self._monotonic()):
                written = await self.flush()
                await asyncio.sleep(min(_MAX_PAUSE_S, written * _PAUSE_PER_PRODUCT_S) if written else _RETRY_S)

    async def flush(self) -> int:
        """Write up to one batch; return how many products Redis has taken or has newer, 0 on failure."""
        batch = self.book.drain(_BATCH)
        epoch = self._lease.epoch
        if not batch:
            return 0
        done = False
        try:
            reply = await self._script(self._key_pairs(batch), self._arguments(batch, epoch))
            done = True
        except StoreUnavailable as exc:
            self._failed(exc)
            return 0
        finally:
            if not done:  # also where we are cancelled with the answer outstanding: writing twice is harmless
                self.book.restore(batch)
        self._succeeded(written=int(reply[1]), older=int(reply[2]))
        if int(reply[3]):
            log.warning("sink.fenced", epoch=epoch, refused=int(reply[3]))
            self.book.restore(batch)
            self._lease.lost(int(reply[4]))
            return 0
        return len(batch)

    def forget(self, keep: Collection[ProductId]) -> None:
        """Drop all products but those to `keep`; `retire` then takes them out of Redis."""
        self._leaving |= self.book.forget(keep)
        self._leaving -= set(keep)

    async def retire(self) -> None:
        """Remove the realtime hashes of forgotten products: nobody renews them, so nothing may call them realtime.

        Raises:
            StoreUnavailable: Redis does not answer; the next call tries again.
        """
        if self._leaving:
            leaving = list(self._leaving)
            await self._retire([self._keys.ticker(product_id) for product_id in leaving], [self._lease.epoch])
            self._leaving -= set(leaving)
            for product_id in leaving:
                self._pairs.pop(product_id, None)

    def lag_s(self) -> float:
        """How long the oldest change not yet in Redis has waited; 0 while another ingester owns the shard."""
        oldest = self.book.oldest_dirty_s() if self._lease.epoch or self.failing_since else None
        return max(0.0, self._wall() - oldest) if oldest is not None else 0.0

    def _key_pairs(self, batch: list[Pending]) -> list[str]:
        keys: list[str] = []
        for pending in batch:
            pair = self._pairs.get(pending.product_id)
            if pair is None:
                product_id = pending.product_id
                pair = self._pairs[product_id] = (
                    self._keys.ticker(product_id),
                    self._keys.ticker_stale(product_id),
                )
            keys += pair
        return keys

    def _arguments(self, batch: list[Pending], epoch: int) -> list[str | int | bytes]:
        records = [ticker_record(p.product_id, p.tick, suspect=p.suspect, epoch=epoch) for p in batch]
        channel = self._keys.ticker_updates
        return [epoch, TICKER_TTL_S * 1000, STALE_TTL_S * 1000, channel, self._pack(records)]

    def _failed(self, exc: StoreUnavailable) -> None:
        self.failures += 1
        if self.failing_since is None:
            self.failing_since = self._monotonic()
            log.warning("sink.failing", url=exc.url, why=exc.why)

    def _succeeded(self, *, written: int, older: int) -> None:
        self.writes += written
        self.older += older
        if self.failing_since is not None:
            log.info("sink.recovered", after_s=round(self._monotonic() - self.failing_since, 1))
            self.failing_since = None
