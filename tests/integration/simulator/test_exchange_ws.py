"""The simulated exchange keeps the rules of the real one, over real sockets."""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
import stat
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from streamer.errors import ConfigError
from streamer.simulator.control import send_command
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import parse_command
from streamer.simulator.keys import load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.recording import Recorded, Recording
from streamer.simulator.server import Options, run
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.tls import make_server_tls
from tests.integration.simulator.helpers import any_jwt, good_jwt, peer, price, wait_until

DATA = Path(__file__).parents[2] / "data"
AUTH = {"type": "error", "message": "authentication failure"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
GO_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})? \+0000 UTC m=\+\d+\.\d{9}")


def exchange(products: tuple[str, ...] = ("BTC-USD", "ETH-USD"), **settings: Any) -> ExchangeServer:
    """An exchange that ticks only when told to."""
    settings.setdefault("ticks_per_s", 0.0)
    return ExchangeServer(RandomWalkMarket(products), ExchangeSettings(**settings))


async def test_snapshot_comes_before_the_ack_and_acks_are_cumulative() -> None:
    """Sequence numbers count every message of the connection from 0; the data of a subscribe precedes its ack."""
    async with exchange(heartbeat_s=60) as server, peer(server.url) as client:
        await client.ask("heartbeats")
        await client.ask("ticker", "BTC-USD", "ETH-USD")
        first, snapshot, second = await client.take(3)
        assert first["events"] == [{"subscriptions": {"heartbeats": ["heartbeats"]}}]
        assert snapshot["channel"] == "ticker"
        assert snapshot["events"][0]["type"] == "snapshot"
        assert [t["product_id"] for t in snapshot["events"][0]["tickers"]] == ["BTC-USD", "ETH-USD"]
        both = {"heartbeats": ["heartbeats"], "ticker": ["BTC-USD", "ETH-USD"]}
        assert second["events"] == [{"subscriptions": both}]
        await client.ask("ticker", "ETH-USD", kind="unsubscribe")
        third = await client.next()
        assert third["events"][0]["subscriptions"]["ticker"] == ["BTC-USD"]
        await client.ask("ticker", kind="unsubscribe")
        await client.ask("heartbeats", kind="unsubscribe")
        *_, last = await client.take(2)
        assert last["events"] == [{"subscriptions": {}}]
        assert [m["sequence_num"] for m in (first, snapshot, second, third, last)] == [0, 1, 2, 3, 5]
        assert all(STAMP.fullmatch(m["timestamp"]) for m in (first, snapshot, second, third))
        assert list(first) == ["channel", "client_id", "timestamp", "sequence_num", "events"]


async def test_every_connection_has_its_own_sequence_and_header() -> None:
    """A second connection starts at 0 again; the Server header tells that prices are not real."""
    async with exchange(client_id=False) as server, peer(server.url) as one, peer(server.url) as two:
        for client in (one, two):
            await client.ask("ticker", "BTC-USD")
            snapshot, ack = await client.take(2)
            assert (snapshot["sequence_num"], ack["sequence_num"]) == (0, 1)
            assert "client_id" not in snapshot
            assert client.ws.response is not None
            assert client.ws.response.headers["Server"] == "streamer-simulator"
            assert "Sec-WebSocket-Extensions" not in client.ws.response.headers


async def test_subscribing_again_gives_a_new_snapshot() -> None:
    """A client that lost frames can ask for the whole state again, on the same connection."""
    async with exchange() as server, peer(server.url) as client:
        for number in (0, 2):
            await client.ask("ticker", "BTC-USD")
            snapshot, ack = await client.take(2)
            assert (snapshot["sequence_num"], snapshot["events"][0]["type"]) == (number, "snapshot")
            assert ack["events"] == [{"subscriptions": {"ticker": ["BTC-USD"]}}]
        server.command(parse({"tick": "BTC-USD"}))
        server.command(parse({"tick": "BTC-USD"}))
        assert [m["sequence_num"] for m in await client.take(2)] == [4, 5]


async def test_heartbeats_count_up() -> None:
    """The counter is an integer that grows by one, and the time is in Go's form."""
    async with exchange(heartbeat_s=0.05) as server, peer(server.url) as client:
        await client.ask("heartbeats")
        _, *beats = await client.take(4)
        counters = [b["events"][0]["heartbeat_counter"] for b in beats]
        assert counters == list(range(counters[0], counters[0] + 3))
        assert counters[0] > 0
        assert all(GO_TIME.fullmatch(b["events"][0]["current_time"]) for b in beats)


async def test_ticks_reach_subscribers_at_the_rate() -> None:
    """A ticking market sends updates of subscribed products only, in sequence."""
    async with exchange(ticks_per_s=2000) as server, peer(server.url) as client:
        await client.subscribed("ticker", "ETH-USD")
        updates = await client.take(100)
        assert {u["events"][0]["type"] for u in updates} == {"update"}
        assert {t["product_id"] for u in updates for t in u["events"][0]["tickers"]} == {"ETH-USD"}
        first = updates[0]["sequence_num"]
        assert [u["sequence_num"] for u in updates] == list(range(first, first + 100))


async def test_a_saturated_market_loses_nothing() -> None:
    """As fast as a core can: still every number once, and the last state is the newest."""
    async with exchange(ticks_per_s=math.inf) as server, peer(server.url) as client:
        await client.subscribed("ticker", "BTC-USD", "ETH-USD")
        numbers = [(await client.next())["sequence_num"] for _ in range(5000)]
        assert numbers == list(range(numbers[0], numbers[0] + 5000))


async def test_usdc_pairs_and_unknown_products() -> None:
    """BTC-USDC is answered with BTC-USD; of a product that does not exist nothing comes but the ack."""
    async with exchange() as server, peer(server.url) as client:
        await client.ask("ticker", "BTC-USDC", "NOPE-USD")
        snapshot, ack = await client.take(2)
        assert [t["product_id"] for t in snapshot["events"][0]["tickers"]] == ["BTC-USD"]
        assert ack["events"][0]["subscriptions"]["ticker"] == ["BTC-USDC", "NOPE-USD"]
        await client.ask("ticker", "ALSO-USD")
        assert (await client.next())["channel"] == "subscriptions"


@pytest.mark.parametrize(
    ("channel", "name", "fields"),
    [
        ("ticker_batch", "tickers", {"type", "product_id", "price", "volume_24_h", "low_24_h", "high_24_h"}),
        ("candles", "candles", {"start", "high", "low", "open", "close", "volume", "product_id"}),
        ("market_trades", "trades", {"trade_id", "product_id", "price", "size", "time", "side"}),
        ("status", "products", {"id", "base_currency", "quote_currency", "display_name", "status"}),
    ],
)
async def test_other_public_channels(channel: str, name: str, fields: set[str]) -> None:
    """A snapshot in the shape of the documented samples comes first, an update after a change."""
    async with exchange(batch_s=0.05) as server, peer(server.url) as client:
        await client.ask(channel, "BTC-USD")
        snapshot, ack = await client.take(2)
        item = snapshot["events"][0][name][0]
        sample = json.loads((DATA / f"ws_{channel}.json").read_bytes()) if channel == "status" else None
        assert fields <= set(item)
        assert all(isinstance(v, str) for v in item.values())
        assert "best_bid" not in item
        assert ack["events"][0]["subscriptions"] == {channel: ["BTC-USD"]}
        if sample is not None:
            assert set(item) == set(sample["events"][0]["products"][0])
            return
        server.command(parse({"tick": "BTC-USD", "price": "90000"}))
        update = await client.next()
        assert (update["channel"], update["events"][0]["type"]) == (channel, "update")


def parse(command: dict[str, Any]) -> Any:
    """Return a command of the control port."""
    from streamer.simulator.faults import parse_command

    return parse_command(command)


# Keys


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
async def test_user_channel_with_a_good_key(tmp_path: Path, kind: Any) -> None:
    """A good token gets an empty snapshot and an ack with the user's uuid, on both hosts."""
    file = tmp_path / "key.json"
    make_key_file(file, kind)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="cannot be created"):
        make_key_file(file, kind)
    server = ExchangeServer(RandomWalkMarket(["BTC-USD"]), keys=dict([load_public_key(file)]))
    async with server:
        for url in (server.url, server.user_url):
            async with peer(url) as client:
                await client.ask("user", jwt=good_jwt(file))
                snapshot, ack = await client.take(2)
                assert snapshot["events"][0]["type"] == "snapshot"
                assert snapshot["events"][0]["orders"] == []
                (user,) = ack["events"][0]["subscriptions"]["user"]
                assert re.fullmatch(r"[0-9a-f-]{36}", user)
                summary = await client.subscribed("futures_balance_summary", jwt=good_jwt(file))
                assert summary["user"] == [user]


async def test_bad_tokens_fail_and_the_socket_stays_open(tmp_path: Path) -> None:
    """Missing, expired, future, too long, foreign and forged tokens are refused, also on a public channel."""
    file, foreign = tmp_path / "key.json", tmp_path / "foreign.json"
    name = make_key_file(file)
    make_key_file(foreign)
    server = ExchangeServer(
        RandomWalkMarket(["BTC-USD"]), ExchangeSettings(ticks_per_s=0), keys=dict([load_public_key(file)])
    )
    now_s = int(time.time())
    bad = [
        any_jwt(file, now_s, nbf=now_s + 30),
        any_jwt(file, now_s, exp=now_s - 1),
        any_jwt(file, now_s, exp=now_s + 121),
        any_jwt(file, now_s, nbf=None),
        any_jwt(file, now_s, exp=None),
        any_jwt(file, now_s, iss="coinbase-cloud"),
        any_jwt(file, now_s, sub="somebody"),
        any_jwt(file, now_s, kid="somebody"),
        any_jwt(foreign, now_s),
        any_jwt(foreign, now_s, kid=name, sub=name),
        "no token",
        7,
    ]
    async with server, peer(server.url) as client:
        await client.ask("user")
        assert await client.next() == AUTH
        for token in bad:
            await client.ask("user", jwt=token)
            assert await client.next() == AUTH
            await client.ask("ticker", "BTC-USD", jwt=token)
            assert await client.next() == AUTH
        assert await client.subscribed("ticker", "BTC-USD", jwt=any_jwt(file, now_s)) == {"ticker": ["BTC-USD"]}


async def test_wrong_requests_are_answered_with_an_error() -> None:
    """Unknown channels and, on the user host, market channels are authentication failures; nonsense is named."""
    async with exchange() as server, peer(server.url) as market, peer(server.user_url) as user:
        for client, channel in ((market, "heartbeat"), (market, "full"), (market, ["ticker"]), (user, "ticker")):
            await client.ws.send(json.dumps({"type": "subscribe", "channel": channel}))
            assert await client.next() == AUTH
        for nonsense in ("{", "[]", '{"type":"hello"}', '{"type":"subscribe","channel":"ticker","product_ids":7}'):
            await market.ws.send(nonsense)
            assert (await market.next())["type"] == "error"
        assert await user.subscribed("heartbeats") == {"heartbeats": ["heartbeats"]}


# Drops


async def test_no_subscription_no_connection() -> None:
    """A connection without an accepted subscription is dropped; a refused one does not count."""
    async with exchange(subscribe_deadline_s=0.1) as server, peer(server.url) as lazy, peer(server.url) as wrong:
        await wrong.ask("heartbeat")
        assert await lazy.closed() == 1000
        assert await wrong.closed() == 1000


async def test_idle_connections_are_dropped_unless_they_have_heartbeats() -> None:
    """Without updates a connection ends; heartbeats keep it."""
    async with (
        exchange(idle_after_s=0.2, heartbeat_s=0.05) as server,
        peer(server.url) as idle,
        peer(server.url) as kept,
    ):
        await kept.subscribed("heartbeats")
        await idle.subscribed("ticker", "BTC-USD")
        assert await idle.closed() == 1000
        assert len(await kept.take(5)) == 5


async def test_a_slow_consumer_is_closed() -> None:
    """Who does not read is cut off; others go on."""
    settings = ExchangeSettings(ticks_per_s=50_000, max_buffer_bytes=1 << 16, slow_consumer_s=0.1)
    async with ExchangeServer(RandomWalkMarket(["BTC-USD"]), settings) as server, peer(server.url) as client:
        await client.subscribed("ticker", "BTC-USD")
        client.ws.transport.pause_reading()
        await wait_until(lambda: not server.clients)


async def test_tls_is_verifiable(tmp_path: Path) -> None:
    """With its CA trusted the certificate passes verification, without it does not."""
    tls = make_server_tls(tmp_path)
    server = ExchangeServer(RandomWalkMarket(["BTC-USD"]), ssl_context=tls.context)
    async with server:
        assert server.url.startswith("wss://127.0.0.1:")
        async with peer(server.url, ssl.create_default_context(cafile=tls.ca_path)) as client:
            assert await client.subscribed("ticker", "BTC-USD") == {"ticker": ["BTC-USD"]}
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server.url, ssl=ssl.create_default_context())


async def test_a_port_in_use_is_a_config_error() -> None:
    """The error names the port; nothing is left running."""
    async with exchange() as server:
        with pytest.raises(ConfigError, match=str(server.port)):
            async with exchange(port=server.port):
                pass


# Recordings


def recorded(at_s: float, product_id: str, value: str, stamp: str) -> Recorded:
    return Recorded(at_s, stamp, ((product_id, {"type": "ticker", "product_id": product_id, "price": value}),))


async def test_a_recording_reaches_early_and_late_subscribers_alike() -> None:
    """Times and tickers are passed on verbatim, and who comes late still ends with the last of each product."""
    lines = [
        recorded(0, "A-USD", "1.10", "2021-04-17T16:43:30.100Z"),
        recorded(0.05, "B-USD", "2", "2021-04-17T16:43:29Z"),
        recorded(0.1, "A-USD", "1.20", "2021-04-17T16:43:31Z"),
    ]
    settings = ExchangeSettings(heartbeat_s=0.05)
    async with ExchangeServer(Recording(lines, speed=2), settings) as server, peer(server.url) as early:
        assert not server.ended.is_set()
        await early.ask("ticker", "A-USD", "B-USD")
        messages = await early.take(4)
        assert [m["channel"] for m in messages] == ["ticker", "subscriptions", "ticker", "ticker"]
        assert [m["sequence_num"] for m in messages] == [0, 1, 2, 3]
        tickers = [m for m in messages if m["channel"] == "ticker"]
        assert [m["timestamp"] for m in tickers] == [line.timestamp for line in lines]
        assert [price(m) for m in tickers] == ["1.10", "2", "1.20"]
        await asyncio.wait_for(server.ended.wait(), 5)
        async with peer(server.url) as late:
            await late.ask("ticker", "B-USD", "A-USD")
            snapshots = await late.take(2)
            assert [(m["timestamp"], price(m)) for m in snapshots] == [
                ("2021-04-17T16:43:29Z", "2"),
                ("2021-04-17T16:43:31Z", "1.20"),
            ]
            assert {m["events"][0]["type"] for m in snapshots} == {"snapshot"}
            await late.ask("heartbeats")
            assert await late.next_of("heartbeats")  # the exchange stays up


# The whole, with its control port


async def test_run_announces_obeys_and_stops(tmp_path: Path) -> None:
    """`run` says where it listens, obeys the control port and its script, and stops within a second."""
    script = tmp_path / "faults.jsonl"
    script.write_text('{"at_s": 0, "pause": true}\n')
    announced: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    options = Options(products=["BTC-USD"], faults=script, exchange=ExchangeSettings(ticks_per_s=0))
    task = asyncio.create_task(run(options, announced.set_result))
    where = await asyncio.wait_for(announced, 5)
    try:
        async with peer(where["url"]) as client:
            await client.subscribed("ticker", "BTC-USD")

            async def ask(**command: Any) -> dict[str, Any]:
                return await send_command("127.0.0.1", where["control_port"], command)

            assert await ask(tick="BTC-USD", price="99999.5") == {"ok": True}
            assert price(await client.next()) == "99999.5"
            state = await ask(query="state")
            assert state["tickers"]["BTC-USD"]["price"] == "99999.5"
            assert state["connections"][0]["subscriptions"] == {"ticker": ["BTC-USD"]}
            assert state["counters"]["connects"] == {"total": 1, "max_per_s": 1}
            assert state["counters"]["messages"]["total"] == 1
            assert state["paused"]
            assert (await ask(fault="explode"))["ok"] is False
            assert (await ask(tick="NOPE-USD"))["ok"] is False
            assert await ask(heal=True) == {"ok": True}
            assert not (await ask(query="state"))["paused"]
            started = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - started < 1.5
            assert await client.closed() == 1001
    finally:
        task.cancel()


@pytest.mark.parametrize("offset_s", [-3600, 3600])
async def test_the_date_of_the_upgrade_is_the_exchanges(offset_s: float) -> None:
    """Its tokens are checked by the same clock: a client may date its first one by it."""
    async with exchange() as server:
        server.command(parse_command({"clock_offset_s": offset_s}))
        async with peer(server.url) as client:
            assert client.ws.response is not None
            dates = client.ws.response.headers.get_all("Date")
        (told,) = (parsedate_to_datetime(date).timestamp() for date in dates)
        assert abs(told - time.time() - offset_s) < 10
