"""Copies that are read are renewed before they expire, at the pace of the market, and never at anybody's cost."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import RestUnavailable
from streamer.gateway.admission import Admission
from streamer.gateway.gate import CallGate
from streamer.gateway.gateway import Gateway
from streamer.gateway.group import MarkingGate
from streamer.gateway.limits import Outcome, Window
from streamer.gateway.refresher import LOOK_EVERY_S, SPACING_S, Refresher
from streamer.gateway.requests import Request, Requests
from streamer.model import Bucket, Granularity, Priority, ProductId, Tier
from streamer.providers.base import ANY, Budget, Call, OpenGate
from streamer.reader.reader import AsyncReader
from streamer.settings import Settings, load
from streamer.store.connect import Store
from streamer.store.counters import Counters
from streamer.store.hot import KEPT_S, MOST, HotSet
from streamer.store.keys import Keys
from tests.integration.gateway.conftest import FakeRest
from tests.support import RedisServer, Simulator, Stream, free_port, is_healthy, until, wait_until

BTC, ETH, SOL = ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("SOL-USD")
KEYS = Keys()
REQUESTS = Requests(KEYS)
AMPLE = {Budget.MARKET: (Window(1000, 60.0), Window(100, 1.0)), Budget.PRIVATE: (Window(100, 1.0),)}
UUID = "8bfc20d7-f7c6-4422-bf07-8243ca4169fe"


@dataclass
class Market(FakeRest):
    """An exchange whose products are calm, but for some that by some candles have been wild of late."""

    wild: set[tuple[ProductId, Granularity]] = field(default_factory=set)

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        """Closes that go up and down; the newest ones of the wild much more so. Volumes are all alike."""
        buckets = await super().candles(product_id, granularity, from_s, to_s, call)
        is_wild = (product_id, granularity) in self.wild
        reach = [Decimal(3 if is_wild and i >= len(buckets) - 12 else 1) for i in range(len(buckets))]
        closes = [str(100 + by if i % 2 else 100 - by) for i, by in enumerate(reach)]
        return [
            Bucket(b.start_s, b.open, b.high, b.low, close, b.volume)
            for b, close in zip(buckets, closes, strict=True)
        ]

    def asked_for(self, product_id: ProductId) -> int:
        """How often its candles were."""
        return sum(route == "candles" and what == product_id for route, what, _ in self.asked)


class House:
    """The process that renews, and another one that reads."""

    def __init__(self, redis: RedisServer, stack: AsyncExitStack) -> None:
        self._redis, self._stack = redis, stack
        self.rest = Market()
        self.wanted: set[ProductId] = set()
        self.owns = True
        self.store = self.another_store()
        self.hot = HotSet(self.store, KEYS)
        self.admission = self.admitting(AMPLE)
        self.refresher = self.renewing(self.admission)
        self.other = Gateway(self.rest, self.another_store(), KEYS, scope="coinbase")
        stack.push_async_callback(self.other.close)

    def another_store(self) -> Store:
        """Connections of a process of its own."""
        store = Store(self._redis.url, max_connections=20)
        self._stack.push_async_callback(store.close)
        return store

    def admitting(self, budgets: dict[Budget, tuple[Window, ...]]) -> Admission:
        """What admits calls of a process."""
        admission = Admission(self.another_store(), KEYS, budgets)
        self._stack.push_async_callback(admission.close)
        return admission

    def renewing(self, admission: Admission, settings: Settings | None = None) -> Refresher:
        """A refresher that never is early but by need."""
        self.rest.gate = MarkingGate(CallGate(admission))
        return Refresher(
            self.rest,
            admission,
            self.store,
            settings or load(key_prefix=""),
            is_owner=lambda: self.owns,
            wanted=lambda: self.wanted,
            beta=0,
            settle_s=0,
        )

    async def fetched(self, *requests: Request[Any], idle_s: float = 0.0, age_s: float = 0.0) -> None:
        """Have others fetched and read something."""
        gate, self.rest.gate = self.rest.gate, OpenGate()
        await self.other.fetch_all(requests)
        await until(lambda: self._redis.ask("EXISTS", *(one.copy.key for one in requests)) == len(requests), 5)
        self.rest.gate = gate
        self.rest.asked.clear()
        await self.hot.note({request.copy.key: idle_s for request in requests})
        for request in requests:
            self.aged(request, age_s)

    def aged(self, request: Request[Any], age_s: float) -> None:
        """Let its copy become so old, fresh and stale."""
        key, stale_key, *lives_s = request.copy
        copy = json.loads(self._redis.ask("GET", key))
        copy["fetched_ms"] -= int((age_s - self.age_s(request)) * 1000)
        for name, life_s in zip((key, stale_key), lives_s, strict=True):
            self._redis.ask("SET", name, json.dumps(copy), "PX", int((life_s - age_s) * 1000))

    def age_s(self, request: Request[Any]) -> float:
        """How old its copy is by the life it has left."""
        return request.copy.ttl_s - int(self._redis.ask("PTTL", request.copy.key)) / 1000

    async def turns(self, count: int = 1) -> float:
        """Have it look so often, and what it fetches arrive where others find it; return for how long it rests."""
        for _ in range(count):
            rest_s = await self.refresher.turn()
            await until(lambda: not self.refresher._gateway._flights, 5)
        return rest_s

    def fact(self, name: str) -> Any:
        """What it says of itself."""
        assert self.refresher.facts is not None
        return self.refresher.facts[name]


@pytest.fixture
async def house(redis: RedisServer) -> AsyncIterator[House]:
    """An exchange, an owner and a reader."""
    async with AsyncExitStack() as stack:
        yield House(redis, stack)


def candles(product_id: ProductId, granularity: Granularity = Granularity.ONE_MINUTE) -> Request[Any]:
    """Candles that no stream has."""
    return REQUESTS.candles(product_id, granularity, 100)


PRICE, MINUTES = REQUESTS.ticker(BTC), candles(BTC)


# -- when ---------------------------------------------------------------------------------------------------------


async def test_a_copy_is_renewed_in_time(house: House) -> None:
    """Not while it is young, and before it expires."""
    await house.fetched(PRICE, age_s=10)
    assert await house.turns() == LOOK_EVERY_S
    assert house.rest.routes() == []
    house.aged(PRICE, 29.5)
    assert await house.turns() == SPACING_S
    assert house.rest.routes() == ["products"]
    assert house.age_s(PRICE) < 5


async def test_reads_do_not_miss(redis: RedisServer, house: House) -> None:
    """A product that is read and not streamed is there at every read, though its copy's life ends meanwhile."""
    await house.fetched(PRICE, age_s=26)
    task = asyncio.create_task(house.refresher.keep())
    tiers = []
    async with AsyncReader(redis.url, rest=False, settings=load(key_prefix="", demand=False)) as reader:

        async def is_renewed_twice() -> bool:
            tiers.append((await reader.ticker(BTC)).tier)
            renewed = house.rest.routes().count("products")
            if renewed == 1 and house.age_s(PRICE) < 5:
                house.aged(PRICE, 27)
            return renewed == 2

        async with asyncio.timeout(15):
            while not await is_renewed_twice():
                await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(tiers) == {Tier.CACHE}
    assert len(tiers) > 50


async def test_the_market_sets_the_pace(house: House) -> None:
    """What is wild is renewed after 15 s, what is calm after 60; learned from copies that are there."""
    house.rest.wild = {(BTC, Granularity.ONE_MINUTE)}
    await house.fetched(MINUTES, candles(ETH), age_s=16)
    await house.turns(4)
    assert (house.rest.asked_for(BTC), house.rest.asked_for(ETH)) == (1, 0)
    for age_s, wild, calm in ((14, 1, 0), (16, 2, 0), (50, 3, 0), (61, 4, 1)):
        house.aged(MINUTES, age_s)
        house.aged(candles(ETH), age_s)
        await house.turns(3)
        assert (house.rest.asked_for(BTC), house.rest.asked_for(ETH)) == (wild, calm), age_s


async def test_a_price_follows_the_pace_of_its_product(house: House) -> None:
    """Where nobody reads candles, those of a day are asked for, once in five minutes."""
    house.rest.wild = {(BTC, Granularity.FIVE_MINUTE)}
    await house.fetched(PRICE, age_s=14)
    await house.turns(2)
    assert house.rest.routes() == []
    house.aged(PRICE, 16)
    await house.turns(3)
    assert house.rest.routes() == ["candles", "products"]
    house.aged(PRICE, 16)
    await house.turns(2)
    assert house.rest.routes() == ["candles", "products", "products"]


async def test_the_finest_candles_tell_of_the_present(house: House) -> None:
    """A pace learned by candles of a minute is not undone by those of an hour."""
    house.rest.wild = {(BTC, Granularity.ONE_MINUTE)}
    await house.fetched(MINUTES, candles(BTC, Granularity.ONE_HOUR), age_s=16)
    await house.turns(3)
    assert house.rest.asked_for(BTC) == 2
    house.aged(MINUTES, 16)
    await house.turns()
    assert house.rest.asked_for(BTC) == 3


async def test_prices_share_a_call(house: House) -> None:
    """What has had half of its time goes along with what is due."""
    await house.fetched(PRICE, REQUESTS.ticker(ETH), REQUESTS.ticker(SOL))
    for product_id, age_s in ((BTC, 29.5), (ETH, 16), (SOL, 3)):
        house.aged(REQUESTS.ticker(product_id), age_s)
    await house.turns()
    assert [(route, what) for route, what, _ in house.rest.asked] == [("products", (BTC, ETH))]


async def test_accounts_are_renewed_where_no_stream_has_them(house: House) -> None:
    """By a process with a key; one without leaves them to those who have it."""
    house.refresher = house.renewing(house.admission, load(key_prefix="", channels="ticker"))
    await house.fetched(REQUESTS.accounts(), age_s=119.5)
    house.rest.has_key = False
    await house.turns()
    assert (house.rest.routes(), house.fact("hot")) == ([], 0)
    house.rest.has_key = True
    await house.turns()
    assert house.rest.routes() == ["accounts"]


# -- when not -----------------------------------------------------------------------------------------------------


async def test_nothing_is_renewed_after_reads_have_stopped(house: House) -> None:
    """Two of the slowest intervals after the last read."""
    await house.turns()
    await house.fetched(PRICE, MINUTES, idle_s=121, age_s=29.5)
    await house.turns(3)
    assert (house.rest.routes(), house.fact("hot")) == ([], 0)
    await house.hot.note({PRICE.copy.key: 119})
    await house.turns()
    assert (house.rest.routes(), house.fact("hot")) == (["products"], 1)


async def test_what_is_streamed_is_left_to_the_stream(house: House) -> None:
    """Whoever has read a copy while a feed was away, but for what no channel brings."""
    house.wanted = {BTC}
    streamed = [PRICE, candles(BTC, Granularity.FIVE_MINUTE), candles(BTC, Granularity.ONE_DAY)]
    await house.fetched(*streamed, REQUESTS.products(), REQUESTS.accounts())
    for request in streamed:
        house.aged(request, request.copy.ttl_s - 0.5)
    await house.turns(2)
    assert (house.rest.routes(), house.fact("hot")) == ([], 0)
    await house.fetched(MINUTES, age_s=299.5)
    await house.turns()
    assert (house.rest.routes(), house.fact("hot")) == (["candles"], 1)


async def test_only_the_owner_renews(house: House) -> None:
    """A standby would ask for everything a second time."""
    await house.fetched(PRICE, age_s=29.5)
    house.owns = False
    assert await house.turns() == LOOK_EVERY_S
    assert (house.rest.routes(), house.refresher.facts) == ([], None)


async def test_what_fails_is_not_hammered(house: House) -> None:
    """The next look comes soon, the next try does not."""
    await house.fetched(PRICE, age_s=29.5)
    house.rest.error = RestUnavailable("products", "HTTP 503")
    house.rest.gate = MarkingGate(CallGate(house.admission, jitter=lambda _: 0.0))
    await house.turns()
    tried = len(house.rest.asked)
    await house.turns(3)
    assert len([route for route in house.rest.routes() if route == "products"]) == tried > 0
    assert house.fact("failed") == 1


async def test_what_is_no_more_is_forgotten(house: House) -> None:
    """A product that the exchange does not know any longer is hot no more."""
    gone = REQUESTS.ticker(ProductId("GONE-USD"))
    await house.hot.note({gone.copy.key: 0, "not:ours": 0})
    await house.turns()
    assert set(await house.hot.read()) == {"not:ours"}
    assert house.fact("unknown") == 1


# -- never at anybody's cost --------------------------------------------------------------------------------------


async def test_whoever_asks_for_the_same_shares_the_call(house: House) -> None:
    """A reader who misses while it is renewed waits for that answer."""
    await house.fetched(PRICE, age_s=29.5)
    house.rest.delay_s = 0.2
    turn = asyncio.create_task(house.refresher.turn())
    await until(lambda: house.rest.asked, 5)
    answer = await house.other.fetch(PRICE, Call(Priority.TRADING))
    await turn
    assert house.rest.routes() == ["products"]
    assert answer.value.product_id == BTC
    assert house.rest.asked[0][2].priority is Priority.BACKGROUND


@pytest.mark.parametrize(("age_s", "quarters"), [(61, 2), (299.9, 3)])
async def test_the_budget_is_not_used_up(house: House, age_s: float, quarters: int) -> None:
    """However much is due, trading finds its place at once: half is left alone, a quarter where copies expire."""
    house.admission = house.admitting({Budget.MARKET: (Window(12, 60.0),), Budget.PRIVATE: (Window(10, 1.0),)})
    due = [candles(BTC, g) for g in (Granularity.ONE_HOUR, Granularity.ONE_DAY, Granularity.ONE_MINUTE)]
    due += [REQUESTS.candles(ETH, Granularity.ONE_HOUR, limit) for limit in range(1, 8)]
    await house.fetched(*due, age_s=age_s)
    house.refresher = house.renewing(house.admission)
    limit = (await house.admission.snapshot()).budgets[Budget.MARKET].windows[0][1]
    await house.turns(10)
    assert len(house.rest.asked) == limit * quarters // 4 > 0
    assert house.fact("put_off") > 0
    async with asyncio.timeout(1):
        grant = await house.admission.admit(Budget.MARKET, Call(Priority.TRADING))
    await house.admission.settle(grant, Outcome.OK)


async def test_after_a_429_nothing_is_renewed(house: House) -> None:
    """And while somebody waits: it is put off, and counted."""
    await house.fetched(PRICE, age_s=29.5)
    grant = await house.admission.admit(Budget.MARKET, Call(Priority.TRADING))
    await house.admission.settle(grant, Outcome.LIMITED, 0.05)
    assert await house.turns() == LOOK_EVERY_S
    assert (house.rest.routes(), house.fact("put_off")) == ([], 1)


async def test_what_was_done_is_counted_for_all(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kind and outcome."""
    monkeypatch.setattr("streamer.gateway.refresher.LOOK_EVERY_S", 0.0)
    await house.fetched(PRICE, MINUTES)
    house.aged(PRICE, 29.5)
    await house.turns()
    house.aged(MINUTES, 61)
    await house.turns()
    counted = await Counters(house.store, KEYS).grand_totals()
    assert {n: c for n, c in counted.items() if n.startswith("refresh:")} == {
        "refresh:ticker:ok": 1,
        "refresh:historical:ok": 1,
    }


async def test_without_redis_nothing_is_renewed(house: House) -> None:
    """And nothing raised: it goes on when Redis is back."""
    house.store = Store(f"redis://127.0.0.1:{free_port()}")
    refresher = house.renewing(house.admission)
    assert await refresher.turn() == LOOK_EVERY_S
    assert refresher.facts is None


# -- warm-up ------------------------------------------------------------------------------------------------------


async def test_what_was_hot_is_warm_when_the_fleet_comes_back(house: House) -> None:
    """Once, at the start: what has expired of what was read within the hour, and nothing of what is older."""
    await house.hot.note({PRICE.copy.key: 600, MINUTES.copy.key: 1200, REQUESTS.ticker(ETH).copy.key: KEPT_S + 1})
    await house.turns(3)
    assert [(route, what) for route, what, _ in house.rest.asked] == [("products", (BTC,)), ("candles", BTC)]
    assert house.fact("hot") == 0


async def test_warm_up_is_for_what_has_expired(house: House) -> None:
    """What was still there at the start and nobody reads may expire in peace."""
    await house.fetched(MINUTES, idle_s=600)
    await house.turns()
    await house.store.client.delete(MINUTES.copy.key)
    await house.turns(2)
    assert house.rest.routes() == []


async def test_warm_up_is_bounded(house: House) -> None:
    """The twenty that were read last; not all that were ever known."""
    known = [REQUESTS.candles(BTC, Granularity.ONE_HOUR, limit) for limit in range(1, 31)]
    await house.hot.note({request.copy.key: 300 + request.limit for request in known})
    await house.turns(30)
    asked = {request.limit for request in known if await house.store.client.exists(request.copy.key)}
    assert asked == set(range(1, 21))


# -- the hot set --------------------------------------------------------------------------------------------------


async def ids_of(hot: HotSet) -> Sequence[str]:
    """What it knows, in order."""
    return list(await hot.read())


async def test_the_latest_read_counts(house: House) -> None:
    """Whoever notes it, and in whatever order they do."""
    await house.hot.note({"a": 50, "b": 10})
    await house.hot.note({"a": 5})
    await house.hot.note({"a": 100})
    idle_s = await house.hot.read()
    assert list(idle_s) == ["a", "b"]
    assert 5 <= idle_s["a"] < 8
    assert 10 <= idle_s["b"] < 13


async def test_the_hot_set_is_bounded(house: House) -> None:
    """Those read longest ago make room, and an hour is the end."""
    await house.hot.note({f"k{i}": i for i in range(MOST + 50)} | {"old": KEPT_S + 1})
    assert await ids_of(house.hot) == [f"k{i}" for i in range(MOST)]


async def test_foreign_data_does_not_stay(redis: RedisServer, house: House) -> None:
    """Neither a key of another type, nor a read in the future."""
    redis.ask("SET", KEYS.hot, "x")
    await house.hot.note({"a": 0})
    redis.ask("ZADD", KEYS.hot, "9e15", "future")
    await house.hot.note({"b": 0})
    assert set(await ids_of(house.hot)) == {"a", "b"}
    await house.hot.forget(["a"])
    assert await ids_of(house.hot) == ["b"]


# -- in its place -------------------------------------------------------------------------------------------------


def test_start_stream_renews_what_it_does_not_stream(redis: RedisServer, tmp_path: Path) -> None:
    """A price that is read beside the stream is fetched again, as a chore and as simulated as the rest."""
    other = "ETH-USD"
    with Simulator(tmp_path, "--rest-port", "0", products=f"BTC-USD,{other}") as simulator:
        urls = ["--ws-url", simulator.url, "--rest-url", simulator.rest_url, "--redis-url", redis.url]
        # A window that is new grants half, and of that half is left alone.
        ample = {"STREAMER_MARKET_CALLS_PER_MINUTE": "100"}
        with Stream(tmp_path, "BTC-USD", *urls, env=ample) as stream:
            wait_until(lambda: is_healthy(redis.url), 30)
            now_ms = int(redis.ask("TIME")[0]) * 1000
            price, streamed = (KEYS.ticker_copy(ProductId(p)).key for p in (other, "BTC-USD"))
            redis.ask("ZADD", KEYS.hot, str(now_ms), price, str(now_ms), streamed)
            wait_until(lambda: redis.ask("EXISTS", price), 20)
            assert '"source":"simulator"' in str(redis.ask("GET", price))
            wait_until(lambda: redis.ask("HGET", KEYS.counters_total, "refresh:ticker:ok") == "1", 20)
            stream.signal(signal.SIGTERM)
            assert stream.wait(10) == 0
