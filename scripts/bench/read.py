"""What a read costs: against bare redis-py on the same server, and a fleet's snapshot against reading one by one.

A simulated exchange, a redis-server and start-stream run as processes; 25 products are streamed. Every figure is a
ratio of two things measured in turns in this run: absolute times differ from machine to machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import redis
import redis.asyncio as redis_asyncio
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from coinbase.rest import RESTClient
from rig import Rig, RigError, rig, run_to_end, until

from streamer.model import Tier
from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader

PRODUCTS = tuple(
    f"{base}-USD"
    for base in ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH", "JJJ", "KKK", "LLL", "MMM", "NNN"]
)
PRODUCTS += tuple(
    f"{base}-USD" for base in ["OOO", "PPP", "QQQ", "RRR", "SSS", "TTT", "UUU", "VVV", "WWW", "XXX", "YYY", "ZZZ"]
)
ONE = PRODUCTS[0]
ROUNDS = 12
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def timed(work: Callable[[], object], times: int) -> float:
    """Return the seconds one call takes, the mean of `times`."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


async def timed_async(work: Callable[[], Awaitable[object]], times: int) -> float:
    """As `timed`, for coroutines."""
    began = time.perf_counter()
    for _ in range(times):
        await work()
    return (time.perf_counter() - began) / times


class Turns:
    """Two measures that take turns, so that a noisy neighbour meets both."""

    def __init__(self) -> None:
        self.bare: list[float] = []
        self.ours: list[float] = []

    def row(self, table: Table, what: str, against: str, goal: str) -> None:
        """Add the outcome: the median of the ratios of each turn."""
        ratios = [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)]
        bare, ours = statistics.median(self.bare), statistics.median(self.ours)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)}"
        figure = f"{statistics.median(ratios):.2f} times ({spread})"
        table.add_row(what, f"{ours * 1e6:,.0f} µs", f"{against}: {bare * 1e6:,.0f} µs", figure, goal)


def measure_sync(url: str, table: Table) -> None:
    """One ticker and 25, on the synchronous client."""
    bare, reader = redis.Redis.from_url(url), Reader(url, rest=False)

    def pipeline() -> object:
        pipe = bare.pipeline(transaction=False)
        for product_id in PRODUCTS:
            pipe.hgetall(f"ticker_realtime:{product_id}")
        return pipe.execute()

    one, many = Turns(), Turns()
    for _ in range(ROUNDS):
        one.bare.append(timed(lambda: bare.hgetall(f"ticker_realtime:{ONE}"), 400))
        one.ours.append(timed(lambda: reader.ticker(ONE), 400))
        many.bare.append(timed(pipeline, 60))
        many.ours.append(timed(lambda: reader.tickers(PRODUCTS), 60))
    one.row(table, "Reader.ticker", "hgetall", "≤ 1.3")
    many.row(table, "Reader.tickers, 25", "pipeline of 25 hgetall", "≤ 1.3")
    reader.close()
    bare.close()


async def measure_async(url: str, table: Table) -> None:
    """The same on asyncio, and reads from a mirror."""
    bare, reader = redis_asyncio.Redis.from_url(url), AsyncReader(url, rest=False)
    mirrored = AsyncReader(url, rest=False, mirror=PRODUCTS)

    async def pipeline() -> object:
        pipe = bare.pipeline(transaction=False)
        for product_id in PRODUCTS:
            pipe.hgetall(f"ticker_realtime:{product_id}")
        return await pipe.execute()

    one, many = Turns(), Turns()
    for _ in range(ROUNDS):
        one.bare.append(await timed_async(lambda: bare.hgetall(f"ticker_realtime:{ONE}"), 400))
        one.ours.append(await timed_async(lambda: reader.ticker(ONE), 400))
        many.bare.append(await timed_async(pipeline, 60))
        many.ours.append(await timed_async(lambda: reader.tickers(PRODUCTS), 60))
    one.row(table, "AsyncReader.ticker", "hgetall", "≤ 1.3")
    many.row(table, "AsyncReader.tickers, 25", "pipeline of 25 hgetall", "≤ 1.3")
    await mirrored.ticker(ONE)
    await asyncio.sleep(1.5)  # until it has what Redis has
    times = []
    for _ in range(ROUNDS):
        times.append(await timed_async(lambda: mirrored.ticker(ONE), 1000))
        await asyncio.sleep(0.05)  # it listens on this loop
    spread = f"{min(times) * 1e6:.1f} to {max(times) * 1e6:.1f}"
    table.add_row("mirror, one ticker", f"{statistics.median(times) * 1e6:.1f} µs", "", spread, "≤ 5 µs")
    await mirrored.close()
    await reader.close()
    await bare.aclose()


async def measure_snapshot(url: str, table: Table) -> None:
    """25 tickers, 25 x 100 candles and the accounts: at once, one by one, and over REST one by one."""
    async with AsyncReader(url, rest=False) as reader:

        async def one_by_one() -> None:
            for product_id in PRODUCTS:
                await reader.ticker(product_id)
                await reader.candles(product_id)
            await reader.accounts()

        first = await reader.snapshot(PRODUCTS)
        whole = all(len(found.value) >= 99 for found in first.candles.values()) and not first.candles.missing
        turns, raw = Turns(), []
        for _ in range(ROUNDS):
            turns.bare.append(await timed_async(one_by_one, 1))
            turns.ours.append(await timed_async(lambda: reader.snapshot(PRODUCTS), 3))
            raw += turns.ours[-1:]
        turns.row(table, f"snapshot{'' if whole else ' (candles missing)'}", "one by one, from Redis", "")
        worst = f"at most {max(raw) * 1e3:.1f} ms"
        table.add_row("snapshot", f"{statistics.median(raw) * 1e3:.1f} ms", "", worst, "< 20 ms")


async def measure_rest(running: Rig, table: Table) -> None:
    """The same data as a bot gets it today: the SDK, one call after another, on this machine."""
    client = RESTClient(key_file=running.key_file, base_url=running.rest_url.removeprefix("https://"))
    client.session.trust_env = False
    client.session.verify = running.ca_file
    now = int(time.time())

    def sequential() -> float:
        took = timed(lambda: client.get_accounts(limit=250), 1)
        for product_id in PRODUCTS:
            time.sleep(0.08)  # 30 calls a second are allowed; the pause is not counted
            took += timed(lambda p=product_id: client.get_product(p), 1)
            took += timed(
                lambda p=product_id: client.get_candles(p, str(now - 99 * 300), str(now), "FIVE_MINUTE"), 1
            )
        return took

    took = await asyncio.to_thread(sequential)
    async with AsyncReader(running.redis_url, rest=False) as reader:
        first = await timed_async(lambda: reader.snapshot(PRODUCTS), 1)  # what is closed is read once
        ours = await timed_async(lambda: reader.snapshot(PRODUCTS), 5)
    figure = f"{took / ours:,.0f} times faster, {took / first:,.0f} the first time"
    table.add_row("snapshot", f"{ours * 1e3:.1f} ms", f"REST one by one: {took * 1e3:,.0f} ms", figure, "≥ 20")


async def main(arguments: argparse.Namespace) -> int:
    """Run all of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "takes", "against", "ratio", "goal"):
        table.add_column(name, overflow="fold")
    try:
        async with rig(products=PRODUCTS, market=PRODUCTS, seed=1) as running:
            async with AsyncReader(running.redis_url, rest=False) as reader:

                async def is_there() -> bool:
                    found = await reader.tickers(PRODUCTS)
                    return len(found) == len(PRODUCTS) and all(r.tier is Tier.REALTIME for r in found.values())

                await until(is_there, 40, "prices of all products")
                if not arguments.quick:
                    await until(lambda: has_candles(reader), 240, "candles of all products (10 calls a minute)")
            console.print("measuring ...", style="dim")
            await asyncio.to_thread(measure_sync, running.redis_url, table)
            await measure_async(running.redis_url, table)
            await measure_snapshot(running.redis_url, table)
            await measure_rest(running, table)
            console.print(machine(running.redis_version))
    except RigError as exc:
        console.print(str(exc), style="red")
        return 1
    console.print(table)
    return 0


async def has_candles(reader: AsyncReader) -> bool:
    """Whether a hundred candles of every product are there."""
    found = await reader.snapshot(PRODUCTS, accounts=False)
    return all(len(one.value) >= 99 and one.tier is Tier.REALTIME for one in found.candles.values())


def machine(server: str) -> str:
    """Say what this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    packages = ", ".join(f"{name} {version(name)}" for name in ("redis", "hiredis", "msgspec"))
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return (
        f"{os.cpu_count()} x {model}, Python {platform.python_version()}, redis-server {server}, {packages}; {load}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="do not wait for the past of all candles")
    sys.exit(run_to_end(main(parser.parse_args())))
