"""The only place that configures logging: event name and key=value, coloured in a terminal, logfmt when piped."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


class _Stderr:
    """Whatever stderr is when a line is written: a live table puts its own in place, so that lines go above it."""

    def write(self, text: str) -> int:
        with suppress(OSError):  # a full log disk must not stop prices
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def configure(level: str = "info") -> None:
    """Send log lines of at least `level` to stderr."""
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=20)
        if terminal
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    # Libraries speak up only where something is wrong that they do not also raise.
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="level=%(levelname)s event=%(message)s"
    )
    for noisy in ("websockets", "picows"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
