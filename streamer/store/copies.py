"""Copies of REST answers: how they look in Redis. Pure.

A copy is JSON: `{"source": ..., "fetched_ms": ..., "value": ...}`. `fetched_ms` is the clock of Redis when the
answer arrived; `value` has the shape that the exchange's REST API gives it.
"""

from __future__ import annotations

import msgspec

from streamer.store.records import parse_json

_encode = msgspec.json.Encoder(decimal_format="number").encode


class StoredCopy(msgspec.Struct, frozen=True):
    """An answer of REST.

    Attributes:
        source: Who made the value: a `Source`, or the name of another provider.
        fetched_ms: Clock of Redis when it arrived.
        value: JSON.
    """

    source: str
    fetched_ms: int
    value: msgspec.Raw

    def encode(self) -> bytes:
        """Return it as it is kept."""
        return _encode(self)


def parse_copy(raw: object) -> StoredCopy | None:
    """Return a copy; None where there is none, or something else."""
    if not isinstance(raw, bytes):
        return None
    copy = parse_json(raw, StoredCopy)
    return copy if copy is not None and 0 <= copy.fetched_ms < 10**15 else None


def encode_value(value: object) -> bytes:
    """Return a value as JSON; `Decimal` becomes a number with all its digits."""
    return _encode(value)
