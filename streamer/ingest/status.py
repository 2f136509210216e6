"""What the status says of balances, candles, products and REST. Reads only; `report.py` says how feeds stand."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from streamer.coinbase.messages import CANDLES
from streamer.ingest.sink import Sink
from streamer.ingest.streams import Streams
from streamer.ingest.upstream import Upstream
from streamer.model import Basis, ProductId

_NAMED = 20


def upstream_status(
    upstream: Upstream,
    streams: Streams,
    sink: Sink,
    wanted: Collection[ProductId],
    *,
    on_redis_clock: Callable[[float | None], int | None],
    now: float,
) -> dict[str, Any]:
    """Return the parts of `stream:status` beside feeds, tickers and sink; None where a part is not streamed."""
    skew_s = upstream.clock.skew_s
    return {
        "portfolio": _portfolio(streams, sink, on_redis_clock) if streams.accounts is not None else None,
        "candles": _candles(streams, sink, now),
        "offline": dict(sorted(streams.catalog.offline(wanted).items())[:_NAMED]),
        "products_why": streams.products.why,
        "rest": _rest(upstream, now),
        "clock_skew_s": None if skew_s is None else round(skew_s, 1),
        "missing": list(upstream.notes),
    }


def process_status() -> dict[str, Any]:
    """Return what this process has used: processor time in s and resident memory in bytes, None where not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        rss_bytes: int | None = pages * resource.getpagesize()
    except OSError:  # not Linux
        rss_bytes = None
    return {"cpu_s": round(time.process_time(), 2), "rss_bytes": rss_bytes}


def _portfolio(
    streams: Streams, sink: Sink, on_redis_clock: Callable[[float | None], int | None]
) -> dict[str, Any]:
    accounts, ledger = streams.accounts, sink.portfolio.ledger
    assert accounts is not None
    states = [state for currency in ledger.currencies if (state := ledger.state(currency)) is not None]
    last = ledger.last_difference
    return {
        "currencies": len(states),
        "derived": sum(state.basis is Basis.DERIVED for state in states),
        "suspect": sum(state.suspect for state in states),
        "updates": ledger.counts.updates,
        "repeated": ledger.counts.repeated,
        "unreadable": ledger.counts.unreadable,
        "unusable_accounts": sink.portfolio.unusable,
        "unknown_status": ledger.counts.unknown_status,
        "differences": ledger.counts.differences,
        "last_difference": None
        if last is None
        else {
            "currency": last.currency,
            "derived": {"available": f"{last.derived.available:f}", "hold": f"{last.derived.hold:f}"},
            "confirmed": {"available": f"{last.confirmed.available:f}", "hold": f"{last.confirmed.hold:f}"},
        },
        "answered_ms": on_redis_clock(accounts.answered_at),
        "why": accounts.why,
        "unauthorized": accounts.unauthorized,
    }


def _candles(streams: Streams, sink: Sink, now: float) -> dict[str, Any]:
    backfiller = streams.backfiller
    feeds = [facts.products for facts in streams.facts(now) if facts.channel == CANDLES]
    return {
        "products": len(sink.candles),
        "silent": sorted(p for products in feeds for p in (*products.silent, *products.unconfirmed))[:_NAMED],
        "refused": sink.candles.refused,
        "backfilling": backfiller.waiting if backfiller is not None else 0,
        "why": backfiller.why if backfiller is not None else None,
    }


def _rest(upstream: Upstream, now: float) -> dict[str, Any] | None:
    if upstream.rest is None:
        return None
    counts = upstream.rest.counts
    return {
        "calls": sum(counts.total.values()),
        "by_route": dict(counts.total),
        "last_hour": counts.last_hour(now),
        "failures": counts.failures,
    }
