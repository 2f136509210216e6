"""`streamer explain PRODUCT | --symbol S`: what each tier or provider has, and why it is or is not served."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamer.cli import story
from streamer.cli.common import EXIT_CANNOT_TELL, complain, need_redis_url, run_async, words
from streamer.cli.data import add_data_options, end_help
from streamer.cli.plain import plain
from streamer.errors import ConfigError, StreamerError
from streamer.model import Explanation, ProductId, TierSays, parse_product_id
from streamer.reader.reader import AsyncReader
from streamer.reader.shown import ticker_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("product", metavar="PRODUCT_ID", nargs="?", help="what is streamed, such as BTC-USD; REST is not asked")
    add("--symbol", metavar="S", help="instead: ask other providers, and tell what became of each one's turn")
    add("--interval", metavar="I", help="of bars, with --symbol; without it the price is asked for")
    add("--json", action="store_true", help="print one JSON object")
    add_data_options(parser)
    end_help(parser, "0 told, 1 no provider has anything, 2 bad input, 3 cannot tell: no Redis")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if (arguments.product is None) == (arguments.symbol is None):
        raise ConfigError("explain", arguments.product or "nothing", "expected a product id, or --symbol")
    try:
        if arguments.symbol is not None:
            return story.execute(arguments)
        _check_alone(arguments)
        product_id = parse_product_id(arguments.product)
        url = need_redis_url(arguments.redis_url)
        return run_async(_explain(product_id, url, arguments.max_age_s, as_lines=arguments.json))
    except ConfigError:
        raise
    except StreamerError as exc:
        complain(exc)
        return EXIT_CANNOT_TELL


def _check_alone(arguments: argparse.Namespace) -> None:
    for name in ("interval", "provider", "timeout_s", "trading"):
        if getattr(arguments, name):
            raise ConfigError(f"--{name.replace('_', '-')}", getattr(arguments, name), "it goes with --symbol")


async def _explain(product_id: ProductId, url: str, max_age_s: float | None, *, as_lines: bool) -> int:
    async with AsyncReader(url, caller="cli") as reader:
        explanation = await reader.explain(product_id, max_age_s=max_age_s)
    if as_lines:
        print(orjson.dumps(explanation_json(explanation), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(explanation)
    return 0


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON; `served` is null where REST would be asked."""
    return {
        "what": explanation.what,
        "tiers": [
            {
                "where": says.where,
                "reading": ticker_json(says.reading) if says.reading is not None else None,
                "served": says.why_not is None,
                "why_not": says.why_not,
            }
            for says in explanation.tiers
        ],
        "served": ticker_json(explanation.served) if explanation.served is not None else None,
    }


def _print(explanation: Explanation) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("where", no_wrap=True)
    table.add_column("tier", no_wrap=True)
    table.add_column("price", justify="right", no_wrap=True)
    for name in ("age", "value age", "source"):
        table.add_column(name, no_wrap=True)
    table.add_column("served", overflow="fold")
    for says in explanation.tiers:
        table.add_row(words(says.where), *_figures(says), words(_why(says), "red" if says.why_not else "green"))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    served = explanation.served
    if served is None:
        print(plain(f"{explanation.what}: REST would be asked"))
        return
    print(plain(f"{explanation.what}: {served.value.price} is served, {served.tier}, {served.age_s:.1f} s old"))


def _figures(says: TierSays) -> list[str | Text]:
    found = says.reading
    if found is None:
        return ["-", "", "", "", ""]
    ages = (f"{age_s:.1f} s" for age_s in (found.age_s, found.value_age_s))
    return [found.tier.value, str(found.value.price), *ages, words(found.source)]


def _why(says: TierSays) -> str:
    if says.why_not is not None:
        return f"no: {says.why_not}"
    note = says.reading.reason if says.reading is not None else None
    return f"yes: {note}" if note else "yes"
