"""Buckets: every value is in exactly one, and the sum is theirs."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.ingest.histogram import SECONDS, Flushes, Histogram


@pytest.mark.parametrize(
    ("value", "bucket"), [(-1.0, 0), (0.0, 0), (1.0, 0), (1.0001, 1), (2.0, 1), (5.0, 2), (5.1, 3), (1e300, 3)]
)
def test_a_value_is_in_the_first_bucket_that_holds_it(value: float, bucket: int) -> None:
    """A bound belongs to its bucket, as Prometheus has it; what is beyond all bounds is in the last."""
    histogram = Histogram((1, 2, 5))
    histogram.observe(value)
    counts = histogram.as_json()["counts"]
    assert counts == [int(index == bucket) for index in range(4)]


@given(st.lists(st.floats(0, 100)))
def test_counts_and_sum_are_those_of_the_values(values: list[float]) -> None:
    """Whatever comes in whichever order: below each bound there are as many as there are."""
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    told = histogram.as_json()
    assert told["le"] == list(SECONDS)
    for index, bound in enumerate(SECONDS):
        assert sum(told["counts"][: index + 1]) == sum(value <= bound for value in values)
    assert sum(told["counts"]) == len(values)
    assert told["sum"] == pytest.approx(sum(values), abs=1e-6)


def test_what_is_told_does_not_change_afterwards() -> None:
    """A report is a picture of a moment."""
    histogram = Histogram((1,))
    told = histogram.as_json()
    histogram.observe(0.5)
    assert told == {"le": [1], "counts": [0, 0], "sum": 0.0}


def test_a_flush_is_one_value_of_each_kind() -> None:
    """Its size, its time and how long its oldest change waited; the exchange's stamp only where one is new."""
    flushes = Flushes()
    flushes.note(3, took_s=0.002, waited_s=0.004, behind_s=0.02)
    flushes.note(500, took_s=0.2, waited_s=-7.0, behind_s=None)
    told = orjson.loads(orjson.dumps(flushes.as_json()))
    assert {name: sum(one["counts"]) for name, one in told.items()} == {
        "records": 2,
        "took_s": 2,
        "waited_s": 2,
        "behind_s": 1,
    }
    assert {name: one["sum"] for name, one in told.items()} == {
        "records": 503,
        "took_s": 0.202,
        "waited_s": 0.004,  # the wall clock was set back meanwhile: nothing waits less than not at all
        "behind_s": 0.02,
    }
