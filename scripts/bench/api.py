"""What a ticker costs over HTTP: against a bare FastAPI route that awaits one HGETALL, and with many connections.

A simulated exchange, a redis-server, start-stream and two HTTP servers run as processes: `streamer serve`, and
`bare_api.py` on the same server software. Both are asked in turns, by the same client, over connections that stay.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from read import ONE, PRODUCTS, Turns, console, machine
from rich.table import Table
from rig import BIN, RigError, rig, run_to_end, until

ROUNDS = 9
WARM_S, ROUND_S = 1.0, 2.0
CROWD, CALLS = 200, 1000


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Connection(asyncio.Protocol):
    """A connection that asks one thing again and again, without a library's cost in the way."""

    def __init__(self, path: str, host: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._held = b""
        self._answered: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's is not by type

    def data_received(self, data: bytes) -> None:
        """See whether the answer is complete."""
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RigError(self._held.decode(errors="replace")[:300])
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= length and self._answered is not None:
            self._held = b""
            self._answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(RigError("the server has hung up"))

    async def ask(self) -> float:
        """Ask once; return the seconds until the answer was there."""
        assert self._transport is not None
        began = time.perf_counter()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        await self._answered
        return time.perf_counter() - began

    def close(self) -> None:
        """Hang up."""
        assert self._transport is not None
        self._transport.close()


@asynccontextmanager
async def connections(port: int, path: str, number: int) -> AsyncIterator[list[Connection]]:
    """Yield so many connections."""
    host = f"127.0.0.1:{port}"
    made = [
        (await asyncio.get_running_loop().create_connection(lambda: Connection(path, host), "127.0.0.1", port))[1]
        for _ in range(number)
    ]
    try:
        yield made
    finally:
        for one in made:
            one.close()


async def rate(port: int, path: str, number: int, for_s: float) -> float:
    """Return the requests a second over so many connections."""
    async with connections(port, path, number) as made:
        ends, count = time.perf_counter() + for_s, 0

        async def ask(one: Connection) -> None:
            nonlocal count
            while time.perf_counter() < ends:
                await one.ask()
                count += 1

        began = time.perf_counter()
        await asyncio.gather(*(ask(one) for one in made))
        return count / (time.perf_counter() - began)


async def crowd(port: int, path: str) -> list[float]:
    """Return the seconds of a thousand calls over 200 connections, all at once."""
    async with connections(port, path, CROWD) as made:

        async def ask(one: Connection) -> list[float]:
            return [await one.ask() for _ in range(CALLS // CROWD)]

        return sorted(took for calls in await asyncio.gather(*map(ask, made)) for took in calls)


@asynccontextmanager
async def server(port: int, *command: str, env: Mapping[str, str]) -> AsyncIterator[int]:
    """Run a server until the block ends; yield its port."""
    process = await asyncio.create_subprocess_exec(*command, env=dict(env), stdin=DEVNULL, stdout=DEVNULL)
    try:

        async def is_there() -> bool:
            if process.returncode is not None:
                raise RigError(f"{command} has ended")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(is_there, 20, f"port {port}")
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def main(arguments: argparse.Namespace) -> int:
    """Run all of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "takes", "against", "ratio", "goal"):
        table.add_column(name, overflow="fold")
    ports = free_port(), free_port()
    try:
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(rig(products=PRODUCTS[:4], market=PRODUCTS[:4], seed=1))
            env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "REDIS_URL": running.redis_url}
            env |= {"STREAMER_API_CALLS_PER_S": "1000000", "STREAMER_REST_URL": running.rest_url}
            serve = (str(BIN / "streamer"), "serve", "--port", str(ports[0]))
            bare_api = (sys.executable, str(Path(__file__).with_name("bare_api.py")), str(ports[1]))
            ours = await stack.enter_async_context(server(ports[0], *serve, env=env))
            bare = await stack.enter_async_context(server(ports[1], *bare_api, env=env))
            our_path, bare_path = f"/api/v1/market/ticker/{ONE}", f"/ticker/{ONE}"
            await asyncio.sleep(2)
            for port, path in ((ours, our_path), (bare, bare_path)):
                await rate(port, path, 8, WARM_S)
            turns = Turns()
            for _ in range(arguments.rounds):
                turns.bare.append(1 / await rate(bare, bare_path, 8, ROUND_S))
                turns.ours.append(1 / await rate(ours, our_path, 8, ROUND_S))
            turns.row(table, "GET ticker, 8 connections", "bare FastAPI + hgetall", "≤ 1.43 (0.7 of the rate)")
            for name, port, path in (("ours", ours, our_path), ("bare", bare, bare_path)):
                took = [await crowd(port, path) for _ in range(5)]
                middle = statistics.median(statistics.median(one) for one in took)
                worst = statistics.median(one[-1] for one in took)
                table.add_row(
                    f"{CALLS} calls, {CROWD} connections: {name}", f"median {middle * 1e3:.0f} ms",
                    f"slowest {worst * 1e3:.0f} ms", "", "median < 100 ms",
                )  # fmt: skip
            console.print(machine(running.redis_version))
    except RigError as exc:
        console.print(str(exc), style="red")
        return 1
    console.print(table)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often both are asked")
    sys.exit(run_to_end(main(parser.parse_args())))
