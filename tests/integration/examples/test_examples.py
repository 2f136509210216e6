"""The examples, run as their own first lines say, beside a real stream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import which

import pytest

from tests.support import BIN, RedisServer, Simulator, is_healthy, stream_from, wait_until

EXAMPLES = Path(__file__).parents[3] / "examples"
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that a stream fills, with candles."""
    folder = tmp_path_factory.mktemp("stream")
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(folder))
        simulator = stack.enter_context(Simulator(folder, products=",".join(PRODUCTS), rate=30))
        env = {"STREAMER_REST_URL": simulator.rest_url, "STREAMER_MARKET_CALLS_PER_MINUTE": "100"}
        stack.enter_context(stream_from(simulator, server, folder, *PRODUCTS, env=env))
        wait_until(lambda: is_healthy(server.url), 20)
        wait_until(lambda: all(server.ask("HLEN", f"candles_realtime:{name}") > 100 for name in PRODUCTS), 30)
        wait_until(lambda: server.ask("EXISTS", "api_calls:last_hour"), 20)
        yield server


def output(command: list[str], redis: RedisServer, folder: Path) -> str:
    """Run a command to its end and return what it prints."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "REDIS_URL": redis.url, "MPLCONFIGDIR": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_twenty_five_bots_on_one_snapshot(redis: RedisServer, tmp_path: Path) -> None:
    """Each decides, on a price that is live and says so."""
    said = output([sys.executable, str(EXAMPLES / "bots.py"), *PRODUCTS, "--once"], redis, tmp_path).splitlines()
    assert len(said) == 26
    for line in said[:-1]:
        assert re.fullmatch(r"bot-\d+ +(buy|sell): [\d.]+ against [\d.]+, realtime, \d+ ms old", line), line
    assert said[-1].startswith("25 bots evaluated in ")


def test_bots_do_nothing_on_what_is_not_there(tmp_path: Path) -> None:
    """And say why."""
    with RedisServer(tmp_path) as empty:
        said = output(
            [sys.executable, str(EXAMPLES / "bots.py"), "BTC-USD", "--once", "--bots", "1"], empty, tmp_path
        )
    assert "nothing: " in said


def test_candles_are_drawn(redis: RedisServer, tmp_path: Path) -> None:
    """Into a picture."""
    said = output([sys.executable, str(EXAMPLES / "plot.py"), "BTC-USD", "btc.png"], redis, tmp_path)
    assert re.fullmatch(r"(99|100) candles drawn into btc.png\n", said)
    assert (tmp_path / "btc.png").read_bytes().startswith(b"\x89PNG")


def commands() -> list[str]:
    """Every line of the page that asks Redis something and comes to an end."""
    text = (EXAMPLES / "redis_cli.md").read_text()
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines() if line.startswith("redis-cli")]
    assert len(lines) > 10
    return [line for line in lines if " SUBSCRIBE " not in line]


@pytest.mark.parametrize("line", commands(), ids=lambda line: line[10:40])
def test_redis_cli_finds_what_the_page_says(redis: RedisServer, tmp_path: Path, line: str) -> None:
    """No line of it answers with nothing or with an error."""

    def told() -> str:
        said = output(["bash", "-c", line.replace("redis-cli", f"redis-cli -p {redis.port}")], redis, tmp_path)
        assert "ERR" not in said, said
        return said.strip()

    # Sums are kept for ten seconds after something was counted; and nothing has gone wrong.
    if "api_calls" in line:
        output([str(BIN / "streamer"), "get", "BTC-USD"], redis, tmp_path)
    assert told() == "" if "stream:errors" in line else wait_until(told, 5)


def test_another_language_reads_the_same(redis: RedisServer, tmp_path: Path) -> None:
    """Node, with nothing of ours: prices that are live by the rule of the contract, and changes as they come."""
    node = which("node")
    if node is None or not (EXAMPLES / "node" / "node_modules").is_dir():
        why = "needs Node and npm ci --prefix examples/node"
        if os.environ.get("CI") == "1":
            pytest.fail(why)
        pytest.skip(why)
    said = output([node, str(EXAMPLES / "node" / "read.mjs"), *PRODUCTS, "--changes", "3"], redis, tmp_path)
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(one["product_id"], one["tier"]) for one in lines[:3]] == [(name, "realtime") for name in PRODUCTS]
    assert len(lines) == 6
    assert {one["change"] for one in lines[3:]} <= set(PRODUCTS)
