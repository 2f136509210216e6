"""What each channel says: the events of snapshots and of the slower updates. Pure.

Everything here returns JSON source of one event, ready to be put into an envelope. Candles and market trades
are right in shape but sampled from tickers; the user channel knows no orders yet. Both may be deepened here
without touching the exchange.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Protocol

import orjson

from streamer.simulator.market import Market, Ticker, canonical

PRIVATE = frozenset({"user", "futures_balance_summary"})
"""Channels that need a JWT."""
PUBLIC = frozenset({"heartbeats", "ticker", "ticker_batch", "status", "candles", "market_trades"})
"""Channels that need none. `level2` is not simulated: nothing here reads it."""
MARKET_HOST = PUBLIC | PRIVATE
"""What the market host serves; the user channel works there too (protocol notes, 1)."""
USER_HOST = PRIVATE | {"heartbeats"}
"""What the user host serves."""

CANDLE_S = 300
_BATCH_LEAVES_OUT = ("best_bid", "best_ask", "best_bid_quantity", "best_ask_quantity")


def event(kind: str, name: str, items: Iterable[bytes]) -> bytes:
    """Return an event with a list of ready-made JSON items."""
    return b'{"type":"%b","%b":[%b]}' % (kind.encode(), name.encode(), b",".join(items))


def batch_ticker(ticker: Ticker) -> bytes:
    """Return a ticker as `ticker_batch` carries it: without best bid and ask."""
    return orjson.dumps({k: v for k, v in ticker.items() if k not in _BATCH_LEAVES_OUT})


def status_event(market: Market) -> bytes:
    """Return the snapshot of all products."""
    return event("snapshot", "products", (orjson.dumps(_product(p)) for p in market.products))


def _product(product_id: str) -> dict[str, str]:
    base, _, quote = product_id.rpartition("-")
    return {
        "product_type": "SPOT",
        "id": product_id,
        "base_currency": base,
        "quote_currency": quote,
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "display_name": f"{base}/{quote}",
        "status": "online",
        "status_message": "",
        "min_market_funds": "1",
    }


class Orders(Protocol):
    """Where the user channel gets its orders from."""

    def snapshot(self, key_name: str, product_ids: Sequence[str]) -> list[bytes]:
        """Return the open orders of a key as snapshot events, one message each, the last one short."""


class NoOrders:
    """A user without orders."""

    def snapshot(self, key_name: str, product_ids: Sequence[str]) -> list[bytes]:
        """Return the one empty snapshot that such a user gets."""
        positions: dict[str, list[Any]] = {
            "perpetual_futures_positions": [],
            "expiring_futures_positions": [],
        }
        return [orjson.dumps({"type": "snapshot", "orders": [], "positions": positions})]


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


class Candles:
    """Five-minute candles made of tickers sampled about once a second."""

    def __init__(self) -> None:
        self._current: dict[str, dict[str, str]] = {}
        self._opening_volume: dict[str, Decimal] = {}

    def sample(self, product_id: str, ticker: Ticker, now_s: float) -> bytes | None:
        """Take a ticker into account and return the current candle, or None for a ticker without a price."""
        try:
            _price, volume = Decimal(ticker["price"]), Decimal(ticker["volume_24_h"])
        except (KeyError, decimal.InvalidOperation):
            return None
        start = str(int(now_s) // CANDLE_S * CANDLE_S)
        candle = self._current.get(product_id)
        if candle is None or candle["start"] != start:
            text = ticker["price"]
            candle = {"start": start, "high": text, "low": text, "open": text, "close": text, "volume": "0"}
            candle["product_id"] = product_id
            self._current[product_id], self._opening_volume[product_id] = candle, volume
        candle["close"] = ticker["price"]
        candle["high"] = max(candle["high"], ticker["price"], key=Decimal)
        candle["low"] = min(candle["low"], ticker["price"], key=Decimal)
        # The 24-hour volume of a real market also falls, as old trades leave the window.
        candle["volume"] = format(max(Decimal(0), volume - self._opening_volume[product_id]), "f")
        return orjson.dumps(candle)


class Trades:
    """One trade per product whose ticker changed since the last look."""

    def __init__(self) -> None:
        self._next_id = 1_140_223_900
        self._last: dict[str, tuple[Ticker, bytes]] = {}

    def latest(self, product_id: str, ticker: Ticker, now: bytes) -> bytes:
        """Return the newest trade; the same one again as long as the ticker has not changed.

        Args:
            product_id: The product.
            ticker: Its newest ticker.
            now: Time of the trade, RFC 3339.
        """
        last = self._last.get(product_id)
        if last is not None and last[0] == ticker:
            return last[1]
        self._next_id += 1
        trade = orjson.dumps(
            {
                "trade_id": str(self._next_id),
                "product_id": product_id,
                "price": ticker.get("price", ""),
                "size": ticker.get("best_ask_quantity", ""),  # a ticker does not say the size of its trade
                "time": now.decode(),
                "side": "SELL" if ticker.get("price") == ticker.get("best_ask") else "BUY",  # the maker's
            }
        )
        self._last[product_id] = (ticker, trade)
        return trade


def known(market: Market, product_ids: Iterable[str]) -> list[str]:
    """Return the ids under which data is sent for `product_ids`: aliases resolved, unknown ones left out."""
    return [p for p in dict.fromkeys(map(canonical, product_ids)) if market.latest_json(p) is not None]
