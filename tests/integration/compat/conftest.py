"""A Redis filled by hand, an exchange over TLS, and clients between the two."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.compat import desk
from streamer.simulator.keys import make_key_file
from tests.integration.compat.rig import Exchange, sample
from tests.integration.reader.rig import BTC, KEYS, UUID, World
from tests.support import RedisServer

WALLETS = {"BTC": "b7c00000-0000-4000-8000-000000000000", "ETH": "e7400000-0000-4000-8000-000000000000"}


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    """An exchange that knows the samples."""
    with Exchange(tmp_path / "tls") as made:
        page = sample("accounts_page1") | {"has_next": False, "cursor": ""}
        for wallet in page["accounts"]:
            wallet["uuid"] = WALLETS[wallet["currency"]]
        made.reply("/accounts", page)
        made.reply(f"/accounts/{page['accounts'][0]['uuid']}", {"account": page["accounts"][0]})
        made.reply("/products/BTC-USD", sample("product"))
        made.reply("/best_bid_ask", sample("best_bid_ask"))
        made.reply(f"/portfolios/{UUID}", sample("portfolio_breakdown"))
        yield made


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis: RedisServer, exchange: Exchange
) -> Iterator[pytest.MonkeyPatch]:
    """Nothing of the tester's own; one desk a test, ended with it. No comparison unless it is asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis.url)
    monkeypatch.setenv("STREAMER_REST_URL", exchange.url)
    monkeypatch.setenv("STREAMER_CA_FILE", str(exchange.ca))
    monkeypatch.setenv("STREAMER_COMPARE_SHARE", "0")
    monkeypatch.setenv("STREAMER_DEMAND", "false")
    monkeypatch.setenv("STREAMER_STALE_AFTER_S", "60")
    level = logging.getLogger("coinbase.RESTClient").level
    yield monkeypatch
    logging.getLogger("coinbase.RESTClient").setLevel(level)
    for one in list(desk._desks.values()):
        one.close()
        one._reader.close()
    desk._start_anew()


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A key file."""
    make_key_file(tmp_path / "key.json")
    return str(tmp_path / "key.json")


@pytest.fixture
def world(redis: RedisServer) -> World:
    """A stream that has everything of BTC-USD and two wallets."""
    made = World(redis)
    made.feed()
    fill(made)
    return made


def fill(world: World) -> None:
    """Write what a stream would have."""
    world.ticker()
    world.redis.ask("HSET", KEYS.ticker(BTC), *(word for pair in QUOTE.items() for word in pair))
    world.candles(count=20)
    world.copy(KEYS.products_copy, sample("products"))
    for currency in WALLETS:
        hold(world, currency, "2.5")


QUOTE = {
    "price": "84000.5",
    "best_bid": "84000.1",
    "best_bid_quantity": "0.5",
    "best_ask": "84000.9",
    "best_ask_quantity": "0.25",
    "volume_24_h": "11482.3",
    "price_percent_chg_24_h": "-0.9",
}


def hold(world: World, currency: str, amount: str) -> None:
    """Have the stream tell a balance, as of a time that is easily known again."""
    world.balance(currency, amount)
    changed = ("account_uuid", WALLETS[currency], "time", "2026-11-20T15:00:00.5Z")
    world.redis.ask("HSET", KEYS.balance(currency), *changed)
