"""`CoinbaseRest` over real sockets: against the simulator's REST, and against servers that do everything wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from streamer import settings
from streamer.coinbase import rest, rest_client
from streamer.coinbase.auth import Signer, read_key_file
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.rest import CoinbaseRest
from streamer.errors import (
    CircuitOpen,
    ConfigError,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnauthorized,
    RestUnavailable,
)
from streamer.model import Granularity, Priority, ProductId
from streamer.providers.base import Budget, Call, CallCounts
from streamer.simulator.account import Bank
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import parse_command
from streamer.simulator.keys import load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.tls import make_server_tls
from tests.support import PATIENCE, until

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
FIVE = Granularity.FIVE_MINUTE
DEADLINE_S = 1.0
"""In place of DEADLINE_S, where a test waits for it."""
LATE_S = 1.5 * PATIENCE
"""How much later than its deadline a call may end on a machine that is busy."""


# -- against the simulator ----------------------------------------------------------------------------------------


@asynccontextmanager
async def exchange(
    folder: Path, *, wallets: int = 0, rate: int | None = None, unknown_products: str = "leave_out", **key: Any
) -> AsyncIterator[tuple[ExchangeServer, CoinbaseRest]]:
    """A quiet exchange with TLS, and a client who has its key."""
    file, tls = folder / "key.json", make_server_tls(folder)
    make_key_file(file, **key)
    server = ExchangeServer(
        RandomWalkMarket(["BTC-USD", "ETH-USD"]),
        ExchangeSettings(ticks_per_s=0, private_per_s=rate, public_per_s=rate, unknown_products=unknown_products),
        keys=dict([load_public_key(file)]),
        ssl_context=tls.context,
        bank=Bank(extra_wallets=wallets),
    )
    async with server:
        assert server.rest_url is not None and server.rest_url.startswith("https://")
        signer = Signer(read_key_file(file))
        yield server, CoinbaseRest(server.rest_url, signer=signer, clock=ExchangeClock(), ca_file=str(tls.ca_path))


def tell(server: ExchangeServer, **command: Any) -> dict[str, Any]:
    """Give the exchange a command."""
    return server.command(parse_command(command))


def test_calls_are_not_remembered_longer_than_they_are_counted() -> None:
    """A reader never asks for the last hour; each call it made once stayed in memory."""
    counts = CallCounts()
    for hour in range(10):
        counts.made("products", hour * 3600.0)
    assert len(counts._times) == 1
    assert (counts.last_hour(9 * 3600.0), counts.total["products"]) == (1, 10)


@pytest.mark.parametrize(
    "key",
    [{"kind": "ES256"}, {"kind": "ES256", "by_id": True}, {"kind": "EdDSA"}, {"kind": "EdDSA", "seed_only": True}],
    ids=["ES256", "ES256 by id", "EdDSA", "EdDSA seed"],
)
async def test_all_pages_of_accounts_over_tls(tmp_path: Path, key: dict[str, Any]) -> None:
    """305 wallets come in two signed requests, and hold what the exchange says they hold."""
    async with exchange(tmp_path, wallets=300, **key) as (server, source):
        accounts = {account.currency: account for account in await source.accounts()}
        assert len(accounts) == 305
        truth = tell(server, query="accounts")["accounts"]
        told = {c: (str(accounts[c].available), str(accounts[c].hold)) for c in truth}
        assert told == {c: (t["available"], t["hold"]) for c, t in truth.items()}
        assert len({account.uuid for account in accounts.values()}) == 305
        books = tell(server, query="rest")
        assert books["routes_by_status"] == {"GET /accounts": {"200": 2}}
        assert (source.counts.total, source.counts.failures) == ({"accounts": 2}, 0)
        assert source.counts.last_hour(time.monotonic()) == 2


async def test_candles_and_products(tmp_path: Path) -> None:
    """Candles of the range, oldest first and with sound numbers; every product; neither is asked for with a key."""
    async with exchange(tmp_path) as (server, source):
        to_s = int(time.time())
        from_s = to_s // 300 * 300 - 30 * 300
        buckets = await source.candles(BTC, FIVE, from_s, to_s)
        starts = [bucket.start_s for bucket in buckets]
        assert len(starts) > 10
        assert starts == sorted(set(starts))
        assert from_s <= starts[0] and starts[-1] <= to_s
        assert all(Decimal(b.low) <= Decimal(b.open) <= Decimal(b.high) for b in buckets)
        products = await source.products()
        assert {"BTC-USD", "ETH-USD"} <= {product["product_id"] for product in products}
        assert {request["key"] for request in tell(server, query="rest")["recent"]} == {""}
        assert source.counts.total == {"candles": 1, "products": 1}


async def test_candles_of_every_granularity(tmp_path: Path) -> None:
    """Each begins where candles of its length do, and a short one is part of the long one about it."""
    async with exchange(tmp_path) as (_, source):
        to_s = int(time.time())
        for granularity in Granularity:
            from_s = to_s - 20 * granularity.seconds
            found = await source.candles(BTC, granularity, from_s, to_s)
            assert found, granularity
            assert {bucket.start_s % granularity.seconds for bucket in found} == {0}
        hour_s = to_s // 3600 * 3600 - 3600
        (hour,) = await source.candles(BTC, Granularity.ONE_HOUR, hour_s, hour_s)
        parts = await source.candles(BTC, FIVE, hour_s, hour_s + 3599)
        assert Decimal(hour.volume) == sum(Decimal(part.volume) for part in parts)


async def test_products_by_name(tmp_path: Path) -> None:
    """Those that are named and no others, asked for without a key; what the exchange does not know is left out."""
    async with exchange(tmp_path) as (server, source):
        products = await source.products([ETH, ProductId("NOPE-USD"), BTC])
        assert {product["product_id"] for product in products} == {"BTC-USD", "ETH-USD"}
        assert await source.products([ProductId("NOPE-USD")]) == []
        assert [request["key"] for request in tell(server, query="rest")["recent"]] == ["", ""]


@pytest.mark.parametrize("status", [400, 404])
async def test_an_exchange_may_refuse_all_for_one_it_does_not_know(tmp_path: Path, status: int) -> None:
    """Nobody knows whether the real one does: whoever asks must bear both."""
    async with exchange(tmp_path, unknown_products=str(status)) as (_, source):
        assert len(await source.products([BTC, ETH])) == 2
        with pytest.raises(RestRefused) as caught:
            await source.products([BTC, ProductId("NOPE-USD")])
        assert caught.value.status == status


async def test_the_breakdown_of_a_portfolio(tmp_path: Path) -> None:
    """What the exchange holds, to the last digit, signed for; another portfolio is not found."""
    async with exchange(tmp_path) as (server, source):
        tell(server, deposit="BTC", amount="0.00000001")
        assert source._signer is not None
        uuid = server.bank.portfolio_uuid(source._signer.name)
        breakdown = await source.portfolio_breakdown(uuid)
        held = {position["asset"]: position["total_balance_crypto"] for position in breakdown["spot_positions"]}
        truth = tell(server, query="accounts")["accounts"]
        sums = {c: Decimal(t["available"]) + Decimal(t["hold"]) for c, t in truth.items()}
        assert held == {currency: total for currency, total in sums.items() if total}
        assert {type(value) for value in held.values()} == {Decimal}
        assert breakdown["portfolio"]["uuid"] == uuid
        with pytest.raises(RestRefused) as caught:
            await source.portfolio_breakdown("00000000-0000-0000-0000-000000000000")
        assert (caught.value.status, caught.value.route) == (404, "portfolio_breakdown")
        assert source.counts.total == {"portfolio_breakdown": 2}


@pytest.mark.parametrize("uuid", ["", "default", "../accounts", "8bfc20d7-f7c6-4422-bf07-8243ca4169fe/x", "g" * 36])
async def test_what_is_no_uuid_never_becomes_part_of_a_path(key: Path, uuid: str) -> None:
    """Refused before anything is asked."""
    async with listening(says(reply(200, b'{"breakdown": {}}'))) as server:
        source = client(server, key)
        with pytest.raises(ConfigError, match="uuid"):
            await source.portfolio_breakdown(uuid)
        assert server.heads == []
        assert await source.portfolio_breakdown("8BFC20D7-f7c6-4422-bf07-8243ca4169fe") == {}


async def test_a_range_too_long_is_refused_with_400(tmp_path: Path) -> None:
    """Whoever asks can ask for less."""
    async with exchange(tmp_path) as (_, source):
        to_s = int(time.time())
        with pytest.raises(RestRefused) as caught:
            await source.candles(BTC, FIVE, to_s - 1000 * 300, to_s)
        assert caught.value.status == 400


async def test_paging_stops_at_a_cursor_that_repeats(tmp_path: Path) -> None:
    """The same page for ever, though there is more: what is there is told, and nothing is asked again and again."""
    async with exchange(tmp_path, wallets=300) as (server, source):
        tell(server, fault="rest_repeat_cursor")
        assert len(await source.accounts()) == 250
        assert tell(server, query="rest")["total"] <= 3
        tell(server, heal=True)
        assert len(await source.accounts()) == 305


async def test_a_key_without_permission_and_one_revoked(tmp_path: Path) -> None:
    """403 and 401 are told apart, public data goes on, and a key restored works again."""
    async with exchange(tmp_path) as (server, source):
        tell(server, permit=True, view=False)
        with pytest.raises(RestUnauthorized, match="permission") as caught:
            await source.accounts()
        assert caught.value.status == 403
        tell(server, permit=True, view=True)
        tell(server, revoke=True)
        with pytest.raises(RestUnauthorized, match="revoked") as caught:
            await source.accounts()
        assert caught.value.status == 401
        assert await source.products()
        tell(server, restore=True)
        assert len(await source.accounts()) == 5
        assert source.counts.failures == 2


@pytest.mark.parametrize("offset_s", [-3600.0, -30.0, 30.0, 3600.0])
async def test_an_exchange_in_another_time_is_followed(tmp_path: Path, offset_s: float) -> None:
    """Its answers say what time it is there: once one has come, tokens are dated by it."""
    async with exchange(tmp_path) as (server, source):
        tell(server, clock_offset_s=offset_s)
        assert await source.products()
        assert len(await source.accounts()) == 5


async def test_a_step_of_the_exchange_backwards_costs_one_refusal(tmp_path: Path) -> None:
    """The refusal itself says what time it is: what was believed before must not outlive it."""
    async with exchange(tmp_path) as (server, source):
        assert len(await source.accounts()) == 5
        tell(server, clock_offset_s=-30.0)
        with pytest.raises(RestUnauthorized):
            await source.accounts()
        assert len(await source.accounts()) == 5


async def test_calls_side_by_side(tmp_path: Path) -> None:
    """Each has a client of its own, and gets its own answer."""
    async with exchange(tmp_path) as (_, source):
        to_s = int(time.time())
        accounts, candles, products, again = await asyncio.gather(
            source.accounts(), source.candles(BTC, FIVE, to_s - 3000, to_s), source.products(), source.accounts()
        )
        assert len(accounts) == len(again) == 5
        assert candles and products
        assert source.counts.total == {"accounts": 2, "candles": 1, "products": 1}


# -- against servers that do as a test tells them -----------------------------------------------------------------

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server on loopback, with what it was asked."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self.heads: list[str] = []
        self.connections = self.gone = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                await self._behave(reader, writer)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            self.gone += 1
            writer.transport.abort()

    @property
    def tokens(self) -> list[str]:
        """The tokens that came."""
        lines = [line for head in self.heads for line in head.split("\r\n")]
        return [line.partition("Bearer ")[2] for line in lines if line.lower().startswith("authorization:")]


@asynccontextmanager
async def listening(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server."""
    server = Server(behave)
    tasks: set[asyncio.Task[Any]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(server.serve(reader, writer))
        tasks.add(task)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


def reply(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(answer: bytes, *, hang_up: bool = False) -> Behaviour:
    """Answer everything with these bytes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if hang_up:
            await writer.drain()
            raise EOFError

    return behave


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key file."""
    file = tmp_path / "canary.json"
    make_key_file(file)
    return file


def client(server: Server, key: Path, *, scheme: str = "http", **more: Any) -> CoinbaseRest:
    """A client of that server."""
    signer = Signer(read_key_file(key))
    return CoinbaseRest(f"{scheme}://127.0.0.1:{server.port}", signer=signer, clock=ExchangeClock(), **more)


def wallet(currency: str, value: str, **more: Any) -> dict[str, Any]:
    """An account as the exchange lists it."""
    told = {"uuid": f"{currency}-{value}", "currency": currency, "available_balance": {"value": value}}
    return {**told, "hold": {"value": "0"}, "default": False, "active": True, "type": "ACCOUNT_TYPE_CRYPTO"} | more


def listed(*wallets: dict[str, Any], has_next: bool = False, cursor: str = "") -> bytes:
    """A page of accounts."""
    return json.dumps({"accounts": wallets, "has_next": has_next, "cursor": cursor}).encode()


async def test_of_several_wallets_the_one_that_trades_is_chosen(key: Path) -> None:
    """Whatever their order: vaults lose to anything, inactive ones to active ones, others to the default."""
    wallets = [
        wallet("BTC", "1", type="ACCOUNT_TYPE_VAULT", default=True),
        wallet("BTC", "2", active=False, default=True),
        wallet("BTC", "3"),
        wallet("BTC", "4", default=True),
        wallet("ETH", "5", type="ACCOUNT_TYPE_VAULT"),
        wallet("ETH", "6", active=False),
        wallet("SOL", "7", hold=None),
    ]
    for order in (wallets, wallets[::-1]):
        async with listening(says(reply(200, listed(*order)))) as server:
            accounts = {a.currency: a for a in await client(server, key).accounts()}
        told = {currency: (str(a.available), str(a.hold)) for currency, a in accounts.items()}
        assert told == {"BTC": ("4", "0"), "ETH": ("6", "0"), "SOL": ("7", "0")}


async def test_pages_are_asked_for_on_one_connection_with_a_token_each(key: Path) -> None:
    """Cursors are passed on, every token is fresh, and no connection is opened for a page."""
    pages = [
        listed(wallet("BTC", "1"), has_next=True, cursor="a b&c"),
        listed(wallet("ETH", "2"), has_next=True, cursor="next"),
        listed(wallet("SOL", "3")),
    ]

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, pages[len(server.heads) - 1]))

    async with listening(behave) as server:
        assert {a.currency for a in await client(server, key).accounts()} == {"BTC", "ETH", "SOL"}
        asked = [head.split()[1].partition("?")[2] for head in server.heads]
        assert asked == ["limit=250", "limit=250&cursor=a+b%26c", "limit=250&cursor=next"]
        assert len(set(server.tokens)) == 3
        assert server.connections == 1


@pytest.mark.parametrize("cursor", ["", "same"])
async def test_more_that_cannot_be_asked_for_is_not_asked_for(key: Path, cursor: str) -> None:
    """There is more, says the exchange, and gives no way to it."""
    answer = reply(200, listed(wallet("BTC", "1"), has_next=True, cursor=cursor))
    async with listening(says(answer)) as server:
        assert [account.currency for account in await client(server, key).accounts()] == ["BTC"]
        assert len(server.heads) <= 2


async def test_pages_without_end_are_given_up(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page in time, and each with a cursor of its own: half an answer is none."""
    monkeypatch.setattr(rest, "_MAX_PAGES", 3)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, listed(wallet("BTC", "1"), has_next=True, cursor=f"{len(server.heads)}")))

    async with listening(behave) as server:
        source = client(server, key)
        with pytest.raises(RestUnavailable, match="more than 3 pages"):
            await source.accounts()
        assert len(server.heads) == 3
        assert (source.counts.total, source.counts.failures) == ({"accounts": 3}, 1)


async def test_the_deadline_is_of_each_page(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All together may take longer: a gate may let them wait in between."""
    monkeypatch.setattr(rest_client, "DEADLINE_S", DEADLINE_S)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4 * DEADLINE_S)
        writer.write(reply(200, listed(has_next=len(server.heads) < 4, cursor=f"{len(server.heads)}")))

    async with listening(behave) as server:
        began = time.monotonic()
        assert await client(server, key).accounts() == []
        assert time.monotonic() - began > DEADLINE_S


# -- through a gate -----------------------------------------------------------------------------------------------


class TellingGate:
    """Lets everything through and knows what; tries again after a 401 where told so; or lets nothing through."""

    def __init__(self, *, again: bool = False, closed: bool = False) -> None:
        self._again, self._closed = again, closed
        self.passed: list[tuple[Budget, str, Call]] = []

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[Any]]) -> Any:
        self.passed.append((budget, route, call))
        if self._closed:
            raise CircuitOpen(route, "too many calls have failed", retry_after_s=7.0)
        try:
            return await send()
        except RestUnauthorized:
            if not self._again:
                raise
        return await send()


async def test_every_request_passes_the_gate_by_itself(key: Path) -> None:
    """Also each page; with the budget it counts against, and on whose behalf it is made."""
    gate, call = TellingGate(), Call(Priority.TRADING, deadline=time.monotonic() + 60, caller="bot-7")

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert len(gate.passed) == len(server.heads)
        more = b'"has_next": true, "cursor": "c", ' if "/accounts" in server.heads[-1] else b""
        if "cursor=" in server.heads[-1]:
            more = b""
        writer.write(reply(200, b"{" + more + b'"accounts": [], "candles": [], "products": [], "breakdown": {}}'))

    async with listening(behave) as server:
        source = client(server, key, gate=gate)
        await source.accounts(call)
        await source.candles(BTC, FIVE, 0, 600, call)
        await source.products(call=call)
        await source.products([BTC, ETH], call)
        await source.portfolio_breakdown("8bfc20d7-f7c6-4422-bf07-8243ca4169fe", call)
        paths = [head.split()[1].removeprefix("/api/v3/brokerage") for head in server.heads]
    private, market = (Budget.PRIVATE, "accounts", call), Budget.MARKET
    assert gate.passed == [
        private,
        private,
        (market, "candles", call),
        (market, "products", call),
        (market, "products", call),
        (Budget.PRIVATE, "portfolio_breakdown", call),
    ]
    assert paths[2:] == [
        "/market/products/BTC-USD/candles?start=0&end=600&granularity=FIVE_MINUTE&limit=350",
        "/market/products",
        "/market/products?product_ids=BTC-USD&product_ids=ETH-USD",
        "/portfolios/8bfc20d7-f7c6-4422-bf07-8243ca4169fe",
    ]
    assert source.counts.total == {"accounts": 2, "candles": 1, "products": 2, "portfolio_breakdown": 1}


async def test_what_a_gate_does_not_let_through_is_not_made(key: Path) -> None:
    """Its error reaches whoever asked; nothing is sent and nothing counted."""
    async with listening(says(reply(200, listed()))) as server:
        source = client(server, key, gate=TellingGate(closed=True))
        with pytest.raises(CircuitOpen) as caught:
            await source.accounts()
        assert caught.value.retry_after_s == 7.0
        assert (server.connections, source.counts.total, source.counts.failures) == (0, {}, 0)


async def test_a_second_attempt_is_signed_anew_and_dated_by_the_refusal(tmp_path: Path) -> None:
    """Else it would fail for what the first one failed for: a token that is spent, or of another time."""
    async with exchange(tmp_path) as (server, first):
        assert server.rest_url is not None
        source = CoinbaseRest(
            server.rest_url,
            signer=first._signer,
            clock=ExchangeClock(),
            gate=TellingGate(again=True),
            ca_file=str(tmp_path / "ca.pem"),
        )
        assert len(await source.accounts()) == 5
        tell(server, clock_offset_s=-30.0)
        assert len(await source.accounts()) == 5
        assert tell(server, query="rest")["routes_by_status"]["GET /accounts"] == {"200": 2, "401": 1}
        assert (source.counts.total, source.counts.failures) == ({"accounts": 3}, 1)


async def test_attempts_have_a_token_each(key: Path) -> None:
    """Also where the time is the same."""
    answers = [reply(401, b"Unauthorized"), reply(200, listed())]

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[len(server.heads) - 1])

    async with listening(behave) as server:
        assert await client(server, key, gate=TellingGate(again=True)).accounts() == []
        assert len(set(server.tokens)) == 2


async def test_whoever_gives_up_while_waiting_at_the_gate_has_asked_nothing(key: Path) -> None:
    """A gate may let wait for long."""
    opened = asyncio.Event()

    class WaitingGate(TellingGate):
        async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[Any]]) -> Any:
            await opened.wait()
            return await send()

    async with listening(says(reply(200, listed()))) as server:
        source = client(server, key, gate=WaitingGate())
        asked = asyncio.ensure_future(source.accounts())
        kept = asyncio.ensure_future(source.accounts())
        await asyncio.sleep(0)
        asked.cancel()
        opened.set()
        assert await kept == []
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert len(server.heads) == 1


HTML = b"<html><body>502 Bad Gateway</body></html>"
LIMITED = b'{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}'


@pytest.mark.parametrize(
    ("answer", "kind", "status", "retry_after_s"),
    [
        (reply(400, b'{"error":"INVALID_ARGUMENT"}'), RestRefused, 400, None),
        (reply(401, b"Unauthorized"), RestUnauthorized, 401, None),
        (reply(403, b'{"error":"PERMISSION_DENIED"}'), RestUnauthorized, 403, None),
        (reply(404, b'{"error":"NOT_FOUND"}'), RestRefused, 404, None),
        (reply(429), RestRateLimited, 429, None),
        (reply(429, HTML, "Retry-After: 7"), RestRateLimited, 429, 7.0),
        (reply(429, LIMITED, "retry-after: 0"), RestRateLimited, 429, 0.0),
        (reply(429, LIMITED, "Retry-After: Fri, 20 Nov 2026 15:04:06 GMT"), RestRateLimited, 429, None),
        (reply(429, LIMITED, "Retry-After: -5"), RestRateLimited, 429, None),
        (reply(429, LIMITED, "Retry-After: " + "9" * 400), RestRateLimited, 429, None),
        (reply(500, b'{"errors":[]}'), RestUnavailable, 500, None),
        (reply(502, HTML), RestUnavailable, 502, None),
        (reply(503, b"upstream connect error", "Retry-After: 11"), RestUnavailable, 503, 11.0),
        (reply(599, b"\xff\xfe"), RestUnavailable, 599, None),
        (reply(204), RestUnavailable, 204, None),
        (reply(200, HTML), RestUnavailable, None, None),
        (reply(200, b""), RestUnavailable, None, None),
        (reply(200, b"\xff\xfe\x00"), RestUnavailable, None, None),
        (reply(200, b"[" * 100_000), RestUnavailable, None, None),
        (reply(200, b"[]"), RestUnavailable, None, None),
        (reply(200, b"{}"), RestUnavailable, None, None),
        (reply(200, b'{"accounts": {}}'), RestUnavailable, None, None),
        (reply(200, b'{"accounts": [{"currency": "BTC"}]}'), RestUnavailable, None, None),
        (reply(200, listed(wallet("BTC", "NaN"))), RestUnavailable, None, None),
        (reply(200, listed(wallet("BTC", "1e9"))), RestUnavailable, None, None),
        (reply(200, listed(wallet("BTC", "1", hold={"value": ""}))), RestUnavailable, None, None),
        (reply(200, b"not zipped", "Content-Encoding: gzip"), RestUnavailable, None, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", RestUnavailable, None, None),
        (reply(200, b"123456789", "Content-Length: 8"), RestUnavailable, None, None),
    ],
)
async def test_whatever_comes_becomes_an_error_of_ours(
    key: Path, answer: bytes, kind: type[RestError], status: int | None, retry_after_s: float | None
) -> None:
    """Judged by the status, never by the body; what says when to come back is believed if it is a number."""
    async with listening(says(answer, hang_up=not answer.startswith(b"HTTP"))) as server:
        source = client(server, key)
        with pytest.raises(RestError) as caught:
            await source.accounts()
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.retry_after_s) == (status, retry_after_s)
        assert caught.value.route == "accounts"
        assert caught.value.why in str(caught.value)
        assert len(str(caught.value)) < 300
        assert (source.counts.total, source.counts.failures) == ({"accounts": 1}, 1)


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, listed(wallet("BTC", "1")), length=4000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + listed(wallet("BTC", "1"))[:20],
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"accounts":[\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
    ids=["length", "chunk", "between chunks", "headers", "nothing"],
)
async def test_an_answer_that_breaks_off_is_none(key: Path, answer: bytes) -> None:
    """Also where what has come would be good JSON."""
    async with listening(says(answer, hang_up=True)) as server:
        with pytest.raises(RestUnavailable):
            await client(server, key).accounts()


@pytest.mark.parametrize(
    "body",
    [
        b'{"candles": [{"start": "x", "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1"}]}',
        b'{"candles": [{"start": "300", "open": "NaN", "high": "1", "low": "1", "close": "1", "volume": "1"}]}',
        b'{"candles": [{"start": 300, "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1"}]}',
        b'{"candles": [{"start": "301", "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1"}]}',
        b'{"candles": null}',
    ],
)
async def test_candles_without_sense_are_no_answer(key: Path, body: bytes) -> None:
    """None of a bad list is taken: its holes would pass for buckets without trades."""
    async with listening(says(reply(200, body))) as server:
        with pytest.raises(RestUnavailable, match="sense"):
            await client(server, key).candles(BTC, FIVE, 0, 600)


async def test_candles_come_oldest_first_whatever_the_order(key: Path) -> None:
    """The exchange sends the newest first."""
    one = {"open": "1", "high": "2", "low": "1", "close": "2", "volume": "3"}
    body = json.dumps({"candles": [{**one, "start": str(s)} for s in (900, 300, 600)]}).encode()
    async with listening(says(reply(200, body))) as server:
        assert [b.start_s for b in await client(server, key).candles(BTC, FIVE, 0, 900)] == [300, 600, 900]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(key: Path, status: int) -> None:
    """It could lead to anyone, with our token."""
    async with listening(says(reply(200, listed()))) as elsewhere:
        to = f"Location: http://127.0.0.1:{elsewhere.port}/api/v3/brokerage/accounts"
        async with listening(says(reply(status, b"", to))) as server:
            with pytest.raises(RestUnavailable) as caught:
                await client(server, key).accounts()
        assert caught.value.status == status
        assert elsewhere.connections == 0


async def test_public_paths_carry_no_token(key: Path) -> None:
    """A key that has gone bad must not cost public data; private paths carry a token for their path alone."""
    async with listening(says(reply(200, b'{"candles": [], "products": [], "accounts": []}'))) as server:
        source = client(server, key)
        await source.candles(BTC, FIVE, 0, 600)
        await source.products()
        assert server.tokens == []
        assert not [head for head in server.heads if "authorization" in head.lower()]
        await source.accounts()
        assert len(server.tokens) == 1
        assert all("coinbase-advanced-py" in head and "cookie" not in head.lower() for head in server.heads)


async def test_a_token_is_for_the_host_that_is_asked(key: Path) -> None:
    """As it stands in the request: in lower case, and without the port that https has anyway."""
    async with listening(says(reply(200, listed()))) as server:
        signer = Signer(read_key_file(key))
        await CoinbaseRest(f"http://LOCALHOST:{server.port}", signer=signer, clock=ExchangeClock()).accounts()
        (host,) = [line[6:] for line in server.heads[0].split("\r\n") if line.startswith("Host: ")]
        payload = server.tokens[0].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["uri"] == f"GET {host}/api/v3/brokerage/accounts"
    for url, named in (
        ("https://api.coinbase.com:443", "api.coinbase.com"),
        ("https://api.coinbase.com:8443", "api.coinbase.com:8443"),
        ("https://api.coinbase.com", "api.coinbase.com"),
        ("http://[::1]:443", "[::1]:443"),
    ):
        assert CoinbaseRest(url, signer=signer, clock=ExchangeClock())._client().base_url == named


async def test_without_a_key_nothing_is_signed(key: Path) -> None:
    """Public data can be had, and a private question is the exchange's to refuse."""
    async with listening(says(reply(200, b'{"products": [], "accounts": []}'))) as server:
        source = CoinbaseRest(f"http://127.0.0.1:{server.port}", signer=None, clock=ExchangeClock())
        assert await source.products() == []
        await source.accounts()
        assert server.tokens == []


async def test_a_netrc_does_not_take_the_place_of_our_token(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`requests` would put its password there."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login some password body\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    async with listening(says(reply(200, b'{"products": [], "accounts": []}'))) as server:
        source = client(server, key)
        await source.products()
        await source.accounts()
        assert [token.count(".") for token in server.tokens] == [2]
        assert "Basic" not in "".join(server.heads)


async def test_the_answers_teach_the_clock(key: Path) -> None:
    """Each has a date; that of a refusal is worth as much."""
    date = "Date: Fri, 20 Nov 2026 15:04:06 GMT"
    for status, body in ((200, b'{"products": []}'), (401, b"Unauthorized")):
        clock = ExchangeClock()
        async with listening(says(reply(status, body, date))) as server:
            source = CoinbaseRest(f"http://127.0.0.1:{server.port}", signer=None, clock=clock)
            with suppress(RestUnauthorized):
                await source.products()
        assert abs(clock.now(time.time()) - datetime(2026, 11, 20, 15, 4, 6, tzinfo=UTC).timestamp()) < 60


async def test_the_clock_is_asked_and_told_in_the_event_loop_only(key: Path) -> None:
    """The feeds tell it there with every heartbeat: it is not made for two threads at once."""
    touched: set[str] = set()

    class Watched(ExchangeClock):
        def saw(self, exchange_s: float, local_s: float, resolution_s: float = 0.0) -> None:
            touched.add(threading.current_thread().name)
            super().saw(exchange_s, local_s, resolution_s)

        def now(self, local_s: float) -> float:
            touched.add(threading.current_thread().name)
            return super().now(local_s)

        def forget(self) -> None:
            touched.add(threading.current_thread().name)
            super().forget()

    for status in (200, 401):
        answer = reply(status, b'{"accounts": []}', "Date: Fri, 20 Nov 2026 15:04:06 GMT")
        async with listening(says(answer)) as server:
            signer = Signer(read_key_file(key))
            source = CoinbaseRest(f"http://127.0.0.1:{server.port}", signer=signer, clock=Watched())
            with suppress(RestUnauthorized):
                await source.accounts()
    assert touched == {threading.main_thread().name}


# -- time ---------------------------------------------------------------------------------------------------------


@contextmanager
def ticking() -> Iterator[list[float]]:
    """Collect how late the event loop's turns come while the block runs."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - began - 0.01)

    task = asyncio.ensure_future(tick())
    try:
        yield late
    finally:
        task.cancel()


def threads() -> list[str]:
    """The threads of calls that have not come to their end."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rest-")]


async def _for_ever(writer: asyncio.StreamWriter, piece: bytes, every_s: float) -> None:
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(every_s)


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the peer leaves


async def _hang_after_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"", length=100))
    await reader.read()


async def _dribble_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await _for_ever(writer, b"a", 0.02)


async def _dribble_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"", length=1 << 30))
    await _for_ever(writer, b"{", 0.02)


async def _dribble_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await _for_ever(writer, b"1\r\n{\r\n", 0.02)


async def _dribble_an_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await _for_ever(writer, b"HTTP/1.1 100 Continue\r\n\r\n", 0.02)


async def _flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await _for_ever(writer, b"[" * 65536, 0.0)


@pytest.mark.parametrize(
    "behave",
    [
        _hang,
        _hang_after_headers,
        _dribble_headers,
        _dribble_body,
        _dribble_chunks,
        _dribble_an_error,
        _flood,
    ],
)
async def test_a_call_ends_in_time(key: Path, monkeypatch: pytest.MonkeyPatch, behave: Behaviour) -> None:
    """Within its deadline, without holding the event loop up; soon its thread and its connection are gone too."""
    monkeypatch.setattr(rest_client, "DEADLINE_S", DEADLINE_S)
    monkeypatch.setattr(rest_client, "_MAX_BODY_BYTES", 1 << 30)
    async with listening(behave) as server:
        source = client(server, key)
        with ticking() as late:
            began = time.monotonic()
            with pytest.raises(RestUnavailable):
                await source.accounts()
            took_s = time.monotonic() - began
        assert took_s < DEADLINE_S + LATE_S
        assert len(late) > 5
        assert max(late) < 0.5 * PATIENCE
        assert source.counts.failures == 1
        await until(lambda: not threads(), 5, "the thread of the call lives on")
        await until(lambda: server.gone == server.connections, 5, "the connection stays open")
        assert len(server.heads) == source.counts.total["accounts"] == 1


async def test_an_answer_beyond_the_size_limit_is_not_read_to_its_end(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, also where the answer is packed."""
    monkeypatch.setattr(rest_client, "_MAX_BODY_BYTES", 1 << 20)
    async with listening(_flood) as server:
        began = time.monotonic()
        with pytest.raises(RestUnavailable, match="without end"):
            await client(server, key).accounts()
        assert time.monotonic() - began < rest_client.DEADLINE_S / 2


async def test_calls_that_hang_do_not_hold_up_others(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty hang; the one that does not is answered at once, and so is the first after them."""
    monkeypatch.setattr(rest_client, "DEADLINE_S", 3 * DEADLINE_S)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "/accounts" in server.heads[-1]:
            await reader.read()
        writer.write(reply(200, b'{"products": []}'))

    async with listening(behave) as server:
        source = client(server, key)
        hung = [asyncio.ensure_future(source.accounts()) for _ in range(20)]
        await until(lambda: server.connections == 20, 10)
        assert await source.products() == []
        assert not any(task.done() for task in hung)
        outcomes = await asyncio.gather(*hung, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RestUnavailable}
        assert await source.products() == []
        await until(lambda: not threads(), 5)


async def test_making_a_client_does_not_block_the_event_loop(key: Path, tmp_path: Path) -> None:
    """Every failed call costs its client; the next one must not read all the system's certificates in our loop."""
    tls = make_server_tls(tmp_path / "tls")
    async with listening(says(reply(503), hang_up=True), tls.context) as server:
        source = client(server, key, scheme="https", ca_file=str(tls.ca_path))
        began = time.perf_counter()
        for _ in range(5):
            source._client()
        assert (time.perf_counter() - began) / 5 < 0.005 * PATIENCE
        for _ in range(2):
            with pytest.raises(RestUnavailable):
                await source.accounts()


async def test_a_call_given_up_leaves_nothing_behind(key: Path) -> None:
    """Cancelled: no error that nobody hears, and the next call has a client of its own."""
    async with listening(_hang) as server:
        source = client(server, key)
        call = asyncio.ensure_future(source.accounts())
        await until(lambda: server.heads, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not threads(), 10, "the thread of a cancelled call lives on")


def test_a_hung_call_does_not_keep_the_process(key: Path) -> None:
    """The process ends within 2 s of its main returning, whatever a server has not answered yet."""
    program = f"""
import asyncio, time
from pathlib import Path
from streamer.coinbase.auth import Signer, read_key_file
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.rest import CoinbaseRest

async def main():
    signer = Signer(read_key_file(Path({str(key)!r})))
    source = CoinbaseRest("http://127.0.0.1:%d", signer=signer, clock=ExchangeClock())
    calls = [asyncio.ensure_future(source.accounts()) for _ in range(3)]
    while source.counts.total.get("accounts") != 3:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)

asyncio.run(main())
print(time.time(), flush=True)
"""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        command = [sys.executable, "-c", program % deaf.getsockname()[1]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
        ended_at = time.time()
    assert (done.returncode, done.stderr) == (0, "")
    assert ended_at - float(done.stdout) < 2 * PATIENCE


# -- trust --------------------------------------------------------------------------------------------------------


async def test_a_certificate_that_is_not_trusted(key: Path, tmp_path: Path) -> None:
    """No request is sent, and the error says what is wrong; with the CA it works."""
    tls = make_server_tls(tmp_path / "tls")
    async with listening(says(reply(200, listed())), tls.context) as server:
        with pytest.raises(RestUnavailable, match="certificate"):
            await client(server, key, scheme="https").accounts()
        assert server.heads == []
        assert await client(server, key, scheme="https", ca_file=str(tls.ca_path)).accounts() == []


async def test_a_certificate_for_another_host(key: Path, tmp_path: Path) -> None:
    """Trusted, but not this one's."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.coinbase.com").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    async with listening(says(reply(200, listed())), context) as server:
        with pytest.raises(RestUnavailable, match="certificate"):
            await client(server, key, scheme="https", ca_file=str(ca)).accounts()
        assert server.heads == []


async def test_a_server_without_tls_has_no_bad_certificate(key: Path) -> None:
    """What is wrong is not the certificate, and nobody shall be sent to look for one."""

    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(400, b"The plain HTTP request was sent to HTTPS port"))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        signer = Signer(read_key_file(key))
        with pytest.raises(RestUnavailable) as caught:
            await CoinbaseRest(f"https://127.0.0.1:{port}", signer=signer, clock=ExchangeClock()).accounts()
        assert "certificate" not in caught.value.why


def test_plain_http_is_for_this_machine_only() -> None:
    """A token is never sent in the clear over a network."""
    for url in ("http://127.0.0.1:80", "http://localhost", "http://[::1]:8080", "https://api.example.com"):
        assert settings.load(rest_url=url).rest_url == url
    for url in ("http://api.coinbase.com", "http://192.168.0.1:80", "http://127.0.0.1.example.com"):
        with pytest.raises(ConfigError, match="loopback"):
            settings.load(rest_url=url)


def test_a_key_in_the_environment_is_not_picked_up(tmp_path: Path) -> None:
    """The SDK reads COINBASE_API_KEY when it is imported; ours knows the key it was given and no other."""
    program = """
import asyncio
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.rest import CoinbaseRest

heads = []

async def serve(reader, writer):
    heads.append(await reader.readuntil(b"\\r\\n\\r\\n"))
    head = b"HTTP/1.1 200 OK\\r\\nContent-Length: 16\\r\\nConnection: close\\r\\n\\r\\n"
    writer.write(head + b'{"accounts": []}')
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = CoinbaseRest(f"http://127.0.0.1:{port}", signer=None, clock=ExchangeClock())
    assert await source.accounts() == []
    assert not source._client().is_authenticated
    print(b"authorization" in heads[0].lower(), len(heads))

asyncio.run(main())
"""
    make_key_file(tmp_path / "key.json")
    content = json.loads((tmp_path / "key.json").read_text())
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    env |= {"COINBASE_API_KEY": content["name"], "COINBASE_API_SECRET": content["privateKey"]}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["False", "1"], "")


# -- secrets ------------------------------------------------------------------------------------------------------


def texts(thing: object, depth: int = 7, seen: set[int] | None = None) -> Iterator[str]:
    """Every text that can be reached from an error: itself, those behind it, and what they hold."""
    seen = set() if seen is None else seen
    if id(thing) in seen or depth < 0:
        return
    seen.add(id(thing))
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, bytes):
        yield thing.decode("latin-1")
    elif isinstance(thing, dict):
        for name, value in list(thing.items()):
            yield from texts(name, depth - 1, seen)
            yield from texts(value, depth - 1, seen)
    elif isinstance(thing, list | tuple | set):
        for item in thing:
            yield from texts(item, depth - 1, seen)
    elif not isinstance(thing, type | int | float | None):
        yield repr(thing)
        if isinstance(thing, BaseException):
            yield str(thing)
            for behind in (thing.__cause__, thing.__context__, thing.args):
                yield from texts(behind, depth - 1, seen)
        yield from texts(getattr(thing, "__dict__", None), depth - 1, seen)


def test_the_search_for_texts_finds_what_requests_hides() -> None:
    """Else the test below could not fail: errors of `requests` hold the request with its headers."""
    request = requests.Request("GET", "http://127.0.0.1/", headers={"Authorization": "Bearer canary"}).prepare()

    def fail() -> None:
        try:
            raise requests.ConnectionError("no", request=request)
        except requests.ConnectionError:
            raise RestUnavailable("accounts", "no") from None

    with pytest.raises(RestUnavailable) as caught:
        fail()
    assert any("canary" in text for text in texts(caught.value))


@pytest.mark.parametrize(
    "behave",
    [
        says(reply(401, b"Unauthorized")),
        says(reply(403, b'{"error_details":"Missing required scopes"}')),
        says(reply(503)),
        says(reply(200, HTML)),
        says(reply(200, b"", length=99), hang_up=True),
        says(reply(302, b"", "Location: http://127.0.0.1:1/")),
        says(b"", hang_up=True),
        says(b"HTTP/1.1 200 OK\r\nno header\r\nat all\x00\r\n\r\n", hang_up=True),
        _hang,
    ],
)
async def test_no_secret_in_any_error_or_log(
    key: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, behave: Behaviour
) -> None:
    """Neither token nor key, nor behind the error; nor in any log at its loudest, the SDK's own included."""
    monkeypatch.setattr(rest_client, "DEADLINE_S", DEADLINE_S)
    caplog.set_level(logging.DEBUG)
    for name in ("coinbase.RESTClient", "urllib3", "requests", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, logger=name)
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[assignment, method-assign]
    sdk = logging.getLogger("coinbase.RESTClient")
    sdk.addHandler(handler)
    try:
        async with listening(behave) as server:
            with pytest.raises(RestError) as caught:
                await client(server, key).accounts()
            (token,) = server.tokens
            await until(lambda: not threads(), 5)
    finally:
        sdk.removeHandler(handler)
    secret = "".join(json.loads(key.read_text())["privateKey"].splitlines()[1:-1])
    found = [*texts(caught.value), *texts([vars(record) for record in (*said, *caplog.records)])]
    found += [record.getMessage() for record in (*said, *caplog.records)]
    assert any("accounts" in text for text in found)
    for text in found:
        for part in token.split("."):
            assert part not in text
        assert "Bearer" not in text
        assert not any(secret[i : i + 16] in text for i in range(len(secret) - 15))


def test_what_is_shown_of_a_client_holds_no_secret(key: Path) -> None:
    """Whatever prints one."""
    source = CoinbaseRest("https://127.0.0.1:1", signer=Signer(read_key_file(key)), clock=ExchangeClock())
    secret = json.loads(key.read_text())["privateKey"].splitlines()[1]
    for thing in (source, source._client()):
        assert secret[:16] not in f"{thing!r} {thing} {vars(thing)}"
