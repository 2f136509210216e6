"""The exchange's REST side over HTTP: who may ask, how often, and what goes wrong on the way to an answer.

Only reads; orders are placed through the control port. What is not known of the real one (protocol notes, 16) is
a setting or a choice that a comment names.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from streamer.simulator.clock import Clock
from streamer.simulator.faults import Fault, FaultBoard, FaultKind
from streamer.simulator.frames import Stamper
from streamer.simulator.keys import JwtChecker
from streamer.simulator.limits import Limit, Request, RestBooks, Verdict
from streamer.simulator.listener import SERVER_HEADER
from streamer.simulator.rest_ask import Ask
from streamer.simulator.rest_errors import (
    GARBAGE,
    Answer,
    Errors,
    Refusal,
    answer,
    forbidden,
    method_not_allowed,
    not_found,
    unauthorized,
)
from streamer.simulator.rest_routes import PREFIX, Route, Routes
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.web_server import WebServer, take_port

_LOOK_EVERY_S = 0.02
_LINGER_RST = struct.pack("ii", 1, 0)


class RestServer:
    """The REST side of an exchange.

    Args:
        routes: What is answered.
        checker: Decides about tokens.
        clock: The exchange's clock.
        board: Faults in force.
        settings: How the exchange behaves.
        now_s: The steady clock of the board and of the limits.
    """

    def __init__(
        self,
        routes: Routes,
        checker: JwtChecker,
        clock: Clock,
        board: FaultBoard,
        settings: ExchangeSettings,
        now_s: Callable[[], float],
    ) -> None:
        self._routes, self._checker, self._clock, self._board = routes, checker, clock, board
        self._settings, self._now_s = settings, now_s
        self.books = RestBooks(settings.rest_history)
        self._errors, self._stamper = Errors(), Stamper()
        self._private = Limit(settings.private_per_s) if settings.private_per_s else None
        self._public = Limit(settings.public_per_s) if settings.public_per_s else None
        self._socket: socket.socket | None = None
        self._server: WebServer
        self._is_running = self._is_ending = False
        self._ended = asyncio.Event()
        self.port = 0
        """The port it listens on, 0 before it does."""

    # Life

    def listen(self, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Take the port; connections wait until `run`.

        Raises:
            ConfigError: The port cannot be listened on.
        """
        self._socket = take_port(self._settings.host, port, "rest port")
        self.port = self._socket.getsockname()[1]
        self._server = WebServer(self.serve, ssl_context)

    async def run(self) -> None:
        """Answer requests until `stop`."""
        assert self._socket is not None, "listens before it runs"
        if self._is_ending:
            return
        self._is_running = True
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End within a moment, also with requests that hang."""
        if self._socket is None:
            return
        self._is_ending = True
        if not self._is_running:
            self._socket.close()
            return
        self._server.ends.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * _LOOK_EVERY_S):
                await self._ended.wait()
        # A peer that neither reads nor closes must not hold the exchange up.
        self._server.abort()
        await self._ended.wait()

    # Requests

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        assert scope["type"] == "http"
        at_s, time = self._now_s(), self._stamp()  # of its arrival, not of that of its body
        while (await receive()).get("more_body"):  # the SDK sends a body with its GETs
            pass
        path = scope["path"]
        below = path.removeprefix(PREFIX) if path.startswith(f"{PREFIX}/") else ""
        found = self._routes.find(below)
        label = f"{scope['method']} {found[0].template if found else '(unknown)'}"
        request = self.books.arrived(label, at_s, time, _address(scope))
        if not await self._come_through(below, receive):
            await self._drop(scope, receive, reset=False)
            return
        made = self._answer(request, scope, below, found)
        if self._board.take(FaultKind.REST_RESET, below):
            await send(self._start(made))
            await send(_body(made.body[: len(made.body) // 2], more=True))
            await self._drop(scope, receive, reset=True)
            return
        self.books.answered(request, made.status)
        await send(self._start(made))
        dribble = self._board.take(FaultKind.REST_DRIBBLE, below)
        if dribble is None:
            await send(_body(made.body))
        elif not await self._dribble(made.body, dribble, receive, send):
            await self._drop(scope, receive, reset=False)

    async def _come_through(self, path: str, receive: Receive) -> bool:
        """Bear what keeps a request waiting; say whether there still is somebody to answer."""
        hang = self._board.take(FaultKind.REST_HANG, path)
        if hang is not None and not await self._wait(hang, math.inf, receive):
            return False
        slow = self._board.take(FaultKind.REST_SLOW, path)
        return slow is None or await self._wait(slow, slow.options["delay_s"], receive)

    async def _wait(self, fault: Fault, for_s: float, receive: Receive) -> bool:
        """Wait so long, or until the fault is over; say whether there still is somebody to answer."""
        until_s = self._now_s() + for_s
        gone = asyncio.create_task(_disconnected(receive), name="rest-gone")
        try:
            while not (self._is_ending or gone.done()):
                left_s = until_s - self._now_s()
                if left_s <= 0 or not self._board.is_in_force(fault):
                    return True
                await asyncio.wait({gone}, timeout=min(left_s, _LOOK_EVERY_S))
            return False
        finally:
            gone.cancel()

    async def _dribble(self, body: bytes, fault: Fault, receive: Receive, send: Send) -> bool:
        for i in range(len(body)):
            if not self._board.is_in_force(fault):  # healed: the rest may go at once
                await send(_body(body[i:]))
                return True
            await send(_body(body[i : i + 1], more=True))
            if not await self._wait(fault, fault.options["delay_s"], receive):
                return False
        await send(_body(b""))
        return True

    async def _drop(self, scope: Scope, receive: Receive, *, reset: bool) -> None:
        """Cut the connection, with a RST if asked for; what was sent before may be lost."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == scope["client"]:
                sock = connection.transport.get_extra_info("socket")
                if reset and sock is not None:
                    with contextlib.suppress(OSError):  # already gone: nothing left to reset
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
                connection.transport.abort()
        # uvicorn takes a missing answer for a bug of ours unless it knows that the peer is gone.
        await _disconnected(receive)

    # Answers

    def _answer(
        self, request: Request, scope: Scope, path: str, found: tuple[Route, dict[str, str]] | None
    ) -> Answer:
        fault = self._board.take(FaultKind.REST_STATUS, path)
        if fault is not None:
            options = fault.options
            return self._errors.of(options["status"], options["body"], options["retry_after_s"])
        if self._board.take(FaultKind.REST_UNAUTHORIZED, path):
            return unauthorized()
        if found is None:
            return not_found().answer
        route, params = found
        if scope["method"] != "GET":
            return method_not_allowed()
        headers = Headers(scope=scope)
        authorization = headers.get("authorization")
        key_name = self._key_name(authorization, f"GET {headers.get('host', '')}{scope['path']}")
        request.who = key_name or ""
        verdict = self._limited(route, key_name, scope)
        if verdict is not None and not verdict.is_allowed:
            self.books.exceeded(request)
            settings = self._settings
            made = self._errors.of(429, settings.body_of_429, settings.retry_after_s)
        elif key_name is None and (authorization is not None or not route.is_public):
            # A wrong key fails also where none is needed.
            made = unauthorized()
        elif key_name is not None and not self._may(route, key_name):
            made = forbidden()
        elif self._board.take(FaultKind.REST_GARBAGE, path):
            made = GARBAGE
        else:
            made = self._asked(route, self._ask(scope, path, params, key_name))
            if self._board.take(FaultKind.REST_TRUNCATED, path):
                made = replace(made, body=made.body[: len(made.body) // 2])
        return made if verdict is None else self._with_limit(made, verdict)

    def _asked(self, route: Route, ask: Ask) -> Answer:
        try:
            return answer(route.handler(ask))
        except Refusal as refusal:
            return refusal.answer

    def _ask(self, scope: Scope, path: str, params: dict[str, str], key_name: str | None) -> Ask:
        query: dict[str, list[str]] = {}
        for name, value in QueryParams(scope["query_string"]).multi_items():
            query.setdefault(name, []).append(value)
        pages = path == "/accounts" and self._board.take(FaultKind.REST_REPEAT_CURSOR, path)
        return Ask(query, params, key_name or "", repeats_cursor=bool(pages))

    def _key_name(self, authorization: str | None, uri: str) -> str | None:
        if authorization is None or not authorization.startswith("Bearer "):
            return None
        return self._checker.key_name(authorization.removeprefix("Bearer "), self._clock.now_s(), uri)

    def _may(self, route: Route, key_name: str) -> bool:
        return route.is_public or route.scope is None or self._checker.may(key_name, route.scope)

    def _limited(self, route: Route, key_name: str | None, scope: Scope) -> Verdict | None:
        limit = self._public if route.is_public else self._private
        # Whose token is bad is counted by address.
        if limit is None:
            return None
        address = _address(scope)
        return limit.ask(address if route.is_public else key_name or address, self._now_s())

    def _with_limit(self, made: Answer, verdict: Verdict) -> Answer:
        if not self._settings.rate_headers:
            return made
        headers = {
            "x-ratelimit-limit": str(verdict.limit),
            "x-ratelimit-remaining": str(verdict.remaining),
            "x-ratelimit-reset": str(verdict.reset_s),
        }
        return Answer(made.status, made.body, made.content_type, {**made.headers, **headers})

    def _start(self, made: Answer) -> Message:
        headers = {
            "date": formatdate(self._clock.now_s(), usegmt=True),
            "server": SERVER_HEADER,
            "content-length": str(len(made.body)),
            **made.headers,
        }
        if made.content_type is not None:
            headers["content-type"] = made.content_type
        shown = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": made.status, "headers": shown}

    def _stamp(self) -> str:
        return self._stamper.stamp(self._clock.now_ns() // 1000 * 1000).decode()

    def described(self) -> dict[str, Any]:
        """Return the books for the control port."""
        return self.books.described(self._now_s())


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
