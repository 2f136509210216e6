"""When REST is asked again."""

from __future__ import annotations

import pytest

from streamer.ingest.refresh import RefreshPlan, RefreshRules

RULES = RefreshRules(spacing_s=5, period_s=600, first_s=3, slowest_s=60)


def plan() -> RefreshPlan:
    return RefreshPlan(RULES, 0.0, jitter=lambda value: value)


def ask(asked: RefreshPlan, at: float, *, settled: bool) -> None:
    asked.asked(at)
    asked.answered(at, settled=settled)


def test_the_first_question_waits_a_moment_unless_it_is_wanted() -> None:
    """Nobody has to want it."""
    first = plan()
    assert first.due_at == 3
    first.want()
    assert first.due_at == 0


def test_all_who_want_an_answer_share_it() -> None:
    """Two questions are never closer than the spacing."""
    shared = plan()
    ask(shared, 0, settled=True)
    shared.want()
    shared.want()
    assert shared.due_at == 5
    ask(shared, 5, settled=True)
    assert shared.due_at == 605


def test_an_answer_that_settles_nothing_is_followed_ever_more_seldom() -> None:
    """Up to the slowest."""
    vain = plan()
    waits = []
    for _ in range(6):
        at = vain.due_at
        ask(vain, at, settled=False)
        waits.append(vain.due_at - at)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_news_ends_the_waiting() -> None:
    """However often answers settled nothing, news is asked about after the ordinary spacing."""
    busy = plan()
    for _ in range(6):
        ask(busy, busy.due_at, settled=False)
    asked_at = busy.due_at - 60
    busy.want()
    assert busy.due_at == asked_at + 5
    ask(busy, busy.due_at, settled=False)
    assert busy.due_at == asked_at + 10


@pytest.mark.parametrize("retry_after_s", [None, 30.0])
def test_news_does_not_end_the_waiting_for_a_server_that_fails(retry_after_s: float | None) -> None:
    """It is asked ever more seldom, and never before it wants to be."""
    failing = plan()
    waits = []
    for _ in range(3):
        at = failing.due_at
        failing.asked(at)
        failing.failed(at, retry_after_s=retry_after_s)
        failing.want()
        waits.append(failing.due_at - at)
    assert waits == ([7.5, 12.5, 22.5] if retry_after_s is None else [30, 30, 30])


def test_what_was_not_sent_is_put_off_and_not_ever_more_seldom() -> None:
    """By what is asked for, else by the spacing; and it stays wanted."""
    waiting = plan()
    for _ in range(5):
        at = waiting.due_at
        waiting.asked(at)
        waiting.put_off(at + 0.5, retry_after_s=30)
        assert waiting.due_at == at + 30.5
    at = waiting.due_at
    waiting.asked(at)
    waiting.put_off(at + 100)
    waiting.want()
    assert waiting.due_at == at + 105


@pytest.mark.parametrize("retry_after_s", [0.0, 1e9])
def test_what_is_put_off_is_neither_closer_than_the_spacing_nor_forgotten(retry_after_s: float) -> None:
    """Whatever is asked for."""
    waiting = plan()
    waiting.asked(3)
    waiting.put_off(3, retry_after_s=retry_after_s)
    assert waiting.due_at == (8 if not retry_after_s else 603)
