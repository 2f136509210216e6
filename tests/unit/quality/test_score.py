"""The score: what each event does to it, and the examples of the docs."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from streamer.quality.findings import Code, Finding, Report, Severity
from streamer.quality.score import HALF_LIFE_S, WEIGHTS, Observed, agreement_of, combined, freshness, score

NOW = 1_795_000_000.0
DOCS = (Path(__file__).parents[3] / "docs" / "quality.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^\| [^|]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", DOCS, re.M
)


@pytest.mark.parametrize("row", EXAMPLES)
def test_the_examples_of_the_docs_are_right(row: tuple[str, ...]) -> None:
    """Five parts, in the order of the weights, and what comes of them."""
    parts = dict(zip(WEIGHTS, map(float, row[:5]), strict=True))
    assert combined(parts).value == pytest.approx(float(row[5]), abs=0.051)


def test_the_docs_have_examples_and_the_weights() -> None:
    """Or the test above would hold nothing to account."""
    assert len(EXAMPLES) >= 5
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    for name, weight in WEIGHTS.items():
        assert f"| {name} | {weight:.2f} |" in DOCS


def test_what_is_not_known_has_no_score() -> None:
    """Neither good nor bad."""
    assert score(Observed(), due_s=60).value is None


def test_what_is_known_weighs_more_where_other_parts_are_not() -> None:
    """A single part is the whole score."""
    assert combined({"availability": 0.5}).value == pytest.approx(50)
    assert score(Observed().answered(NOW), due_s=60).value == pytest.approx(100)


def test_answers_and_failures_move_availability() -> None:
    """In a row each counts for a tenth; after a half-life, for half."""
    observed = Observed().answered(NOW)
    assert observed.availability == 1.0
    assert observed.failed(NOW).availability == pytest.approx(0.9)
    assert observed.failed(NOW + HALF_LIFE_S).availability == pytest.approx(0.5)
    assert observed.failed(NOW).failed(NOW).answered(NOW).availability == pytest.approx(0.9 * 0.9 * 0.9 + 0.1)


def test_values_are_as_old_as_they_say() -> None:
    """By the mean of how old they were when they came; none is from the future, and silence changes nothing."""
    observed = Observed().answered(NOW, as_of_s=NOW - 30)
    assert observed.lag_s == 30
    assert observed.answered(NOW, as_of_s=NOW - 90).lag_s == pytest.approx(36)
    assert observed.answered(NOW + HALF_LIFE_S, as_of_s=NOW + 1e6).lag_s == pytest.approx(15)
    assert observed.answered(NOW + 1e6).lag_s == 30


@pytest.mark.parametrize(("age_s", "part"), [(0, 1), (60, 1), (120, 0.5), (180, 0.25), (1e12, 0)])
def test_freshness_halves(age_s: float, part: float) -> None:
    """With each time that a value may be old."""
    assert freshness(age_s, 60) == pytest.approx(part)


@pytest.mark.parametrize(("bp", "part"), [(0, 1), (50, 1), (-50, 1), (125, 0.5), (-200, 0), (1e9, 0)])
def test_agreement_falls_in_a_line(bp: float, part: float) -> None:
    """From the tolerance to four times that."""
    assert agreement_of(bp, 50) == pytest.approx(part)
    assert Observed().compared(bp, NOW).agreement == pytest.approx(part)


def test_reports_move_completeness_and_outliers() -> None:
    """Notes spoil nothing, one grave finding in twenty bars spoils all."""
    note, grave = (Finding(Code.GAP, severity, "", 0, 0) for severity in (Severity.LOW, Severity.HIGH))
    clean = Observed().checked(Report((note,), 20, 0.8), NOW)
    assert (clean.completeness, clean.outliers) == (0.8, 1.0)
    spoilt = clean.checked(Report((grave,), 20, 1.0), NOW)
    assert spoilt.completeness == pytest.approx(0.82)
    assert spoilt.outliers == pytest.approx(0.9)


def test_what_was_observed_is_plain_json() -> None:
    """So that all processes can share it."""
    observed = Observed().answered(NOW).failed(NOW + 1).compared(-80.0, NOW).checked(Report((), 5, 0.9), NOW)
    assert Observed(**json.loads(json.dumps(asdict(observed)))) == observed


def test_foreign_numbers_do_no_harm() -> None:
    """Anyone may have written them."""
    wild = replace(Observed().answered(NOW), availability=1e9, agreement=-5.0)
    value = score(wild, due_s=60).value
    assert value is not None and 0 <= value <= 100
