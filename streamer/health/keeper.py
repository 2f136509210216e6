"""Writes down what goes wrong: follows the verdict once a second and keeps the journal of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from streamer.errors import StoreUnavailable
from streamer.health.look import look
from streamer.health.troubles import Troubles
from streamer.health.verdict import Reason, Verdict
from streamer.store.connect import Store
from streamer.store.journal import Journal
from streamer.store.keys import Keys

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0


class Keeper:
    """Keeps the journal while this process owns the stream; what an owner before has left open it takes over.

    Args:
        is_ours: Whether this process owns the stream, or did when that could last be known.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        is_ours: Callable[[], bool],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._keys, self._is_ours, self._monotonic = store, keys, is_ours, monotonic
        self._journal = Journal(store, keys)
        self._troubles: Troubles | None = None
        self._clock: tuple[int, float] | None = None
        self._dropped = 0

    async def keep(self) -> None:
        """Follow the verdict until cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(_EVERY_S)

    async def follow(self) -> None:
        """Take in the verdict of this moment and write what has come of it; Redis trouble is written afterwards."""
        if not self._is_ours():
            self._troubles = None
            return
        try:
            seen = await look(self._store, self._keys)
            verdict, now_ms = seen.verdict, seen.now_ms
            self._clock = now_ms, self._monotonic()
            if self._troubles is None:
                await self._journal.mend()
                troubles = Troubles()
                troubles.adopt(await self._journal.troubles(), now_ms)
                self._troubles = troubles
        except StoreUnavailable as exc:
            if self._clock is None or self._troubles is None:
                return
            redis_ms, known_at = self._clock
            now_ms = redis_ms + int((self._monotonic() - known_at) * 1000)
            what = f"Redis does not answer the ingester ({exc.why}), so nothing new can be read"
            verdict = Verdict("down", [Reason("redis_away", what, "see whether it runs and takes connections")])
        self._troubles.follow(verdict, now_ms)
        with suppress(StoreUnavailable):
            await self._write(self._troubles)

    async def _write(self, troubles: Troubles) -> None:
        news = list(troubles.untold)
        await self._journal.write(news)
        for _ in news:
            troubles.untold.popleft()
        if troubles.dropped > self._dropped:
            log.warning("journal.dropped", events=troubles.dropped - self._dropped)
            self._dropped = troubles.dropped
