"""`streamer watch PRODUCT...`: a line for every change, as it is pushed."""

from __future__ import annotations

import argparse
from contextlib import suppress

import orjson
from rich.console import Console

from streamer import settings
from streamer.cli.common import add_redis_option, need_redis_url, run_async
from streamer.cli.get import as_json
from streamer.errors import StoreUnavailable
from streamer.model import ProductId, Tier, parse_product_id
from streamer.reader.reader import AsyncReader
from streamer.store.connect import Store
from streamer.store.keys import Keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="+", help="such as BTC-USD")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--count", type=int, metavar="N", help="end after N lines")
    add_redis_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command until it is interrupted, or has printed `--count` lines."""
    products = [parse_product_id(text) for text in arguments.products]
    url = need_redis_url(arguments.redis_url)
    return run_async(_watch(products, url, as_lines=arguments.json, count=arguments.count))


async def _watch(products: list[ProductId], url: str, *, as_lines: bool, count: int | None) -> int:
    config = settings.load()
    store = Store(url)
    console = Console(highlight=False, soft_wrap=True)
    printed = 0
    try:
        # Asked once before: a Redis that was never there is an error, one that drops later is waited for.
        reader = AsyncReader(store, Keys(config.key_prefix), stale_after_s=config.stale_after_s)
        await reader.tickers(products)
        async for product_id, now in reader.watch(products):
            if as_lines:
                print(orjson.dumps(as_json(now)).decode(), flush=True)
            else:
                mark = "" if now.tier is Tier.REALTIME else f" [red]{now.tier}: {now.reason}[/]"
                console.print(f"{now.as_of:%H:%M:%S.%f} {product_id:<12} {now.value.price:>16} {now.source}{mark}")
            printed += 1
            if count is not None and printed >= count:
                break
    finally:
        with suppress(StoreUnavailable):
            await store.close()
    return 0
