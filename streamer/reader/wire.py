"""One round trip: commands packed once and sent as one piece, replies read in order.

The hot path of a reader is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from streamer.errors import StoreUnavailable
from streamer.store.address import hide_password
from streamer.store.connect import COMMAND_DEADLINE_S, CONNECT_TIMEOUT_S, FAILURES, Store, explain, unavailable
from streamer.store.raw import Command, exchange, pack

_MOST_TOGETHER = 64
"""Lookups that share a round trip at most: more would have the first wait for the last."""
_MOST_THREADS = 10_000
"""A thread takes one connection, and gives it back."""


class Lookup:
    """Commands for one round trip."""

    __slots__ = ("packed", "size")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.packed = b"".join(pack(command) for command in commands)
        self.size = len(commands)

    @classmethod
    def joined(cls, lookups: Sequence[Lookup]) -> Lookup:
        """Return one lookup for several; replies come in the same order."""
        whole = cls(())
        whole.packed = b"".join(lookup.packed for lookup in lookups)
        whole.size = sum(lookup.size for lookup in lookups)
        return whole


class AsyncWire:
    """Asks Redis from an event loop. What is asked while an answer is under way shares the next round trip."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_busy = False
        self._waiting: list[tuple[Lookup, asyncio.Future[list[Any]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, lookup: Lookup) -> list[Any]:
        """Return the replies, in order. A key of another type than expected comes as the error it is.

        Raises:
            StoreUnavailable: Redis does not answer in time, or cannot.
        """
        if self._is_busy:
            replies = await self._join(lookup)
        else:
            self._is_busy = True
            try:
                replies = await self._store.answer(self._ask(lookup))
            finally:
                self._is_busy = False
                self._go_on()
        _check(replies, self._store.shown_url)
        return replies

    async def _join(self, lookup: Lookup) -> list[Any]:
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((lookup, answer))
        return await answer

    def _go_on(self) -> None:
        if self._waiting and not self._is_busy:
            self._is_busy = True
            self._task = asyncio.create_task(self._together(), name="lookups")

    async def _together(self) -> None:
        """Ask for all who wait, in as many round trips as their size demands, until nobody does."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
                await self._answer_all([(lookup, answer) for lookup, answer in batch if not answer.done()])
        finally:
            self._is_busy = False
            for _, answer in self._waiting:  # only where we were cancelled: the loop ends
                answer.cancel()

    async def _answer_all(self, batch: Sequence[tuple[Lookup, asyncio.Future[list[Any]]]]) -> None:
        try:
            replies = await self._store.answer(self._ask(Lookup.joined([lookup for lookup, _ in batch])))
        except StoreUnavailable as exc:
            # Also those whose turn would come next: one after the other they would wait for the same silence.
            waiting, self._waiting = self._waiting, []
            for _, answer in [*batch, *waiting]:
                if not answer.done():
                    answer.set_exception(StoreUnavailable(exc.url, exc.why))
            return
        except BaseException:
            for _, answer in batch:  # a bug, or the loop ends: nobody may wait for ever
                answer.cancel()
            raise
        at = 0
        for lookup, answer in batch:
            if not answer.done():
                answer.set_result(replies[at : at + lookup.size])
            at += lookup.size

    async def _ask(self, lookup: Lookup) -> list[Any]:
        return await exchange(self._store.client.connection_pool, lookup.packed, lookup.size)


class SyncWire:
    """Asks Redis without an event loop, from any thread, and after a fork."""

    def __init__(self, url: str) -> None:
        self._url, self._shown_url = url, hide_password(url)
        self._pool: Any = redis.ConnectionPool.from_url(
            url,
            max_connections=_MOST_THREADS,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=COMMAND_DEADLINE_S,
            retry=Retry(NoBackoff(), 0),
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )

    def ask(self, lookup: Lookup) -> list[Any]:
        """Return the replies, in order. See `AsyncWire.ask`.

        Raises:
            StoreUnavailable: Redis does not answer in time, or cannot.
        """
        try:
            replies = self._ask(lookup)
        except FAILURES as exc:
            raise unavailable(self._url, exc) from exc
        _check(replies, self._shown_url)
        return replies

    def _ask(self, lookup: Lookup) -> list[Any]:
        pool = self._pool
        for last in (False, True):
            connection = pool.get_connection()
            try:
                connection.send_packed_command((lookup.packed,), check_health=False)
                read, replies = connection.read_response, []
                ends = time.monotonic() + COMMAND_DEADLINE_S
                for _ in range(lookup.size):
                    if time.monotonic() > ends:  # the timeout of the socket is for each piece that comes
                        raise RedisTimeoutError
                    try:
                        replies.append(read())
                    except ResponseError as exc:
                        replies.append(exc)
            except RedisConnectionError:
                connection.disconnect()
                if last:
                    raise
                continue
            except BaseException:
                connection.disconnect()
                raise
            finally:
                pool.release(connection)
            return replies
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()


def _check(replies: Sequence[Any], shown_url: str) -> None:
    for reply in replies:
        if isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE"):
            raise StoreUnavailable(shown_url, explain(reply)) from reply
