"""Ownership of a shard against a real Redis: one owner, rising epochs, refused ghosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from streamer.ingest.lease import Lease
from streamer.ingest.sink import Sink
from streamer.store.connect import Store
from streamer.store.keys import Keys
from tests.integration.test_sink import BTC, tick
from tests.support import RedisServer

Make = Callable[[str], Lease]
KEYS = Keys()
TTL_S = 1.0


@pytest.fixture
async def make(redis: RedisServer) -> AsyncIterator[Make]:
    """Makes leases on the shard, each with a connection of its own."""
    async with AsyncExitStack() as stack:

        def made(name: str) -> Lease:
            store = Store(redis.url)
            stack.push_async_callback(store.close)
            return Lease(store, KEYS, "default", name=name, ttl_s=TTL_S)

        yield made


async def hold(lease: Lease) -> bool:
    """Try to take or renew it now; return whether it is ours."""
    await lease.hold(time.monotonic())
    return lease.is_ours(time.monotonic())


async def test_there_is_one_owner(make: Make) -> None:
    """Of many that ask at once one gets the shard, and all know who."""
    leases = [make(f"process-{number}") for number in range(8)]
    owned = await asyncio.gather(*(hold(lease) for lease in leases))
    assert sum(owned) == 1
    assert {lease.owner for lease in leases} == {f"process-{owned.index(True)}"}
    assert [lease.epoch > 0 for lease in leases] == owned


async def test_renewal_keeps_the_epoch(make: Make) -> None:
    """Only the first hold says that everything must be written again."""
    one = make("one")
    assert await one.hold(time.monotonic())
    epoch = one.epoch
    assert not await one.hold(time.monotonic())
    assert one.epoch == epoch


async def test_takeover_comes_with_the_end_of_the_lease(make: Make) -> None:
    """A silent owner is succeeded after lease_s and not before, stops by its own clock first, at a higher epoch."""
    one, two = make("one"), make("two")
    began = time.monotonic()
    assert await hold(one)
    epoch, stopped_after_s = one.epoch, None
    while not await hold(two):
        now = time.monotonic()
        if stopped_after_s is None and not one.is_ours(now):
            stopped_after_s = now - began
        assert now - began < TTL_S + 2
        await asyncio.sleep(0.01)
    assert time.monotonic() - began >= TTL_S - 0.05
    assert stopped_after_s is not None
    assert stopped_after_s < TTL_S
    assert two.epoch > epoch
    assert not await hold(one)
    assert one.owner == "two"


@pytest.mark.parametrize("damage", ["counter deleted", "all flushed", "counter is nonsense", "counter went back"])
async def test_the_epoch_rises_whatever_happens_to_the_counter(make: Make, redis: RedisServer, damage: str) -> None:
    """Lost or damaged, the counter never makes an epoch repeat; for the same owner neither."""
    one = make("one")
    assert await hold(one)
    before = one.epoch
    redis.ask("DEL", "stream:lease:default")
    match damage:
        case "counter deleted":
            redis.ask("DEL", "stream:epoch:default")
        case "all flushed":
            redis.ask("FLUSHALL")
        case "counter is nonsense":
            redis.ask("SET", "stream:epoch:default", "many")
        case _:
            redis.ask("SET", "stream:epoch:default", 3)
    two = make("two")
    assert await hold(two)
    assert two.epoch > before
    redis.ask("FLUSHALL")
    between = two.epoch
    assert await two.hold(time.monotonic())
    assert two.epoch > between


async def test_a_key_of_another_type_is_replaced(make: Make, redis: RedisServer) -> None:
    """A foreign list in the place of lease or counter is not ours; it may not block ownership for good."""
    one = make("one")
    redis.ask("RPUSH", "stream:lease:default", "foreign")
    redis.ask("RPUSH", "stream:epoch:default", "foreign")
    assert await one.hold(time.monotonic())
    assert one.epoch > 0


async def test_a_ghosts_late_write_is_refused(make: Make, redis: RedisServer) -> None:
    """An owner that slept through its lease writes nothing: by its own clock, and else by the fence."""
    one, two = make("one"), make("two")
    stores = [Store(redis.url), Store(redis.url)]
    ghost = Sink(stores[0], KEYS, one)
    owner = Sink(stores[1], KEYS, two)
    try:
        assert await hold(one)
        ghost.tickers.apply(BTC, tick(1, price="1"))
        assert await ghost.flush() == 1
        redis.ask("DEL", "stream:lease:default")
        assert await hold(two)
        owner.tickers.apply(BTC, tick(1, price="2"))
        assert await owner.flush() == 1
        ghost.tickers.apply(BTC, tick(2, price="3", time="2027-01-01T00:00:00Z"))
        assert one.is_ours(time.monotonic())  # its own clock cannot help it: the lease was lost early
        assert await ghost.flush() == 0
        assert not one.is_ours(time.monotonic())
        assert redis.ticker(BTC)["price"] == redis.shadow(BTC)["price"] == "2"
        assert not one.is_ours(time.monotonic() + TTL_S)
    finally:
        for store in stores:
            await store.close()


async def test_release_hands_over_at_once(make: Make) -> None:
    """A standby need not wait for the lease to run out, and nobody can release what is another's."""
    one, two = make("one"), make("two")
    assert await hold(one)
    assert not await hold(two)
    await one.release()
    assert not one.is_ours(time.monotonic())
    assert await hold(two)
    await one.release()
    assert not await hold(one)
