"""The whole simulator in one call: market host, user host, control port and an optional fault script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError
from streamer.simulator.account import Bank
from streamer.simulator.control import ControlServer
from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.faults import Timed, parse_script
from streamer.simulator.keys import load_public_key
from streamer.simulator.market import Guide, Market, RandomWalkMarket, demo_products
from streamer.simulator.recording import Recording
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.tls import make_server_tls

Announce = Callable[[dict[str, Any]], None]
"""Is called once, with the addresses, when everything listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run.

    Attributes:
        exchange: How the exchange behaves.
        control_port: Port of the control port (always on 127.0.0.1), 0 for any free one, None for none.
        products: Product ids of the random market.
        quiet: Those of them that never trade by themselves.
        seed: Seed of the random market.
        key_files: Coinbase key files whose keys may log in.
        tls_dir: Folder for a throw-away CA and certificate; None for plain `ws://`.
        faults: A fault script; its times count from the moment everything listens.
        accounts_lag_s: REST shows accounts and orders as they were this long ago.
        extra_wallets: How many empty wallets each account has besides those with money.
        guide: The market that the random one keeps to, None for none.
    """

    exchange: ExchangeSettings = field(default_factory=ExchangeSettings)
    control_port: int | None = 0
    products: Sequence[str] = field(default_factory=lambda: demo_products(10))
    quiet: Sequence[str] = ()
    seed: int = 0
    key_files: Sequence[Path] = ()
    tls_dir: Path | None = None
    faults: Path | None = None
    accounts_lag_s: float = 0.0
    extra_wallets: int = 0
    guide: Guide | None = None


async def run(options: Options, announce: Announce) -> None:
    """Run an exchange with a random market until cancelled; stops within about a second.

    Args:
        options: What to run.
        announce: Called once with the addresses: `url`, `user_url`, `rest_url`, `control_port`, `ca`,
            `products`, `keys`.

    Raises:
        ConfigError: A port, file or script that cannot be used; nothing was started.
    """
    market = RandomWalkMarket(
        options.products, options.seed, quiet=options.quiet, guide=options.guide, born_s=time.time()
    )
    await _run(market, options, announce)


async def run_replay(
    file: Path | str, speed: float, host: str, port: int, announce: Announce, options: Options | None = None
) -> None:
    """Run an exchange that replays a capture until cancelled; it stays up when the capture has ended.

    Args:
        file: The capture.
        speed: How many recorded seconds pass in one second.
        host: Address of the exchange; takes precedence over `options`.
        port: Port of the market host; takes precedence over `options`.
        announce: As for `run`.
        options: The rest; products, seed and guide are not used.

    Raises:
        ConfigError: As for `run`, and for a capture that breaks the format.
    """
    given = options or Options()
    exchange = replace(given.exchange, host=host, port=port)
    await _run(Recording.load(file, speed=speed), replace(given, exchange=exchange), announce)


async def _run(market: Market, options: Options, announce: Announce) -> None:
    script = _load_script(options.faults)
    keys = dict(load_public_key(path) for path in options.key_files)
    tls = make_server_tls(options.tls_dir) if options.tls_dir else None
    bank = Bank(lag_s=options.accounts_lag_s, extra_wallets=options.extra_wallets)
    context = tls.context if tls else None
    exchange = ExchangeServer(market, options.exchange, keys=keys, ssl_context=context, bank=bank)
    async with exchange:
        if options.control_port is None:
            announce(_addresses(exchange, None, tls.ca_path if tls else None, keys))
            await _play(exchange, script)
            return
        async with ControlServer(exchange.command, port=options.control_port) as control:
            announce(_addresses(exchange, control.port, tls.ca_path if tls else None, keys))
            await _play(exchange, script)


async def _play(exchange: ExchangeServer, script: Sequence[Timed]) -> None:
    loop = asyncio.get_running_loop()
    from_s = loop.time()
    for at_s, command in script:
        await asyncio.sleep(max(0.0, from_s + at_s - loop.time()))
        exchange.command(command)
    await exchange.wait()


def _addresses(
    exchange: ExchangeServer, control_port: int | None, ca: Path | None, keys: Mapping[str, str]
) -> dict[str, Any]:
    has_user = exchange.settings.user_port is not None
    return {
        "url": exchange.url,
        "user_url": exchange.user_url if has_user else None,
        "port": exchange.port,
        "user_port": exchange.user_port if has_user else None,
        "rest_url": exchange.rest_url,
        "rest_port": exchange.rest.port if exchange.rest is not None else None,
        "control_port": control_port,
        "ca": str(ca) if ca else None,
        "products": list(exchange.market.products),
        "keys": list(keys),
    }


def _load_script(path: Path | None) -> list[Timed]:
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError("faults", str(path), f"cannot be read: {exc}") from exc
    return parse_script(text, str(path))
