"""What REST has cost all processes, as figures for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer.gateway.admission import BudgetState, Snapshot
from streamer.gateway.caller import Caller
from streamer.gateway.limits import Window
from streamer.providers.base import Budget
from streamer.store.connect import Store
from streamer.store.counters import Counters, sum_of
from streamer.store.keys import CALL, HIT, LIMITED, MISS, Keys

_FIVE_MINUTES_S, _HOUR_S = 300, 3600


async def call_report(caller: Caller, store: Store, keys: Keys) -> dict[str, Any]:
    """Return the budgets, the breaker, who spent what, and what was read from where.

    Raises:
        StreamerError: Redis does not answer, or there is no REST to call.
    """
    snapshot = await caller.snapshot()
    counters = Counters(store, keys)
    fine = await counters.totals(_FIVE_MINUTES_S)
    hour = await counters.totals(_HOUR_S)
    return _report(snapshot, caller.budgets, fine, hour)


def _report(
    snapshot: Snapshot, windows: Mapping[Budget, Sequence[Window]], fine: Mapping[str, int], hour: Mapping[str, int]
) -> dict[str, Any]:
    hits, misses = sum_of(fine, HIT), sum_of(fine, MISS)
    return {
        **snapshot_json(snapshot, windows),
        "spent": _spent(snapshot),
        "reads_last_5min": _by_tier(fine),
        "hit_rate_last_5min": round(hits / (hits + misses), 4) if hits + misses else None,
        "calls_last_hour": _calls(hour),
        "errors_429_last_5min": sum_of(fine, LIMITED),
        "errors_429_last_hour": sum_of(hour, LIMITED),
    }


def snapshot_json(snapshot: Snapshot, windows: Mapping[Budget, Sequence[Window]]) -> dict[str, Any]:
    """Return budgets, breaker and the number of processes as every surface shows them."""
    return {
        "budgets": {
            budget.value: budget_json(state, windows[budget]) for budget, state in snapshot.budgets.items()
        },
        "breaker": breaker_json(snapshot),
        "processes": snapshot.processes,
    }


def breaker_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the circuit breaker as every surface shows it."""
    return {
        "state": snapshot.breaker,
        "retry_s": round(snapshot.retry_s, 1),
        "failures_in_a_row": snapshot.failures,
    }


def budget_json(state: BudgetState, windows: Sequence[Window]) -> dict[str, Any]:
    """Return a budget as every surface shows it."""
    return {
        "windows": [
            {"used": used, "limit": limit, "length_s": window.length_s}
            for (used, limit), window in zip(state.windows, windows, strict=True)
        ],
        "rate_factor": state.factor,
        "blocked_s": round(state.blocked_s, 1),
        "queued": state.queued,
    }


def _spent(snapshot: Snapshot) -> list[dict[str, Any]]:
    spent: dict[str, int] = {}
    for state in snapshot.budgets.values():
        spent |= state.spent
    rows = []
    for label, calls in sorted(spent.items(), key=lambda pair: -pair[1]):
        caller, _, priority = label.rpartition("|")
        rows.append({"caller": caller, "priority": priority, "calls": calls})
    return rows


def _by_tier(totals: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return reads by kind and tier; what could not be served counts as tier "none"."""
    reads: dict[str, dict[str, int]] = {}
    for name, number in totals.items():
        outcome, _, rest = name.partition(":")
        kind, _, tier = rest.partition(":")
        if outcome in (HIT, MISS):
            reads.setdefault(kind, {})[tier] = number
    return reads


def _calls(totals: Mapping[str, int]) -> list[dict[str, Any]]:
    rows = []
    for name, number in sorted(totals.items(), key=lambda pair: -pair[1]):
        parts = name.split(":")
        if parts[0] == CALL and len(parts) == 4:
            rows.append({"route": parts[1], "priority": parts[2], "outcome": parts[3], "calls": number})
    return rows
