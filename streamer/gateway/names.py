"""Names of products that look like one that does not exist."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from streamer.errors import StoreUnavailable
from streamer.store.connect import Store
from streamer.store.copies import parse_copy
from streamer.store.keys import Keys
from streamer.store.records import parse_json

_MOST = 3
_REMEMBERED_S = 60.0
_MOST_REMEMBERED = 1000


def nearest_of(product_id: str, names: Iterable[str]) -> list[str]:
    """Return up to three of `names` that look like `product_id`, the likeliest first."""
    return difflib.get_close_matches(product_id, list(names), n=_MOST, cutoff=0.6)


class _Products(msgspec.Struct):
    products: list[dict[str, Any]]


class Names:
    """Knows the products of the exchange from what is kept of them in Redis; asks nobody else."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._where = store, keys.products_copy
        self._lock = asyncio.Lock()
        self._found: dict[str, tuple[float, list[str]]] = {}

    async def nearest(self, product_id: str) -> list[str]:
        """Return up to three existing ids that look like `product_id`; none where they are not known.

        Remembered for a minute: to look through all names takes 10 ms, and a crowd may ask for the same wrong one.
        """
        async with self._lock:
            found_at, found = self._found.get(product_id, (-_REMEMBERED_S, []))
            if time.monotonic() - found_at < _REMEMBERED_S:
                return found
            try:
                found = await self._look_up(product_id)
            except StoreUnavailable:
                return []
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            self._found[product_id] = time.monotonic(), found
            return found

    async def _look_up(self, product_id: str) -> list[str]:
        raw = await self._store.answer(self._store.client.get(self._where.stale_key))
        copy = parse_copy(raw)
        listed = parse_json(bytes(copy.value), _Products) if copy is not None else None
        names = [str(facts.get("product_id")) for facts in listed.products] if listed is not None else []
        return nearest_of(product_id, names)
