"""The only writer of realtime keys: drains dirty sets into one script call after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

import structlog

from streamer.coinbase.messages import parse_timestamp
from streamer.errors import StoreUnavailable
from streamer.ingest.books import TickerBook
from streamer.ingest.candles import CandleBook
from streamer.ingest.histogram import Flushes
from streamer.ingest.lease import Lease
from streamer.ingest.outlets import BalanceOutlet, CandleOutlet, TickerOutlet, Written
from streamer.ingest.portfolio import Portfolio
from streamer.model import ProductId, Source, Stamp
from streamer.store.connect import Script, Store
from streamer.store.keys import Keys

log = structlog.get_logger(__name__)

_PAUSE_PER_RECORD_S = 0.00015
_MAX_PAUSE_S = 0.05
_RETRY_S = 0.25


class Sink:
    """Writes what is dirty as soon as it is, and never more than Redis and this core can bear.

    Idle, a tick is written at once. A flush of n records is followed by a pause of n x 0.15 ms (at most 50 ms):
    one product a flush hardly notices, a hundred a flush conflate to some 55 flushes a second, so that writing
    takes a small part of the core that the frames need.

    Attributes:
        tickers: The newest tickers.
        portfolio: The newest balances.
        candles: The newest candles.
        writes: Records written since start.
        older: Writes refused because Redis held something newer.
        failures: Script calls that Redis did not answer.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        lease: Lease,
        *,
        user_feed: Stamp | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.tickers = TickerBook(self.wake)
        self.portfolio = Portfolio(self.wake, user_feed or Stamp("user", 0, Source.COINBASE))
        self.candles = CandleBook(self.wake)
        self._ticker_outlet = TickerOutlet(store, keys, self.tickers)
        # Few balances and many tickers: in this order none waits for the others.
        self._outlets = (
            BalanceOutlet(store, keys, self.portfolio),
            self._ticker_outlet,
            CandleOutlet(store, keys, self.candles),
        )
        self._flushes = {outlet.kind: Flushes() for outlet in self._outlets}
        self._keys, self._lease = keys, lease
        self._retire = Script(store, "retire")
        self._leaving: set[ProductId] = set()
        self._monotonic, self._wall = monotonic, wall
        self._ready = asyncio.Event()
        self.writes = self.older = self.failures = 0
        self.failing_since: float | None = None

    def wake(self) -> None:
        """There is something to write, or something has changed that may allow writing."""
        self._ready.set()

    @property
    def dirty(self) -> int:
        """How many records Redis does not have the newest of."""
        return sum(outlet.book.dirty for outlet in self._outlets)

    async def run(self) -> None:
        """Write until cancelled. Redis trouble is waited out; the books conflate meanwhile."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self.dirty and self._lease.is_ours(self._monotonic()):
                written = await self.flush()
                await asyncio.sleep(min(_MAX_PAUSE_S, written * _PAUSE_PER_RECORD_S) if written else _RETRY_S)

    async def flush(self) -> int:
        """Write up to one batch of each kind; return how many Redis has taken or has newer, 0 on failure."""
        taken, epoch = 0, self._lease.epoch
        for outlet in self._outlets:
            began = self._monotonic()
            try:
                result = await outlet.flush(epoch)
            except StoreUnavailable as exc:
                self._failed(exc)
                return 0
            if not result.size:
                continue
            self._succeeded(written=result.written, older=result.older)
            if result.fenced:
                log.warning("sink.fenced", epoch=epoch, refused=result.fenced)
                self._lease.lost(result.epoch)
                return 0
            self._note(outlet.kind, result, self._monotonic() - began)
            taken += result.size
        return taken

    def rewrite(self) -> None:
        """Have everything written again: another Redis may be answering, or another epoch has begun."""
        for outlet in self._outlets:
            outlet.book.rewrite(None, self._wall())
        self.wake()

    def forget(self, keep: Collection[ProductId]) -> None:
        """Drop all products but those to `keep`; `retire` then takes them out of Redis."""
        self._leaving |= self.tickers.forget(keep) | self.candles.forget(keep)
        self._leaving -= set(keep)

    async def retire(self) -> None:
        """Remove the realtime hashes of forgotten products: nobody renews them, so nothing may call them realtime.

        Raises:
            StoreUnavailable: Redis does not answer; the next call tries again.
        """
        if self._leaving:
            leaving = list(self._leaving)
            epoch = self._lease.epoch
            await self._retire([self._keys.ticker(p) for p in leaving], [epoch, 1])
            candles = [key for p in leaving for key in (self._keys.candles_meta(p), self._keys.candles(p))]
            await self._retire(candles, [epoch, 2])
            self._leaving -= set(leaving)
            self._ticker_outlet.forget(leaving)

    def lag_s(self) -> float:
        """How long the oldest change not yet in Redis has waited; 0 while another ingester owns the shard."""
        if not self._lease.epoch and self.failing_since is None:
            return 0.0
        waiting = [since for outlet in self._outlets if (since := outlet.book.oldest_dirty_s()) is not None]
        return max(0.0, self._wall() - min(waiting)) if waiting else 0.0

    def status(self) -> dict[str, Any]:
        """Return how writing stands, for `stream:status`; all but `dirty` and `lag_ms` since start."""
        return {
            "dirty": self.dirty,
            "lag_ms": int(self.lag_s() * 1000),
            "writes": self.writes,
            "refused": self.older,
            "failures": self.failures,
            "conflated": self.tickers.conflated,
            "jumps": self.tickers.jumps,
            "flushes": {kind: flushes.as_json() for kind, flushes in self._flushes.items()},
        }

    def _note(self, kind: str, result: Written, took_s: float) -> None:
        now_s = self._wall()
        stamp_s = None if result.stamped is None else parse_timestamp(result.stamped)
        behind_s = None if stamp_s is None else now_s - stamp_s
        self._flushes[kind].note(result.size, took_s=took_s, waited_s=now_s - result.since_s, behind_s=behind_s)

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
