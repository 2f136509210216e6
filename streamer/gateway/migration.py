"""How far the callers have moved over to coordinated calls, and what has come of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from streamer.errors import CallNotMade
from streamer.gateway.caller import Caller
from streamer.gateway.report import call_report
from streamer.store.connect import Store
from streamer.store.counters import Counters
from streamer.store.flags import BOTS, USE, Flags, flags_of
from streamer.store.keys import WAY, Keys
from streamer.store.records import parse_json

_HOUR_S: Final = 3600
_MOST_NAMED: Final = 200


class _Seen(msgspec.Struct):
    way: str
    last_ms: float
    calls: float = 0


async def migration_report(caller: Caller, store: Store, keys: Keys, fallback: Flags) -> dict[str, Any]:
    """Return the flags, who is coordinated, which way requests go, how answers compare, and what REST costs.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    pipeline = store.client.pipeline(transaction=False)
    pipeline.time()
    pipeline.hgetall(keys.flags)
    pipeline.hgetall(keys.callers)
    pipeline.hgetall(keys.comparison)
    (seconds, _), flags_raw, callers_raw, comparison_raw = await store.answer(pipeline.execute())
    flags = flags_of(flags_raw, fallback)
    callers = _callers(callers_raw, flags, seconds * 1000)
    ways = _ways(await Counters(store, keys).totals(_HOUR_S, seconds))
    try:
        coordinator: dict[str, Any] | None = await call_report(caller, store, keys)
    except CallNotMade:  # there is no REST to call
        coordinator = None
    migrated = sum(one["is_coordinated"] for one in callers)
    return {
        "flags": flags_json(flags),
        "progress": {
            "migrated": migrated,
            "total": len(callers),
            "percentage": round(100 * migrated / len(callers), 1) if callers else None,
        },
        "callers": callers[:_MOST_NAMED],
        "requests_last_hour": ways,
        "comparison": comparison_json(comparison_raw),
        "coordinator": coordinator,
    }


def flags_json(flags: Flags) -> dict[str, Any]:
    """Return flags under the names that they are set by."""
    return {USE: flags.use, BOTS: flags.as_texts()[BOTS]}


def _callers(raw: Mapping[bytes, bytes], flags: Flags, now_ms: int) -> list[dict[str, Any]]:
    """Return who has asked within the last hour, the latest first."""
    found = []
    for name, text in raw.items():
        seen, caller = parse_json(text, _Seen), name.decode(errors="replace")
        if seen is not None and now_ms - seen.last_ms < _HOUR_S * 1000:
            found.append(
                {
                    "caller": caller,
                    "is_coordinated": flags.covers(caller),
                    "last_way": seen.way,
                    "last_seen_s": round(max(0.0, now_ms - seen.last_ms) / 1000, 1),
                    "requests": int(seen.calls),
                }
            )
    return sorted(found, key=lambda one: float(one["last_seen_s"]))


def _ways(totals: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return how many requests went which way, by what was asked for."""
    ways: dict[str, dict[str, int]] = {}
    for name, number in totals.items():
        word, _, rest = name.partition(":")
        way, _, kind = rest.partition(":")
        if word == WAY:
            ways.setdefault(way, {})[kind] = number
    return ways


def comparison_json(raw: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return how what was served compares with what REST said at the time; null where nothing was compared."""
    figures: dict[str, float] = {}
    for name, value in raw.items():
        try:
            number = float(value)
        except ValueError:
            continue
        if isfinite(number):
            figures[name.decode(errors="replace")] = number

    def mean(total: str, count: str) -> float | None:
        return round(figures[total] / figures[count], 4) if figures.get(count) and total in figures else None

    told: dict[str, Any] = {}
    for what in ("price", "bid_ask"):
        told[what] = {
            "compared": int(figures.get(f"{what}:count", 0)),
            "mean_difference_bp": mean(f"{what}:sum_bp", f"{what}:count"),
            "max_difference_bp": figures.get(f"{what}:max_bp"),
        }
    told["balance"] = {
        "compared": int(figures.get("balance:count", 0)),
        "different": int(figures.get("balance:different", 0)),
    }
    told["age"] = {
        "mean_ms": mean("age_ms:sum", "age_ms:count"),
        "max_ms": figures.get("age_ms:max"),
    }
    return told
