"""Budgets by plan and settings, their names, and the pieces of ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.data.ask import Ask, Found
from streamer.data.provider import joined, scope_of, windows_of
from streamer.data.settings import Budget
from streamer.gateway.limits import Window
from streamer.model import Tier
from streamer.providers.adapter import Access, Limit
from streamer.providers.binance import Binance
from streamer.providers.shape import Bar, Instrument, Interval, Series
from streamer.providers.symbols import parse_symbol
from tests.unit.data.rig import bar

PLAN = (Limit(10, 1.0), Limit(1000, 60.0), Limit(25, 86_400.0))


def budget(**words: float) -> Budget:
    """Settings of a test, nothing of the tester's own."""
    return Budget(_env_file=None, **words)  # type: ignore[call-arg,arg-type]


@pytest.mark.parametrize(
    ("words", "windows"),
    [
        ({}, [(10, 1.0), (1000, 60.0), (25, 86_400.0)]),
        ({"rps": 4}, [(4, 1.0), (25, 86_400.0)]),
        ({"rps": 2.5}, [(3, 1.0), (5, 2.0), (25, 86_400.0)]),
        ({"rps": 1.1}, [(2, 1.0), (11, 10.0), (25, 86_400.0)]),
        ({"rps": 3.3333}, [(4, 1.0), (33, 10.0), (25, 86_400.0)]),
        ({"rps": 50}, [(50, 1.0), (25, 86_400.0)]),
        ({"rps": 0.5}, [(1, 2.0), (25, 86_400.0)]),
        ({"daily": 500}, [(10, 1.0), (1000, 60.0), (500, 86_400.0)]),
        ({"rps": 1, "daily": 3}, [(1, 1.0), (3, 86_400.0)]),
    ],
)
def test_settings_replace_the_plan(words: dict[str, float], windows: list[tuple[int, float]]) -> None:
    """A rate replaces what is shorter than a day, a daily number the day; a fraction is one of whole calls."""
    assert windows_of(PLAN, budget(**words)) == tuple(Window(*window) for window in windows)


@given(rps=st.floats(0.001, 10_000))
def test_a_rate_is_never_exceeded(rps: float) -> None:
    """Nor is much of it lost: below one call a second nothing, above less than a tenth of a call a second."""
    *of_a_second, longest = windows_of((), budget(rps=rps))
    rate = longest.limit / longest.length_s
    assert rps - 0.1 < rate <= rps * (1 + 1e-12)
    assert longest.length_s <= 10 or rps < 1
    assert all(window.length_s == 1 and window.limit < rps + 1 for window in of_a_second)


def test_nobody_is_hammered() -> None:
    """Where neither plan nor settings name a short window there is one all the same."""
    assert windows_of((), budget()) == (Window(10, 1.0),)
    assert windows_of((), budget(rps=0.083)) == (Window(1, 1 / 0.083),)


def test_whose_budget_it_is() -> None:
    """Another key or address is another budget; the key cannot be read from its name."""
    plain, keyed, other, elsewhere = (
        scope_of(Binance(access))
        for access in (
            Access(),
            Access(key="0123456789abcdef"),
            Access(key="fedcba9876543210"),
            Access("http://127.0.0.1:1", "0123456789abcdef"),
        )
    )
    assert plain == "binance"
    assert len({plain, keyed, other, elsewhere}) == 4
    assert "0123456789" not in keyed


def part(starts: list[int], *, tier: Tier = Tier.CACHE, age_s: float = 1.0, note: str = "") -> Found[Series]:
    """A piece of a range."""
    bars: list[Bar] = [bar(start_s) for start_s in starts]
    symbol = parse_symbol("BTC-USDT")
    series = Series(symbol, Interval.H1, Instrument.PERPETUAL, tuple(bars), True, note)
    return Found(series, "binance", tier, age_s, "binance")


def test_pieces_become_one() -> None:
    """In order, as old as the oldest; called for where one of them was."""
    found = joined(
        [part([0, 3600]), part([7200], age_s=9.0, note="late"), part([10800], tier=Tier.REST, age_s=0.0)]
    )
    assert isinstance(found.value, Series)
    assert [one.start_s for one in found.value.bars] == [0, 3600, 7200, 10800]
    assert (found.tier, found.age_s, found.value.note) == (Tier.REST, 9.0, "late")
    assert joined([part([0]), part([3600], tier=Tier.STALE)]).tier is Tier.STALE
    assert joined([part([0]), part([3600])]).tier is Tier.CACHE


def test_a_question_is_its_own_key() -> None:
    """Two questions for the same are equal; for another symbol it is another one."""
    ask = Ask(parse_symbol("BTC-USD"), Interval.H1, 5)
    assert ask.of(parse_symbol("BTC-USDT")).of(ask.symbol) == ask
