"""`streamer migrate`: move callers over to coordinated calls, see that it works, and roll it back."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any

import msgspec

from streamer import settings
from streamer.cli.common import add_redis_option, need_redis_url, run_async
from streamer.cli.plain import plain
from streamer.errors import ConfigError, StoreUnavailable
from streamer.gateway.caller import Caller
from streamer.gateway.migration import flags_json, migration_report
from streamer.store.connect import Store
from streamer.store.flags import BOTS, USE, FlagStore
from streamer.store.keys import Keys

_EPILOG = """\
actions:
  show          who is coordinated, which way requests go, and how answers compare with REST (default)
  on, off       USE_COORDINATED_API_CALLS; off sends everybody straight to the exchange again
  bots LIST     COORDINATED_BOT_IDS: only these, such as bot-1,bot-7 or 25% or both; "all" for everybody
  reset         forget what was set here: the environment counts again

Every client heeds a change within two seconds, without a restart.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("show", "on", "off", "bots", "reset"), nargs="?", default="show")
    parser.add_argument("bots", metavar="LIST", nargs="?", help="callers, a percentage, or all")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_redis_option(parser)
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if (arguments.action == "bots") != (arguments.bots is not None):
        raise ConfigError(
            "LIST", arguments.bots, "expected after bots, and only there: bots bot-1,bot-7 or bots 25%"
        )
    return run_async(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    config = settings.load()
    store, keys = Store(need_redis_url(arguments.redis_url)), Keys(config.key_prefix)
    flags, caller = FlagStore(store, keys, config.flags), Caller(store, keys, config)
    try:
        match arguments.action:
            case "on" | "off":
                await flags.change(**{USE: "true" if arguments.action == "on" else "false"})
            case "bots":
                await flags.change(**{BOTS: arguments.bots})
            case "reset":
                await flags.reset()
        if arguments.action == "show":
            report = await migration_report(caller, store, keys, config.flags)
        else:
            report = {"flags": flags_json(await flags.read())}
        print(_shown(report) if not arguments.json else msgspec.json.format(msgspec.json.encode(report)).decode())
    finally:
        await caller.close()
        with suppress(StoreUnavailable):
            await store.close()
    return 0


def _shown(report: dict[str, Any]) -> str:
    flags = report["flags"]
    lines = [f"{USE}={'true' if flags[USE] else 'false'}", f"{BOTS}={plain(flags[BOTS]) or '(all)'}"]
    if "progress" in report:
        progress = report["progress"]
        share = "" if progress["percentage"] is None else f", {progress['percentage']:g} %"
        lines += ["", f"coordinated: {progress['migrated']} of {progress['total']} callers of the last hour{share}"]
        for one in report["callers"]:
            way = "coordinated" if one["is_coordinated"] else "direct"
            name, seen = plain(one["caller"]), f"{one['last_seen_s']:.0f} s ago"
            lines.append(f"  {name:<24} {way:<12} {one['requests']:>9,} requests, last {seen}")
        for way, kinds in sorted(report["requests_last_hour"].items()):
            told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items(), key=lambda p: -p[1]))
            lines.append(f"{plain(way) + ' in the last hour:':<28}{plain(told)}")
        lines += _compared(report["comparison"])
    return "\n".join(lines)


def _compared(comparison: dict[str, Any]) -> list[str]:
    lines = []
    for what, words in (("price", "prices"), ("bid_ask", "bids and asks")):
        found = comparison[what]
        if found["compared"]:
            mean, most = found["mean_difference_bp"], found["max_difference_bp"]
            lines.append(f"compared with REST: {found['compared']} {words}, {mean:g} bp apart, at most {most:g}")
    if (balances := comparison["balance"])["compared"]:
        lines.append(f"compared with REST: {balances['compared']} balances, {balances['different']} different")
    return lines or ["compared with REST: nothing yet"]
