"""`streamer record FILE`: write the exchange's ticker frames down, one JSON object a line, for `replay`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import RawIOBase
from pathlib import Path

import orjson
import structlog

from streamer import logs, settings
from streamer.cli.common import run_async
from streamer.coinbase.feed import Endpoint, Feed
from streamer.coinbase.intake import TickerIntake
from streamer.coinbase.messages import Decoder
from streamer.coinbase.pace import Paces
from streamer.coinbase.session import Session
from streamer.coinbase.transport import OnMessage, choose, tls_context
from streamer.errors import ConfigError, StreamerError
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
    name = str(arguments.file)
    try:
        # Without a buffer a write that fails is told where it fails, not once more when the file is closed.
        if name == "-":
            out = os.fdopen(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
        else:
            out = arguments.file.open("wb", buffering=0)
    except OSError as exc:
        raise ConfigError("FILE", name, f"cannot be written: {exc.strerror}") from exc
    with out as file:
        return run_async(_record(config, products, _Tape(name, file), arguments.for_s))


class _Tape:
    """Takes frames down until a write fails, which ends the recording.

    Attributes:
        frames: How many it holds.
        on_failure: Called at the first write that fails; no other is tried.
    """

    def __init__(self, name: str, file: RawIOBase) -> None:
        self._name, self._file, self._started = name, file, time.monotonic()
        self._failure: OSError | None = None
        self.frames = 0
        self.on_failure: Callable[[], None] = lambda: None

    def take(self, payload: bytes) -> None:
        """Write one frame down; called by the transport, so this must not raise."""
        if self._failure is not None or b'"ticker"' not in payload or not _is_ticker(payload):
            return
        # The frame goes in as it came: a recording must not know our decoder's mistakes.
        frame = orjson.Fragment(payload.replace(b"\n", b" "))
        line = orjson.dumps({"at_s": round(time.monotonic() - self._started, 6), "frame": frame}) + b"\n"
        try:
            while line:
                written = self._file.write(line)
                if written is None:
                    raise BlockingIOError("it does not take everything at once")
                line = line[written:]
        except OSError as exc:
            self._failure = exc
            self.on_failure()
        else:
            self.frames += 1

    def check(self) -> None:
        """Raise what the writing failed with.

        Raises:
            StreamerError: The file takes no more.
            BrokenPipeError: Nobody reads stdout any more.
        """
        if isinstance(self._failure, BrokenPipeError):
            raise self._failure
        if self._failure is not None:
            why = self._failure.strerror or str(self._failure)
            raise StreamerError(f"{self._name} cannot be written: {why}; it holds {self.frames} frames")


async def _record(config: settings.Settings, products: list[ProductId], tape: _Tape, for_s: float | None) -> int:
    """Run an ordinary feed whose frames pass over the tape on their way."""

    def tap(onward: OnMessage) -> OnMessage:
        def both(payload: bytes) -> None:
            tape.take(payload)
            onward(payload)

        return both

    connect = choose(config.transport)
    session = Session(config.session_rules)
    session.want(products)
    decoder = Decoder()
    feed = Feed(
        "record",
        [Endpoint(config.ws_url, tls_context(config.ws_url, config.ca_file))],
        connect=lambda url, on_message, *, tls: connect(url, tap(on_message), tls=tls),
        session=session,
        intake=TickerIntake(decoder, lambda product_id, tick: True, lambda product_ids: None),
        decoder=decoder,
        paces=Paces(),
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tape.on_failure = stop.set
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.run(), name="feed-record")
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await stop.wait()
        running.cancel()
    tape.check()
    log.info("record.done", frames=tape.frames, products=len(products))
    return 0


def _is_ticker(payload: bytes) -> bool:
    try:
        frame = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return isinstance(frame, dict) and frame.get("channel") == "ticker"
