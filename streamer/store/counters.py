"""Counts of all processes over sliding windows. What is counted costs nothing until it is flushed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamer.store.connect import Store
from streamer.store.keys import Keys

SUMS_TTL_S: Final = 10
"""Life of the sums after they were last computed."""
_SUM_EVERY_S: Final = 3
_FINE_S, _COARSE_S = 10, 60
_FIVE_MINUTES_S, _HOUR_S = 300, 3600

HIT, MISS, CALL, LIMITED = "hit", "miss", "call", "429"
"""The first word of a counter's name; further words, after colons, say what of."""


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
        pipeline.set(self._keys.counters_summed, seconds, ex=_SUM_EVERY_S, nx=True)
        *_, is_ours = await self._store.answer(pipeline.execute(raise_on_error=False))
        if is_ours is True:
            await self._sum(seconds)

    async def _sum(self, now_s: int) -> None:
        fine = await self.totals(_FIVE_MINUTES_S, now_s)
        hour = await self.totals(_HOUR_S, now_s)
        sums = {
            "api_429_errors:last_5min": _of(fine, LIMITED),
            "api_429_errors:last_hour": _of(hour, LIMITED),
            "api_calls:last_hour": _of(hour, CALL),
            "cache_hits:last_5min": _of(fine, HIT),
            "cache_misses:last_5min": _of(fine, MISS),
        }
        pipeline = self._store.client.pipeline(transaction=False)
        for name, key in self._keys.sums().items():
            pipeline.set(key, sums[name], ex=SUMS_TTL_S)
        await self._store.answer(pipeline.execute(raise_on_error=False))

    async def totals(self, window_s: int, now_s: int) -> dict[str, int]:
        """Return what all processes have counted in the last `window_s` seconds (300 or 3600), by name."""
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


def _of(totals: Mapping[str, int], kind: str) -> int:
    return sum(number for name, number in totals.items() if name.partition(":")[0] == kind)
