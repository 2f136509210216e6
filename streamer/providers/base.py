"""What the ingester asks a REST source for. The seam between whoever needs data and whoever may call."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamer.model import Account, Bucket, ProductId, Source

_HOUR_S = 3600.0


@dataclass(slots=True)
class CallCounts:
    """REST calls made by this process: each request on the wire counts, also the pages of one answer.

    Attributes:
        total: By route, since start.
        failures: Those of them that brought no usable answer.
    """

    total: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    _times: deque[float] = field(default_factory=deque)

    def made(self, route: str, now: float) -> None:
        """Count one call at monotonic time `now`."""
        self.total[route] = self.total.get(route, 0) + 1
        self._times.append(now)

    def last_hour(self, now: float) -> int:
        """Return how many calls the last hour has seen."""
        while self._times and self._times[0] <= now - _HOUR_S:
            self._times.popleft()
        return len(self._times)


class RestSource(Protocol):
    """Answers what the stream does not bring. Every method raises RestError and nothing else."""

    counts: CallCounts
    source: Source
    """Who answers, as far as is known."""

    async def accounts(self) -> list[Account]:
        """Return all wallets of the key's portfolio, one a currency."""

    async def candles(self, product_id: ProductId, from_s: int, to_s: int) -> list[Bucket]:
        """Return the five-minute candles of a range in Unix seconds; how long it may be is the source's rule."""

    async def products(self) -> Sequence[Mapping[str, Any]]:
        """Return all products as the exchange describes them (`GET /products`)."""
