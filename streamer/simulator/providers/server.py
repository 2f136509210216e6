"""The simulated providers over HTTP: one port, a prefix for each, and a control route.

POST /_control         one command (`Fake.command`) as JSON
GET  /_control/state   what was counted, by provider
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import formatdate
from typing import Any, Final

import orjson
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from streamer.errors import ConfigError
from streamer.simulator.listener import SERVER_HEADER
from streamer.simulator.providers.fake import Fake, Visit
from streamer.simulator.providers.guide import Guide
from streamer.simulator.providers.wire import FREE, Reply, json_reply
from streamer.simulator.web_server import WebServer, take_port

_CONTROL: Final = "/_control"
_STATE: Final = "/_control/state"
_LONGEST_COMMAND_BYTES: Final = 64 << 10
_VARIABLE: Final = {"alphavantage": "ALPHA_VANTAGE"}


class ProviderFake:
    """A server that plays all providers, and what tests ask of it. `serving` runs one.

    Args:
        fake: The providers.
        now_s: What time it is there, in Unix seconds.
    """

    def __init__(self, fake: Fake, now_s: Callable[[], float] = time.time) -> None:
        self._fake, self._now_s = fake, now_s
        self.port = 0
        """The port it listens on, 0 before it does."""
        self._host = ""
        self._socket: socket.socket | None = None
        self._server = WebServer(self.serve)

    # Of tests and commands

    @property
    def names(self) -> list[str]:
        """The providers' names."""
        return self._fake.names

    @property
    def guide(self) -> Guide:
        """The prices that all of them share, for an exchange beside them to keep to."""
        return Guide(self._fake.market)

    def url(self, provider: str) -> str:
        """Return the address that stands for a provider's own."""
        return f"{self.origin}/{provider}"

    @property
    def origin(self) -> str:
        """The address of the server."""
        return f"http://{self._host}:{self.port}"

    def addresses(self) -> dict[str, Any]:
        """Return `providers_url`, and the URL of each by its name (`providers`) and variable (`providers_env`)."""
        urls = {name: self.url(name) for name in self.names}
        variables = {f"STREAMER_{_VARIABLE.get(name, name.upper())}_URL": url for name, url in urls.items()}
        return {"providers_url": self.origin, "providers": urls, "providers_env": variables}

    def fault(self, provider: str, kind: str, **options: Any) -> None:
        """Let something go wrong at a provider; for kinds and options see `faults`.

        Raises:
            ConfigError: No such provider, fault or option.
        """
        self.command({"fault": kind, "provider": provider, **options})

    def heal(self, provider: str | None = None) -> None:
        """End all faults, of one provider or of all."""
        self.command({"heal": True} | ({} if provider is None else {"provider": provider}))

    def command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a command of the control route says (`Fake.command`)."""
        return self._fake.command(command, self._now_s())

    def state(self, provider: str | None = None) -> dict[str, Any]:
        """Return what was counted, of one provider or by name of all."""
        state = self._fake.state(self._now_s())
        return state if provider is None else state[provider]

    # Life

    def listen(self, host: str, port: int) -> None:
        """Take the port; connections wait until `run`.

        Raises:
            ConfigError: The port cannot be listened on.
        """
        self._socket = take_port(host, port, "providers port")
        self._host, self.port = f"[{host}]" if ":" in host else host, self._socket.getsockname()[1]

    async def run(self) -> None:
        """Answer requests until `stop`."""
        assert self._socket is not None, "listens before it runs"
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` end within a moment, also with requests that wait."""
        self._server.ends.set()
        self._server.abort()

    # Requests

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        assert scope["type"] == "http"
        path = scope["path"]
        if path in (_STATE, _CONTROL):
            await self._say(self._control(scope, await _body(receive)), send)
            return
        headers = {name.lower(): value for name, value in Headers(scope=scope).items()}
        params = dict(QueryParams(scope["query_string"]))
        address = str((scope.get("client") or ("",))[0])
        origin = f"http://{headers.get('host', '')}"
        visit = self._fake.arrived(path, params, headers, origin, address, self._now_s())
        if visit is None:
            await self._say(json_reply({"error": f"expected one of /{', /'.join(self.names)}"}, 404), send)
            return
        status = None
        try:
            status = await self._attend(visit, scope, receive, send)
        finally:
            self._fake.left(visit, status)

    async def _attend(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> int | None:
        """Answer a visit; return the status, None where there is none."""
        # Decided as it comes, sent when its time has come: who waits is not overtaken where requests are counted.
        reply = None if visit.is_cut else self._reply(visit, scope["method"])
        is_there = not visit.delay_s or await self._outlasts(visit.delay_s, receive)
        if reply is None or not is_there:
            await self._drop(scope, receive)
            return None
        await self._say(reply, send)
        return reply.status

    def _reply(self, visit: Visit, method: str) -> Reply:
        return self._fake.answer(visit) if method == "GET" else Reply(405, b"Method Not Allowed", "text/plain")

    async def _outlasts(self, delay_s: float, receive: Receive) -> bool:
        """Wait; say whether there still is somebody to answer."""
        gone = asyncio.create_task(_disconnected(receive), name="provider-gone")
        try:
            await asyncio.wait({gone}, timeout=delay_s)
            return not gone.done()
        finally:
            gone.cancel()

    async def _drop(self, scope: Scope, receive: Receive) -> None:
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == scope["client"]:
                connection.transport.abort()
        # uvicorn takes a missing answer for a bug of ours unless it knows that the peer is gone.
        await _disconnected(receive)

    def _control(self, scope: Scope, body: bytes) -> Reply:
        if scope["path"] == _STATE:
            return json_reply(self.state())
        if scope["method"] != "POST":
            return json_reply({"error": "POST a command"}, 405)
        try:
            command = orjson.loads(body)
            if not isinstance(command, dict):
                raise ConfigError("command", command, "expected a JSON object")
            return json_reply(self.command(command))
        except (orjson.JSONDecodeError, ConfigError) as exc:
            return json_reply({"error": str(exc)}, 400)

    async def _say(self, reply: Reply, send: Send) -> None:
        headers = {
            "date": formatdate(self._now_s(), usegmt=True),
            "server": SERVER_HEADER,
            "content-type": reply.content_type,
            "content-length": str(len(reply.body)),
            **reply.headers,
        }
        shown = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": shown})
        await send({"type": "http.response.body", "body": reply.body})


@contextlib.asynccontextmanager
async def serving(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    plan: str = FREE,
    latency_ms: float = 0,
    now_s: Callable[[], float] = time.time,
) -> AsyncIterator[ProviderFake]:
    """Run all providers inside this process.

    Args:
        host: Address to listen on.
        port: 0 for any free one.
        seed: Of their market, and of latencies.
        plan: "free" or "paid", of everyone who asks.
        latency_ms: How long each of them takes to answer, on average (`Latency`); 0 for at once.
        now_s: What time it is there, in Unix seconds.

    Raises:
        ConfigError: The port cannot be listened on, or there is no such latency.
    """
    server = ProviderFake(Fake(seed, plan, latency_ms), now_s)
    server.listen(host, port)
    running = asyncio.create_task(server.run(), name="providers")
    try:
        yield server
    finally:
        server.stop()
        await running


async def _body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= _LONGEST_COMMAND_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
