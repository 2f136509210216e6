"""The shell around a session, with a transport that does as it is told."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import msgspec
import pytest

from streamer.coinbase.feed import Endpoint, Feed, FeedState
from streamer.coinbase.intake import TickerIntake
from streamer.coinbase.messages import Decoder
from streamer.coinbase.pace import Pace, Paces, ReconnectDelay
from streamer.coinbase.session import Session, SessionRules
from streamer.coinbase.transport import OnMessage
from streamer.errors import ConnectFailed, ConnectRefused
from streamer.model import ProductId, Source, Tick

BTC, USDC = ProductId("BTC-USD"), ProductId("BTC-USDC")


class FakeConnection:
    """Records what is sent; ends when told to."""

    def __init__(self, on_message: OnMessage, headers: Mapping[str, str]) -> None:
        self.on_message, self.headers = on_message, headers
        self.sent: list[dict[str, Any]] = []
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.aborted = self.said_goodbye = False
        self._sequence = count()

    async def send(self, message: bytes) -> None:
        self.sent.append(msgspec.json.decode(message))

    async def closed(self) -> str:
        return await asyncio.shield(self.ended)

    def abort(self) -> None:
        self.aborted = True

    async def close(self) -> None:
        self.said_goodbye = True

    def ticker(self, product_id: str, price: str, *, skip: int = 0) -> None:
        for _ in range(skip):
            next(self._sequence)
        events = [{"type": "update", "tickers": [{"type": "ticker", "product_id": product_id, "price": price}]}]
        stamp = {"channel": "ticker", "timestamp": "2026-11-20T15:04:06.1Z", "sequence_num": next(self._sequence)}
        self.on_message(msgspec.json.encode(stamp | {"events": events}))


class FakeExchange:
    """Answers connects with what is queued: an error, or a connection."""

    def __init__(self, *answers: Exception | None, headers: Mapping[str, str] | None = None) -> None:
        self._answers, self._headers = list(answers), headers or {}
        self.connections: list[FakeConnection] = []
        self.connects = 0

    async def __call__(self, url: str, on_message: OnMessage, *, tls: ssl.SSLContext | None) -> FakeConnection:
        self.connects += 1
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        connection = FakeConnection(on_message, self._headers)
        self.connections.append(connection)
        return connection


async def until(holds: Callable[[], bool]) -> None:
    """Give the loop turns until `holds` does."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    exchange: FakeExchange, *, products: Collection[ProductId] = (BTC,), numbers: Any = None, silence_s: float = 60
) -> AsyncIterator[tuple[Feed, list[tuple[ProductId, Tick]], list[set[ProductId]]]]:
    """Run a feed that does not wait between connects; yield it, its ticks and what it called suspect."""
    ticks: list[tuple[ProductId, Tick]] = []
    suspects: list[set[ProductId]] = []

    def take(product_id: ProductId, tick: Tick) -> bool:
        ticks.append((product_id, tick))
        return True

    session = Session(SessionRules(silence_s=silence_s))
    session.want(products)
    decoder = Decoder()
    feed = Feed(
        "default.market-0",
        [Endpoint("ws://127.0.0.1:1")],
        connect=exchange,
        session=session,
        intake=TickerIntake(decoder, take, lambda product_ids: suspects.append(set(product_ids))),
        decoder=decoder,
        paces=Paces(connects=Pace(1000), messages=Pace(1000)),
        numbers=numbers,
        delay=ReconnectDelay(jitter=lambda ceiling: 0.0),
    )
    task = asyncio.create_task(feed.run())
    try:
        yield feed, ticks, suspects
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert feed.state is FeedState.STOPPED


async def test_heartbeats_are_subscribed_first() -> None:
    """They are the proof of life, and the exchange wants a subscribe within 5 s."""
    exchange = FakeExchange()
    async with running(exchange):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        assert [message["channel"] for message in exchange.connections[0].sent] == ["heartbeats", "ticker"]


async def test_clean_close_is_followed_by_a_connect() -> None:
    """A venue restart closes with 1000; that is not the end."""
    exchange = FakeExchange()
    async with running(exchange) as (feed, _, _):
        await until(lambda: len(exchange.connections) == 1)
        exchange.connections[0].ended.set_result("closed with 1000")
        await until(lambda: len(exchange.connections) == 2)
        assert feed.facts(0).reconnects == 1


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (ConnectFailed("ws://x", "no route"), FeedState.BACKOFF),
        (ConnectRefused("ws://x", 503, 5.0), FeedState.BACKOFF),
        (ConnectRefused("ws://x", 403, 5.0), FeedState.REFUSED),
    ],
)
async def test_failed_connect_says_why(failure: Exception, state: FeedState) -> None:
    """A 4xx is a refusal, everything else trouble; both keep their reason for the status."""
    exchange = FakeExchange(*[failure] * 1000)
    async with running(exchange) as (feed, _, _):
        await until(lambda: feed.state is state)
        assert feed.facts(0).why == str(failure)


async def test_a_feed_made_anew_goes_on_counting_connections() -> None:
    """Else its first frames look older to the write script than those of the feed before it."""
    numbers = count(1)
    stamps = []
    for _ in range(2):
        exchange = FakeExchange()
        async with running(exchange, numbers=numbers) as (feed, _, _):
            await until(lambda exchange=exchange: bool(exchange.connections))  # type: ignore[misc]
            stamps.append(feed.stamp.connection)
    assert stamps == [1, 2]


async def test_what_the_simulator_sends_is_marked() -> None:
    """Its upgrade response names it, whatever URL it was reached under."""
    exchange = FakeExchange(headers={"server": "streamer-simulator"})
    async with running(exchange) as (_, ticks, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        exchange.connections[0].ticker("BTC-USD", "1")
        await until(lambda: bool(ticks))
        assert ticks[0][1].stamp.source is Source.SIMULATOR


async def test_alias_lands_under_the_id_that_was_asked_for() -> None:
    """The exchange answers BTC-USDC with tickers labelled BTC-USD."""
    exchange = FakeExchange()
    async with running(exchange, products=[USDC]) as (_, ticks, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        exchange.connections[0].ticker("BTC-USD", "1")
        await until(lambda: bool(ticks))
        assert [(product_id, tick.alias_of) for product_id, tick in ticks] == [(USDC, "BTC-USD")]


async def test_gap_casts_doubt_and_asks_for_a_snapshot() -> None:
    """On the same connection, without a reconnect and without REST."""
    exchange = FakeExchange()
    async with running(exchange) as (feed, _, suspects):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        connection = exchange.connections[0]
        connection.ticker("BTC-USD", "1")
        connection.ticker("ETH-USD", "2", skip=3)
        await until(lambda: len(connection.sent) == 4)
        assert suspects == [{BTC}]
        assert [message["type"] for message in connection.sent[2:]] == ["unsubscribe", "subscribe"]
        assert feed.facts(0).gaps == 1


async def test_silent_socket_is_aborted() -> None:
    """Nothing in order for the silence deadline: dropped without a closing handshake, and a new connect."""
    exchange = FakeExchange()
    async with running(exchange, silence_s=0.2) as (feed, _, _):
        await until(lambda: len(exchange.connections) >= 2)
        assert exchange.connections[0].aborted
        assert not exchange.connections[0].said_goodbye
        assert "although the socket is open" in str(feed.facts(0).why)


async def test_garbage_is_counted_and_survived() -> None:
    """A frame that is not JSON costs nothing but itself."""
    exchange = FakeExchange()
    async with running(exchange) as (feed, ticks, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        exchange.connections[0].on_message(b"\xff{garbage")
        exchange.connections[0].ticker("BTC-USD", "1")
        await until(lambda: bool(ticks))
        assert (feed.malformed, len(ticks)) == (1, 1)


async def test_proof_of_a_dead_connection_stays_known_until_the_next() -> None:
    """So long its values were current: a reader tells their age by it."""
    exchange = FakeExchange(None, *[ConnectFailed("ws://x", "no route")] * 1000)
    async with running(exchange) as (feed, _, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        connection = exchange.connections[0]
        connection.ticker("BTC-USD", "1")
        connection.ended.set_result("closed with 1006")
        proof_at = feed.facts(0).proof_at
        await until(lambda: exchange.connects > 5)
        assert proof_at is not None
        assert feed.facts(0).proof_at == proof_at
        assert feed.stamp.connection == 1


async def test_late_frame_is_passed_over() -> None:
    """An old value must not pass for the newer one that the gap has cost."""
    exchange = FakeExchange()
    async with running(exchange) as (feed, ticks, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        connection = exchange.connections[0]
        connection.ticker("BTC-USD", "1")
        connection.ticker("ETH-USD", "1", skip=1)
        late = {"channel": "ticker", "timestamp": "2026-11-20T15:04:06.1Z", "sequence_num": 1}
        events = [{"type": "update", "tickers": [{"type": "ticker", "product_id": "BTC-USD", "price": "2"}]}]
        connection.on_message(msgspec.json.encode(late | {"events": events}))
        assert [tick.fields.price for _, tick in ticks] == ["1"]
        assert feed.facts(time.monotonic()).products.suspect == [BTC]


async def test_news_of_a_feed_is_told() -> None:
    """Readers know nothing of a connection's values until it is reported: that cannot wait for the next second."""
    exchange = FakeExchange()
    async with running(exchange) as (feed, _, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        told: list[FeedState] = []
        feed._on_state = lambda: told.append(feed.state)
        exchange.connections[0].ticker("BTC-USD", "1")
        await until(lambda: len(told) == 1)
        exchange.connections[0].ended.set_result("closed with 1000")
        await until(lambda: len(told) == 2)
        assert told == [FeedState.LIVE, FeedState.BACKOFF]


async def test_of_one_turn_the_newest_sound_value_is_passed_on() -> None:
    """Older ones could only be replaced; a bad newest one must not cost the good one before it."""
    exchange = FakeExchange()
    async with running(exchange, products=[BTC, ProductId("ETH-USD")]) as (_, ticks, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        connection = exchange.connections[0]
        for product_id, price in (("BTC-USD", "1"), ("ETH-USD", "7"), ("BTC-USD", "2"), ("BTC-USD", "NaN")):
            connection.ticker(product_id, price)
        await until(lambda: bool(ticks))
        assert {product_id: tick.fields.price for product_id, tick in ticks} == {"BTC-USD": "2", "ETH-USD": "7"}
        assert len(ticks) == 2


async def test_values_before_a_gap_do_not_lift_its_doubt() -> None:
    """Though they come in the same turn as the frame that shows the gap."""
    exchange = FakeExchange()
    async with running(exchange) as (feed, ticks, _):
        await until(lambda: bool(exchange.connections) and len(exchange.connections[0].sent) == 2)
        connection = exchange.connections[0]
        connection.ticker("BTC-USD", "1")
        connection.ticker("ETH-USD", "1", skip=2)
        await asyncio.sleep(0)
        assert [tick.fields.price for _, tick in ticks] == ["1"]
        assert feed.facts(time.monotonic()).products.suspect == [BTC]
