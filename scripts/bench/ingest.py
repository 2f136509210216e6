"""Frame to Redis: how fast, how fresh, how big. Prints the figures of the README, and the machine they are from.

Every figure is a ratio of two things measured in this run, or a bound: absolute speeds differ from machine to
machine. The exchange is `blaster.py` in a process of its own, the ingester is `start-stream` as a user runs it,
Redis is a redis-server of its own. Baseline and ingester take turns, so that a noisy neighbour hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil
import redis.asyncio as redis_asyncio
from naive import naive_rate
from rich.console import Console
from rich.table import Table

from streamer.coinbase.messages import Decoder, subscribe
from streamer.coinbase.transport import choose
from streamer.model import parse_product_id
from streamer.store.embedded import EmbeddedRedis

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PRODUCTS = [parse_product_id(f"P{number}-USD") for number in range(100)]
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


@asynccontextmanager
async def blaster(rate: float = 0) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "blaster.py"), "--rate", str(rate), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"ws://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def ingester(ws_url: str, redis_url: str, transport: str) -> AsyncIterator[psutil.Process]:
    process = await asyncio.create_subprocess_exec(
        *(str(BIN / "start-stream"), *PRODUCTS, "--ws-url", ws_url, "--redis-url", redis_url),
        *("--channels", "ticker", "--transport", transport, "--no-api", "--log-level", "error"),
        stdout=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def baseline(ws_url: str, transport: str, seconds: float) -> float:
    """Messages a second in a process that only receives and decodes."""
    command = [sys.executable, __file__, "--role", "baseline", ws_url, transport, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    return float(out)


async def run_baseline(ws_url: str, transport: str, seconds: float) -> None:
    decoder, count = Decoder(), 0

    def on_message(payload: bytes) -> None:
        nonlocal count
        message = decoder.decode(payload)
        if message.channel == "ticker":
            decoder.tickers(message)
            count += 1

    connection = await choose(transport)(ws_url, on_message, tls=None)
    await connection.send(subscribe("heartbeats"))
    await connection.send(subscribe("ticker", PRODUCTS))
    await asyncio.sleep(1)
    before, started = count, time.perf_counter()
    await asyncio.sleep(seconds)
    print((count - before) / (time.perf_counter() - started))
    connection.abort()


async def frames(client: redis_asyncio.Redis) -> tuple[int, int]:
    """Frames received so far and the time of that count, as the ingester reports them."""
    while True:
        raw = await client.get("stream:status")
        if raw is not None:
            status = json.loads(raw)
            return status["frames"]["received"], status["written_ms"]
        await asyncio.sleep(0.05)


async def ingest_rate(client: redis_asyncio.Redis, seconds: float) -> float:
    first, at = await frames(client)
    await asyncio.sleep(seconds)
    last, now = await frames(client)
    return (last - first) / ((now - at) / 1000)


def seconds_of(stamp: str) -> float:
    return datetime.fromisoformat(stamp[:26] + "+00:00").timestamp()


async def worst_lag(client: redis_asyncio.Redis, seconds: float) -> list[float]:
    """How old the newest value of the worst product is in Redis, looked at 20 times a second."""
    lags = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pipeline = client.pipeline(transaction=False)
        for product in PRODUCTS:
            pipeline.hget(f"ticker_realtime:{product}", "time")
        now = time.time()  # before the answer: what was written meanwhile only makes it look better
        stamps = await pipeline.execute()
        lags.append(max(now - seconds_of(stamp.decode()) for stamp in stamps if stamp))
        await asyncio.sleep(0.05)
    return lags


async def pushed_latency(client: redis_asyncio.Redis, seconds: float) -> list[float]:
    """From the exchange's stamp to the notification, which Redis sends after the value is readable."""
    latencies = []
    async with client.pubsub() as updates:
        await updates.subscribe("stream:updates:ticker")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            message = await updates.get_message(ignore_subscribe_messages=True, timeout=0.5)
            now = time.time()
            for record in msgspec.msgpack.decode(message["data"]) if message else []:
                latencies.append(now - seconds_of(record["time"]))
    return latencies


async def throughput(url: str, client: redis_asyncio.Redis, transport: str, rounds: int, table: Table) -> float:
    decoded, stored, lags = [], [], []
    async with blaster() as ws_url:
        for _ in range(rounds):
            decoded.append(await baseline(ws_url, transport, 3))
            await client.flushall()
            async with ingester(ws_url, url, transport):
                await frames(client)
                await asyncio.sleep(2)
                stored.append(await ingest_rate(client, 4))
                lags += await worst_lag(client, 2)
    ratio = statistics.median(stored) / statistics.median(decoded)
    table.add_row(f"{transport}: receive + decode only", spread(decoded, "{:,.0f} msg/s"), "")
    table.add_row(f"{transport}: frame to Redis", spread(stored, "{:,.0f} msg/s"), f"{ratio:.2f} of it (goal 0.8)")
    worst = f"worst product behind, n={len(lags)}"
    table.add_row(f"{transport}: {worst}", spread([lag * 1000 for lag in lags], "{:.0f} ms"), "goal max 100 ms")
    return statistics.median(stored)


async def latency(url: str, client: redis_asyncio.Redis, transport: str, table: Table) -> None:
    async with blaster(1000) as ws_url:
        await client.flushall()
        async with ingester(ws_url, url, transport):
            await frames(client)
            await asyncio.sleep(2)
            values = [value * 1000 for value in await pushed_latency(client, 5)]
    p99 = statistics.quantiles(values, n=100)[98]
    text = f"median {statistics.median(values):.2f} ms, p99 {p99:.2f} ms, n={len(values)}"
    table.add_row(f"{transport}: sent to readable at 1,000 msg/s", text, "goal median < 1 ms")


async def memory(url: str, client: redis_asyncio.Redis, transport: str, minutes: float, table: Table) -> None:
    sizes = []
    async with blaster() as ws_url, ingester(ws_url, url, transport) as process:
        await frames(client)
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            sizes.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(min(2.0, minutes * 6))
    half = sizes[len(sizes) // 10 :]
    growth = statistics.fmean(half[-5:]) - statistics.fmean(half[:5])
    text = f"{half[0]:.1f} MB, then {growth:+.1f} MB in {minutes:g} min, max {max(sizes):.1f} MB"
    table.add_row(f"{transport}: memory at saturation", text, "goal flat, < 100 MB")


def started(command: list[str], environment: dict[str, str]) -> float:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=False)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def probe(url: str, table: Table) -> None:
    environment = os.environ | {"REDIS_URL": url}
    nothing = started([sys.executable, "-c", "pass"], environment)
    status = started([str(BIN / "stream-status")], environment)
    redis_py = started([sys.executable, "-c", "import redis"], environment)
    table.add_row("python -c pass · import redis", f"{nothing:.1f} ms · {redis_py:.1f} ms", "")
    table.add_row("stream-status", f"{status:.1f} ms", f"{status / nothing:.1f} times python (goal 6)")


def spread(values: list[float], form: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def machine(server: str) -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    names = ("websockets", "picows", "uvloop", "msgspec", "redis", "hiredis")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, redis-server {server}, {packages}"


async def main(arguments: argparse.Namespace) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "measured", "against"):
        table.add_column(name)
    folder = tempfile.mkdtemp(prefix="bench-")
    try:
        async with EmbeddedRedis(folder) as server:
            client = redis_asyncio.Redis.from_url(server.url)
            console.print(f"{machine(server.version)}\n100 products, {arguments.rounds} rounds")
            for transport in arguments.transports:
                console.print(f"measuring {transport} ...", style="dim")
                full = await throughput(server.url, client, transport, arguments.rounds, table)
                await latency(server.url, client, transport, table)
                await memory(server.url, client, transport, arguments.minutes, table)
            async with blaster() as ws_url:
                naive = await naive_rate(ws_url, server.url, PRODUCTS, 4)
            table.add_row("hand-written loop, hset + expire twice", f"{naive:,.0f} msg/s", "")
            table.add_row(f"{transport}: times that loop", f"{full / naive:.0f} times", "goal 50")
            probe(server.url, table)
            await client.aclose()
    finally:
        shutil.rmtree(folder)
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of baseline and ingester (default 3)")
    parser.add_argument(
        "--minutes", type=float, default=1, help="minutes of the memory run (default 1, the claim: 10)"
    )
    parser.add_argument("--transports", nargs="+", default=["websockets", "picows"])
    parser.add_argument("--role", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        try:
            import uvloop

            run = uvloop.run
        except ImportError:
            run = asyncio.run
        run(run_baseline(given.role[1], given.role[2], float(given.role[3])))
    else:
        asyncio.run(main(given))
