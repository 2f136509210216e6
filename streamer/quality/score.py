"""How good a provider has lately been for a symbol, from 0 to 100. Pure; `docs/quality.md` has worked examples.

Five parts, each from 0 to 1, are multiplied by weight: 100 x part ** weight x ... A weighted mean would let a
provider that never answers live on what it once did well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from streamer.quality.agreement import TOLERANCE_BP
from streamer.quality.findings import Report

WEIGHTS: Final[Mapping[str, float]] = {
    "availability": 0.30,
    "freshness": 0.25,
    "agreement": 0.20,
    "completeness": 0.15,
    "outliers": 0.10,
}
"""The exponent of each part; together 1."""
HALF_LIFE_S: Final = 600.0
_LEAST_SHARE: Final = 0.1
"""What an event counts for at least, however soon it follows the last one."""
_LEAST_PART: Final = 0.01
"""A part never counts as less, so that of several bad ones each still shows."""
_WORST_TOLERANCES: Final = 4.0
"""So many tolerances from the median, an answer agrees with nobody."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of one provider and symbol: plain numbers, to be kept as JSON. Each update returns a new one.

    Averages are running ones: an event counts for a tenth at least, for half where the last of its kind is
    `HALF_LIFE_S` ago, and for more after longer. None is what nothing is known of.

    Attributes:
        availability: Mean of 1 for an answer and 0 for none.
        available_s: Unix time of the last of these; so for the other two.
        lag_s: Mean of how old values were when they were answered. Not how old they are by now: that nobody has
            asked for a while is no fault of the provider's.
        lagged_s: Unix time of the last of these.
        agreement: Mean of how well it agreed with others, 0 to 1.
        completeness: Mean completeness of series.
        outliers: Mean cleanness of series: 1 without findings.
    """

    availability: float | None = None
    available_s: float | None = None
    lag_s: float | None = None
    lagged_s: float | None = None
    agreement: float | None = None
    agreed_s: float | None = None
    completeness: float | None = None
    outliers: float | None = None
    checked_s: float | None = None

    def answered(self, now_s: float, *, as_of_s: float | None = None) -> Observed:
        """Enter an answer.

        Args:
            as_of_s: Unix time of its value; None where nobody says.
        """
        tried = self._tried(1.0, now_s)
        if as_of_s is None:
            return tried
        lag_s = _mean(self.lag_s, max(0.0, now_s - as_of_s), self.lagged_s, now_s)
        return replace(tried, lag_s=lag_s, lagged_s=now_s)

    def failed(self, now_s: float) -> Observed:
        """Enter a question without an answer for which the provider is to blame; a limit of ours is no such."""
        return self._tried(0.0, now_s)

    def compared(self, deviation_bp: float, now_s: float, *, tolerance_bp: float = float(TOLERANCE_BP)) -> Observed:
        """Enter how far a price was from the median of at least three: with two, nobody knows who is wrong."""
        value = agreement_of(deviation_bp, tolerance_bp)
        mean = _mean(self.agreement, value, self.agreed_s, now_s)
        return replace(self, agreement=mean, agreed_s=now_s)

    def checked(self, report: Report, now_s: float) -> Observed:
        """Enter what was found in a series."""
        return replace(
            self,
            completeness=_mean(self.completeness, report.completeness, self.checked_s, now_s),
            outliers=_mean(self.outliers, report.cleanness, self.checked_s, now_s),
            checked_s=now_s,
        )

    def _tried(self, value: float, now_s: float) -> Observed:
        mean = _mean(self.availability, value, self.available_s, now_s)
        return replace(self, availability=mean, available_s=now_s)


@dataclass(frozen=True, slots=True)
class Score:
    """How good.

    Attributes:
        value: 0 to 100; None where nothing is known.
        parts: What it is made of, 0 to 1 each; those of which nothing is known are absent, and others weigh more.
    """

    value: float | None
    parts: Mapping[str, float]


def score(observed: Observed, *, due_s: float) -> Score:
    """Return how good a provider is for a symbol.

    Args:
        due_s: How old a value may be and still be fresh; after twice that it is half as fresh, and so on.
    """
    known = {
        "availability": observed.availability,
        "freshness": None if observed.lag_s is None else freshness(observed.lag_s, due_s),
        "agreement": observed.agreement,
        "completeness": observed.completeness,
        "outliers": observed.outliers,
    }
    return combined({name: part for name, part in known.items() if part is not None})


def combined(parts: Mapping[str, float]) -> Score:
    """Return the score of parts by the names of `WEIGHTS`; what is beyond 0 and 1 is taken as these."""
    held = {name: min(1.0, max(0.0, part)) for name, part in parts.items()}
    if not held:
        return Score(None, {})
    weight = sum(WEIGHTS[name] for name in held)
    value = 100.0
    for name, part in held.items():
        value *= max(_LEAST_PART, part) ** (WEIGHTS[name] / weight)
    return Score(min(100.0, value), held)


def freshness(age_s: float, due_s: float) -> float:
    """Return 1 up to an age of `due_s`, from there on half for each further `due_s`."""
    late = (age_s - due_s) / due_s
    return 1.0 if late <= 0 else 0.5 ** min(late, 1000.0)


def agreement_of(deviation_bp: float, tolerance_bp: float) -> float:
    """Return 1 within the tolerance, falling in a straight line to 0 at four times that."""
    beyond = abs(deviation_bp) / tolerance_bp - 1
    return min(1.0, max(0.0, 1 - beyond / (_WORST_TOLERANCES - 1)))


def _mean(mean: float | None, value: float, last_s: float | None, now_s: float) -> float:
    if mean is None or last_s is None:
        return value
    share: float = max(_LEAST_SHARE, 1 - 0.5 ** (max(0.0, now_s - last_s) / HALF_LIFE_S))
    return mean + share * (value - mean)
