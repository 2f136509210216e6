"""What the fleet runs in: a simulated exchange with limits, a redis-server, start-stream; and its processes."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets
from fleet_bots import PROCESSES, PRODUCTS
from rig import BIN, Control, RigError, _die_with_parent, _end, _environment, until

from streamer.errors import StreamerError
from streamer.model import Tier
from streamer.reader.reader import AsyncReader
from streamer.store.embedded import EmbeddedRedis

UNSTREAMED = ("ARB-USD", "OP-USD")
PRIVATE_PER_S, PUBLIC_PER_S, MARKET_PER_MINUTE = 30, 10, 10
"""Limits of the exchange, and the budget of streamer, in real time."""
_SCRIPTS = Path(__file__).parent
_START_S = 120.0
_SAMPLE_S = 0.25
_QUIET_S = 8.0


@dataclass
class World:
    """What runs.

    Attributes:
        truth: When each product got which price, as the exchange told a listener of its own.
        samples: The exchange's count of REST requests over time, and of its 429s.
    """

    way: str
    factor: float
    folder: Path
    redis_url: str
    control: Control
    environment: dict[str, str]
    bots: list[Process] = field(default_factory=list)
    truth: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    samples: list[tuple[float, int, int]] = field(default_factory=list)

    async def rest(self) -> dict[str, Any]:
        """Return the exchange's books of REST."""
        return await self.control.must({"query": "rest"})

    async def quiet(self) -> None:
        """Wait until the stream has asked for what it needs at its start: then it has no more questions."""

        async def is_quiet() -> bool:
            before = [total for at, total, _ in self.samples if at < time.monotonic() - _QUIET_S]
            return bool(before) and before[-1] == self.samples[-1][1]

        await until(is_quiet, 3 * _START_S, "an end of REST calls")

    async def command(self, *arguments: str) -> str:
        """Run `streamer`, and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(str(BIN / "streamer"), *arguments), env=self.environment, cwd=self.folder, stdout=PIPE
        )
        printed, _ = await process.communicate()
        if process.returncode:
            raise RigError(f"streamer {' '.join(arguments)} has ended with {process.returncode}")
        return printed.decode()

    async def worker(self, *arguments: str) -> Process:
        """Start a process of the fleet; it waits for a word when it is ready."""
        with (self.folder / f"fleet-{'-'.join(arguments)}.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, str(_SCRIPTS / "fleet_bots.py"), *arguments),
                cwd=self.folder,
                env=self.environment,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                preexec_fn=_die_with_parent(),
            )

    def tell_bots(self) -> None:
        """Give the word."""
        for process in self.bots:
            tell(process)


def tell(process: Process) -> None:
    """Give a process the word."""
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def line_of(process: Process, within_s: float) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), within_s)
    if not line:
        raise RigError("a process of the fleet has ended: see its log")
    return line.decode()


@asynccontextmanager
async def world(
    way: str, speed: float, folder: Path, settings: dict[str, str], *, quick: bool = False
) -> AsyncIterator[World]:
    """Run the old way or the new one, up to the point where every process has looked at everything once.

    Args:
        speed: The factor.
        settings: Environment of streamer besides.
        quick: Whether not to wait until the stream has the past of all candles, which it asks for every 6 s.
    """
    folder.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis(folder / "redis"))
        exchange, where = await _simulator(folder, speed)
        stack.push_async_callback(_end, exchange)
        reader, writer = await asyncio.open_connection("127.0.0.1", where["control_port"], limit=64 << 20)
        control = Control(reader, writer)
        stack.callback(control.close)
        environment = _environment(folder) | {
            "REDIS_URL": redis.url,
            "CELERY_BROKER_URL": f"{redis.url.removesuffix('/0').rstrip('/')}/1",
            "COINBASE_KEY_FILE": str(folder / "key.json"),
            "STREAMER_CA_FILE": where["ca"],
            "STREAMER_REST_URL": where["rest_url"],
            "STREAMER_MARKET_CALLS_PER_MINUTE": f"{MARKET_PER_MINUTE * speed:.0f}",
            "STREAMER_PUBLIC_CALLS_PER_S": f"{PUBLIC_PER_S * speed:.0f}",
            "STREAMER_PRIVATE_CALLS_PER_S": f"{PRIVATE_PER_S * speed:.0f}",
            "REQUESTS_CA_BUNDLE": where["ca"],
            "FLEET_WAY": way,
            "FLEET_FACTOR": f"{speed:g}",
            "FLEET_FOLDER": str(folder),
            "FLEET_KEY_FILE": str(folder / "key.json"),
            "FLEET_HOST": where["rest_url"].removeprefix("https://"),
            **settings,
        }
        made = World(way, speed, folder, redis.url, control, environment)
        for work in (_listen(made, where), _sample(made)):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        if way == "new":
            stream = await _start_stream(folder, where, environment)
            stack.push_async_callback(_end, stream)
            await _until_streaming(redis.url)
            if not quick:
                await made.quiet()
        for number in range(PROCESSES):
            made.bots.append(await made.worker(str(number)))
            stack.push_async_callback(_end, made.bots[-1])
        for process in made.bots:
            await line_of(process, _START_S)
        celery = await _celery(folder, environment)
        stack.push_async_callback(_end, celery)
        await until(lambda: _has_begun(folder), _START_S, f"tasks of Celery, see {folder}")
        yield made


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _simulator(folder: Path, speed: float) -> tuple[Process, dict[str, Any]]:
    flags = ("--products", ",".join((*PRODUCTS, *UNSTREAMED)), "--rest-history", "1", "--seed", "1")
    flags += ("--private-rate", f"{PRIVATE_PER_S * speed:.0f}", "--public-rate", f"{PUBLIC_PER_S * speed:.0f}")
    flags += ("--make-key", str(folder / "key.json"), "--tls-dir", str(folder / "tls"), "--die-with-parent")
    with (folder / "simulator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamer.simulator", *flags),
            cwd=folder,
            env=_environment(folder),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    return process, json.loads(await asyncio.wait_for(process.stdout.readline(), 20))


async def _start_stream(folder: Path, where: dict[str, Any], environment: dict[str, str]) -> Process:
    urls = ("--ws-url", where["url"], "--ws-user-url", where["user_url"], "--rest-url", where["rest_url"])
    with (folder / "stream.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(str(BIN / "start-stream"), *PRODUCTS, "--exchange", "simulator", *urls, "--no-api"),
            cwd=folder,
            env=environment,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )


async def _celery(folder: Path, environment: dict[str, str]) -> Process:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning")
    with (folder / "celery.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "celery", "-A", "fleet_tasks", "worker", "--concurrency", "2", "--beat"),
            *("--schedule", str(folder / "beat"), *quiet),
            cwd=folder,
            env=environment | {"PYTHONPATH": os.pathsep.join((str(_SCRIPTS), str(_SCRIPTS.parent)))},
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )


async def _has_begun(folder: Path) -> bool:
    return any('"fast"' in path.read_text() for path in folder.glob("fleet-*.jsonl"))


async def _until_streaming(redis_url: str) -> None:
    async with AsyncReader(redis_url, rest=False) as reader:

        async def is_there() -> bool:
            try:
                found = await reader.snapshot(PRODUCTS)
            except StreamerError:
                return False
            readings = [*found.tickers.values(), *found.candles.values()]
            whole = len(readings) == 2 * len(PRODUCTS)
            return whole and all(reading.tier is Tier.REALTIME for reading in readings)

        await until(is_there, _START_S, "prices and candles of all products")


async def _listen(made: World, where: dict[str, Any]) -> None:
    """Follow the exchange's own prices, to judge what the fleet was served."""
    trust = ssl.create_default_context(cafile=where["ca"])
    async with websockets.connect(where["url"], ssl=trust, max_size=None) as socket:
        products: Sequence[str] = (*PRODUCTS, *UNSTREAMED)
        await socket.send(json.dumps({"type": "subscribe", "channel": "ticker", "product_ids": products}))
        async for text in socket:
            now = time.monotonic()
            for event in json.loads(text).get("events", ()):
                for ticker in event.get("tickers", ()):
                    made.truth.setdefault(ticker["product_id"], []).append((now, ticker["price"]))


async def _sample(made: World) -> None:
    while True:
        books = await made.rest()
        made.samples.append((time.monotonic(), books["total"], books["statuses"].get("429", 0)))
        await asyncio.sleep(_SAMPLE_S)
