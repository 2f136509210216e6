"""Runs an adapter's questions: each request through the gate, with its cost, and parsed or called malformed."""

from __future__ import annotations

import time
from typing import TypeVar

from streamer.coinbase.transport import SIMULATOR_SERVER
from streamer.errors import MalformedAnswer, RestError, StreamerError
from streamer.gateway.admission import Admission
from streamer.gateway.gate import CallGate
from streamer.gateway.group import MarkingGate
from streamer.gateway.limits import Outcome
from streamer.model import Source
from streamer.providers.adapter import Adapter, Answer, Flow, Get
from streamer.providers.base import Budget, Call
from streamer.providers.decode import document
from streamer.providers.http import HttpClient

T = TypeVar("T")

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
        for _ in range(asked.cost - 1):  # the provider counts this one as several
            grant = await self._admission.admit(Budget.MARKET, call, route)
            self._admission.settle_soon(grant, Outcome.OK)

        async def send() -> Answer:
            answer = await self._http.get(self.adapter, asked)
            if answer.headers.get("server") == SIMULATOR_SERVER:
                self.source = Source.SIMULATOR
            self.adapter.check(answer, int(now_s * 1000))
            document(answer, route)  # what was cut short counts as a failure of the provider, for the breaker too
            return answer

        return await self._gate.run(Budget.MARKET, route, call, send)
