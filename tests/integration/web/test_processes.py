"""The commands themselves: a stream from the simulator with its API, and a second API beside it."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from streamer.store.address import process_alive
from tests.support import BIN, Process, RedisServer, Simulator, free_port, wait_until

MARKET = "/api/v1/market"
SECRET = "not-to-be-seen-by-others"


def test_a_stream_with_its_api(tmp_path: Path, redis: RedisServer) -> None:
    """What is asked for over HTTP is streamed, served and pushed, here and by `streamer serve`; both stop."""
    ports = free_port(), free_port()
    with Simulator(tmp_path, "--rest-port", "0", products="BTC-USD,ETH-USD,SOL-USD") as simulator:
        env = {"STREAMER_REST_URL": simulator.rest_url}
        common = ["--redis-url", redis.url]
        stream = [str(BIN / "start-stream"), "BTC-USD", "--ws-url", simulator.url, *common, "--port", str(ports[0])]
        alone = [str(BIN / "streamer"), "serve", *common, "--port", str(ports[1])]
        with Process(stream, tmp_path, env=env) as first, Process(alone, tmp_path, env=env) as second:
            clients = [
                httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) for port in ports
            ]
            for client in clients:
                wait_until(partial(_answers, client, "/readyz"), 30)
            assert clients[1].get(f"{MARKET}/ticker/BTC-USD").json()["tier"] == "realtime"
            told = clients[1].post("/api/v1/ws/start-stream", json={"product_ids": ["ETH-USD", "ETH-USDD"]}).json()
            assert (told["changed"], told["refused"][0]["product_id"]) == (["ETH-USD"], "ETH-USDD")
            for client in clients:
                wait_until(partial(_is_realtime, client, "ETH-USD"), 20)
                assert client.get("/api/v1/system/calls").status_code == 200
                with client.stream("GET", "/api/v1/stream") as events:
                    assert set(_first(events)["tickers"]) == {"BTC-USD", "ETH-USD"}
                unknown = client.get(f"{MARKET}/ticker/BTC-USDD")
                assert (unknown.status_code, unknown.json()["nearest"][0]) == (404, "BTC-USD")
                client.close()
            for process in (second, first):
                process.signal(signal.SIGTERM)
                assert process.wait(5) == 0
                assert "Traceback" not in process.log


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def _is_realtime(client: httpx.Client, product_id: str) -> bool:
    return bool(client.get(f"{MARKET}/ticker/{product_id}").json().get("tier") == "realtime")


def _first(events: httpx.Response) -> Any:
    return next(json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:"))


@contextmanager
def _stream_with_api(folder: Path, redis: RedisServer) -> Iterator[tuple[Process, int]]:
    """Yield a stream that serves its API, and the process that does."""
    port = free_port()
    with Simulator(folder, "--rest-port", "0", products="BTC-USD") as simulator:
        env = {"STREAMER_REST_URL": simulator.rest_url, "STREAMER_API_TOKEN": SECRET}
        command = [str(BIN / "start-stream"), "BTC-USD", "--ws-url", simulator.url, "--redis-url", redis.url]
        with Process([*command, "--port", str(port)], folder, env=env) as stream:
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
            wait_until(partial(_answers, client, "/readyz"), 30)
            yield stream, port
            client.close()


def _api_of(stream: Process) -> psutil.Process:
    (child,) = (one for one in psutil.Process(stream.pid).children() if "serve" in one.cmdline())
    return child


def test_an_api_that_dies_comes_back_and_the_stream_goes_on(tmp_path: Path, redis: RedisServer) -> None:
    """Whoever asks meanwhile waits; not a frame is lost for it."""
    with _stream_with_api(tmp_path, redis) as (stream, port):
        before = json.loads(redis.ask("GET", "stream:status"))
        _api_of(stream).kill()
        answer = httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False, timeout=20)
        assert answer.status_code == 200
        assert '"event":"api.ended"' in stream.log
        after = json.loads(redis.ask("GET", "stream:status"))
        assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"])
        assert all(feed["reconnects"] == 0 for feed in after["feeds"])


def test_a_stream_that_is_killed_leaves_no_api_behind(tmp_path: Path, redis: RedisServer) -> None:
    """It would hold the port and serve what nobody renews."""
    with _stream_with_api(tmp_path, redis) as (stream, port):
        api = _api_of(stream)
        stream.kill()
        wait_until(lambda: not process_alive(api.pid), 5)
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_no_secret_is_on_a_command_line(tmp_path: Path, redis: RedisServer) -> None:
    """Everybody on a machine can read those."""
    with _stream_with_api(tmp_path, redis) as (stream, _):
        shown = " ".join(_api_of(stream).cmdline())
        assert SECRET not in shown
        assert redis.url not in shown
