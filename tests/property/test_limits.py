"""Laws of the limits and the breaker: whatever happens, no window is exceeded and nothing stays shut for ever."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import limits.storage.memory as limits_storage
import limits.strategies as limits_strategies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.limits import RateLimitItemPerSecond

from streamer.gateway.breaker import FIRST_OPEN_MS, LONGEST_OPEN_MS, Breaker
from streamer.gateway.decision import Ask, Decision, Grant, Place, Wait
from streamer.gateway.limits import LEASE_MS, LONGEST_BLOCK_MS, STRAY_MS, Outcome, Spent, Window
from streamer.model import Priority
from streamer.providers.base import Budget

START_MS = 1_700_000_000_000
M = Budget.MARKET

windows_of = st.sampled_from(
    [
        (Window(10, 60.0), Window(10, 1.0)),
        (Window(30, 1.0),),
        (Window(1, 1.0), Window(3, 10.0)),
        (Window(3, 0.25), Window(5, 30.0)),
    ]
)
steps_ms = st.integers(0, 1500) | st.sampled_from([250, 251, 999, 1000, 1001, 12_000, 30_000, 60_001])


def most_within(times: list[int], length_ms: int) -> int:
    """Return how many of sorted times the fullest window holds, both its ends counted."""
    return max((bisect_left(times, at + length_ms + 1) - i for i, at in enumerate(times)), default=0)


@given(
    windows=windows_of,
    schedule=st.lists(
        st.tuples(
            steps_ms,
            st.integers(1, 12),  # calls that are asked for at once
            st.integers(0, LEASE_MS),  # how long they take
            st.floats(0, 1),  # when within that the upstream counts them
            st.sampled_from([*Outcome, None]),  # None: the process dies
        ),
        max_size=40,
    ),
)
def test_no_window_of_the_upstream_is_ever_exceeded(
    windows: tuple[Window, ...], schedule: list[tuple[int, int, int, float, Outcome | None]]
) -> None:
    """However long calls take and whenever within that the upstream counts them; the dead count too."""
    decision, now_ms = Decision({M: windows}, START_MS), START_MS
    seen: list[int] = []
    ends: list[tuple[int, Grant, Outcome]] = []
    for step_ms, wanted, takes_ms, part, outcome in schedule:
        now_ms += step_ms
        ends.sort(key=lambda end: end[0])
        while ends and ends[0][0] <= now_ms:
            at, grant, how = ends.pop(0)
            decision.settle(grant, how, at)
        for _ in range(wanted):
            reply = decision.admit(Ask(M, "one", f"t{len(seen)}:{len(ends)}", Place(0, Priority.TRADING)), now_ms)
            if not isinstance(reply, Grant):
                break
            if outcome is Outcome.UNUSED:
                decision.settle(reply, outcome, now_ms)
                break
            stray_ms = STRAY_MS if outcome is Outcome.ABANDONED else 0
            seen.append(now_ms + int((takes_ms + stray_ms) * part))
            if outcome is not None:
                ends.append((now_ms + takes_ms, reply, outcome))
    seen.sort()
    for window in windows:
        assert most_within(seen, window.length_ms) <= window.limit


@given(
    windows=windows_of,
    share=st.integers(2, 40),
    steps=st.lists(st.tuples(st.integers(0, 9), steps_ms), max_size=120),
)
def test_shares_together_are_no_more_than_the_whole(
    windows: tuple[Window, ...], share: int, steps: list[tuple[int, int]]
) -> None:
    """Each process alone keeps to a share that, added up, is the budget: in count or, below one, in rate."""
    assert all(
        share * limit * window.length_ms <= window.limit * length_ms
        for window in windows
        for limit, length_ms in [window.scaled(1, share)]
    )
    decision, now_ms, times = Decision({M: windows}, START_MS, share), START_MS, list[int]()
    for number, (_, step_ms) in enumerate(steps):
        now_ms += step_ms
        reply = decision.admit(Ask(M, "one", f"t{number}", Place(0, Priority.TRADING)), now_ms)
        if isinstance(reply, Grant):
            times.append(now_ms)
            decision.settle(reply, Outcome.OK, now_ms)
    for window in windows:
        limit, length_ms = window.scaled(1, share)
        assert most_within(times, length_ms) <= limit


@given(windows=windows_of, before=st.lists(steps_ms, max_size=80), after=st.lists(steps_ms, max_size=80))
def test_lost_state_costs_no_more_than_half_a_limit(
    windows: tuple[Window, ...], before: list[int], after: list[int]
) -> None:
    """Emptied at any moment, no window sees more than one and a half limits."""
    now_ms, times = START_MS - 100_000, list[int]()
    for steps in (before, after):
        decision = Decision({M: windows}, now_ms)
        for number, step_ms in enumerate(steps):
            now_ms += step_ms
            reply = decision.admit(Ask(M, "one", f"t{number}", Place(0, Priority.TRADING)), now_ms)
            if isinstance(reply, Grant):
                times.append(now_ms)
                decision.settle(reply, Outcome.OK, now_ms)
    for window in windows:
        assert most_within(times, window.length_ms) <= window.limit + max(1, window.limit // 2)


@dataclass
class FakeTime:
    """Stands in for the `time` module of the library that judges us."""

    now: float = START_MS / 1000

    def time(self) -> float:
        """Return the time of our choosing."""
        return self.now


@given(window=st.sampled_from([Window(3, 1.0), Window(10, 60.0), Window(1, 5.0)]), steps=st.lists(steps_ms))
def test_an_outside_limiter_decides_the_same(window: Window, steps: list[int]) -> None:
    """With calls that take no time we are the moving window of the `limits` library, decision by decision."""
    clock, now_ms = FakeTime(), START_MS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits_storage, "time", clock)
        storage = limits_storage.MemoryStorage()
        judge = limits_strategies.MovingWindowRateLimiter(storage)
        item = RateLimitItemPerSecond(window.limit, int(window.length_s))
        spent = Spent((window,), born_ms=0)
        try:
            for number, step_ms in enumerate(steps):
                now_ms += step_ms
                clock.now = now_ms / 1000
                free = spent.free_at(now_ms)[0] <= now_ms
                if free:
                    spent.take(f"t{number}", now_ms)
                    spent.settle(f"t{number}", now_ms, Outcome.OK)
                assert free == judge.hit(item)
        finally:
            storage.timer.cancel()


@given(windows=windows_of, steps=st.lists(steps_ms, max_size=60), ahead=st.integers(0, 50))
def test_what_is_told_is_true(windows: tuple[Window, ...], steps: list[int], ahead: int) -> None:
    """Asked again at the told time a call goes, not a millisecond sooner; and that time never lies in the past."""
    decision, now_ms = Decision({M: windows}, START_MS), START_MS
    for number, step_ms in enumerate(steps):
        now_ms += step_ms
        reply = decision.admit(Ask(M, "one", f"t{number}", Place(0, Priority.TRADING)), now_ms)
        if isinstance(reply, Grant) and number % 3:
            decision.settle(reply, Outcome.OK, now_ms)
        if isinstance(reply, Wait):
            assert reply.soonest_ms >= 0
            assert reply.sleep_ms >= 1
            at = decision.spent[M].free_at(now_ms)[0]
            assert decision.spent[M].free_at(at)[0] <= at
            assert decision.spent[M].free_at(at - 1)[0] > at - 1
    assert decision.spent[M].free_at(now_ms, ahead)[1] <= decision.spent[M].free_at(now_ms, ahead + 1)[1]


@given(
    waits=st.lists(
        st.tuples(st.integers(0, 20_000), st.sampled_from(Priority)),
        min_size=1,
        max_size=25,
        unique_by=lambda w: w[0],
    )
)
def test_nobody_starves_and_rank_decides(waits: list[tuple[int, Priority]]) -> None:
    """Processes that keep asking are all served, in the order of time plus handicap."""
    decision, now_ms = Decision({M: (Window(1, 1.0),)}, START_MS), START_MS + 20_000
    waiting = {f"p{number}": wait for number, wait in enumerate(waits)}
    ranks = {
        name: Place(now_ms - START_MS - came, priority).rank(now_ms) for name, (came, priority) in waiting.items()
    }
    served: list[str] = []
    blocker = decision.admit(Ask(M, "x", "x", Place(0, Priority.TRADING)), now_ms)
    assert isinstance(blocker, Grant)
    for _ in range(2000):
        for name, (came, priority) in list(waiting.items()):
            place = Place(now_ms - START_MS - came, priority)
            reply = decision.admit(Ask(M, name, f"{name}:{now_ms}", place, 1), now_ms)
            if isinstance(reply, Grant):
                served.append(name)
                del waiting[name]
                decision.settle(reply, Outcome.OK, now_ms)
        if not waiting:
            break
        now_ms += 200
    assert not waiting
    assert [ranks[name] for name in served] == sorted(ranks.values())


# -- the breaker ---------------------------------------------------------------------------------------------------


@dataclass
class History:
    """A breaker and the calls that are out, as something that can happen to a service sees them."""

    breaker: Breaker = field(default_factory=Breaker)
    now_ms: int = START_MS
    out: list[tuple[int, int, bool]] = field(default_factory=list)  # granted, generation, is the probe

    def admit(self) -> bool:
        """Ask for a call; a probe may only go when no living probe is out."""
        if self.breaker.refused_until(self.now_ms):
            return False
        is_probe = self.breaker.is_open
        if is_probe:
            living = [granted for granted, _, probe in self.out if probe and self.now_ms < granted + LEASE_MS]
            assert not living, "two probes"
        self.out.append((self.now_ms, self.breaker.granted(self.now_ms), is_probe))
        return True

    def end(self, which: int, outcome: Outcome) -> None:
        """One of the calls ends."""
        if self.out:
            _, generation, _ = self.out.pop(which % len(self.out))
            self.breaker.record(outcome, generation, self.now_ms)


happenings = st.one_of(
    st.just(("admit",)),
    st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from([Outcome.FAILED] * 6 + list(Outcome))),
    st.tuples(st.just("step"), st.sampled_from([1, 100, 4_999, 5_000, 11_999, 12_000, 31_000, 61_000, 125_000])),
    st.just(("die",)),
)


@settings(max_examples=400)
@given(st.lists(happenings, max_size=120))
def test_the_breaker_never_wedges(schedule: list[tuple[Any, ...]]) -> None:
    """Never two probes at once; and once the fault is over, calls go through within the longest wait."""
    history = History()
    for kind, *words in schedule:
        if kind == "admit":
            history.admit()
        elif kind == "end":
            history.end(*words)
        elif kind == "step":
            history.now_ms += words[0]
        else:
            history.out.clear()  # the processes die: their probe's lease still stands
            history.now_ms += LEASE_MS
    history.now_ms += max(LONGEST_OPEN_MS, LEASE_MS)
    assert history.admit()
    _, generation, _ = history.out[-1]
    history.breaker.record(Outcome.OK, generation, history.now_ms)
    assert not history.breaker.is_open
    assert all(history.admit() for _ in range(20))


@given(st.lists(st.tuples(st.integers(0, 200_000), st.booleans()), max_size=60))
def test_open_times_grow_and_are_capped(steps: list[tuple[int, bool]]) -> None:
    """However often it opens, it is for 5 s at least and two minutes at most."""
    breaker, now_ms = Breaker(), START_MS
    for step_ms, ok in steps:
        now_ms += step_ms
        if not breaker.refused_until(now_ms):
            generation = breaker.granted(now_ms)
            opened = breaker.record(Outcome.OK if ok else Outcome.FAILED, generation, now_ms)
            if opened:
                assert FIRST_OPEN_MS <= breaker.refused_until(now_ms) - now_ms <= LONGEST_OPEN_MS


@given(
    st.lists(
        st.tuples(steps_ms, st.integers(0, 20_000), st.none() | st.integers(0, 10**9)), min_size=1, max_size=60
    )
)
def test_penalties_end(strikes: list[tuple[int, int, int | None]]) -> None:
    """Whatever 429s come and whatever they name, the rate is never below an eighth and whole again in time."""
    spent, now_ms = Spent((Window(8, 1.0),), 0), START_MS
    for step_ms, age_ms, retry_ms in strikes:
        now_ms += step_ms
        spent.penalty.strike(now_ms, now_ms - age_ms, retry_ms)
        assert now_ms < spent.penalty.blocked_until(now_ms) <= now_ms + LONGEST_BLOCK_MS
        assert 125 <= spent.penalty.factor_at(now_ms) <= 1000
    now_ms += LONGEST_BLOCK_MS + 9 * 30_000
    assert spent.penalty.factor_at(now_ms) == 1000
    assert spent.free_at(now_ms)[0] <= now_ms
