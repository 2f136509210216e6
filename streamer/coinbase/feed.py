"""One supervised connection to the exchange: connects, subscribes, listens, and starts over without end."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

import structlog

from streamer.coinbase.messages import TICKER, Decoder, Message
from streamer.coinbase.session import Arrival, Pace, Products, ReconnectDelay, Session
from streamer.coinbase.transport import Connect, Connection
from streamer.errors import ConnectFailed, ConnectRefused, MalformedFrame
from streamer.model import ProductId, Source, Stamp, Tick, TickerFields

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.25
_LOG_GAP_EVERY_S = 1.0
_LOG_GARBAGE_EVERY_S = 30.0

SIMULATOR_SERVER = "streamer-simulator"
"""`Server` header of the project's own exchange: what it sends is marked as simulated, whatever the URL says."""


class FeedState(StrEnum):
    """Where a feed stands; only LIVE feeds may carry realtime values."""

    CONNECTING = "connecting"
    LIVE = "live"
    BACKOFF = "backoff"
    REFUSED = "refused"
    STOPPED = "stopped"


@dataclass(slots=True)
class Paces:
    """What the exchange allows per address, over all connections: 8 connects and 8 messages a second.

    Advanced Trade WebSocket Rate Limits page, June 2026; an older copy says 750 connects. Built to the lower.
    """

    connects: Pace = field(default_factory=Pace)
    messages: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """A feed as status and readers see it.

    Attributes:
        proof_at: Monotonic time of the last frame that arrived in order; None on a connection without any. Of a
            connection that has ended it stays known until the next: so long its values were current.
        why: The last failure in words, None while all is well.
    """

    id: str
    state: FeedState
    connection: int
    proof_at: float | None
    sequence: int | None
    reconnects: int
    gaps: int
    why: str | None
    source: Source
    products: Products
    wanted: int


class Feed:
    """Keeps one WebSocket subscribed to its wanted products and passes sound ticks on.

    Args:
        feed_id: Name in `stream:feeds`.
        url: Where to connect.
        connect: Transport.
        session: The rules.
        decoder: Shared by all feeds of a process; counts what it passed over.
        paces: Shared by all feeds of a process.
        on_tick: Takes a tick under the id that was asked for; returns whether it was news.
        on_suspect: Told which products a gap has cast doubt on.
        tls: Verifying context for wss.
        numbers: Gives each connection its number. Shared by all feeds of a process, so that a feed made anew
            under an old name does not start over: readers and the write script compare these numbers.
        on_state: Told that the feed has come or gone, or doubts its values: something readers should know soon.
    """

    def __init__(
        self,
        feed_id: str,
        url: str,
        *,
        connect: Connect,
        session: Session,
        decoder: Decoder,
        paces: Paces,
        on_tick: Callable[[ProductId, Tick], bool],
        on_suspect: Callable[[Collection[ProductId]], None],
        tls: ssl.SSLContext | None = None,
        source: Source = Source.COINBASE,
        numbers: Iterator[int] | None = None,
        on_state: Callable[[], None] = lambda: None,
        delay: ReconnectDelay | None = None,
    ) -> None:
        self.id, self._url, self._tls = feed_id, url, tls
        self._connect, self._session, self._paces = connect, session, paces
        self._on_tick, self._on_suspect, self._on_state = on_tick, on_suspect, on_state
        self._delay = delay or ReconnectDelay()
        self._default_source = source
        self._numbers = numbers if numbers is not None else count(1)
        self._connects = 0
        self._stamp = Stamp(feed_id, 0, source)
        self._state = FeedState.CONNECTING
        self._why: str | None = None
        self._decoder, self._decode, self._sound_tickers = decoder, decoder.decode, decoder.tickers
        self._wall_offset_s = time.time() - time.monotonic()
        self._turn: list[tuple[Message, int, float]] = []
        self._changed = asyncio.Event()
        self._opened_at = 0.0
        self._logged_at: dict[str, float] = {}
        self.frames = self.malformed = 0

    def want(self, product_ids: Collection[ProductId]) -> None:
        """Set the products this feed is to carry; it converges while running."""
        self._session.want(product_ids)
        self._changed.set()

    @property
    def wanted(self) -> Collection[ProductId]:
        """The products this feed is to carry."""
        return self._session.wanted

    @property
    def stamp(self) -> Stamp:
        """The present connection, or the last one where there is none."""
        return self._stamp

    @property
    def state(self) -> FeedState:
        """Where the feed stands."""
        return self._state

    def facts(self, now: float) -> FeedFacts:
        """Return how the feed stands at monotonic time `now`."""
        session = self._session
        live = self._state is FeedState.LIVE
        products = session.products(now) if live else Products(list(session.wanted), [], [], [])
        return FeedFacts(
            id=self.id,
            state=self._state,
            connection=self._stamp.connection,
            proof_at=session.proof_at,
            sequence=session.expected - 1 if session.expected else None,
            reconnects=max(0, self._connects - 1),
            gaps=session.counts.gaps,
            why=self._why if not live or products.unconfirmed else None,
            source=self._stamp.source,
            products=products,
            wanted=len(session.wanted),
        )

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                await self._once()
        finally:
            self._state = FeedState.STOPPED

    async def _once(self) -> None:
        """Make one connection, live with it to its end, then wait as long as its end asks for."""
        refused, valid_s, retry_after_s = False, 0.0, None
        self._state = FeedState.CONNECTING
        await asyncio.sleep(self._paces.connects.reserve(time.monotonic()))
        try:
            connection = await self._open()
        except ConnectRefused as exc:
            refused, retry_after_s, why = 400 <= exc.status < 500, exc.retry_after_s, str(exc)
        except ConnectFailed as exc:
            why = str(exc)
        else:
            why = await self._live(connection)
            valid_s = (self._session.proof_at or self._opened_at) - self._opened_at
        self._why = why
        self._state = FeedState.REFUSED if refused else FeedState.BACKOFF
        self._on_state()
        delay_s = self._delay.after(refused=refused, valid_s=valid_s, retry_after_s=retry_after_s)
        log.warning("feed.down", feed=self.id, why=why, retry_in_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)

    async def _open(self) -> Connection:
        """Connect. Only success starts the session afresh: until then the last proof of life stays what it was."""
        connection = await self._connect(self._url, self._on_frame, tls=self._tls)
        self._turn.clear()
        simulated = connection.headers.get("server") == SIMULATOR_SERVER
        source = Source.SIMULATOR if simulated else self._default_source
        self._stamp = Stamp(self.id, next(self._numbers), source)
        self._connects += 1
        self._opened_at = time.monotonic()
        self._session.opened(self._opened_at)
        return connection

    async def _live(self, connection: Connection) -> str:
        """Converse until the connection ends or must be ended; return why."""
        log.info("feed.connected", feed=self.id, connection=self._stamp.connection)
        ended = asyncio.ensure_future(connection.closed())
        try:
            while not ended.done():
                self._changed.clear()
                self._look_at_the_clock()
                await self._send_due(connection)
                await self._pause(ended)
                if self._session.is_dead(time.monotonic()):
                    return self._silence()
            return ended.result()
        except ConnectFailed as exc:
            return str(exc)
        except asyncio.CancelledError:
            await connection.close()
            raise
        finally:
            # A dead peer does not answer a closing handshake; a closed socket does not mind.
            connection.abort()
            ended.cancel()

    def _look_at_the_clock(self) -> None:
        """Follow the wall clock, which may be set, and believe no frame that is stamped after tomorrow."""
        now_s = time.time()
        self._wall_offset_s = now_s - time.monotonic()
        self._decoder.latest_date = time.strftime("%Y-%m-%d", time.gmtime(now_s + 86400))

    @property
    def unasked(self) -> int:
        """Tickers of products that nobody asked this feed for."""
        return self._session.counts.unasked

    def _silence(self) -> str:
        silence = f"no frame in order for {self._session.rules.silence_s:g} s although the socket is open"
        said = self._session.last_error
        return f"{silence}; the exchange says: {said[:200]}" if said else silence

    async def _send_due(self, connection: Connection) -> None:
        for message in self._session.due(time.monotonic()):
            await asyncio.sleep(self._paces.messages.reserve(time.monotonic()))
            await connection.send(message)

    async def _pause(self, ended: asyncio.Future[str]) -> None:
        """Wait until something is due: a change of the wanted set, the end, or the next look at the clock."""
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((ended, changed), timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    # -- frames: called by the transport for each, so this must not raise ---------------------------------------
    # What one turn of the event loop brings is put in order frame by frame, but checked and passed on once a
    # product, newest first: at saturation a read holds many frames of each, and only the newest sound one matters.

    def _on_frame(self, payload: bytes) -> None:
        self.frames += 1
        try:
            message = self._decode(payload)
        except MalformedFrame as exc:
            self._garbage(exc)
            return
        now, session, sequence = time.monotonic(), self._session, message.sequence_num
        if sequence == session.expected:  # what `arrived` does for a frame in order, without the call
            session.expected = sequence + 1
            session.proof_at = now
        else:
            self._end_turn()  # what came before a gap must not lift the doubt that the gap casts
            if self._irregular(session.arrived(sequence, now), message):
                return
        if message.channel != TICKER:
            self._end_turn()
            self._control(message)
        elif sequence is not None:
            if not self._turn:
                asyncio.get_running_loop().call_soon(self._end_turn)
            self._turn.append((message, sequence, now))

    def _end_turn(self) -> None:
        """Check and pass on the newest sound ticker of each product among the frames of this turn."""
        if not self._turn:
            return
        turn, self._turn = self._turn, []
        passed_on: set[str] = set()
        for message, sequence, at in reversed(turn):
            if all(ticker.product_id in passed_on for event in message.events for ticker in event.tickers):
                continue
            for fields in self._sound_tickers(message):
                if fields.product_id not in passed_on:
                    passed_on.add(fields.product_id)
                    self._pass_on(fields, message, sequence, at + self._wall_offset_s)
        if self._state is not FeedState.LIVE and self._session.proof_at is not None:
            self._went_live()

    def _pass_on(self, fields: TickerFields, message: Message, sequence: int, received_s: float) -> None:
        session = self._session
        for product_id, alias_of in session.labels.get(fields.product_id) or session.learn(fields.product_id):
            tick = Tick(fields, self._stamp, sequence, message.timestamp, received_s, alias_of)
            if self._on_tick(product_id, tick):
                session.seen(product_id)

    def _control(self, message: Message) -> None:
        self._session.control(message)
        if self._session.suspect:
            self._on_suspect(self._session.suspect)
        if message.type == "error":
            self._why = f"the exchange says: {message.message[:200]}"
            if self._may_log("error", _LOG_GAP_EVERY_S):
                log.warning("feed.error", feed=self.id, message=message.message[:200])
        elif self._state is not FeedState.LIVE and self._session.proof_at is not None:
            self._went_live()

    def _went_live(self) -> None:
        self._state, self._why = FeedState.LIVE, None
        self._on_state()
        log.info("feed.live", feed=self.id, connection=self._stamp.connection, source=self._stamp.source.value)

    def _irregular(self, arrival: Arrival, message: Message) -> bool:
        """Deal with a frame out of order; return whether to pass it over.

        What comes late is passed over: the gap before it has asked for fresh values, and an old one of a product
        must not pass for the newer one that is still missing.
        """
        if arrival is Arrival.GAP:
            self._on_suspect(self._session.suspect)
            self._changed.set()
            if self._may_log("gap", _LOG_GAP_EVERY_S):
                counts = self._session.counts
                suspect = len(self._session.suspect)
                log.warning("feed.gap", feed=self.id, gaps=counts.gaps, missed=counts.missed, suspect=suspect)
        elif arrival is Arrival.UNNUMBERED and message.type != "error":
            self.malformed += 1
        return arrival is Arrival.LATE

    def _garbage(self, exc: MalformedFrame) -> None:
        self.malformed += 1
        if self._may_log("garbage", _LOG_GARBAGE_EVERY_S):
            log.warning("feed.garbage", feed=self.id, why=str(exc), malformed=self.malformed)

    def _may_log(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(what, -1e9) < every_s:
            return False
        self._logged_at[what] = now
        return True
