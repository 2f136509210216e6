"""Both transports keep one contract: over plain and TLS sockets, against the simulator and against rude peers."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve

from streamer.coinbase.transport import Connect, Connection, OnMessage, choose, tls_context
from streamer.errors import ConnectFailed, ConnectRefused
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import parse_command
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.tls import make_server_tls
from tests.support import Simulator, free_port, until

pytestmark = pytest.mark.timed

BTC, ETH = "BTC-USD", "ETH-USD"
SUBSCRIBE = b'{"type":"subscribe","channel":"ticker","product_ids":["BTC-USD","ETH-USD"]}'
MIB = 2**20


@pytest.fixture(params=["websockets", "picows"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """One of the transports."""
    return choose(request.param)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the throw-away certificates are."""
    folder = tmp_path_factory.mktemp("tls")
    make_server_tls(folder)
    return folder


class Host:
    """How the exchange is reached: plain, or over TLS by a client that trusts its CA."""

    def __init__(self, folder: Path | None) -> None:
        self._server = make_server_tls(folder).context if folder else None
        self._ca = str(folder / "ca.pem") if folder else None

    def exchange(self, **settings: Any) -> ExchangeServer:
        """An exchange that ticks only when told to."""
        settings = {"ticks_per_s": 0.0, "user_port": None, **settings}
        market = RandomWalkMarket([BTC, ETH])
        return ExchangeServer(market, ExchangeSettings(**settings), ssl_context=self._server)

    def trust(self, url: str) -> ssl.SSLContext | None:
        """What the client believes."""
        return tls_context(url, self._ca)


@pytest.fixture(params=["ws", "wss"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """Plain, or over TLS."""
    return Host(tmp_path if request.param == "wss" else None)


@asynccontextmanager
async def connection(
    connect: Connect, url: str, on_message: OnMessage = lambda message: None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Connection]:
    """An open connection, dropped at the end."""
    made = await connect(url, on_message, tls=tls)
    try:
        yield made
    finally:
        made.abort()
        await asyncio.wait_for(made.closed(), 2)


def do(server: ExchangeServer, **command: Any) -> None:
    """Give the exchange a command."""
    server.command(parse_command(command))


@asynccontextmanager
async def websocket_peer(handler: Callable[[ServerConnection], Any]) -> AsyncIterator[str]:
    """A server of our own making; yields its URL."""
    async with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=0.1) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


# -- messages ---------------------------------------------------------------------------------------------------


async def test_whole_messages_arrive_in_order(connect: Connect, host: Host) -> None:
    """Each message once and whole, also in fragments with pings between them; headers are there, in lower case."""
    heard: list[bytes] = []
    async with (
        host.exchange() as server,
        connection(connect, server.url, heard.append, host.trust(server.url)) as client,
    ):
        assert client.headers["server"] == "streamer-simulator"
        await client.send(SUBSCRIBE)
        await until(lambda: len(heard) == 2, 5)
        do(server, fault="fragment")
        for number in range(20):
            do(server, tick=BTC, price=str(70_000 + number))
        await until(lambda: len(heard) == 22, 5)
        do(server, heal=True)
        do(server, tick=BTC, price="60000")
        await until(lambda: len(heard) == 23, 5)
        for number in range(20):
            assert f'"price":"{70_000 + number}"'.encode() in heard[2 + number]
            assert heard[2 + number].startswith(b"{") and heard[2 + number].endswith(b"}")
        assert b'"price":"60000"' in heard[-1]


async def test_large_and_odd_messages_arrive(connect: Connect) -> None:
    """Empty, binary, exactly at the frame header's borders, and 8 MiB in fragments of uneven size."""
    sent = [b"", b"x", b"x" * 125, b"y" * 126, b"z" * 65535, b"w" * 65536, b"v" * (5 * MIB)]
    heard: list[bytes] = []

    async def talk(ws: ServerConnection) -> None:
        for message in sent:
            await ws.send(message.decode())
        await ws.send(["a" * 3, "b" * (8 * MIB - 10), "c" * 7])
        await ws.send(b"\x00\xff")
        await ws.wait_closed()

    async with websocket_peer(talk) as url, connection(connect, url, heard.append):
        await until(lambda: len(heard) == len(sent) + 2, 20)
    assert heard[: len(sent)] == sent
    assert heard[-2] == b"aaa" + b"b" * (8 * MIB - 10) + b"c" * 7
    assert heard[-1] == b"\x00\xff"


async def test_pings_are_answered_while_nothing_else_comes(connect: Connect) -> None:
    """A ping gets its pong from both, also with a payload."""
    answered = asyncio.Event()

    async def talk(ws: ServerConnection) -> None:
        await asyncio.wait_for(await ws.ping(b"are you there"), 5)
        answered.set()
        await ws.wait_closed()

    async with websocket_peer(talk) as url, connection(connect, url):
        await asyncio.wait_for(answered.wait(), 5)


# -- not getting there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_refused_upgrade_says_status_and_retry_after(connect: Connect, host: Host, status: int) -> None:
    """An HTTP answer in place of a WebSocket is a refusal with its facts."""
    async with host.exchange() as server:
        do(server, fault="refuse_upgrade", status=status, retry_after_s=7)
        with pytest.raises(ConnectRefused) as caught:
            await connect(server.url, lambda message: None, tls=host.trust(server.url))
        assert (caught.value.status, caught.value.retry_after_s) == (status, 7.0)
        do(server, heal=True)
        do(server, fault="refuse_upgrade", status=status)
        with pytest.raises(ConnectRefused) as caught:
            await connect(server.url, lambda message: None, tls=host.trust(server.url))
        assert (caught.value.status, caught.value.retry_after_s) == (status, None)


async def test_a_redirect_is_not_followed(connect: Connect) -> None:
    """Where an exchange sends us elsewhere, we do not go: the answer is an error."""
    followed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/elsewhere" in await reader.readuntil(b"\r\n\r\n"):
            followed.set()
        place = f"ws://127.0.0.1:{port}/elsewhere"
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((ConnectFailed, ConnectRefused)):
            await connect(f"ws://127.0.0.1:{port}", lambda message: None, tls=None)
    assert not followed.is_set()


async def test_a_dropped_handshake_fails(connect: Connect, host: Host) -> None:
    """Cut off before the answer: ConnectFailed, at once."""
    began = time.monotonic()
    async with host.exchange() as server:
        do(server, fault="drop_handshake")
        with pytest.raises(ConnectFailed):
            await connect(server.url, lambda message: None, tls=host.trust(server.url))
    assert time.monotonic() - began < 3


async def test_a_refused_port_fails(connect: Connect) -> None:
    """Nobody there: ConnectFailed, at once."""
    began = time.monotonic()
    with pytest.raises(ConnectFailed):
        await connect(f"ws://127.0.0.1:{free_port()}", lambda message: None, tls=None)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\nhello", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 4096])
async def test_what_is_no_websocket_fails(connect: Connect, answer: bytes) -> None:
    """A web server, another protocol, noise: an error of ours, never the library's."""

    async def serve_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve_it, "127.0.0.1", 0) as server:
        with pytest.raises((ConnectFailed, ConnectRefused)):
            await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda message: None, tls=None)


async def test_a_peer_that_accepts_and_says_nothing_is_given_up(authority: Path) -> None:
    """Both transports, plain and TLS: within 6 s it is ConnectFailed."""
    silent: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.add(writer)
        await reader.read()

    async def how_long(transport: str, url: str) -> float:
        began = time.monotonic()
        with pytest.raises(ConnectFailed):
            await choose(transport)(url, lambda message: None, tls=tls_context(url, str(authority / "ca.pem")))
        return time.monotonic() - began

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        took = await asyncio.gather(
            *(
                how_long(transport, f"{scheme}://{place}")
                for transport in ("websockets", "picows")
                for scheme in ("ws", "wss")
            )
        )
        for writer in silent:
            writer.transport.abort()
    assert max(took) < 6


@pytest.mark.parametrize("wrong", ["authority", "host name"])
async def test_tls_is_verified(connect: Connect, tmp_path: Path, authority: Path, wrong: str) -> None:
    """A certificate of a stranger, or for another host, is ConnectFailed, and no request is ever sent."""
    ours = make_server_tls(tmp_path)
    settings = ExchangeSettings(host="127.0.0.2" if wrong == "host name" else "127.0.0.1", user_port=None)
    trusted = tmp_path / "ca.pem" if wrong == "host name" else authority / "ca.pem"
    async with ExchangeServer(RandomWalkMarket([BTC]), settings, ssl_context=ours.context) as server:
        with pytest.raises(ConnectFailed) as caught:
            await connect(server.url, lambda message: None, tls=tls_context(server.url, str(trusted)))
        assert "certificate is not trusted" in caught.value.why
        assert server.state()["counters"]["connects"]["total"] == 0


# -- endings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1013])
async def test_a_clean_close_ends_with_its_code(connect: Connect, host: Host, code: int) -> None:
    """`closed()` returns for an orderly end too, and names the code."""
    async with (
        host.exchange() as server,
        connection(connect, server.url, tls=host.trust(server.url)) as client,
    ):
        await client.send(SUBSCRIBE)
        await until(lambda: bool(server.clients), 5)
        do(server, fault="close", code=code)
        assert str(code) in await asyncio.wait_for(client.closed(), 5)


async def test_an_abrupt_loss_ends_with_a_reason(connect: Connect, host: Host) -> None:
    """A reset, or a socket that simply ends, ends `closed()`; sending afterwards is ConnectFailed."""
    async with (
        host.exchange() as server,
        connection(connect, server.url, tls=host.trust(server.url)) as client,
    ):
        await client.send(SUBSCRIBE)
        await until(lambda: bool(server.clients), 5)
        do(server, fault="reset")
        assert await asyncio.wait_for(client.closed(), 5)
        with pytest.raises(ConnectFailed):
            await client.send(SUBSCRIBE)


@pytest.mark.parametrize("form", ["one frame", "fragments"])
async def test_an_oversized_message_closes_and_is_not_gathered(connect: Connect, host: Host, form: str) -> None:
    """40 MiB in one message end the connection; in one frame not even its bytes are taken in."""
    heard: list[bytes] = []

    async def pour(ws: ServerConnection) -> None:
        await ws.send("x" * MIB for _ in range(40))
        await ws.wait_closed()

    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    if form == "fragments":
        async with websocket_peer(_quietly(pour)) as url, connection(connect, url, heard.append) as client:
            assert await asyncio.wait_for(client.closed(), 20)
    else:
        async with (
            host.exchange() as server,
            connection(connect, server.url, heard.append, host.trust(server.url)) as client,
        ):
            await client.send(SUBSCRIBE)
            await until(lambda: len(heard) == 2, 5)
            do(server, fault="oversized", size_bytes=40 * MIB)
            assert await asyncio.wait_for(client.closed(), 20)
            assert process.memory_info().rss - before < 16 * MIB
    assert all(len(message) < MIB for message in heard)


def _quietly(handler: Callable[[ServerConnection], Any]) -> Callable[[ServerConnection], Any]:
    async def handle(ws: ServerConnection) -> None:
        try:
            await handler(ws)
        except Exception:  # noqa: BLE001 - the client leaves in the middle: that is the test
            ws.transport.abort()

    return handle


@pytest.fixture(scope="module")
def freezable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """An exchange in a process of its own."""
    with Simulator(tmp_path_factory.mktemp("frozen"), products=2, rate=200) as simulator:
        yield simulator


async def test_a_frozen_peer_holds_nothing_up(connect: Connect, freezable: Simulator) -> None:
    """abort() on it returns at once and ends closed(); close() takes at most 1.5 s."""
    heard: list[bytes] = []
    async with (
        connection(connect, freezable.url, heard.append) as one,
        connection(connect, freezable.url, heard.append) as two,
    ):
        for client in (one, two):
            await client.send(SUBSCRIBE)
        await until(lambda: len(heard) > 10, 5)
        with freezable.frozen():
            began = time.monotonic()
            one.abort()
            assert time.monotonic() - began < 0.05
            assert await asyncio.wait_for(one.closed(), 1)
            began = time.monotonic()
            await two.close()
            assert time.monotonic() - began < 1.5
            assert await asyncio.wait_for(two.closed(), 1)


async def test_close_says_goodbye(connect: Connect, host: Host) -> None:
    """A peer that lives gets its closing handshake, and is soon rid of us."""
    async with host.exchange() as server:
        client = await connect(server.url, lambda message: None, tls=host.trust(server.url))
        await client.send(SUBSCRIBE)
        await until(lambda: bool(server.clients), 5)
        began = time.monotonic()
        await client.close()
        assert time.monotonic() - began < 1
        assert await asyncio.wait_for(client.closed(), 1)
        await until(lambda: not server.clients, 2)


# -- turns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("transport", ["websockets", "picows"])
def test_a_flood_leaves_turns_to_others(tmp_path: Path, transport: str, loop: str) -> None:
    """Against a peer as fast as it can, another task has its turn within some thousand frames, and 100 ms."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    frames = 0

    def on_message(message: bytes) -> None:
        nonlocal frames
        frames += 1

    async def flooded(url: str) -> tuple[int, float]:
        most, longest_s, calmest_s = 0, 0.0, 9.9
        async with connection(choose(transport), url, on_message) as client:
            await client.send(SUBSCRIBE)
            await until(lambda: frames > 1000, 10)
            ends = time.monotonic() + 1.5
            round_ends, before, at = time.monotonic() + 0.5, frames, time.monotonic()
            while (now := time.monotonic()) < ends:
                await asyncio.sleep(0)
                most, before = max(most, frames - before), frames
                now = time.monotonic()
                longest_s, at = max(longest_s, now - at), now
                if now > round_ends:  # the calmest of three: this machine has other guests
                    calmest_s, longest_s, round_ends = min(calmest_s, longest_s), 0.0, now + 0.5
        return most, calmest_s

    with Simulator(tmp_path, products=2, rate="max") as simulator, asyncio.Runner(loop_factory=factory) as runner:
        most, calmest_s = runner.run(flooded(simulator.url))
    assert frames > 10_000
    assert most < 6_000
    assert calmest_s < 0.1
