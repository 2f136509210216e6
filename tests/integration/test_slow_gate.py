"""The whole ingester behind a gate that takes its time: what REST brings may wait, and nothing else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from streamer import settings
from streamer.errors import QueueTimeout
from streamer.ingest.supervisor import Supervisor
from streamer.ingest.upstream import upstream
from streamer.model import ProductId, Source
from streamer.providers.base import Budget, Call
from streamer.simulator.account import Bank
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.keys import load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket, demo_products
from streamer.simulator.settings import ExchangeSettings
from streamer.store.connect import Store
from tests.support import PATIENCE, RedisServer, until

T = TypeVar("T")
PRODUCTS = [ProductId(product_id) for product_id in demo_products(25)]


class SlowGate:
    """One call of market data at a time, far apart; what is private passes while it may."""

    def __init__(self, every_s: float, *, private: bool = True) -> None:
        self._every_s, self._private = every_s, private
        self._turn = asyncio.Lock()
        self.waiting: list[tuple[Budget, str]] = []

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        self.waiting.append((budget, route))
        try:
            if budget is Budget.PRIVATE:
                if not self._private:
                    await asyncio.sleep(0.05)
                    raise QueueTimeout(route, "no call was free in time", retry_after_s=0.1)
                return await send()
            async with self._turn:
                await asyncio.sleep(self._every_s)
                return await send()
        finally:
            self.waiting.remove((budget, route))


@asynccontextmanager
async def ingesting(
    redis: RedisServer, folder: Path, monkeypatch: pytest.MonkeyPatch, gate: SlowGate
) -> AsyncIterator[Supervisor]:
    """An ingester of 25 products and a wallet."""
    monkeypatch.chdir(folder)
    make_key_file(folder / "key.json")
    exchange = ExchangeServer(
        RandomWalkMarket(PRODUCTS),
        ExchangeSettings(ticks_per_s=200, heartbeat_s=0.5),
        keys=dict([load_public_key(folder / "key.json")]),
        bank=Bank(),
    )
    async with exchange:
        config = settings.load(
            ws_url=exchange.url,
            ws_user_url=exchange.user_url,
            rest_url=exchange.rest_url,
            key_file=str(folder / "key.json"),
        )
        store, stop = Store(redis.url), asyncio.Event()
        supervisor = Supervisor(config, store, upstream(config, Source.COINBASE, gate), products=PRODUCTS)
        running = asyncio.create_task(supervisor.run(stop))
        try:
            yield supervisor
            began = time.monotonic()
        finally:
            stop.set()
            await running
            await store.close()
        assert time.monotonic() - began < 2 * PATIENCE, "calls that wait hold up the end"


def ages_s(supervisor: Supervisor) -> list[float]:
    """How old the newest ticker of each product is, of those that have one."""
    ticks = [supervisor.sink.tickers.get(product_id) for product_id in PRODUCTS]
    return [time.time() - tick.received_s for tick in ticks if tick is not None]


async def test_prices_balances_and_the_end_wait_for_no_backfill(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 products want their past, and the gate lets nothing of it through for a minute."""
    gate = SlowGate(60.0)
    async with ingesting(redis, tmp_path, monkeypatch, gate) as supervisor:
        await until(lambda: len(ages_s(supervisor)) == len(PRODUCTS), 10, "a product has no price")
        await until(lambda: len(supervisor.sink.portfolio.currencies) == 5, 10, "no balances")
        await until(lambda: len(gate.waiting) == 2, 10, "candles and products do not both wait")
        assert supervisor.streams.backfiller is not None
        await until(lambda: supervisor.streams.backfiller.waiting == len(PRODUCTS), 10)  # type: ignore[union-attr]
        await asyncio.sleep(1.0)
        assert all(tick for tick in map(redis.ticker, PRODUCTS))
        assert max(ages_s(supervisor)) < 2 * PATIENCE
        assert {feed.state.value for feed in supervisor.vitals().feeds} == {"live"}
        assert sorted(route for _, route in gate.waiting) == ["candles", "products"]


async def test_calls_that_are_not_made_are_told_of_and_made_up_for(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Balances come as soon as the gate lets them; until then it is said why not, and nothing ill of the key."""
    gate = SlowGate(0.0, private=False)
    async with ingesting(redis, tmp_path, monkeypatch, gate) as supervisor:
        accounts = supervisor.streams.accounts
        assert accounts is not None
        await until(lambda: accounts.why, 20)
        assert (accounts.why, accounts.unauthorized) == ("no call was free in time", False)
        status: dict[str, Any] = supervisor._status([], time.monotonic())
        assert status["portfolio"]["why"] == "no call was free in time"
        gate._private = True
        await until(lambda: accounts.answered_at is not None, 20)
        assert accounts.why is None
