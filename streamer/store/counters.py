"""Counts of all processes over sliding windows. What is counted costs nothing until it is flushed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import OutOfMemoryError, ReadOnlyError

from streamer.errors import StoreUnavailable
from streamer.store.connect import Store, explain
from streamer.store.keys import Keys

SUMS_TTL_S: Final = 10
"""Life of the sums after they were last computed."""
_SUM_EVERY_S: Final = 3
_FINE_S, _COARSE_S = 10, 60
_FIVE_MINUTES_S, _HOUR_S = 300, 3600


class Counters:
    """Adds up what processes have counted. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._keys = store, keys

    async def add(self, counts: Mapping[str, int]) -> None:
        """Add counts to those of all processes, and see to it that the sums are fresh.

        Args:
            counts: By name, such as "hit:ticker:realtime" or "429".
        """
        client = self._store.client
        seconds, _ = await self._store.answer(client.time())
        pipeline = client.pipeline(transaction=False)
        for length_s, life_s in ((_FINE_S, _FIVE_MINUTES_S), (_COARSE_S, _HOUR_S)):
            key = self._keys.counters(length_s, seconds // length_s * length_s)
            for name, number in counts.items():
                pipeline.hincrby(key, name, number)
            pipeline.expire(key, life_s + 2 * length_s)
        for name, number in counts.items():
            pipeline.hincrby(self._keys.counters_total, name, number)
        pipeline.set(self._keys.counters_summed, seconds, ex=_SUM_EVERY_S, nx=True)
        *replies, is_ours = await self._store.answer(pipeline.execute(raise_on_error=False))
        if isinstance(replies[0], ReadOnlyError | OutOfMemoryError):
            raise StoreUnavailable(self._store.shown_url, explain(replies[0])) from replies[0]
        if is_ours is True:
            await self._sum(seconds)

    async def grand_totals(self) -> dict[str, int]:
        """Return what all processes have ever counted, by name; it only grows, unless Redis forgets it."""
        reply: Any = await self._store.answer(self._store.client.hgetall(self._keys.counters_total))
        return {name.decode(errors="replace"): int(number) for name, number in reply.items() if number.isdigit()}

    async def _sum(self, now_s: int) -> None:
        totals = {window_s: await self.totals(window_s, now_s) for window_s in (_FIVE_MINUTES_S, _HOUR_S)}
        pipeline = self._store.client.pipeline(transaction=False)
        for (kind, window_s), key in self._keys.sums().items():
            pipeline.set(key, sum_of(totals[window_s], kind), ex=SUMS_TTL_S)
        await self._store.answer(pipeline.execute(raise_on_error=False))

    async def totals(self, window_s: int, now_s: int | None = None) -> dict[str, int]:
        """Return what all processes have counted in the last `window_s` seconds (300 or 3600), by name.

        Args:
            now_s: Clock of Redis, by which all count; None asks for it.
        """
        if now_s is None:
            seconds, _ = await self._store.answer(self._store.client.time())
            now_s = int(seconds)
        length_s = _FINE_S if window_s <= _FIVE_MINUTES_S else _COARSE_S
        last = now_s // length_s * length_s
        pipeline = self._store.client.pipeline(transaction=False)
        for start_s in range(last, last - window_s, -length_s):
            pipeline.hgetall(self._keys.counters(length_s, start_s))
        replies: list[Any] = await self._store.answer(pipeline.execute(raise_on_error=False))
        totals: dict[str, int] = {}
        for reply in replies:
            for name, number in reply.items() if isinstance(reply, dict) else ():
                if number.isdigit():
                    text = name.decode(errors="replace")
                    totals[text] = totals.get(text, 0) + int(number)
        return totals


class Tally:
    """Tells all what one process has counted since it last told.

    Args:
        told: What has been told of it before; grows.
    """

    def __init__(self, counters: Counters, told: Counter[str] | None = None) -> None:
        self._counters = counters
        self._told: Counter[str] = Counter() if told is None else told

    async def tell(self, counted: Counter[str]) -> None:
        """Tell what has come to the counts since start.

        Raises:
            StoreUnavailable: Redis does not answer; the next time tells all of it.
        """
        news = {name: number - self._told[name] for name, number in counted.items() if number > self._told[name]}
        if news:
            await self._counters.add(news)
            self._told.update(news)


def sum_of(totals: Mapping[str, int], kind: str) -> int:
    """Return how many of one kind there are, such as all hits."""
    return sum(number for name, number in totals.items() if name.partition(":")[0] == kind)
