"""What a check has found, and how grave it is. Pure.

Findings mark values, they never change or drop one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How grave a finding is."""

    LOW = "low"
    """Worth a note: values can be used."""
    MEDIUM = "medium"
    """Look before use: it may be wrong, or real and rare."""
    HIGH = "high"
    """Wrong: it cannot have been so. These alone become alerts."""

    @property
    def rank(self) -> int:
        """Rises with gravity, from 0."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


class Code(StrEnum):
    """What was found. Stays the same while words and figures change, so alerts are told apart by it."""

    NOT_FINITE = "not_finite"
    NOT_POSITIVE = "not_positive"
    OHLC = "ohlc"
    """High and low do not enclose open and close."""
    VOLUME = "volume"
    UNIT = "unit"
    """A time that cannot be in the unit it should be in."""
    ORDER = "order"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """Two bars of one time that say different things."""
    MISALIGNED = "misaligned"
    GAP = "gap"
    UNCLOSED = "unclosed"
    FUTURE = "future"
    UNUSUAL = "unusual"
    """A large return, of which the next bar will say what it was."""
    SPIKE = "spike"
    """A large return that the next bar took back."""
    LEVEL_SHIFT = "level_shift"
    """A large return that the next bar confirmed."""
    FACTOR = "factor"
    """A price more than twice, or less than half, of what it should be: mostly a wrong unit."""
    RANGE = "range"
    """A high and low further apart than usual."""
    TRADED = "traded"
    """A volume that is not usual."""
    DISAGREES = "disagrees"
    """Sources of the same price do not agree."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        what: In words, with the value and the rule.
        index: Of the bar in its series; None where it is about no bar.
        start_s: Where that bar begins, as it says itself: also nonsense where that is what was found.
    """

    code: Code
    severity: Severity
    what: str
    index: int | None = None
    start_s: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What checks have found in a series, which is left as it is.

    Attributes:
        findings: In order of the bars.
        bars: How many bars were looked at: all.
        completeness: Bars that are there for each that should be, from the first to the last, 0 to 1; 0 for none.
        judged: How many of them were compared with those before; whether the others are usual is unknown.
    """

    findings: Sequence[Finding]
    bars: int
    completeness: float
    judged: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Findings by code."""
        return dict(Counter(finding.code.value for finding in self.findings))

    @property
    def worst(self) -> Severity | None:
        """The gravest there is, None where nothing was found."""
        return max((finding.severity for finding in self.findings), key=lambda one: one.rank, default=None)

    @property
    def cleanness(self) -> float:
        """1 where nothing is wrong, 0 from where every twentieth bar is wrong, or every sixth doubtful."""
        if not self.bars:
            return 1.0
        weight = sum(_WEIGHTS[finding.severity] for finding in self.findings)
        return max(0.0, 1.0 - weight / (_HOPELESS * self.bars))

    def of(self, index: int) -> tuple[Finding, ...]:
        """Return what was found about the bar at `index` of the series."""
        return tuple(finding for finding in self.findings if finding.index == index)


_WEIGHTS: Final = {Severity.LOW: 0.0, Severity.MEDIUM: 0.3, Severity.HIGH: 1.0}
"""What is only worth a note spoils nothing."""
_HOPELESS: Final = 0.05
