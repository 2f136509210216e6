"""A whole set of processes to measure and to try: simulated exchange, redis-server, start-stream.

All of it is real: processes as a user would run them, TLS with a throw-away authority, a throw-away API key. The
children end with the `async with` block, on Ctrl-C and SIGTERM, and (on Linux) also where this process is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from streamer.ingest.ledger import LAG_S
from streamer.store.embedded import EmbeddedRedis

BIN = Path(sys.executable).parent
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD", "BTC-USDC")
MARKET = ("BTC-USD", "ETH-USD", "SOL-USD")  # BTC-USDC has no book of its own
_START_S = 20.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

T = TypeVar("T")


class RigError(Exception):
    """A process did not come up, or has ended."""


class Control:
    """The control port of the simulator; one conversation, one command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._lock = reader, writer, asyncio.Lock()

    async def tell(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command and return its reply, which may be a refusal (`ok` is false)."""
        async with self._lock:
            self._writer.write(json.dumps(command).encode() + b"\n")
            line = await self._reader.readline()
        if not line:
            raise RigError("the simulator has ended")
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def must(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """As `tell`, of a command that cannot be refused."""
        reply = await self.tell(command)
        if not reply["ok"]:
            raise RigError(f"{command}: {reply}")
        return reply

    async def user_connection(self) -> int | None:
        """Return the number of the connection that listens to orders, None where there is none."""
        for connection in (await self.must({"query": "state"}))["connections"]:
            if "user" in connection["subscriptions"]:
                return int(connection["connection"])
        return None

    async def is_known(self) -> bool:
        """Whether REST has told the balances twice, and not just now: before, any update casts doubt."""
        asked = [r for r in (await self.must({"query": "rest"}))["recent"] if r["route"] == "GET /accounts"]
        last = datetime.fromisoformat(asked[-1]["time"]).timestamp() if asked else 0.0
        return len(asked) >= 2 and time.time() - last > LAG_S + 0.5

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@dataclass(frozen=True, slots=True)
class Rig:
    """What runs.

    Attributes:
        redis_version: Of the redis-server.
        log: What start-stream has to say.
    """

    redis_url: str
    redis_version: str
    control: Control
    stream: Process
    log: Path
    rest_url: str
    ca_file: str
    key_file: str


@asynccontextmanager
async def rig(
    *,
    products: Sequence[str] = PRODUCTS,
    market: Sequence[str] = MARKET,
    transport: str | None = None,
    seed: int = 0,
    rate: float = 20,
    api_port: int | None = None,
    keep: Path | None = None,
) -> AsyncIterator[Rig]:
    """Run everything for as long as the block takes.

    Args:
        products: What start-stream is to carry.
        market: What is traded; ids that share another's book are not among it.
        transport: STREAMER_TRANSPORT; None leaves the choice to start-stream.
        seed: Of the market.
        rate: Trades a second, all products together.
        api_port: Where start-stream is to serve the HTTP API; None for not at all.
        keep: Folder for logs and keys; None for one that is removed at the end.
    """
    folder = keep or Path(tempfile.mkdtemp(prefix="streamer-rig-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.json").unlink(missing_ok=True)
    try:
        async with (
            EmbeddedRedis(folder / "redis") as redis,
            _simulator(folder, market, seed, rate) as where,
            _stream(folder, redis.url, where, products, transport, api_port) as stream,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", where["control_port"], limit=64 << 20)
            control = Control(reader, writer)
            try:
                yield Rig(
                    redis.url,
                    redis.version,
                    control,
                    stream,
                    log=folder / "stream.log",
                    rest_url=where["rest_url"],
                    ca_file=where["ca"],
                    key_file=str(folder / "key.json"),
                )
            finally:
                control.close()
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _simulator(folder: Path, market: Sequence[str], seed: int, rate: float) -> AsyncIterator[dict[str, Any]]:
    flags = ("--products", ",".join(market), "--rate", f"{rate:g}", "--seed", str(seed))
    flags += ("--make-key", str(folder / "key.json"), "--tls-dir", str(folder / "tls"))
    with (folder / "simulator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamer.simulator", *flags),
            cwd=folder,
            env=_environment(folder),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us to pass on
            preexec_fn=_die_with_parent(),
        )
    try:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_S)
            yield json.loads(line)
        except (TimeoutError, json.JSONDecodeError) as exc:
            raise RigError(f"the simulator does not come up: {(folder / 'simulator.log').read_text()}") from exc
    finally:
        await _end(process)


@asynccontextmanager
async def _stream(
    folder: Path,
    redis_url: str,
    where: Mapping[str, Any],
    products: Sequence[str],
    transport: str | None,
    api_port: int | None,
) -> AsyncIterator[Process]:
    api = ("--no-api",) if api_port is None else ("--port", str(api_port))
    environment = _environment(folder) | {
        "COINBASE_KEY_FILE": str(folder / "key.json"),
        "STREAMER_CA_FILE": where["ca"],
        **({"STREAMER_TRANSPORT": transport} if transport else {}),
    }
    urls = ("--ws-url", where["url"], "--ws-user-url", where["user_url"], "--rest-url", where["rest_url"])
    with (folder / "stream.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(BIN / "start-stream"), *products, "--channels", "ticker,user,candles,status"),
            *("--exchange", "simulator", *urls, "--redis-url", redis_url, *api),
            cwd=folder,
            env=environment,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
    try:
        yield process
    finally:
        await _end(process)


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's own settings, and a folder without a .env."""
    python = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LD_"))}
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **python}


async def _end(process: Process) -> None:
    """Ask a child to end, and make it."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # resolved before the fork

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm


async def until(claim: Callable[[], Coroutine[Any, Any, T]], deadline_s: float, why: str) -> T:
    """Return the claim's value as soon as it holds.

    Raises:
        RigError: It does not in time.
    """
    ends = time.monotonic() + deadline_s
    while time.monotonic() < ends:
        if value := await claim():
            return value
        await asyncio.sleep(0.02)
    raise RigError(f"not within {deadline_s:g} s: {why}")


def run_to_end(main: Coroutine[Any, Any, int]) -> int:
    """Run, and end in good order on Ctrl-C and SIGTERM, with 130.

    uvloop where there is one: the less we take of the machine, the less we disturb what we look at.
    """

    async def supervised() -> int:
        task = asyncio.ensure_future(main)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return 130

    try:
        import uvloop

        return int(uvloop.run(supervised()))
    except ImportError:
        return asyncio.run(supervised())
