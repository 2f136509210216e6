"""What this process's calls have come to. Plain counters: the hot path bumps them, surfaces read them. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streamer.store.keys import CALL, LIMITED


@dataclass(slots=True)
class Statistics:
    """Counts since start, of this process.

    Attributes:
        calls: By route, name of the priority and outcome; every attempt counts.
        waits: Calls that had to wait for their turn, whether it came or not.
        waited_s: How long they waited, together.
        longest_wait_s: The longest of them.
        penalties: 429 answers.
        circuit_open: Calls not made because the breaker was open.
        queue_timeouts: Calls not made because their turn did not come in time.
        shed: Calls not made because Redis was away and they were not urgent, or the process was closing.
        retries: Attempts after the first.
        local: Calls granted by this process alone, while Redis was away.
    """

    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    waits: int = 0
    waited_s: float = 0.0
    longest_wait_s: float = 0.0
    penalties: int = 0
    circuit_open: int = 0
    queue_timeouts: int = 0
    shed: int = 0
    retries: int = 0
    local: int = 0

    def waited(self, seconds: float) -> None:
        """Enter one wait."""
        self.waits += 1
        self.waited_s += seconds
        self.longest_wait_s = max(self.longest_wait_s, seconds)


def call_counts(statistics: Statistics) -> Counter[str]:
    """Return calls and 429s under the names of the counters that all processes share."""
    counted: Counter[str] = Counter()
    for (route, priority, outcome), number in statistics.calls.items():
        counted[f"{CALL}:{route}:{priority}:{outcome}"] += number
    counted[LIMITED] = statistics.penalties
    return counted
