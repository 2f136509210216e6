"""A fleet of trading bots, polling REST and then reading the stream: the same code, one import apart.

25 bots, 2 dashboards and a Celery worker, spread over 4 processes and the worker's, run against the simulated
exchange with its rate limits on: first with the official SDK, then with `streamer.compat` beside start-stream.
Every bot is evaluated on market data every 5 minutes and on its price every 500 ms; dashboards poll every 5 s;
now and then a trade is validated, and a few orders an hour are filled.

Time is compressed: the fleet's cadences are divided by a factor, and the limits of the exchange and the budgets
of streamer multiplied by it, so that demand is to limits as it is in real time. Bounds on staleness are not
scaled; nor are streamer's own clocks, such as the question for balances every 10 minutes: what it asks by them
is in a compressed hour less often than in a real one, and is reckoned up. A machine can bear less REST than
stream, so the old way has a factor of its own, and its figures are brought up to the hour.

    python scripts/fleet.py                              some eight minutes
    python scripts/fleet.py --flip                       flags flipped while the fleet runs
    python scripts/fleet.py --factor 1 --minutes 10 --old-factor 1 --old-minutes 10      in real time

Exit status: 0 where every goal is met, 1 otherwise, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet_bots import BOTS, CROWD, PROCESSES
from fleet_flip import flip_all, flip_table
from fleet_report import Outcome, as_json, difference, lines_of, picture, table_of
from fleet_world import PRIVATE_PER_S, PUBLIC_PER_S, UNSTREAMED, World, line_of, tell, world
from rich.console import Console
from rich.table import Table
from rig import RigError, run_to_end

MOST_CALLS = 12
ORDERS_PER_HOUR = 3
_FLUSH_S = 1.0
_HOUR_S = 3600.0
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


async def live(made: World, hours: float) -> Outcome:
    """Let the fleet live for so long of its time, and say what came of it."""
    real_s = hours * _HOUR_S / made.factor
    startup = (await made.rest())["routes"]
    began = time.monotonic()
    before = await made.rest()
    compared_before = await compared(made) if made.way == "new" else 0
    made.tell_bots()
    orders = max(1, round(ORDERS_PER_HOUR * hours))
    for number in range(orders):
        await asyncio.sleep(max(0.0, began + real_s * (number + 0.5) / orders - time.monotonic()))
        await trade(made)
    await asyncio.sleep(max(0.0, began + real_s - time.monotonic()))
    after, ended = await made.rest(), time.monotonic()
    comparisons = await compared(made) - compared_before if made.way == "new" else 0
    await asyncio.sleep(_FLUSH_S)
    reads, rounds = await asyncio.to_thread(lines_of, made.folder)
    first = next(sample for sample in made.samples if sample[0] >= began)
    return Outcome(
        way=made.way,
        factor=made.factor,
        hours=hours,
        real_s=ended - began,
        startup=startup,
        steady=difference(after["routes"], before["routes"]),
        limited=after["statuses"].get("429", 0) - before["statuses"].get("429", 0),
        reads=[one for one in reads if began <= one.at < ended],
        rounds=[one for one in rounds if began <= one.at < ended],
        truth=made.truth,
        progress=[
            ((at - began) * made.factor / 60, calls - first[1], limited - first[2])
            for at, calls, limited in made.samples
            if began <= at <= ended
        ],
        comparisons=comparisons,
    )


async def trade(made: World) -> None:
    """Place an order and fill it, by the exchange's staff: its simulated REST only reads."""
    order = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.0001"}
    placed = await made.control.must({"order": order})
    await made.control.must({"fill": placed["order_id"]})


async def compared(made: World) -> int:
    """Return how many REST calls have only compared what is served with what REST says."""
    spent = json.loads(await made.command("calls", "--json"))["spent"]
    return sum(one["calls"] for one in spent if one["caller"] == "comparison")


async def check_crowd(made: World, product_id: str, processes: int, callers: int) -> tuple[Counter[str], int, Any]:
    """Have so many ask at once for a product that nobody streams; return how they were served and the calls."""
    workers = [await made.worker("crowd", product_id, str(callers)) for _ in range(processes)]
    for worker in workers:
        await line_of(worker, 60)
    before = await made.rest()
    for worker in workers:
        tell(worker)
    tiers: Counter[str] = Counter()
    for worker in workers:
        tiers.update(json.loads(await line_of(worker, 60)))
        await worker.wait()
    calls = difference((await made.rest())["routes"], before["routes"])
    return tiers, sum(number for route, number in calls.items() if "candles" not in route), calls


async def checks(made: World) -> tuple[Table, bool]:
    """Ask for what nobody streams: by a crowd, and again and again."""
    table = Table(title="Products that nobody streams", header_style="bold")
    for name in ("what", "served as", "REST calls", "goal"):
        table.add_column(name, overflow="fold")
    tiers, calls, by_route = await check_crowd(made, UNSTREAMED[0], PROCESSES, CROWD)
    errors = sum(number for tier, number in tiers.items() if tier.startswith("error"))
    is_one = calls == 1 and not errors
    table.add_row(
        f"{PROCESSES * CROWD:,} requests at once", f"{dict(tiers)}", f"{by_route}", verdict("one call", is_one)
    )
    tiers, _, by_route = await check_crowd(made, UNSTREAMED[1], 1, -100)
    hits = tiers["realtime"] + tiers["cache"]
    table.add_row("100 one by one", f"{dict(tiers)}", f"{by_route}", verdict("> 95 hits", hits > 95))
    return table, is_one and hits > 95


def verdict(goal: str, is_met: bool) -> str:
    """Return a goal and whether it is met."""
    return f"{goal}: [{'green' if is_met else 'red'}]{'met' if is_met else 'MISSED'}[/]"


async def prove(arguments: argparse.Namespace, folder: Path) -> bool:
    """Run both ways; print the table, and draw."""
    settings = {"STREAMER_COMPARE_SHARE": "0"} if arguments.no_compare else {}
    console.print(meaning(arguments), style="dim")
    async with world("old", arguments.old_factor, folder / "old", {}) as made:
        old = await live(made, arguments.old_minutes / 60)
    console.print(f"old way: {old.calls_an_hour:,.0f} REST calls an hour; now the new one", style="dim")
    async with world("new", arguments.factor, folder / "new", settings, quick=arguments.quick) as made:
        new = await live(made, arguments.minutes / 60)
        crowd, is_served = await checks(made)
        made.tell_bots()
    table, is_met = table_of(old, new, len(BOTS), MOST_CALLS)
    figures = json.dumps({one.way: as_json(one, len(BOTS)) for one in (old, new)})
    (folder / "figures.json").write_text(figures)
    if arguments.json:
        print(figures)
    else:
        console.print(table)
        console.print(crowd)
        for error, times in new.errors().most_common(3):
            console.print(f"{times} times: {error}", style="red")
    if arguments.picture:
        await asyncio.to_thread(picture, old, new, arguments.picture)
    return is_met and is_served


async def flip(arguments: argparse.Namespace, folder: Path) -> bool:
    """Flip the flags while the fleet runs the new way."""
    settings = {"STREAMER_COMPARE_SHARE": "0"}
    async with world("new", arguments.old_factor, folder / "flip", settings, quick=True) as made:
        made.tell_bots()
        flips = await flip_all(made, arguments.hold_s)
        made.tell_bots()
        await asyncio.sleep(_FLUSH_S)
        reads, _ = await asyncio.to_thread(lines_of, made.folder)
    table, is_met = flip_table(flips, reads)
    console.print(table)
    return is_met


def meaning(arguments: argparse.Namespace) -> str:
    """Say what the factors mean."""
    told = []
    for way, factor, minutes in (
        ("old", arguments.old_factor, arguments.old_minutes),
        ("new", arguments.factor, arguments.minutes),
    ):
        told.append(
            f"{way} way: {minutes:g} min of the fleet in {minutes * 60 / factor:.0f} s; a bot's price every "
            f"{500 / factor:g} ms, limits {PRIVATE_PER_S * factor:g}/s by key, {PUBLIC_PER_S * factor:g}/s by host"
        )
    return "\n".join(told)


async def main(arguments: argparse.Namespace) -> int:
    """Run what was asked for."""
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="streamer-fleet-"))
    try:
        is_met = await (flip if arguments.flip else prove)(arguments, folder)
    except RigError as exc:
        console.print(str(exc), style="red")
        return 1
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_met else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--factor", type=float, default=20.0, help="time compression of the new way (default %(default)s)")
    add("--minutes", type=float, default=60.0, help="of the fleet's time, the new way (default %(default)s)")
    add("--old-factor", type=float, default=4.0, help="of the old way and of --flip (default %(default)s)")
    add("--old-minutes", type=float, default=10.0, help="of the fleet's time, the old way (default %(default)s)")
    add("--no-compare", action="store_true", help="STREAMER_COMPARE_SHARE=0: nothing is compared with REST")
    add("--quick", action="store_true", help="do not wait for the past of all candles (10 calls a minute)")
    add("--flip", action="store_true", help="flip the flags of the new way instead")
    add("--hold-s", type=float, default=15.0, help="s between flips (default %(default)s)")
    add("--picture", type=Path, help="PNG to draw old against new to")
    add("--json", action="store_true", help="one JSON object instead of tables")
    add("--keep", type=Path, help="new folder for logs and readings; None for one that is removed")
    sys.exit(run_to_end(main(parser.parse_args())))
