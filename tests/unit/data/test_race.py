"""Whose answer it is, who is asked beside, and that nobody is left running. On a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamer.data.ask import Found
from streamer.data.race import race
from streamer.data.story import Fate, Story
from streamer.errors import RestUnavailable
from tests.unit.data.clock import run
from tests.unit.data.rig import price

Plan = dict[str, tuple[float, Any]]
"""What each does: after so many seconds an answer, or an error to raise."""


def raced(
    plan: Plan,
    *,
    patience_s: float = 1.0,
    timeout_s: float = 8.0,
    bad: frozenset[str] = frozenset(),
    parts: dict[str, list[float]] | None = None,
) -> tuple[Found[Any] | None, Story, list[tuple[str, float]], list[Found[Any]], float]:
    """Race; return the answer, the story, who was asked when, what was put aside, and how long it took.

    Args:
        parts: Of whose answers parts come, each so many seconds after the one before; the rest after the delay.
    """

    async def play() -> tuple[Found[Any] | None, Story, list[tuple[str, float]], list[Found[Any]], float]:
        loop = asyncio.get_running_loop()
        began, asked, story = loop.time(), list[tuple[str, float]](), Story()
        spare: list[Found[Any]] = []

        async def find(name: str, heard: Callable[[], None]) -> Found[Any]:
            asked.append((name, round(loop.time() - began, 3)))
            delay_s, outcome = plan[name]
            for part_s in (parts or {}).get(name, []):
                await asyncio.sleep(part_s)
                heard()
            await asyncio.sleep(delay_s)
            if isinstance(outcome, Exception):
                raise outcome
            return price(name)

        found = await race(
            list(plan),
            find,
            lambda found: "not good" if found.provider in bad else None,
            patience_s=patience_s,
            deadline=began + timeout_s,
            story=story,
            spare=spare,
        )
        assert len(asyncio.all_tasks()) == 1, "somebody still runs"
        return found, story, asked, spare, round(loop.time() - began, 3)

    return run(play)


BROKEN = RestUnavailable("x", "HTTP 500")


def test_the_first_is_enough() -> None:
    """Whoever answers within the patience is the only one asked."""
    found, story, asked, _, took_s = raced({"a": (0.9, None), "b": (0, None)})
    assert found is not None
    assert (found.provider, asked, took_s) == ("a", [("a", 0.0)], 0.9)
    assert [(step.provider, step.fate) for step in story.steps] == [("a", Fate.SERVED)]


def test_after_a_failure_the_next_at_once() -> None:
    """Patience is for silence; an error passes the turn on."""
    found, story, asked, _, took_s = raced({"a": (0.1, BROKEN), "b": (0.1, BROKEN), "c": (0.1, None)})
    assert found is not None
    assert (found.provider, asked, took_s) == ("c", [("a", 0.0), ("b", 0.1), ("c", 0.2)], 0.3)
    assert [step.fate for step in story.steps] == [Fate.FAILED, Fate.FAILED, Fate.SERVED]


def test_beside_the_silent() -> None:
    """Who is silent for the patience stays asked, and wins if quicker than the next."""
    found, story, asked, _, took_s = raced({"a": (1.5, None), "b": (3, None)})
    assert found is not None
    assert (found.provider, asked, took_s) == ("a", [("a", 0.0), ("b", 1.0)], 1.5)
    assert [(step.provider, step.fate) for step in story.steps] == [("a", Fate.SERVED), ("b", Fate.LATE)]
    found, story, *_ = raced({"a": (5, None), "b": (0.2, None)})
    assert found is not None
    assert found.provider == "b"
    assert (story.steps[-1].provider, story.steps[-1].fate) == ("a", Fate.LATE)


def test_what_comes_part_by_part_is_no_silence() -> None:
    """Patience begins anew with each part: nobody is asked beside who sends steadily."""
    found, _, asked, _, took_s = raced({"a": (0.9, None), "b": (0, None)}, parts={"a": [0.9] * 5}, timeout_s=11)
    assert found is not None
    assert (found.provider, asked, took_s) == ("a", [("a", 0.0)], 5.4)


def test_who_sends_steadily_but_too_slowly() -> None:
    """At half of the time the next is asked beside: else nobody would have answered when it is over."""
    found, _, asked, _, _ = raced({"a": (0.9, None), "b": (0.5, None)}, parts={"a": [0.9] * 50}, timeout_s=8)
    assert found is not None
    assert (found.provider, asked) == ("b", [("a", 0.0), ("b", 4.0)])


def test_who_falls_silent_between_parts() -> None:
    """From the last part on it is waited for as long as from the beginning; then the next is asked."""
    found, story, asked, _, took_s = raced({"a": (6, None), "b": (0.5, None)}, parts={"a": [0.5, 0.9]})
    assert found is not None
    assert (found.provider, asked, took_s) == ("b", [("a", 0.0), ("b", 2.4)], 2.9)
    assert [(step.provider, step.fate) for step in story.steps] == [("b", Fate.SERVED), ("a", Fate.LATE)]


def test_what_will_not_do() -> None:
    """It is put aside, and the next asked at once."""
    found, story, asked, spare, _ = raced({"a": (0.1, None), "b": (0.1, None)}, bad=frozenset("a"))
    assert found is not None
    assert (found.provider, asked, [one.provider for one in spare]) == ("b", [("a", 0.0), ("b", 0.1)], ["a"])
    assert story.steps[0].fate is Fate.PASSED_OVER


def test_when_it_is_over() -> None:
    """At the deadline nobody is waited for; where all fail it is over at once; where there is nobody too."""
    found, story, _, _, took_s = raced({"a": (60, None), "b": (60, None)}, timeout_s=3)
    assert (found, took_s) == (None, 3.0)
    assert {step.fate for step in story.steps} == {Fate.LATE}
    assert raced({"a": (0.1, BROKEN)})[0] is None
    assert raced({})[0] is None


def test_at_the_same_time() -> None:
    """Of two that answer in one moment the first in order is served, and the other not called late."""
    found, story, *_ = raced({"a": (1.0, None), "b": (0.0, None)}, patience_s=1.0)
    assert found is not None
    assert found.provider == "a"
    assert all(step.why != "no answer in time" for step in story.steps)


def test_a_bug_is_no_failure() -> None:
    """An error that is not ours to expect reaches the caller; the others are ended."""
    with pytest.raises(ZeroDivisionError):
        raced({"a": (5, None), "b": (0.1, ZeroDivisionError())})


def test_a_caller_who_leaves() -> None:
    """Cancelled, it takes all whom it had asked along."""

    async def play() -> None:
        async def find(name: str, heard: Callable[[], None]) -> Found[Any]:
            await asyncio.sleep(60)
            return price(name)

        story = Story()
        racing = asyncio.create_task(
            race(["a", "b"], find, lambda found: None, patience_s=1, deadline=100, story=story, spare=[])
        )
        await asyncio.sleep(2)
        racing.cancel()
        await asyncio.gather(racing, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1

    run(play)
