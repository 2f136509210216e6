"""A day of candles: from the simulator's trades, over its stream and its REST, to the candles of every length."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from streamer.coinbase.intake import CandleIntake, CandleUpdate, Frame
from streamer.coinbase.messages import CANDLES, Decoder
from streamer.coinbase.session import Session
from streamer.ingest.candles import CandleBook
from streamer.model import CANDLE_S, Bucket, Candle, Granularity, ProductId, Source, Stamp
from streamer.reader.candles import aggregate
from streamer.simulator import channels
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.tape import Tape

BTC = ProductId("BTC-USD")
BORN_S = 1_795_187_045
DAY_S = 86_400
_NS = 1_000_000_000

Deal = tuple[float, Decimal, Decimal]
"""Time, price, size."""


class Exchange:
    """The simulator's market and tape under a clock of the test, and every trade as it was made."""

    def __init__(self, rng: random.Random) -> None:
        self.market = RandomWalkMarket([BTC], seed=rng.randrange(1000))
        self.tape = Tape(self.market.opening, BORN_S * _NS, seed=rng.randrange(1000))
        past = self.tape.trades(BTC, 1_000_000)
        self.deals: list[Deal] = [(t.time_ns / _NS, Decimal(t.price), Decimal(t.size)) for t in reversed(past)]

    def trade(self, now_s: float) -> None:
        """Let the product trade once."""
        self.market.tick(BTC)
        deal = self.market.last_deal(BTC)
        assert deal is not None
        self.tape.record(BTC, deal, int(now_s * _NS))
        self.deals.append((now_s, Decimal(deal.price), Decimal(deal.size)))

    def rest(self, from_s: int, to_s: int) -> list[Bucket]:
        """Return what REST answers for a range."""
        found = (candle.fields() for candle in self.tape.candles(BTC, CANDLE_S, from_s, to_s))
        return [Bucket(int(c["start"]), c["open"], c["high"], c["low"], c["close"], c["volume"]) for c in found]


class Ingester:
    """The way of candles through decoder, intake and book, without sockets."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.book, self.decoder = exchange, CandleBook(), Decoder()
        self.now_s = float(BORN_S)
        self._connections = count(1)
        self._sequence, self._seen = count(), b""
        self._session = Session(channel=CANDLES)
        self._session.want([BTC])
        self._intake = CandleIntake(self.decoder, self._take, lambda ids: self.book.lost(ids, self.now_s))
        self.is_connected = False

    def _take(self, product_id: ProductId, update: CandleUpdate) -> None:
        self.book.apply(
            product_id,
            [Bucket(int(c.start), c.open, c.high, c.low, c.close, c.volume) for c in update.candles],
            stamp=update.stamp,
            sequence=update.frame.sequence,
            time=update.frame.message.timestamp,
            received_s=update.frame.received_s,
            is_snapshot=update.is_snapshot,
        )

    def connect(self, snapshot: int) -> None:
        """Open another connection; its snapshot holds the newest candles."""
        self._sequence, self.is_connected = count(), True
        self._session.opened(0.0)
        self._intake.opened(self._session, Stamp("candles", next(self._connections), Source.SIMULATOR))
        self._hear("snapshot", channels.candles_snapshot(self.exchange.tape, BTC, snapshot))

    def lose(self) -> None:
        """Break the connection off."""
        self.is_connected = False
        self._intake.ended()

    def listen(self) -> None:
        """Hear what the exchange says this second."""
        if self.is_connected:
            items = channels.candles_update(self.exchange.tape, BTC, self._seen)
            if items:
                self._seen = items[0]
                self._hear("update", items)

    def _hear(self, kind: str, items: Iterable[bytes]) -> None:
        number = next(self._sequence)
        stamp = f"2026-11-20T15:04:05.{number:09d}Z"
        head = f'{{"channel":"candles","timestamp":"{stamp}","sequence_num":{number},"events":['
        message = self.decoder.decode(head.encode() + channels.event(kind, "candles", items) + b"]}")
        self._intake.take([Frame(message, number, self.now_s)])

    def backfill(self) -> None:
        """Ask REST where the book lacks a past."""
        for _ in self.book.needs([BTC]):
            from_s = (int(self.now_s) // CANDLE_S - 348) * CANDLE_S
            self.book.backfilled(BTC, self.exchange.rest(from_s, int(self.now_s)), from_s, int(self.now_s))


def recomputed(deals: Sequence[Deal], length_s: int, since_s: int) -> dict[int, tuple[Decimal, ...]]:
    """Make candles of trades, the plain way: start to open, high, low, close, volume."""
    buckets: dict[int, list[Deal]] = {}
    for deal in deals:
        buckets.setdefault(int(deal[0]) // length_s * length_s, []).append(deal)
    return {
        start: (
            d[0][1],
            max(p for _, p, _ in d),
            min(p for _, p, _ in d),
            d[-1][1],
            sum((s for _, _, s in d), Decimal(0)),
        )
        for start, d in buckets.items()
        if start >= since_s
    }


def values(candle: Candle) -> tuple[Decimal, ...]:
    """The five figures of a candle."""
    return candle.open, candle.high, candle.low, candle.close, candle.volume


@pytest.mark.parametrize("seed", range(3))
def test_a_day_with_gaps_equals_the_trades(seed: int) -> None:
    """Candles of every length are those of the trades, to the last digit, through losses and quiet hours."""
    rng = random.Random(seed)
    exchange = Exchange(rng)
    ingester = Ingester(exchange)
    ingester.connect(100)
    next_trade, next_loss, back_at = BORN_S + 1.0, BORN_S + rng.uniform(600, 7200), 0.0
    checks = losses = 0
    for second in range(BORN_S, BORN_S + DAY_S + 3600):
        ingester.now_s = second + 0.999
        while next_trade < second + 1:
            exchange.trade(next_trade)
            next_trade += rng.uniform(300, 2400) if rng.random() < 0.004 else rng.uniform(0.5, 40)
        if ingester.is_connected and second > next_loss:
            ingester.lose()
            losses += 1
            # Mostly a moment, at times longer than the next snapshot reaches back.
            back_at = second + (rng.uniform(3600, 9000) if losses % 4 == 0 else rng.uniform(1, 900))
        elif not ingester.is_connected and second > back_at:
            ingester.connect(rng.choice([2, 5, 100]))
            next_loss = second + rng.uniform(300, 7200)
        ingester.listen()
        if second % 60 == 0:
            ingester.backfill()
        if second % 1800 == 7 and ingester.is_connected:
            check(ingester, exchange, second)
            checks += 1
    assert losses > 4
    assert checks > 20
    if not ingester.is_connected:
        ingester.connect(100)
    ingester.backfill()
    since_s = ingester.book.since_s(BTC)
    assert since_s is not None
    assert ingester.now_s - since_s > 28 * 3600
    check(ingester, exchange, int(ingester.now_s))


def check(ingester: Ingester, exchange: Exchange, now_s: int) -> None:
    """Hold the candles of every length against the trades."""
    buckets, since_s = ingester.book.buckets(BTC), ingester.book.since_s(BTC)
    assert since_s is not None
    for granularity in Granularity:
        if granularity.seconds % CANDLE_S:
            continue
        candles = aggregate(buckets, granularity, since_s=since_s, now_s=now_s + 1)
        expected: dict[int, Any] = recomputed(exchange.deals, granularity.seconds, since_s)
        assert {c.start_s: values(c) for c in candles} == expected, (granularity, json.dumps(since_s))
        assert [c.closed for c in candles if c.start_s + granularity.seconds > now_s] in ([], [False])
        assert all(c.closed for c in candles if c.start_s + granularity.seconds + 2 < now_s)
