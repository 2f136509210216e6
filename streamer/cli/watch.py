"""`streamer watch PRODUCT...`: a line for every change, as it is pushed."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import orjson
from rich.console import Console
from rich.text import Text

from streamer import settings
from streamer.cli.common import add_redis_option, need_redis_url, run_async, words
from streamer.cli.get import as_json
from streamer.cli.plain import plain
from streamer.errors import StoreUnavailable
from streamer.model import ProductId, Reading, Ticker, Tier, parse_product_id
from streamer.reader.reader import AsyncReader
from streamer.store.connect import Store
from streamer.store.keys import Keys

_RETRY_S = 0.5


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
        async with aclosing(_changes(store, reader, products)) as changes:
            async for product_id, now in changes:
                if as_lines:
                    print(orjson.dumps(as_json(now)).decode(), flush=True)
                else:
                    console.print(_line(product_id, now))
                printed += 1
                if count is not None and printed >= count:
                    break
    finally:
        with suppress(StoreUnavailable):
            await store.close()
    return 0


async def _changes(
    store: Store, reader: AsyncReader, products: list[ProductId]
) -> AsyncGenerator[tuple[ProductId, Reading[Ticker]], None]:
    """Yield every change, however often Redis goes and comes back; each of both is said once."""
    is_away = False
    while True:
        try:
            if is_away:
                # Each connection of the pool died with Redis; kept, each would fail once more after its return.
                await store.answer(store.client.connection_pool.disconnect())
                await reader.tickers(products)  # a Redis that came back empty has no change to tell it by
                is_away = False
                print("Redis is back", file=sys.stderr, flush=True)
            async with aclosing(reader.watch(products)) as changes:
                async for change in changes:
                    yield change
        except StoreUnavailable as exc:
            if not is_away:
                print(f"{plain(str(exc))}; waiting for it", file=sys.stderr, flush=True)
            is_away = True
            await asyncio.sleep(_RETRY_S)


def _line(product_id: ProductId, now: Reading[Ticker]) -> Text:
    line = words(f"{now.as_of:%H:%M:%S.%f} {product_id:<12} {now.value.price:>16} {now.source}")
    if now.tier is not Tier.REALTIME:
        line.append_text(words(f" {now.tier}: {now.reason}", "red"))
    return line
