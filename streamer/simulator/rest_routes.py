"""Which path is answered by whom, and what it takes to be answered. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from streamer.simulator.rest_account import RestAccount
from streamer.simulator.rest_ask import Ask
from streamer.simulator.rest_market import RestMarket

PREFIX = "/api/v3/brokerage"
"""What stands before every path."""


class Route(NamedTuple):
    """One route.

    Attributes:
        template: Its path below the prefix.
        handler: Makes the body of a good answer, or raises a Refusal.
        is_public: Whether it is answered without a key.
        scope: What the key must be allowed to do, None for nothing.
    """

    template: str
    handler: Callable[[Ask], Any]
    is_public: bool = False
    scope: str | None = "view"


class Routes:
    """All that is answered, reads only.

    Args:
        market: The market's desk.
        account: The account desk.
    """

    def __init__(self, market: RestMarket, account: RestAccount) -> None:
        shared = {
            "/products": market.products,
            "/product_book": market.product_book,
            "/products/{product_id}": market.product,
            "/products/{product_id}/ticker": market.trades,
            "/products/{product_id}/candles": market.candles,
        }
        routes = [
            Route("/time", market.time, is_public=True),
            *(Route(f"/market{path}", handler, is_public=True) for path, handler in shared.items()),
            *(Route(path, handler) for path, handler in shared.items()),
            Route("/best_bid_ask", market.best_bid_ask),
            Route("/accounts", account.accounts),
            Route("/accounts/{account_uuid}", account.account),
            Route("/portfolios", account.portfolios),
            Route("/portfolios/{portfolio_uuid}", account.breakdown),
            # Shows what a key may do, so it takes no more than a good key.
            Route("/key_permissions", account.key_permissions, scope=None),
            Route("/transaction_summary", account.transaction_summary),
            Route("/orders/historical/batch", account.orders),
            Route("/orders/historical/fills", account.fills),
            Route("/orders/historical/{order_id}", account.order),
        ]
        self._routes = [(re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", r.template)), r) for r in routes]

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route of a path below the prefix and the parts it names, or None."""
        for pattern, route in self._routes:
            if (match := pattern.fullmatch(path)) is not None:
                return route, match.groupdict()
        return None
