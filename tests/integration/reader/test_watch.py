"""Watching: the present first, then what is pushed; never behind, and through every outage of Redis."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError as RedisTimeoutError

from streamer.model import ProductId, Reading, Ticker, Tier
from streamer.reader.reader import AsyncReader
from tests.integration.reader.rig import BTC, ETH, World, Writer, settings
from tests.support import PATIENCE, RedisServer, hold, until

Watching = AsyncGenerator[tuple[ProductId, Reading[Ticker]], None]


async def following(watching: Watching, within_s: float = 5.0) -> Reading[Ticker]:
    """The next reading."""
    async with asyncio.timeout(within_s * PATIENCE):
        return (await anext(watching))[1]


async def next_realtime(watching: Watching, within_s: float) -> Reading[Ticker]:
    """The next reading that is realtime."""
    ends = time.monotonic() + within_s * PATIENCE
    while (found := await following(watching, ends - time.monotonic())).tier is not Tier.REALTIME:
        pass
    return found


@asynccontextmanager
async def collected(
    reader: AsyncReader, said: list[str | None] | None = None
) -> AsyncIterator[list[Reading[Ticker]]]:
    """Watch BTC-USD as long as the block takes, and collect what is told."""
    seen: list[Reading[Ticker]] = []

    async def watch() -> None:
        async for _, found in reader.watch([BTC], on_outage=None if said is None else said.append):
            seen.append(found)

    task = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_watch_begins_with_the_present_and_follows(areader: AsyncReader, writer: Writer) -> None:
    """The state as it is, then each change, as the ingester writes it."""
    async with aclosing(areader.watch([BTC])) as watching:
        assert str((await following(watching)).value.price) == "100"
        await writer.write(BTC, "101")
        assert str((await following(watching)).value.price) == "101"


async def test_a_product_that_comes_later_is_told_of(areader: AsyncReader, world: World) -> None:
    """It was asked for before it was streamed."""
    world.ticker()
    async with aclosing(areader.watch([ETH, BTC])) as watching:
        assert (await following(watching)).value.product_id == BTC
        world.push(ETH, "7")
        assert (await following(watching)).value.product_id == ETH


async def test_a_slow_watcher_gets_the_newest_state(areader: AsyncReader, writer: Writer) -> None:
    """No backlog: after fifty changes the next reading is the last of them, and none is older than one before."""
    async with aclosing(areader.watch([BTC])) as watching:
        await following(watching)
        for price in range(101, 151):
            await writer.write(BTC, str(price))
        await writer.report()
        seen: list[int] = []
        while not seen or seen[-1] != 150:
            seen.append(int((await following(watching)).value.price))
        assert seen == sorted(seen)
        assert len(seen) <= 3


async def test_a_consumer_that_sleeps_costs_no_memory(areader: AsyncReader, world: World) -> None:
    """Ten thousand changes that nobody takes are one reading."""
    record = world.ticker()
    async with aclosing(areader.watch([BTC])) as watching:
        await following(watching)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for i in range(10_000):
                world.publish([record | {"price": str(1000 + i), "sequence": str(10 + i)}])
                if i % 100 == 0:
                    await asyncio.sleep(0)
            while (found := await following(watching)).value.price != 10_999:
                pass
            del found
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 1_000_000


async def test_the_tier_changes_without_a_push(areader: AsyncReader, world: World) -> None:
    """A feed that dies shows, and so does one that is back."""
    world.ticker()
    async with aclosing(areader.watch([BTC])) as watching:
        assert (await following(watching)).tier is Tier.REALTIME
        world.feed(state="backoff")
        found = await following(watching)
        assert (found.tier, "is backoff" in str(found.reason)) == (Tier.STALE, True)
        world.feed()
        assert (await following(watching)).tier is Tier.REALTIME


async def test_rewriting_a_dead_feeds_value_is_not_realtime_to_a_watcher(
    areader: AsyncReader, writer: Writer
) -> None:
    """A new owner writes everything it has, also what its feeds have not seen since."""
    async with aclosing(areader.watch([BTC])) as watching:
        await following(watching)
        await writer.report(state="backoff", age_ms=60_000)
        assert (await following(watching)).tier is Tier.STALE
        writer.sink.tickers.rewrite(None, time.time())
        await writer.sink.flush()
        await writer.write(ETH, "1")
        with pytest.raises(TimeoutError):
            await following(watching, 1.5)


async def test_what_redis_has_lost_does_not_stand_as_realtime(
    areader: AsyncReader, world: World, redis: RedisServer
) -> None:
    """A flush leaves nothing to judge by: the last reading is told again, as stale."""
    world.ticker()
    async with aclosing(areader.watch([BTC])) as watching:
        assert (await following(watching)).tier is Tier.REALTIME
        redis.ask("FLUSHALL")
        found = await following(watching)
        assert (found.tier, str(found.value.price), found.reason) == (
            Tier.STALE,
            "100",
            "Redis has nothing of it any more",
        )
        world.feed()
        world.push(BTC, "101")
        found = await following(watching)
        assert (found.tier, str(found.value.price)) == (Tier.REALTIME, "101")


JUNK: list[Any] = [
    b"",
    b"\xff\xfe",
    b"[" * 1000,
    {"product_id": "BTC-USD"},
    ["BTC-USD"],
    [{"product_id": "BTC-USD"}],
    [{"product_id": "BTC-USD", "epoch": "x", "connection": "1", "sequence": "1"}],
    [{"product_id": "BTC-USD", "epoch": "9" * 5000, "connection": "1", "sequence": "1"}],
    [{"product_id": "BTC-USD", "epoch": "9", "connection": "1", "sequence": "1", "price": "NaN"}],
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:40])
async def test_a_push_that_makes_no_sense_is_passed_over(areader: AsyncReader, world: World, junk: Any) -> None:
    """It is counted, and the next one is taken."""
    world.ticker()
    async with aclosing(areader.watch([BTC])) as watching:
        await following(watching)
        before = areader.damaged
        world.publish(junk)
        world.push(BTC, "101")
        assert str((await following(watching)).value.price) == "101"
        assert areader.damaged == before + 1


async def test_a_made_up_push_does_not_outlive_the_next_look(areader: AsyncReader, world: World) -> None:
    """An epoch above all others once kept every true price out for as long as the watch lasted."""
    record = world.ticker()
    async with collected(areader) as seen:
        await until(lambda: seen, 5)
        world.publish([record | {"price": "1", "epoch": "999999999999999999"}])
        world.push(BTC, "101")
        await until(lambda: seen[-1].value.price == 101 and seen[-1].tier is Tier.REALTIME, 3)
    assert all(found.tier is Tier.STALE for found in seen if found.value.price == 1)


# -- outages ----------------------------------------------------------------------------------------------------


async def test_watch_says_when_redis_goes(areader: AsyncReader, world: World, redis: RedisServer) -> None:
    """The last reading must not stand as realtime for as long as the outage lasts: nor while it is young."""
    world.ticker()
    async with aclosing(areader.watch([BTC])) as watching:
        await following(watching)
        with redis.frozen():
            found = await following(watching, 4)
            assert found.tier is Tier.STALE
            assert "no answer within 1 s" in str(found.reason)
        world.feed()
        assert (await next_realtime(watching, 5)).reason is None


async def test_watch_goes_on_when_redis_is_back(areader: AsyncReader, world: World, redis: RedisServer) -> None:
    """Whoever watches is told once that it is away and once that it is back, however long that takes."""
    world.ticker()
    said: list[str | None] = []
    async with collected(areader, said) as seen:
        for outage in range(2):
            await until(lambda: seen and seen[-1].tier is Tier.REALTIME, 5)
            await asyncio.to_thread(redis.kill)
            await until(lambda: seen[-1].tier is Tier.STALE, 4)
            assert "is unavailable" in str(seen[-1].reason)
            so_far = len(seen)
            await asyncio.to_thread(hold, lambda: len(seen) == so_far and len(said) == 2 * outage + 1, 1.2)  # noqa: B023
            await asyncio.to_thread(redis.start)
            world.feed()
            world.push(BTC, str(200 + outage))
        await until(lambda: seen[-1].tier is Tier.REALTIME and seen[-1].value.price == 201, 5)
    assert [why is None for why in said] == [False, True] * 2


async def test_a_connection_that_cannot_be_closed_ends_no_watch(
    areader: AsyncReader, world: World, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing one to a frozen Redis over TLS takes too long: redis-py's error once was the end of the watch."""
    world.ticker()
    close, closed = PubSub.aclose, []

    async def too_slow(self: PubSub) -> None:
        await close(self)  # type: ignore[no-untyped-call]
        closed.append(self)
        raise RedisTimeoutError("Timed out closing connection")

    async with aclosing(areader.watch([BTC])) as watching:
        await following(watching)
        monkeypatch.setattr(PubSub, "aclose", too_slow)
        redis.kill()
        assert (await following(watching)).tier is Tier.STALE
        await until(lambda: closed, 5)
        monkeypatch.undo()
        redis.start()
        world.feed()
        world.ticker(price="101")
        assert (await next_realtime(watching, 5)).value.price == 101


async def test_a_redis_that_was_never_there_is_said(redis: RedisServer) -> None:
    """A watch waits for it; it is for the caller to give up."""
    said = asyncio.Event()
    async with AsyncReader("redis://127.0.0.1:1", rest=False, settings=settings()) as reader:

        async def watch() -> None:
            async with aclosing(reader.watch([BTC], on_outage=lambda why: said.set())) as watching:
                await anext(watching)

        task = asyncio.create_task(watch())
        async with asyncio.timeout(5 * PATIENCE):
            await said.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_end_of_a_watch_leaves_no_task(areader: AsyncReader, world: World) -> None:
    """Also where the consumer is cancelled while it waits."""
    world.ticker()
    before = asyncio.all_tasks()

    async def watch() -> None:
        async with aclosing(areader.watch([BTC])) as watching:
            async for _ in watching:
                pass

    task = asyncio.create_task(watch())
    async with asyncio.timeout(5 * PATIENCE):
        while not any(one.get_name() == "following" for one in asyncio.all_tasks()):
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == before
