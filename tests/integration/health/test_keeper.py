"""The journal of what goes wrong, in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from streamer.errors import StoreUnavailable
from streamer.health.keeper import Keeper
from streamer.store.connect import Store
from streamer.store.journal import KEPT, Journal, Trouble
from streamer.store.keys import Keys
from tests.integration.web.rig import Full
from tests.support import PATIENCE, RedisServer
from tests.unit.health.test_verdict import feed

pytestmark = pytest.mark.timed

BREAKER = {"gateway": {"breaker": {"state": "open", "failures_in_a_row": 5, "retry_s": 2.0}}}
Kept = list[tuple[str, bool]]


class Rig:
    """An ingester that reports what it is told to, and the keeper beside it."""

    def __init__(self, redis: RedisServer, store: Store) -> None:
        self.world, self.journal = Full(redis), Journal(store, Keys())
        self.keeper = Keeper(store, Keys(), lambda: self.is_ours)
        self.is_ours = True
        self.facts: dict[str, Any] = {}

    async def report(self) -> None:
        """Report for ever, ten times a second."""
        while True:
            with suppress(RedisError):
                await asyncio.to_thread(self._report)
            await asyncio.sleep(0.1)

    def _report(self) -> None:
        self.world.report(**{"feeds": [feed(alive_ms=self.world.now_ms)]} | self.facts)

    async def kept(self) -> Kept:
        """Return codes, and whether each is over; the newest first."""
        return [(one.code, one.ended_ms is not None) for one in await self.journal.troubles()]

    async def until(self, expected: Kept) -> None:
        """Wait for the journal to say this."""
        said: Kept | None = None
        try:
            async with asyncio.timeout(15 * PATIENCE):
                while said != expected:
                    with suppress(StoreUnavailable):
                        said = await self.kept()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(said) from None


@asynccontextmanager
async def running(redis: RedisServer) -> AsyncIterator[Rig]:
    """Yield a rig that runs."""
    async with AsyncExitStack() as stack:
        store = Store(redis.url)
        stack.push_async_callback(store.close)
        rig = Rig(redis, store)
        tasks = [asyncio.create_task(work) for work in (rig.report(), rig.keeper.keep())]
        try:
            yield rig
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.fixture
async def rig(redis: RedisServer) -> AsyncIterator[Rig]:
    """One over the Redis of the module."""
    async with running(redis) as made:
        yield made


async def test_what_goes_wrong_is_written_and_what_is_over_is_said_to_be(rig: Rig) -> None:
    """With the sentence of its first moment."""
    rig.facts = BREAKER
    await rig.until([("breaker_open", False)])
    rig.facts = {}
    await rig.until([("breaker_open", True)])
    (one,) = await rig.journal.troubles()
    assert one.error_type == "market_data"
    assert "breaker of REST is open after 5 failures" in one.message


async def test_a_new_owner_goes_on_where_the_last_one_stopped(redis: RedisServer, rig: Rig) -> None:
    """It opens nothing twice, and ends what is over by then."""
    rig.facts = BREAKER
    await rig.until([("breaker_open", False)])
    rig.is_ours = False
    async with running(redis) as heir:
        heir.facts = rig.facts = {}
        await heir.until([("breaker_open", True)])


async def test_who_does_not_own_the_stream_writes_nothing(rig: Rig) -> None:
    """Two keepers would write everything twice."""
    rig.is_ours = False
    rig.facts = BREAKER
    for _ in range(5):
        await rig.keeper.follow()
        await asyncio.sleep(1)
    assert await rig.kept() == []


async def test_an_absent_redis_is_written_down_when_it_is_back(tmp_path: Path) -> None:
    """It cannot be while it is away, and is not forgotten."""
    with RedisServer(tmp_path) as redis:
        async with running(redis) as rig:
            rig.facts = BREAKER
            await rig.until([("breaker_open", False)])
            rig.facts = {}
            with redis.frozen():
                await asyncio.sleep(7)
            await rig.until([("redis_away", True), ("breaker_open", True)])
            away, _ = await rig.journal.troubles()
            assert away.ended_ms is not None
            assert 3_000 < away.ended_ms - away.began_ms < 9_000 * PATIENCE


@pytest.mark.parametrize("mess", [("SET", "x"), ("HSET", "a", "b"), ("XADD", "*", "foreign", "event")])
async def test_what_others_have_put_there_is_mended(redis: RedisServer, mess: tuple[str, ...]) -> None:
    """A key of another type gives way, an event of another kind is passed over."""
    redis.ask(mess[0], "stream:errors", *mess[1:])
    async with running(redis) as rig:
        rig.facts = BREAKER
        await rig.until([("breaker_open", False)])


async def test_the_log_is_bounded(redis: RedisServer) -> None:
    """However much goes wrong; the newest is kept."""
    store = Store(redis.url)
    journal = Journal(store, Keys())
    try:
        for start in range(0, 3 * KEPT, 100):
            await journal.write(Trouble(f"{n}", "system", "x", "", "m", n) for n in range(start, start + 100))
        assert redis.ask("XLEN", "stream:errors") < 1.3 * KEPT
        assert (await journal.troubles())[0].id == f"{3 * KEPT - 1}"
    finally:
        await store.close()
