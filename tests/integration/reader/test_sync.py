"""The synchronous reader where it lives: in threads, beside a running loop, after a fork, under Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import StoreUnavailable
from streamer.gateway.gateway import Gateway
from streamer.model import ProductId, Tier
from streamer.reader.sync import Reader
from streamer.reader.wire import Lookup, SyncWire
from tests.integration.gateway.conftest import FakeRest
from tests.integration.reader.rig import BTC, ETH, KEYS, World, settings
from tests.support import PATIENCE, Process, RedisServer, wait_until


@pytest.fixture
def shared(redis: RedisServer) -> Any:
    """One reader for all."""
    with Reader(redis.url, rest=False, settings=settings(stale_after_s=60)) as made:
        yield made


def test_twenty_threads_share_a_reader(shared: Reader, world: World) -> None:
    """Each gets the answer to its own question, whatever the others ask meanwhile."""
    products = [ProductId(f"P{i}-USD") for i in range(20)]
    for i, product_id in enumerate(products):
        world.ticker(product_id, str(i + 1))
        world.balance(f"P{i}", str(i + 1))
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():  # what is read changes under their hands
            world.feed()

    def read(i: int) -> None:
        for _ in range(30):
            found = shared.ticker(products[i])
            assert (found.value.product_id, str(found.value.price)) == (products[i], str(i + 1))
            assert found.tier is Tier.REALTIME
            assert str(shared.balance(f"P{i}").value.total) == str(i + 1)
            assert len(shared.tickers(products)) == 20

    writing = threading.Thread(target=rewrite)
    writing.start()
    try:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(read, range(20)))
    finally:
        stop.set()
        writing.join()
    assert shared.damaged == 0


def test_currencies_that_come_and_go_harm_no_other_thread(shared: Reader, world: World, redis: RedisServer) -> None:
    """What one thread has just learned of, another has not asked for: it once called that gone."""
    for i in range(8):
        world.balance(f"C{i}", "1")
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            redis.ask("SREM", "portfolio_realtime", "C7")
            redis.ask("SADD", "portfolio_realtime", "C7")

    def read(_: int) -> None:
        for _ in range(60):
            found = shared.balances()
            assert not found.missing
            assert len(found) in (7, 8)

    changing = threading.Thread(target=come_and_go)
    changing.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read, range(8)))
    finally:
        stop.set()
        changing.join()


async def test_it_answers_inside_a_running_loop(shared: Reader, world: World) -> None:
    """Also what it needs a loop of its own for."""
    world.ticker()
    assert shared.ticker(BTC).tier is Tier.REALTIME
    watching = shared.watch([BTC])
    assert next(watching)[1].tier is Tier.REALTIME
    watching.close()  # type: ignore[attr-defined]


def test_watch_follows(shared: Reader, world: World) -> None:
    """The present first, then each change."""
    world.ticker()
    watching = shared.watch([BTC, ETH])
    assert str(next(watching)[1].value.price) == "100"
    world.push(BTC, "101")
    assert str(next(watching)[1].value.price) == "101"
    world.push(ETH, "7")
    assert next(watching)[0] == ETH
    watching.close()  # type: ignore[attr-defined]


def test_closing_the_reader_ends_a_watch_in_another_thread(redis: RedisServer, world: World) -> None:
    """It once waited for ever for a loop that had ended."""
    world.ticker()
    reader = Reader(redis.url, rest=False, settings=settings())
    began = threading.Event()

    def watch() -> None:
        for _ in reader.watch([BTC]):
            began.set()

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        assert began.wait(5 * PATIENCE)
        reader.close()
        with pytest.raises(CancelledError):
            watching.result(5 * PATIENCE)


FORK = """
import json, os, sys
from streamer import Reader

reader = Reader(sys.argv[1], rest=False)
parents = [str(reader.ticker("BTC-USD").tier)]
if sys.argv[2] == "busy":
    watching = reader.watch(["BTC-USD"])
    next(watching)
out, into = os.pipe()
child = os.fork()
if child == 0:
    said = [str(reader.ticker("BTC-USD").tier) for _ in range(20)]
    said.append(str(next(reader.watch(["BTC-USD"]))[1].tier))
    os.write(into, json.dumps(said).encode())
    reader.close()
    os._exit(0)
parents += [str(reader.ticker("BTC-USD").tier) for _ in range(20)]
_, status = os.waitpid(child, 0)
parents += [str(reader.ticker("BTC-USD").tier), str(next(reader.watch(["BTC-USD"]))[1].tier)]
print(json.dumps({"status": status, "parent": parents, "child": json.loads(os.read(out, 10000))}))
"""
MULTIPROCESSING = """
import json, multiprocessing, sys
from streamer import Reader

reader = Reader(sys.argv[1], rest=False)
first = str(reader.ticker("BTC-USD").tier)

def read(_):
    return str(reader.ticker("BTC-USD").tier)

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4) as pool:
        children = pool.map(read, range(40))
    print(json.dumps({"status": 0, "parent": [first, read(0)], "child": children}))
"""


@pytest.mark.parametrize(
    ("program", "mode"), [(FORK, "idle"), (FORK, "busy"), (MULTIPROCESSING, "pool")], ids=["fork", "busy", "pool"]
)
def test_a_reader_made_before_a_fork_serves_both(
    world: World, redis: RedisServer, tmp_path: Path, program: str, mode: str
) -> None:
    """Neither reads the other's replies, and the child has a loop of its own."""
    world.ticker()
    command = [sys.executable, "-c", program, redis.url, mode]
    env = {"HOME": str(tmp_path), "STREAMER_STALE_AFTER_S": "60"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == 0
    assert {*told["parent"], *told["child"]} == {"realtime"}


INTERRUPTED = """
import sys
from streamer import Reader

with Reader(sys.argv[1], rest=False) as reader:
    try:
        for _, reading in reader.watch(["BTC-USD"]):
            print(reading.tier, flush=True)
    except KeyboardInterrupt:
        print("interrupted", reader.ticker("BTC-USD").value.price, flush=True)
"""


def test_ctrl_c_ends_a_watch_and_not_the_reader(world: World, redis: RedisServer, tmp_path: Path) -> None:
    """KeyboardInterrupt comes out as it is, at once; it was once a RuntimeError of a generator still running."""
    world.ticker()
    command = [sys.executable, "-c", INTERRUPTED, redis.url]
    with Process(command, tmp_path, env={"STREAMER_STALE_AFTER_S": "60"}) as program:
        wait_until(lambda: "realtime" in program.output, 10)
        began = time.monotonic()
        program.signal(signal.SIGINT)
        assert program.wait(10) == 0, program.log
        assert time.monotonic() - began < 4 * PATIENCE
        assert program.output.splitlines()[-1] == "interrupted 100"
        assert "Traceback" not in program.log and "Exception" not in program.log


def test_many_answers_may_land_at_once(redis: RedisServer) -> None:
    """More than eight once found no connection: they were not kept, and their leases not given up."""
    with Reader(redis.url, settings=settings()) as reader:
        backstage = reader.behind()

        async def gateway() -> None:
            rest = FakeRest(delay_s=0.05)
            backstage._caller._gateway = Gateway(rest, backstage._store, KEYS, scope="coinbase")
            backstage._caller._looked_at = time.monotonic()

        backstage.run(gateway())
        products = [f"P{i}-USD" for i in range(25)]
        assert len(reader.snapshot(products, accounts=False).candles) == 25
        wait_until(lambda: len(redis.ask("KEYS", "historical:*:stale")) == 25, 2)
        wait_until(lambda: not redis.ask("KEYS", "gateway:*:flight:*"), 2, exactly=True)


def test_who_asks_a_reader_that_is_being_closed_is_told(redis: RedisServer) -> None:
    """What reached the loop after its last turn once was waited for without end."""
    reader = Reader(redis.url, rest=False, settings=settings())
    backstage = reader.behind()
    backstage._loop.call_soon_threadsafe(backstage._loop.stop)
    backstage._thread.join(5)
    with ThreadPoolExecutor(1) as pool, pytest.raises(CancelledError):
        pool.submit(backstage.run, asyncio.sleep(0)).result(10)
    backstage._loop.run_until_complete(backstage._close())
    backstage._loop.close()
    reader.close()


def test_a_redis_that_answers_bit_by_bit_is_not_waited_for() -> None:
    """Each piece comes in time, all of them would take many times as long as a command may."""

    def dribble() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            while (asked := client.recv(1 << 16)) and b"TIME" not in asked:
                client.sendall(b"+OK\r\n" * asked.count(b"*"))
            for _ in range(30):
                time.sleep(0.3)
                client.sendall(b"*0\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=dribble, daemon=True).start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2"
        wire, began = SyncWire(url), time.monotonic()
        with pytest.raises(StoreUnavailable):
            wire.ask(Lookup([("TIME",)] * 30))
        assert time.monotonic() - began < 2.5 * PATIENCE
        wire.close()
