"""How values are spread, in buckets with fixed bounds: cheap to note, and what `/metrics` is made of. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Bounds for sizes; no flush takes more."""
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for times: from what an idle Redis takes to what is an outage."""


class Histogram:
    """Counts of values by bucket, and their sum.

    Args:
        bounds: Upper bounds of the buckets, each belonging to its bucket; rising. One without end comes after them.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Note one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def as_json(self) -> dict[str, Any]:
        """Return bounds, the count of each bucket by itself (one more than there are bounds), and the sum."""
        return {"le": list(self._bounds), "counts": list(self._counts), "sum": round(self._sum, 6)}


class Flushes:
    """What the flushes of one kind of record were like; one value each a flush, whatever its size."""

    __slots__ = ("_behind_s", "_records", "_took_s", "_waited_s")

    def __init__(self) -> None:
        self._records = Histogram(RECORDS)
        self._took_s, self._waited_s, self._behind_s = Histogram(SECONDS), Histogram(SECONDS), Histogram(SECONDS)

    def note(self, records: int, *, took_s: float, waited_s: float, behind_s: float | None) -> None:
        """Note a flush that Redis has taken.

        Args:
            took_s: How long Redis took.
            waited_s: From the arrival of the oldest change in it until now.
            behind_s: From the exchange's stamp of a record in it until now, None where it brought nothing new.
        """
        self._records.observe(records)
        self._took_s.observe(took_s)
        self._waited_s.observe(max(0.0, waited_s))  # the wall clock may have been set back
        if behind_s is not None:
            self._behind_s.observe(max(0.0, behind_s))

    def as_json(self) -> dict[str, Any]:
        """Return the histograms by name, for `stream:status`."""
        return {
            "records": self._records.as_json(),
            "took_s": self._took_s.as_json(),
            "waited_s": self._waited_s.as_json(),
            "behind_s": self._behind_s.as_json(),
        }
