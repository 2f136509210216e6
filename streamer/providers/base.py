"""What a REST source can be asked, and what its requests pass through. The seam between needing and calling."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

from streamer.model import Account, Bucket, Granularity, Priority, ProductId, Source

T = TypeVar("T")

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
        self._forget(now)

    def last_hour(self, now: float) -> int:
        """Return how many calls the last hour has seen."""
        self._forget(now)
        return len(self._times)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] <= now - _HOUR_S:
            self._times.popleft()


class Budget(StrEnum):
    """Whose limit a request counts against."""

    MARKET = "market"
    """Public data; the exchange counts by address."""
    PRIVATE = "private"
    """The account; the exchange counts by user."""


@dataclass(frozen=True, slots=True)
class Call:
    """On whose behalf a call is made.

    Attributes:
        deadline: Monotonic time after which nobody waits for the answer; None where somebody always does.
        caller: Who asks, for the statistics, such as "bot-7".
    """

    priority: Priority = Priority.MARKET_DATA
    deadline: float | None = None
    caller: str = ""


ANY: Final = Call()
"""Nobody in particular, without hurry."""


class Gate(Protocol):
    """What every request to the exchange passes through, one by one, also the pages of one answer."""

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        """Send when it is this request's turn, and again where that may help; return what `send` returns.

        Args:
            route: What is asked, such as "candles"; for statistics and errors.
            send: Makes one request. It raises RestError and nothing else, and has time limits of its own.

        Raises:
            CallNotMade: It was not sent.
            RestError: What the last attempt raised.
        """


class OpenGate:
    """Lets everything through at once."""

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        """Send."""
        return await send()


class Origin(Protocol):
    """Whoever answers requests."""

    @property
    def source(self) -> str:
        """Who makes the values: a `Source`, or the name of a provider."""


class RestSource(Protocol):
    """Answers what the stream does not bring. Methods raise RestError, and ConfigError for a bad argument."""

    @property
    def counts(self) -> CallCounts:
        """Calls made so far."""

    @property
    def source(self) -> Source:
        """Who answers, as far as is known."""

    @property
    def has_key(self) -> bool:
        """Whether what belongs to the account can be asked."""

    async def accounts(self, call: Call = ANY) -> list[Account]:
        """Return all wallets of the key's portfolio, one a currency."""

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        """Return the candles of a range in Unix seconds, oldest first; how long it may be is the source's rule."""

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        """Return products as the exchange describes them (`GET /products`): those that are named, all if none is.

        What the exchange does with ids that it does not know is its own affair: it leaves them out, or refuses all.
        """

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        """Return `breakdown` of a portfolio as the exchange describes it, numbers as `Decimal`."""
