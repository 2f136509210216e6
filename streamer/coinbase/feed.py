"""One supervised connection to the exchange: connects, subscribes, listens, and starts over without end."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

import structlog

from streamer.coinbase.clock import ExchangeClock, parse_http_date
from streamer.coinbase.intake import Frame, Intake
from streamer.coinbase.messages import HEARTBEATS, Decoder, Message, parse_timestamp
from streamer.coinbase.pace import Paces, ReconnectDelay
from streamer.coinbase.session import Arrival, Products, Session
from streamer.coinbase.transport import SIMULATOR_SERVER, Connect, Connection
from streamer.errors import ConnectFailed, ConnectRefused, MalformedFrame
from streamer.model import ProductId, Source, Stamp

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.25
_LOG_GAP_EVERY_S = 1.0
_LOG_GARBAGE_EVERY_S = 30.0


class FeedState(StrEnum):
    """Where a feed stands; only LIVE feeds may carry realtime values."""

    CONNECTING = "connecting"
    LIVE = "live"
    BACKOFF = "backoff"
    REFUSED = "refused"
    UNAUTHENTICATED = "unauthenticated"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, with the verifying context that wss needs."""

    url: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """A feed as status and readers see it.

    Attributes:
        proof_at: Monotonic time of the last frame that arrived in order; None on a connection without any. Of a
            connection that has ended it stays known until the next: so long its values were current.
        why: The last failure in words, None while all is well.
    """

    id: str
    channel: str
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
    """Keeps one WebSocket subscribed to one channel of its wanted products and passes sound data on.

    Args:
        feed_id: Name in `stream:feeds`.
        endpoints: Where to connect; the next one is tried where one brings no valid data.
        connect: Transport.
        session: The rules, and the channel.
        intake: What becomes of the data.
        decoder: Shared by all feeds of a process; counts what it passed over.
        paces: Shared by all feeds of a process.
        clock: Learns from this feed what time it is on the exchange.
        numbers: Gives each connection its number. Shared by all feeds of a process, so that a feed made anew
            under an old name does not start over: readers and the write script compare these numbers.
        on_state: Told that the feed has come or gone, or doubts its values: something readers should know soon.
    """

    def __init__(
        self,
        feed_id: str,
        endpoints: Sequence[Endpoint],
        *,
        connect: Connect,
        session: Session,
        intake: Intake,
        decoder: Decoder,
        paces: Paces,
        source: Source = Source.COINBASE,
        clock: ExchangeClock | None = None,
        numbers: Iterator[int] | None = None,
        on_state: Callable[[], None] = lambda: None,
        delay: ReconnectDelay | None = None,
    ) -> None:
        self.id, self._endpoints, self._endpoint = feed_id, endpoints, 0
        self._connect, self._session, self._paces = connect, session, paces
        self._intake, self._on_state = intake, on_state
        self._channel = session.channel
        self._clock = clock or ExchangeClock()
        self._delay = delay or ReconnectDelay()
        self._default_source = source
        self._numbers = numbers if numbers is not None else count(1)
        self._connects = 0
        self._stamp = Stamp(feed_id, 0, source)
        self._state = FeedState.CONNECTING
        self._why: str | None = None
        self._decoder, self._decode = decoder, decoder.decode
        self._wall_offset_s = time.time() - time.monotonic()
        self._turn: list[Frame] = []
        self._changed = asyncio.Event()
        self._opened_at = 0.0
        self._broken: str | None = None
        self._is_over = True
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

    def relearn(self) -> None:
        """Aliases have changed: find out anew which label belongs to whom."""
        self._session.relearn()

    def facts(self, now: float) -> FeedFacts:
        """Return how the feed stands at monotonic time `now`."""
        session = self._session
        live = self._state is FeedState.LIVE
        products = session.products(now) if live else Products(list(session.wanted), [], [], [])
        return FeedFacts(
            id=self.id,
            channel=self._channel,
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
        after, valid_s, retry_after_s = FeedState.BACKOFF, 0.0, None
        if self._state is not FeedState.UNAUTHENTICATED:  # which it stays until the exchange takes a token
            self._state = FeedState.CONNECTING
        await asyncio.sleep(self._paces.connects.reserve(time.monotonic()))
        try:
            connection = await self._open()
        except ConnectRefused as exc:
            after = FeedState.REFUSED if 400 <= exc.status < 500 else FeedState.BACKOFF
            retry_after_s, why = exc.retry_after_s, str(exc)
        except ConnectFailed as exc:
            why = str(exc)
        else:
            why = await self._live(connection)
            valid_s = (self._session.proof_at or self._opened_at) - self._opened_at
            if self._session.is_unauthenticated:
                after = FeedState.UNAUTHENTICATED
                self._clock.forget()  # our idea of the exchange's time may be what it refused; it tells anew
        self._why, self._state = why, after
        self._on_state()
        if not valid_s and after is not FeedState.UNAUTHENTICATED:
            self._endpoint = (self._endpoint + 1) % len(self._endpoints)
        delay_s = self._delay.after(
            refused=after is FeedState.REFUSED,
            unauthenticated=after is FeedState.UNAUTHENTICATED,
            valid_s=valid_s,
            retry_after_s=retry_after_s,
        )
        log.warning("feed.down", feed=self.id, why=why, retry_in_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)

    async def _open(self) -> Connection:
        """Connect. Only success starts the session afresh: until then the last proof of life stays what it was."""
        endpoint = self._endpoints[self._endpoint]
        connection = await self._connect(endpoint.url, self._on_frame, tls=endpoint.tls)
        self._turn.clear()
        self._broken, self._is_over = None, False
        simulated = connection.headers.get("server") == SIMULATOR_SERVER
        source = Source.SIMULATOR if simulated else self._default_source
        self._stamp = Stamp(self.id, next(self._numbers), source)
        self._connects += 1
        self._opened_at = time.monotonic()
        self._session.opened(self._opened_at)
        self._intake.opened(self._session, self._stamp)
        if (told := parse_http_date(connection.headers.get("date", ""))) is not None:
            self._clock.saw(told, time.time(), resolution_s=1.0)
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
                if why := self._unfit():
                    return why
            return ended.result()
        except ConnectFailed as exc:
            return str(exc)
        except asyncio.CancelledError:
            self._finish()  # first: a goodbye takes time, in which a successor may already be at work
            await connection.close()
            raise
        finally:
            # A dead peer does not answer a closing handshake; a closed socket does not mind.
            connection.abort()
            ended.cancel()
            self._finish()

    def _finish(self) -> None:
        """Hand over what is in hand, once, and say that the connection is over."""
        if not self._is_over:
            self._end_turn()
            self._is_over = True
            self._intake.ended()

    def _unfit(self) -> str | None:
        """Return why the connection must be ended, None where it need not."""
        if self._session.is_unauthenticated:
            return f"the exchange refuses our tokens: {self._session.last_error}"
        if self._broken is not None:
            return self._broken
        return self._silence() if self._session.is_dead(time.monotonic()) else None

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
    # What one turn of the event loop brings is put in order frame by frame, but checked and passed on as a whole:
    # an intake may then look at the newest value only.

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
        if message.channel != self._channel:
            self._end_turn()
            self._control(message, now)
        elif sequence is not None:
            if not self._turn:
                asyncio.get_running_loop().call_soon(self._end_turn)
            self._turn.append(Frame(message, sequence, now + self._wall_offset_s))

    def _end_turn(self) -> None:
        """Hand over the data frames of this turn."""
        if not self._turn:
            return
        turn, self._turn = self._turn, []
        if self._is_over:
            return
        self._intake.take(turn)
        self._look_alive()

    def _control(self, message: Message, now: float) -> None:
        before = len(self._session.suspect)
        self._session.control(message, now)
        if len(self._session.suspect) > before:
            self._doubt("the exchange no longer lists what we are subscribed to")
        if message.channel == HEARTBEATS and (told := parse_timestamp(message.timestamp)) is not None:
            self._clock.saw(told, now + self._wall_offset_s)
        if message.type == "error":
            self._why = f"the exchange says: {message.message[:200]}"
            if self._may_log("error", _LOG_GAP_EVERY_S):
                log.warning("feed.error", feed=self.id, message=message.message[:200])
        else:
            self._look_alive()

    def _look_alive(self) -> None:
        session = self._session
        if self._state is FeedState.LIVE or session.proof_at is None or (session.sign and session.unseen):
            return  # heartbeats come also where the key does not open the channel itself
        self._state, self._why = FeedState.LIVE, None
        self._on_state()
        log.info("feed.live", feed=self.id, connection=self._stamp.connection, source=self._stamp.source.value)

    def _irregular(self, arrival: Arrival, message: Message) -> bool:
        """Deal with a frame out of order; return whether to pass it over.

        What comes late is passed over: the gap before it has asked for fresh values, and an old one of a product
        must not pass for the newer one that is still missing.
        """
        if arrival is Arrival.GAP:
            self._doubt(f"{message.sequence_num} came out of order: frames were lost")
            if self._may_log("gap", _LOG_GAP_EVERY_S):
                counts = self._session.counts
                suspect = len(self._session.suspect)
                log.warning("feed.gap", feed=self.id, gaps=counts.gaps, missed=counts.missed, suspect=suspect)
        elif arrival is Arrival.UNNUMBERED and message.type != "error":
            self.malformed += 1
        return arrival is Arrival.LATE

    def _doubt(self, why: str) -> None:
        """Newer values may have been lost; where the rest cannot be understood without them, end the connection."""
        self._intake.doubt(self._session.suspect)
        if self._intake.ends_on_gap:
            self._broken = why
        self._changed.set()

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
