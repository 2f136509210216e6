"""Who may call when: budgets, the line before each of them, and the breaker, as one rule. Pure.

This is the reference for `store/lua/gateway_*.lua`, and what a process goes by alone while Redis is away.

A line holds processes, each with the most urgent of its own waiters; whose rank is smallest goes first. The rank
is the time of joining plus the handicap of the priority, so waiting makes urgent, and nothing is computed again.
Whoever waits is told how long to sleep and counts as gone one second after that; what frees a place sooner wakes
all that wait, and they are told anew. A process that died at the head therefore holds the others up for no longer
than that second after its turn. There is one hash for a line: fleets have tens of processes, and a second structure
would be one more that can disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from streamer.gateway.breaker import Breaker
from streamer.gateway.limits import HANDICAP_MS, Outcome, Spent, Window
from streamer.model import Priority
from streamer.providers.base import Budget

GRACE_MS: Final = 1_000
"""So late after its turn a process may come; then its place in the line is gone."""
LONGEST_SLEEP_MS: Final = 30_000
"""Nobody is told to sleep longer, whatever there is to wait for."""
PROCESS_MS: Final = 60_000
"""A process that has asked nothing for so long does not count."""

# Tuples, not frozen dataclasses: one call makes three of them, and these take a third of the time.


class Place(NamedTuple):
    """Where a waiter stands: how long it has waited and how urgent it is."""

    waited_ms: int
    priority: Priority

    def rank(self, now_ms: int) -> int:
        """Return its place in the line; the smallest goes first."""
        return now_ms - self.waited_ms + HANDICAP_MS[self.priority]


class Ask(NamedTuple):
    """A process asks for its most urgent waiter.

    Attributes:
        name: The process.
        token: Names the call, if it is granted.
        queued: How many wait in this process; 0 where the asking one is alone and not in line, which leaves the
            process's place in the line, if it has one, untouched.
        next: The waiter after this one; it takes the place in the line if this one goes.
        reborn: The process has made calls that nobody has counted: this budget's knowledge begins anew.
        label: For the statistics of who has spent what.
    """

    budget: Budget
    name: str
    token: str
    place: Place
    queued: int = 0
    next: Place | None = None
    reborn: bool = False
    label: str = ""


class Grant(NamedTuple):
    """Leave for one call, to be settled with its outcome.

    Attributes:
        granted_ms: When, on the clock of whoever granted it.
        generation: The state of the breaker at that time.
        label: Whom it is counted for.
        is_local: Granted by this process alone, while Redis was away.
    """

    budget: Budget
    token: str
    granted_ms: int
    generation: int
    label: str = ""
    is_local: bool = False


class Wait(NamedTuple):
    """Not yet.

    Attributes:
        sleep_ms: Ask again then, unless woken before.
        soonest_ms: It cannot be its turn sooner than in so many ms, unless others give up.
    """

    sleep_ms: int
    soonest_ms: int


class Refused(NamedTuple):
    """The breaker is open; the time after which to try again."""

    retry_ms: int


Reply: TypeAlias = Grant | Wait | Refused


@dataclass(slots=True)
class _Standing:
    rank: int
    until_ms: int
    queued: int


@dataclass(slots=True)
class Decision:
    """The state on which all callers of one exchange agree.

    Args:
        windows: The limits of each budget.
        now_ms: When this knowledge begins.
        share: One part in so many of each budget is to be given out here.

    Attributes:
        wakes: How often those who wait have had to be woken.
    """

    windows: Mapping[Budget, Sequence[Window]]
    now_ms: int
    share: int = 1
    spent: dict[Budget, Spent] = field(init=False)
    lines: dict[Budget, dict[str, _Standing]] = field(init=False)
    breaker: Breaker = field(default_factory=Breaker)
    wakes: int = 0

    def __post_init__(self) -> None:
        self.spent = {budget: Spent(windows, self.now_ms, self.share) for budget, windows in self.windows.items()}
        self.lines = {budget: {} for budget in self.windows}

    def reborn(self, now_ms: int, share: int, closed_ms: Mapping[Budget, int], refused_ms: int) -> None:
        """Begin anew with another share: others have spent what is not known here. What is known stays.

        Args:
            closed_ms: Until when each budget was closed, by what others said.
            refused_ms: Until when the breaker was open, by what others said.
        """
        for budget, spent in self.spent.items():
            spent.born_ms, spent.share = now_ms, share
            spent.penalty.blocked_ms = max(spent.penalty.blocked_ms, closed_ms.get(budget, 0))
        if refused_ms > now_ms:
            self.breaker.is_open, self.breaker.until_ms = True, max(self.breaker.until_ms, refused_ms)

    def admit(self, ask: Ask, now_ms: int) -> Reply:
        """Decide."""
        spent, line = self.spent[ask.budget], self.lines[ask.budget]
        if ask.reborn:
            spent.born_ms = now_ms
        refused_until = self.breaker.refused_until(now_ms)
        if refused_until:
            line.pop(ask.name, None)
            return Refused(refused_until - now_ms)
        rank = ask.place.rank(now_ms)
        ahead, next_change_ms = self._ahead(line, ask.name, rank, now_ms)
        at, soonest = spent.free_at(now_ms, ahead)
        if ahead or at > now_ms:
            until = min(at if at > now_ms else next_change_ms, next_change_ms, now_ms + LONGEST_SLEEP_MS)
            line[ask.name] = _Standing(rank, until + GRACE_MS, max(1, ask.queued))
            return Wait(until - now_ms, max(0, soonest - now_ms))
        spent.take(ask.token, now_ms)
        grant = Grant(ask.budget, ask.token, now_ms, self.breaker.granted(now_ms), ask.label)
        self._step_up(line, ask, now_ms)
        if any(name != ask.name for name in line) and spent.free_at(now_ms)[0] <= now_ms:
            self.wakes += 1
        return grant

    def settle(self, grant: Grant, outcome: Outcome, now_ms: int, retry_after_ms: int | None = None) -> None:
        """Take note of how a granted call ended."""
        spent = self.spent[grant.budget]
        spent.settle(grant.token, now_ms, outcome)
        if outcome is Outcome.LIMITED:
            spent.penalty.strike(now_ms, grant.granted_ms, retry_after_ms)
        if self.breaker.record(outcome, grant.generation, now_ms):
            self.wakes += 1
            return
        line = self.lines[grant.budget]
        self._strike_off(line, now_ms)
        if line:
            self.wakes += 1
            self._hurry(line, max(now_ms, spent.free_at(now_ms)[0]) + GRACE_MS)

    def leave(self, budget: Budget, name: str) -> None:
        """Give up a process's place in the line."""
        line = self.lines[budget]
        if line.pop(name, None) is not None and line:
            self.wakes += 1

    @staticmethod
    def _strike_off(line: dict[str, _Standing], now_ms: int) -> None:
        for name, standing in list(line.items()):
            if not now_ms <= standing.until_ms <= now_ms + LONGEST_SLEEP_MS + GRACE_MS:
                del line[name]

    @classmethod
    def _ahead(cls, line: dict[str, _Standing], name: str, rank: int, now_ms: int) -> tuple[int, int]:
        """Count those before this rank, and say when the first of them counts as gone."""
        cls._strike_off(line, now_ms)
        # Of two with the same rank neither is ahead: whoever asks first goes.
        ahead = [s.until_ms + 1 for other, s in line.items() if other != name and s.rank < rank]
        return len(ahead), min(ahead, default=now_ms + LONGEST_SLEEP_MS)

    @staticmethod
    def _step_up(line: dict[str, _Standing], ask: Ask, now_ms: int) -> None:
        """Give the place in the line to the process's next waiter: a less urgent one elsewhere must not slip in."""
        if ask.next is not None:
            line[ask.name] = _Standing(ask.next.rank(now_ms), now_ms + GRACE_MS, max(0, ask.queued - 1))
        elif ask.queued:
            line.pop(ask.name, None)

    @staticmethod
    def _hurry(line: dict[str, _Standing], until_ms: int) -> None:
        """Expect the head by then: it was told a later time, and if it is dead the others would wait for that."""
        first = min(standing.rank for standing in line.values())
        for standing in line.values():
            if standing.rank == first:
                standing.until_ms = min(standing.until_ms, until_ms)
