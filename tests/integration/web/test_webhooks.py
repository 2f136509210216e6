"""Webhooks over real sockets and a real Redis: each is stored once or refused, whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from streamer.errors import StoreUnavailable, StreamerError
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.web import webhooks
from streamer.webhooks.delivery import Delivery
from streamer.webhooks.prices import PriceUpdate
from streamer.webhooks.store import KEPT, SEEN_S, Inbox, Outcome
from tests.integration.deploy.rig import UsersRedis
from tests.integration.web.rig import TOKEN, Api, settings
from tests.integration.web.test_routes import refused
from tests.support import BIN, Process, RedisServer, free_port, wait_until
from tests.unit.webhooks.rig import BODIES, OTHER_SECRETS, PRICE, SECRETS, Signed, signed

LET_IN = ",".join(f"{provider}:{secret}" for provider, secret in SECRETS.items())
EVENTS, UPDATES = "webhooks:events", "webhooks:updates"


def now_signed(provider: str = "binance", secret: str | None = None, off_s: int = 0, **how: Any) -> Signed:
    """A delivery that is signed now, or so many seconds off; a price of now where it is one."""
    data = PRICE | {"as_of": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    body = json.dumps(BODIES[provider] | ({"data": data} if provider == "binance" else {})).encode()
    return signed(provider, secret, **{"body": body, "at_s": int(time.time()) + off_s} | how)


async def post(api: Api, sent: Signed, provider: str = "binance", **headers: str) -> httpx.Response:
    """Deliver."""
    more = list(headers.items())
    return await api.client.post(f"/webhooks/{provider}", content=sent.body, headers=[*sent.headers, *more])


def events(redis: RedisServer) -> list[dict[str, str]]:
    """What is in the stream, oldest first."""
    flat = redis.ask("XRANGE", EVENTS, "-", "+")
    return [dict(fields) for _, fields in flat]


@pytest.fixture
async def hooked(redis: RedisServer) -> AsyncIterator[Api]:
    """A service that lets all four schemes in, behind a proxy on this machine; its other changes need a token."""
    config = settings(
        webhook_secrets=LET_IN, api_token=TOKEN, webhook_proxies="127.0.0.1,192.0.2.7", webhook_calls_per_s=1000
    )
    async with Api(redis.url, config) as api:
        yield api


# -- what is taken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", list(SECRETS))
async def test_what_is_proved_is_stored_and_published(hooked: Api, redis: RedisServer, provider: str) -> None:
    """Without a token of the API; it is in the stream before the answer, and a subscriber has the same."""
    with Redis.from_url(redis.url, decode_responses=True) as client, client.pubsub() as updates:
        updates.subscribe(UPDATES)
        assert updates.get_message(timeout=5) is not None
        sent = now_signed(provider)
        answer = await post(hooked, sent, provider, **{"x-forwarded-for": "52.89.214.238"})
        assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
        (event,) = events(redis)
        told = updates.get_message(timeout=5)
    assert (event["provider"], event["received_ms"].isdigit()) == (provider, True)
    if provider != "tradingview":
        assert event["payload"].encode() == sent.body
    assert SECRETS[provider] not in str(event)
    published = json.loads(told["data"])
    assert published.pop("payload") == json.loads(event.pop("payload"))
    assert {name: str(value) for name, value in published.items()} == event


async def test_a_second_time_it_is_a_duplicate(hooked: Api, redis: RedisServer) -> None:
    """Sent again as it was, or signed anew: 200, and neither stored nor published again; known for three days."""
    body = _price("1")
    for off_s, status in ((0, "stored"), (0, "duplicate"), (-2, "duplicate")):
        assert (await post(hooked, now_signed(off_s=off_s, body=body))).json() == {"status": status}
    assert len(events(redis)) == 1
    (seen,) = redis.ask("KEYS", "webhooks:seen:*")
    assert seen == f"webhooks:seen:binance:{hashlib.sha256(b'msg_2sampleBtcUsd0001').hexdigest()}"
    assert SEEN_S - 60 < redis.ask("TTL", seen) <= SEEN_S == 3 * 24 * 3600


async def test_another_event_under_the_same_id_is_a_conflict(hooked: Api, redis: RedisServer) -> None:
    """The first one stays; under the same id of another provider it is another delivery."""
    assert (await post(hooked, now_signed(body=_price("1")))).status_code == 200
    refused(await post(hooked, now_signed(body=_price("2"))), 409, "webhook-conflict")
    assert (await post(hooked, now_signed("coingecko"), "coingecko")).status_code == 200
    assert [event["provider"] for event in events(redis)] == ["binance", "coingecko"]


async def test_of_two_secrets_either_opens(redis: RedisServer) -> None:
    """While a secret is changed; once the old one is taken out, it opens nothing."""
    new, old = OTHER_SECRETS["binance"], SECRETS["binance"]
    both = settings(webhook_secrets=f"binance:{new},binance:{old}")
    async with Api(redis.url, both) as api:
        for number, secret in enumerate((new, old)):
            assert (await post(api, now_signed(secret=secret, id_=f"r{number}"))).status_code == 200
    async with Api(redis.url, settings(webhook_secrets=f"binance:{new}")) as api:
        refused(await post(api, now_signed(secret=old, id_="r2")), 401, "not-proved")
        assert (await post(api, now_signed(secret=new, id_="r3"))).status_code == 200


def _price(price: str) -> bytes:
    as_of = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())
    return json.dumps({"type": "price.updated", "data": PRICE | {"price": price, "as_of": as_of}}).encode()


# -- what is refused ---------------------------------------------------------------------------------------------


async def test_all_that_is_not_proved_is_answered_alike(
    hooked: Api, redis: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wrong secret, body, clock, header, token or address: the same answer, byte for byte."""
    good = now_signed()
    cases = [
        (now_signed(secret=OTHER_SECRETS["binance"]), "binance"),
        (replace(good, body=good.body + b" "), "binance"),
        (now_signed(off_s=-400), "binance"),
        (now_signed(off_s=400), "binance"),
        (good.changed(webhook_id=None), "binance"),
        (good.changed(webhook_signature="v1 no-comma ,,, v1,@@@"), "binance"),
        (good.changed(webhook_timestamp="soon"), "binance"),
        (now_signed("coinbase", names="x-event-id"), "coinbase"),
        (good, "coingecko"),
        (now_signed("tradingview", OTHER_SECRETS["tradingview"]), "tradingview"),
        (Signed((("content-type", "application/json"),), b"no JSON"), "tradingview"),
    ]
    answers = [await post(hooked, sent, name, **{"x-forwarded-for": "52.89.214.238"}) for sent, name in cases]
    answers.append(await post(hooked, now_signed("tradingview"), "tradingview"))
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({frozenset(answer.headers) for answer in answers}) == 1
    refused(answers[0], 401, "not-proved")
    assert redis.ask("KEYS", "webhooks:*") == []
    said = capfd.readouterr()
    for secret in (*SECRETS.values(), *OTHER_SECRETS.values()):
        assert secret not in said.err + said.out


async def test_a_wrong_clock_of_ours_stores_nothing(
    hooked: Api, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is an hour behind or ahead refuses; set right, it takes the same delivery."""
    sent, right = now_signed(), time.time
    for off_s in (-3600, 3600):
        with monkeypatch.context() as patch:
            patch.setattr(webhooks, "time", _Clock(right() + off_s))
            refused(await post(hooked, sent), 401, "not-proved")
    assert (await post(hooked, sent)).json() == {"status": "stored"}
    assert len(events(redis)) == 1


class _Clock:
    """A module `time` that stands still."""

    def __init__(self, now_s: float) -> None:
        self.time = lambda: now_s


@pytest.mark.parametrize(
    "provider", ["kraken", "binance-pay", "coinbase-commerce", "BINANCE", "%2e%2e", "a%00b", "é"]
)
async def test_nobody_else_is_let_in(hooked: Api, provider: str) -> None:
    """Without a secret there is nothing to take, also of vendors whose schemes are not here."""
    refused(await post(hooked, now_signed(), provider), 404, "not-found")


async def test_without_a_secret_all_is_unknown(api: Api) -> None:
    """As it comes, the service takes no webhook."""
    for provider in SECRETS:
        refused(await post(api, now_signed(provider), provider), 404, "not-found")


async def test_a_proved_delivery_that_is_no_event_is_malformed(hooked: Api, redis: RedisServer) -> None:
    """Its sender learns what is wrong with it, and nothing is kept."""
    for body, told in ((b"[]", "no object"), (b"{", "no JSON"), (_price("high"), "data.price"), (b"{}", "data")):
        answer = await post(hooked, now_signed(body=body))
        assert told in refused(answer, 400, "malformed")["detail"]
    assert redis.ask("KEYS", "webhooks:*") == []


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413)])
async def test_a_body_has_at_most_64_kib(hooked: Api, extra: int, status: int) -> None:
    """The largest is taken; one byte more is not read to its end."""
    start = b'{"type":"note","data":{"text":"'
    body = start + b"x" * ((64 << 10) - len(start) - 3 + extra) + b'"}}'
    assert (await post(hooked, now_signed(body=body))).status_code == status


@pytest.mark.parametrize("kind", ["text/plain", "application/json2", "", None, "application/x-www-form-urlencoded"])
async def test_only_json_is_taken(hooked: Api, kind: str | None) -> None:
    """By its type, whatever the body is; parameters do no harm."""
    refused(await post(hooked, now_signed().changed(content_type=kind)), 415, "media-type")
    told = now_signed().changed(content_type="Application/JSON; charset=utf-8")
    assert (await post(hooked, told)).status_code == 200


async def test_a_sender_has_a_rate_of_its_own(redis: RedisServer) -> None:
    """By provider and address, of proxies too; looked at before anything is worked out, and others go on."""
    config = settings(webhook_secrets=LET_IN, webhook_calls_per_s=5, webhook_proxies="127.0.0.1")
    async with Api(redis.url, config) as api:
        wrong = now_signed(secret=OTHER_SECRETS["binance"])
        answers = [await post(api, wrong) for _ in range(30)]
        assert {answer.status_code for answer in answers} == {401, 429}
        late = next(answer for answer in answers if answer.status_code == 429)
        refused(late, 429, "too-many-requests")
        assert late.headers["retry-after"] == "1"
        other = {"x-forwarded-for": "203.0.113.9"}
        assert (await post(api, now_signed(), **other)).status_code == 200
        assert (await post(api, now_signed("coingecko"), "coingecko")).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote"),
    [
        ("", "52.89.214.238", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "52.89.214.238", "52.89.214.238"),
        ("127.0.0.1", "52.89.214.238, 198.51.100.9", "198.51.100.9"),
        ("127.0.0.1,198.51.100.9", "192.0.2.1, 52.89.214.238, 198.51.100.9", "52.89.214.238"),
    ],
)
async def test_only_proxies_of_ours_tell_where_it_came_from(
    redis: RedisServer, proxies: str, forwarded: str, remote: str
) -> None:
    """What a sender writes into the header itself makes it nobody else: alerts are let in by their address."""
    config = settings(webhook_secrets=LET_IN, webhook_proxies=proxies)
    async with Api(redis.url, config) as api:
        answer = await post(api, now_signed("tradingview"), "tradingview", **{"x-forwarded-for": forwarded})
        assert answer.status_code == (200 if remote == "52.89.214.238" else 401)


async def test_the_other_rules_hold_below_webhooks_too(hooked: Api) -> None:
    """Pages of other sites, foreign names and other methods are refused; the token is asked of the latter."""
    refused(await post(hooked, now_signed(), origin="https://evil.example"), 403, "foreign-origin")
    refused(await post(hooked, now_signed(), host="evil.example"), 421, "foreign-host")
    assert (await hooked.client.put("/webhooks/binance", content=b"{}")).status_code == 401
    assert (await hooked.get("/webhooks/binance")).status_code == 405
    assert (await hooked.client.post("/webhooks/../api/v1/ws/start-stream", json={})).status_code == 401
    assert (await hooked.client.post("/webhooks/binance/more", content=b"{}")).status_code == 404


# -- when things go wrong -----------------------------------------------------------------------------------------


async def test_while_redis_is_away_nothing_is_acknowledged(tmp_path: Path) -> None:
    """503 with a time to wait, within what a sender waits; the second try of the same delivery is stored then."""
    with RedisServer(tmp_path) as own:
        async with Api(own.url, settings(webhook_secrets=LET_IN)) as api:
            sent = now_signed()
            assert (await post(api, now_signed(id_="before"))).status_code == 200
            own.kill()
            began = time.monotonic()
            answer = await post(api, sent)
            assert time.monotonic() - began < 2
            refused(answer, 503, "redis-unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            own.start()
            assert (await post(api, sent)).json() == {"status": "stored"}
            assert (await post(api, sent)).json() == {"status": "duplicate"}
            late = now_signed(id_="frozen")
            with own.frozen():
                began = time.monotonic()
                refused(await post(api, late), 503, "redis-unavailable")
                assert time.monotonic() - began < 2
            # What Redis had been given before it froze it may have done since: then the second try is a duplicate.
            await asyncio.to_thread(wait_until, lambda: own.ask("PING"), 5)
            assert (await post(api, late)).status_code == 200
            assert sum(event["id"] == "frozen" for event in events(own)) == 1


async def test_a_full_redis_refuses_all_of_it(redis: RedisServer) -> None:
    """Neither claim nor event is left behind, so the second try is stored."""
    async with Api(redis.url, settings(webhook_secrets=LET_IN)) as api:
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            assert (await post(api, now_signed())).status_code == 503
            assert redis.ask("KEYS", "webhooks:*") == []
        finally:
            redis.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await post(api, now_signed())).json() == {"status": "stored"}


async def test_what_others_have_put_in_place_is_replaced(hooked: Api, redis: RedisServer) -> None:
    """A key of another kind under our names holds nothing up."""
    redis.ask("SET", EVENTS, "x")
    redis.ask("HSET", f"webhooks:seen:binance:{hashlib.sha256(b'msg_2sampleBtcUsd0001').hexdigest()}", "a", "b")
    assert (await post(hooked, now_signed())).json() == {"status": "stored"}
    assert len(events(redis)) == 1


def test_two_processes_take_a_delivery_once(redis: RedisServer, tmp_path: Path) -> None:
    """Both receive each delivery at the same moment, twenty times: one stores it, the other knows it."""
    env = {"REDIS_URL": redis.url, "STREAMER_WEBHOOK_SECRETS": LET_IN}
    ports = free_port(), free_port()

    def serve(port: int) -> Process:
        return Process([str(BIN / "streamer"), "serve", "--port", str(port)], tmp_path, env=env)

    async def both(client: httpx.AsyncClient, number: int) -> list[str]:
        sent = now_signed(id_=f"twice-{number}")
        urls = [f"http://127.0.0.1:{port}/webhooks/binance" for port in ports]
        asked = [client.post(url, content=sent.body, headers=list(sent.headers)) for url in urls]
        return sorted(answer.json()["status"] for answer in await asyncio.gather(*asked))

    async def all_of_them() -> list[list[str]]:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return [await both(client, number) for number in range(20)]

    with serve(ports[0]) as one, serve(ports[1]) as other:
        for port in ports:
            wait_until(lambda port=port: _is_up(port), 20)  # type: ignore[misc]
        assert asyncio.run(all_of_them()) == [["duplicate", "stored"]] * 20
        assert SECRETS["binance"] not in one.log + other.log
    assert [event["id"] for event in events(redis)] == [f"twice-{number}" for number in range(20)]


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


# -- the store ----------------------------------------------------------------------------------------------------


async def test_the_stream_is_capped(redis: RedisServer) -> None:
    """Redis holds the newest ones, some 10,000 of them, however many are delivered."""
    store = Store(redis.url)
    inbox = Inbox(store, Keys())
    for start in range(0, 10_400, 50):
        batch = [Delivery(f"{start + n}", 1, "note", {}, b"{}") for n in range(50)]
        put = await asyncio.gather(*(inbox.put("binance", one, 1) for one in batch[:8]))
        put += [await inbox.put("binance", one, 1) for one in batch[8:]]
        assert set(put) == {Outcome.STORED}
    await store.close()
    assert KEPT <= redis.ask("XLEN", EVENTS) <= KEPT + 200
    assert events(redis)[-1]["id"] == "10399"


async def test_keys_bear_the_prefix(redis: RedisServer) -> None:
    """Of stream, claim and channel."""
    async with Api(redis.url, settings(webhook_secrets=LET_IN, key_prefix="p:")) as api:
        assert (await post(api, now_signed())).status_code == 200
    held = sorted(key for key in redis.ask("KEYS", "*") if "webhooks" in key)
    assert [key[:15] for key in held] == ["p:webhooks:even", "p:webhooks:seen"]


async def test_users_of_redis_may_no_more_than_they_need(tmp_path: Path) -> None:
    """A service that is `streamer` takes webhooks, a bot cannot: none can make up events, and all may read them."""
    config = settings(webhook_secrets=LET_IN)
    with UsersRedis(tmp_path) as own:
        async with Api(own.url_of("streamer"), config) as api:
            assert (await post(api, now_signed())).json() == {"status": "stored"}
        assert own.refused("streamer") == []
        async with Api(own.url_of("bot"), replaced(config)) as api:
            refused(await post(api, now_signed(id_="of-a-bot")), 503, "redis-unavailable")
        for user in ("bot", "consumer"):
            assert len(own.ask_as(user, "XRANGE", EVENTS, "-", "+")) == 1
            for words in (["DEL", EVENTS], ["XADD", EVENTS, "*", "a", "b"], ["PUBLISH", UPDATES, "x"]):
                with pytest.raises(NoPermissionError):
                    own.ask_as(user, *words)
        assert len(events(own)) == 1


def replaced(config: Settings) -> Settings:
    """Return the same settings on another port."""
    return config.model_copy(update={"api_port": free_port()})


# -- what is done about an event -----------------------------------------------------------------------------------


class Told:
    """Notes what it is told of, and fails if it is to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.events: list[tuple[str, Delivery, PriceUpdate | None]] = []
        self._failure = failure

    async def __call__(self, provider: str, delivery: Delivery, price: PriceUpdate | None) -> None:
        """Note an event."""
        self.events.append((provider, delivery, price))
        if self._failure is not None:
            raise self._failure


@pytest.mark.parametrize(
    "failure", [None, StoreUnavailable("redis://x", "no answer"), StreamerError("no"), TimeoutError()]
)
async def test_each_event_is_told_of_once(redis: RedisServer, failure: Exception | None) -> None:
    """With its price where it is one; a duplicate is not, and if it fails the event is kept and acknowledged."""
    told, store, counts = Told(failure), Store(redis.url), list[tuple[str, str]]()
    config = settings(webhook_secrets=LET_IN)
    receiver = webhooks.Receiver(config, Inbox(store, Keys()), lambda *one: counts.append(one), told)
    sent = {provider: now_signed(provider).posted() for provider in ("binance", "coingecko")}
    for provider in ("binance", "binance", "coingecko"):
        answer = await receiver.take(provider, sent[provider])
        assert answer.status_code == 200
    await store.close()
    assert [(provider, price is not None) for provider, _, price in told.events] == [
        ("binance", True),
        ("coingecko", False),
    ]
    assert counts == [("binance", "stored"), ("binance", "duplicate"), ("coingecko", "stored")]
    assert len(events(redis)) == 2


async def test_outcomes_are_counted(hooked: Api) -> None:
    """By provider and outcome; names that anybody could make up are one."""
    good = now_signed()
    for sent, provider in (
        (good, "binance"),
        (good, "binance"),
        (now_signed(secret=OTHER_SECRETS["binance"]), "binance"),
        (now_signed(), "kraken"),
        (now_signed(), "wp-admin"),
    ):
        await post(hooked, sent, provider)
    text = (await hooked.get("/metrics")).text
    found = dict(re.findall(r'^streamer_webhooks_total\{outcome="(.+)",provider=".+"\} (.+)$', text, re.MULTILINE))
    assert found == {"stored": "1.0", "duplicate": "1.0", "refused": "1.0", "unknown": "2.0"}
