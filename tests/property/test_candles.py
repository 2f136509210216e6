"""Laws of candles: what the book says it knows is what was traded, and coarser candles are those of the trades."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from streamer.ingest.candles import CandleBook
from streamer.model import CANDLE_S, Bucket, Candle, Granularity, ProductId, Source, Stamp
from streamer.reader.candles import aggregate
from streamer.store.candle_records import PendingCandles

BTC = ProductId("BTC-USD")
T0 = 1_795_132_800
"""Midnight in UTC; everything begins here."""
COARSE = [granularity for granularity in Granularity if granularity is not Granularity.ONE_MINUTE]


@dataclass(frozen=True)
class Trade:
    """What was traded when."""

    at_s: int
    price: Decimal
    size: Decimal


def bucket_at(at_s: float) -> int:
    """Where the bucket of a moment starts."""
    return int(at_s) // CANDLE_S * CANDLE_S


def candles_of(trades: Iterable[Trade], granularity: Granularity, now_s: float) -> list[Candle]:
    """Candles straight from the trades, the plain way: one after the other, volumes as fractions."""
    candles: dict[int, list[Trade]] = {}
    for trade in trades:
        candles.setdefault(trade.at_s - trade.at_s % granularity.seconds, []).append(trade)
    return [
        Candle(
            start_s=start_s,
            open=these[0].price,
            high=sorted(trade.price for trade in these)[-1],
            low=sorted(trade.price for trade in these)[0],
            close=these[-1].price,
            volume=exact(sum((Fraction(trade.size) for trade in these), Fraction(0))),
            closed=start_s + granularity.seconds <= now_s - 2,
        )
        for start_s, these in sorted(candles.items())
    ]


def exact(value: Fraction) -> Decimal:
    """A fraction of a power of ten as a decimal of as many digits as it takes."""
    places = 40
    scaled = value * 10**places
    assert scaled.denominator == 1
    return Decimal((0, tuple(map(int, str(scaled.numerator))), -places))


def buckets_of(trades: Iterable[Trade]) -> dict[int, Bucket]:
    """The five-minute buckets as the exchange sends them."""
    candles = candles_of(trades, Granularity.FIVE_MINUTE, 0)
    return {
        c.start_s: Bucket(c.start_s, *(format(x, "f") for x in (c.open, c.high, c.low, c.close, c.volume)))
        for c in candles
    }


# -- the book ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trades:
    """A trade, so long after the last step; the stream tells, where there is one."""

    after_s: int
    price: int
    size: Decimal


@dataclass(frozen=True)
class Loses:
    """Frames are lost, perhaps that of a trade; it shows some seconds later. A cut ends the connection."""

    for_s: int
    price: int | None
    cuts: bool


@dataclass(frozen=True)
class Snapshots:
    """The exchange sends so many buckets, on a new connection where there is none."""

    count: int


@dataclass(frozen=True)
class Asks:
    """REST answers for so many buckets; the answer may be long on its way."""

    count: int


@dataclass(frozen=True)
class Answered:
    """An answer arrives."""


@dataclass(frozen=True)
class Repeats:
    """A message comes once more, or one that was lost comes late."""

    which: int
    lost: bool


@dataclass(frozen=True)
class Drains:
    """The sink writes; Redis takes it, or not, or takes it and does not say so."""

    taken: bool
    told: bool


@dataclass(frozen=True)
class Sweeps:
    """The sink has all written again, or its life renewed."""

    whole: bool


Step = Trades | Loses | Snapshots | Asks | Answered | Repeats | Drains | Sweeps

pauses = st.one_of(st.integers(0, 20), st.integers(0, 400), st.sampled_from([299, 300, 301, 1500]))
sizes = st.decimals(min_value="0.00000001", max_value="1000", places=8)
trade_steps = st.builds(Trades, pauses, st.integers(1, 99), sizes)
steps = st.lists(
    st.one_of(
        trade_steps,
        trade_steps,
        trade_steps,
        st.builds(Loses, st.integers(0, 4), st.none() | st.integers(1, 99), st.booleans()),
        st.builds(Snapshots, st.integers(1, 4)),
        st.builds(Snapshots, st.integers(1, 12)),
        st.builds(Asks, st.integers(1, 12)),
        st.builds(Answered),
        st.builds(Repeats, st.integers(0, 99), st.booleans()),
        st.builds(Drains, st.booleans(), st.booleans()),
        st.builds(Sweeps, st.booleans()),
    ),
    min_size=12,  # it takes some steps until there is anything to lose
    max_size=60,
)


@dataclass(frozen=True)
class Message:
    """What came, or would have come, through a connection."""

    buckets: list[Bucket]
    stamp: Stamp
    sequence: int
    at_s: int
    is_snapshot: bool


@dataclass
class World:
    """An exchange, a stream that breaks, a book and a Redis."""

    keep: int
    book: CandleBook = field(init=False)
    now_s: int = T0
    trades: list[Trade] = field(default_factory=list)
    connection: int = 0
    is_connected: bool = False
    sequence: int = 0
    known_until_s: int = T0
    delivered: list[Message] = field(default_factory=list)
    missed: list[Message] = field(default_factory=list)
    answers: list[tuple[list[Bucket], int, int]] = field(default_factory=list)
    redis: dict[int, Bucket] = field(default_factory=dict)
    written: PendingCandles | None = None

    def __post_init__(self) -> None:
        self.book = CandleBook(keep=self.keep)
        self._take(Snapshots(1))

    def run(self, todo: Iterable[Step]) -> None:
        """Take each step and look after each whether what the book claims is true."""
        for step in todo:
            self._take(step)
            self.check()

    def check(self) -> None:
        """Within coverage the book has what was traded, no less and no more; and never too much."""
        held = {bucket.start_s: bucket for bucket in self.book.buckets(BTC)}
        assert len(held) <= self.keep
        since_s = self.book.since_s(BTC)
        if since_s is None or self.book.stamp(BTC) is None:
            return
        until_s = bucket_at(self.known_until_s - 6) if self.book.is_suspect(BTC) else self.now_s + 1
        true = buckets_of(self.trades)
        assert {s: b for s, b in held.items() if since_s <= s < until_s} == {
            s: b for s, b in true.items() if since_s <= s < until_s
        }

    def finish(self) -> None:
        """Heal all, ask for everything, write it; then the book and Redis hold the newest there are."""
        self._take(Snapshots(1))
        self._take(Trades(0, 5, Decimal(1)))
        self.now_s += 10
        true = buckets_of(self.trades)
        self.book.backfilled(BTC, list(true.values()), T0, bucket_at(self.now_s) + CANDLE_S + 2)
        newest = [true[start_s] for start_s in sorted(true)[-self.keep :]]
        assert self.book.buckets(BTC) == newest
        if newest:
            since_s = self.book.since_s(BTC)
            assert since_s is not None
            assert since_s <= T0 if len(true) <= self.keep else since_s == newest[0].start_s
            assert self.book.needs([BTC]) == []
        while self.book.dirty:
            self._take(Drains(taken=True, told=True))
        assert [self.redis[start_s] for start_s in sorted(self.redis)] == newest
        if self.written is not None:
            assert self.written.since_s == self.book.since_s(BTC)
            assert (self.written.suspect, self.written.newest_s) == (False, newest[-1].start_s)

    def _take(self, step: Step) -> None:
        if isinstance(step, Trades):
            self.now_s += step.after_s
            self._trade(step.price, step.size)
            if self.is_connected:
                self._deliver(self._message(1, is_snapshot=False))
        elif isinstance(step, Loses):
            self._lose(step)
        elif isinstance(step, Snapshots):
            self._snapshot(step.count)
        elif isinstance(step, Asks):
            from_s = bucket_at(self.now_s) - (step.count - 1) * CANDLE_S
            true = buckets_of(self.trades)
            self.answers.append(([b for s, b in true.items() if s >= from_s], from_s, self.now_s))
        elif isinstance(step, Answered):
            if self.answers:
                self.book.backfilled(BTC, *self.answers.pop(0))
        elif isinstance(step, Repeats):
            self._repeat(step)
        elif isinstance(step, Drains):
            self._drain(step)
        elif step.whole:
            self.book.rewrite(None, self.now_s)
        else:
            self.book.renew([BTC], self.now_s)

    def _trade(self, price: int, size: Decimal) -> None:
        self.trades.append(Trade(self.now_s, Decimal(price), size))

    def _message(self, count: int, *, is_snapshot: bool) -> Message:
        self.sequence += 1
        from_s = bucket_at(self.now_s) - (count - 1) * CANDLE_S
        buckets = [bucket for start_s, bucket in buckets_of(self.trades).items() if start_s >= from_s]
        stamp = Stamp("candles-0", self.connection, Source.COINBASE)
        return Message(buckets, stamp, self.sequence, self.now_s, is_snapshot)

    def _deliver(self, message: Message) -> None:
        self.delivered.append(message)
        self._apply(message)

    def _apply(self, message: Message) -> None:
        self.book.apply(
            BTC,
            message.buckets,
            stamp=message.stamp,
            sequence=message.sequence,
            time=f"{datetime.fromtimestamp(message.at_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
            received_s=message.at_s,
            is_snapshot=message.is_snapshot,
        )

    def _lose(self, step: Loses) -> None:
        if not self.is_connected:
            return
        if step.price is not None:
            self.now_s += step.for_s // 2
            self._trade(step.price, Decimal(1))
            self.missed.append(self._message(1, is_snapshot=False))
            self.now_s += step.for_s - step.for_s // 2
        else:
            self.now_s += step.for_s
        if not self.book.is_suspect(BTC):
            self.known_until_s = self.now_s
        self.book.lost([BTC], self.now_s)
        self.is_connected = not step.cuts

    def _snapshot(self, count: int) -> None:
        if not self.is_connected:
            self.connection, self.sequence, self.is_connected = self.connection + 1, 0, True
        message = self._message(count, is_snapshot=True)
        since_s, was_suspect = self.book.since_s(BTC), self.book.is_suspect(BTC)
        self._deliver(message)
        if since_s is None or not message.buckets or not was_suspect:
            return
        if message.buckets[0].start_s <= bucket_at(self.known_until_s - 6):
            oldest_s, joined_s = self.book.buckets(BTC)[0].start_s, self.book.since_s(BTC)
            assert joined_s is not None
            assert joined_s <= max(oldest_s, min(since_s, message.buckets[0].start_s)), "did not join"

    def _repeat(self, step: Repeats) -> None:
        messages = self.missed if step.lost else self.delivered
        if messages:
            message = messages[step.which % len(messages)]
            newest = self.delivered[-1]
            # What comes late on the newest connection is passed over by the feed until something newer has come.
            if (message.stamp.connection, message.sequence) <= (newest.stamp.connection, newest.sequence):
                self._apply(message)

    def _drain(self, step: Drains) -> None:
        batch = self.book.drain(500)
        for pending in batch:
            if step.taken:
                held = {} if pending.is_whole else self.redis
                held |= {bucket.start_s: bucket for bucket in pending.buckets}
                self.redis = {s: bucket for s, bucket in held.items() if s not in pending.evicted}
                assert len(self.redis) == pending.size
                self.written = pending
        if not (step.taken and step.told):
            self.book.restore(batch)


@given(steps, st.sampled_from([3, 6, 350]))
def test_the_book_knows_what_it_says_it_knows(todo: list[Step], keep: int) -> None:
    """After any trades, losses, repeats and backfills its candles are those of the trades, within coverage."""
    world = World(keep)
    world.run(todo)
    world.finish()


@given(st.lists(trade_steps, max_size=30), st.randoms(use_true_random=False))
def test_order_of_delivery_does_not_matter(todo: list[Trades], random: object) -> None:
    """The messages of a connection in any order, and twice over, leave the same buckets."""
    one, other = World(350), World(350)
    one.run(todo)
    shuffled = one.delivered * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for message in shuffled:
        other._apply(message)
    assert other.book.buckets(BTC) == one.book.buckets(BTC) == list(buckets_of(one.trades).values())


# -- coarser candles --------------------------------------------------------------------------------------------

moments = st.one_of(st.integers(0, 86_399), st.integers(0, 3_600), st.integers(43_000, 47_000))
day_of_trades = st.lists(
    st.builds(
        Trade,
        moments.map(lambda second: T0 + second),
        st.decimals(min_value="0.00000001", max_value="999999", places=8),
        st.decimals(min_value="0.0000000000000001", max_value="1e15", places=16),
    ),
    max_size=60,
).map(lambda trades: sorted(trades, key=lambda trade: trade.at_s))


@given(day_of_trades, st.sampled_from(COARSE), st.integers(0, 86_400 + 10))
def test_coarser_candles_are_those_of_the_trades(trades: list[Trade], granularity: Granularity, now: int) -> None:
    """Made of five-minute ones over a day with gaps, every candle is that of the trades, exactly."""
    buckets = buckets_of(trades).values()
    made = aggregate(buckets, granularity, since_s=T0, now_s=T0 + now)
    assert made == candles_of(trades, granularity, T0 + now)


@given(day_of_trades, st.sampled_from(COARSE), st.integers(0, 288))
def test_no_candle_is_made_of_less_than_was_traded(
    trades: list[Trade], granularity: Granularity, first: int
) -> None:
    """What is known from some bucket on gives the same candles, but for those that begin before."""
    since_s = T0 + first * CANDLE_S
    known = [bucket for start_s, bucket in buckets_of(trades).items() if start_s >= since_s]
    made = aggregate(known, granularity, since_s=since_s, now_s=T0 + 10**6)
    assert made == [c for c in candles_of(trades, granularity, T0 + 10**6) if c.start_s >= since_s]
