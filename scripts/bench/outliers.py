"""How well outliers are found: z-scores against the default, on series with planted faults: `outliers.py [seed]`.

Prices wander with heavy tails, jump to new levels, or hardly move; some bars are spoilt by spikes, factors of ten
and zeros. No rule is blamed for flagging the bar after a planted one: z-scores would come out worse than they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit.quality.planted import MARKETS, hard_faults, measured

EACH = 40
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def compared(seed: int) -> Table:
    """Precision, recall and F1 by market and rule."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="spikes, factors of 10 and 100, zeros")
    for name in ("series", "rule", "precision", "recall", "F1", "found", "missed", "false"):
        table.add_column(name, justify="left" if name in ("series", "rule") else "right")
    for name, markets in [*((market.name, (market,)) for market in MARKETS), ("all", MARKETS)]:
        for rule, tally in measured(seed, markets, each=EACH).items():
            shares = [f"{share:.3f}" for share in (tally.precision, tally.recall, tally.f1)]
            table.add_row(name, rule, *shares, *map(str, (tally.right, tally.missed, tally.wrong)))
            name = ""
        table.add_section()
    return table


def hard(seed: int) -> Table:
    """What the hard rules find."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="faults of another kind")
    for name in ("fault", "found", "planted", "false"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    for kind, counts in hard_faults(seed, each=EACH).items():
        table.add_row(kind, *map(str, counts))
    return table


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    console.print(f"seed {seed}, {EACH} series of each kind")
    console.print(compared(seed))
    console.print(hard(seed))
