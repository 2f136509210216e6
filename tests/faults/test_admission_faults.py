"""Processes that die while they hold something that others need, and what the upstream then sees.

Real processes, killed without warning; the others go on within the time that the rules state.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from bisect import insort
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from streamer.errors import CircuitOpen
from streamer.gateway.admission import Admission
from streamer.gateway.decision import GRACE_MS, Grant
from streamer.gateway.limits import LEASE_MS, Outcome, Window
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.store.connect import Store
from streamer.store.keys import Keys
from tests.support import Lanes, Process, RedisServer, until

pytestmark = pytest.mark.faults

lanes = Lanes()

M = Budget.MARKET
SLACK_S = 0.7
TRADING, BACKGROUND = Call(Priority.TRADING), Call(Priority.BACKGROUND)
LINE, STATE = "gateway:coinbase:line:market", "gateway:coinbase:state"
PROCESSES = "gateway:coinbase:processes"

TAKER = """
import asyncio, sys
from streamer.gateway.admission import Admission
from streamer.gateway.limits import Window
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.store.connect import Store
from streamer.store.keys import Keys

async def main(url, limit, length_s, calls):
    windows = {Budget.MARKET: (Window(int(limit), float(length_s)),)}
    admission = Admission(Store(url), Keys(), windows)
    for _ in range(int(calls)):
        await admission.admit(Budget.MARKET, Call(Priority.TRADING))
        print("granted", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""

CALLER = """
import asyncio, struct, sys, time
from streamer.errors import CallNotMade
from streamer.gateway.admission import Admission
from streamer.gateway.gate import CallGate
from streamer.gateway.limits import Window
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.store.connect import Store
from streamer.store.keys import Keys

async def main(url, limit, length_s, port):
    windows = {Budget.MARKET: (Window(int(limit), float(length_s)),)}
    gate = CallGate(Admission(Store(url), Keys(), windows))

    async def send():
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(struct.pack("d", time.monotonic()))
        await reader.read()
        writer.close()

    async def bot(number):
        while True:
            try:
                await gate.run(Budget.MARKET, "x", Call(Priority(number % 4)), send)
            except CallNotMade:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(bot(number) for number in range(6)))

asyncio.run(main(*sys.argv[1:]))
"""


def child(program: str, folder: Path, *arguments: object) -> Process:
    """Prepare a process that runs one of the programs."""
    return Process([sys.executable, "-c", program, *map(str, arguments)], folder, name="child")


@asynccontextmanager
async def admission(url: str, *windows: Window) -> AsyncIterator[Admission]:
    """A process of the fleet that lives: this one."""
    store = Store(url)
    made = Admission(store, Keys(), {M: windows})
    try:
        yield made
    finally:
        await made.close()
        await store.close()


def grown(redis: RedisServer) -> None:
    """Let the budget's knowledge be old: a new one begins at half."""
    redis.ask("ZADD", "gateway:coinbase:log:market", -1, "born")


@lanes.test
def test_the_head_of_the_line_dies(folder: Path) -> None:
    """A process killed as the first in line holds the others up for a second after its turn, not longer."""

    async def play(redis: RedisServer) -> None:
        grown(redis)
        async with admission(redis.url, Window(1, 1.5)) as one:
            held = await one.admit(M)
            with child(TAKER, folder, redis.url, 1, 1.5, 1) as head:
                await until(lambda: redis.ask("HLEN", LINE) == 1, 10)
                behind = asyncio.create_task(one.admit(M, BACKGROUND))
                await until(lambda: redis.ask("HLEN", LINE) == 2, 5)
                head.kill()
                began = time.monotonic()
                await one.settle(held, Outcome.OK)
                await behind
                took_s = time.monotonic() - began
        assert 1.5 + GRACE_MS / 1000 - 0.1 < took_s < 1.5 + GRACE_MS / 1000 + SLACK_S

    with RedisServer(folder) as redis:
        asyncio.run(play(redis))


@lanes.test
def test_the_probe_dies(folder: Path) -> None:
    """Killed with the half-open probe in hand: another probe may go when its lease has run out, and no sooner."""

    async def play(redis: RedisServer) -> None:
        async with admission(redis.url, Window(100, 1.0)) as one:
            for _ in range(5):
                await one.settle(await one.admit(M, TRADING), Outcome.FAILED)
            redis.ask("HSET", STATE, "until", 1)
            with child(TAKER, folder, redis.url, 100, 1, 1) as prober:
                await until(lambda: "granted" in prober.output, 10)
                prober.kill()
            began, probe = time.monotonic(), None
            while probe is None:
                try:
                    probe = await one.admit(M, TRADING)
                except CircuitOpen as exc:
                    await asyncio.sleep(exc.retry_after_s or 0.01)
                assert time.monotonic() - began < LEASE_MS / 1000 + SLACK_S
            assert time.monotonic() - began > LEASE_MS / 1000 - 1
            await one.settle(probe, Outcome.OK)
            assert isinstance(await one.admit(M, TRADING), Grant)

    with RedisServer(folder) as redis:
        asyncio.run(play(redis))


@lanes.test
def test_calls_in_flight_die(folder: Path) -> None:
    """Killed with all places taken: they come back when no call can arrive any more and the window is over."""

    async def play(redis: RedisServer) -> None:
        grown(redis)
        async with admission(redis.url, Window(3, 1.0)) as one:
            with child(TAKER, folder, redis.url, 3, 1, 3) as taker:
                await until(lambda: taker.output.count("granted") == 3, 10)
                taker.kill()
            began = time.monotonic()
            for _ in range(3):
                await one.admit(M, TRADING)
            took_s = time.monotonic() - began
            assert LEASE_MS / 1000 < took_s < LEASE_MS / 1000 + 1 + SLACK_S

    with RedisServer(folder) as redis:
        asyncio.run(play(redis))


@asynccontextmanager
async def upstream(times: list[float]) -> AsyncIterator[int]:
    """A service that notes when each call was sent, and takes its time; yields its port.

    By the caller's word, on the one clock of the machine: a machine that is short of time hands over in one moment
    what has arrived in many.
    """

    visitors: set[asyncio.StreamWriter] = set()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.add(writer)
        try:
            (sent,) = struct.unpack("d", await reader.readexactly(8))
            insort(times, sent)
            await asyncio.sleep(0.03 * (len(times) % 5))
        except asyncio.IncompleteReadError:
            pass
        finally:
            visitors.discard(writer)
            writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await until(lambda: not visitors, 2)


def most_within(times: list[float], length_s: float) -> int:
    """Return how many calls the fullest window has seen."""
    return max(sum(at <= other <= at + length_s for other in times) for at in times)


LIMIT = 12


@lanes.test
def test_the_upstream_counts(folder: Path) -> None:
    """Four processes with six callers each, one of them killed: no second of the upstream's own sees too many."""
    times: list[float] = []

    async def play(redis: RedisServer) -> None:
        async with upstream(times) as port:
            callers = [child(CALLER, folder, redis.url, LIMIT, 1, port) for _ in range(4)]
            with callers[0] as victim, callers[1], callers[2], callers[3]:
                await until(lambda: len(times) > 3 * LIMIT, 30)
                victim.kill()
                before = len(times)
                await until(lambda: len(times) > before + 5 * LIMIT, 30)
                assert [caller.code for caller in callers[1:]] == [None] * 3, callers[1].log

    with RedisServer(folder) as redis:
        asyncio.run(play(redis))
    assert most_within(times, 1.0) <= LIMIT
    assert (times[-1] - times[0]) / len(times) < 2.5 / LIMIT  # and not far fewer either


@pytest.mark.parametrize("case", ["killed", "frozen"])
@lanes.test
def test_redis_goes_and_comes_back(folder: Path, case: str) -> None:
    """Gone and back under load, empty or late, calls soon go on, and no second sees half as many too many."""
    times: list[float] = []

    async def play(redis: RedisServer) -> None:
        async with upstream(times) as port:
            callers = [child(CALLER, folder, redis.url, LIMIT, 1, port) for _ in range(4)]
            with callers[0], callers[1], callers[2], callers[3]:
                await until(lambda: redis.ask("ZCARD", PROCESSES) == 4, 30)
                known = len(times)  # from now on all hear within a second how many they are
                await until(lambda: len(times) > known + 4 * LIMIT, 30)
                redis.kill() if case == "killed" else redis.freeze()
                before = len(times)
                await until(lambda: len(times) > before + 4 * LIMIT, 30)
                if case == "killed":
                    await asyncio.to_thread(redis.start)
                else:
                    redis.thaw()
                before = len(times)
                await until(lambda: len(times) > before + 5 * LIMIT, 30)
                assert [caller.code for caller in callers] == [None] * 4, callers[0].log

    with RedisServer(folder) as redis:
        asyncio.run(play(redis))
    assert most_within(times, 1.0) <= 1.5 * LIMIT
    gaps = [late - early for early, late in pairwise(times)]
    assert max(gaps) < 2 * 1.1 + SLACK_S
