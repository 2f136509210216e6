"""Whether sources of the same price agree, and who does not. Pure.

Like is compared with like: what is quoted in USD and what in USDT, spot and perpetual, live and delayed differ for
good reasons, and stand in groups of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from streamer.providers.shape import Instrument, Price, Symbol
from streamer.quality.findings import Code, Finding, Severity

TOLERANCE_BP: Final = Decimal(50)
"""Exchanges are some basis points apart, and their prices are not of the same second."""
_BP: Final = Decimal(10_000)


class Kind(StrEnum):
    """What prices may be compared."""

    SPOT = "spot"
    """Of one exchange, of many, or worked out from such."""
    PERPETUAL = "perpetual"
    STOCK = "stock"


_KINDS: Final = {
    Instrument.SPOT: Kind.SPOT,
    Instrument.AGGREGATE: Kind.SPOT,
    Instrument.DERIVED: Kind.SPOT,
    Instrument.PERPETUAL: Kind.PERPETUAL,
    Instrument.STOCK: Kind.STOCK,
}


@dataclass(frozen=True, slots=True)
class Group:
    """What prices must have in common to be compared. `str` of it is a label: "BTC-USDT spot, delayed"."""

    symbol: Symbol
    kind: Kind
    is_live: bool

    def __str__(self) -> str:
        return f"{self.symbol} {self.kind}{'' if self.is_live else ', delayed'}"


class Verdict(StrEnum):
    """What can be said of a group."""

    ALONE = "alone"
    """One source: nothing to compare with."""
    AGREE = "agree"
    DISAGREE = "disagree"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the sources of one group are apart.

    Attributes:
        prices: By source.
        median: Of two, the middle between them.
        deviation_bp: Of each source from the median, in basis points, signed.
        dissenters: Those beyond the tolerance, by name.
        is_clear: Whether it is they who are wrong: only where more than half of three or more sources agree.
        tolerance_bp: What deviation was allowed.
    """

    group: Group
    prices: Mapping[str, Decimal]
    median: Decimal
    deviation_bp: Mapping[str, Decimal]
    dissenters: tuple[str, ...]
    is_clear: bool
    tolerance_bp: Decimal

    @property
    def verdict(self) -> Verdict:
        """Return whether they agree."""
        if len(self.prices) < 2:
            return Verdict.ALONE
        return Verdict.DISAGREE if self.dissenters else Verdict.AGREE

    def finding(self, provider: str) -> Finding | None:
        """Return what is to be found fault with at one source, None where nothing is.

        Off by more than a factor of two is high, whoever is wrong: that is another unit rather than a price.
        """
        if provider not in self.dissenters:
            return None
        price, others = self.prices[provider], [self.prices[name] for name in self.prices if name != provider]
        what = f"{price} is {self.deviation_bp[provider]:+.1f} bp from the median of {len(self.prices)} sources"
        if not self.is_clear:
            what += "; who is wrong cannot be told"
        if is_factor(price, others[0] if len(others) == 1 else self.median):
            return Finding(Code.FACTOR, Severity.HIGH, f"{self.group}: {what}; rather another unit than a price")
        return Finding(Code.DISAGREES, Severity.MEDIUM, f"{self.group}: {what}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison of sources has come to.

    Attributes:
        agreements: One a group, that of the most sources first.
        unusable: Sources whose price is none: not above 0, or no number.
    """

    agreements: tuple[Agreement, ...]
    unusable: tuple[str, ...]


def compare(prices: Mapping[str, Price], *, tolerance_bp: Decimal = TOLERANCE_BP) -> Comparison:
    """Compare prices, each under the name of its source, within groups of what can be compared.

    Their age is the caller's business: hand over what is fresh.
    """
    groups: dict[Group, dict[str, Decimal]] = {}
    unusable = []
    for provider in sorted(prices):
        price = prices[provider]
        if price.price.is_finite() and price.price > 0:
            group = Group(price.symbol, _KINDS[price.instrument], price.is_live)
            groups.setdefault(group, {})[provider] = price.price
        else:
            unusable.append(provider)
    agreements = [_agreement(group, found, tolerance_bp) for group, found in groups.items()]
    agreements.sort(key=lambda agreement: (-len(agreement.prices), str(agreement.group)))
    return Comparison(tuple(agreements), tuple(unusable))


def is_factor(price: Decimal, middle: Decimal) -> bool:
    """Whether a price is more than twice, or less than half, of what it should be: |ln| > ln 2."""
    return price > 2 * middle or 2 * price < middle


def median_of(values: list[Decimal]) -> Decimal:
    """Return the median of at least one value; of an even number the middle of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _agreement(group: Group, found: Mapping[str, Decimal], tolerance_bp: Decimal) -> Agreement:
    middle = median_of(list(found.values()))
    deviation_bp = {provider: _BP * (price - middle) / middle for provider, price in found.items()}
    if len(found) == 2:
        # Each is half the way from the middle: it is from each other that they may be so far apart.
        apart = max(found.values()) - min(found.values())
        is_apart = _BP * apart > tolerance_bp * middle
        return Agreement(group, found, middle, deviation_bp, tuple(found) if is_apart else (), False, tolerance_bp)
    dissenters = tuple(
        provider for provider, price in found.items() if _BP * abs(price - middle) > tolerance_bp * middle
    )
    is_clear = len(found) >= 3 and 2 * len(dissenters) < len(found)
    return Agreement(group, found, middle, deviation_bp, dissenters, is_clear, tolerance_bp)
