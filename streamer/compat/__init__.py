"""The official SDK's REST client, coordinated: the same calls, and answers from the stream where it has them.

A bot switches over by changing one line, and is rolled back by a flag (`store/flags.py`):

    from streamer.compat import RESTClient  # was: from coinbase.rest import RESTClient

What is named here is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # to type checkers it is true by its name
if TYPE_CHECKING:
    from streamer.compat.client import RESTClient
    from streamer.compat.passage import NotSent

__all__ = ["NotSent", "RESTClient"]

_HOMES = {"NotSent": "streamer.compat.passage", "RESTClient": "streamer.compat.client"}


if not TYPE_CHECKING:  # it would take any name for one that is offered

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
