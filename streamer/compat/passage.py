"""Requests that go to the exchange: in their turn among those of all processes, and never twice.

Whoever waits for an answer sends by itself, so time limits, errors and the connection are the SDK's own; what is
coordinated is only when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TypeVar

import requests

from streamer.errors import CallNotMade, CircuitOpen
from streamer.gateway.admission import Admission
from streamer.gateway.caller import admission_of
from streamer.gateway.decision import Grant
from streamer.gateway.limits import Outcome
from streamer.gateway.statistics import call_counts
from streamer.providers.base import Budget, Call
from streamer.reader.sync import Reader
from streamer.settings import Settings

T = TypeVar("T")

LONGEST_WAIT_S = 10.0
"""For so long a request waits for its turn; an order that comes much later is none that was meant."""


class NotSent(CallNotMade, requests.exceptions.RequestException):
    """The request was not sent: its turn did not come in time, or the exchange has asked all to wait.

    Also what `requests` raises, without a response: who catches its errors, or ours, catches this one.
    """

    def __init__(self, route: str, why: str, retry_after_s: float | None = None) -> None:
        CallNotMade.__init__(self, route, why, retry_after_s=retry_after_s)


def outcome_of(failure: BaseException) -> tuple[Outcome, float | None]:
    """Return what an error of the SDK says about the exchange, and for how long that asked to wait."""
    if not isinstance(failure, requests.exceptions.RequestException):
        # Cancelled, or a bug: it may have arrived, and says nothing about the service.
        return Outcome.ABANDONED, None
    status = 0 if failure.response is None else failure.response.status_code
    if status == 429:
        assert failure.response is not None
        text = failure.response.headers.get("retry-after", "")
        return Outcome.LIMITED, float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
    if status >= 500 or isinstance(failure, requests.ConnectionError | requests.Timeout):
        return Outcome.FAILED, None
    return Outcome.REFUSED, None  # it answers; or the request was none, as with a bad URL, which is no fault of its


class Passage:
    """Sends requests in their turn; for all threads of a process."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader, self._settings = reader, settings
        self._admissions: dict[str, Admission] = {}

    def send(
        self,
        rest_url: str,
        budget: Budget,
        call: Call,
        route: str,
        send: Callable[[], T],
        *,
        is_change: bool = False,
    ) -> T:
        """Return what `send` returns, or raise what it raises; it is called once, or not at all.

        Args:
            is_change: It is an order, a cancellation or the like. Others having failed does not hold it up: to try
                and to fail is what its sender expects, and a position that cannot be closed is worse.

        Raises:
            NotSent: It was not called.
        """
        behind = self._reader.behind()
        try:
            grant = behind.run(self._admit(rest_url, budget, call, route))
        except CircuitOpen as exc:
            if is_change:
                return send()
            raise NotSent(exc.route, exc.why, exc.retry_after_s) from exc
        except CallNotMade as exc:
            raise NotSent(exc.route, exc.why, exc.retry_after_s) from exc
        try:
            answer = send()
        except BaseException as exc:
            # Waited for, so that what is asked next is judged with this one known; it takes no longer than a
            # command of Redis may, and what goes wrong in it must not take the place of the exchange's own error.
            settled = self._settle(rest_url, grant, call, route, *outcome_of(exc))
            with suppress(CancelledError, RuntimeError):
                behind.run(settled)
            raise
        behind.soon(self._settle(rest_url, grant, call, route, Outcome.OK))
        return answer

    def counts(self) -> Counter[str]:
        """Return what has become of the requests, under the names of the shared counters."""
        return sum((call_counts(one.statistics) for one in list(self._admissions.values())), Counter())

    async def _admit(self, rest_url: str, budget: Budget, call: Call, route: str) -> Grant:
        admission = self._admissions.get(rest_url)
        if admission is None:  # on the one loop, so nobody makes another one meanwhile
            store = self._reader.behind().store
            admission = self._admissions[rest_url] = admission_of(self._settings, store, rest_url)
        return await admission.admit(budget, call, route)

    async def _settle(
        self,
        rest_url: str,
        grant: Grant,
        call: Call,
        route: str,
        outcome: Outcome,
        retry_after_s: float | None = None,
    ) -> None:
        admission = self._admissions[rest_url]
        admission.statistics.calls[route, call.priority.name, outcome] += 1
        admission.statistics.penalties += outcome is Outcome.LIMITED
        await admission.settle(grant, outcome, retry_after_s)

    async def close(self) -> None:
        """Tell Redis what there is to tell."""
        for admission in self._admissions.values():
            await admission.close()
