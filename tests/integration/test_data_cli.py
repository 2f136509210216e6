"""The commands of other providers as processes, against a real Redis and the simulated providers."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import BIN, PATIENCE, Process, RedisServer, free_port, run, wait_until

BARS = ("ohlcv", "BTCUSDT", "--provider", "binance", "--interval", "1m")


@dataclass
class World:
    """The simulated providers, a Redis, and a folder to work in."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run("streamer", *words, folder=self.folder, env={**self.env, **env}, deadline_s=30)


@pytest.fixture
def world(redis: RedisServer, tmp_path: Path) -> Iterator[World]:
    """Providers that all can be asked, each with a key where it needs one."""
    port = str(free_port())
    command = [sys.executable, "-m", "streamer.simulator.providers", "--port", port, "--latency-ms", "0"]
    with Process(command, tmp_path, name="providers") as fake:
        wait_until(lambda: "\n" in fake.output, 20, why="the simulated providers do not come up")
        urls = json.loads(fake.output)["providers"]
        words = {name: {"alphavantage": "ALPHA_VANTAGE"}.get(name, name.upper()) for name in urls}
        env = {f"STREAMER_{words[name]}_URL": url for name, url in urls.items()}
        env |= {f"STREAMER_{words[name]}_KEY": f"key-of-{name}" for name in urls if name != "coinbase"}
        work = tmp_path / "work"
        work.mkdir()
        yield World(work, env | {"REDIS_URL": redis.url, "STREAMER_REST_URL": urls["coinbase"]})


def test_price_is_asked_for_once_and_then_read(world: World) -> None:
    """A call by the first, a copy for the second; another process, the same price to the last digit."""
    first, second = (
        json.loads(world.run("price", "BTCUSDT", "--provider", "binance", "--json").stdout) for _ in range(2)
    )
    assert (first["BTC-USDT"]["tier"], second["BTC-USDT"]["tier"]) == ("rest", "cache")
    assert first["BTC-USDT"]["price"] == second["BTC-USDT"]["price"]
    assert first["BTC-USDT"]["instrument"] == "perpetual"
    assert second["BTC-USDT"]["score"] is not None  # what the first process has seen of it


def test_several_providers_are_compared(world: World) -> None:
    """Crypto and stock in one go; each source has a row with its distance."""
    answer = world.run("price", "BTC-USD", "SPY", "--verify")
    assert answer.returncode == 0, answer.stderr
    sources = answer.stdout.split("\n\n")[1]
    assert sources.count(" bp ") >= 5 and "coinbase" in sources and "eodhd" in sources
    assert "\x1b" not in answer.stdout


def test_explain_tells_a_failover_and_a_failure(world: World) -> None:
    """Who failed, who was asked next, and who served; where nobody can, why, and status 1."""
    gone = {
        "STREAMER_BINANCE_URL": f"http://127.0.0.1:{free_port()}",
        "STREAMER_PROVIDERS_CRYPTO": "binance,coinmarketcap",
    }
    told = json.loads(world.run("explain", "--symbol", "BTC/USDT", "--json", **gone).stdout)
    fates = {turn["provider"]: turn["fate"] for turn in told["story"]}
    assert fates.pop("binance") in ("failed", "late")  # it is tried again while the next one is asked
    assert fates == {"coinmarketcap": "served"}
    assert told["served"]["provider"] == "coinmarketcap" and told["served"]["reason"].startswith(
        "binance was asked first"
    )
    answer = world.run("explain", "--symbol", "NOPE-USD")
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[-1].endswith("nobody has anything that may be served")


def test_a_range_over_many_pages_is_whole(world: World) -> None:
    """Every minute once and in order, in all forms alike; a provider's row limit is not seen."""
    range_ = ("--start", "2026-06-01", "--end", "2026-06-02")
    for words in (("--csv", "bars.csv"), ("--json", "bars.json", "--validate"), ("--parquet", "bars.parquet")):
        answer = world.run(*BARS, *range_, *words)
        assert (answer.returncode, answer.stdout) == (0, ""), answer.stderr
    rows = [line.split(",") for line in (world.folder / "bars.csv").read_text().splitlines()[1:]]
    told = json.loads((world.folder / "bars.json").read_text())
    assert [row[:6] for row in rows] == [
        [bar[name] for name in ("start", "open", "high", "low", "close", "volume")] for bar in told["bars"]
    ]
    starts = [bar["start_s"] for bar in told["bars"]]
    assert starts == list(range(starts[0], starts[0] + 24 * 3600, 60))
    assert told["validation"]["completeness"] == 1.0
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install pyarrow")
    closes = parquet.read_table(world.folder / "bars.parquet").column("close").to_pylist()
    assert closes == [Decimal(row[4]) for row in rows]


def test_a_terminal_sees_how_far_it_is(world: World) -> None:
    """A bar on stderr; standard output has the bars and nothing else."""
    mine, theirs = pty.openpty()
    words = [str(BIN / "streamer"), *BARS, "--start", "2026-06-01", "--end", "2026-06-02", "--csv"]
    env = {"PATH": os.environ["PATH"], "HOME": str(world.folder), "TERM": "xterm", **world.env}
    done = subprocess.run(
        words, cwd=world.folder, env=env, stdout=subprocess.PIPE, stderr=theirs, timeout=30 * PATIENCE, check=True
    )
    os.close(theirs)
    seen = b""
    while chunk := _read(mine):
        seen += chunk
    os.close(mine)
    assert b"BTC-USDT 1m" in seen and b"/" in seen and b"\x1b" in seen
    assert done.stdout.startswith(b"start,open") and b"\x1b" not in done.stdout
    assert done.stdout.count(b"\n") == 24 * 60 + 1


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed and all is read
        return b""


def test_an_interrupted_run_leaves_no_half_file(world: World, redis: RedisServer) -> None:
    """Ctrl-C amid a long range: status 130, no traceback, and the folder as it was."""
    env = {**world.env, "FKS_BINANCE_RPS": "1"}
    command = [str(BIN / "streamer"), *BARS, "--start", "2026-06-01", "--end", "2026-06-20", "--csv", "bars.csv"]
    with Process(command, world.folder, env=env, name="ohlcv") as command_:
        wait_until(lambda: redis.ask("KEYS", "data:binance:*"), 20, why="no page has come")
        command_.signal(signal.SIGINT)
        assert command_.wait(10 * PATIENCE) == 130
        assert "Traceback" not in command_.log
    assert not [path.name for path in world.folder.iterdir() if "bars.csv" in path.name]


def test_without_redis_nobody_is_asked(world: World) -> None:
    """Status 3 and one line: a command has no budget of its own."""
    for words in (("price", "SPY"), ("ohlcv", "SPY", "--csv"), ("explain", "--symbol", "SPY")):
        answer = world.run(*words, REDIS_URL="redis://127.0.0.1:1")
        assert (answer.returncode, answer.stdout) == (3, "")
        assert answer.stderr.startswith("error: Redis at") and answer.stderr.count("\n") == 1
