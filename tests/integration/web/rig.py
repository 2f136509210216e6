"""The HTTP API on a real socket, in the loop of the test, over a Redis that is filled by hand."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import httpx

from streamer.settings import Settings, load
from streamer.store.keys import Keys
from streamer.web.address import bound
from streamer.web.serve import serve
from tests.integration.reader.rig import World
from tests.support import PATIENCE, free_port, until
from tests.unit.health.test_verdict import feed, status

TOKEN = "a-token-of-some-length"
NOWHERE = "http://127.0.0.1:9"
"""An exchange without REST: the port of `discard`, where nobody listens."""
PRODUCTS = [
    {"product_id": name, "price": "1", "status": "online", "base_currency_id": name[:3], "quote_currency_id": "USD"}
    for name in ("BTC-USD", "ETH-USD", "SOL-USD")
]


def settings(**changed: Any) -> Settings:
    """Nothing of the tester's own."""
    return load(**{"api_port": free_port(), "rest_url": NOWHERE, "demand": False} | changed)


class Api:
    """A running service, and a client of it.

    Attributes:
        client: Asks it by its own address.
        stop: Set to have it end.
    """

    def __init__(self, redis_url: str, config: Settings, send_buffer: int | None = None) -> None:
        self._url, self.config, self.stop = redis_url, config, asyncio.Event()
        self._send_buffer = send_buffer
        self.client = httpx.AsyncClient(base_url=self.base, trust_env=False, timeout=20 * PATIENCE)
        self.task: asyncio.Task[None] | None = None

    @property
    def base(self) -> str:
        """Where it is."""
        host = self.config.api_host
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.config.api_port}"

    async def __aenter__(self) -> Self:
        sock = bound(self.config)
        if self._send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        self.task = asyncio.create_task(serve(self._url, self.config, sock, self.stop), name="api")
        async with asyncio.timeout(10 * PATIENCE):
            while True:
                with suppress(httpx.TransportError):
                    assert (await self.client.get("/livez")).status_code == 200
                    return self
                await asyncio.sleep(0.01)

    async def __aexit__(self, *exc: object) -> None:
        await self.client.aclose()
        self.stop.set()
        assert self.task is not None
        async with asyncio.timeout(10 * PATIENCE):
            await self.task
        asyncio.get_running_loop().set_exception_handler(None)

    async def get(self, path: str, **how: Any) -> httpx.Response:
        """Ask."""
        return await self.client.get(path, **how)

    async def start(self, *product_ids: object, path: str = "start-stream", **how: Any) -> httpx.Response:
        """Ask for products."""
        return await self.client.post(f"/api/v1/ws/{path}", json={"product_ids": list(product_ids)}, **how)

    async def raw(self, *parts: bytes, deadline_s: float = 5.0) -> bytes:
        """Send bytes as they are and return all that comes until the service closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.config.api_port)
        try:
            with suppress(ConnectionError):  # cut off before it was through
                for part in parts:
                    writer.write(part)
                    await writer.drain()
            with suppress(ConnectionError):
                async with asyncio.timeout(deadline_s * PATIENCE):
                    return await reader.read(-1)
            return b""
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    @asynccontextmanager
    async def events(self, query: str = "", **headers: str) -> AsyncIterator[Events]:
        """Listen to the event stream."""
        async with self.client.stream("GET", f"/api/v1/stream{query}", headers=headers) as response:
            assert response.status_code == 200
            yield Events(response)


class Events:
    """What an event stream brings, one at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response, self._lines = response, response.aiter_lines()

    async def next(self, deadline_s: float = 8.0) -> dict[str, Any]:
        """Return the next event as `id`, `event` and `data`, or a comment as `comment`."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(deadline_s * PATIENCE):
            async for line in self._lines:
                if not line:
                    return found
                name, _, value = line.partition(":")
                found[name or "comment"] = json.loads(value) if name == "data" else value.strip()
        return {"ended": True}

    async def until(self, product_id: str, price: str | None = None) -> dict[str, Any]:
        """Return the first event that tells of a product, or of its price."""
        while True:
            event = await self.next()
            assert "ended" not in event
            told = event.get("data", {"tickers": {}})["tickers"].get(product_id)
            if told is not None and price in (None, told["price"]):
                return event


class Full(World):
    """A Redis with something of everything."""

    def fill(self) -> None:
        """Write prices, balances, candles, products and a report of an ingester."""
        self.feed()
        self.ticker()
        self.candles()
        for currency in ("BTC", "USD"):
            self.balance(currency, "2.5")
        self.copy(Keys().products_copy, {"products": PRODUCTS})
        self.want("BTC-USD")
        self.report()

    def want(self, *product_ids: str) -> None:
        """Have products streamed."""
        for product_id in product_ids:
            entry = json.dumps({"by": "cli", "pinned": True, "asked_ms": self.now_ms})
            self.redis.ask("HSET", "stream:wanted", product_id, entry)

    def report(self, **facts: Any) -> None:
        """Report as an ingester does that is well."""
        now_ms = self.now_ms
        told = status(written_ms=now_ms, feeds=[feed(alive_ms=now_ms)]) | facts
        self.redis.ask("SET", "stream:status", json.dumps(told))

    def wanted(self) -> list[str]:
        """What is wanted, in order."""
        return sorted(self.redis.ask("HKEYS", "stream:wanted"))


async def quiet(api: Api) -> None:
    """Wait until no connection of the service is left but those that the client keeps."""
    await until(lambda: connections() <= 2, 5, "connections are left")


def connections() -> int:
    """How many connections the servers of this loop have."""
    return sum(
        "TCPServer" in repr(task.get_coro()) or "_server_callback" in repr(task) for task in asyncio.all_tasks()
    )
