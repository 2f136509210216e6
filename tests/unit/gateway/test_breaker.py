"""When the service counts as down, who may find out, and what is believed."""

from __future__ import annotations

import pytest

from streamer.gateway.breaker import Breaker
from streamer.gateway.limits import LEASE_MS, Outcome

T = 1_700_000_000_000
OK, FAILED = Outcome.OK, Outcome.FAILED


def broken(now_ms: int = T) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    for _ in range(5):
        breaker.record(FAILED, breaker.granted(now_ms), now_ms)
    assert breaker.refused_until(now_ms) == now_ms + 5_000
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    """Four do not, and a success between starts the count over."""
    breaker = Breaker()
    for outcome in [FAILED] * 4 + [OK] + [FAILED] * 4:
        assert not breaker.record(outcome, breaker.granted(T), T)
    assert breaker.record(FAILED, breaker.granted(T), T)


def test_half_of_ten_calls_open_it() -> None:
    """Every second one fails: with the tenth call it is half of ten, of fewer no share is told."""
    breaker = Breaker()
    opened = [breaker.record([OK, FAILED][n % 2], breaker.granted(T), T + n * 2_900) for n in range(10)]
    assert opened == [False] * 9 + [True]


def test_failures_of_long_ago_do_not_count() -> None:
    """Half fail, but never ten calls within thirty seconds."""
    breaker = Breaker()
    for n in range(100):
        assert not breaker.record([OK, FAILED][n % 2], breaker.granted(T), T + n * 4_000)


@pytest.mark.parametrize("outcome", [OK, Outcome.REFUSED, Outcome.LIMITED])
def test_an_answer_closes_it(outcome: Outcome) -> None:
    """The probe got through: a 4xx and a 429 also mean that the service answers."""
    breaker = broken()
    generation = breaker.granted(T + 5_000)
    assert breaker.refused_until(T + 5_000) == T + 5_000 + LEASE_MS
    breaker.record(outcome, generation, T + 5_100)
    assert breaker.refused_until(T + 5_100) == 0
    assert not breaker.is_open


def test_a_failed_probe_opens_it_for_twice_as_long() -> None:
    """5, 10, 20 s and so on up to two minutes."""
    breaker, now, waits = broken(), T, []
    for _ in range(7):
        waits.append((breaker.refused_until(now) - now) // 1000)
        now = breaker.refused_until(now)
        assert breaker.record(FAILED, breaker.granted(now), now)
    assert waits == [5, 10, 20, 40, 80, 120, 120]


def test_an_abandoned_probe_is_released_without_a_verdict() -> None:
    """The next caller may probe at once, the breaker stays as it is."""
    breaker = broken()
    generation = breaker.granted(T + 5_000)
    breaker.record(Outcome.ABANDONED, generation, T + 5_001)
    assert breaker.is_open
    assert breaker.refused_until(T + 5_001) == 0


def test_a_dead_probe_runs_out_and_its_late_result_is_ignored() -> None:
    """After its lease another one may go; what the first reports then is history."""
    breaker = broken()
    first = breaker.granted(T + 5_000)
    assert breaker.refused_until(T + 5_000 + LEASE_MS - 1)
    assert not breaker.refused_until(T + 5_000 + LEASE_MS)
    second = breaker.granted(T + 5_000 + LEASE_MS)
    assert not breaker.record(FAILED, first, T + 18_000)
    assert breaker.refused_until(T + 18_000) == T + 5_000 + 2 * LEASE_MS
    breaker.record(OK, second, T + 18_001)
    assert not breaker.is_open


def test_results_of_an_earlier_state_are_ignored() -> None:
    """A success of a call from before the opening does not close it, a failure does not prolong it."""
    breaker = Breaker()
    old = breaker.granted(T)
    for _ in range(5):
        breaker.record(FAILED, breaker.granted(T), T)
    breaker.record(OK, old, T + 1)
    assert breaker.is_open
    breaker.record(FAILED, old, T + 1)
    assert breaker.refused_until(T + 1) == T + 5_000


def test_a_minute_of_peace_forgives() -> None:
    """It opens for 5 s again after a minute closed, for 10 s before that."""
    for closed_ms, expected_ms in [(59_999, 10_000), (60_000, 5_000)]:
        breaker = broken()
        breaker.record(OK, breaker.granted(T + 5_000), T + 5_000)
        now = T + 5_000 + closed_ms
        for _ in range(5):
            breaker.record(FAILED, breaker.granted(now), now)
        assert breaker.refused_until(now) - now == expected_ms
