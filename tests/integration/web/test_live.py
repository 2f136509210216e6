"""Prices pushed over server-sent events and WebSockets: what clients see, and that they cannot hold anything up."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamer.model import ProductId
from streamer.web import address, live, shapes
from tests.integration.web.rig import Api, Events, Full, connections, quiet, settings
from tests.integration.web.test_routes import refused
from tests.support import PATIENCE, RedisServer, until

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")


def ws(api: Api, query: str = "") -> Any:
    """A WebSocket to the stream."""
    return connect(f"ws://127.0.0.1:{api.config.api_port}/api/v1/stream{query}")


async def told(socket: Any) -> dict[str, Any]:
    """The next message of a WebSocket, which is text."""
    async with asyncio.timeout(8 * PATIENCE):
        message = await socket.recv()
    assert isinstance(message, str)
    found: dict[str, Any] = json.loads(message)
    return found


# -- server-sent events -------------------------------------------------------------------------------------------


async def test_a_snapshot_then_updates(api: Api, world: Full) -> None:
    """First all that is streamed, each in its shape; then only what has changed, with rising ids."""
    async with api.events() as events:
        assert events.response.headers["content-type"].startswith("text/event-stream")
        assert events.response.headers["cache-control"] == "no-store"
        first = await events.next()
        assert first["event"] == "snapshot"
        assert list(first["data"]["tickers"]) == [BTC]
        shapes.Ticker.model_validate_json(json.dumps(first["data"]["tickers"][BTC]), strict=True)
        world.push(BTC, "101")
        second = await events.until(BTC, "101")
        assert second["event"] == "update"
        assert int(second["id"].partition("-")[2]) > int(first["id"].partition("-")[2])


async def test_a_quiet_client_hears_a_heartbeat(api: Api, world: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then, also where others' prices change all the while; over a WebSocket a message."""
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.3)
    async with ws(api, "?product_ids=ETH-USD") as socket:
        assert [(await told(socket))["type"] for _ in range(3)] == ["snapshot", "alive", "alive"]
    async with api.events("?product_ids=ETH-USD") as events:
        assert (await events.next())["data"] == {"tickers": {}, "removed": []}
        world.push(BTC, "101")
        assert (await events.next())["comment"] == "alive"
        assert (await events.next())["comment"] == "alive"


async def test_only_the_products_asked_for(api: Api, world: Full) -> None:
    """Others change unheard."""
    world.want(ETH)
    world.ticker(ETH, "50")
    async with api.events("?product_ids=ETH-USD,SOL-USD") as events:
        assert list((await events.next())["data"]["tickers"]) == [ETH]
        world.push(BTC, "101")
        world.push(ETH, "51")
        assert list((await events.until(ETH, "51"))["data"]["tickers"]) == [ETH]


async def test_who_comes_back_gets_what_has_changed(api: Api, world: Full) -> None:
    """With the last id it has seen; an id of another process, or none of ours, gets it a snapshot."""
    world.want(ETH)
    world.ticker(ETH, "50")
    async with api.events() as events:
        last = (await events.next())["id"]
        world.push(BTC, "101")
        await events.until(BTC, "101")
    async with api.events(**{"Last-Event-ID": last}) as events:
        missed = await events.next()
        assert (missed["event"], list(missed["data"]["tickers"])) == ("update", [BTC])
    number = last.partition("-")[2]
    for strange in (f"0000aaaa-{number}", number, "-1", "x", f"{last}{'9' * 30}"):
        async with api.events(**{"Last-Event-ID": strange}) as events:
            assert (await events.next())["event"] == "snapshot", strange


async def test_what_changes_while_a_client_is_away(
    redis: RedisServer, world: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is all that it is told when it is back, be it nothing; a service that was started anew tells everything."""
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.3)
    world.want(ETH)
    world.ticker(ETH, "50")
    async with Api(redis.url, settings()) as api:
        async with api.events() as events:
            last = (await events.next())["id"]
        await quiet(api)
        world.push(BTC, "101")
        async with api.events(**{"Last-Event-ID": last}) as events:
            missed = await events.next()
            assert (missed["event"], list(missed["data"]["tickers"])) == ("update", [BTC])
            assert missed["data"]["tickers"][BTC]["price"] == "101"
        await quiet(api)
        async with api.events(**{"Last-Event-ID": missed["id"]}) as events:
            assert (await events.next())["comment"] == "alive"
            world.push(ETH, "51")
            assert list((await events.next())["data"]["tickers"]) == [ETH]
    async with Api(redis.url, settings()) as api, api.events(**{"Last-Event-ID": missed["id"]}) as events:
        whole = await events.next()
        assert (whole["event"], set(whole["data"]["tickers"])) == ("snapshot", {BTC, ETH})


async def test_a_snapshot_tells_ages_of_now(api: Api, world: Full) -> None:
    """Not those of when the price came: a quiet product's value grows older while nothing changes."""
    async with api.events() as events, api.events() as later:
        before = (await events.next())["data"]["tickers"][BTC]
        await later.next()
        await asyncio.sleep(1.2)  # the time that passes is what is looked at
        async with api.events() as now:
            after = (await now.next())["data"]["tickers"][BTC]
    assert after["value_age_s"] >= before["value_age_s"] + 1.1


async def test_products_come_and_go_without_reconnecting(api: Api, world: Full) -> None:
    """One added by start-stream shows up; one taken out by stop-stream is said to be removed."""
    async with api.events() as events:
        await events.next()
        assert (await api.start(ETH)).status_code == 200
        world.ticker(ETH, "50")
        await events.until(ETH, "50")
        assert (await api.start(ETH, path="stop-stream")).status_code == 200
        while ETH not in (await events.next())["data"]["removed"]:
            pass


@pytest.mark.parametrize("query", ["?product_ids=btc", "?product_ids=BTC-USD,%00", "?product_ids=" + "A" * 999])
async def test_a_bad_id_is_422(api: Api, query: str) -> None:
    """Before anything is streamed; over a WebSocket as the answer to its handshake."""
    refused(await api.get(f"/api/v1/stream{query}"), 422, "invalid")
    with pytest.raises(InvalidStatus) as caught:
        async with ws(api, query):
            pass
    assert caught.value.response.status_code == 422


async def test_too_many_clients_are_told_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 for both kinds, and room again when one has gone."""
    monkeypatch.setattr(live, "MAX_CLIENTS", 1)
    async with api.events() as events:
        await events.next()
        refused(await api.get("/api/v1/stream"), 503, "full")
        with pytest.raises(InvalidStatus) as caught:
            async with ws(api):
                pass
        assert caught.value.response.status_code == 503
    await until(lambda: connections() <= 1, 8)
    async with ws(api) as socket:
        assert (await told(socket))["type"] == "snapshot"


# -- WebSocket ----------------------------------------------------------------------------------------------------


async def test_the_same_over_a_websocket(api: Api, world: Full) -> None:
    """Text messages: a snapshot, then updates; what the client says is not listened to."""
    async with ws(api) as socket:
        first = await told(socket)
        assert (first["type"], list(first["tickers"])) == ("snapshot", [BTC])
        await socket.send("hello")
        world.push(BTC, "101")
        second = await told(socket)
        assert (second["type"], second["tickers"][BTC]["price"]) == ("update", "101")


async def test_a_websocket_that_says_too_much_is_closed(api: Api) -> None:
    """It has nothing to say, and not a megabyte of it."""
    async with ws(api) as socket:
        await told(socket)
        with suppress(ConnectionClosed):
            await socket.send("x" * (1 << 20))
        async with asyncio.timeout(5 * PATIENCE):
            await socket.wait_closed()


# -- clients that hold things up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["events", "websocket"])
async def test_who_never_reads_is_let_go(
    redis: RedisServer, world: Full, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Within seconds, connection and task and all; those who read see every change meanwhile."""
    monkeypatch.setattr(address, "_UNTAKEN_S", 2.0)
    monkeypatch.setattr(live, "SEND_S", 2.0)
    names = [ProductId(f"P{i}-USD") for i in range(400)]
    world.want(*names)
    for name in names:
        world.ticker(name)
    async with Api(redis.url, settings(), send_buffer=4096) as api, api.events("?product_ids=BTC-USD") as events:
        await events.next()
        mute = socket.socket()
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with mute:
            mute.connect(("127.0.0.1", api.config.api_port))
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            upgrade += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            more = upgrade if kind == "websocket" else ""
            mute.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
            await until(lambda: connections() == 2, 5)
            world.push(BTC, "101")
            await events.until(BTC, "101")
            await until(lambda: connections() == 1, 12)
        world.push(BTC, "102")
        await events.until(BTC, "102")


@pytest.mark.parametrize("kind", ["events", "websocket"])
async def test_two_hundred_clients_at_once(api: Api, world: Full, kind: str) -> None:
    """All are told of a change, and nothing is left of them when they have gone."""
    async with AsyncExitStack() as stack:

        async def listener() -> Any:
            if kind == "websocket":
                return await stack.enter_async_context(ws(api))
            return await asyncio.open_connection("127.0.0.1", api.config.api_port, limit=1 << 20)

        clients = await asyncio.gather(*(listener() for _ in range(200)))
        if kind == "events":
            for _, writer in clients:
                writer.write(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                stack.callback(writer.close)

        async def hear(client: Any, price: str) -> None:
            async with asyncio.timeout(20 * PATIENCE):
                if kind == "events":
                    await client[0].readuntil(f'"price":"{price}"'.encode())
                    return
                while price not in await client.recv():
                    pass

        await asyncio.gather(*(hear(client, "100") for client in clients))
        world.push(BTC, "101.25")
        await asyncio.gather(*(hear(client, "101.25") for client in clients))
    await quiet(api)


@pytest.mark.parametrize("kind", ["events", "websocket"])
async def test_clients_end_when_the_service_stops(redis: RedisServer, world: Full, kind: str) -> None:
    """At once and properly: the last chunk of a stream, a closing frame of a WebSocket."""
    async with Api(redis.url, settings()) as api, AsyncExitStack() as stack:
        client = await stack.enter_async_context(ws(api) if kind == "websocket" else api.events())
        await (client.next() if isinstance(client, Events) else client.recv())
        api.stop.set()
        if isinstance(client, Events):
            assert (await client.next(2)) == {"ended": True}
        else:
            with pytest.raises(ConnectionClosed) as caught:
                async with asyncio.timeout(2 * PATIENCE):
                    await client.recv()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001
        assert api.task is not None
        async with asyncio.timeout(2 * PATIENCE):
            await api.task


async def test_the_stream_outlives_a_restart_of_redis(redis: RedisServer, world: Full) -> None:
    """Prices turn stale while it is away, without a word of where it is, and go on when it is back."""
    async with Api(redis.url, settings()) as api, api.events() as events:
        await events.next()
        redis.kill()
        try:
            while "data" not in (event := await events.next()):
                pass
            ticker = event["data"]["tickers"][BTC]
            assert ticker["tier"] == "stale"
            assert "127.0.0.1" not in ticker["reason"]
        finally:
            redis.start()
        world.fill()
        world.push(BTC, "105")
        await events.until(BTC, "105")
