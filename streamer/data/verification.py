"""Several providers asked for the same price, and held against one another: who is to be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from streamer.data.ask import Ask, Found, stand_in
from streamer.data.story import Fate, Story
from streamer.errors import StreamerError, UnknownSymbol
from streamer.quality.agreement import Agreement, Comparison, compare

MOST: int = 5
"""So many providers are asked at most: each one costs a call of its budget."""
FRESH_S = 30.0
"""Copies that are older are not compared: prices move."""

Find = Callable[[str, Ask], Awaitable[Found[Any]]]


@dataclass(frozen=True, slots=True)
class Verification:
    """What asking around has come to.

    Attributes:
        found: What each provider says, by name; what is stale is left out.
        comparison: What comparable ones of them come to.
    """

    found: dict[str, Found[Any]]
    comparison: Comparison
    story: Story = field(default_factory=Story)

    def of(self, provider: str) -> Agreement | None:
        """Return the group that a provider's price was compared in."""
        for agreement in self.comparison.agreements:
            if provider in agreement.deviation_bp:
                return agreement
        return None

    def is_believed(self, provider: str) -> bool:
        """Whether a provider is not known to be the one who is wrong."""
        agreement = self.of(provider)
        return agreement is None or not agreement.is_clear or provider not in agreement.dissenters


async def ask_around(
    names: Sequence[str],
    ask: Ask,
    find: Find,
    will_do: Callable[[Found[Any]], str | None],
    *,
    timeout_s: float,
    tolerance_bp: Decimal,
    story: Story,
    spare: list[Found[Any]],
) -> Verification:
    """Ask providers all at once, and compare what has come within the time.

    Who has not the very symbol is asked for what stands in for it, which is compared with its like only.

    Args:
        will_do: Returns why an answer cannot be compared, None where it can: what is stale proves nobody wrong.
        spare: Gets the answers that cannot, for when nothing better comes.
    """

    async def one(name: str) -> Found[Any]:
        try:
            return await find(name, ask)
        except UnknownSymbol:
            near = stand_in(ask.symbol)
            if near is None:
                raise
            return await find(name, ask.of(near))

    tasks = {name: asyncio.ensure_future(one(name)) for name in names[:MOST]}
    for name in names[MOST:]:
        story.tell(name, Fate.LEFT_OUT, f"{MOST} others were asked")
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=timeout_s)
    finally:
        late = [task for task in tasks.values() if not task.done()]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    found: dict[str, Found[Any]] = {}
    for name, task in tasks.items():
        if task.cancelled():
            story.tell(name, Fate.LATE, "no answer in time")
            continue
        try:
            one_found = task.result()
        except StreamerError as exc:
            story.failed(name, exc, 0.0)
            continue
        if (why := will_do(one_found)) is not None:
            story.tell(name, Fate.PASSED_OVER, why)
            spare.append(one_found)
        else:
            found[name] = one_found
    prices = {name: one.value for name, one in found.items()}
    return Verification(found, compare(prices, tolerance_bp=tolerance_bp), story)
