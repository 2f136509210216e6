"""Connections to Redis on which every command has a deadline, and one translation of what can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from importlib.resources import files
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from streamer.errors import StoreUnavailable
from streamer.store.address import hide_password
from streamer.store.raw import exchange, pack

COMMAND_DEADLINE_S = 1.0
"""No command takes longer. redis-py 8's own defaults took 57.9 s to fail one GET on a frozen server."""
CONNECT_TIMEOUT_S = 0.5
"""Nor does connecting."""

T = TypeVar("T")


FAILURES = (RedisError, OSError, TimeoutError)
"""What redis-py and the network raise where there is no usable answer."""


def unavailable(url: str, exc: Exception) -> StoreUnavailable:
    """Return one of `FAILURES` as our error, naming `url` without its password."""
    why = f"no answer within {COMMAND_DEADLINE_S:g} s" if isinstance(exc, TimeoutError) else explain(exc)
    return StoreUnavailable(hide_password(url), why)


def explain(exc: Exception) -> str:
    """Return a Redis failure in words; redis-py repeats the address, which the error has already."""
    text = str(exc) or type(exc).__name__
    return text.splitlines()[0][:200]


class Store:
    """One Redis, reached with deadlines and without hidden retries: the caller knows best when to try again."""

    def __init__(self, url: str, *, max_connections: int = 8) -> None:
        self.url = url
        self.shown_url = hide_password(url)
        self._client: redis.Redis = redis.Redis.from_url(
            url,
            decode_responses=False,
            max_connections=max_connections,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            # Our own deadline, in `answer`, covers reading and writing. With a socket timeout redis-py 8.1 wraps
            # each write in asyncio.wait_for, which costs a task a command and, before Python 3.12, swallows a
            # cancellation that arrives as the write completes: the task then never ends.
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )

    @property
    def client(self) -> redis.Redis:
        """The client itself, for pipelines and pub/sub; wrap what you await in `answer`."""
        return self._client

    async def answer(self, command: Awaitable[T]) -> T:
        """Await one command or pipeline.

        Raises:
            StoreUnavailable: No usable answer within the deadline.
        """
        try:  # no context manager of our own: this is on every path, and one made of a generator costs 3 µs
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                return await command
        except FAILURES as exc:
            raise unavailable(self.url, exc) from exc

    async def close(self) -> None:
        """Close the connections; a frozen server cannot hold this up."""
        await self.answer(self._client.aclose())


class Script:
    """Lua of `store/lua`, called by its digest and sent again where Redis does not know it.

    It may be sent twice where a connection turns out to be closed: all scripts of ours bear that.

    Args:
        names: Files that make up the script, in order.
    """

    def __init__(self, store: Store, *names: str) -> None:
        self._store = store
        folder = files("streamer.store").joinpath("lua")
        self._source = "".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self._digest: str | None = None

    async def __call__(self, keys: list[str], args: list[str | int | bytes]) -> Any:
        """Run the script under the command deadline.

        Raises:
            StoreUnavailable: No usable answer within the deadline.
        """
        return await self._store.answer(self._run(keys, args))

    async def _run(self, keys: list[str], args: list[str | int | bytes]) -> Any:
        client = self._store.client
        if self._digest is not None:
            reply = await self._evaluate(client, self._digest, keys, args)
            if not isinstance(reply, NoScriptError):  # else Redis was restarted, or is another one
                return self._checked(reply)
        self._digest = await client.script_load(self._source)
        return self._checked(await self._evaluate(client, self._digest, keys, args))

    @staticmethod
    async def _evaluate(client: redis.Redis, digest: str, keys: list[str], args: list[str | int | bytes]) -> Any:
        packed = pack(("EVALSHA", digest, len(keys), *keys, *args))
        (reply,) = await exchange(client.connection_pool, packed, 1)
        return reply

    @staticmethod
    def _checked(reply: Any) -> Any:
        if isinstance(reply, RedisError):
            raise reply
        return reply
