"""Errors travel between processes, as results of tasks do."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from streamer import errors
from streamer.compat.passage import NotSent
from streamer.errors import StreamerError

MADE: dict[str, StreamerError] = {
    "ConfigError": errors.ConfigError("limit", 0, "expected 1 or more"),
    "InvalidProductId": errors.InvalidProductId("btc"),
    "Unavailable": errors.Unavailable("ticker BTC-USD", {"realtime": "nothing"}),
    "UnknownProduct": errors.UnknownProduct("BTC-USDD", ["BTC-USD"]),
    "ConnectFailed": errors.ConnectFailed("wss://x", "refused"),
    "ConnectRefused": errors.ConnectRefused("wss://x", 429, 2.5),
    "StoreUnavailable": errors.StoreUnavailable("redis://x", "no answer"),
    "NotSent": NotSent("POST /orders", "the process is ending", 1.5),
}
REST = ["RestError", "CallNotMade", "CircuitOpen", "QueueTimeout", "RestUnavailable", "RestRefused"]
REST += ["RestUnauthorized", "RestRateLimited", "QuotaExhausted", "Banned", "KeyRefused", "NotEntitled"]
REST += ["UnknownSymbol", "BadInterval", "NoData", "GeoBlocked", "Maintenance", "MalformedAnswer"]
MADE |= {name: getattr(errors, name)("GET /accounts", "why") for name in REST}
PLAIN = ("StreamerError", "FeedError", "MalformedFrame", "StoreError", "EmbeddedRedisError")
MADE |= {name: getattr(errors, name)("what happened") for name in PLAIN}


def kinds(kind: type[StreamerError]) -> Iterator[type[StreamerError]]:
    """Yield an error class of `errors.py` and all below it."""
    if kind.__module__ == "streamer.errors":
        yield kind
    for one in kind.__subclasses__():
        yield from kinds(one)


def test_every_kind_is_tried() -> None:
    """A new one is added here."""
    assert {kind.__name__ for kind in kinds(StreamerError)} <= MADE.keys()


@pytest.mark.parametrize("name", MADE)
def test_an_error_comes_out_as_it_went_in(name: str) -> None:
    """Kind, message and facts."""
    there = MADE[name]
    here = pickle.loads(pickle.dumps(there))
    assert type(here) is type(there)
    assert (str(here), vars(here)) == (str(there), vars(there))
