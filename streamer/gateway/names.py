"""Names of products that look like one that does not exist."""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

from streamer.errors import StoreUnavailable
from streamer.store.connect import Store
from streamer.store.copies import parse_copy
from streamer.store.keys import Keys
from streamer.store.records import parse_json

_MOST = 3


class _Products(msgspec.Struct):
    products: list[dict[str, Any]]


class Names:
    """Knows the products of the exchange from what is kept of them in Redis; asks nobody else."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._where = store, keys.products_copy

    async def nearest(self, product_id: str) -> list[str]:
        """Return up to three existing ids that look like `product_id`; none where they are not known."""
        try:
            raw = await self._store.answer(self._store.client.get(self._where.stale_key))
        except StoreUnavailable:
            return []
        copy = parse_copy(raw)
        listed = parse_json(bytes(copy.value), _Products) if copy is not None else None
        names = [str(facts.get("product_id")) for facts in listed.products] if listed is not None else []
        return difflib.get_close_matches(product_id, names, n=_MOST, cutoff=0.6)
