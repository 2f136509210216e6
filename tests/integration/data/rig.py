"""What tests of the providers' manager share: all providers played by a fake, and desks as of several processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from streamer.data.ask import Served
from streamer.data.desk import DataDesk
from streamer.data.settings import load_data, variable_of
from streamer.data.story import Fate
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import Symbol
from streamer.providers.symbols import parse_symbol
from streamer.reader.reader import AsyncReader
from streamer.settings import load
from streamer.simulator.providers.server import ProviderFake
from streamer.store.connect import Store
from streamer.store.keys import Copy, Keys
from tests.support import PATIENCE, RedisServer, until

CRYPTO = ("binance", "coingecko", "polygon")
STOCK = ("polygon", "eodhd", "alphavantage")
BTC, USDT, SPY = parse_symbol("BTC-USD"), parse_symbol("BTC-USDT"), parse_symbol("SPY")
KEY = "a-key-of-{name}-0123456789"
ROOMY = "500"
"""Calls a second, where the budget is not what is tested: a fresh one begins at half."""


def key_of(name: str) -> str:
    """The key that tests use for a provider."""
    return KEY.format(name=name)


def environment(fake: ProviderFake, **changed: str) -> dict[str, str]:
    """Settings that have every provider at the fake, with a key and without limits that matter."""
    env = {"STREAMER_PROVIDERS_CRYPTO": ",".join(CRYPTO), "STREAMER_PROVIDERS_STOCK": ",".join(STOCK)}
    env |= {"STREAMER_REST_URL": fake.url("coinbase"), "STREAMER_DEMAND": "false"}
    for name in ADAPTERS:
        word = variable_of(name)
        env |= {f"STREAMER_{word}_URL": fake.url(name), f"STREAMER_{word}_KEY": key_of(name)}
        env |= {f"FKS_{word}_RPS": ROOMY, f"FKS_{word}_DAILY": "100000"}
    return env | changed


@dataclass
class Party:
    """A desk as of a process of its own."""

    desk: DataDesk
    store: Store
    reader: AsyncReader


@asynccontextmanager
async def joined(redis_url: str) -> AsyncIterator[Party]:
    """Make a desk by the environment as it is now."""
    async with AsyncExitStack() as stack:
        config = load(demand=False)
        store = Store(redis_url, max_connections=50)
        stack.push_async_callback(closed, store)
        reader = await stack.enter_async_context(AsyncReader(redis_url, settings=config))
        desk = DataDesk(reader, store, config, load_data())
        stack.push_async_callback(desk.close)
        yield Party(desk, store, reader)


async def closed(store: Store) -> None:
    """Close a store, whether Redis is there or not."""
    await asyncio.gather(store.close(), return_exceptions=True)


def totals(fake: ProviderFake) -> dict[str, int]:
    """Requests at the fake, by provider; those with none are left out."""
    return {name: state["total"] for name, state in fake.state().items() if state["total"]}


def fates(served: Served[Any]) -> list[tuple[str, Fate]]:
    """The story of an answer, in short."""
    return [(step.provider, step.fate) for step in served.story.steps]


def forget(redis: RedisServer, *parts: str) -> int:
    """Remove the keys whose names hold one of these."""
    names = [name for name in redis.ask("KEYS", "*") if any(part in name for part in parts)]
    return int(redis.ask("DEL", *names)) if names else 0


def copy_of(name: str, symbol: Symbol, what: str = "price") -> Copy:
    """Where an answer is kept."""
    return Keys().data_copy(name, str(symbol), what)


async def landed(redis: RedisServer, name: str, symbol: Symbol, what: str = "price") -> str:
    """Return the key of a copy, once it is where others find it."""
    key = copy_of(name, symbol, what).key
    await until(lambda: redis.ask("EXISTS", key), 2, key)
    return key


async def breaker_is(party: Party, name: str, state: str) -> None:
    """Wait until a provider's breaker is so: how a call went is told to Redis when its answer is already out."""
    async with asyncio.timeout(5 * PATIENCE):
        while (await party.desk.providers[name].snapshot()).breaker != state:
            await asyncio.sleep(0.01)
