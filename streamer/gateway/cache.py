"""Copies of REST answers: kept in Redis for all, and in this process for when Redis is away."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from streamer.gateway.requests import Request
from streamer.store.connect import Script, Store
from streamer.store.copies import StoredCopy

_MOST_REMEMBERED = 1000
_SAME_MS = 2
"""Two readings of one clock, each rounded down, differ by less."""
_AHEAD_MS = 5000
"""A copy further ahead of the clock of Redis arrived at no known time: that clock went back, or it is foreign."""


class CopyStore:
    """Keeps answers, and tells their age by the clock of Redis."""

    def __init__(self, store: Store) -> None:
        self._store_copy = Script(store, "store_copy")
        self._clock: tuple[int, float] | None = None
        self._slack_s = 0.0
        self._remembered: OrderedDict[str, StoredCopy] = OrderedDict()

    # -- time ----------------------------------------------------------------------------------------------------

    def clock_is(self, redis_ms: int, asked_at: float) -> None:
        """Take a fresh reading of the clock of Redis, asked for at a monotonic time of ours."""
        self._clock = redis_ms, time.monotonic()
        self._slack_s = self._clock[1] - asked_at

    def now_ms(self) -> int:
        """Return the clock of Redis as far as ours keeps pace with it; ours where it was never read.

        It is behind by the time that the reading took to come.
        """
        if self._clock is None:
            return int(time.time() * 1000)
        redis_ms, at = self._clock
        return redis_ms + int((time.monotonic() - at) * 1000)

    def age_s(self, copy: StoredCopy) -> float:
        """Return how long ago an answer arrived, at most: what it may be too young by is added."""
        return max(0.0, (self.now_ms() - copy.fetched_ms) / 1000) + self._slack_s

    def is_since(self, copy: StoredCopy, since: float) -> bool:
        """Whether an answer arrived at or after a monotonic time of ours."""
        now_ms = self.now_ms()
        if copy.fetched_ms - now_ms > _AHEAD_MS:
            return False
        since_ms = now_ms - (time.monotonic() - since) * 1000
        return copy.fetched_ms + _SAME_MS >= since_ms

    def is_fresh(self, copy: StoredCopy, request: Request[Any]) -> bool:
        """Whether an answer still counts as fresh."""
        return self.age_s(copy) < request.copy.ttl_s

    @staticmethod
    def time_of(copy: StoredCopy) -> datetime:
        """Return when an answer arrived."""
        return datetime.fromtimestamp(copy.fetched_ms / 1000, UTC)

    # -- where they are kept -------------------------------------------------------------------------------------

    async def keep(self, copies: Sequence[tuple[Request[Any], Any]]) -> None:
        """Keep answers in Redis; a newer one that is there stays.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        for request, copy in copies:
            where = request.copy
            arguments = [copy.encode(), copy.fetched_ms, where.ttl_s * 1000, where.stale_ttl_s * 1000]
            await self._store_copy([where.key, where.stale_key], arguments)

    def remember(self, key: str, copy: StoredCopy) -> None:
        """Keep an answer in this process."""
        self._remembered[key] = copy
        self._remembered.move_to_end(key)
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def remembered(self, key: str) -> StoredCopy | None:
        """Return what this process has kept."""
        return self._remembered.get(key)
