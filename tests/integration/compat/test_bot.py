"""A bot as people have it, with one line changed: against the simulator, with a stream beside it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamer.compat import RESTClient, desk
from tests.integration.compat.rig import Exchange
from tests.support import Process, RedisServer, Simulator, Stream, is_healthy, wait_until

QUIET_S = 8.0
"""A backfill asks every 6 s."""
BOT = """\
import sys
from {module} import RESTClient

client = RESTClient(key_file=sys.argv[1], base_url=sys.argv[2], timeout=10)


def show(name, answer):
    told = answer.to_dict()
    told.pop("streamer", None)
    print(name, told if name != "book" else [(b.product_id, b.bids, b.asks) for b in answer.pricebooks])


now = int(sys.argv[3])
show("product", client.get_product("BTC-USD"))
show("alias", client.get_product("BTC-USDC"))
show("products", client.get_products(product_ids=["ETH-USD", "BTC-USD"]))
show("public", client.get_public_product("ETH-USD"))
show("book", client.get_best_bid_ask(product_ids=["BTC-USD", "ETH-USD"]))
for granularity, length in (("FIVE_MINUTE", 300), ("ONE_HOUR", 3600)):
    show("candles", client.get_candles("BTC-USD", str(now - 20 * length), str(now), granularity))
show("trades", client.get_market_trades("BTC-USD", 2))
page = client.get_accounts(limit=3)
show("page", page)
show("page", client.get_accounts(limit=3, cursor=page.cursor))
show("wallet", client.get_account(page.accounts[0].uuid))
show("portfolios", client.get_portfolios())
show("breakdown", client.get_portfolio_breakdown(client.get_portfolios().portfolios[0]["uuid"]))
order = client.market_order_buy(client_order_id="1", product_id="BTC-USD", quote_size="10")
show("order", order)
show("status", client.get_order(order["success_response"]["order_id"]))
show("cancelled", client.cancel_orders([order["success_response"]["order_id"]]))
try:
    client.get_product("NO-SUCH")
except Exception as exc:
    print(type(exc).__name__, exc, exc.response.status_code)
"""


class Town:
    """An exchange, a stream of it, and what bots need to know."""

    def __init__(self, folder: Path, redis: RedisServer, simulator: Simulator, exchange: Exchange) -> None:
        self.folder, self.redis, self.simulator, self.exchange = folder, redis, simulator, exchange
        self.key = str(folder / "key.json")

    @property
    def environment(self) -> dict[str, str]:
        """What a bot is started with."""
        return {
            "REDIS_URL": self.redis.url,
            "STREAMER_REST_URL": self.exchange.url,
            "STREAMER_CA_FILE": str(self.exchange.ca),
            "REQUESTS_CA_BUNDLE": str(self.exchange.ca),
            "STREAMER_COMPARE_SHARE": "0",
        }

    def wait_for_quiet(self) -> None:
        """Wait until the stream has all that it asks for when it starts: it has asked nothing for a while."""
        seen, since = -1, 0.0

        def is_quiet() -> bool:
            nonlocal seen, since
            if len(self.exchange.asked) != seen:
                seen, since = len(self.exchange.asked), time.monotonic()
            return time.monotonic() - since > QUIET_S

        wait_until(is_quiet, 60, why="the stream goes on asking")

    def run(self, module: str, now_s: int) -> str:
        """Run the bot to its end and return what it has printed; its candles are those before `now_s`."""
        script = self.folder / f"{module}.py"
        script.write_text(BOT.format(module=module))
        command = [sys.executable, str(script), self.key, self.exchange.host, str(now_s)]
        with Process(command, self.folder, env=self.environment, name=f"bot-{module}") as bot:
            assert bot.wait(60) == 0, bot.log
            return bot.output


@contextmanager
def town(folder: Path) -> Iterator[Town]:
    """Start all of it, wait until it is healthy, and have the market stand still."""
    flags = ("--make-key", str(folder / "key.json"), "--private-rate", "0", "--public-rate", "0")
    products = "BTC-USD,BTC-USDC,ETH-USD"
    with (
        RedisServer(folder) as redis,
        Simulator(folder, *flags, products="BTC-USD,ETH-USD", rate=20) as simulator,
        Exchange(folder / "tls", upstream=simulator.rest_url) as exchange,
    ):
        made = Town(folder, redis, simulator, exchange)
        urls = ("--ws-url", simulator.url, "--rest-url", exchange.url, "--redis-url", redis.url)
        env = {"COINBASE_KEY_FILE": made.key, "STREAMER_CA_FILE": str(exchange.ca)}
        with Stream(folder, *products.split(","), *urls, env=env):
            wait_until(lambda: is_healthy(redis.url), 30, why="the stream is not healthy")
            wait_until(lambda: redis.ask("EXISTS", "products:all") and redis.ask("SCARD", "portfolio_realtime"), 20)
            simulator.tell({"pause": True})
            yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One for all tests here."""
    with town(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture
def client(place: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[RESTClient]:
    """A client in this process."""
    monkeypatch.chdir(place.folder)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    yield place.exchange.client(key_file=place.key)
    for one in list(desk._desks.values()):
        one.close()
        one._reader.close()
    desk._start_anew()


def kinds(client: Any) -> dict[str, Any]:
    """One answer of each kind that a stream has."""
    now_s = int(time.time())
    return {
        "product": client.get_product("BTC-USD"),
        "products": client.get_products(product_ids=["BTC-USD", "ETH-USD"]),
        "best_bid_ask": client.get_best_bid_ask(["BTC-USD", "ETH-USD"]),
        "candles": client.get_candles("BTC-USD", str(now_s - 6000), str(now_s), "FIVE_MINUTE"),
        "quarters": client.get_candles("ETH-USD", str(now_s - 36000), str(now_s), "FIFTEEN_MINUTE"),
        "accounts": client.get_accounts(),
        "public": client.get_public_product("ETH-USD"),
    }


def tiers(client: Any) -> dict[str, str | None]:
    """How each of them came."""
    return {kind: (answer["streamer"] or {}).get("tier") for kind, answer in kinds(client).items()}


def settle(client: Any) -> None:
    """Have the exchange tell once what its wallets are called, and wait until all else is there."""
    client.get_accounts()
    wait_until(lambda: set(tiers(client).values()) == {"realtime"}, 30, why="not all is realtime")


def test_every_kind_comes_from_the_stream(place: Town, client: RESTClient) -> None:
    """After the exchange has told once what its wallets are called."""
    settle(client)
    assert tiers(client) == dict.fromkeys(kinds(client), "realtime")


def test_a_bot_says_the_same_with_one_line_changed(place: Town, client: RESTClient) -> None:
    """Every value that it prints, and its error; a first time, and a second, when more of it is served."""
    settle(client)
    now_s = int(time.time()) // 300 * 300
    same = place.exchange.sdk(key_file=place.key).get_candles
    span = str(now_s - 6000), str(now_s), "FIVE_MINUTE"

    def has_settled() -> bool:
        ours = client.get_candles("BTC-USD", *span).to_dict()
        return bool(ours["candles"][0]["volume"] == same("BTC-USD", *span).to_dict()["candles"][0]["volume"])

    wait_until(has_settled, 10, why="the last candle has not come")
    expected = place.run("coinbase.rest", now_s).splitlines()
    for _ in range(2):
        asked = len(place.exchange.asked)
        found = place.run("streamer.compat", now_s).splitlines()
        assert found == expected
        print(f"FIGURES a run of the bot: {len(place.exchange.asked) - asked} requests")
    assert len(expected) == 17
    caller = json.loads(place.redis.hash("migration:callers")["streamer.compat"])
    assert (caller["way"], caller["calls"]) == ("coordinated", 36)


def test_a_steady_state_asks_nobody(place: Town, client: RESTClient) -> None:
    """The simulator counts no REST call while everything is read again and again."""
    settle(client)
    place.wait_for_quiet()
    before, asked = place.simulator.tell({"query": "rest"})["total"], len(place.exchange.asked)
    began, reads = time.monotonic(), 0
    while time.monotonic() - began < 4 or reads < 700:
        reads += len(kinds(client))
    made = place.simulator.tell({"query": "rest"})["total"] - before
    assert made == 0, place.exchange.paths()[asked:]
    print(f"FIGURES {reads} reads in {time.monotonic() - began:.1f} s, no REST call")


def test_a_fill_is_seen_at_once(place: Town, client: RESTClient) -> None:
    """The balance after an order comes from the stream, the rest of the wallet from the exchange."""
    settle(client)
    held = {wallet.currency: wallet for wallet in client.get_accounts().accounts}
    order = {"product_id": "BTC-USD", "side": "BUY", "price": "80000", "size": "0.01"}
    order_id = place.simulator.tell({"order": order})["order_id"]

    def has_moved() -> bool:
        wallets = {wallet.currency: wallet for wallet in client.get_accounts().accounts}
        return bool(wallets["USD"].hold["value"] != held["USD"].hold["value"])

    wait_until(has_moved, 5)
    assert held.keys() == {wallet.currency for wallet in client.get_accounts().accounts}
    assert wallet_facts(held["USD"]) == wallet_facts(client.get_account(held["USD"].uuid).account)
    place.simulator.tell({"cancel": order_id})


def wallet_facts(wallet: Any) -> dict[str, Any]:
    """What stays of a wallet."""
    moving = ("available_balance", "hold", "updated_at")
    return {name: value for name, value in wallet.to_dict().items() if name not in moving}
