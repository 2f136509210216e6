"""Who is not asked for a while: a provider that has said so is left alone by all processes.

The gateway's own pause after a 429 is minutes at most, and its breaker closes by trying; a ban gets longer with
each call, and a key that is refused once is refused again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streamer.errors import Banned, GeoBlocked, KeyRefused, QuotaExhausted, RestError
from streamer.store.connect import Store
from streamer.store.records import parse_json

_DEFAULT_S: Final[dict[type[RestError], float]] = {
    QuotaExhausted: 3600.0,
    Banned: 120.0,
    KeyRefused: 300.0,
    GeoBlocked: 3600.0,
}
"""Where the provider does not say how long."""
_LONGEST_S: Final = 3 * 24 * 3600.0
"""The longest ban that is documented (Binance)."""


class Hold(msgspec.Struct, frozen=True):
    """Why a provider is not asked, and until when (Unix ms, clock of Redis)."""

    kind: str
    why: str
    until_ms: int


def hold_of(error: Exception, now_ms: int) -> Hold | None:
    """Return what an error means for the calls of all, None where it means nothing. Pure."""
    for kind, default_s in _DEFAULT_S.items():
        if isinstance(error, kind):
            told_s = error.retry_after_s
            lasts_s = min(_LONGEST_S, max(1.0, told_s if told_s is not None else default_s))
            return Hold(kind.__name__, error.why[:200], now_ms + int(lasts_s * 1000))
    return None


def parse_hold(raw: object, now_ms: int) -> Hold | None:
    """Return a hold that is not over; None where there is none, or something else. Pure."""
    hold = parse_json(raw, Hold) if isinstance(raw, bytes) else None
    return hold if hold is not None and now_ms < hold.until_ms <= now_ms + _LONGEST_S * 1000 else None


async def keep_hold(store: Store, key: str, hold: Hold, now_ms: int) -> None:
    """Tell all processes; it vanishes by itself.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    await store.answer(store.client.set(key, msgspec.json.encode(hold), px=max(1, hold.until_ms - now_ms)))
