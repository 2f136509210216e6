"""The one market behind all providers: prices and bars as a function of time alone. Pure.

A day is a piece with open, high, low, close and volume, made from seed, symbol and date. It splits into blocks,
these into minutes, these into seconds; the parts of a piece have its very extremes, ends and volume. So bars of
every length agree with each other and with the price, without one being kept. All arithmetic is on whole numbers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from math import isqrt
from typing import Final, NamedTuple

from streamer.simulator.providers.assets import ASSETS, DAY_S, Asset, Session, midnight_s, session

DECIMALS: Final = 8
_UNIT: Final = 10**DECIMALS
_PARTS_OF_MINUTE: Final = 60
# How far the level may go within so many days, in millionths: together below four hundredths.
_WAVES: Final = ((64, 20_000), (16, 10_000), (4, 4_000), (1, 2_000))
_LONGEST_REST_DAYS: Final = 7


class Piece(NamedTuple):
    """What was traded in one stretch of time; prices and volume in units of 10^-8."""

    open: int
    high: int
    low: int
    close: int
    volume: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar that may still be open: then it holds what was traded so far.

    Attributes:
        start_s: When it begins, in Unix seconds.
        end_s: When the next one does.
    """

    start_s: int
    end_s: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Market:
    """All prices there ever were and will be.

    Args:
        seed: Another seed, another market.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def last(self, symbol: str, at_s: float) -> tuple[Decimal, int]:
        """Return the last price before a moment in USD, and when it was traded in Unix seconds."""
        asset, until_s = ASSETS[symbol], int(at_s)
        for day in range(until_s // DAY_S, until_s // DAY_S - _LONGEST_REST_DAYS, -1):
            times = session(asset, day)
            if times is not None and times.start_s < until_s:
                until_s = min(until_s, times.end_s)
                *_, piece = self._pieces(asset, until_s - 1, until_s)
                return _decimal(piece.close), until_s
        raise AssertionError("sessions are never so far apart")

    def bars(self, symbol: str, interval_s: int, from_s: float, to_s: float, now_s: float) -> list[Bar]:
        """Return the bars that begin within `[from_s, to_s)` and before now, oldest first.

        A stretch without trades has no bar. The last bar may be open.

        Args:
            interval_s: Divides a day; a day itself begins when the asset's day does.
        """
        asset, now = ASSETS[symbol], int(now_s)
        to_s = min(to_s, now_s)
        if interval_s == DAY_S:
            # A day east of UTC of them begins before it: look one further on both sides.
            days = range(int(from_s) // DAY_S - 1, int(to_s) // DAY_S + 2)
            spans = [(midnight_s(asset, day), midnight_s(asset, day + 1)) for day in days]
        else:
            first = -(-int(from_s) // interval_s) * interval_s
            spans = [(start, start + interval_s) for start in range(first, int(to_s) + 1, interval_s)]
        found = []
        for start_s, end_s in spans:
            if from_s <= start_s < to_s:
                pieces = list(self._pieces(asset, start_s, min(end_s, now)))
                if pieces:
                    found.append(_bar(start_s, end_s, pieces))
        return found

    def _pieces(self, asset: Asset, from_s: int, to_s: int) -> Iterator[Piece]:
        """Yield what was traded within `[from_s, to_s)`, in pieces as large as fit."""
        for day in range(from_s // DAY_S, -(-to_s // DAY_S)):
            times = session(asset, day)
            if times is not None:
                yield from self._within(asset, day, (), _day(self.seed, asset.symbol, day), times, from_s, to_s)

    def _within(
        self, asset: Asset, day: int, path: tuple[int, ...], piece: Piece, times: Session, from_s: int, to_s: int
    ) -> Iterator[Piece]:
        start_s, end_s = times.start_s, times.end_s
        if end_s <= from_s or start_s >= to_s:
            return
        if from_s <= start_s and end_s <= to_s:
            yield piece
            return
        parts = _parts(self.seed, asset.symbol, day, path)
        size_s = (end_s - start_s) // len(parts)
        first, beyond = max(0, (from_s - start_s) // size_s), min(len(parts), -(-(to_s - start_s) // size_s))
        for i in range(first, beyond):
            part_s = start_s + i * size_s
            inner = Session(part_s, part_s + size_s, 1)
            yield from self._within(asset, day, (*path, i), parts[i], inner, from_s, to_s)


def joined(bars: Sequence[Bar]) -> Bar:
    """Return the bar that several in a row make together."""
    return Bar(
        bars[0].start_s,
        bars[-1].end_s,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum((bar.volume for bar in bars), Decimal(0)),
    )


def _bar(start_s: int, end_s: int, pieces: Sequence[Piece]) -> Bar:
    return Bar(
        start_s,
        end_s,
        _decimal(pieces[0].open),
        _decimal(max(piece.high for piece in pieces)),
        _decimal(min(piece.low for piece in pieces)),
        _decimal(pieces[-1].close),
        _decimal(sum(piece.volume for piece in pieces)),
    )


def _decimal(units: int) -> Decimal:
    return Decimal(units).scaleb(-DECIMALS)


def _level(seed: int, asset: Asset, day: int) -> int:
    """Where the price stands at the beginning of a day: straight lines between chance points, on four scales."""
    away = 0
    for days, reach in _WAVES:
        whole, part = divmod(day, days)
        before, after = (_height(seed, asset.symbol, days, n, reach) for n in (whole, whole + 1))
        away += (before * (days - part) + after * part) // days
    return int(asset.start * _UNIT) * (1_000_000_000 + away * asset.wildness) // 1_000_000_000


@lru_cache(maxsize=8192)
def _height(seed: int, symbol: str, days: int, n: int, reach: int) -> int:
    return random.Random(f"{seed}/{symbol}/{days}/{n}").randint(-reach, reach)


@lru_cache(maxsize=8192)
def _day(seed: int, symbol: str, day: int) -> Piece:
    asset, chance = ASSETS[symbol], random.Random(f"{seed}/{symbol}/day/{day}")
    opened, close = _level(seed, asset, day), _level(seed, asset, day + 1)
    above, below = (opened * chance.randint(500, 3_000) * asset.wildness // 1_000_000_000 for _ in range(2))
    volume = asset.volume * chance.randint(700, 1_300) * _UNIT // 1000
    return Piece(opened, max(opened, close) + above, min(opened, close) - below, close, volume)


@lru_cache(maxsize=8192)
def _parts(seed: int, symbol: str, day: int, path: tuple[int, ...]) -> tuple[Piece, ...]:
    """Return the blocks of a day, the minutes of its block `path[0]`, or the seconds of a minute of that."""
    if not path:
        times = session(ASSETS[symbol], day)
        assert times is not None, "days without a session have no parts"
        return _split(_day(seed, symbol, day), times.blocks, random.Random(f"{seed}/{symbol}/{day}"))
    whole = _parts(seed, symbol, day, path[:-1])[path[-1]]
    chance = random.Random(f"{seed}/{symbol}/{day}/{path}")
    if len(path) > 1:
        return _split(whole, _PARTS_OF_MINUTE, chance)
    return _split(whole, 30 if ASSETS[symbol].is_stock else 60, chance)


def _split(whole: Piece, count: int, chance: random.Random) -> tuple[Piece, ...]:
    """Split a piece: a random walk from its open to its close that touches its high and its low once each."""
    reach = (whole.high - whole.low) * 9 // (10 * isqrt(count))
    walk = [0]
    for _ in range(count):
        walk.append(walk[-1] + chance.randint(-reach, reach))
    drift = whole.close - whole.open - walk[-1]
    knots = [whole.open + away + drift * i // count for i, away in enumerate(walk)]
    knots = [_reflected(knot, whole.low, whole.high) for knot in knots]
    tops = [max(pair) for pair in pairwise(knots)]
    bottoms = [min(pair) for pair in pairwise(knots)]
    highs = [min(whole.high, top + chance.randint(0, reach // 2)) for top in tops]
    lows = [max(whole.low, bottom - chance.randint(0, reach // 2)) for bottom in bottoms]
    highs[tops.index(max(tops))], lows[bottoms.index(min(bottoms))] = whole.high, whole.low
    weights = [chance.randint(50, 150) for _ in range(count)]
    volumes = [whole.volume * weight // sum(weights) for weight in weights]
    volumes[-1] += whole.volume - sum(volumes)
    return tuple(map(Piece, knots, highs, lows, knots[1:], volumes))


def _reflected(value: int, low: int, high: int) -> int:
    """Return a value thrown back by a border that it would cross; stopped there it would stand still."""
    value = 2 * high - value if value > high else 2 * low - value if value < low else value
    return min(high, max(low, value))
