"""How the simulated providers count: exactly, in windows that slide, and in days of the calendar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.simulator.providers.limits import BAN, Ledger, Quota
from tests.unit.simulator.providers.asking import NOW_S

MINUTE = Quota("per_minute", 3, "minute")


def test_a_minute_slides() -> None:
    """The fourth request within any sixty seconds is refused, and passes when the first is sixty seconds old."""
    ledger = Ledger([MINUTE])
    assert [ledger.ask("a", 1, NOW_S + at_s) is None for at_s in (0, 10, 50, 59.9)] == [True, True, True, False]
    refused = ledger.ask("a", 1, NOW_S + 59.95)
    assert refused is not None and refused.name == "per_minute" and refused.until_s == NOW_S + 60
    assert ledger.ask("a", 1, NOW_S + 60) is None
    assert ledger.ask("a", 1, NOW_S + 60) is not None


def test_keys_count_apart() -> None:
    """What one key uses is not used of another."""
    ledger = Ledger([Quota("per_second", 1, "second")])
    assert ledger.ask("a", 1, NOW_S) is None
    assert ledger.ask("b", 1, NOW_S) is None
    assert ledger.ask("a", 1, NOW_S + 0.999) is not None
    assert ledger.ask("a", 1, NOW_S + 1) is None


def test_costs_count_where_they_are_the_measure() -> None:
    """Weight fills a quota by its amount; it is told when enough of it is free again."""
    ledger = Ledger([Quota("weight", 10, "minute", counts_cost=True)])
    assert ledger.ask("a", 4, NOW_S) is None
    assert ledger.ask("a", 5, NOW_S + 20) is None
    refused = ledger.ask("a", 6, NOW_S + 30)
    assert refused is not None and refused.until_s == NOW_S + 80
    assert ledger.ask("a", 1, NOW_S + 31) is None
    assert ledger.used("a", NOW_S + 31) == {"weight": 10}
    assert ledger.used("a", NOW_S + 61) == {"weight": 6}


def test_days_end_at_midnight() -> None:
    """A calendar day in UTC; a failed request may be taken back."""
    ledger = Ledger([Quota("per_day", 2, "day")])
    assert ledger.ask("a", 1, NOW_S) is None
    ledger.take_back("a", 1, NOW_S)
    assert [ledger.ask("a", 1, NOW_S + n) is None for n in range(3)] == [True, True, False]
    tomorrow_s = NOW_S // 86_400 * 86_400 + 86_400
    refused = ledger.ask("a", 1, tomorrow_s - 1)
    assert refused is not None and refused.until_s == tomorrow_s
    assert ledger.ask("a", 1, tomorrow_s) is None


def test_going_on_leads_to_a_ban_that_grows() -> None:
    """After so many refused requests within a minute, twice as long each time."""
    ledger = Ledger([Quota("per_minute", 0, "minute")], ban_after=2, ban_s=100)
    names = [verdict.name for n in range(4) if (verdict := ledger.ask("a", 1, NOW_S + n))]
    assert names == ["per_minute", "per_minute", BAN, BAN]
    later_s = NOW_S + 2 + 100
    verdicts = [ledger.ask("a", 1, later_s + n) for n in range(3)]
    assert verdicts[-1] is not None and verdicts[-1].name == BAN and verdicts[-1].until_s == later_s + 2 + 200


def test_limits_can_be_changed_and_forgotten() -> None:
    """None is no limit; an unknown name is an error; forgetting ends bans, too."""
    ledger = Ledger([MINUTE])
    ledger.change({"per_minute": None})
    assert all(ledger.ask("a", 1, NOW_S) is None for _ in range(100))
    ledger.change({"per_minute": 100})
    assert ledger.ask("a", 1, NOW_S) is not None
    ledger.forget()
    assert ledger.ask("a", 1, NOW_S) is None
    with pytest.raises(KeyError):
        ledger.change({"per_hour": 1})


@given(st.lists(st.floats(0, 20), min_size=1, max_size=80), st.integers(1, 10))
def test_no_window_ever_holds_more(gaps_s: list[float], most: int) -> None:
    """Whatever the order and the pace, no sixty seconds hold more than the quota, nor is one refused early."""
    ledger, now_s = Ledger([Quota("per_minute", most, "minute")]), 0.0
    passed: list[float] = []
    for gap_s in gaps_s:
        now_s += gap_s
        within = [at_s for at_s in passed if at_s > now_s - 60]
        is_allowed = ledger.ask("a", 1, now_s) is None
        assert is_allowed == (len(within) < most)
        if is_allowed:
            passed.append(now_s)
