"""Runs an adapter's questions: each request through the gate, with its cost, and parsed or called malformed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, TypeVar

from streamer.coinbase.transport import SIMULATOR_SERVER
from streamer.errors import CircuitOpen, MalformedAnswer, RestError, StreamerError
from streamer.gateway.admission import Admission
from streamer.gateway.decision import Grant
from streamer.gateway.gate import CallGate
from streamer.gateway.group import MarkingGate
from streamer.gateway.limits import Outcome
from streamer.model import Source
from streamer.providers.adapter import Adapter, Answer, Flow, Get
from streamer.providers.base import ANY, Budget, Call
from streamer.providers.decode import document
from streamer.providers.http import HttpClient

T = TypeVar("T")

_NO_GENERATION: Final = -1
_OF_PARSING = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What an answer of another shape than the documented one makes an adapter raise."""


class ProviderOrigin:
    """One provider, as the gateway asks it.

    Args:
        admission: Gives leave to call, for all processes; stays open when this is done with.

    Attributes:
        adapter: Replaced where a newer list of symbols has come.
        source: The provider's name, or that of the simulator once it has answered in its place.
    """

    def __init__(self, adapter: Adapter, http: HttpClient, admission: Admission) -> None:
        self.adapter, self.source = adapter, adapter.name
        self._http, self._admission = http, admission
        self._gate = MarkingGate(CallGate(admission))

    async def run(self, flow: Flow[T], route: str, call: Call, now_s: float) -> T:
        """Return what a question of the adapter comes to.

        Args:
            route: What is asked, for statistics and errors: "price".
            now_s: Unix time; answers stamped later are out of this world.

        Raises:
            RestError: No usable answer; its branch tells why.
        """
        named, began = f"{self.adapter.name} {route}", time.monotonic()
        try:
            asked = next(flow)
            while True:
                try:
                    answer = await self._one(asked, named, call, now_s + time.monotonic() - began)
                except RestError as exc:
                    asked = flow.throw(exc)
                else:
                    asked = flow.send(answer)
        except StopIteration as done:
            found: T = done.value
            return found
        except StreamerError:
            raise
        except _OF_PARSING as exc:
            raise MalformedAnswer(named, f"not what {self.adapter.title} sends: {str(exc)[:200]}") from exc
        finally:
            flow.close()

    async def _one(self, asked: Get, route: str, call: Call, now_s: float) -> Answer:
        async def send() -> Answer:
            answer = await self._http.get(self.adapter, asked)
            if answer.headers.get("server") == SIMULATOR_SERVER:
                self.source = Source.SIMULATOR
            self.adapter.check(answer, int(now_s * 1000))
            document(answer, route)  # what was cut short counts as a failure of the provider, for the breaker too
            return answer

        gate = self._gate if asked.cost == 1 else MarkingGate(CallGate(_Several(self._admission, asked.cost)))
        return await gate.run(Budget.MARKET, route, call, send)


class _Several(Admission):
    """Leave for calls that the provider counts as several each: all of it is got before one is sent.

    What is got first counts as spent at once, so that two who each have a part do not wait for one another, and
    anew when the call has ended: by then the provider has counted it. The breaker hears of one call.
    """

    def __init__(self, admission: Admission, cost: int) -> None:  # it is the other one's, all but these two methods
        self._one, self._cost = admission, cost
        self.statistics = admission.statistics
        self._others: dict[str, list[Grant]] = {}

    async def admit(self, budget: Budget, call: Call = ANY, route: str = "") -> Grant:
        """Wait for all of it; where it does not come, none is used."""
        others: list[Grant] = []
        try:
            while True:
                grant = await self._next(others, budget, call, route)
                if len(others) == self._cost - 1:
                    self._others[grant.token] = others
                    return grant
                others.append(grant)
                await self._one.settle(_unheard(grant), Outcome.OK)
        except BaseException:
            self._settle_all(others, Outcome.UNUSED)
            raise

    def settle_soon(self, grant: Grant, outcome: Outcome, retry_after_s: float | None = None) -> asyncio.Task[None]:
        """Date all of it by the end of the call."""
        alike = Outcome.UNUSED if outcome is Outcome.UNUSED else Outcome.OK
        self._settle_all(self._others.pop(grant.token, []), alike)
        return self._one.settle_soon(grant, outcome, retry_after_s)

    async def _next(self, others: Sequence[Grant], budget: Budget, call: Call, route: str) -> Grant:
        try:
            return await self._one.admit(budget, call, route)
        except CircuitOpen:
            if not others:
                raise
        # While the breaker is half-open there is one probe at a time, and the one before may be it: hand it on.
        await self._one.settle(others[-1], Outcome.ABANDONED)
        return await self._one.admit(budget, call, route)

    def _settle_all(self, grants: Sequence[Grant], outcome: Outcome) -> None:
        for grant in grants:
            self._one.settle_soon(_unheard(grant), outcome)


def _unheard(grant: Grant) -> Grant:
    """Return a grant whose end says nothing about the provider."""
    return grant._replace(generation=_NO_GENERATION)
