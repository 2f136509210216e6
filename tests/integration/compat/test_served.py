"""What the stream has is served, as the SDK would have told it; the exchange hears nothing of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from streamer.compat import RESTClient
from tests.integration.compat.conftest import QUOTE, WALLETS, hold
from tests.integration.compat.rig import Exchange, Recorder, Reply, sample
from tests.integration.reader.rig import BTC, KEYS, UUID, World
from tests.support import RedisServer

pytestmark = pytest.mark.usefixtures("environment")


def without_marker(answer: Any) -> dict[str, Any]:
    """An answer as a dict, and nothing of ours in it."""
    told: dict[str, Any] = answer.to_dict()
    assert told.pop("streamer")["tier"] == "realtime"
    return told


def test_a_product(exchange: Exchange, key: str, world: World) -> None:
    """Every field of the exchange's, with what moves as the stream has it; the type is the SDK's."""
    ours = exchange.client(key_file=key).get_product("BTC-USD")
    theirs = exchange.sdk(key_file=key).get_product("BTC-USD")
    assert type(ours) is type(theirs)
    moved = {
        "price": "84000.5",
        "volume_24h": "11482.3",
        "price_percentage_change_24h": "-0.9",
        "approximate_quote_24h_volume": "964518941.15",
    }
    assert without_marker(ours) == theirs.to_dict() | moved
    assert ours.price == ours["price"] == "84000.5"
    assert exchange.paths() == ["/products/BTC-USD"]


def test_the_public_twin_needs_no_key(exchange: Exchange, world: World) -> None:
    """Products, candles and lists of products are public too."""
    client = exchange.client()
    assert client.get_public_product("BTC-USD").price == "84000.5"
    assert client.get_public_products(product_ids=["BTC-USD"]).products[0].price == "84000.5"
    now_s = int(time.time())
    assert client.get_public_candles("BTC-USD", str(now_s - 1500), str(now_s), "FIVE_MINUTE").candles
    assert exchange.asked == []


def test_a_list_of_products(exchange: Exchange, key: str, world: World) -> None:
    """By name, in the order of the exchange's list; one that is not streamed has the exchange asked for all."""
    exchange.reply("/products", sample("products"))
    client = exchange.client(key_file=key)
    assert [p["price"] for p in client.get_products(product_ids=["BTC-USD"]).products] == ["84000.5"]
    assert exchange.paths("/products") == []
    assert len(client.get_products().products) == 3
    assert exchange.paths("/products") == ["/products"]


def test_best_bid_and_ask(exchange: Exchange, key: str, world: World) -> None:
    """One level a side, with the time of the ticker."""
    (book,) = exchange.client(key_file=key).get_best_bid_ask(["BTC-USD"]).pricebooks
    assert (book.bids[0].price, book.bids[0].size) == (QUOTE["best_bid"], QUOTE["best_bid_quantity"])
    assert (book.asks[0].price, book.asks[0].size) == (QUOTE["best_ask"], QUOTE["best_ask_quantity"])
    assert exchange.asked == []


@pytest.mark.parametrize("limit", [None, 2])
def test_candles(exchange: Exchange, key: str, world: World, limit: int | None) -> None:
    """A window of them, newest first, both ends included, at most `limit`."""
    newest_s = world.now_ms // 1000 // 300 * 300
    client = exchange.client(key_file=key)
    found = client.get_candles(BTC, str(newest_s - 1200), str(newest_s - 300), "FIVE_MINUTE", limit).candles
    starts = [str(newest_s - 300 * i) for i in range(1, 5)]
    assert [candle.start for candle in found] == starts[:limit]
    assert exchange.asked == []


def test_candles_that_the_stream_does_not_have_are_passed_on(exchange: Exchange, key: str, world: World) -> None:
    """Where the window begins before the stream does, and REST for all has nothing either."""
    exchange.reply("/products/BTC-USD/candles", sample("candles"))
    now_s = int(time.time())
    client = exchange.client(key_file=key)
    assert len(client.get_candles(BTC, str(now_s - 90_000), str(now_s), "FIVE_MINUTE").candles) == 2
    assert exchange.paths("/products") == ["/products/BTC-USD/candles"]


def test_wallets_are_those_of_the_exchange_with_balances_of_now(exchange: Exchange, key: str, world: World) -> None:
    """The exchange tells once what stays; what moves comes from the stream, and says when it moved."""
    client, sdk = exchange.client(key_file=key), exchange.sdk(key_file=key)
    assert client.get_accounts().to_dict() == sdk.get_accounts().to_dict()
    asked = len(exchange.asked)
    wallets = client.get_accounts().accounts
    assert [wallet.available_balance["value"] for wallet in wallets] == ["2.5", "2.5"]
    assert [wallet.hold["value"] for wallet in wallets] == ["0", "0"]
    assert (wallets[0].name, wallets[0].updated_at) == ("BTC Wallet", "2026-11-20T15:00:00.5Z")
    hold(world, "ETH", "9")
    assert client.get_accounts().accounts[1].available_balance["value"] == "9"
    assert len(exchange.asked) == asked


def test_one_wallet(exchange: Exchange, key: str, world: World) -> None:
    """By its id."""
    client = exchange.client(key_file=key)
    client.get_account(WALLETS["BTC"])
    asked = len(exchange.asked)
    assert client.get_account(WALLETS["BTC"]).account.available_balance["value"] == "2.5"
    assert len(exchange.asked) == asked


def test_wallets_of_another_portfolio_are_never_ours(exchange: Exchange, key: str, world: World) -> None:
    """A key that sees other wallets is answered by the exchange, each time."""
    exchange.reply("/accounts", sample("accounts_page1"))
    client = exchange.client(key_file=key)
    for _ in range(3):
        assert client.get_accounts().to_dict() == exchange.sdk(key_file=key).get_accounts().to_dict()
    assert len(exchange.paths("/accounts")) == 6


def test_a_new_wallet_is_noticed(exchange: Exchange, key: str, world: World) -> None:
    """The stream has a currency that the page did not have: the exchange is asked again."""
    client = exchange.client(key_file=key)
    for _ in range(2):
        client.get_accounts()
    assert len(exchange.paths("/accounts")) == 1
    world.balance("DOGE", "1")
    client.get_accounts()
    assert len(exchange.paths("/accounts")) == 2


def test_a_breakdown_is_shared_for_half_a_minute(exchange: Exchange, key: str, world: World) -> None:
    """Profit and cost are not in the stream: it is the exchange's answer as it was, and says how old it is."""
    client = exchange.client(key_file=key)
    first, second = client.get_portfolio_breakdown(UUID), client.get_portfolio_breakdown(UUID)
    assert second["streamer"]["tier"] == "cache"
    told = second.to_dict()
    del told["streamer"]
    assert str(told) == str(first.to_dict())
    assert len(exchange.paths("/portfolios")) == 1


def test_stale_is_served_where_the_exchange_is_silent(exchange: Exchange, key: str, world: World) -> None:
    """And says so; as long as the exchange answers, it is asked."""
    world.feed(state="reconnecting", age_ms=70_000)
    world.ticker(price="83000", age_ms=70_000)
    world.redis.ask("HSET", KEYS.ticker(BTC), "volume_24_h", "1", "price_percent_chg_24_h", "2")
    exchange.reply("/market/products", Reply(503, b"upstream"))
    client = exchange.client(key_file=key)
    assert client.get_product("BTC-USD").to_dict() == sample("product")
    exchange.reply("/products/BTC-USD", Reply(503, b"upstream"))
    found = client.get_product("BTC-USD")
    assert (found.price, found["streamer"]["tier"]) == ("83000", "stale")
    assert found["streamer"]["age_s"] > 60


def test_what_is_too_old_for_the_caller_is_asked_of_the_exchange(
    exchange: Exchange, key: str, world: World
) -> None:
    """`max_age_s` bounds what is served."""
    world.feed(age_ms=3000)
    written_ms = str(world.now_ms - 3000)
    world.redis.ask("HSET", KEYS.ticker(BTC), "written_ms", written_ms, "received_ms", written_ms)
    assert "streamer" in exchange.client(key_file=key, max_age_s=30).get_product("BTC-USD").to_dict()
    assert "streamer" not in exchange.client(key_file=key, max_age_s=1).get_product("BTC-USD").to_dict()


def test_another_exchange_is_not_answered_for(
    exchange: Exchange, key: str, world: World, environment: pytest.MonkeyPatch
) -> None:
    """What Redis holds is of the exchange that the settings name, and of no other."""
    environment.setenv("STREAMER_REST_URL", "https://127.0.0.1:1")
    assert exchange.client(key_file=key).get_product("BTC-USD").price == sample("product")["price"]


@pytest.mark.parametrize(("source", "is_served"), [("coinbase", True), ("simulator", False)])
def test_coinbase_is_never_answered_for_with_simulated_prices(
    key: str, world: World, environment: pytest.MonkeyPatch, source: str, is_served: bool
) -> None:
    """Whatever else Redis says of itself: here it does not even say that there is a simulator."""
    environment.delenv("STREAMER_REST_URL")
    world.redis.ask("HSET", KEYS.ticker(BTC), "source", source)
    client = RESTClient(key_file=key)
    client.session = Recorder()
    assert ("streamer" in client.get_best_bid_ask([BTC]).to_dict()) is is_served


def test_headers_that_were_asked_for_are_there(exchange: Exchange, key: str, world: World) -> None:
    """As where the exchange sends none."""
    answers = [
        kind(key_file=key, rate_limit_headers=True).get_product("BTC-USD").to_dict()
        for kind in (exchange.client, exchange.sdk)
    ]
    assert answers[0].keys() - {"streamer"} == answers[1].keys()


def test_an_answer_is_the_callers_own(exchange: Exchange, key: str, world: World) -> None:
    """What one does to it, the next one does not see."""
    client = exchange.client(key_file=key)
    client.get_product("BTC-USD").alias_to.append("MINE")
    assert client.get_product("BTC-USD").alias_to == ["BTC-USDC"]


def test_nothing_foreign_breaks_it(exchange: Exchange, key: str, world: World, redis: RedisServer) -> None:
    """Whatever somebody has written to the keys, the exchange answers then."""
    for name in redis.ask("KEYS", "*"):
        redis.ask("DEL", name)
        redis.ask("SET", name, "nonsense")
    assert exchange.client(key_file=key).get_product("BTC-USD").price == sample("product")["price"]
    assert exchange.client(key_file=key).get_accounts().accounts
