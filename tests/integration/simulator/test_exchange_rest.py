"""The exchange's REST: bodies as in the samples, errors as documented, limits that hold."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from coinbase.rest import RESTClient

from streamer.errors import ConfigError
from streamer.simulator.account import Bank
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import parse_command
from streamer.simulator.keys import load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.tls import make_server_tls
from tests.integration.simulator.helpers import any_jwt, good_jwt, peer
from tests.integration.simulator.visitor import PREFIX, visit

DATA = Path(__file__).parents[2] / "data"


def sample(name: str) -> Any:
    """A sample of the wire."""
    return json.loads((DATA / f"rest_{name}.json").read_bytes())


def shape(value: Any) -> Any:
    """Field names and types; numbers are one type, and a list is its first item."""
    if isinstance(value, dict):
        return {name: shape(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


def texts(value: Any) -> Iterator[str]:
    """Every text in a body."""
    if isinstance(value, dict | list):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from texts(inside)
    elif isinstance(value, str):
        yield value


# Bodies


async def test_bodies_have_the_shape_of_the_samples(tmp_path: Path) -> None:
    """Same fields and types, on every route that has a sample."""
    async with visit(tmp_path) as visitor:
        order = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}
        filled = visitor.tell(order=order)["order_id"]
        visitor.tell(fill=filled)
        visitor.tell(order={**order, "product_id": "ETH-USD", "price": "2700"})
        portfolio = (await visitor.get("/portfolios"))["portfolios"][0]["uuid"]
        account = (await visitor.get("/accounts"))["accounts"][0]["uuid"]
        now_s = int(time.time())
        span = {"start": str(now_s - 9000), "end": str(now_s), "granularity": "FIVE_MINUTE"}
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "accounts_page1": ("/accounts", {"limit": 2}),
            "account": (f"/accounts/{account}", {}),
            "portfolios": ("/portfolios", {}),
            "portfolio_breakdown": (f"/portfolios/{portfolio}", {}),
            "products": ("/products", {}),
            "product": ("/products/BTC-USD", {}),
            "product_alias": ("/products/BTC-USDC", {}),
            "best_bid_ask": ("/best_bid_ask", {"product_ids": ["BTC-USD", "ETH-USD"]}),
            "product_book": ("/product_book", {"product_id": "BTC-USD"}),
            "market_trades": ("/products/BTC-USD/ticker", {"limit": 2}),
            "candles": ("/products/BTC-USD/candles", span),
            "time": ("/time", {}),
            "key_permissions": ("/key_permissions", {}),
            "transaction_summary": ("/transaction_summary", {}),
            "fills": ("/orders/historical/fills", {}),
            "orders_open": ("/orders/historical/batch", {"order_status": "OPEN"}),
            "order_filled": (f"/orders/historical/{filled}", {}),
        }
        for name, (path, params) in asked.items():
            body, wire = await visitor.get(path, **params), sample(name)
            if name.startswith("orders"):  # one kind of order configuration or the other
                for made in (body, wire):
                    del made["orders"][0]["order_configuration"]
            assert shape(body) == shape(wire), name


async def test_accounts_are_paged(tmp_path: Path) -> None:
    """Every page has the cursor of the next; the last has none; nothing is missing or twice."""
    async with visit(tmp_path) as visitor:
        everything = await visitor.get("/accounts")
        assert (everything["has_next"], everything["cursor"]) == (False, "")
        assert everything["size"] == len(everything["accounts"]) == 5
        found: list[Any] = []
        cursor = ""
        for size, has_next in ((2, True), (2, True), (1, False)):
            page = await visitor.get("/accounts", limit=2, cursor=cursor)
            assert (page["size"], page["has_next"], bool(page["cursor"])) == (size, has_next, has_next)
            found += page["accounts"]
            cursor = page["cursor"]
        assert found == everything["accounts"]
        wrong = await visitor.ask("/accounts", cursor="4")
        assert (wrong.status_code, wrong.json()) == (400, sample("error_400")["variants"][1]["body"])
        for limit in ("0", "251", "x", "-1"):
            assert (await visitor.ask("/accounts", limit=limit)).status_code == 400


async def test_accounts_default_to_pages_of_49(tmp_path: Path) -> None:
    """Who forgets to page misses the rest."""
    async with visit(tmp_path, bank=Bank(extra_wallets=100)) as visitor:
        page = await visitor.get("/accounts")
        assert (page["size"], page["has_next"]) == (49, True)
        assert (await visitor.get("/accounts", limit=250))["size"] == 105


async def test_products_can_be_chosen(tmp_path: Path) -> None:
    """By id, type, offset and limit; each alias stands behind its product."""
    async with visit(tmp_path) as visitor:

        async def ids(**params: Any) -> list[str]:
            body = await visitor.get("/products", **params)
            assert body["num_products"] == len(body["products"])
            return [product["product_id"] for product in body["products"]]

        assert await ids() == ["BTC-USD", "BTC-USDC", "ETH-USD", "ETH-USDC"]
        assert await ids(product_type="FUTURE") == []
        assert await ids(product_ids=["ETH-USDC", "BTC-USD", "NOPE-USD"]) == ["BTC-USD", "ETH-USDC"]
        assert await ids(offset=1, limit=2) == ["BTC-USDC", "ETH-USD"]


@pytest.mark.parametrize(
    ("refused", "status", "name"), [("400", 400, "INVALID_ARGUMENT"), ("404", 404, "NOT_FOUND")]
)
async def test_ids_that_are_not_known_can_be_refused(tmp_path: Path, refused: str, status: int, name: str) -> None:
    """With the setting one of them costs all, with and without a key; known ones are answered as ever."""
    async with visit(tmp_path, unknown_products=refused) as visitor:
        for path, token in (("/products", ""), ("/market/products", None)):
            answer = await visitor.ask(path, token=token, product_ids=["BTC-USD", "NOPE-USD"])
            assert (answer.status_code, answer.json()["error"]) == (status, name)
            good = (await visitor.ask(path, token=token, product_ids=["BTC-USD", "ETH-USD"])).json()
            assert [product["product_id"] for product in good["products"]] == ["BTC-USD", "ETH-USD"]
            assert (await visitor.ask(path, token=token)).json()["num_products"] == 4


@pytest.mark.parametrize("given", [{"unknown_products": "shrug"}, {"rest_history": 0}])
def test_a_bad_setting_is_named(given: dict[str, Any]) -> None:
    """With its value."""
    with pytest.raises(ConfigError, match=next(iter(given))):
        ExchangeSettings(**given)


async def test_prices_are_those_of_the_market(tmp_path: Path) -> None:
    """Product, book, trades and candles all show the last trade, under either name."""
    async with visit(tmp_path) as visitor:
        visitor.tell(tick="BTC-USD", price="90000.01")
        for product_id in ("BTC-USD", "BTC-USDC"):
            assert (await visitor.get(f"/products/{product_id}"))["price"] == "90000.01"
            trades = await visitor.get(f"/products/{product_id}/ticker", limit=1)
            assert [t["price"] for t in trades["trades"]] == ["90000.01"]
            assert "90000.01" in (trades["best_bid"], trades["best_ask"])
            assert (await visitor.get("/product_book", product_id=product_id))["last"] == "90000.01"
            now_s = int(time.time())
            params = {"start": str(now_s - 300), "end": str(now_s), "granularity": "FIVE_MINUTE"}
            candles = await visitor.get(f"/products/{product_id}/candles", **params)
            assert candles["candles"][0]["close"] == "90000.01"


async def test_candles_are_bounded(tmp_path: Path) -> None:
    """350 buckets at most, counting both ends, newest first, the same with and without a key."""
    async with visit(tmp_path) as visitor:
        last = int(time.time()) // 300 * 300

        def params(buckets: int, **more: Any) -> dict[str, Any]:
            return {"start": last - (buckets - 1) * 300, "end": last, "granularity": "FIVE_MINUTE", **more}

        path = "/products/BTC-USD/candles"
        candles = (await visitor.get(path, **params(350)))["candles"]
        starts = [int(candle["start"]) for candle in candles]
        assert starts == sorted(starts, reverse=True)
        assert 250 < len(starts) < 350  # some buckets are without a trade
        assert last - 349 * 300 <= starts[-1] < last - 330 * 300
        assert (await visitor.get(f"/market{path}", token=None, **params(350)))["candles"][1:] == candles[1:]
        assert (await visitor.get(path, **params(350, limit=3)))["candles"][1:] == candles[1:3]
        refused = await visitor.ask(path, **params(351))
        assert (refused.status_code, refused.json()) == (400, sample("error_400")["variants"][0]["body"])
        for wrong in ({"granularity": "TEN_MINUTE"}, {"start": ""}, {"end": last - 10**6}, {"start": "1.5"}):
            assert (await visitor.ask(path, **{**params(10), **wrong})).status_code == 400


async def test_empty_candles_can_be_had(tmp_path: Path) -> None:
    """With the setting every bucket has a candle."""
    async with visit(tmp_path, fill_candles=True) as visitor:
        last = int(time.time()) // 300 * 300
        params = {"start": last - 349 * 300, "end": last, "granularity": "FIVE_MINUTE"}
        assert len((await visitor.get("/products/BTC-USD/candles", **params))["candles"]) == 350


async def test_orders_and_fills_are_filtered_and_paged(tmp_path: Path) -> None:
    """By status, product and id; a new order shifts no page."""
    async with visit(tmp_path) as visitor:
        order = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}
        ids = [visitor.tell(order=order)["order_id"] for _ in range(5)]
        for order_id in ids[:3]:
            visitor.tell(fill=order_id)

        async def orders(**params: Any) -> list[str]:
            return [o["order_id"] for o in (await visitor.get("/orders/historical/batch", **params))["orders"]]

        assert await orders() == ids[::-1]
        assert await orders(order_status="OPEN") == ids[:2:-1]
        assert await orders(order_status=["OPEN", "FILLED"], product_ids="ETH-USD") == []
        assert await orders(order_ids=[ids[1]]) == [ids[1]]
        page = await visitor.get("/orders/historical/batch", limit=2)
        visitor.tell(order=order)
        assert page["has_next"]
        assert await orders(limit=2, cursor=page["cursor"]) == ids[2:0:-1]
        fills = await visitor.get("/orders/historical/fills", limit=2)
        assert [f["order_id"] for f in fills["fills"]] == ids[2:0:-1]
        rest = await visitor.get("/orders/historical/fills", limit=2, cursor=fills["cursor"])
        assert (len(rest["fills"]), rest["cursor"]) == (1, "")
        assert (await visitor.ask("/orders/historical/nope")).status_code == 404


async def test_money_is_never_a_float_in_disguise(tmp_path: Path) -> None:
    """No text has an exponent or a float's tail; the numbers of a breakdown are written exactly."""
    async with visit(tmp_path, ("BTC-USD", "SHIB-USD")) as visitor:
        visitor.tell(deposit="BTC", amount="0.00000001")
        portfolio = (await visitor.get("/portfolios"))["portfolios"][0]["uuid"]
        response = await visitor.ask(f"/portfolios/{portfolio}")
        assert '"total_balance_crypto":5.00000001,' in response.text
        for path in ("/accounts", "/products", f"/portfolios/{portfolio}", "/transaction_summary"):
            for text in texts(await visitor.get(path)):
                assert "E-" not in text and "e-" not in text.partition("-")[0], text
        unknown = await visitor.ask("/portfolios/00000000-0000-0000-0000-000000000000")
        assert unknown.status_code == 404


# Who may ask


async def test_public_routes_need_no_key(tmp_path: Path) -> None:
    """The market is there for everybody; accounts are not; a bad token fails everywhere."""
    async with visit(tmp_path) as visitor:
        for path in ("/time", "/market/products", "/market/products/BTC-USD", "/market/products/BTC-USD/ticker"):
            assert (await visitor.ask(path, token=None)).status_code == 200
            assert (await visitor.ask(path)).status_code == 200
            assert (await visitor.ask(path, token="nonsense")).status_code == 401
        assert (await visitor.ask("/market/product_book", token=None, product_id="ETH-USD")).status_code == 200
        for path in ("/accounts", "/products", "/key_permissions", "/best_bid_ask"):
            refused = await visitor.ask(path, token=None)
            assert (refused.status_code, refused.text) == (401, "Unauthorized")
            assert refused.headers["Content-Type"].startswith("text/plain")


async def test_tokens_are_checked_strictly(tmp_path: Path) -> None:
    """Early, late, for another path, for the WebSocket, or of another key: 401; a WebSocket refuses REST's."""
    async with visit(tmp_path) as visitor:
        file, foreign, now_s = tmp_path / "key.json", tmp_path / "foreign.json", int(time.time())
        make_key_file(foreign)
        uri = f"GET {visitor.url.partition('//')[2]}{PREFIX}/accounts"
        bad = [
            any_jwt(file, now_s, uri=uri, nbf=now_s + 30),
            any_jwt(file, now_s, uri=uri, nbf=now_s - 200, exp=now_s - 80),
            any_jwt(file, now_s, uri=f"{uri}?limit=1"),
            any_jwt(file, now_s, uri=uri.replace("accounts", "products")),
            any_jwt(file, now_s, uri="GET api.coinbase.com/api/v3/brokerage/accounts"),
            any_jwt(foreign, now_s, uri=uri),
            any_jwt(foreign, now_s, uri=uri, kid=visitor.key_name, sub=visitor.key_name),
            good_jwt(file),
        ]
        for token in bad:
            assert (await visitor.ask("/accounts", token=token, limit=1)).status_code == 401
        good = any_jwt(file, now_s, uri=uri)
        assert (await visitor.ask("/accounts", token=good, limit=1)).status_code == 200
        async with peer(visitor.server.url) as client:
            await client.ask("user", jwt=good)
            assert await client.next() == {"type": "error", "message": "authentication failure"}


async def test_a_revoked_key_is_refused_from_then_on(tmp_path: Path) -> None:
    """REST says 401, a new subscribe fails, an accepted one lives on until its connection is closed too."""
    async with visit(tmp_path, heartbeat_s=0.05) as visitor, peer(visitor.server.url) as client:
        file = tmp_path / "key.json"
        await client.subscribed("user", jwt=good_jwt(file))
        assert (await visitor.ask("/accounts")).status_code == 200
        visitor.tell(revoke=True)
        assert (await visitor.ask("/accounts")).status_code == 401
        await client.ask("user", jwt=good_jwt(file))
        assert (await client.next())["message"] == "authentication failure"
        await client.subscribed("heartbeats")
        visitor.tell(order={"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"})
        assert (await client.next_of("user"))["events"][0]["type"] == "update"
        visitor.tell(revoke=visitor.key_name, close=True)
        assert await client.closed() == 1000
        visitor.tell(restore=True)
        assert (await visitor.ask("/accounts")).status_code == 200
        visitor.tell(expires=True, in_s=0)
        assert (await visitor.ask("/accounts")).status_code == 401


async def test_a_key_without_view_is_forbidden(tmp_path: Path) -> None:
    """403 with the text the SDK looks for; the user channel fails; the key may still see what it may do."""
    async with visit(tmp_path) as visitor, peer(visitor.server.url) as client:
        visitor.tell(permit=True, view=False)
        refused = await visitor.ask("/accounts")
        assert (refused.status_code, refused.json()) == (403, sample("error_403")["variants"][0]["body"])
        assert '"error_details":"Missing required scopes"' in refused.text
        may = await visitor.get("/key_permissions")
        assert (may["can_view"], may["can_trade"], may["can_transfer"]) == (False, True, False)
        await client.ask("user", jwt=good_jwt(tmp_path / "key.json"))
        assert (await client.next())["message"] == "authentication failure"
        visitor.tell(permit=True, view=True)
        assert (await visitor.ask("/accounts")).status_code == 200


async def test_the_clock_is_wrong_everywhere_at_once(tmp_path: Path) -> None:
    """Behind, it refuses tokens as not yet good; /time, Date header and envelopes tell by how much."""
    async with visit(tmp_path, heartbeat_s=0.05) as visitor, peer(visitor.server.url) as client:
        visitor.tell(clock_offset_s=-5)
        assert (await visitor.ask("/accounts")).status_code == 401
        response = await visitor.ask("/time", token=None)
        assert -5.5 < int(response.json()["epochMillis"]) / 1000 - time.time() < -4.5
        assert -7 < parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time() < -4
        await client.ask("heartbeats")
        stamp = (await client.next())["timestamp"][:19]
        assert stamp <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 4))
        visitor.tell(clock_offset_s=100)
        assert (await visitor.ask("/accounts")).status_code == 200
        visitor.tell(clock_offset_s=130)
        assert (await visitor.ask("/accounts")).status_code == 401
        visitor.tell(clock_offset_s=0)
        assert (await visitor.ask("/accounts")).status_code == 200


async def test_unknown_paths_and_methods(tmp_path: Path) -> None:
    """404 whatever the key, 405 for what is not read, 404 as in the sample for an unknown product."""
    async with visit(tmp_path) as visitor:
        assert (await visitor.ask("/nope")).status_code == 404
        assert (await visitor.ask("/nope", token=None)).status_code == 404
        assert (await visitor.ask("/accounts", "POST")).status_code == 405
        for path in ("/products/NOPE-USD", "/products/NOPE-USD/candles", "/market/products/NOPE-USD"):
            unknown = await visitor.ask(path)
            assert (unknown.status_code, unknown.json()) == (404, sample("error_404")["variants"][0]["body"])


# Limits and books


async def test_the_limit_of_a_key_holds(tmp_path: Path) -> None:
    """Beyond it 429 in its three forms; the headers count down; the books know; a second later all is well."""
    async with visit(tmp_path, private_per_s=2, retry_after_s=2) as visitor:
        answers = [await visitor.ask("/key_permissions") for _ in range(5)]
        assert [a.status_code for a in answers] == [200] * 2 + [429] * 3
        assert [a.headers["x-ratelimit-remaining"] for a in answers] == ["1", "0", "0", "0", "0"]
        assert {a.headers["x-ratelimit-limit"] for a in answers} == {"2"}
        assert [a.text[:6] for a in answers[2:]] == ["", "<html>", '{"erro']
        assert [a.headers.get("Retry-After") for a in answers[1:3]] == [None, "2"]
        assert (await visitor.ask("/time", token=None)).status_code == 200
        books = visitor.tell(query="rest")
        assert books["routes_by_status"]["GET /key_permissions"] == {"200": 2, "429": 3}
        assert (books["limit_exceeded"], books["exceeded"], books["total"]) == (True, 3, 6)
        assert books["recent"][0]["key"] == visitor.key_name
        async with asyncio.timeout(5):
            while (await visitor.ask("/key_permissions")).status_code == 429:
                pass


async def test_the_public_limit_is_of_the_address(tmp_path: Path) -> None:
    """A key does not help, and headers can be left out."""
    async with visit(tmp_path, public_per_s=2, rate_headers=False, body_of_429="empty") as visitor:
        answers = [await visitor.ask("/time", token=token) for token in (None, "", None, "")]
        assert [a.status_code for a in answers] == [200, 200, 429, 429]
        assert [a.content for a in answers[2:]] == [b"", b""]
        assert not any(name.startswith("x-ratelimit") for a in answers for name in a.headers)
        assert (await visitor.ask("/accounts")).status_code == 200


# What it says of its visitors


async def test_every_request_is_listed_with_the_moment_of_its_arrival(tmp_path: Path) -> None:
    """To the microsecond, on the steady clock of the machine, and not when its answer went out."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_slow", delay_s=0.3, path="/accounts")
        spans = []
        for path in ("/time", "/accounts", "/market/products/BTC-USD"):
            began = time.monotonic()
            assert (await visitor.ask(path)).status_code == 200
            spans.append((began, time.monotonic()))
        recent = visitor.tell(query="rest")["recent"]
        routes = ["GET /time", "GET /accounts", "GET /market/products/{product_id}"]
        assert [request["route"] for request in recent] == routes
        for (began, ended), request in zip(spans, recent, strict=True):
            assert began <= request["at_s"] + 1e-6
            assert request["at_s"] <= ended
        assert recent[1]["at_s"] < spans[1][1] - 0.3
        stamps = [datetime.fromisoformat(request["time"]).timestamp() for request in recent]
        steady = [request["at_s"] for request in recent]
        assert all(
            abs((later - at) - (b - a)) < 0.01
            for (at, later), (a, b) in zip(pairwise(stamps), pairwise(steady), strict=True)
        )


async def test_the_moment_is_that_of_the_head(tmp_path: Path) -> None:
    """A body that is late in coming makes no request later than it is."""
    async with visit(tmp_path) as visitor:
        host, port = visitor.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        began = time.monotonic()
        writer.write(f"GET {PREFIX}/time HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 2\r\n\r\n".encode())
        await asyncio.sleep(0.3)
        writer.write(b"{}")
        assert b" 200 " in await reader.readline()
        writer.close()
        (request,) = visitor.tell(query="rest")["recent"]
        assert began <= request["at_s"] + 1e-6
        assert request["at_s"] < began + 0.25


async def test_requests_are_counted_by_the_address_they_come_from(tmp_path: Path) -> None:
    """The limit of public data is of an address."""
    async with visit(tmp_path) as visitor:
        await visitor.ask("/time")
        host, port = visitor.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0))
        writer.write(f"GET {PREFIX}/time HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        writer.close()
        books = visitor.tell(query="rest")
        assert books["remotes"] == {"127.0.0.1": 1, "127.0.0.2": 1}
        assert [request["remote"] for request in books["recent"]] == ["127.0.0.1", "127.0.0.2"]


async def test_so_many_requests_are_listed_as_are_asked_for(tmp_path: Path) -> None:
    """The newest; all are counted."""
    async with visit(tmp_path, rest_history=2) as visitor:
        for path in ("/time", "/accounts", "/products"):
            await visitor.ask(path)
        books = visitor.tell(query="rest")
        assert [request["route"] for request in books["recent"]] == ["GET /accounts", "GET /products"]
        assert books["total"] == 3


# The official SDK


def sdk(server: ExchangeServer, ca: Path, **key: Any) -> RESTClient:
    """The SDK's client; it reads neither proxy nor CA bundle of the tester's environment."""
    assert server.rest_url is not None
    client = RESTClient(base_url=server.rest_url.removeprefix("https://"), timeout=10, **key)
    client.session.verify = str(ca)
    client.session.trust_env = False
    return client


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
async def test_the_sdk_works_over_tls(tmp_path: Path, kind: Any) -> None:
    """Accounts by pages, products, candles and time, with a key file and the throw-away CA."""
    file, tls = tmp_path / "key.json", make_server_tls(tmp_path)
    make_key_file(file, kind)
    server = ExchangeServer(
        RandomWalkMarket(["BTC-USD"]),
        ExchangeSettings(ticks_per_s=0),
        keys=dict([load_public_key(file)]),
        ssl_context=tls.context,
    )

    def use() -> None:
        client, now_s = sdk(server, tls.ca_path, key_file=str(file)), int(time.time())
        page = client.get_accounts(limit=3)
        more = client.get_accounts(limit=3, cursor=page["cursor"])
        assert [page["has_next"], more["has_next"]] == [True, False]
        assert len({account["currency"] for account in page["accounts"] + more["accounts"]}) == 5
        assert [p["product_id"] for p in client.get_products()["products"]] == ["BTC-USD", "BTC-USDC"]
        assert client.get_product("BTC-USD")["price"] == "84210.37"
        candles = client.get_candles("BTC-USD", str(now_s - 7200), str(now_s), "FIVE_MINUTE")
        assert 10 < len(candles["candles"]) <= 25
        assert client.get_market_trades("BTC-USD", 5)["trades"][0]["product_id"] == "BTC-USD"
        assert client.get_api_key_permissions()["can_view"]
        client.session.close()
        anybody = sdk(server, tls.ca_path)
        assert anybody.get_unix_time().to_dict()
        assert anybody.get_public_product("BTC-USD")["price"] == "84210.37"
        anybody.session.close()
        make_key_file(tmp_path / "other.json")
        stranger = sdk(server, tls.ca_path, key_file=str(tmp_path / "other.json"))
        with pytest.raises(requests.HTTPError, match="401 Client Error: Unauthorized Unauthorized"):
            stranger.get_accounts()
        stranger.session.close()

    async with server:
        assert server.rest_url is not None and server.rest_url.startswith("https://127.0.0.1:")
        await asyncio.to_thread(use)


# The whole


async def test_a_rest_port_in_use_is_a_config_error() -> None:
    """The error names the port; nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"rest port.*{port}"):
            async with ExchangeServer(RandomWalkMarket(["BTC-USD"]), ExchangeSettings(rest_port=port)):
                pass


async def test_rest_can_be_left_out() -> None:
    """No port, no URL, and a query about it is refused."""
    async with ExchangeServer(RandomWalkMarket(["BTC-USD"]), ExchangeSettings(rest_port=None)) as server:
        assert server.rest_url is None
        with pytest.raises(ConfigError, match="no REST"):
            server.command(parse_command({"query": "rest"}))


async def test_it_starts_and_stops_at_once() -> None:
    """Also before the server has had a turn to run."""
    for _ in range(3):
        async with ExchangeServer(RandomWalkMarket(["BTC-USD"]), ExchangeSettings(ticks_per_s=0)) as server:
            pass
        assert server.rest_url is not None
