"""Those of this process who wait for a call of one budget. Redis hears only of the most urgent of them."""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from streamer.errors import CallNotMade, CircuitOpen, QueueTimeout
from streamer.gateway.decision import Ask, Grant, Place, Refused, Wait
from streamer.gateway.judge import AT_ONCE, Judge, Ruling
from streamer.gateway.limits import HANDICAP_MS
from streamer.gateway.statistics import Statistics
from streamer.model import Priority
from streamer.providers.base import Budget

MOST_WAITING: Final = 1000
"""As many may wait for one budget in one process; of more the last in line is sent away."""

_numbers = count()


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that wants to be made; `since` and `deadline` are monotonic times."""

    route: str
    label: str
    priority: Priority
    deadline: float | None
    since: float
    answer: asyncio.Future[Grant | CallNotMade] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    rank: tuple[float, int] = (0.0, 0)

    def __post_init__(self) -> None:
        self.rank = (self.since * 1000 + HANDICAP_MS[self.priority], next(_numbers))

    @property
    def place(self) -> Place:
        """Where it stands by now."""
        return Place(int((time.monotonic() - self.since) * 1000), self.priority)


def refusal(route: str, ruling: Ruling) -> CallNotMade:
    """Return a ruling that is neither leave nor a wait as the error it is."""
    if isinstance(ruling, Refused):
        retry_s = ruling.retry_ms / 1000
        why = f"not sent: too many calls have failed, the next may go in {retry_s:.1f} s"
        return CircuitOpen(route, why, retry_after_s=retry_s)
    return CallNotMade(route, "not sent: Redis is away, and only what is urgent is asked now")


def too_late(route: str, since: float, soonest_s: float | None = None) -> QueueTimeout:
    """Return the error of one whose turn does not come in time."""
    waited_s = time.monotonic() - since
    why = f"not sent: no call was free within {waited_s:.1f} s"
    if soonest_s is not None:
        why = f"not sent: no call is free before {soonest_s:.1f} s have passed"
    return QueueTimeout(route, why, retry_after_s=soonest_s)


class Line:
    """The waiters of one budget, most urgent first, and the task that asks for them.

    Args:
        token: Makes names of calls.
        give_back: Takes a grant that nobody wants any more.
    """

    def __init__(
        self,
        budget: Budget,
        name: str,
        judge: Judge,
        statistics: Statistics,
        *,
        token: Callable[[], str],
        give_back: Callable[[Grant], object],
    ) -> None:
        self.budget, self._name, self._judge, self._statistics = budget, name, judge, statistics
        self._token, self._give_back = token, give_back
        self._waiters: list[Waiter] = []
        self._task: asyncio.Task[None] | None = None
        self._kick = asyncio.Event()
        self._kicks = 0
        self._ask_at = 0.0
        self._soonest_at = 0.0
        self._in_line = False
        self.asking = 0
        """How many of this process ask for themselves just now, without a place in here."""

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits or is being taken care of, so that one may ask for oneself."""
        return self._task is None and self.asking < AT_ONCE

    def _ask(self, waiter: Waiter, following: Waiter | None = None) -> Ask:
        """Return what the judge is asked for a waiter."""
        place, queued = waiter.place, len(self._waiters)
        after = following.place if following is not None else None
        return Ask(self.budget, self._name, self._token(), place, queued, after, label=waiter.label)

    async def join(self, waiter: Waiter, told: Wait | None = None) -> Grant:
        """Wait for the waiter's turn.

        Args:
            told: What the judge has said already.

        Raises:
            CallNotMade: Its turn will not come, or not in time.
        """
        insort(self._waiters, waiter, key=lambda one: one.rank)
        if len(self._waiters) > MOST_WAITING:
            self._dismiss(self._waiters[-1], too_late(self._waiters[-1].route, self._waiters[-1].since))
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name=f"gateway-line-{self.budget}")
        if told is not None:
            self._in_line = True
        if waiter in self._waiters[:1] and told is not None:
            self._told(told)
        elif told is not None or waiter in self._waiters[:1]:
            self.wake()  # it is not the first, and what it has asked took the place of the first; or it is
        elif self._waiters and waiter.deadline is not None and waiter.deadline < self._soonest_at:
            self._dismiss(waiter, too_late(waiter.route, waiter.since, self._soonest_at - time.monotonic()))
        try:
            answer = await waiter.answer
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        finally:
            self._statistics.waited(time.monotonic() - waiter.since, waiter.priority)
        if isinstance(answer, CallNotMade):
            raise answer
        return answer

    def wake(self) -> None:
        """Ask again at once: something has changed."""
        self._kicks += 1
        self._ask_at = 0.0
        self._kick.set()

    async def close(self) -> None:
        """Send everybody away and leave the line."""
        for waiter in list(self._waiters):
            self._dismiss(waiter, CallNotMade(waiter.route, "not sent: the process is ending"))
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _withdraw(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            was_first = self._waiters[0] is waiter
            self._waiters.remove(waiter)
            if was_first:
                self.wake()
        elif waiter.answer.done() and not waiter.answer.cancelled():
            answer = waiter.answer.result()
            if isinstance(answer, Grant):
                self._hand_out(answer)

    def _hand_out(self, grant: Grant) -> None:
        """Give leave to the most urgent; whose call it was to be does not matter, the budget does."""
        if self._waiters:
            self._dismiss(self._waiters[0], grant)
        else:
            self._give_back(grant)

    def _dismiss(self, waiter: Waiter, answer: Grant | CallNotMade) -> None:
        if self._waiters[0] is waiter:
            self.wake()
        self._waiters.remove(waiter)
        if not waiter.answer.done():
            waiter.answer.set_result(answer)
        elif isinstance(answer, Grant):
            self._hand_out(answer)  # it was cancelled and has not run since

    async def _serve(self) -> None:
        try:
            while self._waiters or self._in_line:
                if not self._waiters:
                    self._in_line = False
                    await self._judge.leave(self.budget)
                elif (pause_s := self._ask_at - time.monotonic()) > 0:
                    await self._sleep(pause_s)
                else:
                    await self._ask_for_first()
        finally:
            self._task = None
            for waiter in list(self._waiters):  # a bug of ours, or the end of the loop: nobody may wait for ever
                self._dismiss(waiter, CallNotMade(waiter.route, "not sent: waiting has broken down"))

    async def _sleep(self, pause_s: float) -> None:
        self._kick.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._kick.wait()
        except TimeoutError:
            pass

    async def _ask_for_first(self) -> None:
        first = self._waiters[0]
        following = self._waiters[1] if len(self._waiters) > 1 else None
        kicks = self._kicks
        self._ask_at = 0.0
        ruling = await self._judge.decide(self._ask(first, following))
        if isinstance(ruling, Grant):
            self._in_line = following is not None
            self._hand_out(ruling)
        elif isinstance(ruling, Wait):
            self._in_line = True
            # Woken while we asked: the answer may be older than what woke us.
            self._told(ruling, again=kicks != self._kicks)
        elif isinstance(ruling, Refused):
            self._in_line = False
            for waiter in list(self._waiters):
                self._dismiss(waiter, refusal(waiter.route, ruling))
        else:
            for waiter in [one for one in self._waiters if one.priority is Priority.BACKGROUND]:
                self._dismiss(waiter, refusal(waiter.route, ruling))

    def _told(self, told: Wait, *, again: bool = False) -> None:
        now = time.monotonic()
        self._soonest_at = now + told.soonest_ms / 1000
        if not again:
            self._ask_at = now + told.sleep_ms / 1000
        for waiter in list(self._waiters):
            if waiter.deadline is not None and waiter.deadline < self._soonest_at:
                self._dismiss(waiter, too_late(waiter.route, waiter.since, told.soonest_ms / 1000))
