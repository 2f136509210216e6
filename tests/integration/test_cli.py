"""The commands as processes, against a real Redis and the simulator: outages, full disks, bad addresses."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from streamer.store.address import process_alive, read_state
from tests.integration.reader.rig import World
from tests.support import BIN, Process, RedisServer, Simulator, Stream, is_healthy, run, stream_from, wait_until

pytestmark = pytest.mark.timed

START_S = 20.0


@pytest.mark.parametrize("query", ["foo=bar", "max_connections=abc", "socket_timeout=5"])
@pytest.mark.parametrize("command", [("start-stream",), ("streamer", "get", "BTC-USD"), ("streamer", "doctor")])
def test_a_redis_url_with_unknown_options_is_bad_input(
    tmp_path: Path, command: tuple[str, ...], query: str
) -> None:
    """One line that names the option, and status 2, before anything is started."""
    answer = run(*command, "--redis-url", f"redis://127.0.0.1:1?{query}", folder=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert f"option '{query.partition('=')[0]}' is not known here" in answer.stderr


def test_get_tells_a_miss_from_an_outage(redis: RedisServer, tmp_path: Path) -> None:
    """1 where Redis has no price, 3 where there is no Redis to ask."""
    missed = run("streamer", "get", "BTC-USD", "--no-rest", "--json", "--redis-url", redis.url, folder=tmp_path)
    assert missed.returncode == 1
    assert json.loads(missed.stdout)["BTC-USD"]["tier"] is None
    assert "it is not streamed" in json.loads(missed.stdout)["BTC-USD"]["error"]
    for command in (("get", "BTC-USD", "--no-rest"), ("get", "--balances", "--no-rest"), ("explain", "BTC-USD")):
        for where in (("--redis-url", "redis://127.0.0.1:1"), ()):
            answer = run("streamer", *command, *where, folder=tmp_path)
            assert (answer.returncode, answer.stdout) == (3, "")
            assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1


def test_explain_tells_where_a_price_is(redis: RedisServer, tmp_path: Path) -> None:
    """Plain text when piped, tier by tier, and on the last line what follows from it."""
    world = World(redis)
    world.feed()
    world.ticker()
    answer = run("streamer", "explain", "BTC-USD", "--redis-url", redis.url, folder=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [
        "ticker_realtime:BTC-USD",
        "ticker:BTC-USD",
        "ticker_realtime:BTC-USD:stale",
        "ticker:BTC-USD:stale",
    ]
    assert lines[-1].startswith("ticker BTC-USD: 100 is served, realtime") and "\x1b" not in answer.stdout
    command = ["streamer", "explain", "ETH-USD", "--json", "--redis-url", redis.url]
    assert json.loads(run(*command, folder=tmp_path).stdout)["served"] is None


def test_get_says_how_old_a_price_may_be(redis: RedisServer, tmp_path: Path) -> None:
    """What is too old is missing, and the reason says how old it is."""
    world = World(redis)
    world.feed(state="backoff", age_ms=60_000)
    world.ticker(age_ms=60_000)
    command = ["streamer", "get", "BTC-USD", "--no-rest", "--redis-url", redis.url]
    assert "stale" in run(*command, folder=tmp_path).stdout
    answer = run(*command, "--max-age-s", "5", folder=tmp_path)
    assert answer.returncode == 1 and "none" in answer.stdout
    assert run(*command, "--max-age-s", "-5", folder=tmp_path).returncode == 2


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_standard_stream_is_none_to_us(redis: RedisServer, tmp_path: Path, number: int) -> None:
    """As some supervisors start their children: same end, no traceback, no abort of the event loop."""
    line = f"exec {BIN / 'streamer'} get BTC-USD --no-rest --redis-url {redis.url} {number}<&-"
    with Process(["bash", "-c", line], tmp_path, name="closed") as closed:
        assert closed.wait(20) == 1
    assert "Traceback" not in closed.log and "Assertion" not in closed.log
    if number != 2:
        assert "BTC-USD is unavailable" in closed.log


def test_watch_of_a_redis_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    """At once: waiting for a mistyped address would help nobody."""
    answer = run("streamer", "watch", "BTC-USD", "--redis-url", "redis://127.0.0.1:1", folder=tmp_path)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("error: Redis at redis://127.0.0.1:1 is unavailable")


def test_watch_waits_for_a_redis_that_has_gone(tmp_path: Path) -> None:
    """Said once when it goes and once when it is back; then prices come again."""
    with (
        RedisServer(tmp_path) as redis,
        Simulator(tmp_path, products=2) as simulator,
        stream_from(simulator, redis, tmp_path),
    ):
        wait_until(lambda: is_healthy(redis.url), START_S)
        command = [str(BIN / "streamer"), "watch", "BTC-USD", "ETH-USD", "--json", "--redis-url", redis.url]
        with Process(command, tmp_path, name="watch") as watch:
            wait_until(lambda: watch.output.count("\n") > 3, START_S)
            redis.kill()
            wait_until(lambda: "unavailable" in watch.log, 5)
            time.sleep(1.5)  # long enough for three tries
            seen = watch.output.count("\n")
            redis.start()
            wait_until(lambda: watch.output.count("\n") > seen + 3, START_S, why="no price after the outage")
            assert watch.log.count("unavailable") == watch.log.count("is back") == 1
            watch.signal(signal.SIGINT)
            assert watch.wait(5) == 130


def test_a_recording_onto_a_full_disk_ends_with_one_line(tmp_path: Path) -> None:
    """Status 1 and the reason, at once and without a traceback; standard output is a file like any other."""
    with Simulator(tmp_path, products=2) as simulator:
        command = ["streamer", "record", "/dev/full", "BTC-USD", "--ws-url", simulator.url]
        answer = run(*command, folder=tmp_path)
        assert answer.returncode == 1
        assert "error: /dev/full cannot be written: No space left on device; it holds 0 frames" in answer.stderr
        assert "Traceback" not in answer.stderr
        whole = tmp_path / "prices.jsonl"
        assert run("streamer", "record", str(whole), "--ws-url", simulator.url, "--for-s", "1", folder=tmp_path)
        assert all(json.loads(line)["frame"]["channel"] == "ticker" for line in whole.read_bytes().splitlines())
        assert whole.stat().st_size
        shell = f"{BIN}/streamer record - --ws-url {simulator.url} > /dev/full"
        with Process(["/bin/sh", "-c", shell], tmp_path, name="full") as full:
            assert full.wait(20) == 1
            assert "error: - cannot be written" in full.log and "Exception ignored" not in full.log


def test_the_simulator_knows_what_was_asked_for_and_no_key(tmp_path: Path) -> None:
    """A product of the command alone has prices; the exchange's process has none of our secrets."""
    env = {"STREAMER_STATE_DIR": str(tmp_path / "state"), "COINBASE_API_SECRET": "hush-hush-5f2c"}
    with Stream(tmp_path, "--exchange", "simulator", "PEPE-USD", "WIF-USDC", env=env) as stream:

        def got() -> bool:
            answer = run("streamer", "get", "PEPE-USD", "WIF-USDC", "--no-rest", "--json", folder=tmp_path, env=env)
            assert answer.returncode == 0, answer.stderr
            return all(reading["tier"] == "realtime" for reading in json.loads(answer.stdout).values())

        wait_until(got, START_S)
        children = psutil.Process(stream.pid).children(recursive=True)
        assert len(children) == 2
        for child in children:
            assert b"hush-hush" not in Path(f"/proc/{child.pid}/environ").read_bytes()


def test_ctrl_c_with_a_frozen_embedded_redis_ends_within_two_seconds(tmp_path: Path) -> None:
    """It is not waited for, and leaves no process behind."""
    env = {"STREAMER_STATE_DIR": str(tmp_path / "state")}
    with Stream(tmp_path, "--exchange", "simulator", "BTC-USD", env=env) as stream:

        def url() -> str | None:
            state = read_state(str(tmp_path / "state"))
            return state.url if state else None

        wait_until(lambda: (where := url()) is not None and is_healthy(where), START_S)
        state = read_state(str(tmp_path / "state"))
        assert state is not None
        psutil.Process(state.redis_pid).suspend()
        began = time.monotonic()
        stream.signal(signal.SIGINT)
        assert stream.wait(10) == 0
        took_s = time.monotonic() - began
        assert took_s < 2, f"{took_s:.2f} s"
        assert not process_alive(state.redis_pid)
        assert "Traceback" not in stream.log
