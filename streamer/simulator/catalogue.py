"""The products of the exchange: which there are, how they are written, and whether they trade. Pure.

Every USD pair has an alias quoted in USDC that shares its book (protocol notes, 5.9).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from streamer.errors import ConfigError
from streamer.simulator.market import OWN_BOOK, Market, Ticker, canonical
from streamer.simulator.past import plain

ONLINE = "online"

_NAMES = {
    "BTC": "Bitcoin",
    "ETH": "Ethereum",
    "SOL": "Solana",
    "DOGE": "Dogecoin",
    "ADA": "Cardano",
    "USD": "US Dollar",
    "EUR": "Euro",
    "GBP": "British Pound",
}

_EMPTY = (
    *("market_cap", "base_cbrn", "quote_cbrn", "product_cbrn"),
    *("icon_color", "icon_url", "display_name_overwrite"),
)


class Status(NamedTuple):
    """How a product is doing."""

    status: str = ONLINE
    message: str = ""


class Catalogue:
    """Every product with its alias and its status.

    Args:
        market: Where prices come from.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._statuses: dict[str, Status] = {}

    def ids(self) -> list[str]:
        """Return every product id, each alias behind its product."""
        # A market may also have been given an id that is only ever another name.
        own = [p for p in self._market.products if canonical(p) == p]
        return [product_id for p in own for product_id in (p, *_aliases(p))]

    def has(self, product_id: str) -> bool:
        """Whether there is such a product."""
        return canonical(product_id) in self._market.products and product_id != "USDC-USDC"

    def set_status(self, product_id: str, status: Status) -> None:
        """Change the status of one product; its alias has its own.

        Raises:
            ConfigError: No such product.
        """
        if not self.has(product_id):
            raise ConfigError("product", product_id, "is not a product of this market")
        self._statuses[product_id] = status

    def status(self, product_id: str) -> Status:
        """Return the status of a product."""
        return self._statuses.get(product_id, Status())

    def increment(self, product_id: str) -> str:
        """Return the smallest step of a product's price."""
        return self._market.increment(canonical(product_id))

    def ws_product(self, product_id: str) -> dict[str, str]:
        """Return a product as the `status` channel shows it."""
        base, _, quote = product_id.rpartition("-")
        status = self.status(product_id)
        return {
            "product_type": "SPOT",
            "id": product_id,
            "base_currency": base,
            "quote_currency": quote,
            "base_increment": "0.00000001",
            "quote_increment": self.increment(product_id),
            "display_name": f"{base}/{quote}",
            "status": status.status,
            "status_message": status.message,
            "min_market_funds": "1",
        }

    def rest_product(self, product_id: str) -> dict[str, Any]:
        """Return a product as REST shows it; its price is "" as long as there is none."""
        base, _, quote = product_id.rpartition("-")
        label, step = canonical(product_id), self.increment(product_id)
        ticker = self._market.latest(label) or {}
        is_off = self.status(product_id).status != ONLINE
        numbers = {
            "price": ticker.get("price", ""),
            "price_percentage_change_24h": ticker.get("price_percent_chg_24_h", ""),
            "volume_24h": ticker.get("volume_24_h", ""),
            "volume_percentage_change_24h": "12.4920886271996" if ticker else "",
            "base_increment": "0.00000001",
            "quote_increment": step,
            "quote_min_size": "1",
            "quote_max_size": "150000000",
            "base_min_size": "0.00000001",
            "base_max_size": "3400",
        }
        return {
            "product_id": product_id,
            **numbers,
            "base_name": _NAMES.get(base, base),
            "quote_name": _NAMES.get(quote, quote),
            "watched": False,
            "is_disabled": is_off,
            "new": False,
            "status": self.status(product_id).status,
            "cancel_only": False,
            "limit_only": False,
            "post_only": False,
            "trading_disabled": is_off,
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": quote,
            "base_currency_id": base,
            "fcm_trading_session_details": None,
            "mid_market_price": "",
            "alias": label if label != product_id else "",
            "alias_to": _aliases(product_id),
            "base_display_symbol": base,
            "quote_display_symbol": "USD" if quote == "USDC" else quote,
            "view_only": False,
            "price_increment": step,
            "display_name": product_id,
            "product_venue": "CBE",
            "approximate_quote_24h_volume": _turnover(ticker),
            "new_at": "2023-01-01T00:00:00Z",
            **dict.fromkeys(_EMPTY, ""),
            "is_alpha_testing": False,
            "about_description": "",
            "best_bid_price": "",
            "best_ask_price": "",
        }


def _aliases(product_id: str) -> list[str]:
    alias = f"{product_id}C"
    has_one = product_id.endswith("-USD") and alias not in OWN_BOOK and product_id != "USDC-USD"
    return [alias] if has_one else []


def _turnover(ticker: Ticker) -> str:
    price, volume = ticker.get("price"), ticker.get("volume_24_h")
    if not price or not volume:
        return ""
    return plain((Decimal(price) * Decimal(volume)).quantize(Decimal("0.01")))
