"""How many calls a budget allows and when the next may go: exact sliding windows, and the penalty of a 429. Pure.

The upstream counts a call when it arrives, some time between our grant and our knowing of its end. So a call holds
its place as if it arrived at the end of its lease, and once it has ended, as if it had arrived then. Of the calls
that the upstream sees within one window, take the one granted last: all others were still within the window at that
moment, so they were counted and fewer than the limit. Hence no window of the upstream's ever holds more than its
limit, however long calls take; a GCRA with a burst lets nearly twice the limit into one window.

State that has just been made may have followed state that was lost (a flush, a failover, Redis away), and processes
that have been on their own come back to Redis one by one, up to `RETURN_MS` after the first. Until that and one
window have passed, half of a limit is granted: whatever was spent before, a window then sees at most 1.5 times its
limit (2 times where the limit is 1), and a fleet that is started for the first time has five calls of ten at once.

`store/lua/gateway_rules.lua` says the same in Lua; a property test holds the two to the same decisions. All times
are whole milliseconds: 0.1 + 0.2 must not decide who calls.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from streamer.model import Priority

LEASE_MS: Final = 12_000
"""For so long a call that has been granted may still arrive; no call may last longer."""
RETURN_MS: Final = 3_500
"""The longest pause of one who looks for Redis, and the time that connecting and asking may take."""
STRAY_MS: Final = 4_000
"""For so long a call that was abandoned may still arrive: its thread may be connecting, and is cut off soon."""
PERMILLE: Final = 1000
LEAST_FACTOR: Final = 125
"""The rate is never cut below an eighth."""
REGAIN_MS: Final = 30_000
"""Each so many ms without a 429 a tenth of the rate comes back."""
REGAIN_STEP: Final = 100
FIRST_BLOCK_MS: Final = 1_000
LONGEST_OWN_BLOCK_MS: Final = 60_000
"""Where a 429 names no time we wait 1, 2, 4 s and so on up to this."""
LONGEST_BLOCK_MS: Final = 900_000
"""What a Retry-After can cost at most."""

HANDICAP_MS: Final = {
    Priority.TRADING: 0,
    Priority.BOT_EVALUATION: 5_000,
    Priority.MARKET_DATA: 15_000,
    Priority.BACKGROUND: 30_000,
}
"""By how much a call of that priority stands behind a TRADING call of the same moment; so nobody starves."""


class Outcome(StrEnum):
    """How a granted call ended."""

    OK = "ok"
    FAILED = "failed"
    """5xx, no answer in time, no connection."""
    REFUSED = "refused"
    """4xx: the service answers, and says no."""
    LIMITED = "limited"
    """429."""
    ABANDONED = "abandoned"
    """Nobody waited for its end; it may have arrived, or be about to."""
    UNUSED = "unused"
    """It was never sent: its place is free again at once."""


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` calls within any `length_s` seconds."""

    limit: int
    length_s: float

    def __post_init__(self) -> None:
        assert self.limit >= 1, self
        assert self.length_s > 0, self

    @property
    def length_ms(self) -> int:
        """The length in whole milliseconds, rounded up."""
        return -int(-self.length_s * 1000 // 1)

    def scaled(self, numerator: int, denominator: int) -> tuple[int, int]:
        """Return limit and length (ms) of a fraction of this rate: a smaller limit, or one in a longer time."""
        part = self.limit * numerator
        if part >= denominator:
            return part // denominator, self.length_ms
        return 1, -(-self.length_ms * denominator // part)


@dataclass(slots=True)
class Penalty:
    """What 429 answers have brought upon a budget.

    Attributes:
        blocked_ms: No call before this time.
        factor: Thousandths of the rate left by the last 429.
        since_ms: When the rate began to come back.
        halved_ms: When it was last halved.
        strikes: How often in a row it was.
    """

    blocked_ms: int = 0
    factor: int = PERMILLE
    since_ms: int = 0
    halved_ms: int = 0
    strikes: int = 0

    def factor_at(self, now_ms: int) -> int:
        """Return thousandths of the rate that may be used now."""
        steps = max(0, now_ms - self.since_ms) // REGAIN_MS
        return min(PERMILLE, self.factor + REGAIN_STEP * steps)

    def blocked_until(self, now_ms: int) -> int:
        """Return until when no call may go, 0 for none. A time that no 429 can have set counts as none."""
        return self.blocked_ms if self.blocked_ms <= now_ms + LONGEST_BLOCK_MS else 0

    def strike(self, now_ms: int, granted_ms: int, retry_after_ms: int | None) -> None:
        """Take note of a 429; those of calls granted before the rate was last halved halve it no further."""
        if granted_ms > self.halved_ms or self.halved_ms > now_ms:
            factor = self.factor_at(now_ms)
            self.strikes = self.strikes + 1 if factor < PERMILLE else 1
            self.factor, self.halved_ms = max(LEAST_FACTOR, factor // 2), now_ms
        wait_ms = min(LONGEST_OWN_BLOCK_MS, FIRST_BLOCK_MS * 2 ** min(max(0, self.strikes - 1), 10))
        if retry_after_ms is not None:
            wait_ms = min(LONGEST_BLOCK_MS, max(FIRST_BLOCK_MS, retry_after_ms))
        self.blocked_ms = max(self.blocked_until(now_ms), now_ms + wait_ms)
        # The rate comes back from the end of the block on: none can be refused before, so silence proves nothing.
        self.since_ms = self.blocked_ms


@dataclass(slots=True)
class Spent:
    """The calls of one budget by the latest time at which the upstream may have counted them.

    Args:
        windows: All of them hold at once.
        born_ms: When this knowledge began.
        share: Only one part in so many of the budget is ours.
    """

    windows: Sequence[Window]
    born_ms: int
    share: int = 1
    penalty: Penalty = field(default_factory=Penalty)
    _at: dict[str, int] = field(default_factory=dict)
    _order: list[int] = field(default_factory=list)

    def take(self, token: str, now_ms: int) -> None:
        """Enter a call that is being granted."""
        self._put(token, now_ms + LEASE_MS)
        longest_ms = max(window.scaled(LEAST_FACTOR, PERMILLE * self.share)[1] for window in self.windows)
        if self._order[0] < now_ms - longest_ms:
            self._at = {token: at for token, at in self._at.items() if at >= now_ms - longest_ms}
            self._order = sorted(self._at.values())

    def settle(self, token: str, now_ms: int, outcome: Outcome) -> None:
        """Date a call by its end; one that is not known any more was sent all the same, and is entered."""
        if outcome is Outcome.UNUSED:
            if (at := self._at.pop(token, None)) is not None:
                self._order.remove(at)
        else:
            self._put(token, now_ms + STRAY_MS if outcome is Outcome.ABANDONED else now_ms)

    def free_at(self, now_ms: int, ahead: int = 0) -> tuple[int, int]:
        """Return from when on a call may go that has `ahead` others before it, by what is known now.

        Returns:
            That time if all calls in flight arrive as late as they can, and if they end this moment.
        """
        blocked_ms = self.penalty.blocked_until(now_ms)
        latest, soonest = blocked_ms, blocked_ms
        factor = self.penalty.factor_at(now_ms)
        for window in self.windows:
            limit, length_ms = window.scaled(factor, PERMILLE * self.share)
            grown_ms = self.born_ms + length_ms + RETURN_MS
            late, soon = self._window_free_at(limit, length_ms, now_ms, ahead)
            if now_ms < grown_ms:
                half_late, half_soon = self._window_free_at(max(1, limit // 2), length_ms, now_ms, ahead)
                late, soon = min(half_late, max(late, grown_ms)), min(half_soon, max(soon, grown_ms))
            latest, soonest = max(latest, late), max(soonest, soon)
        return latest, soonest

    def used(self, now_ms: int) -> list[tuple[int, int]]:
        """Return, window by window, how many calls it holds and how many it may hold now."""
        factor = self.penalty.factor_at(now_ms)
        found = []
        for window in self.windows:
            limit, length_ms = window.scaled(factor, PERMILLE * self.share)
            if now_ms < self.born_ms + length_ms + RETURN_MS:
                limit = max(1, limit // 2)
            found.append((sum(at >= now_ms - length_ms for at in self._order), limit))
        return found

    def _window_free_at(self, limit: int, length_ms: int, now_ms: int, ahead: int) -> tuple[int, int]:
        rounds, ahead = divmod(ahead, limit)
        index = limit - 1 - ahead
        # Who has a whole limit of others ahead waits for windows that begin now at the earliest.
        floor_ms, later_ms = (now_ms, rounds * (length_ms + 1)) if rounds else (0, 0)
        if index >= len(self._order):
            return floor_ms + later_ms, floor_ms + later_ms
        at = self._order[-1 - index]
        # One more ms: times are cut to whole ones, and an upstream may count both ends of its window.
        late_ms, soon_ms = at + length_ms + 1, min(at, now_ms) + length_ms + 1
        return max(floor_ms, late_ms) + later_ms, max(floor_ms, soon_ms) + later_ms

    def _put(self, token: str, at_ms: int) -> None:
        if (before := self._at.get(token)) is not None:
            self._order.remove(before)
        self._at[token] = at_ms
        insort(self._order, at_ms)
