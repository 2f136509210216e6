"""The wanted set: which products are to be streamed, and who asked for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec
import orjson

from streamer.model import ProductId, is_product_id
from streamer.store.connect import Script, Store
from streamer.store.keys import Keys
from streamer.store.records import parse_json


class Want(msgspec.Struct, frozen=True):
    """Why a product is streamed.

    Attributes:
        by: Who asked: "cli", "api", "reader".
        pinned: Stays however long nobody reads it.
        asked_ms: Clock of Redis when it was asked for.
        read_ms: Clock of Redis when it was last read, None where nobody noted a read.
    """

    by: str
    pinned: bool
    asked_ms: int
    read_ms: int | None = None


class WantedSet:
    """Reads and changes `stream:wanted`. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._key = store, keys.wanted
        self._note, self._evict = Script(store, "wanted_note"), Script(store, "wanted_evict")

    async def add(self, product_ids: Iterable[ProductId], *, by: str, pinned: bool = True) -> list[ProductId]:
        """Ask for products; return those that nobody had asked for before, or only reads that this pins."""
        asked = list(dict.fromkeys(product_ids))
        if not asked:
            return []
        client = self._store.client
        seconds, micros = await self._store.answer(client.time())
        value = orjson.dumps(msgspec.to_builtins(Want(by, pinned, seconds * 1000 + micros // 1000)))
        held = await self.all()
        added = [p for p in asked if p not in held or (pinned and not held[p].pinned)]
        if added:
            await self._store.answer(client.hset(self._key, mapping=dict.fromkeys(added, value)))
        return added

    async def remove(self, product_ids: Collection[ProductId]) -> int:
        """Stop asking for products; return how many were asked for."""
        if not product_ids:
            return 0
        return int(await self._store.answer(self._store.client.hdel(self._key, *product_ids)))

    async def note_reads(self, product_ids: Collection[ProductId], missing: Collection[ProductId], cap: int) -> int:
        """Note that products are read; ask for those that are `missing` from the stream.

        Args:
            cap: Most products that reads may have asked for.

        Returns:
            How many were refused because of the cap.
        """
        if not product_ids and not missing:
            return 0
        arguments: list[str | int | bytes] = [cap, len(product_ids), *product_ids, *missing]
        return int(await self._note([self._key], arguments))

    async def evict_idle(self, idle_s: float) -> list[ProductId]:
        """Drop what is not pinned and nobody has read for `idle_s`; return what was dropped."""
        gone = await self._evict([self._key], [int(idle_s * 1000)])
        return [ProductId(name.decode(errors="replace")) for name in gone]

    async def mend(self) -> bool:
        """Remove the key if it is no hash, so not ours; return whether it was."""
        client = self._store.client
        kind = await self._store.answer(client.type(self._key))
        foreign = kind not in (b"none", b"hash")
        if foreign:
            await self._store.answer(client.delete(self._key))
        return foreign

    async def all(self) -> dict[ProductId, Want]:
        """Return the whole set. What is not a product id or not our JSON is left out: it is not ours."""
        raw = await self._store.answer(self._store.client.hgetall(self._key))
        return parse_wanted(raw)


def parse_wanted(raw: Mapping[bytes | str, bytes | str]) -> dict[ProductId, Want]:
    """Return the fields of `stream:wanted` that are well-formed."""
    wanted = {}
    for field, value in raw.items():
        name = field.decode(errors="replace") if isinstance(field, bytes) else field
        want = parse_json(value, Want)
        if want is not None and is_product_id(name):
            wanted[ProductId(name)] = want
    return wanted
