"""`python -m streamer.simulator`: run the simulated exchange, and print its addresses as one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from streamer.errors import ConfigError
from streamer.simulator.keys import make_key_file
from streamer.simulator.market import demo_products
from streamer.simulator.server import Options, run, run_replay
from streamer.simulator.settings import ExchangeSettings

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamer.simulator", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address of both hosts (default %(default)s)")
    add("--port", type=int, default=0, help="port of the market host, 0 = any free one")
    add("--user-port", type=int, default=0, help="port of the user host, 0 = any free one, -1 = none")
    add("--control-port", type=int, default=0, help="control port on 127.0.0.1, 0 = any free one, -1 = none")
    add("--products", default="10", help="how many products, or ids joined by commas (default %(default)s)")
    add("--quiet", default="", help="ids that never trade by themselves, joined by commas")
    add("--rate", type=_rate, default=20.0, help="ticks a second over all products, or 'max' (default 20)")
    add("--seed", type=int, default=0, help="seed of the random market")
    add("--replay", type=Path, metavar="FILE", help="replay a capture in place of the random market")
    add("--speed", type=float, default=1.0, help="recorded seconds a second, for --replay")
    add("--tls-dir", type=Path, help="speak TLS with a throw-away CA written to this folder (ca.pem)")
    add("--make-key", type=Path, metavar="FILE", help="make a key file first, and let its key log in")
    add("--key-kind", choices=["ES256", "EdDSA"], default="ES256", help="kind of the key to make")
    add("--key-file", type=Path, action="append", default=[], help="let this key log in; may be repeated")
    add("--faults", type=Path, metavar="FILE", help="fault script")
    add("--no-client-id", action="store_true", help="leave client_id out of envelopes")
    add("--die-with-parent", action="store_true", help="end when the parent process ends (Linux only)")
    return parser


def _rate(text: str) -> float:
    value = math.inf if text == "max" else float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError("must be 0 or more, or 'max'")
    return value


def _port(value: int) -> int | None:
    return None if value < 0 else value


def _options(args: argparse.Namespace) -> Options:
    products = demo_products(int(args.products)) if args.products.isdecimal() else args.products.split(",")
    key_files: list[Path] = [*args.key_file, *([args.make_key] if args.make_key else [])]
    if args.make_key:
        make_key_file(args.make_key, args.key_kind)
    exchange = ExchangeSettings(
        host=args.host,
        port=args.port,
        user_port=_port(args.user_port),
        ticks_per_s=args.rate,
        client_id=not args.no_client_id,
    )
    return Options(
        exchange=exchange,
        control_port=_port(args.control_port),
        products=products,
        quiet=[p for p in args.quiet.split(",") if p],
        seed=args.seed,
        key_files=key_files,
        tls_dir=args.tls_dir,
        faults=args.faults,
    )


def _die_with_parent() -> None:
    if not sys.platform.startswith("linux"):
        raise ConfigError("--die-with-parent", sys.platform, "works on Linux only")
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise ConfigError("--die-with-parent", os.strerror(ctypes.get_errno()), "prctl must succeed")
    if os.getppid() != parent:  # it died just before the call, so no signal will come
        os.kill(os.getpid(), signal.SIGTERM)


def _announce(addresses: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(addresses).decode() + "\n")
    sys.stdout.flush()


async def _main(args: argparse.Namespace) -> None:
    options = _options(args)
    if args.replay:
        work = run_replay(args.replay, args.speed, args.host, args.port, _announce, options)
    else:
        work = run(options, _announce)
    task = asyncio.create_task(work, name="simulator")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit status, 2 for bad arguments."""
    args = _parser().parse_args(argv)
    try:
        if args.die_with_parent:
            _die_with_parent()
        asyncio.run(_main(args))
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
