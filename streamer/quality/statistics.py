"""How far values are from what is usual: z-score, modified z-score and Hampel's. Pure.

Floats throughout: these are statistics of values, and only point at them. Formulas: NIST/SEMATECH e-Handbook
1.3.5.17, Iglewicz and Hoaglin (1993), Pearson (1999).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

Z_THRESHOLD: Final = 3.0
WARN: Final = 3.5
"""Modified z-score of what is worth a note. Returns have heavy tails: many of these are true moves."""
DOUBT: Final = 8.0
"""Of what a second source or the next bar should confirm."""
GRAVE: Final = 10.0
WINDOW: Final = 30
"""Values that a new one is compared with."""
LEAST: Final = 10
"""Fewest of them that allow a verdict."""
_SIGMA_OF_MAD: Final = 1.4826
_SIGMA_OF_MEAN: Final = 1.2533


def z_scores(values: Sequence[float], *, threshold: float = Z_THRESHOLD) -> list[float | None]:
    """Return (x - mean) / s of each value; all None (unknown) where none could reach the threshold.

    In a sample of n, no z-score is above (n - 1) / sqrt(n), however wild the value, which is below 3 up to n = 10.
    Nor does it see well beyond: an outlier moves both the mean and s.
    """
    n = len(values)
    if n < 2 or (n - 1) / math.sqrt(n) < threshold:
        return [None] * n
    mean = fmean(values)
    s = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1))
    return [(x - mean) / s if s else 0.0 for x in values]


def modified_z_scores(values: Sequence[float], *, floor: float = 0.0) -> list[float | None]:
    """Return 0.6745 (x - median) / MAD of each value; all None below `LEAST` values.

    Args:
        floor: Least standard deviation to reckon with, as where more than half of the values are equal.
    """
    if len(values) < LEAST:
        return [None] * len(values)
    return [_score(x, *_usual(values, floor)) for x in values]


def hampel_scores(values: Sequence[float], *, floors: Sequence[float], window: int = WINDOW) -> list[float | None]:
    """Return how far each value is from the median of those before it, in robust standard deviations.

    Looks back only, so that live values can be judged. None where fewer than `LEAST` have gone before: unknown.

    Args:
        floors: Least standard deviation to reckon with, by value; values of `values` that are not finite are passed
            over and have no score.
    """
    history: list[float] = []
    scores: list[float | None] = []
    for x, floor in zip(values, floors, strict=True):
        scores.append(hampel_score(x, history, floor=floor) if math.isfinite(x) else None)
        if math.isfinite(x):
            history.append(x)
            del history[:-window]
    return scores


def hampel_score(x: float, history: Sequence[float], *, floor: float) -> float | None:
    """Return how far a value is from the median of `history`, in robust standard deviations; None for unknown."""
    return None if len(history) < LEAST else _score(x, *_usual(history, floor))


def _usual(values: Sequence[float], floor: float) -> tuple[float, float]:
    """Return median and robust standard deviation."""
    middle = median(values)
    distances = [abs(x - middle) for x in values]
    # MAD is 0 where more than half are equal (stable coins, quiet minutes): the mean distance knows the others.
    s = _SIGMA_OF_MAD * median(distances) or _SIGMA_OF_MEAN * fmean(distances)
    return middle, max(s, floor)


def _score(x: float, middle: float, s: float) -> float:
    if x == middle:
        return 0.0
    return (x - middle) / s if s else math.copysign(math.inf, x - middle)
