"""`streamer watch PRODUCT...`: a line for every change, as it is pushed."""

from __future__ import annotations

import argparse
import sys
from contextlib import aclosing

import orjson
from rich.console import Console
from rich.text import Text

from streamer.cli.common import add_redis_option, need_redis_url, run_async, words
from streamer.cli.plain import plain
from streamer.model import ProductId, Reading, Ticker, Tier, parse_product_id
from streamer.reader.reader import AsyncReader
from streamer.reader.shown import ticker_json


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
    console = Console(highlight=False, soft_wrap=True)
    printed = 0
    async with AsyncReader(url, rest=False, caller="cli") as reader:
        # Asked once before: a Redis that was never there is an error, one that drops later is waited for.
        await reader.explain(products[0])
        async with aclosing(reader.watch(products, on_outage=_say)) as changes:
            async for product_id, now in changes:
                if as_lines:
                    print(orjson.dumps(ticker_json(now)).decode(), flush=True)
                else:
                    console.print(_line(product_id, now))
                printed += 1
                if count is not None and printed >= count:
                    break
    return 0


def _say(why: str | None) -> None:
    """Say once that Redis has gone, and once that it is back."""
    print("Redis is back" if why is None else f"{plain(why)}; waiting for it", file=sys.stderr, flush=True)


def _line(product_id: ProductId, now: Reading[Ticker]) -> Text:
    line = words(f"{now.as_of:%H:%M:%S.%f} {product_id:<12} {now.value.price:>16} {now.source}")
    if now.tier is not Tier.REALTIME:
        line.append_text(words(f" {now.tier}: {now.reason}", "red"))
    return line
