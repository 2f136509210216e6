"""What each channel says: the events of snapshots and of the slower updates. Pure.

Everything here returns JSON source of one event or of its items, ready to be put into an envelope. Candles and
trades come from the tape, products from the catalogue, orders from an `Orders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import orjson

from streamer.simulator import frames
from streamer.simulator.catalogue import Catalogue
from streamer.simulator.market import Market, Ticker, canonical
from streamer.simulator.tape import Candle, Tape, Trade

PRIVATE = frozenset({"user", "futures_balance_summary"})
"""Channels that need a JWT."""
PUBLIC = frozenset({"heartbeats", "ticker", "ticker_batch", "status", "candles", "market_trades"})
"""Channels that need none. `level2` is not simulated: nothing here reads it."""
MARKET_HOST = PUBLIC | PRIVATE
"""What the market host serves; the user channel works there too (protocol notes, 1)."""
USER_HOST = PRIVATE | {"heartbeats"}
"""What the user host serves."""

_BATCH_LEAVES_OUT = ("best_bid", "best_ask", "best_bid_quantity", "best_ask_quantity")


def event(kind: str, name: str, items: Iterable[bytes]) -> bytes:
    """Return an event with a list of ready-made JSON items."""
    return b'{"type":"%b","%b":[%b]}' % (kind.encode(), name.encode(), b",".join(items))


def batch_ticker(ticker: Ticker) -> bytes:
    """Return a ticker as `ticker_batch` carries it: without best bid and ask."""
    return orjson.dumps({k: v for k, v in ticker.items() if k not in _BATCH_LEAVES_OUT})


def status_event(catalogue: Catalogue, kind: str, product_ids: Iterable[str]) -> bytes:
    """Return products with their status; a snapshot holds all of them."""
    return event(kind, "products", (orjson.dumps(catalogue.ws_product(p)) for p in product_ids))


class Orders(Protocol):
    """Where the user channel gets its orders from."""

    def snapshot(self, key_name: str, product_ids: Sequence[str]) -> list[bytes]:
        """Return the open orders of a key as snapshot events, one message each, the last one short."""


def futures_event() -> bytes:
    """Return the summary of an account that holds no futures."""
    names = (
        "futures_buying_power", "total_usd_balance", "cbi_usd_balance", "cfm_usd_balance",
        "total_open_orders_hold_amount", "unrealized_pnl", "daily_realized_pnl", "initial_margin",
        "available_margin", "liquidation_threshold", "liquidation_buffer_amount",
        "liquidation_buffer_percentage",
    )  # fmt: skip
    summary: dict[str, Any] = dict.fromkeys(names, "0")
    for when in ("intraday", "overnight"):
        summary[f"{when}_margin_window_measure"] = {
            "margin_window_type": f"FCM_MARGIN_WINDOW_TYPE_{when.upper()}",
            "margin_level": "MARGIN_LEVEL_TYPE_BASE",
            "initial_margin": "0",
            "maintenance_margin": "0",
            "liquidation_buffer_percentage": "0",
            "total_hold": "0",
            "futures_buying_power": "0",
        }
    return orjson.dumps({"type": "snapshot", "fcm_balance_summary": summary})


def candles_snapshot(tape: Tape, product_id: str, count: int) -> list[bytes]:
    """Return the newest five-minute candles of a product, newest first."""
    return [_candle(product_id, candle) for candle in tape.newest(product_id, count)]


def candles_update(tape: Tape, product_id: str, seen: bytes | None) -> list[bytes]:
    """Return what has changed since the candle `seen` was sent, newest first.

    That is the current candle, and before it the final one of a bucket that has ended in between.
    """
    newest = candles_snapshot(tape, product_id, 2)
    if not newest or newest[0] == seen:
        return []
    # Both begin with their start: the earlier one is told again only if it was still current when last told.
    is_news = seen is not None and newest[-1] != seen and newest[-1].split(b",", 1)[0] == seen.split(b",", 1)[0]
    return newest if len(newest) == 2 and is_news else newest[:1]


def _candle(product_id: str, candle: Candle) -> bytes:
    fields = candle.fields()
    names = ("start", "high", "low", "open", "close", "volume")
    return orjson.dumps({name: fields[name] for name in names} | {"product_id": product_id})


def trades(product_id: str, found: Iterable[Trade], stamper: frames.Stamper) -> list[bytes]:
    """Return trades as `market_trades` carries them."""
    return [
        orjson.dumps(
            {
                "trade_id": str(trade.number),
                "product_id": product_id,
                "price": trade.price,
                "size": trade.size,
                "time": stamper.stamp(trade.time_ns).decode(),
                "side": trade.side,
            }
        )
        for trade in found
    ]


def known(market: Market, product_ids: Iterable[str]) -> list[str]:
    """Return the ids under which data is sent for `product_ids`: aliases resolved, unknown ones left out."""
    return [p for p in dict.fromkeys(map(canonical, product_ids)) if market.latest_json(p) is not None]
