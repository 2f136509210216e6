"""Several providers, one answer: each gets its turn, and the next one is asked too where one is silent."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from streamer.data.ask import Found
from streamer.data.story import Fate, Story
from streamer.errors import StreamerError


async def race(
    names: Sequence[str],
    find: Callable[[str, Callable[[], None]], Awaitable[Found[Any]]],
    will_do: Callable[[Found[Any]], str | None],
    *,
    patience_s: float,
    deadline: float,
    story: Story,
    spare: list[Found[Any]],
) -> Found[Any] | None:
    """Return the first answer that will do, in the order of `names` as far as they are quick; None where none does.

    Who fails is followed by the next at once; who is silent for `patience_s` is left asking, and the next is asked
    beside. A long answer that comes in part by part is no silence, for half of the time there is. Whoever is still
    asking when it is over is cancelled: a flight that others wait for goes on for them.

    Args:
        find: Asks one; what it is given beside the name it calls whenever a part of a long answer has come.
        will_do: Returns why an answer will not do, None where it will.
        deadline: Monotonic time at which it is over.
        story: Is told what became of each.
        spare: Gets the answers that would not do, for when nothing better comes.
    """
    queue, running = deque(names), dict[asyncio.Task[Found[Any]], tuple[str, float]]()
    next_at = time.monotonic()
    half_time = (next_at + deadline) / 2

    def heard() -> None:
        nonlocal next_at
        next_at = max(next_at, min(half_time, time.monotonic() + patience_s))

    try:
        while queue or running:
            now = time.monotonic()
            if now >= deadline:
                break
            if queue and (now >= next_at or not running):
                name = queue.popleft()
                running[asyncio.ensure_future(find(name, heard))] = name, now
                next_at = now + patience_s
            until = min(deadline, next_at) if queue else deadline
            done, _ = await asyncio.wait(
                running, timeout=max(0.0, until - now), return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda task: running[task][1]):
                name, began = running.pop(task)
                found = _outcome(task, name, time.monotonic() - began, story)
                if found is None:
                    next_at = time.monotonic()
                elif (why := will_do(found)) is not None:
                    story.tell(name, Fate.PASSED_OVER, why, time.monotonic() - began)
                    spare.append(found)
                    next_at = time.monotonic()
                else:
                    story.tell(name, Fate.SERVED, found.tier.value, time.monotonic() - began)
                    return found
        return None
    finally:
        for task, (name, began) in running.items():
            why = "another was as quick" if task.done() else "no answer in time"
            story.tell(name, Fate.LATE, why, time.monotonic() - began)
            task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)


def _outcome(task: asyncio.Task[Found[Any]], name: str, took_s: float, story: Story) -> Found[Any] | None:
    try:
        return task.result()
    except StreamerError as exc:
        story.failed(name, exc, took_s)
        return None
