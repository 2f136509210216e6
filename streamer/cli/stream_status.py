"""`stream-status`: one look at the stream, an exit code a probe can act on."""

from __future__ import annotations

import argparse
import json
import os
import sys

from streamer.cli.plain import plain
from streamer.errors import StreamerError
from streamer.health.probe import ProbeFailed, probe
from streamer.health.verdict import STALE_AFTER_MS, Verdict, feed_alive, judge, summary
from streamer.store.address import find_redis_url, key_prefix, process_alive, read_state, state_dir

TYPE_CHECKING = False  # typing's own constant costs its import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

EXIT_CODES = {"healthy": 0, "degraded": 1, "down": 2}
CANNOT_TELL = 3
_COLOURS = {"healthy": "32", "degraded": "33", "down": "31", "unknown": "35"}
_EPILOG = """\
exit codes:
  0  healthy    every wanted product is live
  1  degraded   something is wrong or still starting; the reasons say what
  2  down       no ingester reports, or none of its feeds is alive
  3  unknown    cannot tell: Redis unreachable, or bad arguments

Redis is looked for in: --redis-url, REDIS_URL, .env, the embedded server of a running start-stream.
The answer comes within a second and a half, whatever state Redis is in.
"""


class _Parser(argparse.ArgumentParser):
    """argparse would exit with 2, which here means down."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(CANNOT_TELL, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the health of the stream; return 0 healthy, 1 degraded, 2 down, 3 cannot tell."""
    options = _parser().parse_args(argv)
    try:
        code, text = _look(options.redis_url, as_json=options.json)
    except StreamerError as exc:
        code, text = CANNOT_TELL, _unknown(str(exc), as_json=options.json)
    except Exception as exc:  # noqa: BLE001 - Python would exit with 1, which here means degraded
        why = f"stream-status failed: {type(exc).__name__}"
        code, text = CANNOT_TELL, _unknown(why, as_json=options.json)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader left (`| head -1`): Python must not find the pipe closed again and change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _parser() -> _Parser:
    parser = _Parser(
        prog="stream-status",
        description="Tell whether prices flow into Redis.",
        epilog=_EPILOG,
        # A fixed width: asking the terminal would import shutil, 2 ms even where no help is printed.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object: level, reasons, codes, status")
    parser.add_argument("--redis-url", metavar="URL", help="redis://, rediss:// or unix:// (default: REDIS_URL)")
    return parser


def _look(redis_url: str | None, *, as_json: bool) -> tuple[int, str]:
    url = find_redis_url(os.environ, redis_url)
    if url is None:
        raise ProbeFailed(_why_no_url())
    status, now_ms = probe(url, key_prefix(os.environ))
    try:
        verdict = judge(status, now_ms)
        text = (_as_json if as_json else _as_text)(verdict, status, now_ms)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ProbeFailed(f"stream:status has an unknown shape ({exc!r}): another version's?") from exc
    return EXIT_CODES[verdict.level], text


def _why_no_url() -> str:
    state = read_state(state_dir(os.environ))
    if state is not None and process_alive(state.redis_pid):
        return f"the embedded Redis (pid {state.redis_pid}, port {state.port}) does not answer (frozen?)"
    return "no Redis is known: set REDIS_URL, or run start-stream, which brings its own"


def _unknown(why: str, *, as_json: bool) -> str:
    if as_json:
        told = {"level": "unknown", "reasons": [why], "codes": ["unknown"], "age_ms": None, "status": None}
        return json.dumps(told)
    return _painted("cannot tell", "unknown") + ": " + plain(why)


def _as_json(verdict: Verdict, status: Mapping[str, Any] | None, now_ms: int) -> str:
    age_ms = None if status is None else now_ms - status["written_ms"]
    codes = [reason.code for reason in verdict.reasons]
    told = {"level": verdict.level, "reasons": verdict.reasons, "codes": codes, "age_ms": age_ms, "status": status}
    return json.dumps(told)


def _as_text(verdict: Verdict, status: Mapping[str, Any] | None, now_ms: int) -> str:
    line = plain(summary(status, verdict, now_ms))
    lines = [_painted(verdict.level, verdict.level) + line[len(verdict.level) :]]
    lines += [f"  - {plain(reason)}" for reason in verdict.reasons]
    if status is not None and status["feeds"]:
        lines += ["", *_feed_table(status["feeds"], now_ms, status.get("stale_after_ms", STALE_AFTER_MS))]
    if status is not None:
        lines += _account_lines(status)
    return "\n".join(lines)


def _account_lines(status: Mapping[str, Any]) -> list[str]:
    lines = [plain(note) for note in status.get("missing") or ()]
    if (portfolio := status.get("portfolio")) is not None:
        words = (
            f"balances: {portfolio['currencies']} currencies, {portfolio['derived']} derived, the rest confirmed"
        )
        lines.append(f"{words}; {portfolio['differences']} differences between the two since start")
        if (last := portfolio["last_difference"]) is not None:
            told = [f"{last[kind]['available']} + {last[kind]['hold']} held" for kind in ("derived", "confirmed")]
            lines.append(plain(f"  last difference: {last['currency']} derived {told[0]}, confirmed {told[1]}"))
    if (rest := status.get("rest")) is not None:
        lines.append(f"REST calls: {rest['last_hour']} in the last hour, {rest['failures']} failed since start")
    return ["", *lines] if lines else []


def _feed_table(feeds: Sequence[Mapping[str, Any]], now_ms: int, stale_after_ms: int) -> list[str]:
    rows = [["feed", "state", "heard", "products", "gaps", "reconnects"]]
    for feed in feeds:
        alive_ms = feed["alive_ms"]
        heard = "never" if alive_ms is None else f"{max(0, now_ms - alive_ms) / 1000:.1f} s ago"
        state = feed["state"] if feed["state"] != "live" or feed_alive(feed, now_ms, stale_after_ms) else "silent"
        cells = (feed["id"], state, heard, feed["products"], feed["gaps"], feed["reconnects"])
        rows.append([plain(str(cell)) for cell in cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(row).rstrip() for row in padded]


def _painted(text: str, level: str) -> str:
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[1;{_COLOURS[level]}m{text}\x1b[0m"
