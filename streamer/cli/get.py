"""`streamer get PRODUCT... | --balances`: the newest price or balance, with how much it can be trusted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

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
from streamer.errors import ConfigError, StoreUnavailable, StreamerError, UnknownProduct
from streamer.model import Answers, Balance, Basis, ProductId, Reading, Ticker, Tier, parse_product_id
from streamer.reader.questions import How
from streamer.reader.reader import AsyncReader
from streamer.reader.shown import balance_json, ticker_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="*", help="such as BTC-USD")
    parser.add_argument("--balances", action="store_true", help="what the account holds of each currency")
    parser.add_argument("--all", action="store_true", help="also currencies of which it holds nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--no-rest", action="store_true", help="do not ask the exchange for what Redis does not have"
    )
    parser.add_argument("--max-age-s", type=float, metavar="S", help="print nothing that is older")
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
        return run_async(_ask(products, url, arguments))
    except ConfigError:
        raise
    except StreamerError as exc:  # an outage is no miss, to a script neither
        complain(exc)
        return EXIT_CANNOT_TELL


async def _ask(products: list[ProductId], url: str, arguments: argparse.Namespace) -> int:
    how: How = {"max_age_s": arguments.max_age_s}
    async with AsyncReader(url, rest=not arguments.no_rest, caller="cli") as reader:
        if arguments.balances:
            return _tell_balances(await reader.balances(**how), arguments)
        return _tell(products, await reader.tickers(products, **how), arguments)


def _tell(products: list[ProductId], answers: Answers[ProductId, Ticker], arguments: argparse.Namespace) -> int:
    _need_redis(answers)
    if arguments.json:
        _print_json(
            {p: ticker_json(answers[p]) if p in answers else missing_json(answers.missing[p]) for p in products}
        )
    else:
        _print(products, answers)
    return _status(answers)


def _tell_balances(answers: Answers[str, Balance], arguments: argparse.Namespace) -> int:
    _need_redis(answers)
    shown = {c: reading for c, reading in answers.items() if arguments.all or reading.value.total}
    missing = {c: error for c, error in answers.missing.items() if c}
    if arguments.json:
        rows = {c: balance_json(reading) for c, reading in shown.items()}
        _print_json(dict(sorted((rows | {c: missing_json(error) for c, error in missing.items()}).items())))
    elif answers or missing:
        _print_balances(shown, missing, hidden=len(answers) - len(shown))
    if not answers and not missing:
        for error in answers.missing.values():
            print(plain(str(error)), file=sys.stderr)
        print("no balances: is start-stream running with a key? (stream-status tells)", file=sys.stderr)
        return EXIT_FAILED
    return _status(answers)


def _need_redis(answers: Answers[Any, Any]) -> None:
    """Raise where nothing is known because Redis does not answer: that is an outage, no miss."""
    for error in answers.missing.values():
        if not answers and isinstance(error.__cause__, StoreUnavailable):
            raise error


def _status(answers: Answers[Any, Any]) -> int:
    errors = answers.missing.values()
    if any(isinstance(error.__cause__, StoreUnavailable) for error in errors):
        return EXIT_CANNOT_TELL
    return EXIT_FAILED if errors else 0


def missing_json(error: StreamerError) -> dict[str, Any]:
    """Return what is printed as JSON for something that could not be served."""
    return {"tier": None, "error": str(error)}


def _print_json(rows: Mapping[str, Any]) -> None:
    print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())


def _print_balances(
    readings: Mapping[str, Reading[Balance]], missing: Mapping[str, StreamerError], *, hidden: int
) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("currency", no_wrap=True)
    for name in ("available", "hold", "total"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("basis", "tier", "age", "source"):
        table.add_column(name, no_wrap=True)
    reasons: dict[str, list[str]] = {}
    for currency in sorted([*readings, *missing]):
        reading = readings.get(currency)
        if reading is None:
            table.add_row(words(currency), "-", "", "", "", "none")
            reasons.setdefault(str(missing[currency]), []).append(currency)
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


def _why(product_id: ProductId, error: StreamerError) -> str:
    if isinstance(error, UnknownProduct) or isinstance(error.__cause__, StoreUnavailable):
        return str(error)
    return f"{error}; to have it streamed: streamer wanted add {product_id}"


def _print(products: list[ProductId], answers: Answers[ProductId, Ticker]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("product", "left"), ("price", "right"), ("bid", "right"), ("ask", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name in ("tier", "age", "value age", "source"):
        table.add_column(name, no_wrap=True)
    notes = []
    for product_id in dict.fromkeys(products):
        reading = answers.get(product_id)
        if reading is None:
            table.add_row(product_id, "-", "", "", "none")
            notes.append(f"{product_id}: {_why(product_id, answers.missing[product_id])}")
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
