"""Every fault does over a real socket what it says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import CLOSE_CODES, parse_command
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.settings import ExchangeSettings
from tests.integration.simulator.helpers import peer, price, wait_until

BTC, ETH = "BTC-USD", "ETH-USD"


def exchange(**settings: Any) -> ExchangeServer:
    """An exchange that ticks only when told to, with quick heartbeats."""
    settings = {"ticks_per_s": 0.0, "heartbeat_s": 0.05, **settings}
    return ExchangeServer(RandomWalkMarket([BTC, ETH]), ExchangeSettings(**settings))


def do(server: ExchangeServer, **command: Any) -> None:
    """Give the exchange a command."""
    server.command(parse_command(command))


@pytest.mark.parametrize("code", CLOSE_CODES)
async def test_close(code: int) -> None:
    """The socket is closed with the code asked for."""
    async with exchange() as server, peer(server.url) as client:
        await client.subscribed("ticker", BTC)
        do(server, fault="close", code=code)
        assert await client.closed() == code


async def test_reset() -> None:
    """The connection ends without a close frame; only the one named."""
    async with exchange() as server, peer(server.url) as one, peer(server.url) as two:
        await one.subscribed("ticker", BTC)
        await two.subscribed("ticker", BTC)
        do(server, fault="reset", connection=1)
        assert await one.closed() == 1006
        do(server, tick=BTC)
        assert (await two.next())["channel"] == "ticker"


async def test_drop_handshake() -> None:
    """A connection attempt is cut off before it is answered; afterwards they pass again."""
    async with exchange() as server:
        do(server, fault="drop_handshake")
        with pytest.raises((InvalidHandshake, ConnectionError, EOFError)):
            await connect(server.url)
        do(server, heal=True)
        async with peer(server.url) as client:
            await client.subscribed("ticker", BTC)
        assert server.state()["counters"]["refused"] == 1


async def test_refuse_upgrade() -> None:
    """The upgrade is answered with a status and a Retry-After header, for as long as asked."""
    async with exchange() as server:
        do(server, fault="refuse_upgrade", status=429, retry_after_s=7, for_s=0.2)
        with pytest.raises(InvalidStatus) as caught:
            await connect(server.url)
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "7"
        assert caught.value.response.headers["Server"] == "streamer-simulator"
        await wait_until(lambda: not server.board.active())
        async with peer(server.url) as client:
            await client.subscribed("ticker", BTC)


async def test_drop_after_subscribe() -> None:
    """A subscribe is the last thing the exchange hears."""
    async with exchange() as server, peer(server.url) as client:
        do(server, fault="drop_after_subscribe")
        await client.ask("ticker", BTC)
        assert await client.closed() == 1006


async def test_silence_and_pongs() -> None:
    """Nothing is sent, heartbeats included, yet pings are answered; healed, the sequence goes on without a gap."""
    async with exchange() as server, peer(server.url) as client:
        await client.subscribed("ticker", BTC)
        await client.subscribed("heartbeats")
        do(server, fault="silence")
        do(server, tick=BTC)
        await asyncio.wait_for(await client.ws.ping(), 5)
        sent = server.clients[1].sent
        for _ in range(5):
            await asyncio.wait_for(await client.ws.ping(), 5)
        await wait_until(lambda: server.clients[1].sent == sent)
        do(server, heal=True)
        do(server, tick=BTC)
        numbers = [m["sequence_num"] for m in await client.take(4)]
        assert numbers == list(range(numbers[0], numbers[0] + 4))


async def test_silence_of_one_product() -> None:
    """Only the muted product is missing, also from snapshots; the sequence has no gap."""
    async with exchange(heartbeat_s=60) as server, peer(server.url) as client:
        do(server, fault="silence", products=[BTC])
        await client.ask("ticker", BTC, ETH)
        snapshot, _ = await client.take(2)
        assert [t["product_id"] for t in snapshot["events"][0]["tickers"]] == [ETH]
        do(server, tick=BTC)
        do(server, tick=ETH)
        update = await client.next()
        assert update["sequence_num"] == 2
        assert update["events"][0]["tickers"][0]["product_id"] == ETH


async def test_sequence_faults() -> None:
    """Numbers are skipped, frames repeated and reordered, and the count starts again, as asked."""
    async with exchange(heartbeat_s=60) as server, peer(server.url) as client:
        await client.subscribed("ticker", BTC)  # 0 and 1

        async def after(ticks: int, messages: int, **fault: Any) -> list[int]:
            do(server, **fault)
            for _ in range(ticks):
                do(server, tick=BTC)
            return [m["sequence_num"] for m in await client.take(messages)]

        assert await after(2, 2, fault="skip", n=5) == [7, 8]
        assert await after(3, 5, fault="repeat", n=2) == [9, 9, 10, 10, 11]
        assert await after(4, 4, fault="reorder", n=3) == [14, 13, 12, 15]
        assert await after(2, 2, fault="restart_sequence") == [0, 1]
        do(server, fault="reorder", n=3)
        do(server, tick=BTC)
        assert await after(0, 1, heal=True) == [2]


async def test_garbage() -> None:
    """Bad frames of every kind arrive, and good ones after them without a gap of their making."""
    async with exchange(heartbeat_s=60) as server, peer(server.url) as client:
        await client.subscribed("ticker", BTC)
        do(server, fault="garbage")
        do(server, tick=BTC, price="70000")
        texts = [await client.text()]
        while '"price":"70000"' not in texts[-1]:
            texts.append(await client.text())
        whole = "\n".join(texts)
        for part in ("NaN", "1e999999999999999999", "\uff18\uff14", "1_000", "[[[[", "weather", "revision"):
            assert part in whole
        assert json.loads(texts[-1])["sequence_num"] == server.clients[1].sequence - 1
        do(server, fault="garbage", kind="not_json")
        assert await client.text() == ""


async def test_oversized() -> None:
    """One frame of exactly the size asked for, then life goes on."""
    async with exchange(heartbeat_s=60) as server, peer(server.url) as client:
        await client.subscribed("ticker", BTC)
        do(server, fault="oversized", size_bytes=5_000_000)
        do(server, tick=BTC)
        big = await client.text()
        assert len(big) == 5_000_000
        assert json.loads(big)["sequence_num"] == 2
        assert (await client.next())["sequence_num"] == 3


async def test_slow_frames() -> None:
    """Frames in segments of one byte are whole frames still, with pongs between them and not inside."""
    async with exchange(heartbeat_s=60) as server, peer(server.url) as client:
        do(server, fault="slow_frames")
        await client.ask("ticker", BTC)
        pong = await client.ws.ping()
        assert [m["channel"] for m in await client.take(2)] == ["ticker", "subscriptions"]
        do(server, tick=BTC, price="70000")
        await asyncio.wait_for(pong, 5)
        do(server, heal=True)
        assert price(await client.next()) == "70000"


async def test_refuse_subscriptions_and_ack_without_data() -> None:
    """Every subscribe is refused; or it is acknowledged and heartbeats come, but no data."""
    async with exchange() as server, peer(server.url) as client:
        do(server, fault="refuse_subscriptions")
        await client.ask("ticker", BTC)
        assert (await client.next())["message"] == "authentication failure"
        do(server, heal=True)
        do(server, fault="ack_without_data")
        await client.ask("ticker", BTC)
        await client.ask("heartbeats")
        assert [m["channel"] for m in await client.take(2)] == ["subscriptions", "subscriptions"]
        do(server, tick=BTC)
        assert {m["channel"] for m in await client.take(3)} == {"heartbeats"}
        do(server, heal=True)
        do(server, tick=BTC)
        assert (await client.next_of("ticker"))["events"][0]["type"] == "update"


async def test_ping_flood() -> None:
    """Pings come in numbers while nothing else does."""
    async with exchange() as server, peer(server.url) as client:
        await client.subscribed("heartbeats")
        seen: list[bytes] = []
        answer = client.ws.protocol.recv_frame

        def count(frame: Any) -> None:
            if frame.opcode.name == "PING":
                seen.append(bytes(frame.data))
            answer(frame)

        client.ws.protocol.recv_frame = count  # type: ignore[method-assign]
        do(server, fault="ping_flood", per_s=2000)
        sent = server.clients[1].sent
        await wait_until(lambda: len(seen) > 50)
        assert server.clients[1].sent == sent
        do(server, heal=True)
        assert (await client.next_of("heartbeats"))["events"]


async def test_fragment() -> None:
    """Messages in fragments with pings between them are put together to the same messages."""
    async with exchange() as server, peer(server.url) as client:
        do(server, fault="fragment")
        await client.ask("ticker", BTC, ETH)
        snapshot, ack = await client.take(2)
        assert len(snapshot["events"][0]["tickers"]) == 2
        assert ack["sequence_num"] == 1
