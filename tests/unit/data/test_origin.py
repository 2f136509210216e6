"""Requests of adapters: with the leave that they cost, and parsed or called malformed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from streamer.data.origin import ProviderOrigin
from streamer.errors import CircuitOpen, MalformedAnswer, QueueTimeout, RestUnavailable
from streamer.gateway.admission import Admission
from streamer.gateway.decision import Grant
from streamer.gateway.limits import Outcome
from streamer.gateway.statistics import Statistics
from streamer.providers.adapter import Access, Adapter, Answer, Flow, Get
from streamer.providers.base import ANY, Budget, Call
from streamer.providers.binance import Binance
from streamer.providers.http import HttpClient
from tests.unit.data.clock import run

GENERATION = 7


class Leave(Admission):
    """Leave that is given as told; remembers each grant, and all that it was told of it."""

    def __init__(self, answer: Callable[[int], Exception | None]) -> None:
        self.statistics = Statistics()
        self._answer, self._asked = answer, 0
        self.told: dict[str, list[tuple[Outcome, int]]] = {}

    async def admit(self, budget: Budget, call: Call = ANY, route: str = "") -> Grant:
        """Give leave, or not."""
        self._asked += 1
        if (error := self._answer(self._asked)) is not None:
            raise error
        token = str(self._asked)
        self.told[token] = []
        return Grant(budget, token, 0, GENERATION)

    async def settle(self, grant: Grant, outcome: Outcome, retry_after_s: float | None = None) -> None:
        """Remember."""
        self.told[grant.token].append((outcome, grant.generation))

    def settle_soon(self, grant: Grant, outcome: Outcome, retry_after_s: float | None = None) -> asyncio.Task[None]:
        """Remember, soon."""
        return asyncio.create_task(self.settle(grant, outcome))


class Http(HttpClient):
    """Answers, or fails, as told."""

    def __init__(self, outcome: Answer | Exception) -> None:
        self._outcome, self.calls = outcome, 0

    async def get(self, adapter: Adapter, asked: Get) -> Answer:
        """Answer."""
        self.calls += 1
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def question(cost: int) -> Flow[Decimal]:
    """Ask once, for so many calls."""
    answer = yield Get("/x", cost=cost)
    return Decimal(answer.body.decode())


async def asked(
    cost: int, outcome: Answer | Exception, answer: Callable[[int], Exception | None] = lambda nth: None
) -> tuple[Any, Leave, int]:
    """Run the question; return what came, the leave, and how often it was sent."""
    leave, http = Leave(answer), Http(outcome)
    origin = ProviderOrigin(Binance(Access()), http, leave)
    try:
        found: Any = await origin.run(question(cost), "price", ANY, 0.0)
    except Exception as exc:  # noqa: BLE001 - it is what is tested
        found = exc
    await asyncio.sleep(0)
    return found, leave, http.calls


GOOD = Answer(200, {}, b"5")
REFUSED = Answer(400, {}, b"{}")


@pytest.mark.parametrize("cost", [1, 2, 5])
def test_it_costs_what_it_costs(cost: int) -> None:
    """A call that counts as several has the leave of several, settled by its end; the breaker hears of one."""
    found, leave, calls = run(lambda: asked(cost, GOOD))
    assert (found, calls, len(leave.told)) == (Decimal(5), 1, cost)
    assert [told[-1][0] for told in leave.told.values()] == [Outcome.OK] * cost
    heard = [told for told in leave.told.values() if any(generation == GENERATION for _, generation in told)]
    assert heard == [[(Outcome.OK, GENERATION)]]


def test_what_was_not_sent_costs_nothing() -> None:
    """Where not all of the leave comes, what had come is given back."""
    late = QueueTimeout("x", "not in time")
    found, leave, calls = run(lambda: asked(5, GOOD, lambda nth: late if nth == 4 else None))
    assert (found, calls) == (late, 0)
    assert [told[-1][0] for told in leave.told.values()] == [Outcome.UNUSED] * 3


def test_each_attempt_costs_as_much() -> None:
    """A retry is counted by the provider like the first."""
    _, leave, calls = run(lambda: asked(3, RestUnavailable("x", "HTTP 500")))
    assert calls == 3
    assert len(leave.told) == 3 * calls
    outcomes = [told[-1] for told in leave.told.values()]
    assert outcomes.count((Outcome.FAILED, GENERATION)) == calls


def test_the_probe_is_handed_on() -> None:
    """Half-open, each leave is the one probe: the one before is let go for the next."""
    refused = {2, 4}
    found, leave, calls = run(
        lambda: asked(3, GOOD, lambda nth: CircuitOpen("x", "open") if nth in refused else None)
    )
    assert (found, calls) == (Decimal(5), 1)
    assert [(Outcome.ABANDONED, GENERATION) in told for told in leave.told.values()] == [True, True, False]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(200, {}, b"5 5"), MalformedAnswer),
        (Answer(200, {}, b'"a word"'), MalformedAnswer),
        (Answer(200, {}, b""), MalformedAnswer),
    ],
)
def test_of_another_shape(answer: Answer, kind: type[Exception]) -> None:
    """What cannot be read is a failure of the provider, not of ours."""
    found, *_ = run(lambda: asked(1, answer))
    assert isinstance(found, kind), repr(found)
