"""How REST stands for all processes, as the ingester reports it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from streamer.errors import QueueTimeout
from streamer.gateway.admission import Admission
from streamer.gateway.limits import Outcome, Window
from streamer.gateway.standing import Standing
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.store.connect import Store
from streamer.store.counters import Counters
from streamer.store.keys import Keys
from tests.support import PATIENCE, RedisServer, until

NARROW: Mapping[Budget, Sequence[Window]] = {Budget.MARKET: (Window(1, 60.0),)}


class Two:
    """The ingester, which looks, and another process."""

    def __init__(self, redis: RedisServer, stack: AsyncExitStack) -> None:
        self.ingester, self.other = (self._process(redis, stack) for _ in range(2))
        store = Store(redis.url)
        stack.push_async_callback(store.close)
        self.standing = Standing(self.ingester, Counters(store, Keys()))
        self.tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self.standing.keep())]

    @staticmethod
    def _process(redis: RedisServer, stack: AsyncExitStack) -> Admission:
        store = Store(redis.url)
        admission = Admission(store, Keys(), NARROW)
        stack.push_async_callback(store.close)
        stack.push_async_callback(admission.close)
        return admission

    def wait(self, admission: Admission) -> None:
        """Have a call wait for longer than anybody looks."""

        async def asked() -> None:
            with suppress(QueueTimeout):
                await admission.admit(Budget.MARKET, Call(Priority.MARKET_DATA))

        self.tasks.append(asyncio.create_task(asked()))

    def fact(self, *path: str) -> Any:
        """Return a fact; None while there are none."""
        found: Any = self.standing.facts
        for name in path:
            found = None if found is None else found[name]
        return found


@pytest.fixture
async def two(redis: RedisServer) -> AsyncIterator[Two]:
    """Both at work."""
    async with AsyncExitStack() as stack:
        made = Two(redis, stack)
        yield made
        for task in made.tasks:
            task.cancel()
        await asyncio.wait(made.tasks)


async def test_what_others_met_is_reported(two: Two) -> None:
    """A 429 and a breaker that another process has met are facts of the ingester's next report."""
    await until(lambda: two.fact("breaker", "state") == "closed", 5)
    grant = await two.other.admit(Budget.MARKET, Call(Priority.TRADING))
    await two.other.settle(grant, Outcome.LIMITED, 30.0)
    await until(lambda: (two.fact("budgets", "market", "blocked_s") or 0) > 20, 5)


async def test_calls_that_others_wait_with_are_pressure(two: Two) -> None:
    """From when on they wait; it is over when nobody does."""
    await two.other.admit(Budget.MARKET, Call(Priority.TRADING))
    two.wait(two.other)
    await until(lambda: (two.fact("budgets", "market", "pressed_s") or 0) >= 1, 8)
    two.tasks[-1].cancel()
    await until(lambda: two.fact("budgets", "market", "pressed_s") == 0, 5)


async def test_our_own_chores_are_none(two: Two) -> None:
    """The ingester fetches old candles a few a minute: that it waits is as intended."""
    await two.other.admit(Budget.MARKET, Call(Priority.TRADING))
    two.wait(two.ingester)
    await until(lambda: two.fact("budgets", "market", "queued") == 1, 5)
    async with asyncio.timeout(10 * PATIENCE):
        for _ in range(20):
            assert two.fact("budgets", "market", "pressed_s") == 0
            await asyncio.sleep(0.1)


async def test_nothing_is_claimed_while_redis_is_away(two: Two, redis: RedisServer) -> None:
    """Old facts would be taken for new ones."""
    await until(lambda: two.standing.facts is not None, 5)
    with redis.frozen():
        await until(lambda: two.standing.facts is None, 5)
    await until(lambda: two.standing.facts is not None, 5)


async def test_counts_go_by_the_clock_of_redis(
    two: Two, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is off saw no 429 at all."""
    store = Store(redis.url)
    try:
        await Counters(store, Keys()).add({"429": 7})
        ahead = time.time() + 400
        monkeypatch.setattr(time, "time", lambda: ahead)
        await until(lambda: two.fact("errors_429_last_5min") == 7, 8)
    finally:
        await store.close()
