"""Series with planted faults, from a seed, and how well rules find them: shared by tests and the benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Series, Symbol
from streamer.quality.findings import Code, Severity
from streamer.quality.statistics import Z_THRESHOLD, z_scores
from streamer.quality.validation import validate

BTC = Symbol("BTC", "USD", AssetClass.CRYPTO)
START_S = 1_790_000_040 // 60 * 60
PRICE_FAULTS = ("spike", "factor", "zero")
OTHER_FAULTS = ("swapped", "duplicate", "missing")


@dataclass(frozen=True)
class Market:
    """How prices of a series move.

    Attributes:
        sigma: Usual return of a bar.
        tick: What prices are rounded to.
        tails: Degrees of freedom of Student's t; the fewer, the heavier.
        shifts: Level shifts on the way: true moves of 12 to 25 sigma that stay.
        trend: Return of all bars together, as a logarithm.
    """

    name: str
    price: float
    sigma: float
    tick: str
    tails: int = 4
    bars: int = 400
    shifts: int = 0
    trend: float = 0.0


MARKETS = (
    Market("calm", 84_000.0, 0.0004, "0.01"),
    Market("usual", 3_100.0, 0.0015, "0.01", trend=0.3),
    Market("wild", 0.71, 0.008, "0.00001", tails=3),
    Market("stable coin", 1.0001, 0.00003, "0.0001"),
    Market("level shifts", 162.0, 0.001, "0.01", shifts=6),
    Market("short", 84_000.0, 0.001, "0.01", bars=10),
    Market("hardly longer", 84_000.0, 0.001, "0.01", bars=18),
)


@dataclass(frozen=True)
class Planted:
    """A series, and what is wrong with it.

    Attributes:
        faults: By the index of the bar; of a missing one that of the bar after it.
    """

    market: Market
    series: Series
    faults: dict[int, str]

    @property
    def now_ms(self) -> int:
        """When the last bar has just ended."""
        return (self.series.bars[-1].start_s + 60) * 1000


def series_of(bars: Sequence[Bar]) -> Series:
    """Bars of a minute."""
    return Series(BTC, Interval.M1, Instrument.SPOT, tuple(bars))


def walk(market: Market, random: Random) -> list[Bar]:
    """A random walk with heavy tails; opens where the last bar closed."""

    def student() -> float:
        spread = sum(random.gauss(0, 1) ** 2 for _ in range(market.tails)) / market.tails
        return random.gauss(0, 1) / math.sqrt(spread) * market.sigma

    def rounded(price: float) -> Decimal:
        return max(Decimal(price).quantize(Decimal(market.tick)), Decimal(market.tick))

    shifts = set(random.sample(range(market.bars // 10, market.bars), market.shifts))
    bars, level, last = [], math.log(market.price), rounded(market.price)
    for i in range(market.bars):
        level += student() + market.trend / market.bars
        if i in shifts:
            level += random.choice((-1, 1)) * random.uniform(12, 25) * market.sigma
        close = rounded(math.exp(level))
        high = max(last, close) * Decimal(1 + abs(student()) / 2)
        low = min(last, close) * Decimal(1 - min(0.5, abs(student()) / 2))
        volume = Decimal(random.lognormvariate(2, 0.8)).quantize(Decimal("0.0001"))
        bars.append(Bar(START_S + 60 * i, last, rounded(float(high)), rounded(float(low)), close, volume))
        last = close
    return bars


def planted(market: Market, random: Random, *, share: float = 0.02) -> Planted:
    """A walk of which some bars have been spoilt, never two in a row, and none at either end."""
    bars: list[Bar | None] = list(walk(market, random))
    kinds = PRICE_FAULTS + OTHER_FAULTS
    places = range(2, len(bars) - 2, 3)
    chosen = sorted(random.sample(places, max(1, round(share * len(bars)))))
    spoilt: dict[int, str] = {}
    doubled: set[int] = set()
    for place in chosen:
        bar = bars[place]
        assert bar is not None
        kind = spoilt[place] = random.choice(kinds)
        if kind == "missing":
            bars[place] = None
        elif kind == "duplicate":
            doubled.add(place)
        else:
            bars[place] = _spoilt(bar, kind, market, random)
    kept: list[Bar] = []
    faults: dict[int, str] = {}
    for place, held in enumerate(bars):
        if place in spoilt:
            faults[len(kept) + (place in doubled)] = spoilt[place]
        if held is not None:
            kept.append(held)
        if held is not None and place in doubled:
            kept.append(held)
    return Planted(market, series_of(kept), faults)


def _spoilt(bar: Bar, kind: str, market: Market, random: Random) -> Bar:
    if kind == "zero":
        return replace(bar, open=Decimal(0), high=Decimal(0), low=Decimal(0), close=Decimal(0))
    if kind == "swapped":
        wide = bar.high + 3 * Decimal(market.tick)  # also where a quiet bar is all one price
        return replace(bar, high=bar.low, low=wide)
    if kind == "factor":
        factor = random.choice([Decimal(10), Decimal(100), Decimal("0.1"), Decimal("0.01")])
        return replace(
            bar, open=bar.open * factor, high=bar.high * factor, low=bar.low * factor, close=bar.close * factor
        )
    size = Decimal(random.choice((-1, 1)) * random.uniform(0.02, 0.08) * max(1.0, market.sigma / 0.0015))
    close = (bar.close * (1 + size)).quantize(Decimal(market.tick))
    return replace(bar, close=close, high=max(bar.high, close), low=min(bar.low, close))


# -- rules ------------------------------------------------------------------------------------------------------


def by_price(case: Planted) -> set[int]:
    """The z-score of closes."""
    scores = z_scores([float(bar.close) for bar in case.series.bars])
    return {i for i, score in enumerate(scores) if score is not None and abs(score) > Z_THRESHOLD}


def by_return(case: Planted) -> set[int]:
    """The z-score of log returns; a close without a logarithm is found as well."""
    places, returns, found = [], [], set()
    last: float | None = None
    for i, bar in enumerate(case.series.bars):
        if bar.close <= 0:
            found.add(i)
            continue
        level = math.log(bar.close)
        if last is not None:
            places.append(i)
            returns.append(level - last)
        last = level
    scores = z_scores(returns)
    pairs = zip(places, scores, strict=True)
    return found | {i for i, score in pairs if score is not None and abs(score) > Z_THRESHOLD}


def by_default(case: Planted) -> set[int]:
    """What `validate` finds to be doubtful or wrong with prices; what is only worth a note does not count."""
    codes = {Code.SPIKE, Code.FACTOR, Code.UNUSUAL, Code.NOT_POSITIVE}
    return {
        found.index
        for found in validate(case.series, case.now_ms).findings
        if found.index is not None and found.code in codes and found.severity is not Severity.LOW
    }


RULES: dict[str, Callable[[Planted], set[int]]] = {
    "z-score of prices": by_price,
    "z-score of returns": by_return,
    "default": by_default,
}


@dataclass
class Tally:
    """How well a rule finds planted prices.

    The bar after a planted one is left out: the way back is a large return too, and seeing it is no fault.
    """

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def add(self, case: Planted, flagged: set[int]) -> None:
        """Count one series."""
        faults = {i for i, kind in case.faults.items() if kind in PRICE_FAULTS}
        after = {i + 1 for i in faults}
        self.right += len(faults & flagged)
        self.missed += len(faults - flagged)
        self.wrong += len(flagged - faults - after)

    @property
    def precision(self) -> float:
        """Share of what is flagged that is planted; 1 where nothing is flagged."""
        flagged = self.right + self.wrong
        return self.right / flagged if flagged else 1.0

    @property
    def recall(self) -> float:
        """Share of what is planted that is flagged; 1 where nothing is planted."""
        faults = self.right + self.missed
        return self.right / faults if faults else 1.0

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def measured(seed: int, markets: Sequence[Market] = MARKETS, *, each: int = 20) -> dict[str, Tally]:
    """How well each rule does on so many series of each market."""
    tallies = {rule: Tally() for rule in RULES}
    random = Random(seed)
    for market in markets:
        for _ in range(each):
            case = planted(market, random)
            for rule, flagged in RULES.items():
                tallies[rule].add(case, flagged(case))
    return tallies


def hard_faults(
    seed: int, markets: Sequence[Market] = MARKETS, *, each: int = 20
) -> dict[str, tuple[int, int, int]]:
    """By kind of fault that is no unlikely price: how many were found, planted, and found where there was none."""
    codes = {"swapped": {Code.OHLC}, "duplicate": {Code.DUPLICATE}, "missing": {Code.GAP}}
    told = dict.fromkeys(OTHER_FAULTS, (0, 0, 0))
    random = Random(seed)
    for market in markets:
        for _ in range(each):
            case = planted(market, random)
            findings = validate(case.series, case.now_ms).findings
            for kind in OTHER_FAULTS:
                faults = {i for i, planted_kind in case.faults.items() if planted_kind == kind}
                flagged = {found.index for found in findings if found.code in codes[kind]}
                found, of, wrong = told[kind]
                told[kind] = found + len(faults & flagged), of + len(faults), wrong + len(flagged - faults)
    return told
