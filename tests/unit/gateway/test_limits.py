"""What a budget allows, call by call, with the clock in our hand."""

from __future__ import annotations

import pytest

from streamer.gateway.limits import LEASE_MS, RETURN_MS, STRAY_MS, Outcome, Penalty, Spent, Window

T = 1_700_000_000_000


def spent(*windows: Window, born_ms: int = 0, share: int = 1) -> Spent:
    """A budget that has been known for long, unless said otherwise."""
    return Spent(windows, born_ms, share)


def is_free(budget: Spent, now_ms: int) -> bool:
    """Whether a call may go."""
    return budget.free_at(now_ms)[0] <= now_ms


def call(budget: Spent, token: str, now_ms: int, takes_ms: int = 0) -> None:
    """Make a call."""
    assert is_free(budget, now_ms)
    budget.take(token, now_ms)
    budget.settle(token, now_ms + takes_ms, Outcome.OK)


def test_a_call_counts_from_its_end() -> None:
    """A call that ends at 800 keeps its place for a window after that, both ends counted."""
    budget = spent(Window(1, 1.0))
    call(budget, "a", T, takes_ms=800)
    assert budget.free_at(T + 900) == (T + 1801, T + 1801)
    assert not is_free(budget, T + 1800)
    assert is_free(budget, T + 1801)


def test_a_call_in_flight_counts_as_late_as_it_can_arrive() -> None:
    """Until it is settled it might arrive at the end of its lease; at best it ends now."""
    budget = spent(Window(1, 1.0))
    budget.take("a", T)
    assert budget.free_at(T + 500) == (T + LEASE_MS + 1001, T + 1501)


def test_an_abandoned_call_may_still_arrive() -> None:
    """Its thread may still be connecting when its caller hangs up: it counts as if it arrived seconds later."""
    budget = spent(Window(1, 1.0))
    budget.take("a", T)
    budget.settle("a", T + 100, Outcome.ABANDONED)
    assert budget.free_at(T + 100)[0] == T + 100 + STRAY_MS + 1001


def test_a_call_that_was_never_sent_frees_its_place() -> None:
    """Given back, it is as if it had not been asked for."""
    budget = spent(Window(1, 60.0))
    budget.take("a", T)
    budget.settle("a", T + 5, Outcome.UNUSED)
    budget.settle("never known", T + 5, Outcome.UNUSED)
    assert is_free(budget, T + 5)


def test_a_call_that_is_not_known_any_more_was_sent() -> None:
    """Its end comes after the state was lost: it is entered, for the upstream has counted it."""
    budget = spent(Window(1, 1.0))
    budget.settle("from before", T, Outcome.OK)
    assert not is_free(budget, T + 1000)


def test_all_windows_hold_at_once() -> None:
    """Ten a minute and two a second: neither hides the other."""
    budget = spent(Window(10, 60.0), Window(2, 1.0))
    for number in range(5):
        for token in "ab":
            call(budget, f"{token}{number}", T + 1001 * number)
        assert not is_free(budget, T + 1001 * number)
    assert budget.free_at(T + 20_000)[0] == T + 60_001
    assert budget.used(T + 20_000) == [(10, 10), (0, 2)]


def test_new_knowledge_begins_with_half() -> None:
    """Five of ten go at once; all ten when a window has passed since the last process can have come back."""
    budget = spent(Window(10, 60.0), born_ms=T)
    for number in range(5):
        call(budget, str(number), T)
    assert not is_free(budget, T + 60_000)
    for number in range(5, 10):
        call(budget, str(number), T + 60_001)
    grown_ms = T + 60_000 + RETURN_MS
    assert not is_free(budget, grown_ms - 1)
    for number in range(10, 15):
        call(budget, str(number), grown_ms)
    assert not is_free(budget, grown_ms + 1)


def test_the_next_place_is_told_for_each_who_waits() -> None:
    """With others ahead it is the place after theirs, and after all places another window later."""
    budget = spent(Window(2, 1.0))
    call(budget, "a", T)
    call(budget, "b", T + 300)
    assert [budget.free_at(T + 400, ahead)[0] - T for ahead in range(4)] == [1001, 1301, 2002, 2302]


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1000, 1000, (10, 60_000)), (1, 4, (2, 60_000)), (125, 1000, (1, 60_000)), (1, 40, (1, 240_000))],
)
def test_a_part_of_a_rate(part: int, whole: int, expected: tuple[int, int]) -> None:
    """A smaller limit in the same time, and below one call the time grows instead."""
    assert Window(10, 60.0).scaled(part, whole) == expected


def test_what_is_old_is_forgotten() -> None:
    """Memory holds what the longest window at the lowest rate needs, no more."""
    budget = spent(Window(30, 1.0))
    for number in range(2000):
        call(budget, str(number), T + 100 * number)
    assert len(budget._at) < 50


# -- 429 -----------------------------------------------------------------------------------------------------------


def test_a_429_names_the_time() -> None:
    """Retry-After is kept, within a second and fifteen minutes."""
    for named_ms, kept_ms in [(0, 1000), (7_000, 7_000), (10**9, 900_000)]:
        penalty = Penalty()
        penalty.strike(T, T - 5, named_ms)
        assert penalty.blocked_until(T) == T + kept_ms


def test_without_a_time_the_block_doubles() -> None:
    """1, 2, 4 s and so on up to a minute, while the rate has not come back."""
    penalty, now, blocks = Penalty(), T, []
    for _ in range(8):
        penalty.strike(now, now - 1, None)
        blocks.append((penalty.blocked_until(now) - now) // 1000)
        now = penalty.blocked_ms + 2
    assert blocks == [1, 2, 4, 8, 16, 32, 60, 60]
    assert penalty.factor_at(now) == 125
    now += 9 * 30_000
    assert penalty.factor_at(now) == 1000
    penalty.strike(now, now - 1, None)
    assert penalty.blocked_until(now) - now == 1000


def test_one_storm_halves_once() -> None:
    """Ten calls that were out together are refused together: one mistake, not ten."""
    penalty = Penalty()
    for late in range(10):
        penalty.strike(T + late, T - 100, None)
    assert penalty.factor_at(T) == 500
    assert penalty.blocked_until(T + 9) == T + 9 + 1000
    penalty.strike(T + 2000, T + 1500, None)
    assert penalty.factor_at(T + 2000) == 250


def test_the_rate_comes_back_in_steps() -> None:
    """A tenth each half minute, beginning where the block ends."""
    penalty = Penalty()
    penalty.strike(T, T - 1, 10_000)
    assert [penalty.factor_at(T + 10_000 + s * 1000) for s in (0, 29, 30, 60, 150, 999)] == [
        500, 500, 600, 700, 1000, 1000
    ]  # fmt: skip


def test_a_block_and_a_factor_bind_the_budget() -> None:
    """Nothing goes before the end of the block, and then half as much."""
    budget = spent(Window(4, 1.0))
    budget.penalty.strike(T, T - 1, 2_000)
    assert budget.free_at(T) == (T + 2000, T + 2000)
    call(budget, "a", T + 2000)
    call(budget, "b", T + 2000)
    assert not is_free(budget, T + 3000)
    assert budget.used(T + 2000) == [(2, 2)]
