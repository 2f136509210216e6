"""Single-flight across processes and hosts: of all who want the same thing at once, one asks and all are answered.

A flight is led under a lease in Redis that its leader renews. A leader that dies loses it within `LEASE_S`, and
one of those who wait takes over. Landings are told by pub/sub; a lost message costs at most the rest of a lease.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from streamer.errors import (
    BadInterval,
    Banned,
    CircuitOpen,
    GeoBlocked,
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    NotEntitled,
    QuotaExhausted,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnauthorized,
    RestUnavailable,
    StoreUnavailable,
    StreamerError,
    UnknownProduct,
    UnknownSymbol,
)
from streamer.gateway.requests import Request
from streamer.model import Priority, ProductId
from streamer.store.connect import FAILURES, Script, Store
from streamer.store.copies import StoredCopy, encode_value, parse_copy
from streamer.store.keys import Keys
from streamer.store.records import parse_json

LEASE_S = 3.0
"""A leader that has not renewed for so long is dead, and another takes over."""
FAILURE_S = 1.0
"""For so long a failure answers those who ask for the same again."""
UNKNOWN_S = 60.0
"""For so long what a source does not have at all is not asked for again."""
NEVER_S = 3600.0
"""The same for what another provider does not have: some have twenty calls a day, and lists change slowly."""
_IDLE_S = 60.0
_PRIORITIES = frozenset(str(int(priority)).encode() for priority in Priority)
_LOOK_EVERY_S = 1.0


class Standing(StrEnum):
    """Where a flight stands for one who would board it."""

    LED = "led"
    JOINED = "joined"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Boarding:
    """The answer to one who wants to board.

    Attributes:
        left_s: After so long the leader has lost its lease, unless it renews.
        error: Why it has just failed, where it has.
        copy: What is kept of the last flight that landed, whenever that was.
    """

    standing: Standing
    left_s: float = 0.0
    error: StreamerError | None = None
    copy: StoredCopy | None = None


class FlightBoard:
    """The flights of one exchange. All methods but `landed` and `close` raise StoreUnavailable without Redis."""

    def __init__(self, store: Store, keys: Keys, scope: str) -> None:
        self._store, self._keys, self._scope = store, keys, scope
        self._token = f"{os.getpid()}:{os.urandom(8).hex()}"
        self._board, self._land = Script(store, "flight_board"), Script(store, "flight_land")
        self._landings = Landings(store, keys.gateway(scope, "landed"))

    def _names(self, requests: Sequence[Request[Any]]) -> list[str]:
        parts = [f"{part}:{request.copy.key}" for request in requests for part in ("flight", "failed", "urge")]
        return [self._keys.gateway(self._scope, part) for part in parts]

    async def board(self, wanted: Sequence[tuple[Request[Any], Priority]]) -> tuple[int, list[Boarding]]:
        """Lead what nobody leads and join the rest; return the clock of Redis in ms, and where each stands.

        What is kept is read after the lease is taken: who leads without seeing a copy is the first. What is joined
        is to be waited for with `landed`.
        """
        requests = [request for request, _ in wanted]
        self._landings.expect([request.copy.key for request in requests])
        arguments: list[str | int | bytes] = [self._token, int(LEASE_S * 1000)]
        arguments += [int(priority) for _, priority in wanted]
        try:
            now_ms, *replies = await self._board(self._names(requests), arguments)
            kept = await self._store.answer(self._store.client.mget([r.copy.key for r in requests]))
        except StoreUnavailable:
            for request in requests:
                self._landings.forget(request.copy.key)
            raise
        boardings = []
        for request, reply, raw in zip(requests, replies, kept, strict=True):
            boarding = self._boarding(request, reply, raw)
            if boarding.standing is not Standing.JOINED:
                self._landings.forget(request.copy.key)
            boardings.append(boarding)
        return int(now_ms), boardings

    @staticmethod
    def _boarding(request: Request[Any], reply: Sequence[bytes], raw: object) -> Boarding:
        standing, copy = Standing(reply[0].decode()), parse_copy(raw)
        if standing is Standing.FAILED:
            return Boarding(standing, error=_error(reply[1], request.what), copy=copy)
        left_s = max(0.0, int(reply[1]) / 1000) if standing is Standing.JOINED else 0.0
        return Boarding(standing, left_s=left_s, copy=copy)

    async def renew(self, requests: Sequence[Request[Any]]) -> list[Priority | None]:
        """Keep the leases of flights that we lead; return the highest priority of those who joined each, if any."""
        arguments: list[str | int | bytes] = [self._token, int(LEASE_S * 1000)]
        arguments += [int(Priority.BACKGROUND)] * len(requests)
        _, *replies = await self._board(self._names(requests), arguments)
        return [
            Priority(int(urge)) if standing == b"led" and urge in _PRIORITIES else None
            for standing, urge in replies
        ]

    async def land(self, outcomes: Sequence[tuple[Request[Any], StreamerError | None]]) -> None:
        """End flights that we lead, and tell all who wait; an error that others would meet as well is kept."""
        arguments: list[str | int | bytes] = [self._token, self._keys.gateway(self._scope, "landed")]
        for request, error in outcomes:
            record = _record(error) if error is not None else None
            life_s = _LIVES_S.get(type(error), FAILURE_S) if error is not None else FAILURE_S
            arguments += [request.copy.key, b"" if record is None else record, int(life_s * 1000)]
        await self._land(self._names([request for request, _ in outcomes]), arguments)

    async def landed(self, request: Request[Any], left_s: float) -> None:
        """Return when a flight that was joined has landed, or may have: look again then."""
        if self._landings.is_listening:
            await self._landings.wait(request.copy.key, left_s)
        else:
            await self._landings.listen()  # it may have landed meanwhile

    async def close(self) -> None:
        """Listen no more."""
        await self._landings.close()


class Landings:
    """Hears which flights have landed: one subscription a process, while somebody waits and a while after."""

    def __init__(self, store: Store, channel: str) -> None:
        self._store, self._channel = store, channel
        self._waiting: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._subscribed: asyncio.Future[None] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether no landing is missed."""
        return self._task is not None and not self._task.done() and self._subscribed is None

    async def listen(self) -> None:
        """Subscribe; return when nothing will be missed any more, or Redis does not let us."""
        if self._task is None or self._task.done():
            self._subscribed = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._subscribed), name="landings")
        if self._subscribed is not None:
            await asyncio.shield(self._subscribed)

    def expect(self, names: Iterable[str]) -> None:
        """Note what will be waited for, before it is known whether it has landed."""
        for name in names:
            self._waiting.setdefault(name, asyncio.Event())

    def forget(self, name: str) -> None:
        """It will not be waited for."""
        self._waiting.pop(name, None)

    async def wait(self, name: str, at_most_s: float) -> None:
        """Return when `name` has landed since it was expected, or we hear no more, or after `at_most_s`."""
        event = self._waiting.get(name)
        if event is None:
            return
        try:
            async with asyncio.timeout(at_most_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(name, None)

    async def close(self) -> None:
        """Unsubscribe."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, subscribed: asyncio.Future[None]) -> None:
        try:
            async with self._store.client.pubsub() as updates:
                await self._store.answer(updates.subscribe(self._channel))
                self._now_listening(subscribed)
                used_at = time.monotonic()
                while time.monotonic() - used_at < _IDLE_S:
                    message = await self._store.answer(
                        updates.get_message(ignore_subscribe_messages=True, timeout=_LOOK_EVERY_S / 2)
                    )
                    if message is not None and isinstance(message["data"], bytes):
                        self._wake(message["data"].decode(errors="replace"))
                    if self._waiting:
                        used_at = time.monotonic()
        except (StoreUnavailable, *FAILURES):  # the latter where a connection cannot even be closed in time
            pass  # whoever waits looks for itself
        finally:
            self._now_listening(subscribed)
            for name in list(self._waiting):
                self._wake(name)

    def _now_listening(self, subscribed: asyncio.Future[None]) -> None:
        self._subscribed = None
        if not subscribed.done():
            subscribed.set_result(None)

    def _wake(self, name: str) -> None:
        event = self._waiting.pop(name, None)
        if event is not None:
            event.set()


# -- errors that travel ------------------------------------------------------------------------------------------


class _Failure(msgspec.Struct):
    kind: str
    route: str
    why: str
    status: int | None = None
    retry_after_s: float | None = None


_LIVES_S: dict[type[StreamerError], float] = {
    UnknownProduct: UNKNOWN_S,
    UnknownSymbol: NEVER_S,
    NotEntitled: NEVER_S,
    BadInterval: NEVER_S,
    NoData: UNKNOWN_S,
}
_KINDS: dict[str, type[RestError]] = {
    kind.__name__: kind
    for kind in (
        *(RestError, CircuitOpen, RestUnavailable, Maintenance, MalformedAnswer),
        *(RestRefused, RestUnauthorized, RestRateLimited, QuotaExhausted, Banned),
        *(KeyRefused, NotEntitled, UnknownSymbol, BadInterval, NoData, GeoBlocked),
    )
}


def _record(error: StreamerError) -> bytes | None:
    """Return an error for others; None for one that is nobody else's, such as a deadline."""
    if isinstance(error, UnknownProduct):
        return encode_value(_Failure("UnknownProduct", "products", error.product_id))
    if not isinstance(error, RestError) or type(error).__name__ not in _KINDS:
        return None
    return encode_value(_Failure(type(error).__name__, error.route, error.why, error.status, error.retry_after_s))


def _error(raw: bytes, what: str) -> StreamerError:
    failure = parse_json(raw, _Failure)
    if failure is None:
        return RestUnavailable(what, "it has just failed")
    if failure.kind == "UnknownProduct":
        return UnknownProduct(ProductId(failure.why))
    kind = _KINDS.get(failure.kind, RestError)
    return kind(failure.route, failure.why, status=failure.status, retry_after_s=failure.retry_after_s)
