"""`streamer ohlcv SYMBOL`: bars from any provider, as a table, a file, or a plot."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from streamer.cli.bars import COLUMNS, csv_of, need_pyarrow, parquet_of
from streamer.cli.common import EXIT_CANNOT_TELL, EXIT_FAILED, complain, need_redis_url, run_async
from streamer.cli.data import (
    PIPED_WIDTH,
    add_data_options,
    desk_at,
    end_help,
    how_of,
    missing_json,
    print_json,
    seconds,
    show,
    table_of,
    unknown,
)
from streamer.cli.files import STDOUT, write_whole
from streamer.cli.plain import plain
from streamer.cli.plot import ASCII, UNICODE, candles, check_picture, picture
from streamer.data.ask import MOST_BARS, Served, parse_interval, seconds_of
from streamer.data.desk import LIMIT
from streamer.data.provider import Progress
from streamer.data.shown import bar_json, series_json
from streamer.errors import ConfigError, StreamerError, Unavailable, UnknownSymbol
from streamer.providers.shape import Interval, Series, Symbol
from streamer.providers.symbols import parse_symbol
from streamer.quality.findings import Report
from streamer.quality.validation import validate

TIMEOUT_S = 60.0
"""A person who sees a bar move waits longer than a program does."""
_FINDINGS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Barred:
    """What has come of the question, and how good who answered has been."""

    served: Served[Series]
    score: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("symbol", metavar="SYMBOL", help="such as BTC-USD, BTCUSDT, BTC/USD, SPY")
    add("--interval", default="1h", metavar="I", help=f"{', '.join(Interval)} (default %(default)s)")
    add("--start", metavar="T", help="begin of a range: ISO 8601, UTC unless it says otherwise, or Unix seconds")
    add("--end", metavar="T", help="its end, which is not part of it (default: now)")
    add("--limit", type=int, metavar="N", help=f"the newest N (default {LIMIT}; all where --start is given)")
    add("--validate", action="store_true", help="say what is wrong or unusual; nothing is changed")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", nargs="?", const=STDOUT, metavar="FILE", help="print CSV, or write it to a file")
    form.add_argument("--json", nargs="?", const=STDOUT, metavar="FILE", help="print or write one JSON object")
    form.add_argument("--parquet", metavar="FILE", help="write decimals as decimals; needs the extra [parquet]")
    add(
        "--plot",
        nargs="?",
        const=STDOUT,
        metavar="FILE.png",
        help="draw candles here, or as a picture, which needs the extra [plot]",
    )
    add_data_options(parser, timeout_s=TIMEOUT_S)
    end_help(
        parser, "0 the bars are there, 1 they are not, or cannot be written, 2 bad input, 3 cannot tell: no Redis"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    symbol, interval = parse_symbol(arguments.symbol), parse_interval(arguments.interval)
    span = _time("start", arguments.start), _time("end", arguments.end)
    _check_outputs(arguments)
    how_of(arguments)
    try:
        url = need_redis_url(arguments.redis_url)
        answer = run_async(_ask(symbol, interval, span, url, arguments))
    except ConfigError:
        raise
    except StreamerError as exc:
        complain(exc)
        return EXIT_CANNOT_TELL
    if isinstance(answer, int):
        return answer
    _put(answer, arguments)
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """See before anything is asked that all outputs can be made."""
    for name in (arguments.csv, arguments.json, arguments.parquet, arguments.plot):
        if name is not None and not Path(name).resolve().parent.is_dir():
            raise ConfigError("file", name, "expected one in a folder that there is")
    if arguments.parquet == STDOUT:
        raise ConfigError("--parquet", STDOUT, "expected a file: it is nothing to print")
    if arguments.parquet is not None:
        need_pyarrow()
    if arguments.plot is None:
        return
    if arguments.plot != STDOUT:
        check_picture(arguments.plot)
    elif STDOUT in (arguments.csv, arguments.json):
        raise ConfigError("--plot", None, "the output is taken: name a file for the bars, or for the plot")


async def _ask(
    symbol: Symbol, interval: Interval, span: tuple[int | None, int | None], url: str, arguments: argparse.Namespace
) -> Barred | int:
    (start_s, end_s), limit = span, arguments.limit
    if limit is None:
        limit = LIMIT if start_s is None else MOST_BARS
    try:
        async with desk_at(url) as desk:
            with _progress(f"{symbol} {interval}") as progress:
                how = how_of(arguments, progress)
                served = await desk.bars(symbol, interval, start_s=start_s, end_s=end_s, limit=limit, how=how)
            return Barred(served, desk.score(served))
    except (Unavailable, UnknownSymbol) as exc:
        missing = unknown(exc, f"bars {symbol} {interval}") if isinstance(exc, UnknownSymbol) else exc
        if arguments.json == STDOUT:
            print_json(missing_json(missing))
        for provider, why in missing.tiers.items():
            print(plain(f"{symbol}: {provider}: {why}"), file=sys.stderr)
        return EXIT_FAILED


def _time(name: str, text: str | None) -> int | None:
    return seconds_of(f"--{name}", text)


@contextmanager
def _progress(what: str) -> Iterator[Progress | None]:
    """Show how much of a long range is there, where somebody sits at a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None, visible=False)
        most = 0.0

        def tell(done: int, of: int) -> None:
            nonlocal most
            if done / of >= most:  # several providers may be under way: the bar is of the one that is ahead
                most = done / of
                bars.update(task, completed=done, total=of, visible=True)

        yield tell


# -- what is printed and written ----------------------------------------------------------------------------------


def _put(answer: Barred, arguments: argparse.Namespace) -> None:
    series = answer.served.found.value
    report = validate(series, int(time.time() * 1000)) if arguments.validate else None
    if arguments.csv is not None:
        write_whole(arguments.csv, csv_of(series.bars))
    elif arguments.json is not None:
        body = series_json(answer.served, answer.score, report)
        write_whole(arguments.json, orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    elif arguments.parquet is not None:
        write_whole(arguments.parquet, parquet_of(answer.served))
    elif arguments.plot is None:
        _print_table(series)
    if arguments.plot == STDOUT:
        _draw(series)
    elif arguments.plot is not None:
        title = (
            f"{series.symbol} {series.interval}, {answer.served.title} ({series.instrument}){_maker(answer.served)}"
        )
        write_whole(arguments.plot, picture(series, title, Path(arguments.plot).suffix[1:].lower()))
    _say(answer, report)


def _print_table(series: Series) -> None:
    table = table_of(",".join(COLUMNS), right=frozenset(COLUMNS[1:6]))
    for bar in series.bars:
        told = bar_json(bar) | {"closed": "yes" if bar.is_closed else "open"}
        table.add_row(*(told[name] or "" for name in COLUMNS))
    show(table)


def _draw(series: Series) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    signs = UNICODE if console.encoding.lower().startswith("utf") else ASCII
    console.print(candles(series, width=console.width, signs=signs))


def _maker(served: Served[Series]) -> str:
    """Return whose data it is where that is not the provider: a simulator's must never pass for real."""
    return "" if served.found.source == served.found.provider else f", made by {served.found.source}"


def _say(answer: Barred, report: Report | None) -> None:
    """Say on stderr where bars come from, what to mind, and what was found."""
    served, series = answer.served, answer.served.found.value
    score = f", score {answer.score:.0f}" if answer.score is not None else ""
    found = served.found
    said = [
        f"{len(series.bars)} bars of {series.symbol} {series.interval} from {found.provider} "
        f"({series.instrument}), {found.tier}, {seconds(found.age_s)} old{score}{_maker(served)}"
    ]
    if served.reason:
        said.append(served.reason)
    said += _findings(report) if report is not None else []
    for line in said:
        print(plain(line), file=sys.stderr)


def _findings(report: Report) -> list[str]:
    count = len(report.findings)
    told = [f"complete to {report.completeness:.2%}, {count or 'nothing'} found, worst {report.worst or 'none'}"]
    gravest = sorted(report.findings, key=lambda finding: -finding.severity.rank)[:_FINDINGS_SHOWN]
    told += [f"{finding.severity} {finding.code}: {finding.what}" for finding in gravest]
    if count > len(gravest):
        told.append(f"{count - len(gravest)} more, the less grave ones (--json has all)")
    return told
