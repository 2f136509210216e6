"""A client made of the plain `websockets` library, so that no code of ours checks itself."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
from coinbase.jwt_generator import build_ws_jwt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

TIMEOUT_S = 10.0
Message = dict[str, Any]


async def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


class Peer:
    """A client of the exchange."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def text(self) -> str:
        """Return the next message as it came."""
        async with asyncio.timeout(TIMEOUT_S):
            message = await self.ws.recv()
        assert isinstance(message, str)
        return message

    async def next(self) -> Message:
        """Return the next message."""
        message: Message = json.loads(await self.text())
        return message

    async def next_of(self, channel: str) -> Message:
        """Return the next message of a channel, skipping others."""
        while (message := await self.next()).get("channel") != channel:
            pass
        return message

    async def take(self, n: int) -> list[Message]:
        """Return the next n messages."""
        return [await self.next() for _ in range(n)]

    async def ask(self, channel: str, *product_ids: str, kind: str = "subscribe", **more: Any) -> None:
        """Send a subscribe or unsubscribe."""
        request = {"type": kind, "channel": channel, "product_ids": list(product_ids), **more}
        await self.ws.send(json.dumps(request))

    async def subscribed(self, channel: str, *product_ids: str, **more: Any) -> Message:
        """Subscribe, and return the ack's subscriptions."""
        await self.ask(channel, *product_ids, **more)
        ack: Message = (await self.next_of("subscriptions"))["events"][0]["subscriptions"]
        return ack

    async def read_on(self) -> None:
        """Read whatever comes until the end: a client that does not read does not notice the end either."""
        with suppress(ConnectionClosed):
            while True:
                await self.ws.recv()

    async def closed(self) -> int | None:
        """Wait for the end and return the close code; 1006 for an abrupt one."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.ws.wait_closed()
        return self.ws.protocol.close_code


@asynccontextmanager
async def peer(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Connect without keepalive, so that what the exchange does is all that happens."""
    async with connect(url, ssl=tls, ping_interval=None, max_size=None, close_timeout=1) as ws:
        yield Peer(ws)


def read_key(path: Path) -> tuple[str, str]:
    """Return name and secret of a key file."""
    content = json.loads(path.read_bytes())
    return content["name"], content["privateKey"]


def good_jwt(path: Path) -> str:
    """Return a token as the official SDK makes it."""
    name, secret = read_key(path)
    token: str = build_ws_jwt(name, secret)
    return token


def any_jwt(path: Path, now_s: int, **changes: Any) -> str:
    """Return an ES256 token with claims changed (None leaves one out); `kid` changes the header."""
    name, secret = read_key(path)
    kid = changes.pop("kid", name)
    claims = {"sub": name, "iss": "cdp", "nbf": now_s, "exp": now_s + 120, **changes}
    claims = {k: v for k, v in claims.items() if v is not None}
    return jwt.encode(claims, secret, algorithm="ES256", headers={"kid": kid, "nonce": secrets.token_hex()})


def price(message: Message) -> str:
    """Return the first price in a ticker message."""
    text: str = message["events"][0]["tickers"][0]["price"]
    return text
