"""`streamer price SYMBOL...`: the newest price from any provider, with who says so and how good that is."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamer.cli.common import EXIT_CANNOT_TELL, EXIT_FAILED, complain, need_redis_url, run_async, words
from streamer.cli.data import (
    add_data_options,
    desk_at,
    end_help,
    how_of,
    mark_of,
    missing_json,
    print_json,
    score_of,
    seconds,
    show,
    table_of,
    tier_of,
    unknown,
)
from streamer.cli.plain import plain
from streamer.data.ask import Served
from streamer.data.desk import DataDesk
from streamer.data.manager import How
from streamer.data.shown import price_json, verification_json
from streamer.data.verification import Verification
from streamer.errors import ConfigError, StreamerError, Unavailable, UnknownSymbol
from streamer.providers.shape import Price, Symbol
from streamer.providers.symbols import parse_symbol


@dataclass(frozen=True, slots=True)
class Priced:
    """What came of one symbol; `checked` where several providers were to be compared."""

    served: Served[Price]
    checked: Verification | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("symbols", metavar="SYMBOL", nargs="+", help="such as BTC-USD, BTCUSDT, BTC/USD, SPY")
    parser.add_argument("--verify", action="store_true", help="ask several providers, and say who disagrees")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_data_options(parser)
    end_help(parser, "0 all prices are there, 1 one is not, 2 bad input, 3 cannot tell: no Redis")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    symbols = list(dict.fromkeys(parse_symbol(text) for text in arguments.symbols))
    how = how_of(arguments)
    try:
        url = need_redis_url(arguments.redis_url)
        return run_async(_ask(symbols, how, url, arguments))
    except ConfigError:
        raise
    except StreamerError as exc:
        complain(exc)
        return EXIT_CANNOT_TELL


async def _ask(symbols: Sequence[Symbol], how: How, url: str, arguments: argparse.Namespace) -> int:
    async with desk_at(url) as desk:
        outcomes = await asyncio.gather(*(_one(desk, symbol, how, arguments.verify) for symbol in symbols))
        found = dict(zip(symbols, outcomes, strict=True))
        if arguments.json:
            print_json({str(symbol): _json(desk, one) for symbol, one in found.items()})
        else:
            _print(desk, found)
    return EXIT_FAILED if any(isinstance(one, Unavailable) for one in outcomes) else 0


async def _one(desk: DataDesk, symbol: Symbol, how: How, verify: bool) -> Priced | Unavailable:
    try:
        if verify:
            return Priced(*await desk.verified_price(symbol, how))
        return Priced(await desk.price(symbol, how))
    except Unavailable as exc:
        return exc
    except UnknownSymbol as exc:
        return unknown(exc, f"price {symbol}")


def _json(desk: DataDesk, one: Priced | Unavailable) -> dict[str, Any]:
    if isinstance(one, Unavailable):
        return missing_json(one)
    return price_json(one.served, desk.score(one.served), one.checked)


def _print(desk: DataDesk, found: Mapping[Symbol, Priced | Unavailable]) -> None:
    right = frozenset(("price", "age", "value age", "score"))
    table = table_of("symbol,price,provider,instrument,tier,age,value age,score,note", right=right)
    notes = []
    for symbol, one in found.items():
        if isinstance(one, Unavailable):
            table.add_row(str(symbol), "-", "", "", "none")
            notes += [f"{symbol}: {provider}: {why}" for provider, why in one.tiers.items()]
            continue
        served, price = one.served, one.served.found.value
        table.add_row(
            str(price.symbol),
            f"{price.price:f}",
            served.found.provider,
            price.instrument.value,
            tier_of(served),
            seconds(served.found.age_s),
            seconds(served.value_age_s),
            score_of(desk, served),
            words(mark_of(served)),
        )
        if served.reason:
            notes.append(f"{symbol}: {served.reason}")
    show(table)
    compared = {symbol: one.checked for symbol, one in found.items() if isinstance(one, Priced) and one.checked}
    if compared:
        print()
        notes += _print_sources(compared)
    for note in notes:
        print(plain(note), file=sys.stderr)


def _print_sources(compared: Mapping[Symbol, Verification]) -> list[str]:
    """Print what each provider says, and return what there is to say of it in words."""
    table = table_of(
        "symbol,source,price,off by,tier,age,compared as,verdict", right=frozenset(("price", "off by", "age"))
    )
    notes = []
    for symbol, checked in compared.items():
        told = verification_json(checked)
        for group in told["groups"]:
            for source in group["sources"]:
                disagrees = source["provider"] in group["dissenters"]
                table.add_row(
                    str(symbol),
                    source["provider"],
                    source["price"],
                    f"{source['deviation_bp']:+.2f} bp",
                    source["tier"],
                    seconds(source["age_s"]),
                    words(group["of"]),
                    words("disagrees", "red") if disagrees else words(group["verdict"]),
                )
            if group["dissenters"]:
                notes.append(_disagreement(symbol, group))
        if told["unusable"]:
            notes.append(f"{symbol}: no price to compare from {', '.join(told['unusable'])}")
    show(table)
    return notes


def _disagreement(symbol: Symbol, group: Mapping[str, Any]) -> str:
    who = ", ".join(group["dissenters"])
    clear = "" if group["is_clear"] else "; who of them is wrong cannot be told"
    return f"{symbol}: {who} disagrees by more than {group['tolerance_bp']:g} bp ({group['of']}){clear}"
