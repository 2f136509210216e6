"""The sink against a real Redis: what it writes, what it refuses, and what it survives."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import msgspec
import pytest
from redis import Redis

from streamer.ingest.lease import Lease
from streamer.ingest.sink import Sink
from streamer.model import ProductId, Source, Stamp, Tick, TickerFields
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.store.records import TICKER_VALUES
from tests.support import META, RedisServer, until

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
ONE, TWO = Stamp("default.market-0", 1, Source.COINBASE), Stamp("default.market-0", 2, Source.COINBASE)
ALL_FIELDS = META | {"product_id", *TICKER_VALUES}


def tick(
    sequence: int = 1,
    *,
    price: str = "84210.37",
    stamp: Stamp = ONE,
    time: str = "2026-11-20T15:04:06.25Z",
    empty: tuple[str, ...] = (),
    alias_of: str | None = None,
) -> Tick:
    """A tick with a value in every field but those left empty."""
    values = dict.fromkeys(TICKER_VALUES, "1.5") | {"price": price} | dict.fromkeys(empty, "")
    return Tick(TickerFields(product_id=BTC, **values), stamp, sequence, time, 1_795_000_000.5, alias_of)


class Ingester:
    """Sink and lease of one process."""

    def __init__(self, url: str, name: str = "one", *, ttl_s: float = 60.0) -> None:
        keys = Keys()
        self.store = Store(url)
        self.lease = Lease(self.store, keys, "default", name=name, ttl_s=ttl_s)
        self.sink = Sink(self.store, keys, self.lease)

    async def own(self) -> None:
        """Take the shard."""
        assert await self.lease.hold(time.monotonic())

    async def write(self, product_id: ProductId, what: Tick) -> int:
        """Take a tick and flush it."""
        self.sink.tickers.apply(product_id, what)
        return await self.sink.flush()


@asynccontextmanager
async def ingester(redis: RedisServer, name: str = "one") -> AsyncIterator[Ingester]:
    """An ingester that owns the shard."""
    made = Ingester(redis.url, name)
    try:
        await made.own()
        yield made
    finally:
        await made.store.close()


async def successor(redis: RedisServer, name: str = "two") -> Ingester:
    """Another process that has just taken the shard over; the first does not know yet."""
    redis.ask("DEL", "stream:lease:default")
    made = Ingester(redis.url, name)
    await made.own()
    return made


async def test_hash_and_shadow_have_exactly_the_fields_of_the_schema(redis: RedisServer) -> None:
    """Every field of the contract, none that is empty, shadow alike, 60 s and 24 h to live."""
    async with ingester(redis) as one:
        assert await one.write(BTC, tick()) == 1
        held = redis.ticker(BTC)
        assert held.keys() == ALL_FIELDS
        assert all(held.values())
        assert redis.shadow(BTC) == held
        assert (held["product_id"], held["price"], held["source"]) == (BTC, "84210.37", "coinbase")
        assert (held["feed"], held["connection"], held["sequence"]) == ("default.market-0", "1", "1")
        assert (held["time"], held["received_ms"]) == ("2026-11-20T15:04:06.25Z", "1795000000500")
        assert int(held["epoch"]) == one.lease.epoch
        assert abs(int(held["written_ms"]) - time.time() * 1000) < 5_000
        assert 55_000 < redis.ask("PTTL", f"ticker_realtime:{BTC}") <= 60_000
        assert 86_390_000 < redis.ask("PTTL", f"ticker_realtime:{BTC}:stale") <= 86_400_000


async def test_a_value_the_exchange_no_longer_sends_disappears(redis: RedisServer) -> None:
    """An empty value is absent, also where there was one before; so are suspect and alias_of."""
    async with ingester(redis) as one:
        one.sink.tickers.apply(BTC, tick(1, alias_of="BTC-EUR"))
        one.sink.tickers.suspect([BTC], time.time())
        await one.sink.flush()
        assert redis.ticker(BTC).keys() == ALL_FIELDS | {"suspect", "alias_of"}
        assert (redis.ticker(BTC)["suspect"], redis.ticker(BTC)["alias_of"]) == ("1", "BTC-EUR")
        await one.write(BTC, tick(2, empty=("best_bid", "low_52_w")))
        assert redis.ticker(BTC).keys() == ALL_FIELDS - {"best_bid", "low_52_w"}
        assert redis.shadow(BTC) == redis.ticker(BTC)


async def test_keys_of_another_type_are_repaired(redis: RedisServer) -> None:
    """A list, string or set where our hash belongs is replaced by the next write."""
    async with ingester(redis) as one:
        redis.ask("RPUSH", f"ticker_realtime:{BTC}", "foreign")
        redis.ask("SADD", f"ticker_realtime:{BTC}:stale", "foreign")
        redis.ask("SET", f"ticker_realtime:{ETH}", "foreign")
        one.sink.tickers.apply(ETH, tick())
        assert await one.write(BTC, tick()) == 2
        assert redis.ticker(BTC) == redis.shadow(BTC)
        assert redis.ticker(BTC)["price"] == redis.ticker(ETH)["price"] == "84210.37"


@pytest.mark.parametrize("left", ["both", "shadow", "realtime"])
async def test_a_lower_epoch_is_refused_always(redis: RedisServer, left: str) -> None:
    """An old owner overwrites nothing and steps down, also where one of the two copies is gone."""
    async with ingester(redis) as old:
        new = await successor(redis)
        try:
            assert new.lease.epoch > old.lease.epoch
            await new.write(BTC, tick(1, price="2"))
            if left != "both":
                redis.ask("DEL", f"ticker_realtime:{BTC}{':stale' if left == 'realtime' else ''}")
            before = redis.ticker(BTC), redis.shadow(BTC)
            assert await old.write(BTC, tick(9, price="1", time="2027-01-01T00:00:00Z")) == 0
            assert (redis.ticker(BTC), redis.shadow(BTC)) == before
            assert not old.lease.is_ours(time.monotonic())
            assert old.sink.tickers.dirty == 1
        finally:
            await new.store.close()


async def test_a_foreign_hash_does_not_wedge_a_product(redis: RedisServer) -> None:
    """A hash without an epoch, or with nonsense for one, is overwritten."""
    async with ingester(redis) as one:
        redis.ask("HSET", f"ticker_realtime:{BTC}", "price", "1")
        redis.ask("HSET", f"ticker_realtime:{ETH}", "epoch", "soon", "sequence", "x")
        one.sink.tickers.apply(ETH, tick())
        await one.write(BTC, tick())
        assert redis.ticker(BTC).keys() == redis.ticker(ETH).keys() == ALL_FIELDS


async def test_within_an_epoch_newer_wins(redis: RedisServer) -> None:
    """By sequence on one connection, by the exchange's time across connections; an equal write harms nothing."""
    async with ingester(redis) as one:

        async def write(what: Tick) -> str:
            fresh = Ingester(redis.url)  # a book without memory: Redis alone must decide
            fresh.lease.epoch, fresh.lease._held_until = one.lease.epoch, float("inf")
            try:
                assert await fresh.write(BTC, what) == 1
                assert fresh.sink.older + fresh.sink.writes == 1
            finally:
                await fresh.store.close()
            return redis.ticker(BTC)["price"]

        at = "2026-11-20T15:04:06"
        assert await write(tick(5, price="5", time=f"{at}.5Z")) == "5"
        assert await write(tick(4, price="4", time=f"{at}.9Z")) == "5"
        assert await write(tick(5, price="5", time=f"{at}.5Z")) == "5"
        assert await write(tick(6, price="6", time=f"{at}.4Z")) == "6"
        assert await write(tick(1, price="7", time=f"{at}.39Z", stamp=TWO)) == "6"
        assert await write(tick(1, price="8", time=f"{at}.400000001Z", stamp=TWO)) == "8"
        # "06Z" sorts after "06.4Z" as text, and is before it as a time.
        assert await write(tick(1, price="9", time=f"{at}Z", stamp=ONE)) == "8"
        assert redis.shadow(BTC) == redis.ticker(BTC)


async def test_one_message_a_flush(redis: RedisServer) -> None:
    """Subscribers get the changed records of a flush in one message, and nothing where nothing changed."""
    listener = Redis.from_url(redis.url, socket_timeout=3)
    subscribe: Callable[..., Any] = listener.pubsub
    updates = subscribe(ignore_subscribe_messages=True)
    try:
        updates.subscribe("stream:updates:ticker")
        assert updates.get_message(timeout=1) is None  # the confirmation
        async with ingester(redis) as one:
            one.sink.tickers.apply(ETH, tick(price="2745.18"))
            await one.write(BTC, tick())
            other = Ingester(redis.url)
            other.lease.epoch, other.lease._held_until = one.lease.epoch, float("inf")
            await other.write(BTC, tick(0, price="1"))
            assert other.sink.older == 1
            await other.store.close()
            await one.write(BTC, tick(2, price="84211"))
        told = []
        while (message := updates.get_message(timeout=0.5)) is not None:
            told.append(msgspec.msgpack.decode(message["data"], type=list[dict[str, str]]))
        assert [sorted(record["product_id"] for record in records) for records in told] == [[BTC, ETH], [BTC]]
        assert told[1] == [redis.ticker(BTC)]
        assert redis.ticker(ETH) in told[0]
    finally:
        updates.close()
        listener.close()


async def test_a_forgotten_script_is_sent_again(redis: RedisServer) -> None:
    """After SCRIPT FLUSH the next write succeeds as if nothing had been."""
    async with ingester(redis) as one:
        await one.write(BTC, tick(1))
        redis.ask("SCRIPT", "FLUSH")
        assert await one.write(BTC, tick(2, price="2")) == 1
        assert redis.ticker(BTC)["price"] == "2"
        assert one.sink.failures == 0


class Lag:
    """The longest time that the event loop kept a ready task waiting."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def watch(self) -> None:
        """Look every 5 ms."""
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            self.worst_s = max(self.worst_s, time.monotonic() - due)


async def test_a_frozen_redis_costs_a_second_and_nothing_else(redis: RedisServer) -> None:
    """A flush fails within 1.2 s, the loop turns on (lag below 100 ms), and afterwards all of it is written."""
    async with ingester(redis) as one:
        await one.write(BTC, tick(1))
        calmest_s = 9.9
        for sequence in (2, 3):  # twice, and the calmer run counts: this machine has other guests
            lag = Lag()
            watching = asyncio.create_task(lag.watch())
            with redis.frozen():
                began = time.monotonic()
                assert await one.write(BTC, tick(sequence, price=str(sequence))) == 0
                assert time.monotonic() - began < 1.2
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            calmest_s = min(calmest_s, lag.worst_s)
        assert calmest_s < 0.1
        assert one.sink.failures == 2
        assert one.sink.tickers.dirty == 1
        assert one.sink.lag_s() > 0
        assert await one.sink.flush() == 1
        assert redis.ticker(BTC)["price"] == "3"
        assert (one.sink.tickers.dirty, one.sink.failing_since) == (0, None)


async def test_a_cancelled_flush_loses_nothing(redis: RedisServer) -> None:
    """Cancelled with the answer outstanding, what was to be written is still to be written."""
    async with ingester(redis) as one:
        await one.write(BTC, tick(1))
        with redis.frozen():
            one.sink.tickers.apply(BTC, tick(2, price="2"))
            flush = asyncio.create_task(one.sink.flush())
            await until(lambda: not one.sink.tickers.dirty, 1)
            flush.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(flush, 1)
            one.sink.tickers.apply(ETH, tick(1))
        assert one.sink.tickers.dirty == 2
        assert await one.sink.flush() == 2
        assert redis.ticker(BTC)["price"] == "2"


async def test_a_hundred_cancellations_each_end_the_task(redis: RedisServer) -> None:
    """Whenever it comes while ticks flow, a cancellation is never swallowed, and no tick is lost by it."""
    dice = random.Random(7)
    async with ingester(redis) as one:
        numbers = count(1)

        async def feed() -> None:
            while True:
                for product_id in (BTC, ETH):
                    number = next(numbers)
                    one.sink.tickers.apply(product_id, tick(number, price=str(number)))
                await asyncio.sleep(0)

        feeding = asyncio.create_task(feed())
        for _ in range(100):
            running = asyncio.create_task(one.sink.run())
            await asyncio.sleep(dice.uniform(0, 0.01))
            running.cancel()
            await asyncio.wait({running}, timeout=1)
            assert running.cancelled(), running
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        while one.sink.tickers.dirty:
            assert await one.sink.flush()
        for product_id in (BTC, ETH):
            newest = one.sink.tickers.get(product_id)
            assert newest is not None
            assert redis.ticker(product_id)["price"] == redis.shadow(product_id)["price"] == newest.fields.price
        assert one.sink.failures == 0
