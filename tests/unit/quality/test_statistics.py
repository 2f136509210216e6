"""Scores: how far is far, and when nobody can tell."""

from __future__ import annotations

import math

import pytest

from streamer.quality.statistics import LEAST, hampel_scores, modified_z_scores, z_scores


@pytest.mark.parametrize("n", range(2, 11))
def test_z_scores_of_few_values_say_nothing(n: int) -> None:
    """Up to ten values, none can be three deviations away however wild: unknown, and not fine."""
    assert z_scores([1.0] * (n - 1) + [1e9]) == [None] * n


def test_the_eleventh_value_can_be_told() -> None:
    """The largest possible score is (n - 1) / sqrt(n), and a lone wild value has it."""
    scores = z_scores([1.0] * 10 + [1e9])
    assert scores[-1] == pytest.approx(10 / math.sqrt(11))
    assert z_scores([1.0] * 10 + [1e9], threshold=3.1) == [None] * 11


def test_equal_values_are_no_outliers() -> None:
    """Without any deviation there is none to be divided by."""
    assert z_scores([2.0] * 12) == [0.0] * 12
    assert modified_z_scores([2.0] * 12) == [0.0] * 12


def test_outliers_do_not_hide_each_other_from_the_median() -> None:
    """Three wild values of fifteen widen the mean's band, and not the median's."""
    values = [float(i % 5) for i in range(12)] + [50.0, 51.0, 52.0]
    plain, robust = z_scores(values), modified_z_scores(values)
    assert all(score is not None and score < 3 for score in plain)
    assert all(score is not None and score > 8 for score in robust[-3:])


def test_modified_z_is_the_formula() -> None:
    """0.6745 (x - median) / MAD."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 30.0]
    scores = modified_z_scores(values)
    assert scores[-1] == pytest.approx(0.6745 * (30 - 6) / 3, rel=1e-4)
    assert modified_z_scores(values[: LEAST - 1]) == [None] * (LEAST - 1)


def test_where_most_values_are_equal_a_small_move_is_none() -> None:
    """MAD is 0 then: the mean distance and the floor stand in, so one tick is no outlier and forty are."""
    ticks = [0.0] * 20 + [1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 40.0]
    scores = hampel_scores(ticks, floors=[1.0] * len(ticks))
    assert scores[20] == 1.0
    assert scores[-1] == 40.0
    assert hampel_scores([0.0] * 12 + [1.0], floors=[0.0] * 13)[-1] == math.inf


def test_what_comes_first_is_unknown() -> None:
    """Only values before are looked at: the first ones have none."""
    scores = hampel_scores([float(i % 3) for i in range(15)], floors=[0.1] * 15)
    assert scores[:LEAST] == [None] * LEAST
    assert None not in scores[LEAST:]


def test_the_future_changes_no_score() -> None:
    """A trailing window: live values can be judged by it."""
    values = [math.sin(i * 1.7) for i in range(60)]
    whole = hampel_scores(values, floors=[0.0] * 60)
    assert hampel_scores(values[:40], floors=[0.0] * 40) == whole[:40]


def test_what_is_no_number_has_no_score_and_spoils_none() -> None:
    """Passed over, also as history."""
    values = [float(i % 3) for i in range(15)]
    with_hole = [*values[:12], math.nan, *values[12:]]
    scores = hampel_scores(with_hole, floors=[0.1] * 16)
    assert scores[12] is None
    assert scores[:12] + scores[13:] == hampel_scores(values, floors=[0.1] * 15)
