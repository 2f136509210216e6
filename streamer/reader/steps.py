"""Plans: what to ask and what to make of it, without asking. Pure.

A plan is a generator. It yields a step, is sent what the step has brought, and returns an answer. The synchronous
and the asynchronous reader run the same plans; only how a step is taken differs.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from streamer.errors import StoreUnavailable
from streamer.gateway.requests import Request
from streamer.model import Priority
from streamer.providers.base import Call
from streamer.reader.freshness import NO_BOUNDS, Bounds
from streamer.reader.wire import Lookup

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetch:
    """Step: ask REST. Brings an answer a request (`gateway.Answer`), or the error instead of it.

    Attributes:
        since: Monotonic time: what has arrived since then will do.
    """

    requests: Sequence[Request[Any]]
    call: Call
    since: float


Step = Lookup | Fetch
Plan = Generator[Step, Any, T]


class Ask:
    """How an answer is wanted. Made for every read, so it is made cheaply.

    Attributes:
        since: Monotonic time at which it was asked for.
        bounds: How old it may be.
        rest: Whether REST may be asked.
        demand: Whether what is not streamed is asked for.
    """

    __slots__ = ("_of_call", "bounds", "demand", "rest", "since")

    def __init__(
        self,
        since: float,
        bounds: Bounds = NO_BOUNDS,
        *,
        timeout_s: float | None = None,
        priority: Priority = Priority.MARKET_DATA,
        caller: str = "",
        rest: bool = True,
    ) -> None:
        self.since, self.bounds, self.rest, self.demand = since, bounds, rest, True
        self._of_call = timeout_s, priority, caller

    @property
    def call(self) -> Call:
        """Priority, deadline and caller of the REST call that may become necessary."""
        timeout_s, priority, caller = self._of_call
        return Call(Priority(priority), None if timeout_s is None else self.since + timeout_s, caller)

    def without_rest(self) -> Ask:
        """Return the same without a REST call."""
        return Ask(self.since, self.bounds, rest=False)


def together(plans: Iterable[Plan[Any]]) -> Plan[list[Any]]:
    """Run plans side by side: their lookups share a round trip, their REST calls are asked for at once.

    Raises:
        StreamerError: What the first plan that fails raises.
    """
    running = list(plans)
    results: list[Any] = [None] * len(running)
    steps: dict[int, Step] = {}

    def advance(index: int, reply: Any) -> None:
        try:
            if isinstance(reply, StoreUnavailable):
                steps[index] = running[index].throw(reply)
            else:
                steps[index] = running[index].send(reply)
        except StopIteration as done:
            results[index] = done.value

    for index in range(len(running)):
        advance(index, None)
    while steps:
        taken, steps = steps, {}
        lookups = {i: step for i, step in taken.items() if isinstance(step, Lookup)}
        fetches = {i: step for i, step in taken.items() if isinstance(step, Fetch)}
        if lookups:
            for index, reply in (yield from _look(lookups)):
                advance(index, reply)
        if fetches:
            for index, reply in (yield from _fetch(fetches)):
                advance(index, reply)
    return results


def _look(lookups: dict[int, Lookup]) -> Plan[list[tuple[int, Any]]]:
    try:
        replies = yield Lookup.joined(list(lookups.values()))
    except StoreUnavailable as exc:
        return [(index, exc) for index in lookups]
    parts, at = [], 0
    for index, lookup in lookups.items():
        parts.append((index, replies[at : at + lookup.size]))
        at += lookup.size
    return parts


def _fetch(fetches: dict[int, Fetch]) -> Plan[list[tuple[int, Any]]]:
    first = next(iter(fetches.values()))
    requests = [request for fetch in fetches.values() for request in fetch.requests]
    answers = yield Fetch(requests, first.call, min(fetch.since for fetch in fetches.values()))
    parts, at = [], 0
    for index, fetch in fetches.items():
        parts.append((index, answers[at : at + len(fetch.requests)]))
        at += len(fetch.requests)
    return parts
