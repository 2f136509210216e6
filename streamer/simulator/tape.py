"""The tape: every trade of every product, and candles made of them. Pure; time comes in as an argument.

Candles are exact over all trades, also of those that the tape no longer holds one by one. One-minute candles
reach back seven hours and the wider ones as long as the five-minute ones they are made of, over thirty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from streamer.simulator.market import Deal, Guide
from streamer.simulator.past import REACH_S, SIZE_DECIMALS, Past, decimals_of, made_up, number, plain

GRANULARITIES = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1800,
    "ONE_HOUR": 3600,
    "TWO_HOUR": 7200,
    "FOUR_HOUR": 14400,
    "SIX_HOUR": 21600,
    "ONE_DAY": 86400,
}
"""Names of the widths a candle may have, and the widths in seconds."""

CANDLE_S = 300
"""Width of the candles of the `candles` channel."""

_KEEP_S = {60: 7 * 3600, CANDLE_S: REACH_S + 3600}
_MAX_TRADES = 200_000
_NS = 1_000_000_000


class Trade(NamedTuple):
    """One trade; `side` is the maker's, numbers grow by one within a product."""

    number: int
    price: str
    size: str
    side: str
    time_ns: int


@dataclass(slots=True)
class Candle:
    """What was traded in one bucket.

    Attributes:
        start: First second of the bucket, since 1970.
        open: Price of the first trade.
        high: Highest price.
        low: Lowest price.
        close: Price of the last trade.
        volume: Sum of sizes, base.
    """

    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def absorb(self, later: Candle) -> None:
        """Add what was traded after it, in the same bucket."""
        self.high, self.low = max(self.high, later.high), min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume

    def fields(self) -> dict[str, str]:
        """Return it as REST writes it."""
        return {
            "start": str(self.start),
            "low": plain(self.low),
            "high": plain(self.high),
            "open": plain(self.open),
            "close": plain(self.close),
            "volume": plain(self.volume),
        }


class _Series:
    """Candles of one width, oldest first; what is too old is dropped when a new one begins."""

    __slots__ = ("_candles", "_keep_s", "_last", "_width_s")

    def __init__(self, width_s: int) -> None:
        self._width_s, self._keep_s = width_s, _KEEP_S[width_s]
        self._candles: deque[Candle] = deque()
        self._last: Candle | None = None

    def add(self, price: Decimal, size: Decimal, second: int) -> None:
        start = second - second % self._width_s
        last = self._last
        if last is None or last.start != start:
            self._begin(Candle(start, price, price, price, price, size))
            return
        if price > last.high:
            last.high = price
        elif price < last.low:
            last.low = price
        last.close = price
        last.volume += size

    def tell(self, past: Iterable[Past], decimals: int) -> None:
        """Begin with a past, oldest trade first; nothing may have been added yet."""
        width_us = self._width_s * 1_000_000
        rows: list[list[int]] = []  # whole numbers as long as they are many: start, open, high, low, close, volume
        for time_us, price, size, _ in past:
            start = time_us // width_us
            if not rows or rows[-1][0] != start:
                rows.append([start, price, price, price, price, size])
                continue
            row = rows[-1]
            if price > row[2]:
                row[2] = price
            elif price < row[3]:
                row[3] = price
            row[4] = price
            row[5] += size
        for start, *prices, volume in rows:
            first, high, low, last = (number(price, decimals) for price in prices)
            size_sum = number(volume, SIZE_DECIMALS)
            self._begin(Candle(start * self._width_s, first, high, low, last, size_sum))

    def extend(self, later: _Series) -> None:
        for candle in later._candles:
            if self._last is not None and self._last.start == candle.start:
                self._last.absorb(candle)
            else:
                self._begin(candle)

    def _begin(self, candle: Candle) -> None:
        candles = self._candles
        candles.append(candle)
        self._last = candle
        while candles[0].start < candle.start - self._keep_s:
            candles.popleft()

    def newest_first(self) -> Iterator[Candle]:
        return reversed(self._candles)


class _ProductTape:
    """The tape of one product."""

    __slots__ = ("_decimals", "_first_number", "_max_trades", "_past", "last_ns", "next_number", "series", "trades")

    def __init__(self, first_number: int, max_trades: int) -> None:
        self._first_number, self._max_trades = first_number, max_trades
        self.next_number, self.last_ns = first_number, 0
        self.trades: deque[Trade] = deque(maxlen=max_trades)
        self.series = {width_s: _Series(width_s) for width_s in _KEEP_S}
        self._past: list[Past] | None = None
        self._decimals = 0

    @property
    def has_past(self) -> bool:
        return self._past is not None

    def tell(self, past: list[Past], decimals: int) -> None:
        """Put a past, newest trade first, before what was traded since."""
        for width_s, live in self.series.items():
            told = self.series[width_s] = _Series(width_s)
            since_us = past[0].time_us - _KEEP_S[width_s] * 1_000_000 if past else 0
            told.tell((row for row in reversed(past) if row.time_us >= since_us), decimals)
            told.extend(live)
        self._past, self._decimals = past[: self._max_trades], decimals

    def newest_first(self) -> Iterator[Trade]:
        yield from reversed(self.trades)
        if self.next_number - self._first_number > len(self.trades):
            return  # some have been dropped, so what came before them is too old as well
        for i, row in enumerate(self._past or (), start=1):
            price, size = plain(number(row.price, self._decimals)), plain(number(row.size, SIZE_DECIMALS))
            side = "SELL" if row.is_sell else "BUY"
            yield Trade(self._first_number - i, price, size, side, row.time_us * 1000)

    def add(self, deal: Deal, time_ns: int) -> None:
        # A clock that is set back must not put a trade before those that came first.
        time_ns = self.last_ns = max(time_ns, self.last_ns)
        self.trades.append(Trade(self.next_number, deal.price, deal.size, deal.side, time_ns))
        self.next_number += 1
        price, size, second = Decimal(deal.price), Decimal(deal.size), time_ns // _NS
        for series in self.series.values():
            series.add(price, size, second)


class Tape:
    """Trades and candles of all products of a market.

    Args:
        opening: Gives the price from which a product's made-up past is told backwards, None for no past.
        born_ns: When the exchange was started: the past ends here, nanoseconds since 1970.
        seed: Seed of the past.
        products: How many products there are: single trades are kept within a bound over all of them.
        guide: The market that the past keeps to, None for none.
    """

    def __init__(
        self,
        opening: Callable[[str], str | None],
        born_ns: int,
        seed: int = 0,
        products: int = 1,
        guide: Guide | None = None,
    ) -> None:
        self._opening, self._born_ns, self._seed, self._guide = opening, born_ns, seed, guide
        self._max_trades = max(300, min(4000, _MAX_TRADES // max(1, products)))
        self._products: dict[str, _ProductTape] = {}
        # Grows from start to start, so that clients who know trades of an earlier run see no number twice.
        self._first_number = born_ns // 1_000_000

    def record(self, product_id: str, deal: Deal, time_ns: int) -> None:
        """Take a trade down."""
        tape = self._products.get(product_id)
        if tape is None:
            tape = self._products[product_id] = self._empty()
        tape.add(deal, time_ns // 1000 * 1000)  # trades are stamped to the microsecond

    def _empty(self) -> _ProductTape:
        return _ProductTape(self._first_number, self._max_trades)

    def _told(self, product_id: str) -> _ProductTape:
        # The past costs some milliseconds, so it is made up for those products only that are asked for.
        tape = self._products.get(product_id)
        if tape is None:
            tape = self._products[product_id] = self._empty()
        if not tape.has_past:
            opening = self._opening(product_id) or ""
            end_us = self._born_ns // 1000
            past = made_up(product_id, opening, self._seed, end_us, self._guide) if opening else []
            tape.tell(past, decimals_of(opening))
        return tape

    def trades(
        self, product_id: str, limit: int, start_s: float | None = None, end_s: float | None = None
    ) -> list[Trade]:
        """Return trades, newest first.

        Args:
            product_id: The product.
            limit: At most so many.
            start_s: None before this time, seconds since 1970.
            end_s: None after this time.
        """
        found: Iterable[Trade] = self._told(product_id).newest_first()
        if start_s is not None or end_s is not None:
            low = -1 if start_s is None else int(start_s * _NS)
            high = 2**63 if end_s is None else int(end_s * _NS)
            found = (trade for trade in found if low <= trade.time_ns <= high)
        return list(islice(found, limit))

    def trades_after(self, product_id: str, number: int) -> list[Trade]:
        """Return the trades with a higher number that are still held, newest first."""
        tape = self._products.get(product_id)
        found: list[Trade] = []
        for trade in reversed(tape.trades) if tape is not None else ():
            if trade.number <= number:
                break
            found.append(trade)
        return found

    def newest(self, product_id: str, count: int) -> list[Candle]:
        """Return the newest five-minute candles with trades, newest first."""
        return list(islice(self._told(product_id).series[CANDLE_S].newest_first(), count))

    def candles(
        self, product_id: str, width_s: int, start_s: int, end_s: int, *, fill: bool = False
    ) -> list[Candle]:
        """Return the candles whose buckets start from `start_s` to `end_s`, newest first.

        Args:
            product_id: The product.
            width_s: One of the widths in `GRANULARITIES`.
            start_s: Earliest start of a bucket, seconds since 1970.
            end_s: Latest start of a bucket.
            fill: Whether buckets without trades are there too, flat at the last price; if not they are missing.
        """
        source = self._told(product_id).series[60 if width_s == 60 else CANDLE_S]
        buckets: list[Candle] = []
        for candle in reversed(list(source.newest_first())):
            start = candle.start - candle.start % width_s
            if start > end_s:
                break
            copy = Candle(start, candle.open, candle.high, candle.low, candle.close, candle.volume)
            if buckets and buckets[-1].start == start:
                buckets[-1].absorb(copy)
            else:
                buckets.append(copy)
        if fill:
            buckets = list(_filled(buckets, width_s, end_s))
        return [candle for candle in reversed(buckets) if candle.start >= start_s]


def _filled(candles: list[Candle], width_s: int, until_s: int) -> Iterator[Candle]:
    for candle, later in zip(candles, [*candles[1:], None], strict=True):
        yield candle
        close = candle.close
        for start in range(candle.start + width_s, later.start if later else until_s + 1, width_s):
            yield Candle(start, close, close, close, close, Decimal(0))
