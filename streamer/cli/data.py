"""What the commands about other providers' data share: their options, the desk they ask, and how a miss is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamer import logs, settings
from streamer.cli.common import add_redis_option, words
from streamer.data.ask import Served
from streamer.data.desk import DataDesk
from streamer.data.manager import How
from streamer.data.provider import Progress
from streamer.data.settings import describe_data
from streamer.errors import ConfigError, StoreUnavailable, StreamerError, Unavailable, UnknownSymbol
from streamer.model import Priority, Tier
from streamer.reader.reader import AsyncReader
from streamer.store.connect import Store

T = TypeVar("T")

PIPED_WIDTH = 200
"""Columns of a table that no terminal is to show."""
_MARKS = {Tier.REALTIME: "green", Tier.REST: "green", Tier.CACHE: "green"}


def add_data_options(parser: argparse.ArgumentParser, *, timeout_s: float | None = None) -> None:
    """Add what says whom to ask and how, and the settings to the end of the help.

    Args:
        timeout_s: Default of `--timeout-s`; None leaves it to the setting.
    """
    parser.add_argument("--provider", metavar="P", help="only this one (default: in the order of the settings)")
    parser.add_argument("--max-age-s", type=float, metavar="S", help="print nothing that is older")
    shown = "STREAMER_DATA_TIMEOUT_S" if timeout_s is None else f"{timeout_s:g}"
    parser.add_argument(
        "--timeout-s", type=float, metavar="S", default=timeout_s, help=f"wait so long at most (default {shown})"
    )
    parser.add_argument("--trading", action="store_true", help="it is urgent: a second provider is asked soon")
    add_redis_option(parser)


def end_help(parser: argparse.ArgumentParser, statuses: str) -> None:
    """Have the help end with the exit statuses and the settings."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"exit status: {statuses}\n\n{describe_data()}"


def how_of(arguments: argparse.Namespace, progress: Progress | None = None) -> How:
    """Return how the arguments want an answer.

    Raises:
        ConfigError: A time is none.
    """
    if arguments.max_age_s is not None and not arguments.max_age_s >= 0:
        raise ConfigError("--max-age-s", arguments.max_age_s, "expected seconds, 0 or more")
    if arguments.timeout_s is not None and not arguments.timeout_s > 0:
        raise ConfigError("--timeout-s", arguments.timeout_s, "expected seconds, more than 0")
    priority = Priority.TRADING if arguments.trading else Priority.MARKET_DATA
    return How(arguments.provider, arguments.max_age_s, arguments.timeout_s, priority, "cli", progress)


@asynccontextmanager
async def desk_at(url: str) -> AsyncIterator[DataDesk]:
    """Open all that it takes to ask providers, with their scores as all processes have seen them.

    Without Redis nobody is asked: each run of a command would have a budget of its own.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    config = settings.load()
    logs.configure("error")  # alerts of bad data are told as part of the answer, and stdout is for that
    store = Store(url, max_connections=32)
    async with AsyncReader(url, caller="cli", settings=config) as reader:
        desk = DataDesk(reader, store, config)
        try:
            await desk.keeper.scores()
            yield desk
        finally:
            await desk.close()
            with suppress(StoreUnavailable):
                await store.close()


def missing_json(error: StreamerError) -> dict[str, Any]:
    """Return what is printed as JSON for something that could not be served; `tiers` says why, by provider."""
    tiers = error.tiers if isinstance(error, Unavailable) else {}
    return {"tier": None, "error": str(error), "tiers": tiers}


def unknown(error: UnknownSymbol, what: str) -> Unavailable:
    """Return that nobody knows a symbol as what it is to a command: something that could not be served."""
    return Unavailable(what, {"providers": error.why})


def print_json(body: object) -> None:
    """Print one JSON value."""
    print(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())


def table_of(columns: str, *, right: frozenset[str] = frozenset()) -> Table:
    """Return an empty table; `columns` are comma separated, those in `right` are aligned as figures."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns.split(","):
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    return table


def show(table: Table) -> None:
    """Print a table, wide enough for other programs where no terminal shows it."""
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def tier_of(served: Served[Any]) -> Text:
    """Return a tier in its colour."""
    return words(served.found.tier, _MARKS.get(served.found.tier, "red"))


def seconds(age_s: float | None) -> str:
    """Return an age as it is printed, "" where it is not known."""
    return "" if age_s is None else f"{age_s:.1f} s"


def score_of(desk: DataDesk, served: Served[Any]) -> str:
    """Return the score of who has answered, "" where it is not known."""
    score = desk.score(served)
    return "" if score is None else f"{score:.0f}"


def mark_of(served: Served[Any]) -> str:
    """Return in a word or two what an answer is not; its reason says it in full."""
    found, marks = served.found, []
    if found.value.symbol != served.asked:
        marks.append(f"for {served.asked}")
    if not found.value.is_live:
        marks.append("not live")
    if found.source != found.provider:
        marks.append(found.source)
    return ", ".join(marks)
