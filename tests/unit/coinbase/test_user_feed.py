"""The feed of the user channel, with a transport that does as it is told: tokens, refusals, gaps and failover."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from streamer.coinbase.auth import Signer, read_key_file
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.feed import Endpoint, Feed, FeedState
from streamer.coinbase.intake import CandleIntake, Frame, Intake, StatusIntake, UserIntake
from streamer.coinbase.messages import Decoder
from streamer.coinbase.orders import SNAPSHOT_BATCH, OrderEvent
from streamer.coinbase.pace import Pace, Paces, ReconnectDelay
from streamer.coinbase.session import ALL, Session, SessionRules
from streamer.coinbase.transport import OnMessage
from streamer.errors import ConnectFailed, ConnectRefused
from streamer.model import ProductId, Stamp
from streamer.simulator.keys import make_key_file

FIRST, SECOND = "wss://user.example", "wss://market.example"
RETRY_S = 0.05


class FakeConnection:
    """Records what is sent; numbers and delivers what a test tells it to."""

    def __init__(self, url: str, on_message: OnMessage, headers: Mapping[str, str]) -> None:
        self.url, self.on_message, self.headers = url, on_message, headers
        self.sent: list[dict[str, Any]] = []
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.aborted = False
        self.numbers = count()

    async def send(self, message: bytes) -> None:
        self.sent.append(json.loads(message))

    async def closed(self) -> str:
        return await asyncio.shield(self.ended)

    def abort(self) -> None:
        self.aborted = True

    async def close(self) -> None:
        self.aborted = True

    def tell(self, channel: str, *events: Any, number: int | None = None) -> None:
        """Deliver a frame, the next in order unless numbered."""
        envelope = {
            "channel": channel,
            "timestamp": "2026-11-20T15:04:06.1Z",
            "sequence_num": next(self.numbers) if number is None else number,
        }
        self.on_message(json.dumps(envelope | {"events": events}).encode())

    def refuse(self) -> None:
        """Refuse a token, as the exchange does: without a number."""
        self.on_message(b'{"type":"error","message":"authentication failure"}')

    def accept(self, *channels: str) -> None:
        """Acknowledge these channels."""
        named = {"heartbeats": ["heartbeats"], "user": ["1b2c"]}
        self.tell("subscriptions", {"subscriptions": {name: named[name] for name in channels}})

    def beat(self) -> None:
        """Send a heartbeat."""
        self.tell("heartbeats", {"current_time": "", "heartbeat_counter": 1})

    def snapshot(self, *order_ids: str, kind: str = "snapshot") -> None:
        """Send a batch of a snapshot."""
        self.tell("user", {"type": kind, "orders": [order(order_id) for order_id in order_ids]})

    def update(self, *order_ids: str, number: int | None = None) -> None:
        """Send an update."""
        self.tell("user", {"type": "update", "orders": [order(order_id) for order_id in order_ids]}, number=number)


def order(order_id: str) -> dict[str, str]:
    """An open order as the exchange shows it."""
    return {
        "order_id": order_id,
        "product_id": "BTC-USD",
        "order_side": "BUY",
        "status": "OPEN",
        "cumulative_quantity": "0",
        "leaves_quantity": "1",
        "filled_value": "0",
        "total_fees": "0",
        "outstanding_hold_amount": "100",
        "product_type": "SPOT",
    }


class FakeExchange:
    """Answers the connects to each URL with what is queued for it: an error, or a connection."""

    def __init__(self, headers: Mapping[str, str] | None = None, **answers: Sequence[Exception]) -> None:
        self._answers = {FIRST: list(answers.get("first", ())), SECOND: list(answers.get("second", ()))}
        self._headers = headers or {}
        self.urls: list[str] = []
        self.connections: list[FakeConnection] = []

    async def __call__(self, url: str, on_message: OnMessage, *, tls: ssl.SSLContext | None) -> FakeConnection:
        self.urls.append(url)
        if self._answers[url]:
            raise self._answers[url].pop(0)
        connection = FakeConnection(url, on_message, self._headers)
        self.connections.append(connection)
        return connection

    async def connection(self, number: int, *, sent: int = 2) -> FakeConnection:
        """Wait for the connection of that number (from 0) and its first messages."""
        await until(lambda: len(self.connections) > number and len(self.connections[number].sent) >= sent)
        return self.connections[number]


class Waits(ReconnectDelay):
    """Notes how long it would wait, and waits no longer than a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def after(self, **facts: Any) -> float:
        self.noted.append(super().after(**facts))
        return min(self.noted[-1], 0.05)


async def until(holds: Callable[[], object]) -> None:
    """Give the loop turns until `holds` does."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


@dataclass
class Rig:
    """A feed of the user channel, and all that came of it."""

    feed: Feed
    waits: Waits
    clock: ExchangeClock
    events: list[OrderEvent] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    states: list[FeedState] = field(default_factory=list)

    @property
    def order_ids(self) -> list[list[str]]:
        """Of each event the orders."""
        return [[order.order_id for order in event.orders] for event in self.events]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Someone's key."""
    file = tmp_path_factory.mktemp("key") / "key.json"
    make_key_file(file, "EdDSA")
    return Signer(read_key_file(file))


@asynccontextmanager
async def running(
    exchange: FakeExchange, signer: Signer, *, urls: Sequence[str] = (FIRST, SECOND), ack_timeout_s: float = 60.0
) -> AsyncIterator[Rig]:
    """Run a feed of the user channel."""
    clock, waits, decoder = ExchangeClock(), Waits(), Decoder()
    rules = SessionRules(silence_s=60, token_retry_s=RETRY_S, ack_timeout_s=ack_timeout_s)
    session = Session(rules, channel="user", sign=lambda: signer.ws_token(clock.now(time.time())))
    session.want([ALL])
    rig: Rig

    def take(event: OrderEvent, frame: Frame, stamp: Stamp) -> None:
        rig.events.append(event)
        rig.stamps.append(stamp)

    feed = Feed(
        "default.user-0",
        [Endpoint(url) for url in urls],
        connect=exchange,
        session=session,
        intake=UserIntake(take, lambda: rig.lost.append(time.monotonic())),
        decoder=decoder,
        paces=Paces(connects=Pace(1000), messages=Pace(1000)),
        clock=clock,
        on_state=lambda: rig.states.append(feed.state),
        delay=waits,
    )
    rig = Rig(feed, waits, clock)
    task = asyncio.create_task(feed.run())
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert feed.state is FeedState.STOPPED


def claims(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload of a token."""
    header, payload, _ = token.split(".")
    decoded = [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (header, payload)]
    return decoded[0], decoded[1]


# -- tokens -------------------------------------------------------------------------------------------------------


async def test_every_message_carries_a_fresh_token(signer: Signer) -> None:
    """Heartbeats too, again after a refusal, and on the next connection: no two nonces are the same."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        first = await exchange.connection(0)
        first.refuse()
        await until(lambda: len(first.sent) == 4)
        first.accept("heartbeats", "user")
        first.snapshot()
        first.ended.set_result("closed with 1000")
        second = await exchange.connection(1)
        messages = [*first.sent, *second.sent]
        assert [m["channel"] for m in messages] == ["heartbeats", "user"] * 3
        assert all(m["product_ids"] == [] for m in messages)
        tokens = [claims(m["jwt"]) for m in messages]
        assert len({header["nonce"] for header, _ in tokens}) == len(messages)
        assert {header["kid"] for header, _ in tokens} == {signer.name}
        assert all("uri" not in payload for _, payload in tokens)
        assert rig.feed.wanted == {ALL}


@pytest.mark.parametrize("channel", ["candles", "status"])
async def test_public_channels_never_carry_a_token(channel: str) -> None:
    """Though the exchange would take it: a key gone bad must not cost public data. Nor does a refusal bring one."""
    exchange, decoder = FakeExchange(), Decoder()
    intake: Intake = StatusIntake(decoder, lambda products: None)
    if channel == "candles":
        intake = CandleIntake(decoder, lambda product_id, update: None, lambda product_ids: None)
    session = Session(SessionRules(silence_s=60, ack_timeout_s=0.05), channel=channel)
    session.want([ProductId("BTC-USD")])
    paces = Paces(connects=Pace(1000), messages=Pace(1000))
    feed = Feed(
        "f", [Endpoint(FIRST)], connect=exchange, session=session, intake=intake, decoder=decoder, paces=paces
    )
    task = asyncio.create_task(feed.run())
    try:
        connection = await exchange.connection(0)
        connection.refuse()
        await exchange.connection(0, sent=6)
        assert {m["channel"] for m in connection.sent} == {"heartbeats", channel}
        assert not any("jwt" in message for message in connection.sent)
        assert len(exchange.connections) == 1
        assert feed.state is FeedState.CONNECTING
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_one_refusal_is_followed_by_one_try_with_a_fresh_token(signer: Signer) -> None:
    """On the same connection, after a moment; where that is taken, nothing was lost."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        refused_at = time.monotonic()
        connection.refuse()
        connection.refuse()
        await until(lambda: len(connection.sent) == 4)
        assert time.monotonic() - refused_at >= RETRY_S
        connection.accept("heartbeats", "user")
        connection.snapshot("a")
        await until(lambda: rig.feed.state is FeedState.LIVE)
        assert (len(exchange.connections), rig.order_ids, rig.feed.facts(time.monotonic()).why) == (
            1,
            [["a"]],
            None,
        )


async def test_two_refusals_end_the_connection(signer: Signer) -> None:
    """The next try is 15 to 30 s later; until then, and while it is made, the state says what is wrong."""
    exchange = FakeExchange(first=[])
    async with running(exchange, signer) as rig:
        seen: set[FeedState] = set()
        for number in range(3):
            connection = await exchange.connection(number)
            connection.refuse()
            await until(lambda: len(connection.sent) == 4)  # noqa: B023 - awaited in its turn
            if number:
                seen.add(rig.feed.state)
            connection.refuse()
            await until(lambda: connection.aborted)  # noqa: B023
            await until(lambda: rig.feed.state is FeedState.UNAUTHENTICATED)
            seen.add(rig.feed.state)
        await exchange.connection(3)
        seen.add(rig.feed.state)
        assert seen == {FeedState.UNAUTHENTICATED}
        assert all(15 <= wait <= 30 for wait in rig.waits.noted)
        assert len(rig.waits.noted) == 3
        assert set(rig.states) == {FeedState.UNAUTHENTICATED}
        assert "authentication failure" in str(rig.feed.facts(time.monotonic()).why)
        assert set(exchange.urls) == {FIRST}, "another host takes no other key"


async def test_a_key_that_is_good_again_is_noticed(signer: Signer) -> None:
    """The state is left when the exchange shows orders, not before."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.refuse()
        await until(lambda: len(connection.sent) == 4)
        connection.refuse()
        connection = await exchange.connection(1)
        connection.accept("heartbeats")
        connection.beat()
        await asyncio.sleep(0)
        assert rig.feed.state is FeedState.UNAUTHENTICATED
        connection.accept("heartbeats", "user")
        connection.snapshot()
        await until(lambda: rig.feed.state is FeedState.LIVE)
        assert rig.states == [FeedState.UNAUTHENTICATED, FeedState.LIVE]
        assert rig.feed.facts(time.monotonic()).why is None


async def test_heartbeats_are_no_life_of_the_user_channel(signer: Signer) -> None:
    """A key without the permission to view gets heartbeats and no orders: never live, and refused in the end."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats")
        connection.refuse()
        for _ in range(5):
            connection.beat()
        await until(lambda: len(connection.sent) == 3)
        assert connection.sent[2]["channel"] == "user"
        connection.beat()
        connection.refuse()
        await until(lambda: rig.feed.state is FeedState.UNAUTHENTICATED)
        assert FeedState.LIVE not in rig.states
        assert connection.aborted
        assert rig.waits.noted[0] >= 15, "its heartbeats are no reason to come back sooner"


async def test_acknowledged_is_not_yet_live(signer: Signer) -> None:
    """Only the snapshot says which orders there are."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.beat()
        connection.update("x")
        await until(lambda: bool(rig.events))
        connection.beat()
        assert rig.feed.state is FeedState.CONNECTING
        connection.snapshot("x")
        await until(lambda: rig.feed.state is FeedState.LIVE)


async def test_a_refused_token_makes_the_clock_forget(signer: Signer) -> None:
    """What we believe of the exchange's time may be what it refused; the next upgrade tells it anew."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        rig.clock.saw(time.time() - 1000, time.time())
        connection = await exchange.connection(0)
        assert rig.clock.skew_s == pytest.approx(1000, abs=5)
        connection.refuse()
        await until(lambda: len(connection.sent) == 4)
        connection.refuse()
        await until(lambda: rig.feed.state is FeedState.UNAUTHENTICATED)
        assert rig.clock.skew_s is None
        later = await exchange.connection(1)
        assert abs(claims(later.sent[0]["jwt"])[1]["nbf"] - time.time()) < 10


async def test_tokens_are_dated_by_the_date_of_the_upgrade(signer: Signer) -> None:
    """Already the first one: our clock may be an hour off."""
    exchange = FakeExchange(headers={"date": "Fri, 20 Nov 2020 15:04:06 GMT"})
    async with running(exchange, signer):
        connection = await exchange.connection(0)
        told = 1605884646
        for message in connection.sent:
            assert told - 10 <= claims(message["jwt"])[1]["nbf"] <= told


# -- orders -------------------------------------------------------------------------------------------------------


async def test_a_snapshot_in_batches_is_live_when_it_is_complete(signer: Signer) -> None:
    """Fifty orders a message; the first with fewer is the last, whatever the batches are called."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        ids = [f"order-{i}" for i in range(2 * SNAPSHOT_BATCH)]
        connection.snapshot(*ids[:SNAPSHOT_BATCH])
        connection.snapshot(*ids[SNAPSHOT_BATCH:], kind="patch")
        connection.beat()
        assert (rig.events, rig.feed.state) == ([], FeedState.CONNECTING)
        connection.snapshot(kind="patch")
        await until(lambda: rig.feed.state is FeedState.LIVE)
        assert rig.order_ids == [ids]
        assert rig.events[0].is_snapshot


async def test_events_come_in_order_each_of_them(signer: Signer) -> None:
    """A turn of many frames is not conflated: an order that is filled twice was filled twice."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.snapshot()
        for i in range(300):
            connection.update(f"{i}")
            if i % 7 == 0:
                connection.beat()
        await until(lambda: len(rig.events) == 301)
        assert rig.order_ids == [[], *([f"{i}"] for i in range(300))]
        assert {stamp.connection for stamp in rig.stamps} == {1}


async def test_late_and_repeated_frames_are_passed_over(signer: Signer) -> None:
    """Each number counts once; what comes again has been told already."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.snapshot()
        connection.update("a")
        connection.update("a", number=2)
        connection.update("never", number=0)
        connection.update("b")
        await until(lambda: len(rig.events) == 3)
        assert rig.order_ids == [[], ["a"], ["b"]]
        assert (rig.lost, rig.feed.facts(0).gaps, len(exchange.connections)) == ([], 0, 1)


async def test_a_gap_ends_the_connection(signer: Signer) -> None:
    """What follows it cannot be understood: nothing of it is believed, balances are doubted, and it starts over."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.snapshot("a")
        connection.update("b")
        next(connection.numbers)
        connection.update("after the gap")
        assert len(rig.lost) == 1, "told at once, not when the connection has ended"
        connection.snapshot("looks whole")
        again = await exchange.connection(1)
        assert connection.aborted
        assert rig.order_ids == [["a"], ["b"]]
        assert rig.feed.facts(time.monotonic()).gaps == 1
        assert rig.feed.state is FeedState.CONNECTING
        again.accept("heartbeats", "user")
        again.snapshot("a", "b")
        await until(lambda: rig.feed.state is FeedState.LIVE)
        assert rig.order_ids[2:] == [["a", "b"]]
        assert [stamp.connection for stamp in rig.stamps] == [1, 1, 2]
        assert rig.states == [FeedState.LIVE, FeedState.BACKOFF, FeedState.LIVE]


async def test_a_subscription_that_is_no_longer_listed_ends_the_connection(signer: Signer) -> None:
    """The exchange has dropped it: from then on orders go by unheard, whatever heartbeats say."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.snapshot("a")
        await until(lambda: rig.feed.state is FeedState.LIVE)
        connection.accept("heartbeats")
        assert len(rig.lost) == 1
        again = await exchange.connection(1)
        again.accept("heartbeats", "user")
        again.snapshot("b")
        await until(lambda: rig.order_ids[-1:] == [["b"]])


async def test_the_loss_is_told_before_the_goodbye(signer: Signer) -> None:
    """A goodbye takes up to a second; told after it, the loss would blind whoever has connected since."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.snapshot("a")
        await until(lambda: rig.feed.state is FeedState.LIVE)
        lost_by_then: list[int] = []

        async def close() -> None:
            lost_by_then.append(len(rig.lost))
            connection.update("too late")

        connection.close = close  # type: ignore[method-assign]
    assert lost_by_then == [1]
    assert len(rig.lost) == 1
    assert rig.order_ids == [["a"]]


async def test_a_gap_among_heartbeats_is_a_gap(signer: Signer) -> None:
    """The exchange counts over all channels: what is missing may have been an order."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.accept("heartbeats", "user")
        connection.snapshot()
        next(connection.numbers)
        connection.beat()
        assert len(rig.lost) == 1
        await exchange.connection(1)


async def test_a_snapshot_begun_is_not_ended_by_the_next_connection(signer: Signer) -> None:
    """Half a snapshot of the last connection is nothing."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.snapshot(*(f"{i}" for i in range(SNAPSHOT_BATCH)))
        connection.ended.set_result("closed with 1006")
        connection = await exchange.connection(1)
        connection.snapshot("only")
        await until(lambda: bool(rig.events))
        assert rig.order_ids == [["only"]]


async def test_the_end_of_a_connection_is_a_loss(signer: Signer) -> None:
    """Whatever happens from then on happens unseen, also where the exchange closed politely."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        connection = await exchange.connection(0)
        connection.snapshot()
        await until(lambda: rig.feed.state is FeedState.LIVE)
        assert rig.lost == []
        connection.ended.set_result("closed with 1000")
        await exchange.connection(1)
        assert len(rig.lost) == 1


# -- failover -----------------------------------------------------------------------------------------------------


def failures(kind: str) -> Iterator[Exception]:
    """Connects that fail."""
    for _ in range(2):
        yield ConnectFailed(FIRST, "no route") if kind == "failed" else ConnectRefused(FIRST, 503)


@pytest.mark.parametrize("kind", ["failed", "refused"])
async def test_a_host_that_cannot_be_reached_is_left_for_the_other(signer: Signer, kind: str) -> None:
    """And that one for the first again: neither is given up."""
    exchange = FakeExchange(first=list(failures(kind)), second=list(failures(kind)))
    async with running(exchange, signer) as rig:
        await exchange.connection(0)
        assert exchange.urls == [FIRST, SECOND, FIRST, SECOND, FIRST]
        assert rig.feed.stamp.connection == 1


async def test_a_host_that_says_nothing_is_left_for_the_other(signer: Signer) -> None:
    """A connection that brings no valid data before it ends is as good as none."""
    exchange = FakeExchange()
    async with running(exchange, signer) as rig:
        for number, url in enumerate([FIRST, SECOND, FIRST]):
            connection = await exchange.connection(number)
            assert connection.url == url
            connection.on_message(b"garbage")
            connection.ended.set_result("closed with 1011")
        await exchange.connection(3)
        assert rig.feed.malformed == 3


async def test_a_host_that_works_is_stayed_with(signer: Signer) -> None:
    """A connection that carried data and ended is made again where it was."""
    exchange = FakeExchange(first=[ConnectFailed(FIRST, "no route")])
    async with running(exchange, signer):
        for number in range(3):
            connection = await exchange.connection(number)
            assert connection.url == SECOND
            await asyncio.sleep(0.01)
            connection.beat()
            connection.ended.set_result("closed with 1000")


async def test_with_one_host_there_is_nowhere_else(signer: Signer) -> None:
    """It is tried again, for ever."""
    exchange = FakeExchange(first=[ConnectFailed(FIRST, "no route")] * 5)
    async with running(exchange, signer, urls=[FIRST]):
        await exchange.connection(0)
        assert exchange.urls == [FIRST] * 6


async def test_a_4xx_on_the_upgrade_says_so(signer: Signer) -> None:
    """That is no refused token: the host may not serve us, and the other one may."""
    exchange = FakeExchange(first=[ConnectRefused(FIRST, 403)])
    async with running(exchange, signer) as rig:
        await exchange.connection(0)
        assert rig.states == [FeedState.REFUSED]
        assert exchange.urls == [FIRST, SECOND]
