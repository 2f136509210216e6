"""Who asks and which way it goes: counted by every request, told to Redis every few seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable

from streamer.errors import StoreUnavailable
from streamer.reader.sync import Reader
from streamer.store.connect import Script
from streamer.store.counters import Counters, Tally
from streamer.store.keys import WAY, Keys

EVERY_S = 5.0
_FIRST_S = 0.5
DIRECT, SERVED, PASSED = "direct", "served", "passed"
"""Straight to the exchange as ever; answered from here; sent to the exchange in its turn."""


class Census:
    """Counts requests.

    Args:
        also: Returns more that is to be told, under the names of the shared counters.
    """

    def __init__(self, reader: Reader, keys: Keys, also: Callable[[], Counter[str]]) -> None:
        self._reader, self._keys, self._also = reader, keys, also
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._callers: dict[str, tuple[str, int]] = {}
        self._tellers: tuple[Tally, Script] | None = None
        self._is_due = False
        self._tell_from = 0.0

    def count(self, caller: str, way: str, kind: str) -> None:
        """Enter a request."""
        with self._lock:
            self._counts[f"{WAY}:{way}:{kind}"] += 1
            coordination = DIRECT if way == DIRECT else "coordinated"
            self._callers[caller] = coordination, self._callers.get(caller, ("", 0))[1] + 1
            if self._is_due:
                return
            self._is_due = True
        self._reader.behind().soon(self._tell_later())

    async def _tell_later(self) -> None:
        await asyncio.sleep(max(_FIRST_S, self._tell_from - time.monotonic()))
        self._tell_from = time.monotonic() + EVERY_S
        self._is_due = False
        await self.tell()

    async def tell(self) -> None:
        """Tell Redis; what it does not take is kept for the next time."""
        if self._tellers is None:
            store = self._reader.behind().store
            self._tellers = Tally(Counters(store, self._keys)), Script(store, "note_callers")
        tally, note = self._tellers
        with self._lock:
            counts, callers = self._counts + self._also(), self._callers
            self._callers = {}
        try:
            await tally.tell(counts)
            if callers:
                words = [word for name, (way, calls) in callers.items() for word in (name, way, calls)]
                await note([self._keys.callers], [*words])
        except StoreUnavailable:
            with self._lock:
                for name, (way, calls) in callers.items():
                    newer, more = self._callers.get(name, (way, 0))
                    self._callers[name] = newer, calls + more
