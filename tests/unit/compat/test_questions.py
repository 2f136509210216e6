"""Which requests of the SDK are questions to us, and what all others count as."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.compat.questions import (
    BreakdownQuestion,
    CandlesQuestion,
    ProductQuestion,
    ProductsQuestion,
    QuotesQuestion,
    WalletsQuestion,
    budget_of,
    kind_of,
    priority_of,
    question_of,
    route_of,
)
from streamer.model import Granularity, Priority, ProductId
from streamer.providers.base import Budget

PREFIX = "/api/v3/brokerage"
BTC = ProductId("BTC-USD")
UUID = "5c1e8f2a-7b34-5d0e-9a61-2f0c3d4e5b6a"
WINDOW = {"start": "600", "end": "1200", "granularity": "FIVE_MINUTE"}
CANDLES = CandlesQuestion(BTC, Granularity.FIVE_MINUTE, 600, 1200, 350)


@pytest.mark.parametrize("twin", ["", "/market"])
@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("/products/BTC-USD", {}, ProductQuestion(BTC)),
        ("/products/BTC-USD", {"get_tradability_status": False}, ProductQuestion(BTC)),
        ("/products/BTC-USD", {"get_tradability_status": None}, ProductQuestion(BTC)),
        ("/products", {"product_ids": ["BTC-USD"]}, ProductsQuestion((BTC,))),
        ("/products", {"product_ids": ["BTC-USD"], "product_type": "SPOT"}, ProductsQuestion((BTC,))),
        ("/products", {"product_ids": ["BTC-USD"], "get_all_products": False}, ProductsQuestion((BTC,))),
        ("/best_bid_ask", {"product_ids": ["BTC-USD"]}, QuotesQuestion((BTC,))),
        ("/products/BTC-USD/candles", WINDOW, CANDLES),
        ("/products/BTC-USD/candles", WINDOW | {"start": 600, "end": 1200, "limit": None}, CANDLES),
    ],
)
def test_what_is_asked_of_us(twin: str, path: str, params: dict[str, Any], expected: object) -> None:
    """The same for the public twins."""
    assert question_of("GET", f"{PREFIX}{twin}{path}", params) == expected


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/products/BTC-USD", {"get_tradability_status": True}),
        ("/products/BTC-USD", {"something_new": "x"}),
        ("/products/btc", {}),
        ("/products/BTC-USD/ticker", {"limit": 1}),
        ("/products", {}),
        ("/products", {"product_ids": []}),
        ("/products", {"product_ids": "BTC-USD"}),
        ("/products", {"product_ids": ["BTC-USD", "BTC-USD"]}),
        ("/products", {"product_ids": ["BTC-USD"], "limit": 1}),
        ("/products", {"product_ids": ["BTC-USD"], "offset": 1}),
        ("/products", {"product_ids": ["BTC-USD"], "product_type": "FUTURE"}),
        ("/products", {"product_ids": ["BTC-USD"], "get_all_products": True}),
        ("/best_bid_ask", {}),
        ("/products/BTC-USD/candles", WINDOW | {"granularity": "TEN_MINUTE"}),
        ("/products/BTC-USD/candles", WINDOW | {"start": "soon"}),
        ("/products/BTC-USD/candles", WINDOW | {"start": "1500"}),
        ("/products/BTC-USD/candles", WINDOW | {"end": str(600 + 350 * 300)}),
        ("/products/BTC-USD/candles", WINDOW | {"limit": 351}),
        ("/products/BTC-USD/candles", {}),
        ("/product_book", {"product_id": "BTC-USD"}),
        ("/time", {}),
        ("/portfolios", {}),
        (f"/orders/historical/{UUID}", {}),
    ],
)
def test_what_is_asked_of_the_exchange(path: str, params: dict[str, Any]) -> None:
    """Whatever could not be answered to the letter."""
    assert question_of("GET", PREFIX + path, params) is None


def test_private_answers_are_asked_for_by_all_that_was_given() -> None:
    """Other parameters are another question: pages are as different as their cursors."""
    first = question_of("GET", f"{PREFIX}/accounts", {"limit": 3, "cursor": None})
    second = question_of("GET", f"{PREFIX}/accounts", {"limit": 3, "cursor": "x"})
    assert first == WalletsQuestion(f"{PREFIX}/accounts", (("limit", "3"),))
    assert first != second
    one = question_of("GET", f"{PREFIX}/accounts/{UUID}", None)
    assert one == WalletsQuestion(f"{PREFIX}/accounts/{UUID}", ())
    whole = question_of("GET", f"{PREFIX}/portfolios/{UUID}", {"currency": "USD"})
    assert whole == BreakdownQuestion(f"{PREFIX}/portfolios/{UUID}", (("currency", "'USD'"),))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_changes_something_is_never_ours(method: str) -> None:
    """Whatever its path."""
    for path in ("/products/BTC-USD", "/accounts", f"/portfolios/{UUID}"):
        assert question_of(method, PREFIX + path, {}) is None
        assert kind_of(method, PREFIX + path) == "other"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", f"{PREFIX}/orders/historical/batch", Priority.BACKGROUND),
        ("POST", f"{PREFIX}/orders/preview", Priority.BACKGROUND),
        ("POST", f"{PREFIX}/orders/edit_preview", Priority.BACKGROUND),
        ("POST", f"{PREFIX}/orders", Priority.TRADING),
        ("POST", f"{PREFIX}/orders/batch_cancel", Priority.TRADING),
        ("POST", f"{PREFIX}/orders/edit", Priority.TRADING),
        ("POST", f"{PREFIX}/orders/close_position", Priority.TRADING),
        ("PUT", f"{PREFIX}/portfolios/{UUID}", Priority.TRADING),
        ("DELETE", "/something/else", Priority.TRADING),
    ],
)
def test_urgency(method: str, path: str, expected: Priority) -> None:
    """What changes something is most urgent; a preview changes nothing."""
    assert priority_of(method, path, Priority.BACKGROUND) is expected


def test_budgets() -> None:
    """Public paths count by address, all others by user."""
    assert budget_of(f"{PREFIX}/market/products") is Budget.MARKET
    assert budget_of(f"{PREFIX}/time") is Budget.MARKET
    assert budget_of(f"{PREFIX}/products") is Budget.PRIVATE
    assert budget_of("/somewhere") is Budget.PRIVATE


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", f"{PREFIX}/accounts/{UUID}", "account"),
        ("GET", f"{PREFIX}/market/products/BTC-USD", "product"),
        ("POST", f"{PREFIX}/orders/batch_cancel", "orders"),
        ("GET", f"{PREFIX}/market/product_book", "product_book"),
        ("GET", f"{PREFIX}/made/up/{UUID}", "other"),
        ("GET", f"/v2/{UUID}", "other"),
    ],
)
def test_names_are_few(method: str, path: str, expected: str) -> None:
    """No part of a path that may be anything becomes the name of a counter."""
    assert route_of(method, path) == expected
