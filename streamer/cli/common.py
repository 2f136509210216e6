"""What the commands share: exit codes, where Redis is, how an error reaches a person."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from streamer.cli.plain import plain
from streamer.errors import ConfigError, StreamerError
from streamer.store.address import check_redis_url, find_redis_url

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANNOT_TELL = 3
EXIT_INTERRUPTED = 130


def run(main: Callable[[], int]) -> int:
    """Run a command and turn its errors into one line on stderr and an exit code: 2 for bad input, 1 otherwise."""
    _open_standard_streams()
    try:
        return main()
    except ConfigError as exc:
        complain(exc)
        return EXIT_USAGE
    except StreamerError as exc:
        complain(exc)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone (head, less). Point stdout elsewhere, or the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _open_standard_streams() -> None:
    """Open nothing in place of what is closed (`<&-`): a pipe of the loop would get its number, and abort us."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def complain(exc: StreamerError) -> None:
    """Say on stderr, on one line, what went wrong."""
    print(f"error: {plain(str(exc))}", file=sys.stderr)


def words(text: str, style: str = "") -> Text:
    """Return text from outside for rich to print: as it stands, neither markup nor emoji codes nor controls."""
    from rich.text import Text  # not every command prints with rich

    return Text(plain(text), style=style)


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a command to its end, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def add_redis_option(parser: argparse.ArgumentParser) -> None:
    """Add `--redis-url` to a command."""
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="redis://, rediss:// or unix:// (default: REDIS_URL, else the embedded Redis that start-stream runs)",
    )


def redis_url(explicit: str | None) -> str | None:
    """Return where Redis is by argument, environment, `.env` or a running embedded instance; None if nowhere.

    Raises:
        ConfigError: The URL is not one.
    """
    url = find_redis_url(os.environ, explicit)
    if url is not None:
        check_redis_url(url, "--redis-url" if explicit else "REDIS_URL")
    return url


def need_redis_url(explicit: str | None) -> str:
    """Return where Redis is.

    Raises:
        StreamerError: It is nowhere to be found; says what to do.
    """
    url = redis_url(explicit)
    if url is None:
        raise StreamerError("no Redis found: start one with start-stream, or set REDIS_URL or --redis-url")
    return url
