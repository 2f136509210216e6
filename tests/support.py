"""Real processes for tests: a redis-server, the simulator and start-stream, to freeze, kill and bring back.

Everything waits by polling under a deadline. `STREAMER_TEST_PATIENCE` stretches every deadline that is not itself
the promise, for machines slower than the one these were written on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from streamer.errors import StoreError
from streamer.health.probe import probe
from streamer.health.verdict import judge

PATIENCE = float(os.environ.get("STREAMER_TEST_PATIENCE", "1"))
BIN = Path(sys.executable).parent
META = frozenset({"time", "received_ms", "written_ms", "feed", "connection", "sequence", "epoch", "source"})
"""Fields of a ticker hash that the exchange's ticker does not have, but for the optional ones."""

T = TypeVar("T")
_numbers = count(1)


def wait_until(claim: Callable[[], T], deadline_s: float, *, exactly: bool = False, why: str = "") -> T:
    """Return the claim's value as soon as it holds; fail where it does not in time.

    Args:
        claim: Looked at every 20 ms; an AssertionError of its own, or a Redis that does not answer,
            means "not yet" and is shown at the end.
        deadline_s: Seconds, stretched by the patience knob unless `exactly`, as where the time is the promise.
        why: What was hoped for.
    """
    ends = time.monotonic() + deadline_s * (1 if exactly else PATIENCE)
    while True:
        last: Exception | None = None
        try:
            if value := claim():
                return value
        except (AssertionError, RedisError) as exc:
            last = exc
        if time.monotonic() >= ends:
            raise AssertionError(f"not within {deadline_s:g} s: {why or last or 'the claim'}") from last
        time.sleep(0.02)


def hold(claim: Callable[[], object], for_s: float, why: str = "") -> None:
    """Fail as soon as the claim does not hold, and return when it has held for so long."""
    ends = time.monotonic() + for_s
    while time.monotonic() < ends:
        assert claim(), why
        time.sleep(0.1)


async def until(claim: Callable[[], T], deadline_s: float, why: str = "") -> T:
    """Wait for a claim while the event loop goes on; as `wait_until`."""
    async with asyncio.timeout(deadline_s * PATIENCE):
        while True:
            if value := claim():
                return value
            await asyncio.sleep(0.005)
    raise AssertionError(why)


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Process:
    """A child process with its output in files; killed at the end of the `with` block if it still runs."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None, name: str = "process"
    ) -> None:
        self._command, self._folder = list(command), folder
        # Nothing of the tester's own settings, and a folder without a .env.
        self._env = {"PATH": os.environ["PATH"], "HOME": str(folder)} | dict(env or {})
        self._out, self._err = (folder / f"{name}-{next(_numbers)}.{kind}" for kind in ("out", "err"))
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if exc is not None:
            exc.add_note(f"--- {Path(self._command[0]).name}, end of stderr:\n{self.log[-4000:]}")

    def start(self) -> None:
        """Start it, or start it again."""
        with self._out.open("wb") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text(errors="replace") if self._err.exists() else ""

    @property
    def output(self) -> str:
        """What it has written to stdout."""
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    @property
    def code(self) -> int | None:
        """Its exit status, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it in its tracks, sockets open: for its peers the hardest failure."""
        self.signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)
        self._frozen = False

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for as long as the block takes."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def wait(self, deadline_s: float) -> int:
        """Wait for its end and return its exit status."""
        assert self._process is not None
        return self._process.wait(deadline_s)

    def kill(self) -> None:
        """End it without warning, also where it is frozen."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


class RedisServer(Process):
    """A redis-server without persistence on a port of its own, to which it comes back after `kill`."""

    def __init__(self, folder: Path, *, port: int | None = None, password: str | None = None) -> None:
        self.port = port or free_port()
        server = which("redis-server")
        assert server is not None, "these tests need a redis-server on PATH"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        options += ["--requirepass", password] if password else []
        super().__init__([server, *options, "--appendonly", "no", "--loglevel", "warning"], folder, name="redis")
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self._client = Redis.from_url(
            self.url,
            decode_responses=True,
            socket_timeout=3,
            socket_connect_timeout=3,
            retry=Retry(NoBackoff(), 0),
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        super().start()
        wait_until(self._answers, 10, why="redis-server does not answer")

    def kill(self) -> None:
        """End it without warning; what it held is gone."""
        super().kill()
        self._client.close()

    def ask(self, *words: str | int | bytes) -> Any:
        """Send one command."""
        execute: Callable[..., Any] = self._client.execute_command
        return execute(*words)

    def hash(self, key: str) -> dict[str, str]:
        """Return a hash, {} where there is none."""
        held: dict[str, str] = self.ask("HGETALL", key)
        return held

    def ticker(self, product_id: str) -> dict[str, str]:
        """Return the realtime hash of a product."""
        return self.hash(f"ticker_realtime:{product_id}")

    def shadow(self, product_id: str) -> dict[str, str]:
        """Return the stale shadow of a product."""
        return self.hash(f"ticker_realtime:{product_id}:stale")

    def _answers(self) -> bool:
        assert self.code is None, f"redis-server ended: {self.output}"
        try:
            return bool(self.ask("PING"))
        except (RedisError, OSError):
            return False


class Simulator(Process):
    """The simulated exchange, with its control port; comes back on the same ports after `kill`."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        products: int | str = 10,
        rate: float | str = 40,
        seed: int = 0,
        control: bool = True,
    ) -> None:
        self._flags = (*flags, "--products", str(products), "--rate", str(rate), "--user-port", "-1")
        self._ports: tuple[str, ...] = ("--port", "0", "--control-port", "0" if control else "-1")
        self._seed = seed
        super().__init__(self._line(), folder, name="simulator")
        self.where: dict[str, Any] = {}

    def _line(self) -> list[str]:
        return [sys.executable, "-m", "streamer.simulator", *self._flags, *self._ports, "--seed", str(self._seed)]

    def start(self, seed: int | None = None) -> None:
        """Start it and wait for its addresses; another seed makes another market."""
        self._seed = self._seed if seed is None else seed
        self._command = self._line()
        super().start()
        wait_until(lambda: "\n" in self.output, 20, why="the simulator does not come up")
        self.where = json.loads(self.output)
        control = self.where["control_port"]
        self._ports = ("--port", str(self.where["port"]), "--control-port", str(control or -1))
        self._ports += ("--rest-port", str(self.where["rest_port"] or -1))

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.where["url"])

    @property
    def rest_url(self) -> str:
        """Where its REST listens, without a path."""
        return str(self.where["rest_url"])

    @property
    def products(self) -> list[str]:
        """What it knows."""
        return list(self.where["products"])

    def tell(self, *commands: dict[str, Any]) -> dict[str, Any]:
        """Send commands in one go and return the last reply; each must have been carried out."""
        reply: dict[str, Any] = {}
        with socket.create_connection(("127.0.0.1", self.where["control_port"]), 5) as sock:
            sock.sendall(b"".join(json.dumps(command).encode() + b"\n" for command in commands))
            with sock.makefile("rb") as replies:
                for _ in commands:
                    reply = json.loads(replies.readline())
                    assert reply["ok"], reply
        return reply

    def fault(self, kind: str, /, **options: Any) -> None:
        """Start a fault."""
        self.tell({"fault": kind, **options})

    def heal_and_pause(self) -> None:
        """End every fault and, at once, all trading: what the client then has, it has by itself."""
        self.tell({"heal": True}, {"pause": True})

    def state(self) -> dict[str, Any]:
        """Return the truth."""
        return self.tell({"query": "state"})

    def truth(self) -> dict[str, dict[str, str]]:
        """Return the newest ticker of every product."""
        tickers: dict[str, dict[str, str]] = self.state()["tickers"]
        return tickers


class Stream(Process):
    """start-stream as a user would run it; stderr is its log."""

    def __init__(
        self, folder: Path, *arguments: str, transport: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        chosen = ("--transport", transport) if transport else ()
        command = [str(BIN / "start-stream"), *arguments, *chosen, "--no-api"]
        super().__init__(command, folder, env=env, name="stream")


def stream_from(
    simulator: Simulator,
    redis: RedisServer,
    folder: Path,
    *products: str,
    transport: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Stream:
    """Prepare a start-stream between an exchange and a Redis, for all the exchange's products unless named."""
    named = products or simulator.products
    return Stream(folder, *named, "--ws-url", simulator.url, "--redis-url", redis.url, transport=transport, env=env)


def run(
    command: str, *arguments: str, folder: Path, env: Mapping[str, str] | None = None, deadline_s: float = 20
) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end, with nothing of our environment but PATH."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder)} | dict(env or {})
    return subprocess.run(
        [str(BIN / command), *arguments],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=deadline_s * PATIENCE,
        check=False,
    )


def level(redis_url: str) -> str:
    """Return what stream-status would say, without the cost of a process."""
    try:
        status, now_ms = probe(redis_url)
    except StoreError:
        return "unknown"
    return judge(status, now_ms).level


def is_healthy(redis_url: str) -> bool:
    """Whether stream-status would say so."""
    return level(redis_url) == "healthy"


def values(ticker: Mapping[str, str]) -> dict[str, str]:
    """Return what a hash must hold of the exchange's ticker: every value that is not empty."""
    return {name: value for name, value in ticker.items() if value and name != "type"}


def assert_mirrored(
    redis: RedisServer, truth: Mapping[str, Mapping[str, str]], *, source: str = "simulator"
) -> None:
    """Every product's hash and shadow hold the exchange's newest values, all of them and no others."""
    assert truth
    for product_id, ticker in truth.items():
        held, shadow = redis.ticker(product_id), redis.shadow(product_id)
        assert {name: value for name, value in held.items() if name not in META} == values(ticker), product_id
        assert held.keys() >= META, product_id
        assert held["source"] == source, product_id
        assert shadow == held, product_id


class Lanes:
    """Runs tests side by side: they mostly wait, and a machine can wait for many things at once.

    The first test that is asked for its outcome starts all that were selected, of all modules, a few at a time and
    in order; each reports its own. Made for tests that bring their own processes and share nothing.
    """

    _AT_ONCE: ClassVar = 6
    _bodies: ClassVar[dict[tuple[str, str], Callable[..., None]]] = {}
    _running: ClassVar[dict[str, Future[None]]] = {}

    def test(self, body: Callable[..., None]) -> Callable[..., None]:
        """Make a test of a function that takes a folder, and a `case` where the test is parametrized by one."""
        self._bodies[body.__module__, body.__name__] = body

        def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
            self._outcome(request, tmp_path_factory)

        def of_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, case: object) -> None:
            self._outcome(request, tmp_path_factory)

        chosen: Callable[..., None] = of_case if "case" in body.__annotations__ else plain
        chosen.__name__, chosen.__doc__, chosen.__module__ = body.__name__, body.__doc__, body.__module__
        chosen.__qualname__ = body.__qualname__
        # Whoever runs tests in several processes must leave these to one: it starts them all.
        grouped: Callable[..., None] = pytest.mark.xdist_group("lanes")(chosen)
        return grouped

    def _outcome(self, request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> None:
        if not self._running:
            self._start(request, folders)
        self._running[request.node.nodeid].result(600)

    def _start(self, request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> None:
        pool = ThreadPoolExecutor(self._AT_ONCE, thread_name_prefix="lane")
        for item in request.session.items:
            if not isinstance(item, pytest.Function):
                continue
            body = self._bodies.get((item.module.__name__, item.originalname or item.name))
            if body is not None:
                callspec = getattr(item, "callspec", None)
                case = {"case": callspec.params["case"]} if callspec is not None else {}
                self._running[item.nodeid] = pool.submit(body, folders.mktemp("lane"), **case)
        pool.shutdown(wait=False)
