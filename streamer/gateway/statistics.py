"""What this process's calls have come to. Plain counters: the hot path bumps them, surfaces read them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from streamer.model import Priority
from streamer.store.keys import CALL, LIMITED, WAIT, WAIT_UP_TO, WAITED_MS

_BOUNDS_S: Final = tuple(float(name) for name in WAIT_UP_TO)


@dataclass(slots=True)
class Statistics:
    """Counts since start, of this process.

    Attributes:
        calls: By route, name of the priority and outcome; every attempt counts.
        waits: Calls that had to wait for their turn, whether it came or not.
        waited_s: How long they waited, together.
        longest_wait_s: The longest of them.
        waits_up_to: Waits by name of the priority and one of `WAIT_UP_TO`.
        waited_ms: How long they waited, by name of the priority.
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
    waits_up_to: Counter[tuple[str, str]] = field(default_factory=Counter)
    waited_ms: Counter[str] = field(default_factory=Counter)
    penalties: int = 0
    circuit_open: int = 0
    queue_timeouts: int = 0
    shed: int = 0
    retries: int = 0
    local: int = 0

    def waited(self, seconds: float, priority: Priority) -> None:
        """Enter one wait."""
        self.waits += 1
        self.waited_s += seconds
        self.longest_wait_s = max(self.longest_wait_s, seconds)
        self.waits_up_to[priority.name, WAIT_UP_TO[bisect_left(_BOUNDS_S, seconds)]] += 1
        self.waited_ms[priority.name] += int(seconds * 1000)


def call_counts(statistics: Statistics) -> Counter[str]:
    """Return calls, 429s and waits under the names of the counters that all processes share."""
    counted: Counter[str] = Counter()
    for (route, priority, outcome), number in statistics.calls.items():
        counted[f"{CALL}:{route}:{priority}:{outcome}"] += number
    for (priority, up_to), number in statistics.waits_up_to.items():
        counted[f"{WAIT}:{priority}:{up_to}"] += number
    for priority, waited_ms in statistics.waited_ms.items():
        counted[f"{WAITED_MS}:{priority}"] += waited_ms
    counted[LIMITED] = statistics.penalties
    return counted
