"""Every tier of the reader and every fall between them: a real Redis, a real stream and a simulated exchange."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import Unavailable, UnknownProduct
from streamer.gateway.flight import LEASE_S
from streamer.model import ProductId, Reading, Tier
from streamer.reader.sync import Reader
from streamer.settings import Settings, load
from tests.support import Lanes, RedisServer, Simulator, Stream, is_healthy, stream_from, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

lanes = Lanes()

START_S = 30.0
STALE_AFTER_S = 5.0
BTC = ProductId("BTC-USD")
LIVE = (Tier.REALTIME, Tier.REST, Tier.CACHE)


@dataclass
class World:
    """A Redis, an exchange with REST, perhaps a stream between them, and readers."""

    redis: RedisServer
    simulator: Simulator
    stream: Stream | None
    stack: ExitStack

    @property
    def settings(self) -> Settings:
        """What a reader needs to know."""
        return load(rest_url=self.simulator.rest_url)

    def reader(self, **how: Any) -> Reader:
        """A reader as of a process of its own."""
        return self.stack.enter_context(Reader(self.redis.url, settings=self.settings, **how))

    def calls(self, route: str = "") -> int:
        """How many REST requests the exchange has seen."""
        return sum(number for name, number in self._routes().items() if route in name)

    def prices_asked(self) -> int:
        """How many of them were for the prices of products."""
        return self._routes().get("GET /market/products", 0)

    def outdates_the_copy(self) -> None:
        """As if the answer about BTC-USD had come half a minute ago."""
        copy = json.loads(self.redis.ask("GET", "ticker:BTC-USD:stale"))
        copy["fetched_ms"] -= 31_000
        self.redis.ask("SET", "ticker:BTC-USD:stale", json.dumps(copy), "KEEPTTL")
        self.redis.ask("DEL", "ticker:BTC-USD")

    def _routes(self) -> dict[str, int]:
        routes: dict[str, int] = self.simulator.tell({"query": "rest"})["routes"]
        return routes


@contextmanager
def world(folder: Path, *flags: str, streams: bool = True) -> Iterator[World]:
    """Run all of it."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        simulator = stack.enter_context(
            Simulator(folder, "--rest-port", "0", *flags, products="BTC-USD,ETH-USD,SOL-USD")
        )
        stream = None
        if streams:
            env = {"STREAMER_REST_URL": simulator.rest_url}
            stream = stack.enter_context(stream_from(simulator, redis, folder, "BTC-USD", "ETH-USD", env=env))
            wait_until(lambda: is_healthy(redis.url), START_S, why="not healthy")
        yield World(redis, simulator, stream, stack)


def sampled(reader: Reader, for_s: float, **how: Any) -> list[tuple[float, Reading[Any]]]:
    """Read a price all the while; return every reading with its time since the beginning."""
    began, found = time.monotonic(), []
    while (now := time.monotonic() - began) < for_s:
        found.append((now, reader.ticker("BTC-USD", **how)))
        time.sleep(0.05)
    return found


# -- realtime -----------------------------------------------------------------------------------------------------


@lanes.test
def test_a_silent_feed_is_not_realtime_after_five_seconds(folder: Path) -> None:
    """Frames stop on an open socket: from 5 s on REST and its copies serve and say so; realtime when they flow."""
    with world(folder) as it:
        reader = it.reader()
        assert reader.ticker("BTC-USD").tier is Tier.REALTIME
        it.simulator.fault("silence", for_s=14)
        found = sampled(reader, 12)
        late = [one for at, one in found if at > STALE_AFTER_S + 0.5]
        assert late
        assert not [one for one in late if one.tier is Tier.REALTIME]
        assert {one.tier for one in late} <= {Tier.REST, Tier.CACHE, Tier.STALE}
        assert Tier.CACHE in {one.tier for one in late}
        assert all(one.reason for one in late)
        assert all(one.age_s <= STALE_AFTER_S for _, one in found if one.tier is Tier.REALTIME)
        wait_until(lambda: reader.ticker("BTC-USD").tier is Tier.REALTIME, 20)


@lanes.test
def test_a_quiet_product_stays_realtime_and_costs_no_call(folder: Path) -> None:
    """No trade for many seconds on a live feed: realtime, with a growing value age, and nobody asks REST."""
    with world(folder, "--quiet", "ETH-USD") as it:
        reader = it.reader()
        wait_until(lambda: it.prices_asked(), 10, why="the ingester has not asked for its products")
        calls = it.prices_asked()
        began = time.monotonic()
        readings = []
        while time.monotonic() - began < 8:
            readings.append(reader.ticker("ETH-USD"))
            time.sleep(0.1)
        assert {one.tier for one in readings} == {Tier.REALTIME}
        assert readings[-1].value_age_s > 7
        assert readings[-1].age_s < 2
        assert it.prices_asked() == calls


@lanes.test
def test_a_killed_stream_leaves_rest(folder: Path) -> None:
    """The ingester dies: the last value counts for 5 s, then REST and its copy, at two calls a minute at most."""
    with world(folder) as it:
        reader = it.reader()
        assert it.stream is not None
        it.stream.kill()
        calls = it.prices_asked()
        found = sampled(reader, 12)
        assert [one.tier for at, one in found if at > STALE_AFTER_S + 1.5 and one.tier not in LIVE] == []
        assert it.prices_asked() - calls <= 1  # none where the ingester's own answer is newer than its last frame


@lanes.test
def test_what_is_read_is_streamed_soon(folder: Path) -> None:
    """A product that nobody streams: REST at first, realtime within seconds, and it stays wanted."""
    with world(folder) as it:
        reader = it.reader()
        assert reader.ticker("SOL-USD").tier is Tier.REST
        wait_until(lambda: reader.ticker("SOL-USD").tier is Tier.REALTIME, 20)
        want = it.redis.ask("HGET", "stream:wanted", "SOL-USD")
        assert '"by":"reader"' in want
        assert '"pinned":false' in want


@lanes.test
def test_what_nobody_reads_is_dropped(folder: Path) -> None:
    """A product that only reads have asked for leaves the stream when they stop; what was pinned stays."""
    with world(folder) as it:
        assert it.stream is not None
        long_ago = '{"by":"reader","pinned":false,"asked_ms":1000,"read_ms":1000}'
        it.redis.ask("HSET", "stream:wanted", "SOL-USD", long_ago)
        wait_until(lambda: not it.redis.ask("HEXISTS", "stream:wanted", "SOL-USD"), 30)
        assert it.redis.ask("HLEN", "stream:wanted") == 2


# -- REST in trouble ----------------------------------------------------------------------------------------------


@lanes.test
def test_a_minute_of_429_serves_what_is_stale(folder: Path) -> None:
    """No stream, REST answers 429: stale and marked, never an error, and hardly a call; then it is back."""
    with world(folder, streams=False) as it:
        reader, other = it.reader(), it.reader()
        assert reader.ticker("BTC-USD").tier is Tier.REST
        wait_until(lambda: it.redis.ask("EXISTS", "ticker:BTC-USD:stale") == 1, 5)
        it.simulator.fault("rest_status", status=429, for_s=60)
        it.outdates_the_copy()
        calls, began = it.calls(), time.monotonic()
        while time.monotonic() - began < 58:
            for one in (reader.ticker("BTC-USD", timeout_s=0.5), other.ticker("BTC-USD", timeout_s=0.5)):
                assert one.tier is Tier.STALE
                assert one.age_s >= time.monotonic() - began + 30
                assert one.reason
            time.sleep(0.2)
        assert 1 <= it.calls() - calls <= 8
        wait_until(lambda: reader.ticker("BTC-USD", timeout_s=1).tier in (Tier.REST, Tier.CACHE), 75)


@pytest.mark.parametrize("case", ["rest_hang", "rest_reset", "rest_garbage", "rest_status"])
@lanes.test
def test_rest_in_trouble_serves_what_is_stale_in_time(folder: Path, case: str) -> None:
    """However REST fails: what was known is served, marked, within the time that the caller gave."""
    with world(folder, streams=False) as it:
        reader = it.reader()
        assert reader.ticker("BTC-USD").tier is Tier.REST
        wait_until(lambda: it.redis.ask("EXISTS", "ticker:BTC-USD:stale") == 1, 5)
        it.outdates_the_copy()
        it.simulator.fault(case, for_s=60)
        for _ in range(6):
            began = time.monotonic()
            assert reader.ticker("BTC-USD", timeout_s=1.0).tier is Tier.STALE
            assert time.monotonic() - began < 2.0
        with pytest.raises(Unavailable) as caught:
            reader.ticker("BTC-USD", timeout_s=1.0, max_age_s=5)
        assert set(caught.value.tiers) == {"realtime", "cache", "rest"}


@lanes.test
def test_an_unknown_product_is_asked_for_once(folder: Path) -> None:
    """It is named with its nearest names, and for a minute nobody asks for it again."""
    with world(folder, streams=False) as it:
        readers = [it.reader(), it.reader()]
        readers[0].products()
        calls = it.calls()
        for reader in readers * 3:
            with pytest.raises(UnknownProduct) as caught:
                reader.ticker("BTC-USDD")
        assert caught.value.nearest[0] == "BTC-USD"
        assert it.calls() - calls == 1
        assert it.redis.ask("EXISTS", "stream:wanted") == 0


# -- Redis in trouble ---------------------------------------------------------------------------------------------


@lanes.test
def test_without_redis_rest_is_asked_seldom(folder: Path) -> None:
    """Redis dies: prices come from REST, once for all reads of half a minute; realtime again when it is back."""
    with world(folder) as it:
        reader = it.reader()
        assert reader.ticker("BTC-USD").tier is Tier.REALTIME
        wait_until(lambda: it.prices_asked(), 10, why="the ingester has not asked for its products")
        it.redis.kill()
        calls = it.prices_asked()
        found = [reader.ticker("BTC-USD", timeout_s=4) for _ in range(10)]
        assert {one.tier for one in found} == {Tier.REST}
        assert all("Redis" in (one.reason or "") for one in found)
        assert it.prices_asked() - calls == 1
        it.redis.start()
        # It comes back empty: until the stream has written all again there may be nothing to serve.
        wait_until(lambda: reader.tickers(["BTC-USD"]).get(BTC) is not None, 20)
        wait_until(lambda: reader.ticker("BTC-USD").tier is Tier.REALTIME, 20)


@lanes.test
def test_a_frozen_redis_holds_nobody_up(folder: Path) -> None:
    """Redis stops answering: a read takes about as long as a command may take, and falls to REST."""
    with world(folder) as it:
        reader = it.reader()
        reader.ticker("BTC-USD")
        it.redis.freeze()
        try:
            began = time.monotonic()
            one = reader.ticker("BTC-USD", timeout_s=5)
            took_s = time.monotonic() - began
        finally:
            it.redis.thaw()
        assert one.tier is Tier.REST
        assert took_s < 6
        wait_until(lambda: reader.ticker("BTC-USD").tier is Tier.REALTIME, 20)


@pytest.mark.parametrize("case", ["read-only", "out of memory"])
@lanes.test
def test_a_redis_that_takes_nothing_still_gives(folder: Path, case: str) -> None:
    """No script that writes can run: what is there is read, what is not comes from REST, once for half a minute."""
    with world(folder, streams=False) as it:
        reader = it.reader()
        if case == "read-only":
            it.redis.ask("REPLICAOF", "127.0.0.1", "1")
        else:
            it.redis.ask("CONFIG", "SET", "maxmemory", "1")
        began = time.monotonic()
        found = [reader.ticker("BTC-USD") for _ in range(10)]
        assert {one.tier for one in found} == {Tier.REST}
        assert time.monotonic() - began < 3
        assert it.prices_asked() == 1


@lanes.test
def test_everything_dead_is_said_in_time(folder: Path) -> None:
    """No Redis and no REST: an error that says what each tier said, within the caller's time."""
    with world(folder, streams=False) as it:
        reader = it.reader()
        it.redis.kill()
        it.simulator.kill()
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            reader.ticker("BTC-USD", timeout_s=2)
        assert time.monotonic() - began < 3.5
        assert "Redis" in caught.value.tiers["realtime"]
        assert caught.value.tiers["rest"]


# -- processes that die -------------------------------------------------------------------------------------------


@lanes.test
def test_a_killed_leader_is_replaced_within_its_lease(folder: Path) -> None:
    """A process dies by SIGKILL with the call in its hands: who waits for it makes the call, within the lease."""
    with world(folder, streams=False) as it:
        it.simulator.fault("rest_hang", n=1)
        asking = (
            "import sys; from streamer.reader.sync import Reader; "
            "Reader(sys.argv[1]).candles('BTC-USD', 'ONE_MINUTE', 5, timeout_s=60)"
        )
        env = {"PATH": "/usr/bin:/bin", "STREAMER_REST_URL": it.simulator.rest_url}
        child = subprocess.Popen([sys.executable, "-c", asking, it.redis.url], cwd=folder, env=env)
        try:
            lease = "gateway:*:flight:historical:BTC-USD:60:5"
            wait_until(lambda: it.redis.ask("KEYS", lease), 20, why="the child does not lead")
            wait_until(lambda: it.calls("candles") == 1, 10, why="the child has not called")
        finally:
            child.kill()
            child.wait(10)
        began = time.monotonic()
        answer = it.reader().candles("BTC-USD", "ONE_MINUTE", 5, timeout_s=20)
        assert answer.tier is Tier.REST
        assert time.monotonic() - began < LEASE_S + 2
