"""`streamer wanted list|add|remove`: what is streamed, changed while the stream runs."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from streamer import settings
from streamer.cli.common import add_redis_option, need_redis_url, run_async
from streamer.cli.plain import plain
from streamer.errors import ConfigError, StoreUnavailable
from streamer.model import ProductId, parse_product_id
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.store.wanted import WantedSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("list", "add", "remove"), nargs="?", default="list")
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="*", help="such as SOL-USD")
    parser.add_argument("--json", action="store_true", help="list as one JSON object")
    add_redis_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    products = [parse_product_id(text) for text in arguments.products]
    if (arguments.action == "list") == bool(products):
        rule = "list takes no products" if products else f"{arguments.action} needs at least one, such as SOL-USD"
        raise ConfigError("PRODUCT_ID", arguments.products, rule)
    return run_async(_run(arguments.action, products, need_redis_url(arguments.redis_url), arguments.json))


async def _run(action: str, products: list[ProductId], url: str, as_json: bool) -> int:
    store = Store(url)
    wanted = WantedSet(store, Keys(settings.load().key_prefix))
    try:
        if action == "add":
            added = await wanted.add(products, by="cli")
            print(f"added {len(added)} of {len(products)}: {', '.join(added) or 'all were wanted already'}")
        elif action == "remove":
            removed = await wanted.remove(products)
            print(f"removed {removed} of {len(products)}")
        else:
            await _list(wanted, as_json)
    finally:
        with suppress(StoreUnavailable):
            await store.close()
    return 0


async def _list(wanted: WantedSet, as_json: bool) -> None:
    held = dict(sorted((await wanted.all()).items()))
    if as_json:
        # Not orjson: it takes no number beyond 64 bits, and whoever can write to Redis can write one.
        print(msgspec.json.format(msgspec.json.encode(held)).decode())
        return
    for product_id, want in held.items():
        why = "pinned" if want.pinned else "on demand"
        print(f"{product_id:<16} {why:<10} by {plain(want.by)}, {_when(want.asked_ms)}")
    if not held:
        print("no products wanted; add some: streamer wanted add BTC-USD", file=sys.stderr)


def _when(unix_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%F %T} UTC"
    except (OverflowError, ValueError, OSError):  # whoever can write to Redis can write any number
        return "at no time a calendar has"
