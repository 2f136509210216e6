"""What the ingester says of itself: the JSON of `stream:feeds` and `stream:status`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson

from streamer.coinbase.feed import FeedFacts
from streamer.coinbase.messages import TICKER
from streamer.model import ProductId

K = TypeVar("K", bound=str)

_NAMED = 20
"""Product ids listed by name in the status; the counts beside the lists are whole."""


def feed_entry(facts: FeedFacts, *, epoch: int) -> str:
    """Return the JSON of a feed in `stream:feeds`, open at its end for the `alive_ms` that the script adds."""
    return open_ended(
        {
            "state": facts.state.value,
            "connection": facts.connection,
            "epoch": epoch,
            "source": facts.source.value,
            "products": facts.wanted,
            "sequence": facts.sequence,
            "gaps": facts.gaps,
            "reconnects": facts.reconnects,
        }
    )


def feed_status(facts: FeedFacts, *, alive_ms: int | None) -> dict[str, Any]:
    """Return a feed as `stream:status` lists it; `alive_ms` is its last proof of life on the clock of Redis."""
    return {
        "id": facts.id,
        "channel": facts.channel,
        "state": facts.state.value,
        "alive_ms": alive_ms,
        "connection": facts.connection,
        "products": facts.wanted,
        "sequence": facts.sequence,
        "gaps": facts.gaps,
        "reconnects": facts.reconnects,
        "why": facts.why,
    }


def products_status(wanted: int, feeds: Sequence[FeedFacts]) -> dict[str, Any]:
    """Return the products by what is wrong with their tickers, over all feeds."""
    kinds: dict[str, list[ProductId]] = {"suspect": [], "silent": [], "unconfirmed": [], "waiting": []}
    for facts in feeds:
        if facts.channel != TICKER:
            continue
        for kind, ids in kinds.items():
            ids += getattr(facts.products, kind)
    troubled = len(set().union(*kinds.values()))
    carried = any(facts.channel == TICKER for facts in feeds)
    status: dict[str, Any] = {"wanted": wanted, "live": max(0, wanted - troubled) if carried else 0}
    for kind, ids in kinds.items():
        status[kind] = sorted(ids)[:_NAMED]
        status[f"{kind}_count"] = len(ids)
    return status


def open_ended(value: dict[str, Any]) -> str:
    """Return a JSON object without its closing brace: Redis adds a last field from its own clock."""
    return orjson.dumps(value).decode()[:-1]


def renewal_slice(names: Sequence[K], turn: int, turns: int) -> Sequence[K]:
    """Return those whose turn it is to be renewed, so that each is once in `turns`."""
    return names[turn % turns :: turns]
