"""What 500 clients of the event stream cost the sink: its latency with them against its latency without, in turns.

A simulated exchange that trades 2,000 times a second, a redis-server and one start-stream that also serves the API
run as processes; the clients are this process. Latency is from the arrival of a frame until Redis has taken what it
changed, as start-stream itself counts it, a value for each flush (its oldest change).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import redis.asyncio as redis
from read import PRODUCTS, console, machine
from rich.table import Table
from rig import RigError, rig, run_to_end, until

RATE, CLIENTS = 2000, 500
TURN_S, SETTLE_S, TURNS = 8.0, 3.0, 5


@dataclass(frozen=True, slots=True)
class Waited:
    """How long changes waited, over a stretch of time."""

    mean_s: float
    p50_s: float
    p99_s: float
    flushes_per_s: float
    frames_per_s: float


class Client(asyncio.Protocol):
    """Listens and counts; understands nothing."""

    def __init__(self, port: int) -> None:
        self._request = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self.events = self.bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count."""
        self.bytes += len(data)
        self.events += data.count(b"\nevent: ")


async def waited(client: redis.Redis, for_s: float) -> Waited:
    """Return what changes waited in the next seconds."""
    before = await _told(client)
    await asyncio.sleep(for_s)
    after = await _told(client)
    past, now = (one["sink"]["flushes"]["ticker"]["waited_s"] for one in (before, after))
    counts = [b - a for a, b in zip(past["counts"], now["counts"], strict=True)]
    took_s = (after["written_ms"] - before["written_ms"]) / 1000
    return Waited(
        (now["sum"] - past["sum"]) / sum(counts),
        _quantile(now["le"], counts, 0.5),
        _quantile(now["le"], counts, 0.99),
        sum(counts) / took_s,
        (after["frames"]["received"] - before["frames"]["received"]) / took_s,
    )


async def _told(client: redis.Redis) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await client.get("stream:status"))
    return told


def _quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float:
    """Return a quantile, taken to lie evenly within its bucket."""
    rank, low = part * sum(counts), 0.0
    for high, count in zip([*bounds, bounds[-1]], counts, strict=True):
        if rank <= count:
            return low + (high - low) * (rank / count if count else 0)
        rank, low = rank - count, high
    return low


async def with_clients(port: int, client: redis.Redis, number: int) -> tuple[Waited, float]:
    """Return what changes waited while so many listen, and the events a second of one of them."""
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(lambda: Client(port), "127.0.0.1", port))[1] for _ in range(number)]
    try:
        await asyncio.sleep(SETTLE_S)
        before = [one.events for one in made]
        found = await waited(client, TURN_S)
        events = [one.events - was for one, was in zip(made, before, strict=True)]
        if min(events) == 0:
            raise RigError(f"{events.count(0)} of {number} clients heard nothing")
        return found, statistics.median(events) / TURN_S
    finally:
        for one in made:
            one.transport.close()


async def main(arguments: argparse.Namespace) -> int:
    """Run all of it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("clients", "mean", "p50", "p99", "flushes/s", "frames/s", "events/s of a client"):
        table.add_column(name)
    turns: list[tuple[Waited, Waited]] = []
    try:
        async with rig(products=PRODUCTS, market=PRODUCTS, seed=1, rate=RATE, api_port=port) as running:
            client = redis.Redis.from_url(running.redis_url)

            async def is_there() -> bool:
                with suppress(TypeError, KeyError):
                    told = await _told(client)
                    return bool(told["products"]["live"] == len(PRODUCTS))
                return False

            await until(is_there, 40, "prices of all products")
            await asyncio.sleep(SETTLE_S)
            for _ in range(arguments.turns):
                alone = await waited(client, TURN_S)
                together, events = await with_clients(port, client, arguments.clients)
                turns.append((alone, together))
                for number, one, told in ((0, alone, ""), (arguments.clients, together, f"{events:.1f}")):
                    times = [f"{s * 1e3:.2f} ms" for s in (one.mean_s, one.p50_s, one.p99_s)]
                    table.add_row(str(number), *times, f"{one.flushes_per_s:.0f}", f"{one.frames_per_s:.0f}", told)
                await asyncio.sleep(SETTLE_S)
            await client.aclose()
            console.print(machine(running.redis_version))
    except RigError as exc:
        console.print(str(exc), style="red")
        return 1
    console.print(table)
    for what in ("mean_s", "p50_s", "p99_s"):
        ratios = [getattr(together, what) / getattr(alone, what) for alone, together in turns]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        console.print(f"{what}: {statistics.median(ratios):.2f} times ({spread}, n={len(ratios)}); goal 1.5")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="that listen at once")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often it is measured without and with them")
    sys.exit(run_to_end(main(parser.parse_args())))
