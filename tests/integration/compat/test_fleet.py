"""Flags, counts, comparisons, threads and forks: many clients, and one way for all of them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streamer.compat import RESTClient
from streamer.compat.desk import desk_at
from streamer.errors import ConfigError
from streamer.store.flags import BOTS, USE
from tests.integration.compat.conftest import WALLETS
from tests.integration.compat.rig import Exchange, Reply, sample
from tests.integration.reader.rig import BTC, KEYS, World
from tests.support import RedisServer, hold, wait_until

pytestmark = pytest.mark.usefixtures("environment")


def is_served(client: Any) -> bool:
    """Whether a client is coordinated."""
    return "streamer" in client.get_product("BTC-USD").to_dict()


# -- flags --------------------------------------------------------------------------------------------------------


def test_all_are_rolled_back_and_forth(exchange: Exchange, key: str, world: World, redis: RedisServer) -> None:
    """Within 5 s of the change in Redis, without a restart."""
    client = exchange.client(key_file=key)
    assert is_served(client)
    redis.ask("HSET", KEYS.flags, USE, "false")
    wait_until(lambda: not is_served(client), 5, exactly=True)
    redis.ask("HSET", KEYS.flags, USE, "true")
    wait_until(lambda: is_served(client), 5, exactly=True)


def test_callers_are_chosen_by_name_and_by_part(
    exchange: Exchange, key: str, world: World, redis: RedisServer
) -> None:
    """The others go straight to the exchange, as ever."""
    bots = [exchange.client(key_file=key, caller=f"bot-{i}") for i in range(40)]
    redis.ask("HSET", KEYS.flags, BOTS, "bot-1,bot-7")
    wait_until(lambda: [i for i, bot in enumerate(bots) if is_served(bot)] == [1, 7], 5)
    redis.ask("HSET", KEYS.flags, BOTS, "50%")
    wait_until(lambda: 8 <= sum(map(is_served, bots)) <= 32, 5)
    chosen = [is_served(bot) for bot in bots]
    assert chosen == [is_served(bot) for bot in bots]


def test_flags_hold_while_redis_is_away(exchange: Exchange, key: str, world: World, redis: RedisServer) -> None:
    """The last that were known."""
    redis.ask("HSET", KEYS.flags, USE, "false")
    client = exchange.client(key_file=key)
    assert not is_served(client)
    with redis.frozen():
        assert not is_served(client)
        desk_at(redis.url).outlook._look_at = 0.0
        assert not is_served(client)


def test_the_environment_holds_where_redis_says_nothing(
    exchange: Exchange, key: str, world: World, redis: RedisServer, environment: pytest.MonkeyPatch
) -> None:
    """And Redis goes before it."""
    environment.setenv(USE, "false")
    client = exchange.client(key_file=key)
    assert not is_served(client)
    redis.ask("HSET", KEYS.flags, USE, "true")
    wait_until(lambda: is_served(client), 5, exactly=True)


def test_rolled_back_it_needs_no_redis(
    exchange: Exchange, key: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where it is to be coordinated it says at once that there is none."""
    environment.delenv("REDIS_URL")
    environment.setenv("STREAMER_STATE_DIR", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no Redis found"):
        exchange.client(key_file=key)
    environment.setenv(USE, "false")
    assert exchange.client(key_file=key).get_product("BTC-USD").to_dict() == sample("product")


# -- counts -------------------------------------------------------------------------------------------------------


def test_every_request_is_counted_by_its_way(
    exchange: Exchange, key: str, world: World, redis: RedisServer
) -> None:
    """Under few names, whatever is asked; callers are noted with how they go."""
    client = exchange.client(key_file=key, caller="bot-7")
    for _ in range(3):
        client.get_product("BTC-USD")
    client.market_order_buy("1", "BTC-USD", "10")
    redis.ask("HSET", KEYS.flags, BOTS, "bot-7")
    other = exchange.client(key_file=key, caller="bot-8")
    wait_until(lambda: not is_served(other), 5)
    asked = len(exchange.paths("/products/BTC-USD"))

    def told() -> bool:
        counted = redis.hash(KEYS.counters_total)
        callers = {name: json.loads(entry) for name, entry in redis.hash(KEYS.callers).items()}
        assert counted.get("way:passed:other") == "1"
        assert int(counted.get("way:served:product", 0)) >= 3
        assert counted.get("way:direct:product") == str(asked)
        assert {name: entry["way"] for name, entry in callers.items()} == {
            "bot-7": "coordinated",
            "bot-8": "direct",
        }
        assert callers["bot-7"]["calls"] == 4
        return bool(abs(callers["bot-8"]["last_ms"] - world.now_ms) < 20_000)

    wait_until(told, 12)


def test_callers_are_bounded(exchange: Exchange, key: str, world: World, redis: RedisServer) -> None:
    """Of more than a thousand the one that was not seen for the longest goes."""
    old = {f"old-{i:04}": json.dumps({"way": "direct", "last_ms": i, "calls": 1}) for i in range(1000)}
    redis.ask("HSET", KEYS.callers, *(word for pair in old.items() for word in pair))
    is_served(exchange.client(key_file=key, caller="new"))
    wait_until(lambda: "new" in redis.hash(KEYS.callers), 8)
    assert redis.hash(KEYS.callers).keys() == old.keys() - {"old-0000"} | {"new"}


# -- comparison ---------------------------------------------------------------------------------------------------


def test_a_share_is_compared_and_no_more_than_allowed(
    exchange: Exchange, key: str, world: World, redis: RedisServer, environment: pytest.MonkeyPatch
) -> None:
    """Prices in basis points, balances that differ, and ages; two a minute, however many are served."""
    environment.setenv("STREAMER_COMPARE_SHARE", "1")
    environment.setenv("COORDINATED_BOT_IDS", "100%")
    client = exchange.client(key_file=key)
    client.get_accounts()
    assert is_served(client)
    wait_until(lambda: redis.hash(KEYS.comparison).get("price:count") == "1", 8)
    client.get_accounts()
    wait_until(lambda: redis.hash(KEYS.comparison).get("balance:count") == "2", 8)
    found = redis.hash(KEYS.comparison)
    ours, theirs = 84000.5, 84210.37
    assert float(found["price:sum_bp"]) == pytest.approx((theirs - ours) / theirs * 10_000, abs=1e-4)
    assert found["price:max_bp"] == found["price:sum_bp"]
    assert found["balance:different"] == "2"
    assert found["age_ms:count"] == "2"
    asked = len(exchange.asked)
    for _ in range(50):
        assert is_served(client)
    wait_until(lambda: int(redis.ask("GET", f"{KEYS.comparison}:minute")) > 2, 5)
    assert len(exchange.asked) == asked
    assert redis.ask("TTL", f"{KEYS.comparison}:minute") > 0


def test_nothing_is_compared_where_all_have_moved(
    exchange: Exchange, key: str, world: World, redis: RedisServer, environment: pytest.MonkeyPatch
) -> None:
    """In the steady state a fleet makes no call for it."""
    environment.setenv("STREAMER_COMPARE_SHARE", "1")
    client = exchange.client(key_file=key)
    for _ in range(20):
        assert is_served(client)
    hold(lambda: exchange.paths("/products/") == [] and redis.hash(KEYS.comparison) == {}, 2)


def test_a_comparison_harms_nobody(
    exchange: Exchange, key: str, world: World, redis: RedisServer, environment: pytest.MonkeyPatch
) -> None:
    """Whatever the exchange makes of it."""
    environment.setenv("STREAMER_COMPARE_SHARE", "1")
    environment.setenv("COORDINATED_BOT_IDS", "100%")
    client = exchange.client(key_file=key)
    exchange.reply("/products/BTC-USD", Reply(200, b'{"price": {}}'))
    assert is_served(client)
    wait_until(lambda: "/products/BTC-USD" in exchange.paths(), 8)
    assert is_served(client)
    assert redis.hash(KEYS.comparison) == {}


# -- threads and processes ----------------------------------------------------------------------------------------


def test_threads_share_a_client(exchange: Exchange, key: str, world: World) -> None:
    """32 of them, each with its own answer; reads and orders."""
    client = exchange.client(key_file=key)
    client.get_accounts()

    def work(i: int) -> bool:
        if i % 8 == 0:
            return bool(client.market_order_buy(str(i), "BTC-USD", "10").success)
        wallets = client.get_accounts().accounts
        return is_served(client) and [w.uuid for w in wallets] == list(WALLETS.values())

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(320)))
    assert len(exchange.paths("/orders")) == 40
    assert len(exchange.paths("/accounts")) == 1


FORKED = """
import os, sys, warnings
from streamer.compat import RESTClient
client = RESTClient(key_file=sys.argv[1], base_url=sys.argv[2], timeout=10)
client.session.verify, client.session.trust_env = sys.argv[3], False
if sys.argv[4] == "used":
    client.get_product("BTC-USD"), client.get_portfolios()
children = []
for i in range(4):
    pid = os.fork()
    if pid == 0:
        served = "streamer" in client.get_product("BTC-USD").to_dict()
        sent = all(client.market_order_buy(str(i), "BTC-USD", "10").success for _ in range(10))
        os._exit(0 if served and sent else 3)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
client.get_portfolios()
sys.exit(max(codes))
"""


@pytest.mark.parametrize("state", ["new", "used"])
def test_a_client_is_used_after_a_fork(
    exchange: Exchange, key: str, world: World, redis: RedisServer, state: str
) -> None:
    """As by Celery: made in the parent, also used there, and then in four children at once."""
    exchange.reply("/portfolios", sample("portfolios"))
    arguments = [key, exchange.host, str(exchange.ca), state]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(exchange.paths("/orders")) == 40


def test_a_client_can_be_sent_to_another_process(exchange: Exchange, key: str, world: World) -> None:
    """As the SDK's can: it holds no thread, lock or connection of ours."""
    client = exchange.client(key_file=key)
    assert is_served(client)
    assert is_served(pickle.loads(pickle.dumps(client)))


def test_importing_starts_nothing() -> None:
    """No thread, and not even the SDK, before a client is made."""
    program = (
        "import threading, sys; import streamer.compat; print(threading.active_count(), 'coinbase' in sys.modules)"
    )
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == ["1", "False"]


@pytest.mark.parametrize("how", [{"caller": ""}, {"caller": "x" * 65}, {"priority": 9}, {"max_age_s": -1}])
def test_bad_arguments_are_refused_at_once(exchange: Exchange, key: str, how: dict[str, Any]) -> None:
    """With the name of the argument."""
    with pytest.raises(ConfigError, match=next(iter(how))):
        exchange.client(key_file=key, **how)


def test_reads_of_a_steady_stream_ask_nobody(exchange: Exchange, key: str, world: World) -> None:
    """A thousand reads, and the exchange hears of none."""
    client: RESTClient = exchange.client(key_file=key)
    client.get_accounts()
    asked = len(exchange.asked)
    began = time.monotonic()
    for _ in range(250):
        client.get_product("BTC-USD")
        client.get_best_bid_ask([BTC])
        client.get_accounts()
        client.get_public_product("BTC-USD")
    print(f"FIGURES a read takes {time.monotonic() - began:.3f} ms")
    assert len(exchange.asked) == asked
