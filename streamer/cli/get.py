"""`streamer get PRODUCT...`: the newest price, with how much it can be trusted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from streamer import settings
from streamer.cli.common import (
    EXIT_CANNOT_TELL,
    EXIT_FAILED,
    add_redis_option,
    complain,
    need_redis_url,
    run_async,
    words,
)
from streamer.cli.plain import plain
from streamer.errors import ConfigError, StoreUnavailable, StreamerError
from streamer.model import ProductId, Reading, Ticker, Tier, parse_product_id
from streamer.reader.reader import AsyncReader
from streamer.store.connect import Store
from streamer.store.keys import Keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="+", help="such as BTC-USD")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_redis_option(parser)
    parser.epilog = (
        "exit status: 0 every product has a price, 1 some have none, 2 bad input, 3 cannot tell: no Redis"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    products = [parse_product_id(text) for text in arguments.products]
    try:
        return run_async(_get(products, need_redis_url(arguments.redis_url), as_lines=arguments.json))
    except ConfigError:
        raise
    except StreamerError as exc:  # an outage is no miss, to a script neither
        complain(exc)
        return EXIT_CANNOT_TELL


async def _get(products: list[ProductId], url: str, *, as_lines: bool) -> int:
    config = settings.load()
    store = Store(url)
    try:
        reader = AsyncReader(store, Keys(config.key_prefix), stale_after_s=config.stale_after_s)
        readings = await reader.tickers(products)
    finally:
        with suppress(StoreUnavailable):
            await store.close()
    if as_lines:
        rows = {p: as_json(r) if r is not None else None for p, r in readings.items()}
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(readings)
    return EXIT_FAILED if None in readings.values() else 0


def as_json(reading: Reading[Ticker]) -> dict[str, Any]:
    """Return a reading as JSON: money as strings, ages in seconds."""
    ticker = reading.value
    return {
        "product_id": ticker.product_id,
        "price": str(ticker.price),
        "best_bid": str(ticker.best_bid) if ticker.best_bid is not None else None,
        "best_ask": str(ticker.best_ask) if ticker.best_ask is not None else None,
        "tier": reading.tier.value,
        "age_s": round(reading.age_s, 3),
        "value_age_s": round(reading.value_age_s, 3),
        "as_of": reading.as_of.isoformat(),
        "source": reading.source,
        "reason": reading.reason,
        "alias_of": ticker.alias_of,
    }


def _print(readings: Mapping[ProductId, Reading[Ticker] | None]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("product", "left"), ("price", "right"), ("bid", "right"), ("ask", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name in ("tier", "age", "value age", "source"):
        table.add_column(name, no_wrap=True)
    notes = []
    for product_id, reading in readings.items():
        if reading is None:
            table.add_row(product_id, "-", "", "", "none")
            notes.append(
                f"{product_id}: no price in Redis: not streamed yet (streamer wanted add {product_id}), "
                "or unknown to the exchange (stream-status tells)"
            )
            continue
        ticker, live = reading.value, reading.tier is Tier.REALTIME
        table.add_row(
            product_id,
            str(ticker.price),
            str(ticker.best_bid) if ticker.best_bid is not None else "",
            str(ticker.best_ask) if ticker.best_ask is not None else "",
            words(reading.tier, "green" if live else "red"),
            f"{reading.age_s:.1f} s",
            f"{reading.value_age_s:.1f} s",
            words(reading.source),
        )
        if reading.reason:
            notes.append(f"{product_id}: {reading.reason}")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    for note in notes:
        print(plain(note), file=sys.stderr)
