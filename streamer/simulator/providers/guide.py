"""What the providers' market says of the exchange's products, for the exchange to keep to. Pure."""

from __future__ import annotations

from decimal import Decimal

from streamer.simulator.providers.assets import ASSETS
from streamer.simulator.providers.market import Market


class Guide:
    """The prices that all providers share, by the exchange's product ids.

    Args:
        market: Where they come from.
    """

    def __init__(self, market: Market) -> None:
        self._market = market

    def price(self, product_id: str, at_s: float) -> Decimal | None:
        """Return what a product costs at a time, None if base or quote is not of this market.

        Args:
            product_id: "BTC-USD", "BTC-USDT", "ETH-BTC".
            at_s: Unix time; the price is the same for the whole second.
        """
        base, _, quote = product_id.partition("-")
        if base not in ASSETS or quote not in ("USD", *ASSETS):
            return None
        price, _ = self._market.last(base, at_s)
        return price if quote == "USD" else price / self._market.last(quote, at_s)[0]
