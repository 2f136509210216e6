"""Who may call when, for all processes: leave for each call is got here and given back here.

Without waiters and with a place free that is one round trip. Else the call joins this process's line, which sleeps
as long as it is told and is woken when something changes sooner.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from streamer.errors import CallNotMade
from streamer.gateway.decision import Ask, Grant, Place, Wait
from streamer.gateway.judge import Judge
from streamer.gateway.limits import PERMILLE, Outcome, Window
from streamer.gateway.line import Line, Waiter, refusal, too_late
from streamer.gateway.statistics import Statistics
from streamer.gateway.wake import Wake
from streamer.providers.base import ANY, Budget, Call
from streamer.settings import Settings, owner_name
from streamer.store.connect import COMMAND_DEADLINE_S, Store
from streamer.store.keys import Keys

_LABEL_LENGTH: Final = 64
_SECOND_UNDO_S: Final = 0.5


def budgets(settings: Settings) -> dict[Budget, tuple[Window, ...]]:
    """Return the windows of every budget that the settings ask for."""
    return {
        Budget.MARKET: (Window(settings.market_calls_per_minute, 60.0), Window(settings.public_calls_per_s, 1.0)),
        Budget.PRIVATE: (Window(settings.private_calls_per_s, 1.0),),
    }


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How a budget stands over all processes.

    Attributes:
        windows: Calls used and allowed now, window by window.
        factor: The part of the rate that 429s have left.
        blocked_s: For so long a 429 forbids calls altogether.
        queued: Calls that wait, in all processes.
        spent: Calls of the last 5 to 10 minutes by "<caller or route>|<priority>".
    """

    windows: tuple[tuple[int, int], ...]
    factor: float
    blocked_s: float
    queued: int
    spent: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the calls of all processes stand.

    Attributes:
        breaker: "closed", "open" or "half-open".
        retry_s: For so long the breaker lets nothing through.
        failures: In a row.
        processes: That have asked for a call within the last minute.
    """

    budgets: Mapping[Budget, BudgetState]
    breaker: str
    retry_s: float
    failures: int
    processes: int


class Admission:
    """Leave to call, shared by all processes of one scope. Everything happens on one event loop.

    Args:
        store: Redis; stays open when this is closed.
        scope: Names the exchange.
        name: Names this process; nobody else may have it.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        budgets: Mapping[Budget, Sequence[Window]],
        *,
        scope: str = "coinbase",
        name: str | None = None,
    ) -> None:
        self.name = name or owner_name()
        self.statistics = Statistics()
        self.windows = budgets
        self._judge = Judge(store, keys, budgets, scope=scope, name=self.name, changed=lambda: self._heard("*"))
        self._wake = Wake(store, self._judge.channel, heard=self._heard, is_needed=self._has_waiters)
        # Of this instance, not of `name`: tokens must differ even where a name is given to two.
        self._token_start = f"{self.name}:{os.urandom(4).hex()}:"
        self._tokens = count()
        self._lines = {
            budget: Line(
                budget, self.name, self._judge, self.statistics, token=self._token, give_back=self._give_back
            )
            for budget in budgets
        }
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    @property
    def is_alone(self) -> bool:
        """Whether Redis is away, so that this process keeps to its share of the budgets."""
        return self._judge.is_away

    def waiting(self, budget: Budget) -> int:
        """Return how many calls of this process wait for a budget."""
        return len(self._lines[budget])

    async def admit(self, budget: Budget, call: Call = ANY, route: str = "") -> Grant:
        """Wait until this call may be made; cancelled, it leaves no trace.

        Returns:
            What `settle` must be told the outcome of; the call must end within its lease.

        Raises:
            QueueTimeout: Its turn does not come within the deadline; raised as soon as that is known.
            CircuitOpen: Too many calls have failed.
            CallNotMade: Redis is away and the call is not urgent, or this is closed.
        """
        now = time.monotonic()
        if self._is_closed:
            raise CallNotMade(route, "not sent: the process is ending")
        if call.deadline is None:
            return await self._admitted(budget, call, route, now)
        if call.deadline <= now:
            raise too_late(route, now)
        try:
            async with asyncio.timeout(call.deadline - now):
                return await self._admitted(budget, call, route, now)
        except TimeoutError as exc:
            raise too_late(route, now) from exc

    async def settle(self, grant: Grant, outcome: Outcome, retry_after_s: float | None = None) -> None:
        """Say how a granted call has ended. Never raises; where Redis is away, the lease speaks for the call."""
        retry_after_ms = None
        if retry_after_s is not None and 0 <= retry_after_s < float("inf"):
            retry_after_ms = int(retry_after_s * PERMILLE) + 1
        await self._judge.settle(grant, outcome, retry_after_ms)

    def settle_soon(self, grant: Grant, outcome: Outcome, retry_after_s: float | None = None) -> asyncio.Task[None]:
        """Do so in the background, whatever becomes of the caller."""
        return self._hold(self.settle(grant, outcome, retry_after_s))

    async def snapshot(self) -> Snapshot:
        """Return how things stand in Redis.

        Raises:
            StoreUnavailable: Redis cannot tell.
        """
        states = {}
        for budget in self._lines:
            reply = await self._judge.snapshot(budget)
            factor, blocked_ms, queued, processes, breaker, retry_ms, failures, used, spent = reply
            counted: dict[str, int] = {}
            for label, calls in zip(spent[::2], spent[1::2], strict=True):
                if b"|" in label and calls.isdigit():
                    text = label.decode(errors="replace")
                    counted[text] = counted.get(text, 0) + int(calls)
            windows = tuple(zip(used[::2], used[1::2], strict=True))
            states[budget] = BudgetState(windows, factor / PERMILLE, blocked_ms / 1000, queued, counted)
        return Snapshot(states, breaker.decode(), retry_ms / 1000, failures, processes)

    async def close(self) -> None:
        """Send all who wait away, and tell Redis what there is to tell, under the command deadline."""
        self._is_closed = True
        await asyncio.gather(*(line.close() for line in self._lines.values()))
        await self._wake.close()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=COMMAND_DEADLINE_S)
        for task in self._tasks:
            task.cancel()
        await self._judge.close()

    async def _admitted(self, budget: Budget, call: Call, route: str, since: float) -> Grant:
        line = self._lines[budget]
        label = f"{(call.caller or route)[:_LABEL_LENGTH]}|{call.priority.name}"
        told = None
        if line.is_idle:
            ask = Ask(budget, self.name, self._token(), Place(0, call.priority), label=label)
            line.asking += 1
            try:
                ruling = await self._judge.decide(ask)
            except asyncio.CancelledError:
                self._hold(self._undo(ask))
                raise
            finally:
                line.asking -= 1
            if isinstance(ruling, Grant):
                return self._granted(ruling)
            if not isinstance(ruling, Wait):
                raise refusal(route, ruling)
            told = ruling
        self._listen()
        waiter = Waiter(route, label, call.priority, call.deadline, since)
        return self._granted(await line.join(waiter, told))

    async def _undo(self, ask: Ask) -> None:
        """Take back what was asked by one who was cancelled before the answer came.

        Twice, since this goes by another connection and might overtake the question. (A task that outlives the
        cancelled caller would do without that, but costs each admission a tenth.)
        """
        for pause_s in (0.0, _SECOND_UNDO_S):
            await asyncio.sleep(pause_s)
            await self._judge.settle(Grant(ask.budget, ask.token, 0, -1), Outcome.UNUSED)
            line = self._lines[ask.budget]
            if line.is_idle and not line.asking:
                await self._judge.leave(ask.budget)

    def _granted(self, grant: Grant) -> Grant:
        self.statistics.local += grant.is_local
        return grant

    def _give_back(self, grant: Grant) -> None:
        self.settle_soon(grant, Outcome.UNUSED)

    def _hold(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _token(self) -> str:
        return f"{self._token_start}{next(self._tokens)}"

    def _has_waiters(self) -> bool:
        return any(len(line) for line in self._lines.values())

    def _listen(self) -> None:
        if not self._judge.is_away:
            self._wake.listen()

    def _heard(self, budget: str) -> None:
        if self._has_waiters():
            self._listen()
        for line in self._lines.values():
            if len(line) and budget in ("*", line.budget):
                line.wake()
