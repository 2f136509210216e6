"""Unlikely bars: spikes told from level shifts, and better found than by z-scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from streamer.providers.shape import Bar
from streamer.quality.findings import Code, Severity
from streamer.quality.outliers import unusual_bars
from streamer.quality.statistics import LEAST
from streamer.quality.validation import validate
from tests.unit.quality.planted import START_S, Market, hard_faults, measured, series_of, walk

# Tails so light that no true return is an outlier.
QUIET = Market("quiet", 100.0, 0.001, "0.01", tails=100, bars=60)


def bars(seed: int = 3) -> list[Bar]:
    """A quiet hour."""
    return walk(QUIET, Random(seed))


def moved(held: Sequence[Bar], factor: str, *places: int) -> list[Bar]:
    """Bars with some prices times a factor."""
    by = Decimal(factor)
    return [
        replace(b, open=b.open * by, high=b.high * by, low=b.low * by, close=b.close * by) if i in places else b
        for i, b in enumerate(held)
    ]


def found(held: Sequence[Bar]) -> list[tuple[Code, Severity, int | None]]:
    """What is unlikely about closes, notes left out."""
    findings = unusual_bars(series_of(held)).findings
    closes = {Code.SPIKE, Code.LEVEL_SHIFT, Code.FACTOR, Code.UNUSUAL}
    return [
        (one.code, one.severity, one.index)
        for one in findings
        if one.code in closes and (one.severity is not Severity.LOW or one.code is Code.LEVEL_SHIFT)
    ]


def test_nothing_is_doubted_in_a_quiet_hour() -> None:
    """And the first bars have no verdict."""
    assert found(bars()) == []
    assert unusual_bars(series_of(bars())).judged == 60 - 1 - LEAST


def test_a_spike_is_told_by_its_return() -> None:
    """The bar is marked, and the way back is not."""
    assert found(moved(bars(), "1.05", 40)) == [(Code.SPIKE, Severity.HIGH, 40)]


def test_a_level_shift_is_told_by_its_staying() -> None:
    """A true crash is worth a note only."""
    assert found(moved(bars(), "0.95", *range(40, 60))) == [(Code.LEVEL_SHIFT, Severity.LOW, 40)]


def test_the_last_bar_waits_for_the_next() -> None:
    """A spike and a level shift look the same at first."""
    assert found(moved(bars(), "1.05", 59)) == [(Code.UNUSUAL, Severity.MEDIUM, 59)]


@pytest.mark.parametrize("factor", ["10", "100", "0.1", "0.01"])
def test_a_factor_is_always_found(factor: str) -> None:
    """Also in the first bars, which have no other verdict; where it stays, it may be a split."""
    assert found(moved(bars(), factor, 3)) == [(Code.FACTOR, Severity.HIGH, 3)]
    assert found(moved(bars(), factor, *range(40, 60))) == [(Code.FACTOR, Severity.MEDIUM, 40)]
    assert found(moved(bars(), factor, 59)) == [(Code.FACTOR, Severity.HIGH, 59)]


def test_one_tick_of_a_stable_coin_is_no_outlier() -> None:
    """All returns are 0 or one tick: one tick more is as usual, thirty are not; wrong they are from 50 bp on."""

    def told(spike: str) -> list[tuple[Code, Severity, int | None]]:
        closes = [Decimal("1.0001")] * 30 + [*map(Decimal, ("1.0002", "1.0001", spike, "1.0001"))]
        return found([Bar(START_S + 60 * i, c, c, c, c, Decimal(1)) for i, c in enumerate(closes)])

    assert told("1.0002") == []
    assert told("1.0031") == [(Code.SPIKE, Severity.MEDIUM, 32)]
    assert told("1.0055") == [(Code.SPIKE, Severity.HIGH, 32)]


def test_a_gap_lets_prices_move_further() -> None:
    """Over a hundred minutes ten times as far is as usual."""
    held = bars()
    later = [replace(b, start_s=b.start_s + 6000) for b in moved(held, "1.015", *range(40, 60))[40:]]
    assert found([*held[:40], *later]) == []
    assert found(moved(held, "1.015", *range(40, 60))) == [(Code.LEVEL_SHIFT, Severity.LOW, 40)]


def test_larger_moves_are_the_usual_ones_before_long() -> None:
    """Where a market wakes up for good, its moves are doubted for a while and not for ever."""
    calm, woken = walk(QUIET, Random(5)), walk(replace(QUIET, sigma=0.1, bars=80), Random(6))
    scale = calm[-1].close / woken[0].open
    after = [replace(b, start_s=b.start_s + 3600) for b in moved(woken, str(scale), *range(80))]
    doubted = [index for _, _, index in found([*calm, *after]) if index is not None]
    assert doubted and max(doubted) < 60 + 40


def test_a_wild_wick_is_found_by_its_range() -> None:
    """The close is as usual, the high is not."""
    held = bars()
    held[40] = replace(held[40], high=held[40].high * 10)
    findings = unusual_bars(series_of(held)).findings
    assert (Code.RANGE, Severity.HIGH, 40) in [(one.code, one.severity, one.index) for one in findings]


def test_a_wild_volume_is_a_note() -> None:
    """True days have them."""
    held = bars()
    held[40] = replace(held[40], volume=Decimal("1e12"))
    findings = [one for one in unusual_bars(series_of(held)).findings if one.code is Code.TRADED]
    assert [(one.severity, one.index) for one in findings] == [(Severity.LOW, 40)]


@pytest.mark.parametrize("wrong", ["0", "-1", "NaN", "Infinity"])
def test_impossible_prices_are_passed_over(wrong: str) -> None:
    """Others have found them; what follows is judged by what went before."""
    held = bars()
    held[40] = replace(held[40], close=Decimal(wrong))
    assert found(held) == []
    report = validate(series_of(held), (START_S + 3600) * 1000)
    assert [one.index for one in report.findings if one.severity is Severity.HIGH] == [40]


def test_prices_beyond_floats_are_judged() -> None:
    """No number is too large or too small for its logarithm."""
    for scale in ("1e400", "1e-400"):
        assert found(moved(moved(bars(), "1.05", 40), scale, *range(60))) == [(Code.SPIKE, Severity.HIGH, 40)]


def test_the_default_is_better_than_z_scores() -> None:
    """On one seed: of prices that were spoilt it finds more, and is wrong less often than z-scores of returns."""
    tallies = measured(7, each=6)
    price, by_return, default = (tallies[name] for name in ("z-score of prices", "z-score of returns", "default"))
    assert default.f1 > by_return.f1 > price.f1
    assert default.recall > by_return.recall > price.recall
    assert default.precision > by_return.precision
    assert default.f1 > 0.95


def test_hard_faults_are_all_found() -> None:
    """Swapped, doubled and missing bars are a matter of rules, not of likelihood."""
    for found_of_kind, planted_of_kind, wrong in hard_faults(7, each=6).values():
        assert (found_of_kind, wrong) == (planted_of_kind, 0)
