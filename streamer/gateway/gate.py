"""The one place where a REST call is sent: in its turn, settled whatever happens, and again where that may help."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import backoff

from streamer.errors import (
    CallNotMade,
    CircuitOpen,
    QueueTimeout,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnauthorized,
    RestUnavailable,
)
from streamer.gateway.admission import Admission
from streamer.gateway.decision import Grant
from streamer.gateway.limits import LEASE_MS, Outcome
from streamer.gateway.statistics import Statistics
from streamer.providers.base import Budget, Call
from streamer.store.connect import COMMAND_DEADLINE_S

T = TypeVar("T")

ATTEMPTS: Final = 3
LONGEST_PAUSE_S: Final = 5.0
SEND_S: Final = LEASE_MS / 1000 - COMMAND_DEADLINE_S - 0.5
"""No call lasts longer: its leave may have been as old as a Redis command may last, and must outlive it."""


def outcome_of(error: BaseException) -> Outcome:
    """Return what an error of `send` says about the service and about the place that the call took."""
    if isinstance(error, CallNotMade):
        return Outcome.UNUSED
    if isinstance(error, RestRateLimited):
        return Outcome.LIMITED
    if isinstance(error, RestRefused):
        return Outcome.REFUSED
    # Cancelled, or a bug of ours: it may have arrived, and says nothing about the service.
    return Outcome.FAILED if isinstance(error, RestError) else Outcome.ABANDONED


@dataclass(slots=True)
class _History:
    """What has become of one call so far."""

    deadline: float | None
    failure: RestError | None = None
    has_renewed: bool = False
    is_over: bool = False

    @property
    def _left_s(self) -> float:
        return math.inf if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def _asked_s(self) -> float:
        return (self.failure.retry_after_s if self.failure is not None else None) or 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether another attempt would come too late, or not be admitted."""
        return self.is_over or self._asked_s > LONGEST_PAUSE_S or self._left_s <= self._asked_s

    def pause_s(self, drawn_s: float) -> float:
        """Return how long to wait: what was drawn or asked for, and never longer than the caller does."""
        return min(max(drawn_s, self._asked_s), self._left_s)


class CallGate:
    """Every call passes one by one: admitted, sent, settled.

    Retried are calls without a usable answer (5xx, timeout, connection), up to three attempts within the caller's
    deadline, each admitted anew so that retries cannot exceed any limit; and a 401 once, with what fresh token the
    next `send` brings. A 429 is not retried: all processes pause, and the caller has other sources.

    Args:
        jitter: Makes a pause of the longest one; full jitter unless a test knows better.
    """

    def __init__(self, admission: Admission, *, jitter: Callable[[float], float] = backoff.full_jitter) -> None:
        self._admission, self._jitter = admission, jitter

    @property
    def statistics(self) -> Statistics:
        """What this process's calls have come to."""
        return self._admission.statistics

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        """Send when it is this call's turn, and again where that may help; as `Gate.run` promises."""
        history = _History(call.deadline)

        async def attempt() -> T:
            if history.failure is not None:
                self.statistics.retries += 1
            try:
                return await self._once(budget, route, call, send)
            except CallNotMade as exc:
                # It has been sent before, so "not sent" would be wrong; how that went is what there is to say.
                history.is_over = True
                raise history.failure or exc from None
            except RestUnauthorized as exc:
                if exc.status != 401 or history.has_renewed:
                    raise
                history.failure, history.has_renewed = exc, True
                return await attempt()
            except RestUnavailable as exc:
                history.failure = exc
                raise

        # Its own limit on time reads the wall clock; the deadline is monotonic and ours to keep.
        retried = backoff.on_exception(
            backoff.expo,
            RestUnavailable,
            max_tries=ATTEMPTS,
            max_value=LONGEST_PAUSE_S,
            jitter=lambda longest_s: history.pause_s(self._jitter(longest_s)),
            giveup=lambda exc: history.is_hopeless,
            logger=None,
        )
        return await retried(attempt)()

    async def _once(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        grant = await self._admit(budget, route, call)
        try:
            try:
                async with asyncio.timeout(SEND_S):
                    answer = await send()
            except TimeoutError as exc:
                raise RestUnavailable(route, f"no answer within {SEND_S:g} s") from exc
        except BaseException as exc:
            outcome = outcome_of(exc)
            self._count(route, call, outcome)
            settled = self._admission.settle_soon(grant, outcome, getattr(exc, "retry_after_s", None))
            if isinstance(exc, RestError):
                # Waited for, so that the next attempt is judged with this one known; done even if we are cancelled.
                await asyncio.shield(settled)
            raise
        self._count(route, call, Outcome.OK)
        self._admission.settle_soon(grant, Outcome.OK)
        return answer

    async def _admit(self, budget: Budget, route: str, call: Call) -> Grant:
        try:
            return await self._admission.admit(budget, call, route)
        except CircuitOpen:
            self.statistics.circuit_open += 1
            raise
        except QueueTimeout:
            self.statistics.queue_timeouts += 1
            raise
        except CallNotMade:
            self.statistics.shed += 1
            raise

    def _count(self, route: str, call: Call, outcome: Outcome) -> None:
        self.statistics.calls[route, call.priority.name, outcome] += 1
        self.statistics.penalties += outcome is Outcome.LIMITED
