"""Several asked at once: nobody is left running, and nobody is left out in silence."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from streamer.data.ask import Ask, Found
from streamer.data.story import Fate, Story
from streamer.data.verification import MOST, ask_around
from tests.unit.data.rig import BTC, price


async def asked(names: list[str], story: Story, *, delay_s: float = 0.0, timeout_s: float = 5.0) -> dict[str, Any]:
    """Ask them; each answers after so many seconds."""

    async def find(name: str, ask: Ask) -> Found[Any]:
        await asyncio.sleep(delay_s)
        return price(name)

    checked = await ask_around(
        names,
        Ask(BTC),
        find,
        lambda found: None,
        timeout_s=timeout_s,
        tolerance_bp=Decimal(50),
        story=story,
        spare=[],
    )
    return dict(checked.found)


async def test_who_is_one_too_many_is_told() -> None:
    """Each one asked is a call of its budget, so the rest are left out, and the story says so."""
    story = Story()
    names = [f"p{i}" for i in range(MOST + 2)]
    assert list(await asked(names, story)) == names[:MOST]
    assert [(step.provider, step.fate) for step in story.steps] == [(name, Fate.LEFT_OUT) for name in names[MOST:]]


async def test_who_is_late_is_told_and_stopped() -> None:
    """What has not come in time is not waited for."""
    story = Story()
    assert await asked(["a", "b"], story, delay_s=30, timeout_s=0.01) == {}
    assert [step.fate for step in story.steps] == [Fate.LATE, Fate.LATE]
    assert len(asyncio.all_tasks()) == 1


async def test_nobody_runs_on_when_the_asker_leaves() -> None:
    """Cancelled while it waits, it takes all questions with it."""
    asking = asyncio.create_task(asked(["a", "b", "c"], Story(), delay_s=30))
    while len(asyncio.all_tasks()) < 5:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.all_tasks() == {asyncio.current_task()}
