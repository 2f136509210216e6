"""Where deliveries are kept: a stream in Redis, in which each is once, whichever processes receive it how often."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec

from streamer.store.connect import Script, Store
from streamer.store.keys import Keys
from streamer.webhooks.delivery import Delivery

KEPT: Final = 10_000
"""Events kept, roughly; the oldest go first."""
SEEN_S: Final = 3 * 24 * 3600
"""For so long an id is known: senders try again for a day and more, and a signature is of use for minutes."""

_encode: Final = msgspec.json.Encoder().encode


class Outcome(StrEnum):
    """What became of a delivery."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """It had been stored before: a second try of its sender, or a replay."""
    CONFLICT = "conflict"
    """Another one had been stored before under its id."""


class Inbox:
    """Takes deliveries. Hand in only what is proved, or anybody could use up ids that are somebody else's."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._keys, self._put = keys, Script(store, "webhook_store")

    async def put(self, provider: str, delivery: Delivery, received_ms: int) -> Outcome:
        """Claim the id of a delivery, store it and publish it, all of it or nothing.

        Raises:
            StoreUnavailable: No usable answer in time. It may have been stored; if it was, the next try of its
                sender is a duplicate, and else it is stored then.
        """
        facts: dict[str, str | int] = {
            "provider": provider,
            "id": delivery.id,
            "type": delivery.type,
            "timestamp_s": delivery.timestamp_s,
            "received_ms": received_ms,
        }
        seen = self._keys.webhook_seen(provider, sha256(delivery.id.encode()).hexdigest())
        content = sha256(delivery.payload).hexdigest()
        published = _encode(facts | {"payload": msgspec.Raw(delivery.payload)})
        args: list[str | int | bytes] = [content, SEEN_S * 1000, KEPT, self._keys.webhook_updates, published]
        for name, value in facts.items():
            args += [name, value]
        reply = await self._put([seen, self._keys.webhook_events], [*args, "payload", delivery.payload])
        return Outcome(reply.decode())
