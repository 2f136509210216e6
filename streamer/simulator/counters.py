"""How often clients knock and talk, as the exchange counts it. Pure."""

from __future__ import annotations

from collections import deque


class RateMeter:
    """Counts events, and the most of them in any window of one second."""

    def __init__(self) -> None:
        self.total = 0
        self.max_per_s = 0
        self._recent: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """Count one event."""
        recent = self._recent
        recent.append(now_s)
        # A sliding window, not calendar seconds: those would miss a burst across their border.
        while recent[0] <= now_s - 1:
            recent.popleft()
        self.total += 1
        self.max_per_s = max(self.max_per_s, len(recent))

    def described(self) -> dict[str, int]:
        """Return the figures for the control port."""
        return {"total": self.total, "max_per_s": self.max_per_s}
