"""Throws broken answers at the adapter of every provider: none may break it, none may become an unsound value.

    python scripts/fuzz_providers.py                     100,000 cases of each provider
    python scripts/fuzz_providers.py --cases 2000 --seed 7 --provider polygon

Exit status: 0 where every answer became a sound value or a clean error, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.providers.fuzz import PROVIDERS, Fuzz
from tests.unit.providers.test_samples import READERS

_SHOWN = 5
"""Of the failures of one provider."""


def main() -> int:
    """Play the cases and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="of each provider (100,000)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other cases (0)")
    parser.add_argument("--provider", choices=PROVIDERS, help="this one alone")
    options = parser.parse_args()
    wrong = 0
    for provider in [options.provider] if options.provider else PROVIDERS:
        fuzz, failures, began_s = Fuzz(provider, READERS.get(provider, {})), 0, time.perf_counter()
        for number in range(options.cases):
            try:
                fuzz.play(Random(f"{options.seed} {provider} {number}"))
            except AssertionError as exc:
                failures += 1
                if failures <= _SHOWN:
                    print(f"case {number} of {provider}, seed {options.seed}: {exc}", file=sys.stderr)
            if number % 1000 == 999 and sys.stderr.isatty():
                print(f"\r{provider}: {number + 1:,}", end="", file=sys.stderr, flush=True)
        took_s = time.perf_counter() - began_s
        print(f"{provider}: {options.cases:,} cases in {took_s:.1f} s, {failures:,} failures", flush=True)
        for outcome, count in fuzz.outcomes.most_common():
            print(f"  {count:>9,}  {outcome}")
        wrong += failures
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
