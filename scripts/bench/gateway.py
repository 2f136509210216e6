"""The one REST caller under a crowd and under a flood, judged by what the exchange has seen.

Crowd: 8 processes x 125 callers want the same thing, which nobody has. Flood: 8 processes want 1,000 different
things; a tenth of them are asked for later and for trading. Calls and their times are those that the simulated
exchange has counted, not ours. All processes are on this machine, so their clocks are one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from rig import Control, RigError, run_to_end

from streamer.errors import StreamerError
from streamer.model import Priority
from streamer.reader.reader import AsyncReader
from streamer.store.embedded import EmbeddedRedis

PROCESSES, CALLERS, KEYS = 8, 125, 1000
BUDGET_PER_S = 50
LATER_S = 1.0
PRODUCTS = tuple(f"{base}-USD" for base in ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "LTC"))
Served = tuple[str, float, float, str]
"""Priority, when it was asked and served, and why it was not, else ""."""
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


# -- a process of the fleet ---------------------------------------------------------------------------------------


async def worker(kind: str, number: int) -> None:
    """Wait for the word, ask, and print when each caller was served."""
    async with AsyncReader(caller=f"bench-{number}") as reader:
        await reader.explain("BTC-USD")  # connected
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if kind == "crowd":
            served = await asyncio.gather(
                *(one(reader, "BTC-USD", 77, Priority.MARKET_DATA) for _ in range(CALLERS))
            )
        else:
            served = await asyncio.gather(*(later(reader, key) for key in range(number, KEYS, PROCESSES)))
        print(json.dumps(served), flush=True)


async def later(reader: AsyncReader, key: int) -> Served:
    """Ask for one of many things; every tenth of a process later, and for trading."""
    is_trade = key // PROCESSES % 10 == 9
    await asyncio.sleep(LATER_S if is_trade else 0)
    priority = Priority.TRADING if is_trade else Priority.BACKGROUND
    return await one(reader, PRODUCTS[key % len(PRODUCTS)], 100 + key // len(PRODUCTS), priority)


async def one(reader: AsyncReader, product_id: str, limit: int, priority: Priority) -> Served:
    """Ask for candles; return priority, when it was asked and served, and whether it was."""
    asked_at = time.monotonic()
    try:
        await reader.candles(product_id, "ONE_MINUTE", limit, priority=priority, timeout_s=120)
    except StreamerError as exc:
        return priority.name, asked_at, time.monotonic(), str(exc)
    return priority.name, asked_at, time.monotonic(), ""


# -- what runs it -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[Control, dict[str, str]]]:
    """Run a simulated exchange and a redis-server; yield the control port and the fleet's environment."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis(folder / "redis"))
        simulator = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamer.simulator", "--products", ",".join(PRODUCTS), "--public-rate", "0"),
            *("--rest-history", "5000", "--rest-port", "0", "--die-with-parent"),
            cwd=folder,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        stack.push_async_callback(end, simulator)
        assert simulator.stdout is not None
        where = json.loads(await asyncio.wait_for(simulator.stdout.readline(), 20))
        reader, writer = await asyncio.open_connection("127.0.0.1", where["control_port"], limit=64 << 20)
        control = Control(reader, writer)
        stack.callback(control.close)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "REDIS_URL": redis.url,
            "STREAMER_REST_URL": where["rest_url"],
            "STREAMER_MARKET_CALLS_PER_MINUTE": "100000",
            "STREAMER_PUBLIC_CALLS_PER_S": str(BUDGET_PER_S),
        }
        yield control, environment


async def end(process: Process) -> None:
    """End a child."""
    if process.returncode is None:
        process.kill()
        await process.wait()


async def fleet(kind: str, folder: Path, environment: dict[str, str]) -> list[Served]:
    """Run the processes; return what their callers have seen."""
    processes = []
    for number in range(PROCESSES):
        processes.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, str(Path(__file__).resolve()), "--worker", kind, "--number", str(number)),
                cwd=folder,
                env=environment,
                stdin=PIPE,
                stdout=PIPE,
                limit=64 << 20,
            )
        )
    try:
        for process in processes:
            assert process.stdout is not None
            if await asyncio.wait_for(process.stdout.readline(), 60) != b"ready\n":
                raise RigError("a process of the fleet does not come up")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        lines = await asyncio.gather(*(p.stdout.readline() for p in processes if p.stdout is not None))
        return [tuple(entry) for line in lines for entry in json.loads(line)]
    finally:
        for process in processes:
            await end(process)


async def seen(control: Control, since: float) -> list[float]:
    """Return when candles were asked for, as the exchange has counted it."""
    recent = (await control.must({"query": "rest"}))["recent"]
    return sorted(float(r["at_s"]) for r in recent if "candles" in r["route"] and float(r["at_s"]) >= since)


def most_in(times: Sequence[float], window_s: float) -> int:
    """Return the most calls in any window of that length."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def show_crowd(table: Table, served: list[Served], calls: int) -> None:
    """Say what the crowd has cost."""
    done = sorted(at for _, _, at, error in served if not error)
    lost = len(served) - len(done)
    table.add_row(f"{PROCESSES} x {CALLERS} callers, one cold key", f"{calls} calls upstream, {lost} lost", "1, 0")
    table.add_row("last served after the first", f"{(done[-1] - done[0]) * 1e3:.0f} ms", "≤ 100 ms")


def show_flood(table: Table, served: list[Served], times: Sequence[float]) -> None:
    """Say how the flood went through."""
    lost = Counter(error for *_, error in served if error)
    waits = {
        name: [at - asked_at for kind, asked_at, at, error in served if kind == name and not error]
        for name in ("TRADING", "BACKGROUND")
    }
    rate = len(times) / (times[-1] - times[0])
    table.add_row(
        f"{KEYS} cold keys, {BUDGET_PER_S} calls a second", f"{len(times)} calls, {lost} lost", f"{KEYS}, 0"
    )
    table.add_row("most calls in any second", str(most_in(times, 1.0)), f"≤ {BUDGET_PER_S}")
    table.add_row("calls a second, mean", f"{rate:.1f}", "")
    for name, found in waits.items():
        figure = f"median {statistics.median(found):.2f} s, at most {max(found):.2f} s (n={len(found)})"
        table.add_row(f"wait for {name}", figure, "trading overtakes" if name == "TRADING" else "")


async def main() -> int:
    """Run both."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "measured", "goal"):
        table.add_column(name, overflow="fold")
    try:
        with tempfile.TemporaryDirectory(prefix="streamer-gateway-") as name:
            folder = Path(name)
            async with world(folder) as (control, environment):
                for kind in ("crowd", "flood"):
                    console.print(f"{kind} ...", style="dim")
                    began = time.monotonic()
                    served = await fleet(kind, folder, environment)
                    times = await seen(control, began)
                    if kind == "crowd":
                        show_crowd(table, served, len(times))
                    else:
                        show_flood(table, served, times)
    except RigError as exc:
        console.print(str(exc), style="red")
        return 1
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        asyncio.run(worker(arguments.worker, arguments.number))
    else:
        sys.exit(run_to_end(main()))
