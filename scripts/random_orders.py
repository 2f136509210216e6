"""Plays random orders on a simulated exchange and holds every balance in Redis against the exchange's own books.

Runs a simulator with a throw-away key and TLS, a redis-server and start-stream, all as processes; plays orders of
every kind, in bursts and with quiet spells, while frames are lost, repeated and reordered, connections cut and
silenced, and REST lags behind. Meanwhile it reads all balances some sixty times a second, as a bot would. What is
realtime and confirmed must be a balance that the exchange had within the last moment; everything else must say that
it is not. At the end every balance must be the exchange's, to the last digit.

    python scripts/random_orders.py                      1,000 orders, some six minutes
    python scripts/random_orders.py --orders 150 --seed 7
    python scripts/random_orders.py --json | jq .violations

Exit status: 0 where there is no violation and the end is exact, 1 otherwise, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from judge import GAP_S, PROPAGATION_S, SILENCE_S, Judge, Money, Sample
from player import Player
from rich.console import Console
from rich.table import Table
from rig import Rig, RigError, rig, run_to_end, until

from streamer.errors import StoreUnavailable
from streamer.model import Balance, Basis, Reading, Tier
from streamer.reader.reader import AsyncReader
from streamer.settings import load
from streamer.store.connect import Store
from streamer.store.keys import Keys

_SAMPLE_PAUSE_S = 0.012
_JUDGE_EVERY_S = 0.5
_JUDGE_AFTER_S = 1.0
_LINE_EVERY_S = 5.0
_START_S = 40.0
_QUIET_AFTER_S = 100.0
_UNCHANGED_S = 2.0


class Watcher:
    """Follows what is pushed: within a currency, epoch, connection and time of writing never go back."""

    def __init__(self) -> None:
        self.records = 0
        self.wrong: list[str] = []
        self._newest: dict[str, tuple[int, int, int]] = {}

    async def run(self, store: Store, keys: Keys) -> None:
        """Listen until cancelled."""
        async with store.client.pubsub() as updates:
            await updates.subscribe(keys.balance_updates)
            async for message in updates.listen():
                if isinstance(message["data"], bytes):
                    for record in msgspec.msgpack.decode(message["data"], type=list[dict[str, str]]):
                        self._take(record)

    def _take(self, record: dict[str, str]) -> None:
        self.records += 1
        currency = record["currency"]
        order = int(record["epoch"]), int(record["connection"]), int(record["written_ms"])
        newest = self._newest.setdefault(currency, order)
        if any(now < before for now, before in zip(order, newest, strict=True)):
            self.wrong.append(f"{currency}: epoch, connection, written_ms went from {newest} to {order}")
        self._newest[currency] = order


class Game:
    """One run: plays, samples, judges."""

    def __init__(self, running: Rig, arguments: argparse.Namespace, say: Console) -> None:
        self._rig, self._arguments, self._say = running, arguments, say
        self._store = Store(running.redis_url)
        self._reader = AsyncReader(running.redis_url, rest=False, settings=load(demand=False))
        self.judge = Judge(arguments.bound_ms / 1000, lambda at: self.player.context(at))
        self.player = Player(
            running.control,
            self.judge,
            seed=arguments.seed,
            orders=arguments.orders,
            per_s=arguments.rate,
            calm_s=arguments.calm_s,
            is_settled=lambda: not self._unsettled(),
        )
        self.watcher = Watcher()
        self._taken: list[Sample] = []
        self._asked_before = 0.0
        # The exchange's front is a little behind its books, and behind us: times of two clocks must not mix.
        self._behind_s = round(Random(arguments.seed).uniform(0, 0.8), 3)
        self._last: dict[str, Sample] = {}
        self._began = time.monotonic()
        self.unreadable = 0

    async def run(self) -> dict[str, Any]:
        """Play to the end and return the figures."""
        await until(self._rig.control.is_known, _START_S, "the first balances")
        await until(self._all_confirmed, _START_S, "balances that are confirmed")
        await self._rig.control.must({"clock_offset_s": -self._behind_s})
        self._began = time.monotonic()
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(work)
            for work in (self._sample(), self._judge_on(), self._show(), self.watcher.run(self._store, Keys()))
        ]
        playing = asyncio.create_task(self._play())
        try:
            await asyncio.wait([playing, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # none of them ends by itself
            final_s, differs = await playing
        finally:
            everything = [playing, *tasks]
            for one in everything:
                one.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
        await self._judge_now(all_of_them=True)
        result = await self._figures(final_s, differs)
        await self._reader.close()
        with suppress(StoreUnavailable):
            await self._store.close()
        return result

    async def _play(self) -> tuple[float, list[str]]:
        await self.player.play()
        self.player.doing = "waiting for quiet"
        began = time.monotonic()
        await self.player.finish()
        try:
            await until(self._is_quiet, _QUIET_AFTER_S, "every balance confirmed and at rest")
            quiet_after_s = time.monotonic() - began - _UNCHANGED_S
        except RigError as exc:
            return time.monotonic() - began, [str(exc), *self._unsettled()]
        truth = (await self._rig.control.must({"query": "accounts", "orders": "none"}))["accounts"]
        return quiet_after_s, self.judge.final(self._last, truth)

    async def _is_quiet(self) -> bool:
        """Whether all is confirmed, and has not changed for a while."""
        before = dict(self._last)
        if self._unsettled() or not before:
            return False
        ends = time.monotonic() + _UNCHANGED_S
        while time.monotonic() < ends:
            await asyncio.sleep(0.05)
            if self._unsettled() or any(self._last[c].money != before[c].money for c in before):
                return False
        return True

    def _unsettled(self) -> list[str]:
        return [
            f"{currency}: {sample.reason or 'still derived'}"
            for currency, sample in self._last.items()
            if sample.reason is not None or not sample.is_confirmed
        ]

    async def _all_confirmed(self) -> bool:
        if self._rig.stream.returncode is not None:
            raise RigError(f"start-stream has ended:\n{self._rig.log.read_text()[-2000:]}")
        readings = await self._reader.balances()
        return (
            bool(readings)
            and not readings.missing
            and all(r.tier is Tier.REALTIME and r.value.basis is Basis.CONFIRMED for r in readings.values())
        )

    # -- sampling ------------------------------------------------------------------------------------------------

    async def _sample(self) -> None:
        while True:
            asked_at = time.time()
            readings = await self._reader.balances()
            self.unreadable += any(isinstance(e.__cause__, StoreUnavailable) for e in readings.missing.values())
            at = time.time()
            for currency, reading in readings.items():
                self._last[currency] = sample = _sample(currency, reading, asked_at, at)
                self._taken.append(sample)
            self.judge.tally.samples += bool(readings)
            await asyncio.sleep(_SAMPLE_PAUSE_S)

    async def _judge_on(self) -> None:
        while True:
            await asyncio.sleep(_JUDGE_EVERY_S)
            if self._rig.stream.returncode is not None:
                raise RigError(f"start-stream has ended:\n{self._rig.log.read_text()[-2000:]}")
            await self._judge_now()

    async def _judge_now(self, *, all_of_them: bool = False) -> None:
        known_until, control = time.time(), self._rig.control
        history = await control.must({"query": "history", "since_s": max(0.0, self.judge.known_until - 1)})
        self.judge.learn(history["history"], known_until)
        for request in (await control.must({"query": "rest"}))["recent"]:
            if request["route"].endswith("/accounts") and request["status"] == 200:
                at = datetime.fromisoformat(request["time"]).timestamp() + self._behind_s
                if at > self._asked_before - 2 * _JUDGE_AFTER_S:
                    self.judge.asked(at, self.player.lag_at(at))
        self._asked_before = known_until
        ripe = len(self._taken) if all_of_them else 0
        while ripe < len(self._taken) and self._taken[ripe].at < known_until - _JUDGE_AFTER_S:
            ripe += 1
        taken, self._taken = self._taken[:ripe], self._taken[ripe:]
        for sample in taken:
            self.judge.judge(sample)

    # -- showing -------------------------------------------------------------------------------------------------

    async def _show(self) -> None:
        is_live = self._say.is_terminal
        while True:
            await asyncio.sleep(0.25 if is_live else _LINE_EVERY_S)
            tally, player = self.judge.tally, self.player
            line = (
                f"{time.monotonic() - self._began:5.0f} s  orders {player.orders}/{self._arguments.orders}"
                f"  readings {tally.readings:,}  confirmed {tally.right + tally.unknowable:,}"
                f"  derived {tally.derived:,}  stale {tally.stale + tally.suspect:,}"
                f"  violations {tally.violations}  {player.doing}"
            )
            if is_live:
                self._say.file.write(f"\r\x1b[K{line[: self._say.width - 1]}")
                self._say.file.flush()
            else:
                self._say.print(line, soft_wrap=True)

    async def _figures(self, quiet_after_s: float, differs: list[str]) -> dict[str, Any]:
        raw = await self._store.answer(self._store.client.get(Keys().status))
        status = json.loads(raw) if raw else {}
        tally, player = self.judge.tally, self.player
        portfolio, feeds = status.get("portfolio") or {}, status.get("feeds") or []
        user: dict[str, Any] = next((feed for feed in feeds if feed["channel"] == "user"), {})
        return {
            "seed": self._arguments.seed,
            "orders": player.orders,
            "commands": player.commands,
            "verbs": dict(player.verbs),
            "troubles": dict(player.troubles),
            "updates": portfolio.get("updates"),
            "records": self.watcher.records,
            "samples": tally.samples,
            "readings": tally.readings,
            "confirmed": tally.right,
            "confirmed_but_for_the_untold": tally.unknowable,
            "derived": tally.derived,
            "derived_right": tally.derived_right,
            "stale": tally.stale,
            "suspect": tally.suspect,
            "why_stale": dict(tally.why_stale),
            "late_ms": _spread(tally.late_s),
            "late_in_trouble_ms": _spread(tally.in_trouble_s),
            "bounds_ms": {
                "propagation": self._arguments.bound_ms,
                "gap": GAP_S * 1000,
                "silence": SILENCE_S * 1000,
            },
            "violations": tally.violations + len(self.watcher.wrong),
            "first": tally.first + self.watcher.wrong[:5],
            "differences": portfolio.get("differences"),
            "reconnects": user.get("reconnects"),
            "gaps": user.get("gaps"),
            "rest": status.get("rest"),
            "unreadable": self.unreadable + self._reader.damaged,
            "seconds": round(time.monotonic() - self._began, 1),
            "quiet_after_s": round(quiet_after_s, 1),
            "final": differs or "exact",
            "ok": not differs and not tally.violations and not self.watcher.wrong and tally.right > 0,
        }


def _sample(currency: str, reading: Reading[Balance], asked_at: float, at: float) -> Sample:
    value = reading.value
    return Sample(
        currency,
        asked_at,
        at,
        Money(value.available, value.hold),
        value.total,
        value.basis is Basis.CONFIRMED,
        None if reading.tier is Tier.REALTIME else reading.reason or "no reason given",
        reading.as_of,
    )


def _spread(values: list[float]) -> dict[str, float] | None:
    if len(values) < 2:
        return None
    p99 = statistics.quantiles(values, n=100, method="inclusive")[98]
    figures = {"n": len(values), "median": statistics.median(values), "p99": p99, "max": max(values)}
    return {name: round(value * 1000, 1) if name != "n" else value for name, value in figures.items()}


def _table(figures: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    total, rest = figures["readings"] or 1, figures["rest"] or {}

    def share(*names: str) -> str:
        n = sum(figures[name] for name in names)
        return f"{n:,} ({100 * n / total:.1f} %)"

    def late(name: str) -> str:
        found = figures[name]
        return (
            "none"
            if found is None
            else ", ".join(f"{k} {v:,.1f}" if k != "n" else f"n={v}" for k, v in found.items())
        )

    untold = figures["confirmed_but_for_the_untold"]
    right = f"{100 * figures['derived_right'] / max(1, figures['derived']):.1f} % of them right"
    rows = [
        ("seed · orders · commands", f"{figures['seed']} · {figures['orders']} · {figures['commands']}"),
        ("trouble", ", ".join(f"{name} {n}" for name, n in sorted(figures["troubles"].items()))),
        ("updates taken · records written", f"{figures['updates']} · {figures['records']}"),
        ("readings (samples)", f"{figures['readings']:,} ({figures['samples']:,})"),
        ("confirmed, right", share("confirmed")),
        ("confirmed, right but for the untold", f"{untold:,}"),
        ("derived, and says so", f"{share('derived')}, {right}"),
        ("stale · suspect, and says so", f"{share('stale')} · {share('suspect')}"),
        ("confirmed late, ms", late("late_ms")),
        ("confirmed late in trouble, ms", late("late_in_trouble_ms")),
        ("bounds, ms", ", ".join(f"{name} {value:g}" for name, value in figures["bounds_ms"].items())),
        (
            "differences · gaps · reconnects",
            " · ".join(str(figures[n]) for n in ("differences", "gaps", "reconnects")),
        ),
        ("REST calls", f"{rest.get('calls')} {rest.get('by_route')}, failures {rest.get('failures')}"),
        ("seconds · quiet after", f"{figures['seconds']:g} · {figures['quiet_after_s']:g}"),
        ("at the end", "exact" if figures["final"] == "exact" else "\n".join(figures["final"])),
        ("violations", str(figures["violations"])),
    ]
    for row in rows:
        table.add_row(*row)
    return table


async def main(arguments: argparse.Namespace) -> int:
    """Run one game."""
    say = Console(stderr=arguments.json, highlight=False, width=None if sys.stdout.isatty() else 140)
    try:
        async with rig(transport=arguments.transport, seed=arguments.seed, keep=arguments.keep) as running:
            figures = await Game(running, arguments, say).run()
            warnings = [line for line in running.log.read_text().splitlines() if "balance.difference" in line]
    except RigError as exc:
        say.print(f"\n{exc}", style="red")
        return 1
    if say.is_terminal:
        say.print()
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        say.print(_table(figures))
        for violation in figures["first"]:
            say.print(violation, soft_wrap=True, style="red", markup=False)
        if arguments.keep:
            say.print(f"logs in {arguments.keep}, {len(warnings)} differences among them", soft_wrap=True)
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1000, help="how many to place (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed plays the same orders (default 1)")
    parser.add_argument("--rate", type=float, default=12.0, help="steps a second while trading (default 12)")
    parser.add_argument(
        "--calm-s",
        type=float,
        default=12.0,
        help="how long most trouble waits for all to be confirmed (default 12)",
    )
    parser.add_argument(
        "--bound-ms",
        type=float,
        default=PROPAGATION_S * 1000,
        help="how long what is confirmed may be outdated while nothing is wrong (default %(default)g)",
    )
    parser.add_argument("--transport", choices=("websockets", "picows"), help="of start-stream (default its own)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the logs of all processes here")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, the progress to stderr")
    sys.exit(run_to_end(main(parser.parse_args())))
