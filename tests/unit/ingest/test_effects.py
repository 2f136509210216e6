"""What an order has done to both of its currencies, to the last digit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from streamer.coinbase.orders import Order, Side
from streamer.ingest.effects import Amounts, completed, effects

D = Decimal


def amounts(available: str, hold: str = "0") -> Amounts:
    """Amounts from text."""
    return Amounts(D(available), D(hold))


BUY = Order("1", "BTC", "USD", Side.BUY, "OPEN", D("0.004"), True, D(336), D("2.016"), D("0.006"), D("507.024"))
SELL = Order("2", "ETH", "USD", Side.SELL, "OPEN", D("0.2"), True, D(580), D("3.48"), D("0.3"), D("0.3"))


def test_a_purchase_takes_value_fees_and_hold_from_the_quote() -> None:
    """Quote falls by value and fees, what is held cannot be spent; base rises by what was bought."""
    assert effects(BUY) == {"BTC": amounts("0.004"), "USD": amounts("-845.04", "507.024")}
    assert effects(BUY)["USD"].total == D("-338.016")


def test_a_sale_takes_quantity_and_hold_from_the_base() -> None:
    """Base falls by what was sold, what is held cannot be spent; quote rises by value less fees."""
    assert effects(SELL) == {"ETH": amounts("-0.5", "0.3"), "USD": amounts("576.52")}
    assert effects(SELL)["ETH"].total == D("-0.2")


@pytest.mark.parametrize("status", ["FILLED", "CANCELLED", "EXPIRED", "FAILED"])
def test_what_is_over_holds_nothing_and_keeps_what_was_filled(status: str) -> None:
    """The end of an order frees its hold, whatever the hold it tells."""
    assert effects(replace(BUY, status=status)) == {"BTC": amounts("0.004"), "USD": amounts("-338.016")}
    assert effects(replace(SELL, status=status)) == {"ETH": amounts("-0.2"), "USD": amounts("576.52")}


def test_an_unfilled_order_only_holds() -> None:
    """An open order changes no total."""
    opened = replace(BUY, quantity=D(0), value=D(0), fees=D(0), hold=D("845.04"))
    assert effects(opened) == {"BTC": Amounts(), "USD": amounts("-845.04", "845.04")}


def test_products_in_usdc_move_usdc() -> None:
    """On the user channel BTC-USDC is no alias: its money is USDC."""
    assert effects(replace(BUY, quote="USDC")).keys() == {"BTC", "USDC"}


def test_value_that_is_missing_is_what_the_average_price_makes_it() -> None:
    """Without filled_value the average price tells it, as well as it can; without either it is 0."""
    lacking = replace(BUY, value=None, average_price=D(84000))
    assert effects(lacking) == effects(BUY)
    assert effects(replace(lacking, average_price=None))["USD"] == amounts("-509.04", "507.024")


def test_sums_are_exact_where_the_default_context_would_round() -> None:
    """Thirty digits before the point and eighteen behind it: not one is lost."""
    large, small = amounts("9" * 30, "1"), amounts("0." + "0" * 17 + "1", "0." + "0" * 17 + "1")
    both = large + small
    assert both == amounts("9" * 30 + "." + "0" * 17 + "1", "1." + "0" * 17 + "1")
    assert both - small == large
    assert both.total == D("1" + "0" * 30 + "." + "0" * 17 + "2")
    order = replace(BUY, quantity=D("9" * 20 + ".1"), value=None, fees=None, average_price=D("9" * 20 + ".1"))
    tenths = int("9" * 20 + "1")
    value = tenths**2
    assert effects(order)["USD"].total == D(f"-{value // 100}.{value % 100:02}")


# -- fields that are missing ------------------------------------------------------------------------------------


def test_a_complete_order_stays_as_it_is() -> None:
    """Nothing is filled in where nothing is missing."""
    assert effects(completed(BUY, None)) == effects(BUY)
    assert completed(BUY, None).is_complete


def test_of_an_unfilled_order_value_and_fees_are_nothing() -> None:
    """What is not filled has no value and no fees: that is no guess."""
    bare = replace(BUY, quantity=D(0), value=None, fees=None)
    whole = completed(bare, None)
    assert (whole.value, whole.fees, whole.is_complete) == (D(0), D(0), True)


def test_what_is_missing_is_as_before_while_nothing_more_is_filled() -> None:
    """An update without money fields repeats what was known, as long as the quantity has not changed."""
    bare = replace(BUY, value=None, fees=None, hold=None)
    whole = completed(bare, BUY)
    assert (whole.value, whole.fees, whole.held, whole.is_complete) == (D(336), D("2.016"), D("507.024"), True)


@pytest.mark.parametrize(
    "lacking",
    [replace(BUY, value=None), replace(BUY, fees=None), replace(BUY, hold=None)],
    ids=["value", "fees", "hold"],
)
def test_what_is_missing_after_a_fill_is_missing(lacking: Order) -> None:
    """After a further fill nobody knows, and the order says so."""
    bare = replace(lacking, quantity=D("0.005"))
    assert not completed(bare, BUY).is_complete
    assert not completed(bare, None).is_complete


def test_a_sale_without_hold_holds_what_remains() -> None:
    """What a sale has yet to sell is what it holds back; that is no guess."""
    whole = completed(replace(SELL, hold=None), None)
    assert (whole.held, whole.is_complete) == (D("0.3"), True)


def test_what_is_over_needs_no_hold() -> None:
    """The end of an order tells its hold: none."""
    whole = completed(replace(BUY, status="CANCELLED", hold=None, leaves=None), None)
    assert (whole.held, whole.is_complete) == (D(0), True)


def test_a_hold_in_quote_is_taken_for_what_remains() -> None:
    """The unit of a sale's hold does not get lost on the way."""
    whole = completed(replace(SELL, hold=D(870), limit_price=D(2900)), None)
    assert whole.held == D("0.3")
    assert effects(whole)["ETH"] == amounts("-0.5", "0.3")
