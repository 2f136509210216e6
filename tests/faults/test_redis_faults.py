"""Redis as it should not be: absent, killed, emptied, set back, exchanged, frozen, busy, read-only, vandalized.

start-stream runs as a process with ten ticking products; at the end Redis holds what the exchange says. The tests
run side by side, each with processes of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.support import (
    Lanes,
    RedisServer,
    Simulator,
    Stream,
    assert_mirrored,
    is_healthy,
    level,
    run,
    stream_from,
    wait_until,
)

pytestmark = pytest.mark.faults

lanes = Lanes()

START_S = 20.0
BTC = "ticker_realtime:BTC-USD"


class Rig(NamedTuple):
    """Everything that runs."""

    redis: RedisServer
    simulator: Simulator
    stream: Stream


@contextmanager
def streaming(
    folder: Path, *, rate: float | str = 100, products: int = 10, env: Mapping[str, str] | None = None
) -> Iterator[Rig]:
    """A stream that is healthy."""
    with (
        RedisServer(folder) as redis,
        Simulator(folder, products=products, rate=rate) as simulator,
        stream_from(simulator, redis, folder, env=env) as stream,
    ):
        wait_until(lambda: is_healthy(redis.url), START_S, why="the stream does not become healthy")
        yield Rig(redis, simulator, stream)


def mirrored(redis: RedisServer, simulator: Simulator) -> bool:
    """Whether Redis holds the exchange's values; to be asked while the exchange is paused."""
    assert_mirrored(redis, simulator.truth())
    return True


def recovers(rig: Rig, within_s: float = 5.0) -> None:
    """Paused at once, the exchange helps no more: all that Redis then has to hold comes from the stream itself."""
    rig.simulator.tell({"pause": True})
    wait_until(lambda: mirrored(rig.redis, rig.simulator), within_s)
    wait_until(lambda: is_healthy(rig.redis.url), within_s, why="not healthy again")
    assert rig.stream.code is None
    assert "Traceback" not in rig.stream.log
    rig.simulator.tell({"pause": False})


# -- not there ----------------------------------------------------------------------------------------------------


@lanes.test
def test_redis_comes_later_than_the_stream(folder: Path) -> None:
    """Without Redis the feeds connect and one line says so, without the password; all is written soon after."""
    redis = RedisServer(folder, password="hush-hush")
    with Simulator(folder, rate=100) as simulator, stream_from(simulator, redis, folder) as stream:
        wait_until(lambda: '"event":"feed.live"' in stream.log, START_S, why="the feed waits for Redis")
        wait_until(lambda: '"event":"redis.unavailable"' in stream.log, 2)
        began = time.monotonic()
        answer = run("stream-status", "--redis-url", redis.url, folder=folder)
        assert answer.returncode == 3
        wait_until(lambda: time.monotonic() - began > 4, 5)
        assert stream.log.count('"event":"redis.unavailable"') == 1
        for text in (stream.log, stream.output, answer.stdout, answer.stderr):
            assert "hush" not in text
        simulator.tell({"pause": True})
        with redis:
            wait_until(lambda: mirrored(redis, simulator), 5)
            wait_until(lambda: is_healthy(redis.url), 5)
            assert stream.log.count('"event":"redis.back"') == 1
            assert run("stream-status", "--redis-url", redis.url, folder=folder).returncode == 0
            wanted = redis.hash("stream:wanted")
            assert sorted(wanted) == sorted(simulator.products)


# -- another one --------------------------------------------------------------------------------------------------


@lanes.test
def test_redis_is_killed_and_comes_back_empty(folder: Path) -> None:
    """Under load: everything is there again within 5 s, the wanted set too, at a higher epoch."""
    with streaming(folder, rate=1000) as rig:
        redis, simulator, _ = rig
        epoch = int(redis.ticker("BTC-USD")["epoch"])
        wanted = redis.hash("stream:wanted").keys()
        for _ in range(2):
            redis.kill()
            simulator.tell({"pause": True})  # what has not been written by now nobody will say again
            wait_until(lambda: level(redis.url) == "unknown", 2)
            redis.start()
            recovers(rig)
        assert redis.hash("stream:wanted").keys() == wanted
        assert int(redis.ticker("BTC-USD")["epoch"]) > epoch


@lanes.test
def test_redis_comes_back_with_old_data(folder: Path) -> None:
    """Set back to a dump of minutes ago, it is brought up to date within 5 s though nothing trades."""
    with streaming(folder, rate=300) as rig:
        redis, simulator, _ = rig
        redis.ask("SAVE")
        old = redis.ticker("BTC-USD")
        wait_until(lambda: int(redis.ticker("BTC-USD")["sequence"]) > int(old["sequence"]) + 300, 10)
        run("streamer", "wanted", "remove", simulator.products[-1], "--redis-url", redis.url, folder=folder)
        wait_until(lambda: json.loads(redis.ask("GET", "stream:status"))["products"]["wanted"] == 9, 5)
        redis.kill()
        simulator.tell({"pause": True})
        redis.start()
        truth = simulator.truth()

        def is_up_to_date() -> bool:
            assert_mirrored(redis, {p: truth[p] for p in simulator.products[:-1]})
            return True

        wait_until(is_up_to_date, 5)
        wait_until(lambda: is_healthy(redis.url), 12)
        assert int(redis.ticker("BTC-USD")["epoch"]) >= int(old["epoch"])


@lanes.test
def test_redis_comes_back_a_moment_older_with_our_lease(folder: Path) -> None:
    """With our lease and epoch in the dump, nothing but the server's identity tells; that is enough."""
    with streaming(folder, rate=300, env={"STREAMER_LEASE_S": "30"}) as rig:
        redis, simulator, _ = rig
        redis.ask("SAVE")
        old = redis.ticker("BTC-USD")
        wait_until(lambda: int(redis.ticker("BTC-USD")["sequence"]) > int(old["sequence"]) + 100, 10)
        redis.kill()
        simulator.tell({"pause": True})
        redis.start()
        recovers(rig)
        assert redis.ticker("BTC-USD")["epoch"] == old["epoch"]


@lanes.test
def test_another_redis_answers_on_the_port(folder: Path) -> None:
    """A stranger with foreign keys in our places is made ours: values, feeds, status and lease."""
    (folder / "other").mkdir()
    with streaming(folder) as rig:
        redis, simulator, stream = rig
        redis.kill()
        simulator.tell({"pause": True})
        with RedisServer(folder / "other", port=redis.port) as stranger:
            stranger.ask("SET", BTC, "foreign")
            stranger.ask(
                "HSET", "ticker_realtime:ETH-USD", "epoch", "1", "price", "1", "time", "2099-01-01T00:00:00Z"
            )
            stranger.ask("SET", "stream:feeds", "foreign")
            stranger.ask("RPUSH", "stream:status", "foreign")
            recovers(Rig(stranger, simulator, stream))
            assert stream.log.count('"event":"redis.changed"') == 1


# -- there, and no help -------------------------------------------------------------------------------------------


@lanes.test
def test_redis_freezes_for_ten_seconds_under_load(folder: Path) -> None:
    """Memory stays flat, feeds stay connected, and after the thaw the newest values are written within 5 s."""
    with streaming(folder, rate=2000, products=100) as rig:
        redis, simulator, stream = rig
        process = psutil.Process(stream.pid)
        connects = simulator.state()["counters"]["connects"]["total"]
        with redis.frozen():
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 2, 3)
            warm = process.memory_info().rss
            wait_until(lambda: time.monotonic() - began > 10, 12)
            assert process.memory_info().rss - warm < 8 * 2**20
            assert level(redis.url) == "unknown"
            assert simulator.state()["counters"]["connects"]["total"] == connects
            simulator.tell({"pause": True})
        recovers(rig)
        assert stream.log.count('"event":"redis.unavailable"') == 1


@lanes.test
def test_redis_pauses_drops_and_refuses_us(folder: Path) -> None:
    """CLIENT PAUSE, CLIENT KILL and a replica's READONLY: each is over within 5 s of its end."""
    with streaming(folder) as rig:
        redis, simulator, stream = rig
        redis.ask("CLIENT", "PAUSE", "3000", "ALL")
        simulator.tell({"pause": True})
        recovers(rig, 8)
        for _ in range(20):
            redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        recovers(rig)
        redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        redis.ask("REPLICAOF", "127.0.0.1", "1")
        wait_until(lambda: "read only" in stream.log, 5)
        wait_until(lambda: level(redis.url) != "healthy", 8, why="a stream that cannot write is called healthy")
        simulator.tell({"pause": True})
        redis.ask("REPLICAOF", "NO", "ONE")
        recovers(rig)


@lanes.test
def test_a_full_redis_recovers(folder: Path) -> None:
    """Out of memory, writes fail and are said to fail; with memory again all is written."""
    with streaming(folder) as rig:
        redis, simulator, stream = rig
        redis.ask("CONFIG", "SET", "maxmemory", "1mb")
        wait_until(lambda: level(redis.url) != "healthy", 8, why="a stream that cannot write is called healthy")
        simulator.tell({"pause": True})
        redis.ask("CONFIG", "SET", "maxmemory", "0")
        recovers(rig)
        assert '"level":"warning"' in stream.log


# -- vandals ------------------------------------------------------------------------------------------------------


@lanes.test
def test_vandalized_keys_are_repaired(folder: Path) -> None:
    """Though nothing trades, deleted keys and keys of another type are back within 25 s, shadows included."""
    with streaming(folder) as rig:
        redis, simulator, stream = rig
        simulator.tell({"pause": True})
        wait_until(lambda: mirrored(redis, simulator), 5)
        one, two, three, four, *_ = simulator.products
        redis.ask("DEL", f"ticker_realtime:{one}", f"ticker_realtime:{one}:stale")
        redis.ask("SET", f"ticker_realtime:{two}", "foreign")
        redis.ask("DEL", f"ticker_realtime:{three}:stale")
        redis.ask("RPUSH", f"ticker_realtime:{three}:stale", "foreign")
        redis.ask("DEL", f"ticker_realtime:{four}")
        redis.ask("SET", "stream:feeds", "foreign")
        redis.ask("DEL", "stream:status")
        redis.ask("RPUSH", "stream:status", "foreign")
        wait_until(lambda: is_healthy(redis.url), 5)
        wait_until(lambda: mirrored(redis, simulator), 25, exactly=True)
        assert stream.code is None


@lanes.test
def test_a_vandalized_wanted_set_does_not_stop_the_stream(folder: Path) -> None:
    """stream:wanted as a key of another type is trouble that is said, survived and over when it is gone."""
    with streaming(folder) as rig:
        redis, simulator, stream = rig
        redis.ask("SET", "stream:wanted", "foreign")
        wait_until(lambda: '"event":"redis.unavailable"' in stream.log or is_healthy(redis.url), 5)
        before = redis.ticker("BTC-USD")["sequence"]
        wait_until(lambda: redis.ticker("BTC-USD")["sequence"] != before, 5, why="prices have stopped")
        redis.ask("DEL", "stream:wanted")
        for product_id in simulator.products:
            run("streamer", "wanted", "add", product_id, "--redis-url", redis.url, folder=folder)
        recovers(rig, 10)


# -- ghosts -------------------------------------------------------------------------------------------------------


@lanes.test
def test_a_ghost_wakes_and_writes_nothing(folder: Path) -> None:
    """An owner frozen for 10 s while another took over writes nothing under its old epoch, ever."""
    with streaming(folder, rate=300) as rig, stream_from(rig.simulator, rig.redis, folder) as heir:
        redis, simulator, ghost = rig
        wait_until(lambda: '"event":"feed.live"' in heir.log, START_S)
        products = simulator.products
        began = time.monotonic()

        def epochs() -> set[int]:
            held = [redis.ticker(p) for p in products] + [redis.shadow(p) for p in products]
            return {int(one["epoch"]) for one in held}

        old = max(epochs())
        with ghost.frozen():
            wait_until(lambda: min(epochs()) > old, 8, why="nobody has taken over")
            assert time.monotonic() - began > 1
            wait_until(lambda: time.monotonic() - began > 10, 12)
        woken, seen = time.monotonic(), set[int]()
        while time.monotonic() - woken < 3:
            seen |= epochs()
        assert min(seen) > old
        assert ghost.code is None
        assert f":{heir.pid}:" in redis.ask("GET", "stream:lease:default")
        recovers(rig)
        heir.kill()
        wait_until(lambda: f":{ghost.pid}:" in (redis.ask("GET", "stream:lease:default") or ""), 5)
        recovers(rig)
