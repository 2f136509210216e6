"""Laws of the plan by which REST is asked, under anything that can happen."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamer.ingest.refresh import RefreshPlan, RefreshRules

RULES = RefreshRules()
SPACING_S = RULES.spacing_s

rules = st.builds(
    RefreshRules,
    spacing_s=st.sampled_from([0.5, 5.0, 60.0]),
    period_s=st.sampled_from([5.0, 600.0]),
    first_s=st.sampled_from([0.0, 3.0]),
    slowest_s=st.sampled_from([0.1, 60.0, 1800.0]),
)
outcomes = st.one_of(
    st.just("settled"),
    st.just("unsettled"),
    st.just("failed"),
    st.just("put off"),
    st.sampled_from([0.0, 7.0, 599.0, 1e9]),
)
# Between two questions: how long after the last thing someone wants an answer, if anyone; and how long it takes.
rounds = st.lists(
    st.tuples(st.lists(st.floats(0, 2000), max_size=3), outcomes, st.floats(0, 12), st.floats(0, 1)), max_size=40
)

Round = tuple[list[float], "str | float", float, float]


def asked(plan: RefreshPlan, given: list[Round]) -> list[tuple[float, str | float, float]]:
    """Play it through: each question's time, its outcome and when that came."""
    now, made = 0.0, []
    for wants, outcome, took_s, late_s in given:
        for after_s in sorted(wants):
            if now + after_s < plan.due_at:
                plan.want()
        at = max(now, plan.due_at) + late_s
        plan.asked(at)
        now = at + took_s
        made.append((at, outcome, now))
        if outcome in ("settled", "unsettled"):
            plan.answered(now, settled=outcome == "settled")
        elif outcome == "put off":
            plan.put_off(now, retry_after_s=took_s)
        else:
            plan.failed(now, retry_after_s=outcome if isinstance(outcome, float) else None)
    return made


@given(rules, rounds, st.floats(0, 1))
def test_two_questions_are_never_closer_than_the_spacing(of: RefreshRules, given: list[Round], luck: float) -> None:
    """Whoever wants one, whatever the answers are, and however lucky the jitter."""
    times = [at for at, _, _ in asked(RefreshPlan(of, 0.0, jitter=lambda most: luck * most), given)]
    assert all(later - at >= of.spacing_s * 0.999_999 for at, later in pairwise(times))


@given(rounds)
def test_what_the_server_asks_for_is_never_undercut(given: list[Round]) -> None:
    """Up to ten minutes, though everybody wants an answer."""
    made = asked(RefreshPlan(RULES, 0.0), given)
    for (_, outcome, answered_at), (later, _, _) in pairwise(made):
        if isinstance(outcome, float):
            assert later - answered_at >= min(outcome, 600.0) - 1e-6


@given(rounds)
def test_a_question_is_always_due_before_the_period_is_over(given: list[Round]) -> None:
    """Nothing makes it forget to ask: after any answer, or the ten minutes a server may ask for, comes another."""
    plan = RefreshPlan(RULES, 0.0)
    made = asked(plan, given)
    last = made[-1][2] if made else 0.0
    assert plan.due_at <= last + max(RULES.period_s, RULES.slowest_s + SPACING_S)


@given(st.floats(0, 12), st.integers(1, 30))
def test_a_quiet_account_asks_six_times_an_hour(took_s: float, hours: int) -> None:
    """Once the first answer has settled everything, in any hour of the day."""
    times = [at for at, _, _ in asked(RefreshPlan(RULES, 0.0), [([], "settled", took_s, 0.0)] * (hours * 7))]
    assert times[0] == RULES.first_s
    assert all(sum(start <= at < start + 3600 for at in times) <= 6 for start in times[1:])


@given(st.integers(20, 200), st.floats(0, 1))
def test_a_server_that_fails_is_asked_once_a_minute(number: int, luck: float) -> None:
    """However many want an answer meanwhile: after the first few, no more than sixty questions an hour."""
    plan = RefreshPlan(RULES, 0.0, jitter=lambda most: luck * most)
    times = [at for at, _, _ in asked(plan, [([0.1, 1.0], "failed", 0.1, 0.0)] * number)]
    assert all(later - at >= 60 - 1e-6 for at, later in pairwise(times[5:]))  # but for the rounding of sums
