"""Flags flipped under a running fleet: when each bot's traffic has moved over, and back."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fleet_report import Read
from fleet_world import World
from rich.table import Table

FLIPS = (("off",), ("on",), ("bots", "bot-1,bot-2"), ("reset",))
NAMED = frozenset({"bot-1", "bot-2"})
WITHIN_S = 5.0


@dataclass
class Flip:
    """A change of flags, from when the command was given until the next one was, or the end.

    Attributes:
        rest_per_s: REST requests a second as the exchange counts them, when things had settled.
        ways: How many requests went each way meanwhile, as Redis has it.
    """

    name: str
    at: float
    ended_at: float
    rest_per_s: float
    ways: dict[str, int]


async def flip_all(world: World, hold_s: float) -> list[Flip]:
    """Flip the flags one after the other by the command, each for so long."""
    flips = []
    before = await _ways(world)
    for words in FLIPS:
        at = time.monotonic()
        await world.command("migrate", *words)
        await asyncio.sleep(hold_s)
        ended_at = time.monotonic()
        settled = [one for one in world.samples if at + WITHIN_S < one[0] <= ended_at]
        rest_per_s = (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0])
        after = await _ways(world)
        ways = {way: number - before[way] for way, number in after.items()}
        flips.append(Flip(" ".join(words), at, ended_at, rest_per_s, ways))
        before = after
    return flips


async def _ways(world: World) -> Counter[str]:
    found = json.loads(await world.command("migrate", "show", "--json"))["requests_last_hour"]
    return Counter({way: sum(kinds.values()) for way, kinds in found.items()})


def is_right(flip: str) -> Callable[[Read], bool]:
    """Return whether a read went the way that the flags say."""
    covered = {"off": lambda _: False, "bots bot-1,bot-2": NAMED.__contains__}.get(flip, lambda _: True)

    def right(read: Read) -> bool:
        return (read.tier not in ("exchange", "429")) == covered(read.who)

    return right


def flip_table(flips: Sequence[Flip], reads: Sequence[Read]) -> tuple[Table, bool]:
    """Return when the traffic had moved after each flip, judged by every price that any bot has read."""
    table = Table(title="Flags flipped while the fleet runs", header_style="bold")
    for name in ("streamer migrate", "moved within", "REST calls/s", "requests by way", "errors", "429"):
        table.add_column(name, overflow="fold")
    met = True
    for flip, following in pairwise([*flips, None]):
        assert flip is not None
        ends = following.at if following else flip.ended_at
        mine = [one for one in reads if flip.at <= one.at < ends]
        right = is_right(flip.name)
        wrong = [one.at - flip.at for one in mine if one.kind == "fast" and not right(one) and one.tier != "error"]
        moved_s = max(wrong, default=0.0)
        errors = sum(one.tier == "error" for one in mine)
        met &= moved_s <= WITHIN_S and not errors and bool(mine)
        ways = ", ".join(f"{number:,} {way}" for way, number in sorted(flip.ways.items()))
        limited = sum(one.tier == "429" for one in mine)
        table.add_row(flip.name, f"{moved_s:.2f} s", f"{flip.rest_per_s:,.1f}", ways, str(errors), f"{limited:,}")
    return table, met
