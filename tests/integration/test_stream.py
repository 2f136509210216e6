"""start-stream as its users run it: a process, a Redis, an exchange, and signals.

The tests run side by side, each with processes of its own; they mostly wait.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from streamer.store.address import process_alive, read_state
from tests.support import (
    BIN,
    META,
    Lanes,
    Process,
    RedisServer,
    Simulator,
    Stream,
    is_healthy,
    run,
    stream_from,
    values,
    wait_until,
)

pytestmark = pytest.mark.timed

lanes = Lanes()

START_S = 20.0


class Setting(NamedTuple):
    """Everything that runs, and where."""

    redis: RedisServer
    simulator: Simulator
    stream: Stream
    folder: Path


@contextmanager
def streaming(
    folder: Path, *products: str, rate: float | str = 40, count: int | str = 4, quiet: str = ""
) -> Iterator[Setting]:
    """A stream that is healthy."""
    with (
        RedisServer(folder) as redis,
        Simulator(folder, "--quiet", quiet, products=count, rate=rate) as simulator,
        stream_from(simulator, redis, folder, *products) as stream,
    ):
        wait_until(lambda: is_healthy(redis.url), START_S, why="the stream does not become healthy")
        yield Setting(redis, simulator, stream, folder)


def status_command(redis: RedisServer, folder: Path) -> tuple[int, str]:
    """Ask stream-status as a probe would; return exit status and reasons."""
    answer = run("stream-status", "--json", "--redis-url", redis.url, folder=folder)
    return answer.returncode, " ".join(json.loads(answer.stdout)["reasons"])


# -- what it streams ----------------------------------------------------------------------------------------------


@lanes.test
def test_it_streams_products_and_follows_the_wanted_set(folder: Path) -> None:
    """Every field in Redis, marked as simulated; add and remove by another process take effect within 3 s."""
    with streaming(folder, "BTC-USD", "ETH-USD") as (redis, simulator, stream, _):
        held = redis.ticker("BTC-USD")
        assert held.keys() == META | values(simulator.truth()["BTC-USD"]).keys()
        assert (held["source"], held["connection"]) == ("simulator", "1")
        assert redis.shadow("ETH-USD")["source"] == "simulator"
        assert not redis.ticker("SOL-USD")
        assert "SIMULATED" not in stream.output
        added = run("streamer", "wanted", "add", "SOL-USD", "--redis-url", redis.url, folder=folder)
        assert (added.returncode, "added 1 of 1" in added.stdout) == (0, True)
        wait_until(lambda: redis.ticker("SOL-USD"), 3, exactly=True, why="an added product is not streamed")
        assert (
            run("streamer", "wanted", "remove", "ETH-USD", "--redis-url", redis.url, folder=folder).returncode == 0
        )

        def is_dropped() -> bool:
            subscribed = simulator.state()["connections"][0]["subscriptions"]["ticker"]
            return sorted(subscribed) == ["BTC-USD", "SOL-USD"]

        wait_until(is_dropped, 3, exactly=True, why="a removed product is still subscribed")
        wait_until(lambda: not redis.ticker("ETH-USD"), 3, why="a removed product still has a realtime hash")
        assert redis.shadow("ETH-USD")["price"]
        undemanding = {"STREAMER_DEMAND": "false"}  # else asking for it would have it streamed again
        got = run("streamer", "get", "ETH-USD", "--json", "--redis-url", redis.url, folder=folder, env=undemanding)
        assert json.loads(got.stdout)["ETH-USD"]["tier"] == "stale"
        assert json.loads(redis.ask("GET", "stream:status"))["feeds"][0]["reconnects"] == 0
        assert status_command(redis, folder) == (0, "")


@lanes.test
def test_an_alias_lands_under_its_own_key(folder: Path) -> None:
    """BTC-USDC carries the values of BTC-USD and says so; a pair with a book of its own does not."""
    with streaming(folder, "BTC-USD", "BTC-USDC", "USDT-USDC", count="BTC-USD,USDT-USDC") as (
        redis,
        simulator,
        _,
        _,
    ):
        simulator.tell({"pause": True})
        truth = simulator.truth()
        wait_until(lambda: redis.ticker("BTC-USDC").get("price") == truth["BTC-USD"]["price"], 5)
        alias = redis.ticker("BTC-USDC")
        assert (alias["alias_of"], alias["product_id"]) == ("BTC-USD", "BTC-USDC")
        assert "alias_of" not in redis.ticker("BTC-USD")
        assert "alias_of" not in redis.ticker("USDT-USDC")
        wait_until(lambda: redis.ticker("USDT-USDC")["price"] == truth["USDT-USDC"]["price"], 5)
        shown = run("streamer", "get", "BTC-USDC", "--json", "--redis-url", redis.url, folder=folder)
        assert json.loads(shown.stdout)["BTC-USDC"]["alias_of"] == "BTC-USD"


@lanes.test
def test_an_unknown_product_is_reported_and_harms_nobody(folder: Path) -> None:
    """stream-status names it within 15 s; the others stay realtime throughout."""
    with streaming(folder, "BTC-USD") as (redis, _, _, _):
        asked_at = time.monotonic()
        run("streamer", "wanted", "add", "NOPE-USD", "--redis-url", redis.url, folder=folder)
        code, reasons = 0, ""
        while "NOPE-USD" not in reasons or "unknown product" not in reasons:
            code, reasons = status_command(redis, folder)
            assert time.monotonic() - asked_at < 15, "the unknown product is not reported"
            shown = run("streamer", "get", "BTC-USD", "--json", "--redis-url", redis.url, folder=folder)
            assert json.loads(shown.stdout)["BTC-USD"]["tier"] == "realtime"
        assert code == 1
        nothing = run("streamer", "get", "NOPE-USD", "--redis-url", redis.url, folder=folder)
        assert nothing.returncode == 1
        assert json.loads(redis.ask("GET", "stream:status"))["feeds"][0]["reconnects"] == 0


@lanes.test
def test_get_watch_record_and_replay(folder: Path) -> None:
    """What the other commands show is what the exchange says, and a recording can be streamed again."""
    with streaming(folder, count=3, rate=60) as (redis, simulator, _, _):
        watched = run(
            "streamer",
            "watch",
            "BTC-USD",
            "ETH-USD",
            "--count",
            "12",
            "--json",
            "--redis-url",
            redis.url,
            folder=folder,
        )
        lines = [json.loads(line) for line in watched.stdout.splitlines()]
        assert (watched.returncode, len(lines)) == (0, 12)
        assert {line["product_id"] for line in lines} == {"BTC-USD", "ETH-USD"}
        assert {line["tier"] for line in lines} == {"realtime"}
        recorded = run(
            "streamer",
            "record",
            "r.jsonl",
            *simulator.products,
            "--ws-url",
            simulator.url,
            "--for-s",
            "2",
            folder=folder,
        )
        assert recorded.returncode == 0, recorded.stderr
        simulator.tell({"pause": True})
        truth = simulator.truth()

        def shown() -> dict[str, dict[str, str]]:
            answer = run("streamer", "get", *truth, "--json", "--redis-url", redis.url, folder=folder)
            assert answer.returncode == 0, answer.stderr
            read: dict[str, dict[str, str]] = json.loads(answer.stdout)
            return read

        def is_the_truth() -> bool:
            names = ("price", "best_bid", "best_ask")
            read = shown()
            assert {p: {n: r[n] for n in names} for p, r in read.items()} == {
                p: {n: t[n] for n in names} for p, t in truth.items()
            }
            return {(r["source"], r["tier"]) for r in read.values()} == {("simulator", "realtime")}

        wait_until(is_the_truth, 10)
    last = {
        t["product_id"]: t["price"]
        for line in (folder / "r.jsonl").read_text().splitlines()
        for event in json.loads(line)["frame"]["events"]
        for t in event["tickers"]
    }
    assert last.keys() == truth.keys()
    command = [str(BIN / "streamer"), "replay", "r.jsonl", "--speed", "4", "--json"]
    with RedisServer(folder) as redis, Process(command, folder, name="replay") as replay:
        wait_until(lambda: "\n" in replay.output, START_S, why="streamer replay does not come up")
        url = json.loads(replay.output)["url"]
        with Stream(folder, *last, "--ws-url", url, "--redis-url", redis.url):
            wait_until(lambda: {p: redis.ticker(p).get("price") for p in last} == last, START_S)


# -- bad input ----------------------------------------------------------------------------------------------------

BAD = {
    "lower case": (["btc-usd"], {}, ["btc-usd", "BTC-USD"]),
    "glob": (["BTC-USD*"], {}, ["BTC-USD*", "capitals"]),
    "too long": (["A" * 33], {}, ["AAAA", "at most 32"]),
    "ws url": (["--ws-url", "http://localhost:1"], {}, ["http://localhost:1", "wss://"]),
    "plain ws": (["--ws-url", "ws://example.com"], {}, ["ws://example.com", "loopback"]),
    "redis url": (["--redis-url", "http://localhost:6379"], {}, ["http://localhost:6379", "redis://"]),
    "redis port": (["--redis-url", "redis://127.0.0.1:99999"], {}, ["99999", "port"]),
    "port": (["--port", "70000"], {}, ["--port", "70000", "65535"]),
    "channel": (["--channels", "level2"], {}, ["channels", "level2", "ticker"]),
    "exchange": (["--exchange", "kraken"], {}, ["exchange", "kraken", "simulator"]),
    "transport": (["--transport", "carrier-pigeon"], {}, ["carrier-pigeon", "picows"]),
    "number": ([], {"STREAMER_SILENCE_S": "soon"}, ["STREAMER_SILENCE_S", "soon", "number"]),
    "range": ([], {"STREAMER_LEASE_S": "0.1"}, ["STREAMER_LEASE_S", "0.1", "1"]),
    "products": ([], {"STREAMER_PRODUCTS": "BTC-USD,eth"}, ["eth", "BTC-USD"]),
    "ca file": (
        ["--ws-url", "wss://localhost"],
        {"STREAMER_CA_FILE": "/no/such.pem"},
        ["STREAMER_CA_FILE", "/no/such.pem"],
    ),
}


@pytest.mark.parametrize("case", BAD)
@lanes.test
def test_bad_input_starts_nothing(folder: Path, case: str) -> None:
    """One line with the value and the rule, exit status 2, and Redis untouched."""
    arguments, env, said = BAD[case]
    with RedisServer(folder) as redis:
        redis_argument = [] if "--redis-url" in arguments else ["--redis-url", redis.url]
        ended = run(
            "start-stream",
            *arguments,
            *redis_argument,
            *([] if "--port" in arguments else ["--no-api"]),
            folder=folder,
            env=env,
        )
        assert ended.returncode == 2, ended.stderr
        assert ended.stdout == ""
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        for words in said:
            assert words in ended.stderr
        assert redis.ask("DBSIZE") == 0


# -- the end ------------------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[signal.Signals, int | str, str | None]] = {
    "SIGINT": (signal.SIGINT, 40, None),
    "SIGTERM": (signal.SIGTERM, 40, None),
    "SIGTERM, saturated": (signal.SIGTERM, "max", None),
    "SIGINT, frozen exchange": (signal.SIGINT, 40, "simulator"),
    "SIGTERM, frozen Redis": (signal.SIGTERM, 200, "redis"),
    "SIGTERM, both frozen": (signal.SIGTERM, 200, "both"),
}


@pytest.mark.parametrize("case", ENDS)
@lanes.test
def test_a_signal_ends_it_within_two_seconds(folder: Path, case: str) -> None:
    """Exit status 0 whatever else is going on; where Redis answers, it says goodbye and frees the shard."""
    number, rate, frozen = ENDS[case]
    with streaming(folder, rate=rate, count=10) as (redis, simulator, stream, _):
        named: dict[str | None, list[Process]] = {"simulator": [simulator], "redis": [redis]}
        victims = [simulator, redis] if frozen == "both" else named.get(frozen, [])
        for victim in victims:
            victim.freeze()
        began = time.monotonic()
        stream.signal(number)
        try:
            code = stream.wait(10)
            took_s = time.monotonic() - began
        finally:
            for victim in victims:
                victim.thaw()
        assert (code, took_s < 2.0) == (0, True), f"{took_s:.2f} s"
        assert "Traceback" not in stream.log
        assert '"event":"stream.stopped"' in stream.log
        if redis not in victims:
            assert redis.ask("EXISTS", "stream:lease:default") == 0
            status = json.loads(redis.ask("GET", "stream:status"))
            assert status["role"] == "stopping"
            assert {feed["state"] for feed in status["feeds"]} == {"stopped"}
            assert status_command(redis, folder)[0] == 2


@lanes.test
def test_a_signal_during_the_start_ends_it_too(folder: Path) -> None:
    """With neither exchange nor Redis there, it still stops at once when told to."""
    with Stream(folder, "--ws-url", "ws://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1") as stream:
        wait_until(lambda: '"event":"redis.unavailable"' in stream.log, START_S)
        began = time.monotonic()
        stream.signal(signal.SIGTERM)
        assert stream.wait(10) == 0
        assert time.monotonic() - began < 2


# -- two of them --------------------------------------------------------------------------------------------------


@lanes.test
def test_a_standby_takes_over(folder: Path) -> None:
    """One owns, one waits with a warm book; the owner killed, the other writes all within its lease and 2 s."""
    with streaming(folder) as (redis, simulator, first, _), stream_from(simulator, redis, folder) as second:
        owner = redis.ask("GET", "stream:lease:default")
        assert f":{first.pid}:" in owner
        wait_until(lambda: '"event":"feed.live"' in second.log, START_S)
        epoch = int(redis.ticker("BTC-USD")["epoch"])
        assert redis.ask("GET", "stream:lease:default") == owner
        assert "lease.taken" not in second.log
        lease_s = redis.ask("PTTL", "stream:lease:default") / 1000
        first.kill()
        began = time.monotonic()
        products = simulator.products
        wait_until(
            lambda: all(int(redis.ticker(p).get("epoch", 0)) > epoch for p in products),
            3.0 + 2.0,
            exactly=True,
            why="the standby has not written everything",
        )
        assert time.monotonic() - began > lease_s - 1.5
        assert f":{second.pid}:" in redis.ask("GET", "stream:lease:default")
        wait_until(lambda: is_healthy(redis.url), 5)


# -- all by itself ------------------------------------------------------------------------------------------------


@lanes.test
def test_it_brings_its_own_redis_and_exchange(folder: Path) -> None:
    """Without a Redis URL others find the embedded one; killed, it leaves no child behind."""
    env = {"STREAMER_STATE_DIR": str(folder / "state")}
    with Stream(folder, "--exchange", "simulator", "BTC-USD", "ETH-USD", env=env) as stream:

        def got() -> bool:
            answer = run("streamer", "get", "BTC-USD", "ETH-USD", "--json", folder=folder, env=env)
            assert answer.returncode == 0, answer.stderr
            read = json.loads(answer.stdout)
            return all((r["source"], r["tier"]) == ("simulator", "realtime") for r in read.values())

        wait_until(got, START_S)
        # Prices come first: the second answer about balances, which ends the doubt of a start, follows soon.
        wait_until(lambda: run("stream-status", folder=folder, env=env).returncode == 0, START_S)
        assert "SIMULATED PRICES" in stream.log
        state = read_state(str(folder / "state"))
        assert state is not None
        children = psutil.Process(stream.pid).children(recursive=True)
        assert len(children) == 2
        assert state.redis_pid in {child.pid for child in children}
        stream.kill()
        wait_until(
            lambda: not any(process_alive(child.pid) for child in children), 3, exactly=True, why="a child survived"
        )
        stream.start()  # on the same folder, at once
        wait_until(got, START_S)
        children = psutil.Process(stream.pid).children(recursive=True)
        stream.signal(signal.SIGINT)
        assert stream.wait(10) == 0
        wait_until(lambda: not any(process_alive(child.pid) for child in children), 3, why="a child survived")
