"""A Redis filled by hand or by an ingester's writes, and both readers of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader
from streamer.store.connect import Store
from tests.integration.reader.rig import BTC, Proxy, World, Writer, settings
from tests.support import RedisServer


@pytest.fixture
def world(redis: RedisServer) -> World:
    """A live feed, which has brought nothing yet."""
    made = World(redis)
    made.feed()
    return made


@pytest.fixture(params=[AsyncReader, Reader], ids=["async", "sync"])
async def reader(request: pytest.FixtureRequest, redis: RedisServer) -> AsyncIterator[AsyncReader | Reader]:
    """Each of the two, without REST."""
    made = request.param(redis.url, rest=False, settings=settings())
    yield made
    if isinstance(made, AsyncReader):
        await made.close()
    else:
        made.close()


@pytest.fixture
async def areader(redis: RedisServer) -> AsyncIterator[AsyncReader]:
    """The one for event loops."""
    async with AsyncReader(redis.url, rest=False, settings=settings()) as made:
        yield made


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[Proxy]:
    """A way to Redis on which round trips are counted."""
    made = Proxy(redis.port)
    yield made
    made.close()


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[Store]:
    """A connection to the empty Redis."""
    made = Store(redis.url)
    yield made
    await made.close()


@pytest.fixture
async def writer(store: Store) -> Writer:
    """An owner that has written BTC-USD and reported its feed alive."""
    made = Writer(store)
    await made.lease.hold(time.monotonic())
    await made.write(BTC, "100")
    await made.report()
    return made
