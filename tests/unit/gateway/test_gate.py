"""What the gate does with each way a call can end: settled once, retried where that helps, counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

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
from streamer.gateway.gate import ATTEMPTS, CallGate, outcome_of
from streamer.gateway.limits import Outcome
from streamer.gateway.statistics import Statistics
from streamer.model import Priority
from streamer.providers.base import Budget, Call, Gate

M = Budget.MARKET
CALL = Call(Priority.TRADING)
UNAVAILABLE = RestUnavailable("candles", "HTTP 503", status=503)
UNAUTHORIZED = RestUnauthorized("candles", "HTTP 401", status=401)


class Admits:
    """Admits at once, or refuses as told; remembers what was settled how. (The real one waits.)"""

    def __init__(self, *refusals: CallNotMade | None) -> None:
        self.statistics = Statistics()
        self.settled: list[tuple[str, float | None]] = []
        self.granted = 0
        self._refusals = list(refusals)

    async def admit(self, budget: Budget, call: Call, route: str) -> Grant:
        """Grant."""
        refusal = self._refusals.pop(0) if self._refusals else None
        if refusal is not None:
            raise refusal
        self.granted += 1
        return Grant(budget, f"t{self.granted}", 0, 0)

    def settle_soon(
        self, grant: Grant, outcome: Outcome, retry_after_s: float | None = None
    ) -> asyncio.Future[None]:
        """Settle."""
        self.settled.append((str(outcome), retry_after_s))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def gate_of(admits: Admits, pauses: list[float] | None = None) -> CallGate:
    """A gate over it, without pauses; they are noted."""

    def jitter(longest_s: float) -> float:
        if pauses is not None:
            pauses.append(longest_s)
        return 0.0

    return CallGate(cast(Admission, admits), jitter=jitter)


def answers(*script: object) -> Callable[[], Awaitable[object]]:
    """A `send` that raises or returns what it is given, one after the other."""
    left = list(script)

    async def send() -> object:
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return send


def test_it_is_a_gate() -> None:
    """The type checker holds it to the protocol."""
    gate: Gate = gate_of(Admits())
    assert gate


async def test_a_call_is_admitted_sent_and_settled() -> None:
    """The answer comes back, the call is counted."""
    admits = Admits()
    assert await gate_of(admits).run(M, "candles", CALL, answers(7)) == 7
    assert admits.settled == [("ok", None)]
    assert admits.statistics.calls == Counter({("candles", "TRADING", "ok"): 1})


async def test_what_may_help_is_tried_again() -> None:
    """Two failures, then an answer: each attempt admitted anew, with pauses that grow."""
    admits, pauses = Admits(), list[float]()
    gate = gate_of(admits, pauses)
    assert await gate.run(M, "candles", CALL, answers(UNAVAILABLE, UNAVAILABLE, 7)) == 7
    assert (admits.granted, gate.statistics.retries) == (3, 2)
    assert [outcome for outcome, _ in admits.settled] == ["failed", "failed", "ok"]
    assert pauses == [1, 2]


async def test_three_attempts_are_enough() -> None:
    """Then what the last one raised comes out."""
    admits = Admits()
    last = RestUnavailable("candles", "the last")
    with pytest.raises(RestUnavailable) as caught:
        await gate_of(admits).run(M, "candles", CALL, answers(*[UNAVAILABLE] * (ATTEMPTS - 1), last, 7))
    assert caught.value is last
    assert admits.granted == ATTEMPTS


@pytest.mark.parametrize(
    ("error", "settled"),
    [
        (RestRefused("x", "HTTP 404", status=404), ("refused", None)),
        (RestUnauthorized("x", "HTTP 403", status=403), ("refused", None)),
        (RestRateLimited("x", "HTTP 429", status=429, retry_after_s=7.0), ("limited", 7.0)),
        (RestUnavailable("x", "HTTP 503", status=503, retry_after_s=60.0), ("failed", 60.0)),
        (ValueError("a bug"), ("abandoned", None)),
    ],
)
async def test_what_does_not_help_is_not_tried_again(error: Exception, settled: tuple[str, float | None]) -> None:
    """A 4xx, a 429, a 503 that names a far time and a bug come out at once, and are settled as what they are."""
    admits = Admits()
    with pytest.raises(type(error)) as caught:
        await gate_of(admits).run(M, "x", CALL, answers(error, 7))
    assert caught.value is error
    assert admits.settled == [settled]


async def test_a_401_is_tried_once_more() -> None:
    """A fresh token may be taken; a second 401 means the key."""
    admits = Admits()
    assert await gate_of(admits).run(M, "x", CALL, answers(UNAUTHORIZED, 7)) == 7
    assert [outcome for outcome, _ in admits.settled] == ["refused", "ok"]
    admits = Admits()
    with pytest.raises(RestUnauthorized):
        await gate_of(admits).run(M, "x", CALL, answers(UNAUTHORIZED, UNAUTHORIZED, 7))
    assert admits.granted == 2


async def test_trouble_of_every_kind_still_ends() -> None:
    """401s between failures cannot make more than one attempt more."""
    admits = Admits()
    script = [UNAVAILABLE, UNAUTHORIZED, UNAVAILABLE, UNAUTHORIZED, UNAVAILABLE, UNAUTHORIZED]
    with pytest.raises(RestError):
        await gate_of(admits).run(M, "x", CALL, answers(*script))
    assert admits.granted <= ATTEMPTS + 1


async def test_nobody_is_retried_for_after_the_deadline() -> None:
    """The pause never outlasts the caller, and no attempt is made for one who has gone."""
    admits = Admits()
    gate = CallGate(cast(Admission, admits), jitter=lambda longest_s: 100.0)
    began = time.monotonic()
    call = Call(Priority.TRADING, began + 0.1)

    async def send() -> None:
        raise UNAVAILABLE

    with pytest.raises(RestUnavailable):
        await gate.run(M, "x", call, send)
    assert time.monotonic() - began < 0.5
    assert admits.granted <= 2


@pytest.mark.parametrize("refusal", [CircuitOpen("x", "open"), QueueTimeout("x", "late"), CallNotMade("x", "away")])
async def test_what_is_not_admitted_is_not_sent(refusal: CallNotMade) -> None:
    """The refusal comes out, is counted under its name, and nothing is settled."""
    admits = Admits(refusal)
    gate = gate_of(admits)
    with pytest.raises(CallNotMade) as caught:
        await gate.run(M, "x", CALL, answers())
    assert caught.value is refusal
    counted = (gate.statistics.circuit_open, gate.statistics.queue_timeouts, gate.statistics.shed)
    assert counted == (
        type(refusal) is CircuitOpen,
        type(refusal) is QueueTimeout,
        type(refusal) is CallNotMade,
    )
    assert admits.settled == []


async def test_a_retry_that_is_not_admitted_raises_how_the_call_went() -> None:
    """It was sent, so "not made" would be wrong."""
    admits = Admits(None, CircuitOpen("x", "open"))
    with pytest.raises(RestUnavailable) as caught:
        await gate_of(admits).run(M, "x", CALL, answers(UNAVAILABLE))
    assert caught.value is UNAVAILABLE


async def test_a_cancelled_call_is_settled_as_abandoned() -> None:
    """Cancellation goes on at once; the place is given back in the background."""
    admits = Admits()
    started = asyncio.Event()

    async def send() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(gate_of(admits).run(M, "x", CALL, send))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert admits.settled == [("abandoned", None)]


def test_outcomes() -> None:
    """Each kind of error says one thing about the service."""
    table = {
        UNAVAILABLE: Outcome.FAILED,
        RestError("x", "unnamed"): Outcome.FAILED,
        UNAUTHORIZED: Outcome.REFUSED,
        RestRateLimited("x", "429"): Outcome.LIMITED,
        CircuitOpen("x", "not sent after all"): Outcome.UNUSED,
        asyncio.CancelledError(): Outcome.ABANDONED,
        KeyError("a bug"): Outcome.ABANDONED,
    }
    assert {error: outcome_of(error) for error in table} == table
