"""Whether the service is worth calling: closed, open, or half-open with one probe at a time. Pure.

The half-open state is where breakers rot: a probe that never reports, a late result of another state, two probes.
So a probe holds a lease that runs out, and every grant carries the number of the state it was given in; what comes
back with an older number is ignored. Half-open is no state of its own, just "open, and its time is over".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from streamer.gateway.limits import LEASE_MS, Outcome

FAILURES_IN_A_ROW: Final = 5
LEAST_CALLS: Final = 10
"""Of fewer calls no share of failures is told."""
BUCKET_MS: Final = 5_000
BUCKETS: Final = 6
"""The share is taken over 30 s."""
FIRST_OPEN_MS: Final = 5_000
LONGEST_OPEN_MS: Final = 120_000
FORGIVEN_MS: Final = 60_000
"""Closed for so long, it opens for the shortest time again."""


@dataclass(slots=True)
class Breaker:
    """Opens on failures in a row, or where half of the calls fail.

    Attributes:
        generation: Number of the present state.
        failures: In a row.
        streak: How often it has opened without having been closed for long between.
        until_ms: Open until then; after that a probe may go.
        closed_ms: When it last closed.
        probe_ms: Until when a probe is out.
        buckets: Start of each bucket (in lengths of one) to calls and failures.
    """

    is_open: bool = False
    generation: int = 0
    failures: int = 0
    streak: int = 0
    until_ms: int = 0
    closed_ms: int = 0
    probe_ms: int = 0
    buckets: dict[int, tuple[int, int]] = field(default_factory=dict)

    def refused_until(self, now_ms: int) -> int:
        """Return until when no call may go, 0 where one may.

        Times further off than any that are set here come from a clock that has been set back, and count as over.
        """
        if not self.is_open:
            return 0
        if now_ms < self.until_ms <= now_ms + LONGEST_OPEN_MS:
            return self.until_ms
        return self.probe_ms if now_ms < self.probe_ms <= now_ms + LEASE_MS else 0

    def granted(self, now_ms: int) -> int:
        """Take note of a grant and return the generation that it carries; while half-open it is the probe."""
        if self.is_open:
            self.generation += 1
            self.probe_ms = now_ms + LEASE_MS
        return self.generation

    def record(self, outcome: Outcome, generation: int, now_ms: int) -> bool:
        """Take note of how a call ended, and say whether that opened the breaker."""
        if generation != self.generation:
            return False
        if outcome in (Outcome.ABANDONED, Outcome.UNUSED):
            self.probe_ms = 0
            return False
        failed = outcome is Outcome.FAILED
        if self.is_open:
            if failed:
                self._open(now_ms)
            else:
                self._close(now_ms)
            return failed
        self.failures = self.failures + 1 if failed else 0
        self._count(now_ms, failed)
        calls, failures = (sum(column) for column in zip(*self.buckets.values(), strict=True))
        if self.failures >= FAILURES_IN_A_ROW or (failed and calls >= LEAST_CALLS and 2 * failures >= calls):
            self._open(now_ms)
            return True
        return False

    def _count(self, now_ms: int, failed: bool) -> None:
        newest = now_ms // BUCKET_MS
        self.buckets = {at: counts for at, counts in self.buckets.items() if newest - BUCKETS < at <= newest}
        calls, failures = self.buckets.get(newest, (0, 0))
        self.buckets[newest] = calls + 1, failures + failed

    def _open(self, now_ms: int) -> None:
        if not self.is_open and now_ms - self.closed_ms >= FORGIVEN_MS:
            self.streak = 0
        self.streak += 1
        self.generation += 1
        self.is_open, self.probe_ms = True, 0
        self.until_ms = now_ms + min(LONGEST_OPEN_MS, FIRST_OPEN_MS * 2 ** min(self.streak - 1, 10))

    def _close(self, now_ms: int) -> None:
        self.generation += 1
        self.is_open, self.probe_ms, self.closed_ms = False, 0, now_ms
        self.failures, self.buckets = 0, {}
