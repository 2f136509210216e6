"""Throws made-up deliveries at every webhook scheme: none may be taken that nobody signed, none may break anything.

    python scripts/fuzz_webhooks.py                     100,000 cases of each scheme
    python scripts/fuzz_webhooks.py --cases 2000 --seed 7

Exit status: 0 where nothing was taken wrongly and every refusal was a clean one, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.webhooks.fuzz import Fuzz
from tests.unit.webhooks.rig import SECRETS, scheme_of


def main() -> int:
    """Play the cases and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="of each scheme (100,000)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other cases (0)")
    options = parser.parse_args()
    wrong = 0
    for provider in SECRETS:
        fuzz, broken, began = Fuzz(provider), 0, time.perf_counter()
        for number in range(options.cases):
            try:
                fuzz.play(Random(f"{options.seed} {provider} {number}"))
            except Exception as exc:  # noqa: BLE001 - to be counted, whatever it is
                broken += 1
                print(f"case {number} of {provider}, seed {options.seed}: {exc!r}", file=sys.stderr)
        took_s = time.perf_counter() - began
        print(f"{scheme_of(provider).name}: {options.cases:,} cases in {took_s:.1f} s")
        for outcome, count in fuzz.outcomes.most_common():
            print(f"  {count:>8,}  {outcome}")
        print(f"  {len(fuzz.wrong):>8,}  taken wrongly\n  {broken:>8,}  broke")
        for case in fuzz.wrong[:5]:
            print(case, file=sys.stderr)
        wrong += len(fuzz.wrong) + broken
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
