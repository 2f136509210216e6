"""Fill to balance in Redis: how fast it is there, and how fast REST has confirmed it.

A simulated exchange with TLS, a redis-server and start-stream run as processes. Fills are made through the control
port of the simulator; what counts is when Redis tells of the new balance (it tells after the balance is readable).
`sent` counts from just before the command for the fill was sent, `made` from the exchange's own time of the fill.

Every figure is of this run and this machine; fills come one by one unless said otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from random import Random

import msgspec
import redis.asyncio as redis_asyncio
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from rig import Rig, RigError, rig, run_to_end, until

CHANNEL = "stream:updates:portfolio"
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


class Balances:
    """Listens for balances as they are pushed."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Decimal, str, asyncio.Future[float]]] = []

    @asynccontextmanager
    async def listening(self, client: redis_asyncio.Redis) -> AsyncIterator[None]:
        """Listen for as long as the block takes."""
        async with client.pubsub() as updates:
            await updates.subscribe(CHANNEL)
            task = asyncio.create_task(self._listen(updates))
            try:
                yield
            finally:
                task.cancel()

    def expect(self, currency: str, total: Decimal, basis: str) -> asyncio.Future[float]:
        """Return when a balance will be there: its Unix time."""
        there: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((currency, total, basis, there))
        return there

    async def _listen(self, updates: redis_asyncio.client.PubSub) -> None:
        async for message in updates.listen():
            now = time.time()
            if not isinstance(message["data"], bytes):
                continue
            for record in msgspec.msgpack.decode(message["data"], type=list[dict[str, str]]):
                self._take(record, now)

    def _take(self, record: dict[str, str], now: float) -> None:
        for entry in list(self._waiting):
            currency, total, basis, there = entry
            # It only ever rises here, and one write may bring several fills.
            is_there = record["currency"] == currency and Decimal(record["total"]) >= total
            # What is confirmed at once, before anybody saw it derived, is there too.
            if is_there and "suspect" not in record and basis in (record["basis"], "derived"):
                self._waiting.remove(entry)
                if not there.done():
                    there.set_result(now)


class Trader:
    """Fills one large order bit by bit."""

    def __init__(self, running: Rig, balances: Balances) -> None:
        self._control, self._balances = running.control, balances
        self._random = Random(1)
        self._held = Decimal(0)

    async def start(self) -> None:
        """Place the order."""
        order = {"product_id": "SOL-USD", "side": "BUY", "price": "100", "size": "500", "client_order_id": "bench"}
        await self._control.must({"order": order})
        accounts = (await self._control.must({"query": "accounts", "orders": "none"}))["accounts"]
        self._held = Decimal(accounts["SOL"]["total"])

    async def fill(self, basis: str, *, whole: bool = False) -> tuple[float, float]:
        """Make one fill; return the seconds from sending and from the fill to the balance of that basis.

        Args:
            whole: Of an order of its own that is filled to its end, which is what REST is asked about.
        """
        size = Decimal(self._random.randint(1, 99_999)) / 1_000_000
        self._held += size  # nobody else trades, and fills are sent one by one
        there = self._balances.expect("SOL", self._held, basis)
        commands: list[dict[str, object]] = [{"fill": "bench", "size": f"{size:f}"}]
        if whole:
            name = f"bench-{self._random.getrandbits(60):x}"
            order = {"product_id": "SOL-USD", "side": "BUY", "price": "100", "size": f"{size:f}"}
            commands = [{"order": {**order, "client_order_id": name}}, {"fill": name}]
        sent_at = time.time()
        await self._control.must({"batch": commands} if whole else commands[0])
        history = (await self._control.must({"query": "history", "since_s": sent_at}))["history"]
        made_at = next(at for at, wallets in history if Decimal(wallets["SOL"]["total"]) == self._held)
        there_at = await asyncio.wait_for(there, 90)
        return there_at - sent_at, there_at - float(made_at)


async def settled(client: redis_asyncio.Redis) -> bool:
    """Whether every balance is confirmed."""
    members = await client.smembers("portfolio_realtime")
    currencies = [member.decode() if isinstance(member, bytes) else member for member in members]
    hashes = [await client.hgetall(f"portfolio_realtime:{currency}") for currency in currencies]
    return bool(hashes) and all(h.get(b"basis") == b"confirmed" and b"suspect" not in h for h in hashes)


async def measure(transport: str, arguments: argparse.Namespace, table: Table) -> str:
    """Measure one transport; return the version of the redis-server."""
    async with rig(transport=transport, seed=1) as running:
        client = redis_asyncio.Redis.from_url(running.redis_url)
        balances = Balances()
        async with balances.listening(client):
            await until(running.control.is_known, 40, "the first balances")
            await until(lambda: settled(client), 40, "balances that are confirmed")
            trader = Trader(running, balances)
            await trader.start()
            for _ in range(20):
                await trader.fill("derived")
            derived = []
            for _ in range(arguments.fills):
                derived.append(await trader.fill("derived"))
                await asyncio.sleep(0.01)
            rows(table, f"{transport}: fill to derived", derived, "goal median < 2 ms")
            await trader.fill("derived", whole=True)  # an order that is done makes start-stream ask REST
            confirmed = []
            for _ in range(arguments.confirmed):
                await until(lambda: settled(client), 90, "rest")
                await asyncio.sleep(5.2)
                confirmed.append(await trader.fill("confirmed", whole=True))
            rows(table, f"{transport}: fill to confirmed, over 5 s apart", confirmed, "goal < 1 s")
            filling = []
            for _ in range(arguments.confirmed * 2):
                filling.append(asyncio.create_task(trader.fill("confirmed", whole=True)))
                await asyncio.sleep(1)
            busy = await asyncio.gather(*filling)
            rows(table, f"{transport}: fill to confirmed, one a second", busy, "at most one question in 5 s")
        await client.aclose()
        return running.redis_version


def rows(table: Table, what: str, found: list[tuple[float, float]], goal: str) -> None:
    """Add a line for each of the two beginnings."""
    for index, since in enumerate(("sent", "made")):
        values = sorted(pair[index] * 1000 for pair in found)
        low, high = values[0], values[-1]
        text = (
            f"median {statistics.median(values):,.2f}, p95 {at(values, 0.95):,.2f}, p99 {at(values, 0.99):,.2f} ms"
        )
        table.add_row(f"{what}, from {since}", f"{text} ({low:,.2f} to {high:,.2f}, n={len(values)})", goal)


def at(values: list[float], share: float) -> float:
    """Return the value that so large a share does not exceed."""
    return values[min(len(values) - 1, int(share * len(values)))]


def machine(server: str) -> str:
    """Say what this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    names = ("websockets", "picows", "uvloop", "msgspec", "redis", "hiredis", "coinbase-advanced-py")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, redis-server {server}, {packages}"


async def main(arguments: argparse.Namespace) -> int:
    """Measure all transports."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "measured", "against"):
        table.add_column(name, overflow="fold")
    server = "?"
    try:
        for transport in arguments.transports:
            console.print(f"measuring {transport} ...", style="dim")
            server = await measure(transport, arguments, table)
    except RigError as exc:
        console.print(str(exc), style="red")
        return 1
    console.print(machine(server))
    console.print(f"TLS on both ways, REST lag 0; load {os.getloadavg()[0]:.1f} at the end")
    console.print(table)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fills", type=int, default=300, help="fills to derived (default 300)")
    parser.add_argument("--confirmed", type=int, default=12, help="fills to confirmed, each way (default 12)")
    parser.add_argument("--transports", nargs="+", default=["websockets", "picows"])
    sys.exit(run_to_end(main(parser.parse_args())))
