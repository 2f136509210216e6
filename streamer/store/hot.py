"""The hot set: which copies of REST's answers are read, and when last. What nobody reads is not worth a call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from streamer.store.connect import Script, Store
from streamer.store.keys import Keys
from streamer.store.raw import exchange, pack

MOST: Final = 500
"""So many are known; those read longest ago make room."""
KEPT_S: Final = 3600
"""For so long a copy is known after it was last read."""


class HotSet:
    """Reads and changes `gateway:hot`. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._key = store, keys.hot
        self._note = Script(store, "gateway_hot")

    async def note(self, idle_s: Mapping[str, float]) -> None:
        """Note that copies were read, each so many seconds ago, by their keys."""
        if idle_s:
            arguments: list[str | int | bytes] = [MOST, KEPT_S * 1000]
            for key, seconds in idle_s.items():
                arguments += [max(0, int(seconds * 1000)), key]
            await self._note([self._key], arguments)

    async def read(self) -> dict[str, float]:
        """Return for each key how many seconds ago its copy was last read, the latest first."""
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrevrange(self._key, 0, MOST - 1, withscores=True)
        (seconds, micros), known = await self._store.answer(pipeline.execute())
        now_ms = seconds * 1000 + micros // 1000
        return {
            key.decode(errors="replace"): max(0.0, (now_ms - read_ms) / 1000)
            for key, read_ms in known
            if now_ms - read_ms <= KEPT_S * 1000
        }

    async def lives_ms(self, keys: Sequence[str]) -> list[int]:
        """Return for how long each copy still lives; below 0 where there is none, or it has no end."""
        if not keys:
            return []
        packed = b"".join(pack(("PTTL", key)) for key in keys)
        replies = await self._store.answer(exchange(self._store.client.connection_pool, packed, len(keys)))
        return [reply if isinstance(reply, int) else -1 for reply in replies]

    async def forget(self, keys: Collection[str]) -> None:
        """Drop copies, as of a product that is no more."""
        if keys:
            await self._store.answer(self._store.client.zrem(self._key, *keys))
