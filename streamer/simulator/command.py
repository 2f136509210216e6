"""The simulator as a command: its arguments, and running it until a signal comes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import math
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError
from streamer.simulator.keys import make_key_file
from streamer.simulator.market import Guide, demo_products
from streamer.simulator.providers.latency import TYPICAL_MS
from streamer.simulator.providers.server import serving
from streamer.simulator.providers.wire import FREE, PAID
from streamer.simulator.server import Announce, Options, run, run_replay
from streamer.simulator.settings import UNKNOWN_PRODUCTS, ExchangeSettings

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what an exchange with a random market takes, and what every exchange does."""
    add = parser.add_argument
    add("--products", default="10", help="how many products, or ids joined by commas (default %(default)s)")
    add("--quiet", default="", help="ids that never trade by themselves, joined by commas")
    add("--rate", type=_rate, default=20.0, help="ticks a second over all products, or 'max' (default 20)")
    add("--seed", type=int, default=0, help="seed of the random market")
    add_exchange_arguments(parser)


def add_exchange_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every exchange takes, whatever its market."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address of both hosts (default %(default)s)")
    add("--port", type=int, default=0, help="port of the market host, 0 = any free one")
    add("--user-port", type=int, default=0, help="port of the user host, 0 = any free one, -1 = none")
    add("--rest-port", type=int, default=0, help="port of REST, 0 = any free one, -1 = none")
    add("--control-port", type=int, default=0, help="control port on 127.0.0.1, 0 = any free one, -1 = none")
    add("--tls-dir", type=Path, help="speak TLS with a throw-away CA written to this folder (ca.pem)")
    add("--make-key", type=Path, metavar="FILE", help="make a key file first, and let its key log in")
    add("--key-kind", choices=["ES256", "EdDSA"], default="ES256", help="kind of the key to make")
    add("--key-by-id", action="store_true", help="make it in the newer form, with an id in place of a name")
    add("--key-seed-only", action="store_true", help="make an EdDSA key of 32 bytes instead of 64")
    add("--private-rate", type=int, default=30, help="REST requests a second of a key, 0 = no limit (default 30)")
    add("--public-rate", type=int, default=10, help="REST requests a second without one, 0 = no limit (default 10)")
    add("--no-rate-headers", action="store_true", help="leave x-ratelimit-* out of REST answers")
    add("--fill-candles", action="store_true", help="REST sends flat candles for buckets without trades")
    add(
        "--unknown-products",
        choices=UNKNOWN_PRODUCTS,
        default="leave_out",
        help="what REST does with unknown ids among product_ids (default %(default)s)",
    )
    add(
        "--rest-history",
        type=int,
        default=2000,
        help="how many REST requests the control port lists (default %(default)s)",
    )
    add("--key-file", type=Path, action="append", default=[], help="let this key log in; may be repeated")
    add("--accounts-lag", type=float, default=0.0, metavar="SECONDS", help="REST shows accounts this late")
    add("--extra-wallets", type=int, default=0, metavar="N", help="empty wallets an account has besides")
    add("--faults", type=Path, metavar="FILE", help="fault script")
    add("--no-client-id", action="store_true", help="leave client_id out of envelopes")
    add("--providers", action="store_true", help="play the other providers of market data, too, at the same prices")
    add("--providers-port", type=int, default=0, help="port of the providers, 0 = any free one")
    plans = "plan of everyone who asks the providers (default %(default)s)"
    add("--providers-plan", choices=[FREE, PAID], default=FREE, help=plans)
    add_latency_option(parser)
    add("--die-with-parent", action="store_true", help="end when the parent process ends (Linux only)")


def add_latency_option(parser: argparse.ArgumentParser) -> None:
    """Declare how long the providers take to answer."""
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=TYPICAL_MS,
        metavar="MS",
        help="how long a provider takes to answer: drawn for each request, evenly from 0.75 to 1.25 times this, "
        f"seeded, the same law for all; a fault that slows comes on top; 0 = at once (default {TYPICAL_MS:g})",
    )


def simulate(args: argparse.Namespace, announce: Announce) -> None:
    """Run an exchange with a random market until SIGINT or SIGTERM.

    Raises:
        ConfigError: An argument that cannot be used; nothing was started.
    """
    text = args.products
    products = demo_products(int(text)) if text.isdecimal() else text.split(",")
    market = {"products": products, "quiet": [p for p in args.quiet.split(",") if p], "seed": args.seed}
    options = _options(args, ticks_per_s=args.rate, **market)
    until_signal(
        args, _beside_providers(args, lambda told, guide: run(replace(options, guide=guide), told), announce)
    )


def replay(args: argparse.Namespace, announce: Announce) -> None:
    """Run an exchange that replays the capture `args.file` until SIGINT or SIGTERM.

    Raises:
        ConfigError: An argument or a line of the capture that cannot be used; nothing was started.
    """
    options = _options(args, ticks_per_s=0)
    place = (args.file, args.speed, args.host, args.port)
    until_signal(args, _beside_providers(args, lambda told, _: run_replay(*place, told, options), announce))


async def _beside_providers(
    args: argparse.Namespace,
    exchange: Callable[[Announce, Guide | None], Coroutine[Any, Any, None]],
    announce: Announce,
) -> None:
    """Run an exchange, and the providers beside it if they were asked for; then their market is its guide."""
    if not args.providers:
        await exchange(announce, None)
        return
    options = {"host": args.host, "port": args.providers_port, "plan": args.providers_plan}
    async with serving(**options, latency_ms=args.latency_ms) as fake:
        await exchange(lambda addresses: announce({**addresses, **fake.addresses()}), fake.guide)


def _rate(text: str) -> float:
    value = math.inf if text == "max" else float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError("must be 0 or more, or 'max'")
    return value


def _port(value: int) -> int | None:
    return None if value < 0 else value


def _options(args: argparse.Namespace, *, ticks_per_s: float, **market: Any) -> Options:
    key_files: list[Path] = [*args.key_file, *([args.make_key] if args.make_key else [])]
    if args.make_key:
        make_key_file(args.make_key, args.key_kind, by_id=args.key_by_id, seed_only=args.key_seed_only)
    exchange = ExchangeSettings(
        host=args.host,
        port=args.port,
        user_port=_port(args.user_port),
        rest_port=_port(args.rest_port),
        private_per_s=args.private_rate or None,
        public_per_s=args.public_rate or None,
        rate_headers=not args.no_rate_headers,
        fill_candles=args.fill_candles,
        unknown_products=args.unknown_products,
        rest_history=args.rest_history,
        ticks_per_s=ticks_per_s,
        client_id=not args.no_client_id,
    )
    return Options(
        exchange=exchange,
        control_port=_port(args.control_port),
        key_files=key_files,
        tls_dir=args.tls_dir,
        faults=args.faults,
        accounts_lag_s=args.accounts_lag,
        extra_wallets=args.extra_wallets,
        **market,
    )


def until_signal(args: argparse.Namespace, work: Coroutine[Any, Any, None]) -> None:
    """Do work until it ends, or SIGINT, SIGTERM or (with `args.die_with_parent`) the parent's end cancels it."""
    if args.die_with_parent:
        _die_with_parent()
    asyncio.run(_cancelled_by_signal(work))


async def _cancelled_by_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work, name="simulator")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _die_with_parent() -> None:
    if not sys.platform.startswith("linux"):
        raise ConfigError("--die-with-parent", sys.platform, "works on Linux only")
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise ConfigError("--die-with-parent", os.strerror(ctypes.get_errno()), "prctl must succeed")
    if os.getppid() != parent:  # it died just before the call, so no signal will come
        os.kill(os.getpid(), signal.SIGTERM)
