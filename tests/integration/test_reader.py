"""The reader on a real Redis: outages are not misses, shadows are not realtime, watching is never behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import StoreUnavailable
from streamer.ingest.lease import Lease
from streamer.ingest.sink import Sink
from streamer.model import ProductId, Source, Stamp, Tick, TickerFields, Tier
from streamer.reader.reader import AsyncReader
from streamer.store.connect import Script, Store
from streamer.store.keys import Keys
from tests.support import RedisServer

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
KEYS = Keys()
FEED = "default.market-0"


class Writer:
    """An ingester reduced to its writes."""

    def __init__(self, store: Store) -> None:
        self.lease = Lease(store, KEYS, "default", name="test", ttl_s=60)
        self.sink = Sink(store, KEYS, self.lease)
        self._report = Script(store, "report_life")
        self.stamp = Stamp(FEED, 1, Source.COINBASE)
        self._sequence = 0

    async def write(self, product_id: ProductId, price: str) -> None:
        self._sequence += 1
        fields = TickerFields(product_id, price)
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        self.sink.tickers.apply(product_id, Tick(fields, self.stamp, self._sequence, stamp, now))
        assert await self.sink.flush() == 1

    async def report(self, *, state: str = "live", age_ms: int = 0) -> None:
        entry = f'{{"state":"{state}","connection":{self.stamp.connection},"epoch":{self.lease.epoch}'
        status = f'{{"epoch":{self.lease.epoch}'
        keys = [KEYS.feeds, KEYS.status]
        await self._report(keys, [self.lease.epoch, "default", 15000, status, FEED, entry, str(age_ms)])


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


async def one(reader: AsyncReader) -> Any:
    """The reading of BTC-USD."""
    return (await reader.tickers([BTC]))[BTC]


async def test_a_fresh_value_of_a_live_feed_is_realtime(store: Store, writer: Writer) -> None:
    """And a product that nobody has written is a miss."""
    readings = await AsyncReader(store, KEYS).tickers([BTC, ETH])
    btc = readings[BTC]
    assert btc is not None
    assert (btc.tier, str(btc.value.price), btc.source) == (Tier.REALTIME, "100", "coinbase")
    assert readings[ETH] is None


async def test_only_the_shadow_left_is_stale(store: Store, writer: Writer, redis: RedisServer) -> None:
    """The feed lives on with other products; that says nothing of this one."""
    redis.ask("DEL", "ticker_realtime:BTC-USD")
    reading = await one(AsyncReader(store, KEYS))
    assert reading.tier is Tier.STALE
    assert "no longer streamed" in reading.reason


async def test_a_retired_product_leaves_only_its_shadow(store: Store, writer: Writer, redis: RedisServer) -> None:
    """Nobody renews it, so nothing may call it realtime, not even for the rest of its life in Redis."""
    writer.sink.forget([])
    await writer.sink.retire()
    assert not redis.ticker("BTC-USD")
    assert redis.shadow("BTC-USD")["price"] == "100"


async def test_a_newer_owners_hash_is_not_retired(store: Store, writer: Writer, redis: RedisServer) -> None:
    """A paused owner that wakes may not remove what the new one writes."""
    redis.ask("HSET", "ticker_realtime:BTC-USD", "epoch", str(writer.lease.epoch + 1))
    writer.sink.forget([])
    await writer.sink.retire()
    assert redis.ticker("BTC-USD")


async def test_error_replies_are_an_outage_not_a_miss(store: Store, writer: Writer, redis: RedisServer) -> None:
    """A replica without its primary answers every read with MASTERDOWN."""
    redis.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await one(AsyncReader(store, KEYS))
    finally:
        redis.ask("REPLICAOF", "NO", "ONE")


async def test_a_key_of_another_type_is_passed_over(store: Store, writer: Writer, redis: RedisServer) -> None:
    """Foreign data is no outage; the shadow is served, as stale."""
    redis.ask("DEL", "ticker_realtime:BTC-USD")
    redis.ask("SET", "ticker_realtime:BTC-USD", "foreign")
    assert (await one(AsyncReader(store, KEYS))).tier is Tier.STALE


async def test_watch_begins_with_the_present_and_follows(store: Store, writer: Writer) -> None:
    """The state as it is, then each change."""
    watching = AsyncReader(store, KEYS).watch([BTC])
    assert str((await anext(watching))[1].value.price) == "100"
    await writer.write(BTC, "101")
    assert str((await anext(watching))[1].value.price) == "101"
    await watching.aclose()


async def test_a_slow_watcher_gets_the_newest_state(store: Store, writer: Writer) -> None:
    """No backlog: after fifty changes the next reading is the last of them, and none is older than one before."""
    watching = AsyncReader(store, KEYS).watch([BTC])
    await anext(watching)
    for price in range(101, 151):
        await writer.write(BTC, str(price))
    await writer.report()
    seen: list[int] = []
    async with asyncio.timeout(5):
        while not seen or seen[-1] != 150:
            seen.append(int((await anext(watching))[1].value.price))
    assert seen == sorted(seen)
    assert len(seen) <= 3
    await watching.aclose()


async def test_rewriting_a_dead_feeds_value_is_not_realtime_to_a_watcher(store: Store, writer: Writer) -> None:
    """A new owner writes everything it has, also what its feeds have not seen since."""
    watching = AsyncReader(store, KEYS).watch([BTC])
    await anext(watching)
    await writer.report(state="backoff", age_ms=60_000)
    assert (await anext(watching))[1].tier is Tier.STALE
    writer.sink.tickers.rewrite(None, time.time())
    await writer.sink.flush()
    await writer.write(ETH, "1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await anext(watching)


async def test_watch_says_when_redis_goes(store: Store, writer: Writer, redis: RedisServer) -> None:
    """The last reading must not stand as realtime for as long as the outage lasts."""
    watching = AsyncReader(store, KEYS).watch([BTC])
    await anext(watching)
    with redis.frozen(), pytest.raises(StoreUnavailable):
        async with asyncio.timeout(4):
            await anext(watching)


async def test_a_unix_socket_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    """Such a connection takes no keepalive; asking for one was a TypeError."""
    store = Store(f"unix://{tmp_path}/none.sock")
    with pytest.raises(StoreUnavailable):
        await store.answer(store.client.ping())
    await store.close()
