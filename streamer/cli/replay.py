"""`streamer replay FILE`: a recording served as an exchange on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from streamer.cli.simulate import announce, announce_json
from streamer.simulator import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="as written by: streamer record FILE")
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="recorded seconds a second (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print the addresses as one JSON line")
    command.add_exchange_arguments(parser)
    parser.epilog = "The clock starts when the first client subscribes; at the end the exchange stays up, quiet."


def execute(arguments: argparse.Namespace) -> int:
    """Run the command until it is interrupted."""
    command.replay(arguments, announce_json if arguments.json else announce)
    return 0
