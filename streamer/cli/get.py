"""`streamer get PRODUCT... | --balances`: the newest price or balance, with how much it can be trusted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
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
from streamer.model import Balance, Basis, ProductId, Reading, Ticker, Tier, parse_product_id
from streamer.reader.reader import AsyncReader
from streamer.store.connect import Store
from streamer.store.keys import Keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="*", help="such as BTC-USD")
    parser.add_argument("--balances", action="store_true", help="what the account holds of each currency")
    parser.add_argument("--all", action="store_true", help="also currencies of which it holds nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_redis_option(parser)
    parser.epilog = (
        "exit status: 0 all that was asked for is there, 1 something is not, 2 bad input, 3 cannot tell: no Redis"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    products = [parse_product_id(text) for text in arguments.products]
    if arguments.balances == bool(products):
        raise ConfigError("get", " ".join(products) or "nothing", "expected product ids, or --balances alone")
    try:
        url = need_redis_url(arguments.redis_url)
        if arguments.balances:
            return run_async(_get_balances(url, as_lines=arguments.json, also_empty=arguments.all))
        return run_async(_get(products, url, as_lines=arguments.json))
    except ConfigError:
        raise
    except StreamerError as exc:  # an outage is no miss, to a script neither
        complain(exc)
        return EXIT_CANNOT_TELL


@asynccontextmanager
async def _reader(url: str) -> AsyncIterator[AsyncReader]:
    config = settings.load()
    store = Store(url)
    try:
        yield AsyncReader(store, Keys(config.key_prefix), stale_after_s=config.stale_after_s)
    finally:
        with suppress(StoreUnavailable):
            await store.close()


async def _get(products: list[ProductId], url: str, *, as_lines: bool) -> int:
    async with _reader(url) as reader:
        readings = await reader.tickers(products)
    if as_lines:
        rows = {p: as_json(r) if r is not None else None for p, r in readings.items()}
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(readings)
    return EXIT_FAILED if None in readings.values() else 0


async def _get_balances(url: str, *, as_lines: bool, also_empty: bool) -> int:
    async with _reader(url) as reader:
        readings = await reader.balances()
    shown = {c: r for c, r in readings.items() if also_empty or r is None or r.value.total}
    if as_lines:
        rows = {c: balance_json(reading) if reading is not None else None for c, reading in shown.items()}
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    elif readings:
        _print_balances(shown, hidden=len(readings) - len(shown))
    if not readings:
        print("no balances in Redis: is start-stream running with a key? (stream-status tells)", file=sys.stderr)
    return EXIT_FAILED if not readings or None in readings.values() else 0


def balance_json(reading: Reading[Balance]) -> dict[str, Any]:
    """Return a balance as JSON: money as strings, ages in seconds."""
    balance = reading.value
    return {
        "currency": balance.currency,
        "available": f"{balance.available:f}",
        "hold": f"{balance.hold:f}",
        "total": f"{balance.total:f}",
        "basis": balance.basis.value,
        "tier": reading.tier.value,
        "age_s": round(reading.age_s, 3),
        "value_age_s": round(reading.value_age_s, 3),
        "as_of": reading.as_of.isoformat(),
        "source": reading.source,
        "reason": reading.reason,
        "account_uuid": balance.account_uuid,
    }


def _print_balances(readings: Mapping[str, Reading[Balance] | None], *, hidden: int) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("currency", no_wrap=True)
    for name in ("available", "hold", "total"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("basis", "tier", "age", "source"):
        table.add_column(name, no_wrap=True)
    reasons: dict[str, list[str]] = {}
    for currency, reading in readings.items():
        if reading is None:
            table.add_row(words(currency), "-", "", "", "", "none")
            reasons.setdefault("nothing readable in Redis", []).append(currency)
            continue
        balance, live = reading.value, reading.tier is Tier.REALTIME
        table.add_row(
            words(currency),
            *(f"{amount:f}" for amount in (balance.available, balance.hold, balance.total)),
            words(balance.basis, "green" if balance.basis is Basis.CONFIRMED else "yellow"),
            words(reading.tier, "green" if live else "red"),
            f"{reading.age_s:.1f} s",
            words(reading.source),
        )
        if reading.reason:
            reasons.setdefault(reading.reason, []).append(currency)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    for reason, currencies in reasons.items():
        print(plain(f"{', '.join(currencies)}: {reason}"), file=sys.stderr)
    if hidden:
        print(f"{hidden} empty ones not shown (--all)", file=sys.stderr)


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
        "status": ticker.status,
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
