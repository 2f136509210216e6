"""What the fleet's lines and the exchange's books say: figures, goals, a table and a picture."""

from __future__ import annotations

import json
import statistics
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

HITS = frozenset({"realtime", "cache"})
BOUND_S = 5.0
"""What is older has to say so; of real seconds, whatever the factor."""
_HOUR_S = 3600.0
_BALANCES_EVERY_S = 600.0
"""streamer asks for the balances so often where nothing else makes it ask."""
SLACK_S = 0.05
"""By so much the listener may hear of a price later than a bot."""


class Read(NamedTuple):
    """One read of a bot, as `fleet_bots.Log.read` writes it."""

    at: float
    who: str
    kind: str
    product_id: str
    took_ms: float
    tier: str
    age_s: float
    price: str

    @property
    def is_answered(self) -> bool:
        """Whether there was an answer."""
        return self.tier not in ("429", "error")


class Round(NamedTuple):
    """One evaluation of several bots."""

    at: float
    kind: str
    done: int
    took_ms: float


def lines_of(folder: Path) -> tuple[list[Read], list[Round]]:
    """Return what the processes of a fleet have written down, in order."""
    reads, rounds = [], []
    for path in folder.glob("fleet-*.jsonl"):
        for line in filter(None, path.read_text().splitlines()):
            word, *fields = json.loads(line)
            (reads.append(Read(*fields)) if word == "read" else rounds.append(Round(*fields)))
    return sorted(reads), sorted(rounds)


@dataclass
class Outcome:
    """What came of one way.

    Attributes:
        hours: How much of the fleet's time the steady state was.
        real_s: How much real time that was.
        startup: REST requests before, by route.
        steady: REST requests in the steady state, by route.
        limited: Those of them that were answered 429.
    """

    way: str
    factor: float
    hours: float
    real_s: float
    startup: dict[str, int]
    steady: dict[str, int]
    limited: int
    reads: Sequence[Read]
    rounds: Sequence[Round]
    truth: Mapping[str, Sequence[tuple[float, str]]]
    progress: Sequence[tuple[float, float, float]] = field(default_factory=list)
    comparisons: int = 0

    @property
    def calls(self) -> int:
        """REST requests in the steady state."""
        return sum(self.steady.values())

    @property
    def calls_an_hour(self) -> float:
        """The same, of an hour of the fleet's time."""
        return self.calls / self.hours

    @property
    def by_clock(self) -> float:
        """REST requests that streamer makes by its own clocks, which are not compressed, in a real hour."""
        balances = (_HOUR_S - self.real_s) / _BALANCES_EVERY_S
        return (self.comparisons * _HOUR_S / self.real_s + balances) if self.way == "new" else 0.0

    @property
    def calls_a_real_hour(self) -> float:
        """REST requests of an hour in which streamer's clocks run as fast as the fleet."""
        return (self.calls - self.comparisons) / self.hours + self.by_clock

    @property
    def hit_rate(self) -> float:
        """Share of the reads that no call was made for."""
        return sum(read.tier in HITS for read in self.reads) / max(1, len(self.reads))

    def errors(self) -> Counter[str]:
        """Return what went wrong in bots, but for 429s."""
        return Counter(read.price for read in self.reads if read.tier == "error")

    def latency_ms(self, kind: str = "") -> tuple[float, float]:
        """Return median and p99 of the reads that were answered."""
        return quantiles(read.took_ms for read in self.reads if read.is_answered and kind in ("", read.kind))

    def fleet_ms(self, whole: int) -> tuple[float, float, int, int]:
        """Return median and maximum of evaluating all bots, how many rounds were whole, and how many there were."""
        fast = [one for one in self.rounds if one.kind == "fast"]
        complete = [one for one in fast if one.done == whole]
        took = [one.took_ms for one in complete or fast] or [0.0]
        return statistics.median(took), max(took), len(complete), len(fast)

    def said_s(self) -> float:
        """Return the greatest age that any answer has told of itself."""
        return max((read.age_s for read in self.reads), default=0.0)

    def staleness(self) -> tuple[float, int, int]:
        """Hold every price against the exchange's own: the oldest, how many were too old and did not say so, and
        how many the exchange never had."""
        oldest, unsaid, unknown = 0.0, 0, 0
        for read in self.reads:
            if not read.price or not read.is_answered:
                continue
            age_s = age_of(read, self.truth.get(read.product_id, ()))
            if age_s is None:
                unknown += 1
                continue
            oldest = max(oldest, age_s)
            unsaid += age_s > BOUND_S and read.age_s <= BOUND_S and read.tier != "stale"
        return oldest, unsaid, unknown

    def longest_blind_s(self) -> float:
        """Return the longest time that a bot had to go on with the price it had."""
        times: dict[str, list[float]] = defaultdict(list)
        for read in self.reads:
            if read.kind == "fast" and read.is_answered:
                times[read.who].append(read.at)
        return max((b - a for ts in times.values() for a, b in pairwise(ts)), default=0.0)


def age_of(read: Read, truth: Sequence[tuple[float, str]]) -> float | None:
    """Return for how long the price had not been that of the exchange when it was read; None if it never was."""
    price = Decimal(read.price)
    answered = read.at + read.took_ms / 1000
    for index in range(bisect_right(truth, answered + SLACK_S, key=lambda one: one[0]) - 1, -1, -1):
        if Decimal(truth[index][1]) == price:
            until = truth[index + 1][0] if index + 1 < len(truth) else answered
            return max(0.0, answered - until)
    return None


def quantiles(values: Iterable[float]) -> tuple[float, float]:
    """Return median and p99."""
    ordered = sorted(values) or [0.0]
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Return what was counted between two looks."""
    return {name: number - before.get(name, 0) for name, number in after.items() if number > before.get(name, 0)}


class Goal(NamedTuple):
    """What is asked of the new way."""

    text: str
    is_met: bool


def routes(counted: Mapping[str, float]) -> str:
    """Return counts by route, the most frequent first."""
    ordered = sorted(counted.items(), key=lambda pair: -pair[1])
    return "\n".join(f"{number:,.0f} {route.removeprefix('GET /')}" for route, number in ordered) or "none"


def an_hour(outcome: Outcome) -> dict[str, float]:
    """Return the calls of an hour of the fleet's time, by route."""
    return {route: number / outcome.hours for route, number in outcome.steady.items()}


def table_of(old: Outcome, new: Outcome, bots: int, most_calls: int) -> tuple[Table, bool]:
    """Return old against new, and whether every goal is met."""
    table = Table(title="The fleet, the old way and the new", header_style="bold", show_lines=True)
    for name in ("of one hour of the fleet", "SDK, polling REST", "streamer.compat", "goal"):
        table.add_column(name, overflow="fold")
    met = True

    def row(what: str, figures: Sequence[str], goal: Goal | None = None) -> None:
        nonlocal met
        told = ""
        if goal is not None:
            met &= goal.is_met
            told = f"{goal.text}: [{'green' if goal.is_met else 'red'}]{'met' if goal.is_met else 'MISSED'}[/]"
        table.add_row(what, *figures, told)

    both = old, new
    median, p99 = new.latency_ms()
    slowest = new.fleet_ms(bots)[1]
    stale = [one.staleness() for one in both]
    row("time compressed", [f"{o.factor:g} times: {o.hours * 60:.0f} min in {o.real_s:.0f} s" for o in both])
    row("REST calls at the start", [routes(o.startup) for o in both])
    row("REST calls, steady state", [f"{o.calls_an_hour:,.0f}" for o in both])
    row("of which", [routes(an_hour(o)) for o in both])
    row("of which only to compare with REST", [f"{o.comparisons / o.hours:,.0f}" for o in both])
    calls = Goal(f"≤ {most_calls}", new.calls_a_real_hour <= most_calls)
    row("the same where streamer's clocks are not slow", [f"{o.calls_a_real_hour:,.0f}" for o in both], calls)
    row("answered 429", [f"{o.limited / o.hours:,.0f}" for o in both], Goal("0", new.limited == 0))
    row("reads", [f"{len(o.reads) / o.hours:,.0f}" for o in both])
    row("served from stream or cache", [f"{o.hit_rate:.3%}" for o in both], Goal("≥ 99 %", new.hit_rate >= 0.99))
    shown = ["{:.2f} / {:.2f} ms".format(*o.latency_ms()) for o in both]
    row("one read, median / p99", shown, Goal("< 1 / < 10 ms", median < 1 and p99 < 10))
    shown = ["{:.1f} / {:.1f} ms".format(*o.fleet_ms(bots)[:2]) for o in both]
    row(f"evaluating {bots} bots, median / most", shown, Goal("< 1 s", 0 < slowest < 1000))
    row("evaluations of all bots that had all prices", ["{2:,} of {3:,}".format(*o.fleet_ms(bots)) for o in both])
    row("a bot without a new price, at most", [f"{o.longest_blind_s():.1f} s" for o in both])
    row("oldest price, held against the exchange's", [f"{oldest:.2f} s" for oldest, _, _ in stale])
    row("greatest age that an answer tells", [f"{o.said_s():.2f} s" for o in both])
    unsaid = Goal("0", stale[1][1] == 0 and stale[1][2] == 0)
    row("older than 5 s and silent about it / never the price", [f"{u} / {n}" for _, u, n in stale], unsaid)
    errors = [sum(o.errors().values()) for o in both]
    row("errors in bots, but for 429s", [str(number) for number in errors], Goal("0", errors[1] == 0))
    return table, met


def picture(old: Outcome, new: Outcome, path: Path) -> None:
    """Draw both ways over the fleet's hour."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(3, 2), layout="constrained")
    for outcome, colour, name in ((old, "#c0392b", "SDK, polling REST"), (new, "#1f7a4d", "streamer.compat")):
        minutes = [at for at, _, _ in outcome.progress]
        left.plot(minutes, [max(0.5, calls) for _, calls, _ in outcome.progress], color=colour, label=name, lw=2)
        if outcome.limited:
            limited = [max(0.5, number) for _, _, number in outcome.progress]
            left.plot(minutes, limited, color=colour, ls=":", label=f"{name}: answered 429")
    left.set(yscale="log", xlabel="minutes of the fleet's time", ylabel="REST calls since the start")
    left.set_title("REST calls as the exchange counts them", loc="left")
    left.legend(frameon=False)
    figures: dict[str, list[float]] = {
        "calls an hour": [old.calls_a_real_hour, new.calls_a_real_hour],
        "429s an hour": [old.limited / old.hours, new.limited / new.hours],
        "read p99, µs": [one.latency_ms()[1] * 1000 for one in (old, new)],
    }
    for place, values in enumerate(figures.values()):
        for value, shift, colour in zip(values, (0.2, -0.2), ("#c0392b", "#1f7a4d"), strict=True):
            right.barh(-place + shift, max(value, 1), 0.36, color=colour)
            right.text(max(value, 1) * 1.2, -place + shift, f"{value:,.0f}", va="center")
    right.set(xscale="log", yticks=[-place for place in range(len(figures))], yticklabels=list(figures))
    right.set_xlim(1, 20 * max(max(values) for values in figures.values()))
    right.set_title("Old against new", loc="left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def as_json(outcome: Outcome, bots: int) -> dict[str, Any]:
    """Return the figures for programs."""
    oldest, unsaid, unknown = outcome.staleness()
    median, p99 = outcome.latency_ms()
    return {
        "factor": outcome.factor,
        "hours": round(outcome.hours, 4),
        "startup": outcome.startup,
        "steady": outcome.steady,
        "calls_an_hour": round(outcome.calls_an_hour, 1),
        "calls_a_real_hour": round(outcome.calls_a_real_hour, 1),
        "limited": outcome.limited,
        "comparisons": outcome.comparisons,
        "reads": len(outcome.reads),
        "hit_rate": round(outcome.hit_rate, 5),
        "median_ms": round(median, 3),
        "p99_ms": round(p99, 3),
        "fleet_ms": [round(figure, 1) for figure in outcome.fleet_ms(bots)],
        "oldest_s": round(oldest, 2),
        "silent": unsaid,
        "never": unknown,
        "errors": dict(outcome.errors()),
    }
