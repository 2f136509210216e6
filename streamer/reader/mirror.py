"""Products kept in this process, so that reading them costs no round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from streamer.model import ProductId, Reading, Ticker, Tier
from streamer.reader.watching import Following, Watcher


class Mirror:
    """The newest readings of some products, judged anew by the same rules each time they are read.

    It begins to listen when it is first read, and where it is not certain to have what Redis has it has nothing.
    """

    def __init__(self, watcher: Watcher, product_ids: Collection[ProductId]) -> None:
        self._watcher, self._wanted = watcher, frozenset(product_ids)
        self._following: Following | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self, product_id: str) -> Reading[Ticker] | None:
        """Return the realtime reading of a product, None where it has none to give."""
        if product_id not in self._wanted:
            return None
        following = self._following
        if following is None or not following.is_current:
            self._begin()
            return None
        found = following.get(ProductId(product_id))
        return found if found is not None and found.tier is Tier.REALTIME else None

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._following is None or self._loop is not loop or not self._following.is_running:
            self._following, self._loop = self._watcher.follow(self._wanted), loop
            self._following.start()

    async def close(self) -> None:
        """Listen no more."""
        if self._following is not None:
            await self._following.close()
