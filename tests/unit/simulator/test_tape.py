"""The tape keeps trades within bounds and makes exact candles of all of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise

import pytest

from streamer.simulator.channels import candles_snapshot, candles_update
from streamer.simulator.market import Deal, RandomWalkMarket
from streamer.simulator.past import REACH_S, made_up
from streamer.simulator.tape import GRANULARITIES, Candle, Tape, Trade

START_S = 1_795_186_800  # the start of a five-minute bucket, and of an hour
NS = 1_000_000_000


def bare() -> Tape:
    """A tape without a past."""
    return Tape(lambda _: None, START_S * NS)


def record(tape: Tape, at_s: float, price: str, size: str = "1", side: str = "BUY") -> None:
    tape.record("BTC-USD", Deal(price, size, side), int(at_s * NS))


def of_trades(trades: Iterable[Trade], width_s: int) -> list[dict[str, str]]:
    """Candles made the plain way, newest first; trades oldest first."""
    buckets: dict[int, list[Trade]] = {}
    for trade in trades:
        buckets.setdefault(trade.time_ns // NS // width_s * width_s, []).append(trade)
    made = []
    for start, inside in sorted(buckets.items(), reverse=True):
        prices = [Decimal(trade.price) for trade in inside]
        volume = sum((Decimal(trade.size) for trade in inside), Decimal(0))
        made.append(Candle(start, prices[0], max(prices), min(prices), prices[-1], volume).fields())
    return made


def test_a_candle_is_what_was_traded() -> None:
    """Open, high, low, close and volume of each bucket, newest first, buckets without trades missing."""
    tape = bare()
    for at_s, price, size in ((0, "10.5", "1"), (1, "12", "0.5"), (299.9, "9.75", "0.25"), (900, "11", "2")):
        record(tape, START_S + at_s, price, size)
    later, first = tape.candles("BTC-USD", 300, START_S, START_S + 900)
    assert first.fields() == {
        "start": str(START_S), "low": "9.75", "high": "12", "open": "10.5", "close": "9.75", "volume": "1.75",
    }  # fmt: skip
    assert later.fields()["start"] == str(START_S + 900)
    assert tape.candles("BTC-USD", 300, START_S + 1, START_S + 899) == []


def test_empty_buckets_can_be_filled() -> None:
    """Filled ones are flat at the last price, without volume, up to the end asked for."""
    tape = bare()
    record(tape, START_S, "10", "1")
    record(tape, START_S + 700, "11", "1")
    found = tape.candles("BTC-USD", 300, START_S, START_S + 1200, fill=True)
    assert [(c.start - START_S, str(c.close), str(c.volume)) for c in found] == [
        (1200, "11", "0"), (900, "11", "0"), (600, "11", "1"), (300, "10", "0"), (0, "10", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize("width_s", GRANULARITIES.values())
def test_candles_of_every_width_are_exact(width_s: int) -> None:
    """Whatever is traded, a candle is that of the trades in its bucket, past and live ones alike."""
    chance = random.Random(7)
    market = RandomWalkMarket(["BTC-USD"])
    tape = Tape(market.opening, START_S * NS, seed=3)
    at_s = float(START_S)
    for _ in range(500):
        at_s += chance.expovariate(1 / 20)
        record(tape, at_s, str(Decimal(chance.randrange(10**9)).scaleb(-2)), str(chance.randrange(1, 10**6)))
    trades = tape.trades("BTC-USD", 10_000)[::-1]
    assert len(trades) > 3000
    reach_s = 6 * 3600 if width_s == 60 else REACH_S
    from_s = (int(at_s) - reach_s) // width_s * width_s + width_s
    expected = [candle for candle in of_trades(trades, width_s) if int(candle["start"]) >= from_s]
    assert [c.fields() for c in tape.candles("BTC-USD", width_s, from_s, int(at_s))] == expected


def test_candles_stay_exact_beyond_the_trades_that_are_kept() -> None:
    """A busy product loses single trades, never volume."""
    tape = Tape(lambda _: None, START_S * NS, products=100_000)
    for i in range(5000):
        record(tape, START_S + i / 100, str(100 + i % 7), "0.001")
    (candle,) = tape.candles("BTC-USD", 300, START_S, START_S + 300)
    assert candle.volume == 5
    kept = tape.trades("BTC-USD", 10_000)
    assert len(kept) == 300
    assert kept[0].number - kept[-1].number == 299


def test_old_candles_are_dropped() -> None:
    """Days of trading leave hours of candles."""
    tape = bare()
    for hour in range(100):
        record(tape, START_S + hour * 3600, "1")
    assert 30 <= len(tape.newest("BTC-USD", 1000)) <= 35


def test_trades_are_numbered_and_newest_first() -> None:
    """Numbers grow by one; limits and times choose; a clock set back puts no trade before another."""
    tape = bare()
    for i, at_s in enumerate((0.0, 10.0, 5.0, 20.0)):
        record(tape, START_S + at_s, str(i))
    trades = tape.trades("BTC-USD", 10)
    assert [t.price for t in trades] == ["3", "2", "1", "0"]
    assert [later.number - earlier.number for later, earlier in pairwise(trades)] == [1, 1, 1]
    assert [(t.time_ns - START_S * NS) / NS for t in trades] == [20, 10, 10, 0]
    assert [t.price for t in tape.trades("BTC-USD", 10, START_S + 5, START_S + 15)] == ["2", "1"]
    assert [t.price for t in tape.trades("BTC-USD", 1)] == ["3"]
    assert tape.trades_after("BTC-USD", trades[2].number) == trades[:2]
    assert tape.trades_after("NOPE-USD", 0) == []


# The past


def test_the_past_is_sparse_and_deep() -> None:
    """On average a trade in 20 to 60 seconds, some five minutes without any, over thirty hours of them."""
    past = made_up("BTC-USD", "84210.37", 0, START_S * 1_000_000)
    times_s = [row.time_us / 1e6 for row in past]
    assert times_s == sorted(times_s, reverse=True)
    assert START_S - 31 * 3600 <= times_s[-1] < START_S - 30 * 3600
    assert times_s[0] <= START_S
    gaps_s = [later - earlier for later, earlier in pairwise(times_s)]
    assert 20 <= sum(gaps_s) / len(gaps_s) <= 60
    buckets = {int(t) // 300 for t in times_s}
    assert 330 <= len(buckets) < 31 * 12


@pytest.mark.parametrize(
    ("product_id", "opening", "digest"),
    [("BTC-USD", "84210.37", "615422a3ab0810bc"), ("SHIB-USD", "0.00001234", "6871222d7b457977")],
)
def test_a_seed_gives_the_past_it_always_gave(product_id: str, opening: str, digest: str) -> None:
    """To the last trade."""
    rows = [tuple(row) for row in made_up(product_id, opening, 3, START_S * 1_000_000)]
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("product_id", ["BTC-USD", "SHIB-USD", "ETH-BTC", "SIM0001-USD"])
def test_the_past_joins_the_live_market(product_id: str) -> None:
    """It ends near the first price and stays within the range of the first ticker."""
    market = RandomWalkMarket([product_id], seed=5)
    ticker = market.latest(product_id)
    assert ticker is not None
    tape = Tape(market.opening, START_S * NS, seed=5)
    first = Decimal(ticker["price"])
    candles = tape.newest(product_id, 400)
    assert abs(candles[0].close - first) <= max(first / 1000, Decimal(market.increment(product_id)))
    assert min(c.low for c in candles) >= Decimal(ticker["low_24_h"])
    assert max(c.high for c in candles) <= Decimal(ticker["high_24_h"])
    step = Decimal(market.increment(product_id))
    assert all(c.close % step == 0 for c in candles)


def test_the_past_is_the_same_for_the_same_seed() -> None:
    """Asking later, or after trading, changes nothing; another seed or product has another past."""
    market = RandomWalkMarket(["BTC-USD", "ETH-USD"], seed=1)
    early, late = (Tape(market.opening, START_S * NS, seed=1) for _ in range(2))
    record(late, START_S + 1000, "90000")
    before = early.trades("BTC-USD", 50)
    assert late.trades("BTC-USD", 51)[1:] == before
    assert late.newest("BTC-USD", 100)[1:] == early.newest("BTC-USD", 99)
    assert Tape(market.opening, START_S * NS, seed=2).trades("BTC-USD", 50) != before
    assert [t.size for t in early.trades("ETH-USD", 50)] != [t.size for t in before]


def test_live_trades_join_the_last_bucket_of_the_past() -> None:
    """The bucket in which the exchange was started has one candle, with the trades of both."""
    market = RandomWalkMarket(["BTC-USD"])
    born_s = START_S + 290
    tape = Tape(market.opening, born_s * NS)
    record(tape, born_s + 1, "99999", "7")
    newest, *_ = tape.newest("BTC-USD", 2)
    inside = [t for t in tape.trades("BTC-USD", 100) if t.time_ns >= START_S * NS]
    assert newest.start == START_S
    assert len(inside) > 1
    assert newest.fields() == of_trades(inside[::-1], 300)[0]


def test_a_recorded_market_has_no_past() -> None:
    """What was captured is all there is."""
    assert bare().newest("BTC-USD", 10) == []
    assert bare().trades("BTC-USD", 10) == []


# The candles channel


def test_a_candle_is_told_when_it_changed_and_once_more_when_it_has_ended() -> None:
    """Nothing without a change; the final values of an ended bucket come with the next one."""
    tape = bare()
    record(tape, START_S, "10")
    (seen,) = candles_snapshot(tape, "BTC-USD", 100)
    assert candles_update(tape, "BTC-USD", seen) == []
    record(tape, START_S + 1, "11")
    (seen,) = candles_update(tape, "BTC-USD", seen)
    record(tape, START_S + 299, "12")
    record(tape, START_S + 301, "13")
    current, final = candles_update(tape, "BTC-USD", seen)
    assert b'"close":"12"' in final
    assert b'"close":"13"' in current
    record(tape, START_S + 601, "14")
    assert len(candles_update(tape, "BTC-USD", current)) == 1


def test_the_market_says_what_was_traded() -> None:
    """The deal behind a ticker has its price, and its size is what the volume grew by."""
    market = RandomWalkMarket(["BTC-USD"], seed=2)
    assert market.last_deal("BTC-USD") is None
    before = Decimal((market.latest("BTC-USD") or {})["volume_24_h"])
    for _ in range(20):
        market.tick("BTC-USD")
        ticker, deal = market.latest("BTC-USD"), market.last_deal("BTC-USD")
        assert ticker is not None and deal is not None
        assert deal.price == ticker["price"]
        assert Decimal(ticker["volume_24_h"]) - before == Decimal(deal.size)
        assert deal.side == ("SELL" if ticker["price"] == ticker["best_ask"] else "BUY")
        before = Decimal(ticker["volume_24_h"])
