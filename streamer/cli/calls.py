"""`streamer calls`: what the REST budget stands at, who spent it, and what the cache has saved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from streamer import settings
from streamer.cli.common import EXIT_CANNOT_TELL, add_redis_option, complain, need_redis_url, run_async, words
from streamer.errors import ConfigError, StreamerError
from streamer.gateway.caller import Caller
from streamer.gateway.report import call_report
from streamer.store.connect import Store
from streamer.store.keys import Keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_redis_option(parser)
    parser.epilog = "exit status: 0 told, 2 bad input, 3 cannot tell: no Redis, or no REST to call"


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    try:
        url = need_redis_url(arguments.redis_url)
        report = run_async(_gather(url))
    except ConfigError:
        raise
    except StreamerError as exc:
        complain(exc)
        return EXIT_CANNOT_TELL
    if arguments.json:
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(report)
    return 0


async def _gather(url: str) -> dict[str, Any]:
    config = settings.load()
    store, keys = Store(url), Keys(config.key_prefix)
    caller = Caller(store, keys, config)
    try:
        return await call_report(caller, store, keys)
    finally:
        await caller.close()
        await store.close()


def _print(report: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    breaker = report["breaker"]
    line = words(f"breaker {breaker['state']}", "green" if breaker["state"] == "closed" else "red")
    if breaker["retry_s"]:
        line.append(f", tries again in {breaker['retry_s']} s")
    line.append(f"; {report['processes']} processes have asked for a call in the last minute")
    console.print(line)
    table = _table("budget", "used of limit, by window", "rate", "blocked", "waiting")
    for name, budget in report["budgets"].items():
        used = ", ".join(
            f"{window['used']}/{window['limit']} in {window['length_s']:g} s" for window in budget["windows"]
        )
        table.add_row(name, used, f"{budget['rate_factor']:.0%}", f"{budget['blocked_s']} s", str(budget["queued"]))
    console.print(table)
    if report["spent"]:
        table = _table("who called, last 5 to 10 minutes", "priority", "calls")
        for row in report["spent"]:
            table.add_row(words(row["caller"]), row["priority"], str(row["calls"]))
        console.print(table)
    if report["reads_last_5min"]:
        table = _table("read, last 5 minutes", "realtime", "cache", "rest", "stale", "none")
        for kind, tiers in sorted(report["reads_last_5min"].items()):
            table.add_row(kind, *(str(tiers.get(t, 0)) for t in ("realtime", "cache", "rest", "stale", "none")))
        console.print(table)
    rate = report["hit_rate_last_5min"]
    calls = sum(row["calls"] for row in report["calls_last_hour"])
    told = "nothing was read" if rate is None else f"{rate:.1%} of reads from realtime or cache"
    limited = f"{report['errors_429_last_5min']} and {report['errors_429_last_hour']}"
    console.print(
        f"{told} in 5 minutes; {calls} REST calls in the last hour; "
        f"429 answers in 5 minutes and in an hour: {limited}"
    )


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
