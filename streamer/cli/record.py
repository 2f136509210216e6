"""`streamer record FILE`: write the exchange's ticker frames down, one JSON object a line, for `replay`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import IO

import orjson
import structlog

from streamer import logs, settings
from streamer.cli.common import run_async
from streamer.coinbase.feed import Feed, Paces
from streamer.coinbase.messages import Decoder
from streamer.coinbase.session import Session
from streamer.coinbase.transport import OnMessage, choose, tls_context
from streamer.errors import ConfigError
from streamer.model import ProductId, parse_product_id

log = structlog.get_logger("streamer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="written anew; '-' for stdout")
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="*", help="default: STREAMER_PRODUCTS")
    parser.add_argument("--ws-url", metavar="URL", help="market data WebSocket; ws:// on loopback only")
    parser.add_argument("--for-s", type=float, metavar="S", help="end after S seconds (default: when interrupted)")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    config = settings.load(ws_url=arguments.ws_url)
    if arguments.for_s is not None and not arguments.for_s > 0:
        raise ConfigError("--for-s", arguments.for_s, "expected a positive number of seconds")
    products = [parse_product_id(text) for text in arguments.products] or list(config.products)
    logs.configure(config.log_level)
    try:
        out: IO[str] = sys.stdout if str(arguments.file) == "-" else arguments.file.open("w", encoding="utf-8")
    except OSError as exc:
        raise ConfigError("FILE", str(arguments.file), f"cannot be written: {exc.strerror}") from exc
    with out:
        return run_async(_record(config, products, out, arguments.for_s))


async def _record(config: settings.Settings, products: list[ProductId], out: IO[str], for_s: float | None) -> int:
    """Run an ordinary feed whose frames pass through the file on their way."""
    started = time.monotonic()
    lines = 0
    decoder = Decoder()

    def tap(onward: OnMessage) -> OnMessage:
        def write(payload: bytes) -> None:
            nonlocal lines
            if b'"ticker"' in payload and _is_ticker(payload):
                # The frame goes in as it came: a recording must not know our decoder's mistakes.
                frame = orjson.Fragment(payload.replace(b"\n", b" "))
                out.write(
                    orjson.dumps({"at_s": round(time.monotonic() - started, 6), "frame": frame}).decode() + "\n"
                )
                lines += 1
            onward(payload)

        return write

    connect = choose(config.transport)
    session = Session(config.session_rules)
    session.want(products)
    feed = Feed(
        "record",
        config.ws_url,
        connect=lambda url, on_message, *, tls: connect(url, tap(on_message), tls=tls),
        session=session,
        decoder=decoder,
        paces=Paces(),
        on_tick=lambda product_id, tick: True,
        on_suspect=lambda product_ids: None,
        tls=tls_context(config.ws_url, config.ca_file),
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.create_task(feed.run(), name="feed-record")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait((running, stopped), timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, stopped):
        task.cancel()
    await asyncio.wait((running, stopped))
    log.info("record.done", frames=lines, products=len(products))
    return 0


def _is_ticker(payload: bytes) -> bool:
    try:
        frame = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return isinstance(frame, dict) and frame.get("channel") == "ticker"
