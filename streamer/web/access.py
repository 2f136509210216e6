"""Who may ask what: hosts, origins, token, size, rate and time, before a route is reached; and what answers bear.

Written against ASGI itself: it must hold for whatever a route does, for event streams and for WebSockets alike.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.web.address import is_address
from streamer.web.problems import of_slowness, problem, too_many

MAX_BODY_BYTES: Final = 64 << 10
MAX_HEADER_BYTES: Final = 16 << 10
REQUEST_S: Final = 35.0
"""No request but a stream takes longer: reads may wait for REST for 30 s."""
RECEIVE_S: Final = 8.0
"""Within which all of a body must have come."""
_READING: Final = ("GET", "HEAD", "OPTIONS")
_PRIVATE: Final = ("/api/v1/market/accounts", "/api/v1/market/portfolio")
_STREAMS: Final = ("/api/v1/stream",)
WEBHOOKS: Final = "/webhooks/"
"""What is posted below here brings its own proof, and has a rate of its own: see `web/webhooks.py`."""
_MOST_REMOTES = 10_000

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed.

    Attributes:
        token: Needed for what changes something and for what is private; None where none is set.
        hosts: Names under which the service may be asked, in lower case.
        any_address: Whether it may be asked by any numeric address too. Pages of other sites cannot make use of
            that: what a browser is tricked into asking goes by the name of that site.
        calls_per_s: Requests a second of one address.
        changes_per_s: Of those, requests that change something, or that came with a wrong token.
    """

    token: str | None
    hosts: Collection[str]
    any_address: bool = False
    calls_per_s: float = 2000.0
    changes_per_s: float = 10.0


class Access:
    """ASGI middleware that holds every request to the rules."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._calls = Meter(rules.calls_per_s)
        self._changes = Meter(rules.changes_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sender = _Sender(send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(scope, receive, sender, refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, sender)
        elif b"content-length" in headers or b"transfer-encoding" in headers:
            await self._with_body(scope, receive, sender)
        else:
            await self._pass_on(scope, receive, sender)

    async def _with_body(self, scope: Scope, receive: Receive, send: _Sender) -> None:
        """Take the body before a route is reached: frameworks would call one that breaks off bad JSON."""
        try:
            async with asyncio.timeout(RECEIVE_S):
                body = await _body_of(receive)
        except TooLarge:
            detail = f"a body of at most {MAX_BODY_BYTES} bytes is taken"
            await _refuse(scope, receive, send, problem(413, "too-large", "Body too large", detail))
        except TimeoutError:
            detail = f"the body did not come within {RECEIVE_S:g} s"
            await _refuse(scope, receive, send, problem(408, "timeout", "Timeout", detail))
        else:
            if body is not None:
                await self._pass_on(scope, _Replay(body, receive), send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: _Sender) -> None:
        is_stream = scope["path"] in _STREAMS
        try:
            async with asyncio.timeout(None if is_stream else REQUEST_S) as limit:
                await self._app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            if not send.has_begun:
                await of_slowness()(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        """Return why a request is refused, None where it may pass."""
        if _size_of(scope, headers) > MAX_HEADER_BYTES:  # the server minds only what comes in pieces
            detail = f"headers of at most {MAX_HEADER_BYTES} bytes are taken"
            return problem(431, "huge-headers", "Headers too large", detail, headers={"Connection": "close"})
        if not self._is_ours(_host_of(headers.get(b"host", b""))):
            return problem(421, "foreign-host", "Foreign host", "this service does not answer to that name")
        origin = headers.get(b"origin")
        if origin is not None and _authority_of(origin) != headers[b"host"].lower():
            return problem(403, "foreign-origin", "Foreign origin", "pages of other sites may not ask this service")
        remote = scope["client"][0] if scope.get("client") else "?"
        if (wait_s := self._calls.take(remote)) > 0:
            return too_many(wait_s)
        return self._without_token(scope, headers, remote)

    def _is_ours(self, host: str) -> bool:
        return host in self._rules.hosts or (self._rules.any_address and is_address(host))

    def _without_token(self, scope: Scope, headers: dict[bytes, bytes], remote: str) -> Response | None:
        is_webhook = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(WEBHOOKS)
        is_change = scope["type"] == "http" and scope["method"] not in _READING and not is_webhook
        is_private = scope["path"].startswith(_PRIVATE)
        if is_change and (wait_s := self._changes.take(remote)) > 0:
            return too_many(wait_s)
        if self._rules.token is None or not (is_change or is_private):
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if hmac.compare_digest(given.strip(), self._rules.token.encode()) and scheme.lower() == b"bearer":
            return None
        if not is_change and (wait_s := self._changes.take(remote)) > 0:
            return too_many(wait_s)
        detail = "send Authorization: Bearer <STREAMER_API_TOKEN>"
        return problem(401, "token", "Token needed", detail, headers={"WWW-Authenticate": "Bearer"})


class Meter:
    """A token bucket an address: so many at once, and as many again each second."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, remote: str) -> float:
        """Take one; return 0, or after how many seconds there is one to take."""
        now = time.monotonic()
        left, at = self._held.get(remote, (self._per_s, now))
        left = min(self._per_s, left + (now - at) * self._per_s)
        if left < 1:
            self._held[remote] = left, now
            return (1 - left) / self._per_s
        self._held[remote] = left - 1, now
        self._held.move_to_end(remote)
        if len(self._held) > _MOST_REMOTES:
            self._held.popitem(last=False)
        return 0.0


class TooLarge(Exception):
    """A body is larger than is taken."""


class _Replay:
    """A body that has been taken, given to a route as if it came just now."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()  # waits for the client to hang up
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Sender:
    """Adds the headers that every answer bears, and knows whether one has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"].endswith("http.response.start"):
            self.has_begun = True
            held = {name for name, _ in message.get("headers", ())}
            more = [pair for pair in HEADERS if pair[0] not in held]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)


async def _body_of(receive: Receive) -> bytes | None:
    """Return a whole body, None where the client has gone.

    Raises:
        TooLarge: It is larger than is taken.
    """
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise TooLarge
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(scope: Scope, receive: Receive, send: _Sender, refusal: Response) -> None:
    # What still comes is thrown away meanwhile: the server holds a few pieces of a body for whoever reads it, and
    # with these unread it would neither close the connection nor see that the client has.
    wasting = asyncio.create_task(_waste(receive), name="waste")
    try:
        await refusal(scope, receive, send)
    finally:
        wasting.cancel()
        await asyncio.gather(wasting, return_exceptions=True)


async def _waste(receive: Receive) -> None:
    while not (await receive())["type"].endswith(".disconnect"):
        pass


def _size_of(scope: Scope, headers: dict[bytes, bytes]) -> int:
    sizes = sum(len(name) + len(value) for name, value in headers.items())
    return sizes + len(scope.get("raw_path") or b"") + len(scope["query_string"])


def _authority_of(origin: bytes) -> bytes | None:
    """Return host and port of an Origin header, None where it has none, as for "null"."""
    scheme, found, rest = origin.lower().partition(b"://")
    return rest if found and scheme in (b"http", b"https") else None


def _host_of(header: bytes) -> str:
    """Return the name in a Host header, without its port."""
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        inside, closed, _ = text.partition("]")
        return inside + closed
    return text.partition(":")[0]
