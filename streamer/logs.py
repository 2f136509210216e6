"""The only place that configures logging: coloured lines in a terminal, one JSON object a line when piped."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_FIRST: Final = ("timestamp", "level", "event")


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
    """Send log lines of at least `level` to stderr, those of libraries in the same form."""
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    stream = cast("TextIO", _Stderr())
    facts: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer(pad_event_to=20) if terminal else _as_json
    structlog.configure(
        processors=[*facts, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    # Libraries speak up only where something is wrong that they do not also raise.
    handler = logging.StreamHandler(stream)
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=facts, processors=[meta, renderer]))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    for noisy in ("websockets", "picows"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Render a line, with what every line has in front."""
    first: dict[str, Any] = {name: event.pop(name) for name in _FIRST if name in event}
    told = first | dict(event)
    try:
        return orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a number beyond 64 bits, or what is no text; json takes it
        return json.dumps(told, default=str, skipkeys=True)
