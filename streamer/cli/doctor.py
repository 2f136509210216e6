"""`streamer doctor`: look at everything the stream needs, and say what to do about what is missing."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from urllib.parse import urlsplit

import orjson
from rich.console import Console

from streamer import settings
from streamer.cli.common import EXIT_FAILED, add_redis_option, redis_url, run_async, words
from streamer.cli.exchange import reach
from streamer.cli.plain import plain
from streamer.coinbase.auth import Signer, find_key
from streamer.coinbase.transport import explain, is_loopback, tls_context
from streamer.errors import ConfigError, StreamerError
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.redis_server import find_redis_server, lua_warning

_REST_TIMEOUT_S = 5.0
_SKEW_LIMIT_S = 1.0
_REDIS_FLOOR = (6, 2)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        level: "ok", "note" (works, could be better) or "problem".
        todo: What to do about it, "" where nothing.
    """

    level: str
    name: str
    text: str
    todo: str = ""

    def __post_init__(self) -> None:
        # Servers, paths and clocks are quoted in it, whatever they say.
        object.__setattr__(self, "text", plain(self.text))
        object.__setattr__(self, "todo", plain(self.todo))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    add_redis_option(parser)
    parser.epilog = "exit status: 0 nothing stands in the way, 1 there is a problem, 2 bad input"


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    config = settings.load()
    url = redis_url(arguments.redis_url)
    return run_async(_run(config, url, as_json=arguments.json))


async def _run(config: Settings, url: str | None, *, as_json: bool) -> int:
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        _versions,
        lambda: _redis(url),
        lambda: _websocket(config),
        lambda: _rest_clock(config),
        lambda: _key(config),
    ]
    findings = []
    for found in await asyncio.gather(*(check() for check in checks)):
        findings += found
    if as_json:
        print(orjson.dumps([asdict(finding) for finding in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        _print(findings)
    return EXIT_FAILED if any(finding.level == "problem" for finding in findings) else 0


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
    for finding in findings:
        line = words(f"{finding.level:<8}", styles[finding.level])
        console.print(line.append_text(words(f"{finding.name:<12}{finding.text}")))
        if finding.todo:
            console.print(words(f"{'':<20}→ {finding.todo}"))


async def _versions() -> list[Finding]:
    names = ["coinbase-streamer", "redis", "websockets", "msgspec"]
    optional = [name for name in ("picows", "uvloop") if find_spec(name)]
    shown = ", ".join(f"{name} {_version(name)}" for name in [*names, *optional])
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [Finding("ok", "versions", f"Python {python}, {shown}")]
    if len(optional) < 2:
        findings.append(
            Finding("note", "speed", "picows or uvloop is not installed", "pip install 'coinbase-streamer[fast]'")
        )
    return findings


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


async def _redis(url: str | None) -> list[Finding]:
    if url is None:
        try:
            binary = find_redis_server()
        except StreamerError as exc:
            return [Finding("problem", "redis", "no URL given and no server to embed", str(exc))]
        return [Finding("ok", "redis", f"none given; start-stream will run an embedded one ({binary})")]
    store = Store(url)
    try:
        started = time.monotonic()
        seconds, micros = await store.answer(store.client.time())
        round_trip_s = time.monotonic() - started
        skew_s = seconds + micros / 1e6 - time.time()
        info = await store.answer(store.client.info("server"))
        return _judge_redis(store.shown_url, str(info.get("redis_version", "0")), round_trip_s, skew_s)
    except StreamerError as exc:
        todo = "start it, or correct REDIS_URL; without any URL start-stream runs an embedded one"
        return [Finding("problem", "redis", str(exc), todo)]
    finally:
        with suppress(StreamerError):  # told above already
            await store.close()


def _judge_redis(shown_url: str, redis_version: str, round_trip_s: float, skew_s: float) -> list[Finding]:
    text = f"{shown_url} answers in {round_trip_s * 1000:.1f} ms, version {redis_version}"
    findings = [Finding("ok", "redis", text)]
    if tuple(int(part) for part in redis_version.split(".")[:2] if part.isdigit()) < _REDIS_FLOOR:
        findings.append(
            Finding("problem", "redis", f"version {redis_version} is too old", "use Redis 6.2 or later")
        )
    elif warning := lua_warning("redis", redis_version, bundled=False):
        findings.append(Finding("note", "redis", warning))
    if abs(skew_s) > _SKEW_LIMIT_S:
        findings.append(
            Finding(
                "note", "clock", f"Redis' clock is {skew_s:+.1f} s from ours", "set both by NTP; ages use Redis'"
            )
        )
    return findings


async def _websocket(config: Settings) -> list[Finding]:
    why = await reach(config.ws_url, config.ca_file)
    if why is None:
        return [Finding("ok", "exchange", f"{config.ws_url} can be reached")]
    todo = "check network, proxy and firewall; to try without it: start-stream --exchange simulator"
    return [Finding("problem", "exchange", f"{config.ws_url} cannot be reached: {why}", todo)]


async def _rest_clock(config: Settings) -> list[Finding]:
    """Compare our clock with the exchange's: a token dated in its future is refused."""
    url = f"{config.rest_url}/api/v3/brokerage/time"
    try:
        before = time.time()
        body = await asyncio.to_thread(_get, url, config.ca_file)
        middle = (before + time.time()) / 2
        skew_s = int(json.loads(body)["epochMillis"]) / 1000 - middle
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, OverflowError) as exc:
        return [
            Finding("problem", "clock", f"{url} gives no time: {explain(exc)}", "see the exchange's line above")
        ]
    if abs(skew_s) > _SKEW_LIMIT_S:
        todo = "set the clock by NTP: the exchange refuses tokens from the future"
        return [Finding("problem", "clock", f"ours is {-skew_s:+.1f} s from the exchange's", todo)]
    return [Finding("ok", "clock", f"within {abs(skew_s):.2f} s of the exchange's")]


def _get(url: str, ca_file: str | None) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "coinbase-streamer"})  # noqa: S310 - checked below
    host = urlsplit(url).hostname or ""
    if not (url.startswith("https://") or is_loopback(host)):
        raise ValueError("https:// expected; http:// is for loopback only")
    with urllib.request.urlopen(  # noqa: S310
        request, timeout=_REST_TIMEOUT_S, context=tls_context(url, ca_file)
    ) as reply:
        return bytes(reply.read(65536))


async def _key(config: Settings) -> list[Finding]:
    try:
        key = find_key(config)
        if key is None:
            todo = "set COINBASE_KEY_FILE to stream balances later"
            return [Finding("note", "key", "none set: public data only", todo)]
        algorithm = Signer(key, backdate_s=config.nbf_backdate_s).algorithm
    except ConfigError as exc:
        problem, _, todo = exc.rule.partition("; ")
        return [Finding("problem", "key", f"{exc.name} {exc.value}: {problem}", todo.removeprefix("run: "))]
    findings = [Finding("ok", "key", f"{key.name} ({algorithm}), from {key.where}")]
    if key.warning:
        problem, _, todo = key.warning.partition("; ")
        findings.append(Finding("note", "key", problem, todo.removeprefix("run: ")))
    return findings
