"""The one REST caller: whoever needs what no channel brings asks here, and all processes together ask once.

The way of a question: callers of this process who want the same share one flight; small flights that can be
answered by one call wait a few milliseconds for each other; across processes one leads and the others wait for its
landing; what the leader's requests then pass through (limits, breaker, retries) is the gate behind the source.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from streamer.errors import QueueTimeout, RestUnavailable, StoreUnavailable, StreamerError, UnknownProduct
from streamer.gateway.cache import CopyStore
from streamer.gateway.flight import LEASE_S, Boarding, FlightBoard, Standing
from streamer.gateway.group import Flight, Group, grouped, together
from streamer.gateway.names import Names
from streamer.gateway.requests import Fetched, Request
from streamer.providers.base import ANY, Call, Origin
from streamer.store.connect import Store
from streamer.store.copies import StoredCopy
from streamer.store.keys import Keys

T = TypeVar("T")
RestT = TypeVar("RestT", bound=Origin)

_GATHER_S = 0.003
"""For so long a flight waits for others, to share a call or at least the round trips."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a flight has brought.

    Attributes:
        fetched_ms: Clock of Redis when the answer arrived.
        age_s: How long ago that was.
    """

    value: T
    copy: StoredCopy
    age_s: float


@dataclass(slots=True)
class FlightCounts:
    """What this process has saved and spent, since start.

    Attributes:
        asked: Questions by kind.
        flown: Flights led, by kind; a flight of one request may be one call of many.
        shared: Questions answered by a flight that was under way in this process.
        joined: Flights led by another process.
        batched: Requests that shared a call with others.
        taken_over: Flights whose leader was lost.
        failed: Flights that brought nothing, by kind.
    """

    asked: Counter[str] = field(default_factory=Counter)
    flown: Counter[str] = field(default_factory=Counter)
    shared: int = 0
    joined: int = 0
    batched: int = 0
    taken_over: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class Gateway(Generic[RestT]):
    """Fetches what is asked for, once, whoever asks.

    Args:
        rest: Whom to ask; its requests pass a gate. Requests that are given to `fetch` must be ones it understands.
        scope: Name of the exchange in the keys that all callers share.

    Attributes:
        counts: What this process has asked and saved.
    """

    def __init__(self, rest: RestT, store: Store, keys: Keys, *, scope: str) -> None:
        self.rest = rest
        self.counts = FlightCounts()
        self._board = FlightBoard(store, keys, scope)
        self._copies = CopyStore(store)
        self._names = Names(store, keys)
        self._flights: dict[str, Flight] = {}
        self._departing: list[Flight] = []
        self._led: set[Group] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self, request: Request[T], call: Call = ANY, *, since: float | None = None) -> Answer[T]:
        """Return an answer that is not older than `since`.

        Leaving early, by cancellation or timeout, harms nobody else who waits for the same.

        Args:
            since: Monotonic time: an answer that has arrived since then will do. None means now.

        Raises:
            RestError: No usable answer, or not in time (QueueTimeout).
            UnknownProduct: The exchange has no such product.
        """
        (answer,) = await self.fetch_all([request], call, since=since)
        if isinstance(answer, StreamerError):
            raise answer
        return answer

    async def fetch_all(
        self, requests: Sequence[Request[T]], call: Call = ANY, *, since: float | None = None
    ) -> list[Answer[T] | StreamerError]:
        """Return an answer to each request, in order, or why there is none. See `fetch`."""
        since = time.monotonic() if since is None else since
        return list(await asyncio.gather(*(self._ride(request, call, since) for request in requests)))

    async def _ride(self, request: Request[T], call: Call, since: float) -> Answer[T] | StreamerError:
        while True:
            flight = self._take_off(request, call, since)
            left_s = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
            await asyncio.wait([flight.result], timeout=left_s)
            answer = await self._arrival(flight)
            is_late = call.deadline is not None and time.monotonic() >= call.deadline
            if not isinstance(answer, QueueTimeout) or is_late or flight.call.deadline == call.deadline:
                return answer  # else it was the time of another caller that was up
            await flight.gone.wait()  # until then the next question would be answered by the same flight

    def _take_off(self, request: Request[Any], call: Call, since: float) -> Flight:
        """Return the flight that answers a request: one under way, or a new one."""
        self.counts.asked[request.kind] += 1
        flight = self._flights.get(request.copy.key)
        if flight is not None:  # also one that has its answer, until that is where others find it
            self.counts.shared += 1
            if flight.group is not None:
                flight.group.hurry(call.priority)
            elif call.priority < flight.call.priority:
                flight.call = replace(flight.call, priority=call.priority)
            return flight
        flight = self._flights[request.copy.key] = Flight(request, call, since)
        self._gather(flight)
        return flight

    def _gone(self, flight: Flight) -> None:
        flight.gone.set()
        if self._flights.get(flight.request.copy.key) is flight:
            del self._flights[flight.request.copy.key]

    def _gather(self, flight: Flight) -> None:
        """Have it wait a moment for others: they board in one round trip, and some share a call."""
        self._departing.append(flight)
        if len(self._departing) == 1:
            asyncio.get_running_loop().call_later(_GATHER_S, self._depart)

    def _depart(self) -> None:
        flights, self._departing = self._departing, []
        self._start(self._fly(flights))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _arrival(self, flight: Flight) -> Answer[Any] | StreamerError:
        request = flight.request
        if not flight.result.done():
            return QueueTimeout(request.what, "no answer in the time that there was")
        error = flight.result.exception()
        if isinstance(error, UnknownProduct):
            return UnknownProduct(error.product_id, await self._names.nearest(error.product_id))
        if isinstance(error, StreamerError):
            return error
        if error is not None:
            raise error
        copy = flight.result.result()
        try:
            return Answer(flight.parsed(copy, self._copies.time_of(copy)), copy, self._copies.age_s(copy))
        except ValueError as exc:
            return RestUnavailable(request.what, f"an answer without sense: {exc}")

    def time_of(self, copy: StoredCopy) -> datetime:
        """Return when an answer arrived."""
        return self._copies.time_of(copy)

    # -- flights -------------------------------------------------------------------------------------------------

    async def _fly(self, flights: Sequence[Flight]) -> None:
        """See to it that all flights come to an end, whatever happens."""
        try:
            boardings = await self._boarded(flights)
        except StoreUnavailable:
            for group in grouped(flights):
                self._start(self._fly_alone(group))
            return
        except Exception as exc:  # noqa: BLE001 - a bug must reach those who wait, not die with the task
            self._crashed(flights, exc)
            return
        led = []
        for flight, boarding in zip(flights, boardings, strict=True):
            if flight.result.done():
                self._gone(flight)
            elif boarding.standing is Standing.JOINED:
                self._start(self._follow(flight, boarding.left_s))
            else:
                led.append(flight)
        for group in grouped(led):
            self._start(self._lead(group))

    def _crashed(self, flights: Sequence[Flight], exc: Exception) -> None:
        for flight in flights:
            self._gone(flight)
            if not flight.result.done():
                flight.result.set_exception(exc)

    async def _boarded(self, flights: Sequence[Flight]) -> list[Boarding]:
        """Board; what has landed since it was asked for is answered at once."""
        asked_at = time.monotonic()
        now_ms, boardings = await self._board.board([(flight.request, flight.call.priority) for flight in flights])
        self._copies.clock_is(now_ms, asked_at)
        unneeded = []
        for flight, boarding in zip(flights, boardings, strict=True):
            if boarding.error is not None:
                flight.fail(boarding.error)
            elif boarding.copy is not None and self._copies.is_since(boarding.copy, flight.since):
                flight.land(boarding.copy)
                if boarding.standing is Standing.LED:
                    unneeded.append((flight.request, None))
        if unneeded:
            await self._board.land(unneeded)
        return boardings

    async def _follow(self, flight: Flight, left_s: float) -> None:
        """Wait for the landing of a flight that another process leads; where it is lost, take it over."""
        self.counts.joined += 1
        began = time.monotonic()
        await self._board.landed(flight.request, left_s + 0.05)
        if time.monotonic() - began > left_s > LEASE_S / 2:
            self.counts.taken_over += 1
        if self._is_over(flight):
            flight.fail(QueueTimeout(flight.request.what, "no answer in the time that there was"))
            self._gone(flight)
        else:
            self._gather(flight)

    def _is_over(self, flight: Flight) -> bool:
        deadline = flight.call.deadline
        return deadline is not None and time.monotonic() > deadline

    async def _lead(self, group: Group) -> None:
        """Make the call, answer, keep the answers, and let go."""
        self._led.add(group)
        if self._renewing is None or self._renewing.done():
            self._renewing = self._start(self._renew())
        try:
            outcomes = await self._ask(group)
            with suppress(StoreUnavailable):  # the next ones to ask then ask for themselves
                await self._copies.keep([(f.request, o) for f, o in outcomes if isinstance(o, StoredCopy)])
                await self._board.land(
                    [(f.request, o if isinstance(o, StreamerError) else None) for f, o in outcomes]
                )
        except Exception as exc:  # noqa: BLE001 - as above
            self._crashed(group.flights, exc)
        finally:
            self._led.discard(group)
            for flight in group.flights:
                self._gone(flight)

    async def _renew(self) -> None:
        """Keep all leases that we hold, as long as there are any."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            groups = list(self._led)
            if not groups:
                return
            flights = [(group, flight) for group in groups for flight in group.flights]
            with suppress(StoreUnavailable):
                urges = await self._board.renew([flight.request for _, flight in flights])
                for (group, _), urge in zip(flights, urges, strict=True):
                    if urge is not None:
                        group.hurry(urge)

    async def _fly_alone(self, group: Group) -> None:
        """Ask without Redis: others may ask the same, each within its own small budget."""
        try:
            for flight in group.flights:
                kept = self._copies.remembered(flight.request.copy.key)
                if kept is not None and self._copies.is_fresh(kept, flight.request):
                    flight.land(kept)
            asking = [flight for flight in group.flights if not flight.result.done()]
            for flight, outcome in await self._ask(Group(asking)) if asking else ():
                if isinstance(outcome, StoredCopy):
                    self._copies.remember(flight.request.copy.key, outcome)
        except Exception as exc:  # noqa: BLE001 - as above
            self._crashed(group.flights, exc)
        finally:
            for flight in group.flights:
                self._gone(flight)

    async def _ask(self, group: Group) -> list[tuple[Flight, StoredCopy | StreamerError]]:
        """Call, and answer all who wait."""
        flights = group.flights
        kind = type(flights[0].request)
        self.counts.flown[kind.kind] += 1
        self.counts.batched += len(flights) if len(flights) > 1 else 0
        try:
            values = await self._call(group)
        except StreamerError as exc:
            values = [exc] * len(flights)
        outcomes: list[tuple[Flight, StoredCopy | StreamerError]] = []
        for flight, value in zip(flights, values, strict=True):
            if isinstance(value, StreamerError):
                self.counts.failed[kind.kind] += 1
                flight.fail(value)
                outcomes.append((flight, value))
            else:
                known_ms = min(self._copies.now_ms(), flight.request.known_until_s(group.asked_s) * 1000)
                copy = StoredCopy(self.rest.source, int(known_ms), msgspec.Raw(value))
                flight.land(copy)
                outcomes.append((flight, copy))
        return outcomes

    async def _call(self, group: Group) -> Sequence[Fetched]:
        """Make the call; one that waits for its turn leaves the queue for a better place when it becomes urgent."""
        requests = [flight.request for flight in group.flights]
        group.begin()
        while True:
            group.urged.clear()
            call, group.asked_s = together(group.flights), self._copies.now_ms() / 1000
            asking = asyncio.ensure_future(type(requests[0]).fetch(requests, self.rest, call, group.asked_s))
            urged = asyncio.create_task(group.urged.wait())
            try:
                await asyncio.wait({asking, urged}, return_when=asyncio.FIRST_COMPLETED)
                if asking.done() or group.is_sent:
                    return await asking
            finally:
                for task in (asking, urged):
                    task.cancel()
                await asyncio.gather(asking, urged, return_exceptions=True)

    async def close(self) -> None:
        """End all that is under way; whoever waits is told."""
        flights = list(self._flights.values())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for flight in flights:
            self._gone(flight)
            flight.fail(QueueTimeout(flight.request.what, "the gateway was closed"))
        await self._board.close()
