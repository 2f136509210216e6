"""Flights of this process, and the calls that answer them: who waits for what, and how urgently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar

from streamer.errors import StreamerError
from streamer.gateway.requests import Request
from streamer.model import Priority
from streamer.providers.base import Budget, Call, Gate
from streamer.store.copies import StoredCopy

T = TypeVar("T")

NOBODY_WAITS_S: Final = 30.0
"""A call whose callers all wait without end is given up after so long."""


class Flight:
    """One request under way in this process.

    Attributes:
        call: On whose behalf; the most urgent of all who wait.
        since: Monotonic time from which on an answer counts as new.
        gone: Set when it is over and landed: who asks from then on begins another.
        group: The call that will answer it, while there is one.
        result: What all who wait for it wait for.
    """

    __slots__ = ("_value", "call", "gone", "group", "request", "result", "since")

    def __init__(self, request: Request[Any], call: Call, since: float) -> None:
        self.request, self.call, self.since = request, call, since
        self.gone = asyncio.Event()
        self.group: Group | None = None
        self._value: Any = None
        self.result: asyncio.Future[StoredCopy] = asyncio.get_running_loop().create_future()
        self.result.add_done_callback(_retrieved)

    def parsed(self, copy: StoredCopy, fetched: datetime) -> Any:
        """Return what the answer means; read once, however many wait for it.

        Raises:
            ValueError: It makes no sense.
        """
        if self._value is None:
            self._value = self.request.parse(bytes(copy.value), fetched)
        return self._value

    def land(self, copy: StoredCopy) -> None:
        """Answer all who wait."""
        if not self.result.done():
            self.result.set_result(copy)

    def fail(self, error: StreamerError) -> None:
        """Tell all who wait why there is no answer."""
        if not self.result.done():
            self.result.set_exception(error)


class Group:
    """One call that answers one flight or several; as long as it waits for its turn it can be made more urgent."""

    def __init__(self, flights: Sequence[Flight]) -> None:
        self.flights = flights
        self.is_sent = False
        self.asked_s = 0.0
        self.urged = asyncio.Event()
        for flight in flights:
            flight.group = self

    def begin(self) -> None:
        """What is called from here on, in this task, is this group's call."""
        _current.set(self)

    def hurry(self, priority: Priority) -> None:
        """Let the call go as early as `priority` may."""
        if not self.is_sent and any(priority < flight.call.priority for flight in self.flights):
            for flight in self.flights:
                flight.call = replace(flight.call, priority=min(flight.call.priority, priority))
            self.urged.set()


_current: ContextVar[Group | None] = ContextVar("group", default=None)


class MarkingGate:
    """A gate that lets the gateway know when a call has had its turn: from then on it is not to be disturbed."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        """Pass it on."""
        group = _current.get()

        async def sent() -> T:
            if group is not None:
                group.is_sent = True
            return await send()

        return await self._gate.run(budget, route, call, sent)


def _retrieved(result: asyncio.Future[StoredCopy]) -> None:
    """All who waited may have left: then nobody looks at the error."""
    if not result.cancelled():
        result.exception()


def grouped(flights: Sequence[Flight]) -> list[Group]:
    """Return the calls that it takes to answer flights."""
    kinds: dict[type[Request[Any]], list[Flight]] = {}
    for flight in flights:
        kinds.setdefault(type(flight.request), []).append(flight)
    return [
        Group(some[at : at + kind.batch]) for kind, some in kinds.items() for at in range(0, len(some), kind.batch)
    ]


def together(flights: Sequence[Flight]) -> Call:
    """Return on whose behalf a shared call is made: as urgent, and as patient, as any of them."""
    calls = [flight.call for flight in flights]
    deadlines = [call.deadline for call in calls if call.deadline is not None]
    return Call(
        priority=Priority(min(call.priority for call in calls)),
        deadline=max(deadlines) if len(deadlines) == len(calls) else time.monotonic() + NOBODY_WAITS_S,
        caller=calls[0].caller,
    )
