"""How REST stands for all processes, looked at once a second by whoever reports it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import count
from typing import Any, Final

from streamer.errors import StoreUnavailable
from streamer.gateway.admission import Admission, BudgetState, Snapshot
from streamer.gateway.report import breaker_json, budget_json
from streamer.gateway.statistics import call_counts
from streamer.providers.base import Budget
from streamer.store.counters import Counters, Tally, sum_of
from streamer.store.keys import LIMITED

_LOOK_EVERY_S: Final = 1.0
_COUNT_EVERY: Final = 3
_FAREWELL_S: Final = 0.15
_FIVE_MINUTES_S: Final = 300


class Standing:
    """Tells our share of the calls, and learns how those of all processes stand.

    Attributes:
        facts: As JSON for `stream:status`; None until they are known, and while Redis is away.
    """

    def __init__(self, admission: Admission, counters: Counters) -> None:
        self._admission, self._counters = admission, counters
        self._tally = Tally(counters)
        self._refused = 0
        self._pressed_since: dict[Budget, float] = {}
        self.facts: dict[str, Any] | None = None

    async def keep(self) -> None:
        """Look until cancelled."""
        for turn in count():
            try:
                if turn % _COUNT_EVERY == 0:
                    await self._count()
                self.facts = self._told(await self._admission.snapshot(), time.monotonic())
            except StoreUnavailable:
                self.facts = None
            await asyncio.sleep(_LOOK_EVERY_S)

    async def farewell(self) -> None:
        """Tell what has not been told yet, if Redis takes it at once: an end waits for nobody."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._tally.tell(call_counts(self._admission.statistics))

    async def _count(self) -> None:
        await self._tally.tell(call_counts(self._admission.statistics))
        self._refused = sum_of(await self._counters.totals(_FIVE_MINUTES_S), LIMITED)

    def _told(self, snapshot: Snapshot, now: float) -> dict[str, Any]:
        return {
            "breaker": breaker_json(snapshot),
            "errors_429_last_5min": self._refused,
            "budgets": {
                budget.value: budget_json(state, self._admission.windows[budget])
                | {"pressed_s": self._pressed_s(budget, state, now)}
                for budget, state in snapshot.budgets.items()
            },
        }

    def _pressed_s(self, budget: Budget, state: BudgetState, now: float) -> float:
        """For how long others than us have had to wait: our own calls are chores that can."""
        if state.queued <= self._admission.waiting(budget):
            self._pressed_since.pop(budget, None)
            return 0.0
        return round(now - self._pressed_since.setdefault(budget, now), 1)
