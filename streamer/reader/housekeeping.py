"""What a reader owes the others, now and then and never on the way of a read: its counts, and what it reads."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from streamer.errors import StoreUnavailable
from streamer.gateway.cache import CopyStore
from streamer.gateway.requests import encode_candles
from streamer.gateway.statistics import Statistics, call_counts
from streamer.model import ProductId, Source, Tier
from streamer.reader.plans import Plans
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.copies import StoredCopy
from streamer.store.counters import Counters, Tally
from streamer.store.hot import HotSet
from streamer.store.keys import HIT, MISS, Keys
from streamer.store.wanted import WantedSet

EVERY_S = 5.0
"""Counts are flushed while a reader is used, at most so often."""
_READS_EVERY_S = 30.0
_KEEP_EVERY_S = 1200.0
"""A third of the life of a stale copy of candles."""
_HITS = (Tier.REALTIME.value, Tier.CACHE.value)


class Housekeeping:
    """Tells Redis what a reader has counted and read.

    Args:
        statistics: Returns what became of this process's REST calls, None where it has made none.

    Attributes:
        due_at: Monotonic time from which on `tend` has something to do.
        refused: Products not asked for because reads have asked for as many as they may.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        settings: Settings,
        plans: Plans,
        statistics: Callable[[], Statistics | None],
    ) -> None:
        counters = Counters(store, keys)
        # What was read is counted by the reader, which may outlive us; calls are counted by whoever makes them.
        self._reads, self._calls, self._wanted = (
            Tally(counters, plans.told),
            Tally(counters),
            WantedSet(store, keys),
        )
        self._settings, self._plans, self._statistics = settings, plans, statistics
        self._store, self._copies, self._hot = store, CopyStore(store), HotSet(store, keys)
        self._kept_at: dict[str, float] = {}
        self._read: set[ProductId] = set()
        self._missing: set[ProductId] = set()
        self._reads_at = time.monotonic() + EVERY_S
        self.due_at = time.monotonic() + EVERY_S
        self.refused = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def tend_if_due(self) -> None:
        """See to it in the background, if it is time."""
        if time.monotonic() >= self.due_at:
            self.begin()

    def begin(self) -> None:
        """Tend in the background, unless that is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.tend(), name="housekeeping")

    def after_call(self) -> None:
        """Have a REST call told of soon, also where nobody reads again: others must see what it met."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._rung)

    def _rung(self) -> None:
        self._timer = None
        self.begin()

    async def close(self) -> None:
        """Tend a last time, and tell all there is."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._reads_at = 0.0
        await self.tend()

    async def tend(self) -> None:
        """Flush; what Redis does not take is kept for the next time."""
        now = time.monotonic()
        self.due_at = now + EVERY_S
        try:
            await self._flush()
            await self._note_copies(now)
            await self._keep_extended(now)
            if self._settings.demand and (now >= self._reads_at or self._plans.missing):
                self._reads_at = now + _READS_EVERY_S
                await self._note()
        except StoreUnavailable:
            pass  # the next time tells all of it

    async def _flush(self) -> None:
        reads: Counter[str] = Counter()
        for (kind, tier), number in list(self._plans.served.items()):  # other threads go on counting
            reads[f"{HIT if tier in _HITS else MISS}:{kind}:{tier}"] += number
        await self._reads.tell(reads)
        if (statistics := self._statistics()) is not None:
            await self._calls.tell(call_counts(statistics))

    async def _note_copies(self, now: float) -> None:
        """Say which copies are read, so that they are renewed before they expire."""
        copied, idle_s = self._plans.copied, {}
        while copied:  # one by one: other threads go on reading
            key, read_at = copied.popitem()
            idle_s[key] = now - read_at
        await self._hot.note(idle_s)

    async def _keep_extended(self, now: float) -> None:
        """Keep candles that the stream has continued, in place of the copy it continued: so that never ends."""
        extended, self._plans.extended = self._plans.extended, {}
        due = {
            key: kept
            for key, kept in extended.items()
            if now - self._kept_at.get(key, -_KEEP_EVERY_S) >= _KEEP_EVERY_S
        }
        if not due:
            return
        seconds, micros = await self._store.answer(self._store.client.time())
        now = time.monotonic()
        for key, (request, found, asked_at) in due.items():
            known_ms = seconds * 1000 + micros // 1000 - int((found.age_s + now - asked_at) * 1000)
            value = msgspec.Raw(encode_candles(found.value))
            await self._copies.keep([(request, StoredCopy(Source(found.source), known_ms, value))])
            self._kept_at[key] = now

    async def _note(self) -> None:
        plans = self._plans
        self._read |= plans.read
        self._missing |= plans.missing
        plans.read, plans.missing = set(), set()
        read = self._read - self._missing
        self.refused += await self._wanted.note_reads(read, self._missing, self._settings.demand_cap)
        self._read.clear()
        self._missing.clear()
