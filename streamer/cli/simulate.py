"""`streamer simulate`: a simulated Coinbase on this machine, other providers if asked for, and faults to order."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson
from rich.console import Console

from streamer.simulator import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the addresses as one JSON line")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command until it is interrupted."""
    command.simulate(arguments, announce_json if arguments.json else announce)
    return 0


def announce_json(addresses: dict[str, Any]) -> None:
    """Print where the exchange listens, for a script."""
    print(orjson.dumps(addresses).decode(), flush=True)


def announce(addresses: dict[str, Any]) -> None:
    """Print where all listen, and the command that streams from it."""
    console = Console(highlight=False, soft_wrap=True)
    products = addresses["products"]
    shown = " ".join(products[:4]) + (" ..." if len(products) > 4 else "")
    trust = f"STREAMER_CA_FILE={addresses['ca']} " if addresses["ca"] else ""
    console.print(f"market data   [bold]{addresses['url']}[/]  ({len(products)} products: {shown})")
    if addresses["user_url"]:
        keys = f"{len(addresses['keys'])} key(s)" if addresses["keys"] else "no key: see --make-key"
        console.print(f"user data     {addresses['user_url']}  ({keys})")
    if addresses["rest_url"]:
        console.print(f"REST          {addresses['rest_url']}")
    if addresses["control_port"]:
        console.print(f"control port  {addresses['control_port']}  (one JSON object a line, such as the next)")
        console.print(
            '              {"fault": "silence", "for_s": 10}   {"query": "state"}   {"heal": true}', markup=False
        )
    ids = " ".join(products[:10])
    console.print(f"stream it     {trust}start-stream {ids} --ws-url {addresses['url']} --exchange simulator")
    if "providers" in addresses:
        _announce_providers(console, addresses)
    sys.stdout.flush()


def _announce_providers(console: Console, addresses: dict[str, Any]) -> None:
    control = f"{addresses['providers_url']}/_control"
    console.print(f"providers     [bold]{addresses['providers_url']}[/]  ({' '.join(addresses['providers'])})")
    console.print(f"orders        POST {control}  (one JSON object, such as the next; counts: GET {control}/state)")
    console.print(
        '              {"fault": "lie", "provider": "binance", "for_s": 60}   {"heal": true}', markup=False
    )
    for name, url in addresses["providers_env"].items():
        console.print(f"export {name}={url}")
