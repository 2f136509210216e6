"""Prices pushed: server-sent events and a WebSocket, conflated for each client.

However many clients there are, one task listens to Redis and each change is put into JSON once; a client that is
slow gets the newest state when it is ready, and never a backlog.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from secrets import token_hex
from typing import Annotated, Any, Final

import orjson
import structlog
from fastapi import APIRouter, Depends, Query, Request, WebSocket, WebSocketDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from streamer.errors import StreamerError
from streamer.model import ProductId, Reading, Ticker, Tier, parse_product_id
from streamer.reader.shown import ticker_json
from streamer.web.market import IDS, ids_of, told
from streamer.web.problems import documented, of_error, problem
from streamer.web.service import Service

log = structlog.get_logger(__name__)

router = APIRouter(tags=["live"])

MAX_CLIENTS: Final = 1000
PACE_S: Final = 0.1
"""A client is told at most so often; between two tellings only the newest counts."""
HEARTBEAT_S: Final = 5.0
SEND_S: Final = 10.0
"""A client that takes nothing for so long is let go."""
_REFRESH_S: Final = 1.0
_FIRST_S: Final = 1.0
_LINGER_S: Final = 10.0
"""So long Redis is still listened to when the last client has gone: what nobody reads may leave the stream."""
_MOST_GONE: Final = 1000
_EXAMPLE: Final = (
    'id: 5f0c2ab1-17\nevent: update\ndata: {"tickers":{"BTC-USD":{"price":"84172.39"}},"removed":[]}\n\n'
)

_ABOUT_IDS: Final = "repeated, or with commas; all where none"
Ids = Annotated[
    list[str] | None, Query(max_length=500, description=_ABOUT_IDS, json_schema_extra={"items": IDS["items"]})
]
_Telling = tuple[str, int, bytes]


class _Held:
    """The newest reading of a product, and when it came; put into JSON when somebody wants it, and once."""

    __slots__ = ("_at", "_json", "reading", "version")

    def __init__(self, reading: Reading[Ticker], version: int) -> None:
        self.reading, self.version = reading, version
        self._at = time.monotonic()
        self._json: bytes | None = None

    def as_it_came(self) -> bytes:
        """Return it as it was when it changed."""
        if self._json is None:
            self._json = orjson.dumps(told(ticker_json(self.reading)))
        return self._json

    def as_of_now(self) -> bytes:
        """Return it with the ages it has by now; what is realtime is known to be current all the while."""
        since_s, was = time.monotonic() - self._at, self.reading
        age_s = was.age_s if was.tier is Tier.REALTIME else was.age_s + since_s
        return orjson.dumps(told(ticker_json(replace(was, age_s=age_s, value_age_s=was.value_age_s + since_s))))


class Hub:
    """The newest reading of everything that is streamed, and who listens.

    Attributes:
        boot: Tells the versions of this hub from those of another, as of a process before.
        listeners: How many listen, by transport: "sse" and "websocket".
        version: Rises with every change.
        is_ending: Whether clients are to end.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None
        self._news, self._complete = asyncio.Event(), asyncio.Event()
        self._held: dict[ProductId, _Held] = {}
        self._gone: dict[ProductId, int] = {}
        self._counter = count(1)
        self.boot = token_hex(4)
        self.listeners = {"sse": 0, "websocket": 0}
        self.version = 0
        self.is_ending = False

    def start(self) -> None:
        """Listen, if nobody does yet."""
        if (self._task is None or self._task.done()) and not self.is_ending:
            self._complete.clear()
            self._task = asyncio.create_task(self._run(), name="hub")

    def end(self) -> None:
        """Have all clients end: the service stops."""
        self.is_ending = True
        self._tell()

    async def close(self) -> None:
        """Listen no more."""
        self.end()
        await _ended(self._task)

    @property
    def clients(self) -> int:
        """How many listen."""
        return sum(self.listeners.values())

    @contextmanager
    def listening(self, transport: str) -> Iterator[None]:
        """Count a client for as long as the block takes."""
        self.start()
        self.listeners[transport] += 1
        try:
            yield
        finally:
            self.listeners[transport] -= 1

    def whole(self, products: Collection[ProductId] | None) -> bytes:
        """Return all readings, as JSON."""
        shown = {p: held.as_of_now() for p, held in self._held.items() if products is None or p in products}
        return _body(shown, [])

    def since(self, version: int, products: Collection[ProductId] | None) -> bytes | None:
        """Return the readings that have changed since a version, as JSON; None where none has."""
        shown = {
            product_id: held.as_it_came()
            for product_id, held in self._held.items()
            if held.version > version and (products is None or product_id in products)
        }
        gone = [p for p, at in self._gone.items() if at > version and (products is None or p in products)]
        return _body(shown, gone) if shown or gone else None

    async def wait(self, version: int, at_most_s: float) -> None:
        """Return when something has changed since a version, when clients are to end, or after `at_most_s`."""
        self.start()  # it may just have ended for want of clients
        if self.version > version or self.is_ending:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._news.wait()

    async def ready(self) -> None:
        """Return when the first prices are there, or will not be soon."""
        self.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                await self._complete.wait()
        self._complete.set()  # what has not come by now is not waited for again

    async def _run(self) -> None:
        watching: asyncio.Task[None] | None = None
        products: frozenset[ProductId] | None = None
        listened_at = time.monotonic()
        try:
            while time.monotonic() - listened_at < _LINGER_S:
                with suppress(StreamerError):  # what was wanted goes on to be
                    wanted = frozenset(await self._service.wanted.all())
                    if wanted != products or watching is None or watching.done():
                        await _ended(watching)
                        products = wanted
                        self._forget(wanted)
                        watching = asyncio.create_task(self._watch(wanted), name="hub-watch")
                if self.clients:
                    listened_at = time.monotonic()
                await asyncio.sleep(_REFRESH_S)
        finally:
            await _ended(watching)
            self._held.clear()
            self._gone.clear()

    def _forget(self, keep: Collection[ProductId]) -> None:
        for product_id in [p for p in self._held if p not in keep]:
            del self._held[product_id]
            self.version = self._gone[product_id] = next(self._counter)
            self._tell()
        while len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]

    async def _watch(self, products: Collection[ProductId]) -> None:
        if not products:
            self._complete.set()
            return
        async with aclosing(self._service.reader.watch(sorted(products), demand=False)) as changes:
            async for product_id, reading in changes:
                self._take(product_id, reading)
                if len(self._held) == len(products):
                    self._complete.set()

    def _take(self, product_id: ProductId, reading: Reading[Ticker]) -> None:
        before = self._held.get(product_id)
        if before is not None and (before.reading.value, before.reading.tier) == (reading.value, reading.tier):
            return  # a new watch tells all that it finds
        self.version = next(self._counter)
        self._gone.pop(product_id, None)
        self._held[product_id] = _Held(reading, self.version)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


async def _ended(task: asyncio.Task[Any] | None) -> None:
    if task is None:
        return
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.error("live.bug", task=task.get_name(), exc_info=bug)


async def hub_of(request: Request) -> Hub:
    """Return the hub of the application."""
    hub: Hub = request.app.state.hub
    return hub


@router.get(
    "/api/v1/stream",
    summary="Prices as they change",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
            "description": "server-sent events, until the client goes or the service stops",
        },
        **documented(422, 503),
    },
)
async def events(request: Request, hub: Annotated[Hub, Depends(hub_of)], product_ids: Ids = None) -> Response:
    """Send a `snapshot`, then an `update` whenever prices have changed, at most ten a second; comments in between.

    Each has `tickers` by product, and in `removed` what is no longer streamed. Only what is streamed is sent; add
    products by `start-stream`. `Last-Event-ID` is understood: who comes back to the same process gets what has
    changed since. The same address takes a WebSocket: one JSON object a message, with `type` and `id` beside
    these, and `{"type":"alive"}` in between.
    """
    wanted = _wanted(product_ids)
    if hub.clients >= MAX_CLIENTS:
        return _full()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    seen = _seen(hub, request.headers.get("last-event-id", ""))
    return _EventStream(_events(hub, wanted, seen), 200, headers, "text/event-stream")


class _EventStream(StreamingResponse):
    """Events to a client, for as long as it takes them."""

    async def stream_response(self, send: Send) -> None:
        """Send all events."""

        async def within(message: Message) -> None:
            async with asyncio.timeout(SEND_S):
                await send(message)

        assert isinstance(self.body_iterator, AsyncGenerator)
        async with aclosing(self.body_iterator):
            with suppress(TimeoutError):  # it takes nothing: the listener's socket sees to the rest
                await super().stream_response(within)


async def _events(hub: Hub, wanted: Collection[ProductId] | None, seen: int) -> AsyncIterator[bytes]:
    async with aclosing(_tellings(hub, "sse", wanted, seen)) as tellings:
        async for telling in tellings:
            if telling is None:
                yield b": alive\n\n"
            else:
                name, version, body = telling
                yield b"id: %b-%d\nevent: %b\ndata: %b\n\n" % (hub.boot.encode(), version, name.encode(), body)


async def _tellings(
    hub: Hub, transport: str, wanted: Collection[ProductId] | None, seen: int
) -> AsyncGenerator[_Telling | None, None]:
    """Yield what a client is to be told: event, version and body; None for a sign of life."""
    with hub.listening(transport):
        await hub.ready()
        version, is_first, told_at = seen, not seen, time.monotonic()
        while not hub.is_ending:
            body = hub.whole(wanted) if is_first else hub.since(version, wanted)
            version = hub.version
            if body is not None:
                yield "snapshot" if is_first else "update", version, body
                is_first, told_at = False, time.monotonic()
            elif time.monotonic() - told_at >= HEARTBEAT_S:
                yield None
                told_at = time.monotonic()
            await asyncio.sleep(PACE_S)
            await hub.wait(version, HEARTBEAT_S)


@router.websocket("/api/v1/stream")
async def socket(websocket: WebSocket) -> None:
    """Send the same over a WebSocket: one JSON object a message, `type` is `snapshot` or `update`."""
    hub: Hub = websocket.app.state.hub
    try:
        wanted = _wanted(websocket.query_params.getlist("product_ids"))
    except StreamerError as exc:
        await websocket.send_denial_response(of_error(exc))
        return
    if hub.clients >= MAX_CLIENTS:
        await websocket.send_denial_response(_full())
        return
    await websocket.accept()
    sending = asyncio.create_task(_send_all(websocket, hub, wanted), name="live-send")
    listening = asyncio.create_task(_until_gone(websocket), name="live-listen")
    try:
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _ended(sending)
        await _ended(listening)


async def _send_all(websocket: WebSocket, hub: Hub, wanted: Collection[ProductId] | None) -> None:
    # It has gone, or takes nothing.
    with suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
        async with aclosing(_tellings(hub, "websocket", wanted, 0)) as tellings:
            async for telling in tellings:
                async with asyncio.timeout(SEND_S):
                    await websocket.send_text(_message(hub, telling))
        await websocket.close(1001)


def _message(hub: Hub, telling: _Telling | None) -> str:
    if telling is None:  # the server's own pings would keep a connection for as long as one is due
        return '{"type":"alive"}'
    name, version, body = telling
    return f'{{"type":"{name}","id":"{hub.boot}-{version}",{body[1:].decode()}'


async def _until_gone(websocket: WebSocket) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return


def _body(shown: Mapping[ProductId, bytes], removed: list[ProductId]) -> bytes:
    tickers = b",".join(b'"%b":%b' % (product_id.encode(), body) for product_id, body in shown.items())
    return b'{"tickers":{%b},"removed":%b}' % (tickers, orjson.dumps(removed))


def _seen(hub: Hub, last_event_id: str) -> int:
    """Return the version that a client has seen; 0 where it is of another process, or none of ours."""
    boot, _, text = last_event_id.partition("-")
    if boot != hub.boot or not (text.isascii() and text.isdigit() and len(text) < 16):
        return 0
    seen = int(text)
    return seen if seen <= hub.version else 0


def _full() -> Response:
    detail = f"{MAX_CLIENTS} clients listen"
    return problem(503, "full", "Too many listeners", detail, headers={"Retry-After": "5"})


def _wanted(product_ids: list[str] | None) -> frozenset[ProductId] | None:
    names = ids_of(product_ids or ())
    return frozenset(parse_product_id(name) for name in names) if names else None
