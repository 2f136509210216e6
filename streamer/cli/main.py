"""`streamer`: the commands around the stream. Each lives in a module of its own, imported when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from streamer.cli.common import run

_COMMANDS = {
    "get": "print the newest price of products, with its tier and ages",
    "price": "print the newest price from any provider, and compare several",
    "ohlcv": "print, save or plot bars from any provider",
    "watch": "print every change of products as it is pushed",
    "explain": "print what each tier has of a price, and why it is or is not served",
    "serve": "serve the HTTP API by itself",
    "calls": "show the REST budget, who spent it, and what the cache saved",
    "migrate": "move callers over to coordinated calls, see that it works, roll it back",
    "wanted": "list, add or remove the products to stream",
    "record": "record the exchange's frames into a file",
    "replay": "serve a recording as an exchange on a local port",
    "simulate": "run a simulated exchange on a local port",
    "doctor": "check Redis, exchange, clocks, key file and versions, and say what to do",
}


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run(lambda: _main(sys.argv[1:])))


def _main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="streamer",
        description="Market data from Coinbase by way of Redis. The stream itself is run by start-stream, "
        "its health is told by stream-status.",
    )
    parser.add_argument("--version", action="version", version=f"streamer {version('coinbase-streamer')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = argv[0] if argv and argv[0] in _COMMANDS else None
    execute: Callable[[argparse.Namespace], int] | None = None
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            module = import_module(f"streamer.cli.{name}")
            module.add_arguments(command)
            execute = module.execute
    arguments = parser.parse_args(argv)
    assert execute is not None  # argparse has ended the process for anything else
    return execute(arguments)


if __name__ == "__main__":
    main()
