"""What a comparison adds to the sums of all processes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from streamer.compat.differences import differences

MARKER = {"streamer": {"age_s": 0.25}}


def told(kind: str, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, list[float]]:
    """Figures by name, without the age."""
    found: dict[str, list[float]] = {}
    for one in differences(kind, ours | MARKER, theirs):
        found.setdefault(one.name, []).append(float(one.number))
    assert found.pop("age_ms:count") == [1]
    assert found.pop("age_ms:sum") == found.pop("age_ms:max") == [250]
    return found


@pytest.mark.parametrize(("ours", "apart"), [("100", 0.0), ("101", 100.0), ("99.5", 50.0), ("100.00001", 0.001)])
def test_prices_are_apart_by_basis_points(ours: str, apart: float) -> None:
    """Of the exchange's, whichever is higher."""
    found = told("product", {"price": ours}, {"price": "100"})
    assert found == {"price:count": [1], "price:sum_bp": [apart], "price:max_bp": [apart]}


def test_both_sides_of_a_book_count() -> None:
    """Matched by product, whatever the order."""

    def book(name: str, bid: str, ask: str) -> dict[str, Any]:
        return {"product_id": name, "bids": [{"price": bid}], "asks": [{"price": ask}]}

    ours = {"pricebooks": [book("A", "99", "100"), book("B", "10", "20")]}
    theirs = {"pricebooks": [book("B", "10", "20"), book("A", "100", "100")]}
    assert told("best_bid_ask", ours, theirs)["bid_ask:sum_bp"] == [100, 0, 0, 0]


def test_balances_are_equal_or_different() -> None:
    """By value, not by spelling; a wallet that the exchange does not tell is different."""

    def wallet(uuid: str, available: str, hold: str = "0") -> dict[str, Any]:
        return {"uuid": uuid, "available_balance": {"value": available}, "hold": {"value": hold}}

    ours = {"accounts": [wallet("a", "1.0"), wallet("b", "2"), wallet("c", "3", "1"), wallet("d", "4")]}
    theirs = {"accounts": [wallet("b", "2.1"), wallet("a", "1"), wallet("c", "3")]}
    found = told("accounts", ours, theirs)
    assert found == {"balance:count": [1] * 4, "balance:different": [0, 1, 1, 1]}


@pytest.mark.parametrize("theirs", [{}, {"price": ""}, {"price": "0"}, {"price": None}, {"price": {}}])
def test_what_makes_no_sense_is_no_comparison(theirs: dict[str, Any]) -> None:
    """Nothing is added."""
    with pytest.raises(ValueError, match="not what the exchange sends"):
        differences("product", {"price": "1"} | MARKER, theirs)


def test_figures_are_exact() -> None:
    """Decimals, so that many small ones add up."""
    assert all(
        type(one.number) is Decimal for one in differences("product", {"price": "1"} | MARKER, {"price": "3"})
    )
