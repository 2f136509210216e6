"""What has gone wrong and what of it is over: a log in Redis that any process may add to.

It holds events, one when a trouble begins and one when it ends, so that no writer has to change what another has
written. Redis bounds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from streamer.store.connect import Store
from streamer.store.keys import Keys

KEPT: Final = 1_000
"""Events kept, roughly; the oldest go first."""

_END_OF_TIME_MS: Final = 253_402_300_800_000  # the year 10000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong.

    Attributes:
        id: Names it.
        error_type: The part it belongs to: market_data, portfolio, store or system.
        code: What it is, such as "rate_limited"; stays the same while the message changes.
        subject: What it is about, such as the id of a feed; "" where it is the whole.
        message: What a person can act on, as it was at the beginning.
        began_ms: When, on the clock of Redis.
        ended_ms: When it was over; None while it lasts.
    """

    id: str
    error_type: str
    code: str
    subject: str
    message: str
    began_ms: int
    ended_ms: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes two troubles the same one, of which only one can last."""
        return self.code, self.subject


class Journal:
    """Reads and writes the log. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._key = store, keys.journal

    async def write(self, troubles: Iterable[Trouble]) -> None:
        """Add an event for each trouble: its end where it has one, else its beginning."""
        pipeline = self._store.client.pipeline(transaction=False)
        for trouble in troubles:
            pipeline.xadd(self._key, _event(trouble), maxlen=KEPT, approximate=True)
        if pipeline.command_stack:
            await self._store.answer(pipeline.execute())

    async def troubles(self) -> list[Trouble]:
        """Return all there is, the newest first."""
        events: Any = await self._store.answer(self._store.client.xrange(self._key))
        return folded(events)

    async def mend(self) -> None:
        """Remove what somebody else has put in the place of the log."""
        kind: Any = await self._store.answer(self._store.client.type(self._key))
        if kind not in (b"stream", b"none"):
            await self._store.answer(self._store.client.delete(self._key))


def folded(events: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Trouble]:
    """Return the troubles that events, the oldest first, tell of; the newest trouble first.

    An end whose beginning has left the log still tells all of it; what is no event of ours is passed over.
    """
    troubles: dict[str, Trouble] = {}
    for _, fields in events:
        try:
            trouble = _trouble({name.decode(): value.decode() for name, value in fields.items()})
        except (KeyError, ValueError):
            continue
        known = troubles.get(trouble.id)
        troubles[trouble.id] = trouble if known is None else replace(known, ended_ms=trouble.ended_ms)
    return sorted(troubles.values(), key=lambda trouble: trouble.began_ms, reverse=True)


def _event(trouble: Trouble) -> dict[Any, Any]:
    fields: dict[Any, Any] = {
        "id": trouble.id,
        "type": trouble.error_type,
        "code": trouble.code,
        "subject": trouble.subject,
        "message": trouble.message,
        "began_ms": trouble.began_ms,
    }
    return fields if trouble.ended_ms is None else fields | {"ended_ms": trouble.ended_ms}


def _trouble(fields: Mapping[str, str]) -> Trouble:
    ended_ms = fields.get("ended_ms")
    return Trouble(
        fields["id"],
        fields["type"],
        fields["code"],
        fields["subject"],
        fields["message"],
        _time(fields["began_ms"]),
        None if ended_ms is None else _time(ended_ms),
    )


def _time(text: str) -> int:
    """Return a time in ms.

    Raises:
        ValueError: It is none that a calendar has.
    """
    ms = int(text)
    if not 0 <= ms < _END_OF_TIME_MS:
        raise ValueError(text)
    return ms
