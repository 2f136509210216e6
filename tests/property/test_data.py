"""Laws of asking several providers, and of the budgets they are held to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamer.data.ask import Found
from streamer.data.provider import windows_of
from streamer.data.race import race
from streamer.data.story import Fate, Story
from streamer.errors import RestUnavailable
from streamer.providers.adapter import Limit
from tests.unit.data.clock import run
from tests.unit.data.rig import price
from tests.unit.data.test_provider import budget

OUTCOMES = st.sampled_from(["good", "bad", "broken", "hangs"])
PLANS = st.lists(st.tuples(st.integers(0, 40), OUTCOMES), max_size=6)
"""For each provider after how many tenths of a second it answers, and what."""


@given(plan=PLANS, patience=st.integers(1, 20), timeout=st.integers(1, 60))
def test_a_race(plan: list[tuple[int, str]], patience: int, timeout: int) -> None:
    """Served is the first good answer to come, in order among those of one moment; nobody runs on.

    Half-way each has a part of its answer.
    """
    names = [str(at) for at in range(len(plan))]

    async def play() -> None:
        loop = asyncio.get_running_loop()
        story, spare, ended, asked = Story(), list[Found[Any]](), dict[str, float](), list[str]()
        began = loop.time()

        async def find(name: str, heard: Callable[[], None]) -> Found[Any]:
            asked.append(name)
            tenths, outcome = plan[int(name)]
            await asyncio.sleep(tenths / 20)
            heard()
            await asyncio.sleep(1000 if outcome == "hangs" else tenths / 20)
            ended[name] = loop.time()
            if outcome == "broken":
                raise RestUnavailable("x", "broken")
            return price(name)

        found = await race(
            names,
            find,
            lambda found: None if plan[int(found.provider)][1] == "good" else "bad",
            patience_s=patience / 10,
            deadline=began + timeout / 10,
            story=story,
            spare=spare,
        )
        assert len(asyncio.all_tasks()) == 1
        assert loop.time() - began <= timeout / 10 + 0.01
        assert asked == names[: len(asked)], "asked in order"
        assert sorted(step.provider for step in story.steps) == sorted(asked), "each one's turn is told once"
        good = [name for name in ended if plan[int(name)][1] == "good"]
        if found is None:
            assert not [name for name in good if ended[name] - began < timeout / 10 - 0.01]
        else:
            first = min(ended[name] for name in good)
            assert ended[found.provider] == first
            same = [name for name in good if ended[name] == first]
            assert found.provider == min(same, key=int)
            assert sum(step.fate is Fate.SERVED for step in story.steps) == 1
        assert {one.provider for one in spare} <= {name for name in asked if plan[int(name)][1] == "bad"}

    run(play)


@given(
    rps=st.none() | st.floats(0.001, 1000, allow_nan=False),
    daily=st.none() | st.integers(1, 10**6),
    limits=st.lists(
        st.builds(Limit, st.integers(1, 1000), st.sampled_from([1.0, 12.05, 60.0, 86_400.0])), max_size=3
    ),
)
def test_windows_never_allow_more_than_was_set(rps: float | None, daily: int | None, limits: list[Limit]) -> None:
    """A window allows no more than the rate, and none a whole call more; there always is one shorter than a day."""
    words: dict[str, Any] = {"rps": rps, "daily": daily}
    windows = windows_of(limits, budget(**{name: value for name, value in words.items() if value is not None}))
    short = [window for window in windows if window.length_s < 86_400]
    assert short
    if rps is not None:
        # Within one second a fraction is a whole call.
        assert all(window.limit < rps * window.length_s + 1 for window in short)
        assert any(window.limit <= max(1.0, rps * window.length_s) * 1.000001 for window in short)
        assert all(window.length_s >= 1 for window in short)
    if daily is not None:
        assert [window.limit for window in windows if window.length_s >= 86_400] == [daily]
