"""Celery as people run it: a real worker of each kind and a real beat, over a real Redis beside a real stream."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from streamer.store.address import process_alive
from tests.support import Process, RedisServer, Simulator, hold, is_healthy, stream_from, wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "celery_bots"
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
SUCCEEDED = re.compile(r"Task fast_trading_evaluation\[[^\]]+\] succeeded in [\d.e-]+s: (.*)")


@dataclass
class Bots:
    """What runs."""

    redis: RedisServer
    simulator: Simulator
    worker: Process
    beat: Process

    def evaluations(self) -> list[str]:
        """Return what the evaluations have returned so far."""
        return SUCCEEDED.findall(self.worker.log)

    def pool(self) -> set[int]:
        """Return the ids of the worker's processes that are at work."""
        return {child.pid for child in psutil.Process(self.worker.pid).children() if process_alive(child.pid)}

    def go_on(self, deadline_s: float = 20, times: int = 4) -> str:
        """Wait for more evaluations to succeed with all bots; return the last."""
        before = len(self.evaluations())

        def evaluated() -> str | None:
            news = self.evaluations()[before:]
            whole = [one for one in news if "'not_evaluated': []" in one and all(name in one for name in PRODUCTS)]
            return whole[-1] if len(whole) >= times else None

        found = wait_until(evaluated, deadline_s, why=f"evaluations: {self.evaluations()[-2:]}")
        assert found is not None
        return found


def celery(folder: Path, redis: RedisServer, *arguments: str, name: str) -> Process:
    """A celery command over the example, with nothing else set up."""
    url = redis.url.rpartition("/")[0]
    env = {
        "REDIS_URL": f"{url}/0", "CELERY_BROKER_URL": f"{url}/1", "BOT_PRODUCTS": ",".join(PRODUCTS),
        "PYTHONPATH": str(EXAMPLE),
    }  # fmt: skip
    command = [sys.executable, "-m", "celery", "-A", "tasks", *arguments, "--loglevel", "info"]
    return Process(command, folder, env=env, name=name)


@contextmanager
def bots(folder: Path, *pool: str) -> Iterator[Bots]:
    """Yield a stream with bots at work on it."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        simulator = stack.enter_context(Simulator(folder, "--rest-port", "0", products=",".join(PRODUCTS), rate=20))
        env = {"STREAMER_REST_URL": simulator.rest_url}
        stack.enter_context(stream_from(simulator, redis, folder, *PRODUCTS, env=env))
        wait_until(lambda: is_healthy(redis.url), 20)
        worker = stack.enter_context(celery(folder, redis, "worker", *pool, name="worker"))
        beat = stack.enter_context(celery(folder, redis, "beat", "--schedule", str(folder / "beat"), name="beat"))
        made = Bots(redis, simulator, worker, beat)
        made.go_on(60)
        yield made
        for process in (beat, worker):
            process.signal(signal.SIGTERM)
            process.wait(15)


POOLS = {
    "prefork": ("--concurrency", "2"),
    "threads": ("--pool", "threads", "--concurrency", "4"),
    "gevent": ("--pool", "gevent", "--concurrency", "50"),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_bots_are_evaluated_in_every_kind_of_pool(tmp_path: Path, pool: tuple[str, ...]) -> None:
    """With nothing to start for it, and without a traceback; a snapshot says what every bot would do."""
    with bots(tmp_path, *pool) as running:
        assert re.search(r"'(buy|sell|wait)'", running.go_on())
        wait_until(lambda: "Task fetch_market_data_task" in running.worker.log, 15)
        assert "Traceback" not in running.worker.log + running.beat.log


def test_a_killed_worker_process_is_replaced(tmp_path: Path) -> None:
    """SIGKILL in the middle of whatever it does: the others go on, and no connection is left behind."""
    with bots(tmp_path, "--concurrency", "2") as running:
        clients = len(running.redis.ask("CLIENT", "LIST").splitlines())
        for _ in range(3):
            before = running.pool()
            os.kill(min(before), signal.SIGKILL)
            wait_until(lambda old=before: len(running.pool() - {min(old)}) == len(old), 10, why="not replaced")  # type: ignore[misc]
            running.go_on()
        hold(lambda: len(running.redis.ask("CLIENT", "LIST").splitlines()) <= clients + 4, 2, "connections leak")


def test_a_worker_that_is_killed_as_a_whole_comes_back(tmp_path: Path) -> None:
    """As a machine does that is switched off and on."""
    with bots(tmp_path, "--concurrency", "2") as running:
        children = psutil.Process(running.worker.pid).children(recursive=True)
        running.worker.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):  # it may have seen by itself that its parent is gone
                child.kill()
        running.worker.start()
        running.go_on(40)


def test_a_redis_that_is_restarted_is_found_again(tmp_path: Path) -> None:
    """Empty, with broker and prices gone: the stream writes all of it again and the bots go on."""
    with bots(tmp_path, "--concurrency", "2") as running:
        running.redis.kill()
        running.redis.start()
        wait_until(lambda: is_healthy(running.redis.url), 20)
        running.go_on(40)
