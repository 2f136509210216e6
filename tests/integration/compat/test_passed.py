"""What the stream does not have goes to the exchange as the SDK would send it, and comes back as it came."""

from __future__ import annotations

import inspect
import json
import socket
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from typing import Any

import pytest
import requests
from coinbase.rest import RESTClient as SdkClient

from streamer.compat import NotSent, RESTClient
from streamer.errors import StreamerError
from streamer.gateway.limits import Outcome
from streamer.model import Priority
from tests.integration.compat.rig import ORDER_ID, Exchange, Recorder, Reply, sample
from tests.integration.reader.rig import KEYS, World
from tests.support import RedisServer, wait_until

pytestmark = pytest.mark.usefixtures("environment")
METHODS = [
    name
    for name, method in inspect.getmembers(SdkClient, inspect.isfunction)
    if not name.startswith("_") and name not in ("set_headers", "send_request", "prepare_and_send_request")
]


def arguments(name: str) -> dict[str, Any]:
    """Something for every argument that a method must have, and for those that it may have."""
    parameters = inspect.signature(getattr(SdkClient, name)).parameters.values()
    return {
        one.name: ["a", "b"] if "List" in str(one.annotation) else f"{one.name}-1"
        for one in parameters
        if one.name not in ("self", "kwargs", "public", "params", "data")
    }


@pytest.mark.parametrize("given", ["all", "least"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_sends_what_the_sdk_sends(exchange: Exchange, key: str, name: str, given: str) -> None:
    """Method, URL, parameters, body and time limit: also of methods that are known here by nothing but this."""
    words = arguments(name)
    if given == "least":
        parameters = inspect.signature(getattr(SdkClient, name)).parameters
        words = {
            word: value for word, value in words.items() if parameters[word].default is inspect.Parameter.empty
        }
    sent, answers = [], []
    for kind in (RESTClient, SdkClient):
        client = kind(key_file=key, base_url=exchange.host, timeout=7)
        client.session = Recorder()
        answers.append(getattr(client, name)(**words))
        sent.append(client.session.sent)
    assert sent[0] == sent[1]
    assert len(sent[0]) == 1
    assert type(answers[0]) is type(answers[1])


def test_there_are_methods() -> None:
    """The table above is made of the SDK's own, and the SDK has many."""
    assert len(METHODS) > 80
    assert {"get", "post", "put", "delete", "market_order_buy", "cancel_orders"} <= set(METHODS)


def outcome(call: Any) -> tuple[type[BaseException], str]:
    """What a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the SDK raises
        call()
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, b'{"error":"INVALID_ARGUMENT"}'),
        Reply(401, b"Unauthorized"),
        Reply(403, b'{"error_details":"Missing required scopes"}'),
        Reply(404, b'{"error":"NOT_FOUND"}'),
        Reply(500, b"oops"),
        Reply(502, b"<html>"),
        Reply(200, b"<html>"),
        Reply(429, b"", {"Retry-After": "1"}),
    ],
    ids=lambda reply: f"{reply.status}",
)
def test_errors_are_the_sdks_own(
    exchange: Exchange, key: str, world: World, redis: RedisServer, reply: Reply
) -> None:
    """Type and text, for reads and for orders; each is asked once."""
    ours, theirs = exchange.client(key_file=key), exchange.sdk(key_file=key)
    exchange.reply("/portfolios", reply)
    assert outcome(ours.get_portfolios) == outcome(theirs.get_portfolios)
    redis.ask("FLUSHALL")  # what a 429 has brought upon us
    exchange.reply("/orders", reply, method="POST")
    order = ("1", "BTC-USD", "10")
    told = [outcome(lambda one=one: one.market_order_buy(*order)) for one in (ours, theirs)]
    assert told[0] == told[1]
    assert exchange.paths() == ["/portfolios"] * 2 + ["/orders"] * 2


def test_an_unknown_product_is_the_exchanges_404(exchange: Exchange, key: str, world: World) -> None:
    """With its response."""
    ours, theirs = exchange.client(key_file=key), exchange.sdk(key_file=key)
    assert outcome(lambda: ours.get_product("NO-SUCH")) == outcome(lambda: theirs.get_product("NO-SUCH"))
    with pytest.raises(requests.HTTPError) as caught:
        ours.get_product("NO-SUCH")
    assert caught.value.response.status_code == 404


def test_nobody_listens(exchange: Exchange, key: str, world: World) -> None:
    """A connection that is refused."""
    ours = RESTClient(key_file=key, base_url="127.0.0.1:9", timeout=2)
    theirs = SdkClient(key_file=key, base_url="127.0.0.1:9", timeout=2)
    kinds = [outcome(one.get_portfolios)[0] for one in (ours, theirs)]
    assert kinds == [requests.ConnectionError] * 2


def test_a_timeout(key: str, world: World) -> None:
    """The client's own, of one who takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = "127.0.0.1:{1}".format(*silent.getsockname())
        kinds = [
            outcome(kind(key_file=key, base_url=host, timeout=0.3).get_portfolios)[0]
            for kind in (RESTClient, SdkClient)
        ]
    assert kinds[0] is kinds[1]
    assert issubclass(kinds[0], requests.Timeout)


def test_without_a_key_nothing_private_is_asked(exchange: Exchange, world: World) -> None:
    """As the SDK has it, and before anything else."""
    told = [outcome(one.get_accounts) for one in (exchange.client(), exchange.sdk())]
    assert told[0] == told[1]
    assert told[0][0] is AuthenticationError
    assert exchange.asked == []


def test_after_a_429_nothing_is_sent(exchange: Exchange, key: str, world: World) -> None:
    """Also no order: it was not sent, and says so as an error of `requests` and of ours."""
    client = exchange.client(key_file=key)
    exchange.reply("/portfolios", Reply(429, b"", {"Retry-After": "60"}))
    with pytest.raises(requests.HTTPError):
        client.get_portfolios()
    with pytest.raises(NotSent, match="not sent") as caught:
        client.market_order_buy("1", "BTC-USD", "10")
    assert isinstance(caught.value, requests.RequestException)
    assert isinstance(caught.value, StreamerError)
    assert caught.value.response is None
    assert exchange.paths() == ["/portfolios"]


def test_an_order_and_its_end(exchange: Exchange, key: str, world: World, redis: RedisServer) -> None:
    """Orders are most urgent and reads as urgent as the caller says; every call is counted."""
    client = exchange.client(key_file=key, caller="bot-7", priority=Priority.MARKET_DATA)
    made = client.market_order_buy("1", "BTC-USD", "10")
    assert made.success_response["order_id"] == ORDER_ID
    assert client.get_order(ORDER_ID).order["status"] == "FILLED"
    assert client.cancel_orders([ORDER_ID]).results[0]["success"]
    labels = {
        f"call:orders:{priority}:{Outcome.OK}": count
        for priority, count in (("TRADING", "2"), ("MARKET_DATA", "1"))
    }

    def told() -> bool:
        counted = redis.hash(KEYS.counters_total)
        return all(counted.get(name) == count for name, count in labels.items())

    wait_until(told, 8, why="the calls are not counted")
    spent = client.market_order_buy("1", "BTC-USD", "10")
    assert spent.success


@pytest.fixture
def away(redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that ends before anybody has asked it anything."""
    redis.kill()
    yield redis
    redis.start()


def test_orders_go_through_while_redis_is_away(exchange: Exchange, key: str, away: RedisServer) -> None:
    """And reads, on this process's share of the budget."""
    client = exchange.client(key_file=key)
    assert client.market_order_buy("1", "BTC-USD", "10").success
    assert client.get_accounts().accounts
    assert client.get_product("BTC-USD").price == sample("product")["price"]


def test_orders_go_through_while_redis_is_frozen(
    exchange: Exchange, key: str, world: World, redis: RedisServer
) -> None:
    """It costs at most some of its deadlines."""
    client = exchange.client(key_file=key)
    assert client.market_order_buy("1", "BTC-USD", "10").success
    with redis.frozen():
        assert client.market_order_buy("1", "BTC-USD", "10").success
        assert client.get_portfolio_breakdown(sample("portfolio_breakdown")["breakdown"]["portfolio"]["uuid"])
    assert len(exchange.paths("/orders")) == 2


def test_nothing_shows_the_secret(exchange: Exchange, key: str, world: World, redis: RedisServer) -> None:
    """Neither the client, nor its errors, nor what it leaves in Redis."""
    with open(key) as file:  # noqa: PTH123 - as users do
        told = json.load(file)
    secret = told["privateKey"].splitlines()[1]
    client = exchange.client(key_file=key)
    exchange.reply("/portfolios", Reply(429, b"", {"Retry-After": "60"}))
    said = [repr(client), str(client), outcome(client.get_portfolios)[1], outcome(client.get_portfolios)[1]]
    client.get_product("BTC-USD")
    wait_until(lambda: redis.ask("EXISTS", KEYS.callers), 8, why="nothing is left in Redis")
    said += [held(redis, name) for name in redis.ask("KEYS", "*")]
    assert len(said) > 10
    assert not any(secret in text or told["name"] in text for text in said)


def held(redis: RedisServer, name: str) -> str:
    """What a key holds."""
    words = {"string": ("GET", name), "hash": ("HGETALL", name), "set": ("SMEMBERS", name)}
    words["zset"] = ("ZRANGE", name, "0", "-1")  # type: ignore[assignment]
    return name + str(redis.ask(*words[redis.ask("TYPE", name)]))


def test_an_open_breaker_holds_no_order_up(exchange: Exchange, key: str, world: World) -> None:
    """Reads wait until the exchange answers again; a position must be closable."""
    client = exchange.client(key_file=key)
    exchange.reply("/products/BTC-USD/ticker", Reply(503, b"{}"))
    for _ in range(5):
        with pytest.raises(requests.HTTPError):
            client.get_market_trades("BTC-USD", 1)
    with pytest.raises(NotSent):
        client.get_market_trades("BTC-USD", 1)
    assert client.cancel_orders([ORDER_ID]).results[0]["success"]
