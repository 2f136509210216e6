"""Market-data streamer: one ingester, Redis in the middle, honest readers.

    from streamer import Reader

    with Reader() as reader:
        print(reader.ticker("BTC-USD"))

What is named here is loaded when it is first used: a probe that needs two modules must not load all.
"""

from __future__ import annotations

TYPE_CHECKING = False  # to type checkers it is true by its name; importing typing would cost a probe milliseconds
if TYPE_CHECKING:
    from streamer.errors import StreamerError, Unavailable, UnknownProduct
    from streamer.model import Granularity, Priority, Reading, Tier
    from streamer.reader.reader import AsyncReader
    from streamer.reader.sync import Reader

__all__ = [
    "AsyncReader",
    "Granularity",
    "Priority",
    "Reader",
    "Reading",
    "StreamerError",
    "Tier",
    "Unavailable",
    "UnknownProduct",
]

_HOMES = {
    "AsyncReader": "streamer.reader.reader",
    "Granularity": "streamer.model",
    "Priority": "streamer.model",
    "Reader": "streamer.reader.sync",
    "Reading": "streamer.model",
    "StreamerError": "streamer.errors",
    "Tier": "streamer.model",
    "Unavailable": "streamer.errors",
    "UnknownProduct": "streamer.errors",
}


if not TYPE_CHECKING:  # they would take any name for one that is offered

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name]), name)  # the next time it is simply there
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
