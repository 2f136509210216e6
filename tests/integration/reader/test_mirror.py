"""Products kept in the process: read without a round trip, and only while they are what Redis has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamer.errors import StoreUnavailable, Unavailable
from streamer.model import Tier
from streamer.reader.reader import AsyncReader
from tests.integration.reader.rig import BTC, ETH, Proxy, World, settings
from tests.support import PATIENCE, RedisServer


@pytest.fixture
async def mirrored(proxy: Proxy, world: World) -> AsyncIterator[AsyncReader]:
    """A reader that keeps BTC-USD, and does so already."""
    world.ticker()
    world.ticker(ETH)
    async with AsyncReader(proxy.url, mirror=[BTC], rest=False, settings=settings()) as reader:
        await kept(reader, proxy)
        yield reader


async def kept(reader: AsyncReader, proxy: Proxy) -> None:
    """Return when BTC-USD is read without a round trip."""
    async with asyncio.timeout(5 * PATIENCE):
        while True:
            with proxy.counted() as cost:
                await reader.ticker(BTC)
            if cost == [0]:
                return
            await asyncio.sleep(0.005)


async def becomes(reader: AsyncReader, claim: Any) -> Any:
    """Return the first reading of BTC-USD for which the claim holds."""
    async with asyncio.timeout(5 * PATIENCE):
        while not claim(found := await reader.ticker(BTC)):
            await asyncio.sleep(0.005)
        return found


async def test_a_mirrored_product_costs_no_round_trip(mirrored: AsyncReader, proxy: Proxy) -> None:
    """However often it is read; others are asked for as ever."""
    with proxy.counted() as cost:
        for _ in range(1000):
            assert (await mirrored.ticker(BTC)).tier is Tier.REALTIME
    assert cost[0] <= 1  # it looks once a second
    with proxy.counted() as cost:
        assert (await mirrored.ticker(ETH)).tier is Tier.REALTIME
    assert cost[0] >= 1


async def test_it_is_the_newest_price(mirrored: AsyncReader, world: World) -> None:
    """As it is pushed."""
    for price in ("101", "102"):
        world.push(BTC, price)
        found = await becomes(mirrored, lambda found: str(found.value.price) == price)  # noqa: B023
        assert found.tier is Tier.REALTIME


async def test_it_turns_stale_when_the_feed_dies(mirrored: AsyncReader, world: World) -> None:
    """By the same rules, and with the same reason."""
    world.feed(state="backoff")
    found = await becomes(mirrored, lambda found: found.tier is Tier.STALE)
    assert "is backoff" in found.reason
    world.feed()
    await becomes(mirrored, lambda found: found.tier is Tier.REALTIME)


async def test_what_is_too_old_is_asked_for(mirrored: AsyncReader, world: World) -> None:
    """The ages that are asked for hold for what is mirrored too."""
    world.ticker(age_ms=60_000)
    await becomes(mirrored, lambda found: found.value_age_s > 50)
    with pytest.raises(Unavailable):
        await mirrored.ticker(BTC, max_value_age_s=10)
    assert (await mirrored.ticker(BTC, max_age_s=10)).tier is Tier.REALTIME


async def test_without_redis_it_has_nothing_to_say(
    mirrored: AsyncReader, world: World, redis: RedisServer, proxy: Proxy
) -> None:
    """What it had is no longer known to be current: the question goes the ordinary way, and heals with Redis."""
    redis.kill()

    async def is_away() -> bool:
        try:
            await mirrored.ticker(BTC)
        except Unavailable as exc:
            return isinstance(exc.__cause__, StoreUnavailable)
        return False

    async with asyncio.timeout(5 * PATIENCE):
        while not await is_away():
            await asyncio.sleep(0.005)
    redis.start()
    world.feed()
    world.ticker(BTC, "103")

    async with asyncio.timeout(5 * PATIENCE):
        while await is_away():
            await asyncio.sleep(0.005)
    assert str((await becomes(mirrored, lambda found: found.tier is Tier.REALTIME)).value.price) == "103"
    await kept(mirrored, proxy)


async def test_it_ends_with_its_reader(proxy: Proxy, world: World) -> None:
    """No task is left that would listen for nobody."""
    world.ticker()
    before = asyncio.all_tasks()
    async with AsyncReader(proxy.url, mirror=[BTC], rest=False, settings=settings()) as reader:
        await kept(reader, proxy)
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before
