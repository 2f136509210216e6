"""Bars that are unlikely: spikes told from level shifts, wild ranges, unusual volumes. Pure.

Works on logarithms of returns, ranges and volumes, against the bars before: prices trend, so a test of raw prices
flags every new high. Floats within, since these are statistics; the bars stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from streamer.providers.shape import Bar, Series
from streamer.quality.bars import last_digit, prices
from streamer.quality.findings import Code, Finding, Severity
from streamer.quality.statistics import DOUBT, GRAVE, LEAST, WARN, WINDOW, hampel_score, hampel_scores

FACTOR: Final = math.log(2)
"""A return of more is a wrong unit rather than a move."""
_WRONG_MOVE: Final = 0.005
"""A spike of less than 50 bp may be rare for a quiet price, and is no proof that it is wrong."""
_TAKEN_BACK: Final = 0.5
"""What share of a return the next one must take back for both to be a spike."""
_LEAST_SIGMA: Final = 1e-5
"""A tenth of a basis point: where prices have very many digits, less would make outliers of nothing."""
_LEAST_VOLUME_SIGMA: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Point:
    """A bar that can be judged, with the natural logarithm of its close.

    Attributes:
        tick: One last digit of the series, as a return from here.
    """

    index: int
    bar: Bar
    close: float
    tick: float


@dataclass(frozen=True, slots=True)
class Unusual:
    """What is unlikely about a series.

    Attributes:
        findings: In order of the bars.
        judged: How many closes have a verdict. The first ones have nothing to be compared with: they are unknown,
            and not fine.
    """

    findings: Sequence[Finding]
    judged: int


def unusual_bars(series: Series) -> Unusual:
    """Return what is unlikely about bars; those with impossible values, and doubles, are passed over."""
    points = _points(series.bars)
    findings = [*_returns(points, series.interval.seconds), *_ranges(points), *_volumes(points)]
    findings.sort(key=lambda found: found.index or 0)
    return Unusual(tuple(findings), max(0, len(points) - 1 - LEAST))


def _points(bars: Sequence[Bar]) -> list[_Point]:
    sound = [(i, bar) for i, bar in enumerate(bars) if all(p.is_finite() and p > 0 for p in prices(bar))]
    # Of all bars: trailing zeros are not written, and then one bar alone does not tell how prices are rounded.
    digit = min((last_digit(bar) for _, bar in sound), default=Decimal(1))
    points: list[_Point] = []
    for i, bar in sound:
        if not points or bar.start_s > points[-1].bar.start_s:
            points.append(_Point(i, bar, _ln(bar.close), float(digit / bar.close)))
    return points


def _returns(points: Sequence[_Point], length_s: int) -> Iterator[Finding]:
    """Judge each return against those before it, and a large one by the next."""
    history: list[float] = []
    for at, point in enumerate(points):
        if at == 0:
            level = point
            continue
        move = point.close - level.close
        # Over a longer time prices move further: with its square root.
        usual_move = move / math.sqrt(max(1.0, (point.bar.start_s - level.bar.start_s) / length_s))
        score = hampel_score(usual_move, history, floor=max(point.tick, _LEAST_SIGMA))
        size = 0.0 if score is None else abs(score)
        if abs(move) <= FACTOR:
            # Also large ones: the median heeds no single one of them, and must follow when all moves get larger.
            history.append(usual_move)
            del history[:-WINDOW]
        if abs(move) <= FACTOR and size <= DOUBT:
            if size > WARN:
                yield _found(point, Code.UNUSUAL, Severity.LOW, move, size)
            level = point
            continue
        found = _told_by_the_next(point, points[at + 1] if at + 1 < len(points) else None, move, size)
        yield found
        if not (found.code is Code.SPIKE or found.severity is Severity.HIGH):
            level = point


def _told_by_the_next(point: _Point, following: _Point | None, move: float, size: float) -> Finding:
    """Return what a large move was: a spike, after which the level is as before, or a new level."""
    is_factor = abs(move) > FACTOR
    if following is None:
        code = Code.FACTOR if is_factor else Code.UNUSUAL
        return _found(point, code, Severity.HIGH if is_factor else Severity.MEDIUM, move, size)
    if (point.close - following.close) * math.copysign(1, move) >= _TAKEN_BACK * abs(move):
        is_wrong = is_factor or (size > GRAVE and abs(move) >= _WRONG_MOVE)
        code = Code.FACTOR if is_factor else Code.SPIKE
        return _found(point, code, Severity.HIGH if is_wrong else Severity.MEDIUM, move, size)
    code = Code.FACTOR if is_factor else Code.LEVEL_SHIFT
    return _found(point, code, Severity.MEDIUM if is_factor else Severity.LOW, move, size)


def _ranges(points: Sequence[_Point]) -> Iterator[Finding]:
    """Judge how far high and low are apart; less than usual is never wrong."""
    ranges = [_ln(point.bar.high) - _ln(point.bar.low) for point in points]
    floors = [max(point.tick, _LEAST_SIGMA) for point in points]
    for point, width, score in zip(points, ranges, hampel_scores(ranges, floors=floors), strict=True):
        if score is None or score <= DOUBT:
            continue
        body = abs(_ln(point.bar.close) - _ln(point.bar.open))
        is_wrong = score > GRAVE and width - body > FACTOR
        severity = Severity.HIGH if is_wrong else Severity.MEDIUM if score > GRAVE else Severity.LOW
        what = f"high is {_percent(width)} above low, {score:.1f} deviations from the usual"
        yield Finding(Code.RANGE, severity, what, point.index, point.bar.start_s)


def _volumes(points: Sequence[_Point]) -> Iterator[Finding]:
    """Judge volumes; true days have wild ones too, so this is only worth a note."""
    counted = [(point, v) for point in points if (v := point.bar.volume) is not None and v.is_finite() and v >= 0]
    volumes = [_ln(1 + volume) for _, volume in counted]
    scores = hampel_scores(volumes, floors=[_LEAST_VOLUME_SIGMA] * len(volumes))
    for (point, volume), score in zip(counted, scores, strict=True):
        if score is not None and abs(score) > GRAVE:
            what = f"volume {volume} is {abs(score):.1f} deviations from the usual"
            yield Finding(Code.TRADED, Severity.LOW, what, point.index, point.bar.start_s)


def _ln(number: Decimal) -> float:
    """Return the natural logarithm of a number above 0, also of one that no float can hold."""
    rough = float(number)
    return math.log(rough) if 0.0 < rough < math.inf else float(number.ln())


def _found(point: _Point, code: Code, severity: Severity, move: float, size: float) -> Finding:
    against = f", {size:.1f} deviations from the usual" if size else ""
    ends = {
        Code.SPIKE: ", and goes back",
        Code.LEVEL_SHIFT: ", and stays",
        Code.FACTOR: ": rather another unit, or a split, than a move",
        Code.UNUSUAL: "" if size <= DOUBT else "; the next bar will tell",
    }
    up = "up" if move > 0 else "down"
    percent = _percent(move)
    what = f"close {point.bar.close} is {up} by {percent}{against}{ends[code]}"
    return Finding(code, severity, what, point.index, point.bar.start_s)


def _percent(log_distance: float) -> str:
    return f"{abs(math.expm1(min(log_distance, 300.0))) * 100:.3g} %"
