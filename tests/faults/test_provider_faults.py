"""Providers under load from several processes, and without Redis.

Real processes; what the providers saw is counted by themselves.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamer.data.manager import How
from streamer.errors import StreamerError
from streamer.model import Priority, Tier
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake, serving
from tests.integration.data.rig import BTC, USDT, environment, joined, totals
from tests.support import PATIENCE, Lanes, Process, RedisServer, until

pytestmark = pytest.mark.faults

lanes = Lanes()

BINANCE_RPS, EODHD_RPS, EODHD_DAILY = 20, 25, 60
BINANCE_ALONE = 8
ASKS_S = 5.0
CHILD = """
import asyncio, sys, time
from streamer.data.ask import Ask
from streamer.data.desk import DataDesk
from streamer.errors import StreamerError
from streamer.providers.base import Call
from streamer.providers.shape import Interval
from streamer.providers.symbols import parse_symbol
from streamer.reader.reader import AsyncReader
from streamer.settings import load
from streamer.store.connect import Store

COINS = "BTC ETH SOL XRP DOGE ADA AVAX LINK LTC DOT".split()
STOCKS = "SPY AAPL MSFT".split()

async def main(url, at, lasts_s):
    config = load()
    store = Store(url, max_connections=50)
    async with AsyncReader(url, settings=config) as reader:
        desk = DataDesk(reader, store, config)
        ends = time.monotonic() + float(lasts_s)

        async def bot(name, ask):
            while (left_s := ends - time.monotonic()) > 0:
                call = Call(deadline=time.monotonic() + min(left_s, 1.0))
                try:
                    await desk.providers[name].find(ask, call, int(time.time()))
                except StreamerError:
                    await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as bots:
            for coin in COINS[int(at) :: 4]:
                for interval in (None, Interval.M1, Interval.H1):
                    bots.create_task(bot("binance", Ask(parse_symbol(coin + "-USDT"), interval, 50)))
                bots.create_task(bot("coingecko", Ask(parse_symbol(coin + "-USD"))))
            for interval in list(Interval)[int(at) : 6 : 4]:
                for stock in STOCKS:
                    bots.create_task(bot("eodhd", Ask(parse_symbol(stock), interval, 50)))
        await desk.close()
    await store.close()
    print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@lanes.test
def test_four_processes_keep_every_budget(folder: Path) -> None:
    """As fast as four processes can ask, no window of a provider's own sees more than was allowed: no 429."""

    async def play(redis: RedisServer) -> None:
        async with serving() as fake:
            fake.command({"plan": "paid", "provider": "eodhd"})
            words = {"FKS_BINANCE_RPS": str(BINANCE_RPS)}
            words |= {"FKS_EODHD_RPS": str(EODHD_RPS), "FKS_EODHD_DAILY": str(EODHD_DAILY)}
            env = environment(fake, **words)
            del env["FKS_COINGECKO_RPS"], env["FKS_COINGECKO_DAILY"]  # as its free plan has it: 30 a minute
            with ExitStack() as stack:
                children = [
                    stack.enter_context(
                        Process([sys.executable, "-c", CHILD, redis.url, str(at), str(ASKS_S)], folder, env=env)
                    )
                    for at in range(4)
                ]
                await until(lambda: all("done" in child.output for child in children), 40)
                assert [child.wait(5) for child in children] == [0] * 4, children[0].log
            state = fake.state()
        binance, eodhd, coingecko = state["binance"], state["eodhd"], state["coingecko"]
        assert binance["most_per_second"] <= BINANCE_RPS
        assert binance["total"] > ASKS_S * BINANCE_RPS / 3, "far fewer than allowed"
        assert eodhd["most_per_second"] * 5 <= EODHD_RPS
        # Of a day that has just begun half is granted: what was spent before is not known.
        assert EODHD_DAILY / 4 <= eodhd["most_cost_per_minute"] <= EODHD_DAILY / 2
        assert 10 < coingecko["most_per_minute"] <= 15
        for seen in (binance, eodhd, coingecko):
            assert (seen["refused_total"], set(seen["statuses"])) == (0, {"200"}), seen

    with RedisServer(folder) as redis:
        asyncio.run(play(redis))


# -- Redis -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def fake() -> AsyncIterator[ProviderFake]:
    """All providers."""
    async with serving() as made:
        made.command({"limits": "off"})
        yield made


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_redis_goes_and_comes_back(
    fake: ProviderFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Without Redis answers come in time, by a small budget of our own, and say so; then copies count again."""
    for name, value in environment(fake, FKS_BINANCE_RPS=str(BINANCE_ALONE)).items():
        monkeypatch.setenv(name, value)
    timeout_s = 6.0
    asked = How(provider="binance", timeout_s=timeout_s)
    with RedisServer(tmp_path) as redis:
        async with joined(redis.url) as party:
            assert (await party.desk.price(USDT, asked)).reason is None
            redis.kill() if how == "killed" else redis.freeze()
            for base in ("ETH",):
                began = time.monotonic()
                served = await party.desk.price(parse_symbol(f"{base}-USDT"), asked)
                assert time.monotonic() - began < timeout_s * PATIENCE
                assert served.found.tier is Tier.REST
                assert "without Redis" in (served.reason or "")
            flood = [
                party.desk.price(parse_symbol(f"{base}-USDT"), asked) for base in ("ADA", "LTC", "DOT", "LINK")
            ]
            await asyncio.gather(*flood, return_exceptions=True)
            assert fake.state("binance")["most_per_second"] <= BINANCE_ALONE
            background = How("binance", timeout_s=2, priority=Priority.BACKGROUND)
            with pytest.raises(StreamerError):
                await party.desk.price(parse_symbol("AVAX-USDT"), background)
            if how == "killed":
                await asyncio.to_thread(redis.start)
            else:
                redis.thaw()
            doge = parse_symbol("DOGE-USDT")
            async with asyncio.timeout(10 * PATIENCE):
                while (served := await party.desk.price(doge, asked)).found.tier is not Tier.CACHE:
                    await asyncio.sleep(0.1)
            assert served.reason is None


async def test_all_in_trouble_and_redis_too(
    fake: ProviderFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Providers that are down and a Redis that is frozen: an error that names each, within the time."""
    for name, value in environment(fake).items():
        monkeypatch.setenv(name, value)
    with RedisServer(tmp_path) as redis:
        async with joined(redis.url) as party:
            await party.desk.price(BTC)
            for name in fake.names:
                fake.fault(name, "down")
            with redis.frozen():
                began = time.monotonic()
                with pytest.raises(StreamerError, match=r"coingecko.*polygon|polygon.*coingecko"):
                    await party.desk.price(parse_symbol("ETH-USD"), How(timeout_s=3))
                assert time.monotonic() - began < 6 * PATIENCE
    assert totals(fake)
