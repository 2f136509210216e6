"""Every route over a real Redis and a real socket: shapes, headers, and errors that say what to do."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from streamer.web import shapes
from streamer.web.problems import MEDIA_TYPE, Problem
from tests.integration.web.rig import Api, Full, settings
from tests.support import RedisServer

MARKET = "/api/v1/market"
NOTHING_INSIDE = ("Traceback", "127.0.0.1", "redis://", "streamer/", ".py")


def checked(answer: httpx.Response, shape: type[BaseModel], status: int = 200) -> dict[str, Any]:
    """Return a body that has exactly the documented shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    shape.model_validate_json(answer.content, strict=True)
    body: dict[str, Any] = answer.json()
    return body


def refused(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Return a problem that says what it is and nothing of our insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["cache-control"] == "no-store"
    Problem.model_validate_json(answer.content, strict=True)
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (f"urn:streamer:{kind}", status)
    assert not [word for word in NOTHING_INSIDE if word in answer.text], answer.text
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return body


# -- market -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/ticker/BTC-USD", shapes.Ticker),
        ("/tickers?product_ids=BTC-USD", shapes.Tickers),
        ("/accounts", shapes.Accounts),
        ("/candles/BTC-USD?limit=5", shapes.Candles),
        ("/products", shapes.Products),
    ],
)
async def test_what_is_there_is_told_in_its_shape(api: Api, path: str, shape: type[BaseModel]) -> None:
    """Each market route answers as documented, and says tier and age in headers too."""
    answer = await api.get(MARKET + path)
    checked(answer, shape)
    assert answer.headers["x-tier"] in ("realtime", "cache")
    assert int(answer.headers["age"]) <= 2
    assert "warning" not in answer.headers


async def test_a_stale_answer_warns(api: Api, world: Full) -> None:
    """The header that caches and proxies know says what the body says: tier, age and reason."""
    world.ticker(age_ms=20_000, to="shadow")
    world.redis.ask("DEL", "ticker_realtime:BTC-USD")
    answer = await api.get(f"{MARKET}/ticker/BTC-USD?timeout_s=0")
    told = checked(answer, shapes.Ticker)
    assert told["tier"] == answer.headers["x-tier"] == "stale"
    assert told["reason"]
    assert answer.headers["warning"] == '110 - "Response is Stale"'
    assert told["value_age_s"] >= 20


async def test_several_at_once_with_what_is_missing(api: Api) -> None:
    """Ids repeated or with commas; what cannot be served is listed with its reason."""
    answer = await api.get(f"{MARKET}/tickers?product_ids=BTC-USD,ETH-USD&product_ids=BTC-USDD&timeout_s=0.5")
    told = checked(answer, shapes.Tickers)
    assert list(told["tickers"]) == ["BTC-USD"]
    assert {one["product_id"] for one in told["missing"]} == {"ETH-USD", "BTC-USDD"}


@pytest.mark.parametrize(
    "path",
    [
        "/ticker/btc",
        "/ticker/BTC%00USD",
        "/ticker/%F0%9F%92%A9",
        "/ticker/" + "A" * 5000,
        "/ticker/BTC-USD?max_age_s=-1",
        "/ticker/BTC-USD?max_age_s=nan",
        "/ticker/BTC-USD?max_age_s=inf",
        "/ticker/BTC-USD?timeout_s=31",
        "/ticker/BTC-USD?priority=URGENT",
        "/tickers",
        "/tickers?product_ids=,",
        "/tickers?product_ids=" + "BTC-USD," * 600,
        "/tickers?product_ids=%FF",
        "/candles/BTC-USD?granularity=FIVE",
        "/candles/BTC-USD?limit=0",
        "/candles/BTC-USD?limit=351",
        "/candles/BTC-USD?limit=" + "9" * 5000,
    ],
)
async def test_bad_input_is_422(api: Api, path: str) -> None:
    """What breaks a rule is told as that, whatever it is."""
    body = refused(await api.get(MARKET + path), 422, "invalid")
    assert len(body["detail"]) < 500


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/market/products/", "/api/v1/a/b", "/livez/", "/redoc"])
async def test_unknown_paths_are_404(api: Api, path: str) -> None:
    """Also those that differ by a slash: nobody is sent elsewhere."""
    refused(await api.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/market/products", "GET"),
        ("GET", "/api/v1/ws/start-stream", "POST"),
        ("OPTIONS", "/api/v1/ws/start-stream", "POST"),
        ("POST", "/api/v1/stream", "GET"),
    ],
)
async def test_other_methods_are_405(api: Api, method: str, path: str, allowed: str) -> None:
    """And say which are allowed; a browser that asks for leave to cross sites is given none."""
    answer = await api.client.request(method, path, headers={"Access-Control-Request-Method": "POST"})
    refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed
    assert not [name for name in answer.headers if name.startswith("access-control")]


# -- start and stop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["start-stream", "start-portfolio-stream"])
async def test_products_are_added(api: Api, world: Full, path: str) -> None:
    """By the older name too; what is refused is said with the reason, what was there already is no change."""
    answer = await api.start("BTC-USD", "ETH-USD", "SOL-USDD", "bad id", path=path)
    told = checked(answer, shapes.Changed)
    assert told["message"] == "streaming started for 2 products"
    assert told["changed"] == ["ETH-USD"]
    assert told["products"] == world.wanted() == ["BTC-USD", "ETH-USD"]
    reasons = {one["product_id"]: one["why"] for one in told["refused"]}
    assert "SOL-USD" in reasons["SOL-USDD"]
    assert "expected base-quote" in reasons["bad id"]


async def test_products_are_taken_out(api: Api, world: Full) -> None:
    """Those that are streamed; of the others it is said that they are not."""
    told = checked(await api.start("BTC-USD", "ETH-USD", path="stop-stream"), shapes.Changed)
    assert (told["message"], told["changed"], told["products"]) == (
        "streaming stopped for 1 product",
        ["BTC-USD"],
        [],
    )
    assert [one["product_id"] for one in told["refused"]] == ["ETH-USD"]
    assert world.wanted() == []


async def test_nothing_accepted_is_an_error(api: Api, world: Full) -> None:
    """Only unknown ids: 404 with the nearest names of the first; only bad ids: 422. Redis is as it was."""
    body = refused(await api.start("bad id", "ETH-USDD"), 404, "unknown-product")
    assert body["nearest"][0] == "ETH-USD"
    assert [one["product_id"] for one in body["refused"]] == ["bad id", "ETH-USDD"]
    body = refused(await api.start("bad id"), 422, "invalid")
    assert body["refused"][0]["product_id"] == "bad id"
    refused(await api.start("bad id", path="stop-stream"), 422, "invalid")
    assert world.wanted() == ["BTC-USD"]


@pytest.mark.parametrize("path", ["start-stream", "stop-stream"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"product_ids":[]}',
        json.dumps({"product_ids": ["BTC-USD"] * 501}).encode(),
        b'{"product_ids":["BTC-USD"],"more":1}',
        b'{"product_ids":[1]}',
        b'{"product_ids":["\\ud800"]}',
        b'{"product_ids":["\\u0000"]}',
        b'{"product_ids":"BTC-USD"}',
        b'["BTC-USD"]',
        b"{",
        b"",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"product_ids":[' + b"9" * 5000 + b"]}",
    ],
    ids=lambda content: repr(content[:24]) if isinstance(content, bytes) else content,
)
async def test_bad_bodies_are_422(api: Api, world: Full, path: str, content: bytes) -> None:
    """Whatever is sent as JSON that is not what is documented."""
    answer = await api.client.post(
        f"/api/v1/ws/{path}", content=content, headers={"Content-Type": "application/json"}
    )
    refused(answer, 422, "invalid")
    assert world.wanted() == ["BTC-USD"]


async def test_another_content_type_is_422(api: Api, world: Full) -> None:
    """A form of another site can send text, not JSON: text is not taken for it."""
    body = b'{"product_ids":["ETH-USD"]}'
    answer = await api.client.post("/api/v1/ws/start-stream", content=body, headers={"Content-Type": "text/plain"})
    refused(answer, 422, "invalid")
    assert world.wanted() == ["BTC-USD"]


# -- health -------------------------------------------------------------------------------------------------------


async def test_a_healthy_stream(api: Api) -> None:
    """Every route about health says the same."""
    for path in ("/api/v1/ws/stream-status", "/api/v1/ws/portfolio-stream-status"):
        told = checked(await api.get(path), shapes.StreamStatus)
        assert (told["level"], told["reasons"], told["status"]["pid"]) == ("healthy", [], 7)
    assert checked(await api.get("/livez"), shapes.Live) == {"status": "pass"}
    assert checked(await api.get("/readyz"), shapes.Ready)["status"] == "pass"
    told = checked(await api.get("/api/v1/system/health"), shapes.Health)
    assert (told["status"], told["recommendation"]) == ("healthy", "nothing to do")
    assert told["429_errors_last_5min"] == 0
    checked(await api.get("/api/v1/system/calls"), shapes.Calls)


@pytest.mark.parametrize(
    "held", ["{", "[]", "{}", '"x"', '{"written_ms":"x"}', '{"written_ms":1e400}'], ids=lambda text: text
)
async def test_a_report_of_another_writer_is_down(api: Api, world: Full, held: str) -> None:
    """What somebody else has put in its place is no report, and no bug of ours."""
    world.redis.ask("SET", "stream:status", held)
    told = checked(await api.get("/api/v1/ws/stream-status"), shapes.StreamStatus, 503)
    assert (told["level"], told["status"]) == ("down", None)
    assert "no report of an ingester" in told["reasons"][0]
    assert checked(await api.get("/readyz"), shapes.Ready, 503)["status"] == "fail"
    assert checked(await api.get("/api/v1/system/health"), shapes.Health)["status"] == "down"


async def test_a_key_of_another_type_is_no_report_either(api: Api, world: Full) -> None:
    """Redis is not away for it."""
    world.redis.ask("DEL", "stream:status")
    world.redis.ask("HSET", "stream:status", "a", "b")
    told = checked(await api.get("/api/v1/ws/stream-status"), shapes.StreamStatus, 503)
    assert told["codes"] == ["unreadable"]


async def test_no_ingester_is_down(api: Api, world: Full) -> None:
    """Nobody has reported: down, not ready, and what to do."""
    world.redis.ask("DEL", "stream:status")
    told = checked(await api.get("/api/v1/ws/stream-status"), shapes.StreamStatus, 503)
    assert "start-stream" in told["reasons"][0]
    checked(await api.get("/readyz"), shapes.Ready, 503)


async def test_simulated_prices_without_rest(redis: RedisServer, world: Full) -> None:
    """No REST to call: its figures are not to be had and that is said; health goes on with its verdict."""
    world.report(source="simulator")
    async with Api(redis.url, settings(rest_url=None)) as api:
        body = refused(await api.get("/api/v1/system/calls"), 503, "failed")
        assert "simulated" in body["detail"]
        told = checked(await api.get("/api/v1/system/health"), shapes.Health)
        assert (told["status"], told["budgets"]) == ("healthy", None)


# -- Redis away ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_redis_away_is_told_quickly(redis: RedisServer, world: Full, how: str) -> None:
    """The process lives; all else answers within two seconds, says what is away and nothing of where it is."""
    async with Api(redis.url, settings()) as api:
        redis.freeze() if how == "frozen" else redis.kill()
        try:
            assert (await api.get("/livez")).status_code == 200
            for path, kind in {
                "/api/v1/ws/stream-status": "redis-unavailable",
                "/api/v1/system/health": "redis-unavailable",
                f"{MARKET}/ticker/BTC-USD?timeout_s=0.5": "unavailable",
                f"{MARKET}/accounts?timeout_s=0.5": "unavailable",
                f"{MARKET}/products?timeout_s=0.5": "unavailable",
                f"{MARKET}/candles/BTC-USD?timeout_s=0.5": "unavailable",
            }.items():
                began = time.monotonic()
                body = refused(await api.get(path), 503, kind)
                assert time.monotonic() - began < 2.5, path
                assert kind != "unavailable" or "Redis" in json.dumps(body["tiers"])
            refused(await api.start("BTC-USD"), 503, "redis-unavailable")
            answer = await api.get("/readyz")
            assert "Redis" in checked(answer, shapes.Ready, 503)["reasons"][0]
            assert "127.0.0.1" not in answer.text
            assert (await api.get("/livez")).status_code == 200
        finally:
            redis.thaw() if how == "frozen" else redis.start()
        world.fill()
        checked(await api.get(f"{MARKET}/ticker/BTC-USD"), shapes.Ticker)


# -- errors -------------------------------------------------------------------------------------------------------


def trouble(redis: RedisServer, code: str, began_ms: int, ended_ms: int | None = None, **more: str) -> None:
    """Write one as the ingester does."""
    fields = {"id": f"{began_ms}-{code}", "type": "market_data", "code": code, "subject": "", "message": f"{code}!"}
    fields |= {"began_ms": str(began_ms)} | more
    if ended_ms is not None:
        fields["ended_ms"] = str(ended_ms)
    redis.ask("XADD", "stream:errors", "*", *(word for pair in fields.items() for word in pair))


async def test_errors_are_listed_with_what_is_over(api: Api, redis: RedisServer) -> None:
    """Rate limiting is a market_data error, the newest first; an end closes its beginning."""
    trouble(redis, "rate_limited", 1_790_000_000_000)
    trouble(redis, "feed_silent", 1_790_000_001_500, subject="m-0")
    trouble(redis, "rate_limited", 1_790_000_000_000, 1_790_000_060_000)
    body = checked(await api.get("/api/v1/system/errors"), shapes.Errors)
    assert body["unresolved"] == 1
    silent, limited = body["errors"]
    assert (silent["code"], silent["subject"], silent["resolved"]) == ("feed_silent", "m-0", False)
    assert limited == {
        "id": "1790000000000-rate_limited", "error_type": "market_data", "code": "rate_limited", "subject": "",
        "message": "rate_limited!", "timestamp": "2026-09-21T14:13:20.000Z", "resolved": True,
        "resolved_at": "2026-09-21T14:14:20.000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "codes"),
    [("?resolved=true", ["a"]), ("?resolved=false", ["c", "b"]), ("?limit=1", ["c"]), ("", ["c", "b", "a"])],
)
async def test_errors_can_be_chosen(api: Api, redis: RedisServer, query: str, codes: list[str]) -> None:
    """Those that last, those that are over, and how many."""
    trouble(redis, "a", 1, 2)
    trouble(redis, "b", 2)
    trouble(redis, "c", 3)
    body = checked(await api.get(f"/api/v1/system/errors{query}"), shapes.Errors)
    assert [one["code"] for one in body["errors"]] == codes
    assert body["unresolved"] == 2


async def test_an_absent_ingester_is_an_error_though_it_cannot_write_it(api: Api, redis: RedisServer) -> None:
    """The journal is kept by the ingester; that there is none is seen by whoever asks."""
    redis.ask("DEL", "stream:status")
    (one,) = checked(await api.get("/api/v1/system/errors"), shapes.Errors)["errors"]
    assert (one["code"], one["resolved"]) == ("no_report", False)
    assert "start-stream" in one["message"]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "resolved=perhaps"])
async def test_a_bad_question_about_errors_is_refused(api: Api, query: str) -> None:
    """With the name of what is wrong."""
    assert (
        query.partition("=")[0]
        in refused(await api.get(f"/api/v1/system/errors?{query}"), 422, "invalid")["detail"]
    )


async def test_no_amount_is_told_without_the_token(guarded: Api, world: Full) -> None:
    """What is in the account is for who may see accounts, also where it is part of a report."""
    last = {"currency": "BTC", "derived": {"available": "7.123", "hold": "0"}, "confirmed": {"available": "7.123"}}
    now = {"why": None, "unauthorized": False, "suspect": 0, "last_difference": last, "differences": 1}
    world.report(portfolio=now)
    for path in ("/api/v1/ws/stream-status", "/api/v1/system/health", "/api/v1/system/errors", "/metrics"):
        answer = await guarded.get(path)
        assert answer.status_code == 200
        assert "7.123" not in answer.text


async def test_what_others_wrote_breaks_no_route(api: Api, world: Full) -> None:
    """Neither times beyond all calendars, nor histograms of another shape, nor numbers without end."""
    trouble(world.redis, "x", 99_999_999_999_999_999)
    flushes = {"ticker": {"took_s": {"le": [1, 2], "counts": [1], "sum": 1.0}, "records": {"le": 3}}}
    world.report(sink={"dirty": 0, "lag_ms": 0, "writes": 1, "refused": 0, "failures": 0, "flushes": flushes})
    world.redis.ask("HSET", "migration:comparison", "price:count", "inf", "price:max_bp", "nan")
    assert checked(await api.get("/api/v1/system/errors"), shapes.Errors)["errors"] == []
    assert (await api.get("/metrics")).status_code == 200
    assert (
        checked(await api.get("/api/v1/migration/stats"), shapes.Migration)["comparison"]["price"]["compared"] == 0
    )
