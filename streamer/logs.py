"""The only place that configures logging: event name and key=value, coloured in a terminal, logfmt when piped."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send log lines of at least `level` to `stream` (default: stderr)."""
    out = stream if stream is not None else sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = out.isatty()
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
        logger_factory=structlog.PrintLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # Libraries speak up only where something is wrong that they do not also raise.
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=out, format="level=%(levelname)s event=%(message)s"
    )
    for noisy in ("websockets", "picows"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
