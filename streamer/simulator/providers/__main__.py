"""`python -m streamer.simulator.providers`: run all providers, and print their addresses as one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import orjson

from streamer.errors import ConfigError
from streamer.simulator.command import add_latency_option, until_signal
from streamer.simulator.providers.server import serving
from streamer.simulator.providers.wire import FREE, PAID


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit status, 2 for bad arguments."""
    parser = argparse.ArgumentParser(prog="python -m streamer.simulator.providers", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=0, help="port, 0 = any free one")
    add("--seed", type=int, default=0, help="seed of the market, and of latencies")
    add("--plan", choices=[FREE, PAID], default=FREE, help="plan of everyone who asks (default %(default)s)")
    add_latency_option(parser)
    add("--die-with-parent", action="store_true", help="end when the parent process ends (Linux only)")
    args = parser.parse_args(argv)
    try:
        until_signal(args, _run(args))
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return 0


async def _run(args: argparse.Namespace) -> None:
    options = {"host": args.host, "port": args.port, "seed": args.seed, "plan": args.plan}
    async with serving(**options, latency_ms=args.latency_ms) as fake:
        sys.stdout.write(orjson.dumps(fake.addresses()).decode() + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
