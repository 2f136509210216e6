"""More clients than a usual limit of files allows, beside a stream that must not notice."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.integration.web.test_processes import _answers
from tests.support import BIN, PATIENCE, Process, RedisServer, Simulator, free_port, wait_until


def test_a_crowd_that_says_nothing_does_not_touch_the_stream(tmp_path: Path, redis: RedisServer) -> None:
    """Prices are written on, a lost feed comes back meanwhile, others are served; all of it is cut within 10 s."""
    port = free_port()
    # Half of the crowd alone is beyond the soft limit that the command is started with.
    limited = ["bash", "-c", 'ulimit -Sn 256 && exec "$@"', "-", str(BIN / "start-stream"), "BTC-USD"]
    with Simulator(tmp_path, "--rest-port", "0", products="BTC-USD") as simulator:
        stream = [*limited, "--ws-url", simulator.url, "--redis-url", redis.url, "--port", str(port)]
        with (
            Process(stream, tmp_path, env={"STREAMER_REST_URL": simulator.rest_url}) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client,
            ExitStack() as crowd,
        ):
            wait_until(partial(_answers, client, "/readyz"), 30)
            began = time.monotonic()
            silent = [crowd.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(512)]
            newcomer = httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False, timeout=3 * PATIENCE)
            assert newcomer.status_code == 200
            assert not _cut(silent)
            written = int(redis.ticker("BTC-USD")["written_ms"])
            simulator.fault("close")
            wait_until(lambda: '"feed.down"' in process.log, 5)
            wait_until(lambda: int(redis.ticker("BTC-USD")["written_ms"]) > written, 5)
            assert wait_until(lambda: _healthy(client), 5)["sink"]["lag_ms"] < 500
            assert {one.recv(1) for one in silent} == {b""}
            assert time.monotonic() - began < 10 * PATIENCE


def _cut(clients: list[socket.socket]) -> int:
    """How many have been cut off, of clients that are sent nothing."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    return len(poll.poll(0))


def _healthy(client: httpx.Client) -> Any:
    told = client.get("/api/v1/ws/stream-status").json()
    return told["status"] if told["level"] == "healthy" else None
