"""Answers of the exchange that are kept a while for the same question of the same key, here and in Redis."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from streamer.errors import StoreUnavailable
from streamer.reader.steps import Plan
from streamer.reader.sync import Reader
from streamer.reader.wire import Lookup
from streamer.store.keys import Keys
from streamer.store.records import parse_json

_MOST = 500


class Kept(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        fetched_s: When it came, Unix seconds.
        life_s: For so long it is of use.
        currencies: Those that the stream had wallets of at that time.
        body: As the exchange sent it.
    """

    fetched_s: float
    life_s: float
    currencies: list[str]
    body: msgspec.Raw

    @property
    def age_s(self) -> float:
        """How long ago it came."""
        return max(0.0, time.time() - self.fetched_s)

    @property
    def fetched(self) -> datetime:
        """When it came."""
        return datetime.fromtimestamp(self.fetched_s, UTC)

    def decoded(self) -> dict[str, Any]:
        """Return the body, which is the caller's from then on."""
        body: dict[str, Any] = msgspec.json.decode(self.body)
        return body


class Shelf:
    """Keeps answers; a client whose key asks for another portfolio finds only its own."""

    def __init__(self, reader: Reader, keys: Keys) -> None:
        self._reader, self._keys = reader, keys
        self._held: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, scope: str, who: str, question: object) -> Kept | None:
        """Return an answer that is still of use."""
        key = self._key(scope, who, question)
        kept = self._held.get(key)
        if kept is None or kept.age_s >= kept.life_s:
            with suppress(StoreUnavailable):
                kept = self._reader.run(self._look(key))
                if kept is not None:
                    self._hold(key, kept)
        return None if kept is None or kept.age_s >= kept.life_s else kept

    def keep(self, scope: str, who: str, question: object, kept: Kept) -> None:
        """Keep an answer, in the background where that is in Redis."""
        key = self._key(scope, who, question)
        self._hold(key, kept)
        behind = self._reader.behind()
        store = behind.store
        behind.soon(store.answer(store.client.set(key, msgspec.json.encode(kept), ex=max(1, int(kept.life_s)))))

    def _look(self, key: str) -> Plan[Kept | None]:
        (raw,) = yield Lookup([("GET", key)])
        return parse_json(raw, Kept) if isinstance(raw, bytes) else None

    def _hold(self, key: str, kept: Kept) -> None:
        with self._lock:
            self._held[key] = kept
            self._held.move_to_end(key)
            while len(self._held) > _MOST:
                self._held.popitem(last=False)

    def _key(self, scope: str, who: str, question: object) -> str:
        digest = blake2b(f"{who}\n{question!r}".encode(), digest_size=16).hexdigest()
        return self._keys.gateway(scope, f"kept:{digest}")
