"""What a reader tells the others: counts, what it reads, and candles that the stream has continued."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import aclosing

import pytest

from streamer.errors import StoreUnavailable
from streamer.model import Granularity, Tier
from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader
from streamer.store.connect import Store
from streamer.store.counters import Counters, Tally
from streamer.store.keys import HIT, LIMITED, MISS
from streamer.store.wanted import WantedSet
from tests.integration.reader.rig import BTC, ETH, KEYS, World, settings
from tests.support import RedisServer, until, wait_until

HOUR_S = 3600


async def test_reads_are_counted_for_all(world: World, redis: RedisServer) -> None:
    """Hits and misses by kind and tier, over all processes, as the schema names their sums."""
    world.ticker(BTC)
    for _ in range(2):
        async with AsyncReader(redis.url, rest=False, settings=settings()) as reader:
            for _ in range(5):
                await reader.ticker(BTC)
            assert not await reader.tickers([ETH])
    sums = KEYS.sums()
    wait_until(lambda: redis.ask("EXISTS", sums[HIT, 300]) == 1, 2)
    assert redis.ask("GET", sums[LIMITED, 3600]) == "0"
    assert 0 < redis.ask("TTL", sums[HIT, 300]) <= 10
    counted: dict[str, int] = {}
    for key in redis.ask("KEYS", "counters:10:*"):
        for name, number in redis.hash(key).items():
            counted[name] = counted.get(name, 0) + int(number)
    assert counted == {f"{HIT}:ticker:realtime": 10, f"{MISS}:ticker:none": 2}


async def test_what_a_full_redis_does_not_take_is_counted_later(redis: RedisServer, store: Store) -> None:
    """Its refusals came as replies, and were taken for success."""
    tally = Tally(Counters(store, KEYS))
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await tally.tell(Counter({f"{HIT}:ticker:realtime": 5}))
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")
    await tally.tell(Counter({f"{HIT}:ticker:realtime": 6}))
    (key,) = redis.ask("KEYS", "counters:60:*")
    assert redis.hash(key) == {f"{HIT}:ticker:realtime": "6"}


def test_a_sync_reader_counts_too(world: World, redis: RedisServer) -> None:
    """At the latest when it is closed."""
    world.ticker(BTC)
    with Reader(redis.url, rest=False, settings=settings()) as reader:
        reader.behind()
        for _ in range(3):
            reader.ticker(BTC)
    (key,) = redis.ask("KEYS", "counters:60:*")
    assert redis.hash(key) == {f"{HIT}:ticker:realtime": "3"}


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_call_is_told_of_though_nobody_reads_again(redis: RedisServer, is_async: bool) -> None:
    """An API asked once a minute met a 429, and the fleet heard of it with the next question."""
    nowhere = settings(rest_url="http://127.0.0.1:9")

    def told() -> bool:
        (key, *_) = redis.ask("KEYS", "counters:60:*") or [""]
        return any(name.startswith("call:") for name in redis.hash(key))

    if is_async:
        async with AsyncReader(redis.url, settings=nowhere) as reader:
            assert not await reader.tickers([ETH], timeout_s=1)
            await until(told, 9)
    else:
        with Reader(redis.url, settings=nowhere) as blocking:
            assert not await asyncio.to_thread(blocking.tickers, [ETH], timeout_s=1)
            await until(told, 9)


async def test_what_is_read_from_a_copy_is_asked_for(world: World, redis: RedisServer) -> None:
    """A product that exists and is not streamed becomes wanted; what is streamed is only noted as read."""
    world.ticker(BTC)
    world.copy(KEYS.ticker_copy(ETH), {"product_id": ETH, "price": "5", "status": "online"})
    redis.ask("HSET", KEYS.wanted, BTC, '{"by":"cli","pinned":true,"asked_ms":1,"read_ms":null}')
    async with AsyncReader(redis.url, rest=False, settings=settings(demand=True)) as reader:
        assert (await reader.ticker(ETH)).tier is Tier.CACHE
        assert (await reader.ticker(BTC)).tier is Tier.REALTIME
        assert not await reader.tickers(["NONE-USD"])
    wanted = {name: json.loads(raw) for name, raw in redis.hash(KEYS.wanted).items()}
    assert wanted.keys() == {BTC, ETH}
    assert (wanted[ETH]["by"], wanted[ETH]["pinned"]) == ("reader", False)
    assert wanted[BTC]["pinned"] is True
    assert world.now_ms - wanted[BTC]["read_ms"] < 5000


@pytest.mark.parametrize("way", ["read", "mirror", "watch"])
async def test_however_it_is_read_it_stays(world: World, redis: RedisServer, way: str) -> None:
    """Read by a process that soon ends, from a mirror, or watched: each once was dropped from the stream."""
    world.ticker(BTC)
    redis.ask("HSET", KEYS.wanted, BTC, '{"by":"reader","pinned":false,"asked_ms":1,"read_ms":1}')

    def noted() -> bool:
        return bool(world.now_ms - json.loads(redis.ask("HGET", KEYS.wanted, BTC))["read_ms"] < 60_000)

    mirror = [BTC] if way == "mirror" else []
    reader = AsyncReader(redis.url, mirror=mirror, rest=False, settings=settings(demand=True))
    async with reader:
        if way == "watch":
            async with aclosing(reader.watch([BTC])) as changes:
                reader._house.due_at = reader._house._reads_at = 0.0
                await anext(changes)
                await until(noted, 5)
        elif way == "mirror":
            assert reader._mirror is not None
            while reader._mirror.get(BTC) is None:
                await asyncio.sleep(0.01)
            reader._house.due_at = reader._house._reads_at = 0.0
            await reader.ticker(BTC)
            await until(noted, 5)
        else:
            await reader.ticker(BTC)
    assert noted()


async def test_without_demand_nothing_is_asked_for(world: World, redis: RedisServer) -> None:
    """The setting holds it back."""
    world.copy(KEYS.ticker_copy(ETH), {"product_id": ETH, "price": "5", "status": "online"})
    async with AsyncReader(redis.url, rest=False, settings=settings(demand=False)) as reader:
        await reader.ticker(ETH)
    assert redis.ask("EXISTS", KEYS.wanted) == 0


async def test_reads_may_ask_for_so_many_and_no_more(redis: RedisServer, store: Store) -> None:
    """The cap counts what reads have asked for, not what is pinned; what was refused is told."""
    wanted = WantedSet(store, KEYS)
    await wanted.add([BTC], by="cli")
    assert await wanted.note_reads([], [ETH], cap=1) == 0
    assert await wanted.note_reads([BTC], ["SOL-USD", "XRP-USD"], cap=1) == 2  # type: ignore[list-item]
    assert set(redis.hash(KEYS.wanted)) == {BTC, ETH}


@pytest.mark.parametrize("junk", ["{", "5", '{"by":5,"pinned":"x"}', ""])
async def test_junk_in_the_wanted_set_is_left_alone(redis: RedisServer, store: Store, junk: str) -> None:
    """Noting and dropping pass over what is not ours."""
    redis.ask("HSET", KEYS.wanted, "JUNK-USD", junk)
    wanted = WantedSet(store, KEYS)
    await wanted.note_reads([ETH], [BTC], cap=5)
    assert await wanted.evict_idle(0.0) in ([], [BTC])
    assert "JUNK-USD" in redis.hash(KEYS.wanted)


async def test_candles_that_the_stream_continues_are_kept(world: World, redis: RedisServer) -> None:
    """Hours that no stream remembers cost one call once: the copy is renewed from what the stream adds."""
    newest_s = world.now_ms // 1000 // HOUR_S * HOUR_S
    first_s = newest_s - 49 * HOUR_S
    world.candles(BTC, count=30)
    where = KEYS.candles_copy(BTC, Granularity.ONE_HOUR, 50)
    entries = [
        {"start": str(s), "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1"}
        for s in range(first_s, newest_s + 1, HOUR_S)
    ]
    world.copy(where, {"candles": entries[::-1]}, age_ms=100_000, to="stale")
    before = redis.ask("GET", where.stale_key)
    async with AsyncReader(redis.url, rest=False, settings=settings()) as reader:
        found = await reader.candles(BTC, Granularity.ONE_HOUR, 50)
    assert found.tier is Tier.REALTIME
    assert len(found.value) == 50
    kept = json.loads(redis.ask("GET", where.stale_key))
    assert kept["fetched_ms"] > json.loads(before)["fetched_ms"]
    assert kept["fetched_ms"] <= world.now_ms
    assert len(kept["value"]["candles"]) == 50
    assert redis.ask("TTL", where.stale_key) > 3500


@pytest.mark.parametrize("demand", [True, False])
async def test_watching_asks_for_what_is_not_streamed(world: World, redis: RedisServer, demand: bool) -> None:
    """It begins with what there is, and the product is wanted from then on; not by who only looks on.

    Else a page that shows what is streamed would bring back what somebody has just taken out.
    """
    world.copy(KEYS.ticker_copy(ETH), {"product_id": ETH, "price": "5", "status": "online"})
    async with AsyncReader(redis.url, rest=False, settings=settings(demand=True)) as reader:
        changes = reader.watch([ETH], demand=demand)
        product_id, reading = await anext(changes)
        await changes.aclose()
    assert (product_id, str(reading.value.price), reading.tier) == (ETH, "5", Tier.CACHE)
    assert (ETH in redis.hash(KEYS.wanted)) == demand


def test_a_reader_that_goes_on_tells_nothing_twice(world: World, redis: RedisServer) -> None:
    """Closed and used again, as after a fork: what was told is told."""
    world.ticker(BTC)
    reader = Reader(redis.url, rest=False, settings=settings())
    for times in (3, 2):
        reader.behind()
        for _ in range(times):
            reader.ticker(BTC)
        reader.close()
    (key,) = redis.ask("KEYS", "counters:60:*")
    assert redis.hash(key) == {f"{HIT}:ticker:realtime": "5"}


async def test_asking_by_name_pins_what_reads_had_asked_for(redis: RedisServer, store: Store) -> None:
    """It stays from then on; who is pinned already is not asked for again."""
    wanted = WantedSet(store, KEYS)
    await wanted.note_reads([], [ETH], cap=5)
    assert await wanted.add([ETH, BTC], by="api") == [ETH, BTC]
    assert await wanted.add([ETH, BTC], by="cli") == []
    assert {name: (want.by, want.pinned) for name, want in (await wanted.all()).items()} == {
        ETH: ("api", True),
        BTC: ("api", True),
    }
