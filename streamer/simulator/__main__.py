"""`python -m streamer.simulator`: run the simulated exchange, and print its addresses as one JSON line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from streamer.errors import ConfigError
from streamer.simulator.command import add_arguments, replay, simulate


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit status, 2 for bad arguments."""
    parser = argparse.ArgumentParser(prog="python -m streamer.simulator", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--replay", dest="file", type=Path, metavar="FILE", help="replay a capture instead")
    parser.add_argument("--speed", type=float, default=1.0, help="recorded seconds a second, for --replay")
    args = parser.parse_args(argv)
    try:
        (replay if args.file else simulate)(args, _announce)
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return 0


def _announce(addresses: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(addresses).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
