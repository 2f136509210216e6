"""The exchange's clock: what its stamps, its token checks, its Date header and `/time` go by."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """A wall clock that may be set wrong.

    Trades keep the true time: a front that is off does not make the matching engine's past move.

    Args:
        source_ns: The true time, in nanoseconds since 1970.
    """

    __slots__ = ("_offset_ns", "true_ns")

    def __init__(self, source_ns: Callable[[], int] = time.time_ns) -> None:
        self.true_ns = source_ns
        self._offset_ns = 0

    @property
    def offset_s(self) -> float:
        """How far it is ahead of the true time."""
        return self._offset_ns / 1e9

    def set_offset(self, offset_s: float) -> None:
        """Run so many seconds ahead of the true time from now on, or behind it if negative."""
        self._offset_ns = round(offset_s * 1e9)

    def now_ns(self) -> int:
        """Return the exchange's time in nanoseconds since 1970."""
        return self.true_ns() + self._offset_ns

    def now_s(self) -> float:
        """Return the exchange's time in seconds since 1970."""
        return self.now_ns() / 1e9
