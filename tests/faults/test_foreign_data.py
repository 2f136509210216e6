"""What others do to our keys: it costs at most a moment, never the stream.

The tests run side by side, each with processes of its own; they mostly wait.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Lanes, RedisServer, Simulator, is_healthy, stream_from, wait_until

lanes = Lanes()
pytestmark = pytest.mark.faults

START_S = 20.0
BACK_S = 15.0


@contextmanager
def streaming(folder: Path) -> Iterator[RedisServer]:
    """The Redis of a healthy stream of two products."""
    with (
        RedisServer(folder) as redis,
        Simulator(folder, products=2, rate=20) as simulator,
        stream_from(simulator, redis, folder, *simulator.products) as stream,
    ):
        wait_until(lambda: is_healthy(redis.url), START_S, why="the stream does not become healthy")
        yield redis
        assert stream.code is None, stream.log


def grows(redis: RedisServer, product_id: str = "BTC-USD") -> bool:
    """Whether fresh values arrive: the exchange's time moves on within a second."""
    before = redis.ticker(product_id).get("time", "")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        if redis.ticker(product_id).get("time", "") > before:
            return True
    return False


@lanes.test
def test_a_flushed_redis_is_filled_again(folder: Path) -> None:
    """FLUSHALL loses the wanted set too, while the server and its run id stay the same."""
    with streaming(folder) as redis:
        redis.ask("FLUSHALL")
        wait_until(lambda: is_healthy(redis.url) and grows(redis), BACK_S, why="the stream does not come back")
        assert sorted(redis.hash("stream:wanted")) == ["BTC-USD", "ETH-USD"]


@lanes.test
def test_after_a_flush_what_reads_asked_for_may_leave_again(folder: Path) -> None:
    """It is asked for again, but on behalf of whoever asked: it once was pinned for ever."""
    with streaming(folder) as redis:
        want = {"by": "reader", "pinned": False, "asked_ms": 1, "read_ms": int(time.time() * 1000)}
        redis.ask("HSET", "stream:wanted", "ETH-USD", json.dumps(want))
        time.sleep(2.5)
        redis.ask("FLUSHALL")
        wait_until(lambda: len(redis.hash("stream:wanted")) == 2, BACK_S)
        wants = {name: json.loads(raw) for name, raw in redis.hash("stream:wanted").items()}
        assert (wants["ETH-USD"]["by"], wants["ETH-USD"]["pinned"]) == ("reader", False)
        assert wants["BTC-USD"]["pinned"] is True


@lanes.test
def test_an_implausible_epoch_does_not_fence_us_out(folder: Path) -> None:
    """Whoever wrote it: what no clock can have shown is no epoch, and above any other we can go."""
    with streaming(folder) as redis:
        for epoch in ("9999999999999999", "inf", "-1", "x", "99999999999999"):
            redis.ask("HSET", "ticker_realtime:BTC-USD", "epoch", epoch)
            redis.ask("HSET", "ticker_realtime:BTC-USD:stale", "epoch", epoch)
            wait_until(lambda: grows(redis) and is_healthy(redis.url), BACK_S, why=f"not written since {epoch}")


@lanes.test
def test_an_implausible_epoch_in_the_reports_does_not_silence_us(folder: Path) -> None:
    """The report script has a fence of its own."""
    with streaming(folder) as redis:
        redis.ask("HSET", "stream:feeds", "default.market-0", '{"epoch":99999999999998}')
        entry = "default.market-0"
        wait_until(lambda: "alive_ms" in redis.hash("stream:feeds")[entry], BACK_S, why="no reports any more")
        wait_until(lambda: is_healthy(redis.url) and grows(redis), BACK_S, why="the stream does not come back")


@lanes.test
def test_a_damaged_epoch_counter_is_replaced(folder: Path) -> None:
    """It ended the process, and every one after it."""
    with streaming(folder) as redis:
        for counter in ("inf", "1e300", "x", "-5"):
            redis.ask("SET", "stream:epoch:default", counter)
            redis.ask("DEL", "stream:lease:default")
            wait_until(lambda: redis.ask("GET", "stream:epoch:default").isdigit(), BACK_S, why=f"still {counter}")
            wait_until(lambda: is_healthy(redis.url) and grows(redis), BACK_S, why=f"not back since {counter}")


@lanes.test
def test_a_wanted_set_of_another_type_is_replaced(folder: Path) -> None:
    """While running, what is streamed goes on and is noted again."""
    with streaming(folder) as redis:
        redis.ask("DEL", "stream:wanted")
        redis.ask("SET", "stream:wanted", "foreign")
        wait_until(lambda: redis.ask("TYPE", "stream:wanted") == "hash", BACK_S, why="it is still foreign")
        wait_until(lambda: is_healthy(redis.url) and grows(redis), BACK_S, why="the stream does not come back")


@lanes.test
def test_a_wanted_set_of_another_type_at_the_start_is_replaced(folder: Path) -> None:
    """Nothing would ever be reported."""
    with RedisServer(folder) as redis, Simulator(folder, products=2, rate=20) as simulator:
        redis.ask("SET", "stream:wanted", "foreign")
        with stream_from(simulator, redis, folder, *simulator.products):
            wait_until(lambda: is_healthy(redis.url), START_S, why="the stream does not become healthy")
