"""The balance ledger: what follows from orders, what REST confirms, and what is marked as neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from streamer.coinbase.messages import Decoder
from streamer.coinbase.orders import Order, OrderEvent, OrderStream, Side
from streamer.ingest.effects import Amounts
from streamer.ingest.ledger import AHEAD_S, LAG_S, Difference, Ledger, State
from streamer.model import Account, Basis

DATA = Path(__file__).parents[2] / "data"
D = Decimal
RICH = {"USD": "10000", "USDC": "2500", "BTC": "0.25", "ETH": "2"}
PERIOD_S = 5.0

BUY = Order(
    order_id="buy",
    base="BTC",
    quote="USD",
    side=Side.BUY,
    status="OPEN",
    quantity=D(0),
    value=D(0),
    fees=D(0),
    leaves=D("0.01"),
    hold=D("845.04"),
    limit_price=D(84000),
)
SELL = replace(
    BUY, order_id="sell", base="ETH", side=Side.SELL, leaves=D("0.5"), hold=D("0.5"), limit_price=D(2900)
)
HALF = replace(BUY, quantity=D("0.004"), value=D(336), fees=D("2.016"), leaves=D("0.006"), hold=D("507.024"))
FILLED = replace(BUY, status="FILLED", quantity=D("0.01"), value=D(840), fees=D("5.04"), leaves=D(0), hold=D(0))


def amounts(available: str, hold: str = "0") -> Amounts:
    """Amounts from text."""
    return Amounts(D(available), D(hold))


def accounts(**balances: str) -> list[Account]:
    """What REST tells: "available" or "available+hold" of each currency; what is not named is as at the start."""
    told = {}
    for currency, balance in (RICH | balances).items():
        available, _, hold = balance.partition("+")
        told[currency] = Account(f"id-{currency}", currency, D(available), D(hold or "0"))
    return list(told.values())


def tell(ledger: Ledger, now: float, *orders: Order) -> set[str]:
    """Let updates arrive, one event each."""
    changed: set[str] = set()
    for order in orders:
        changed |= ledger.apply(OrderEvent(False, (order,)), now)
    return changed


def list_open(ledger: Ledger, now: float, *orders: Order) -> set[str]:
    """Let a snapshot of open orders arrive."""
    return ledger.apply(OrderEvent(True, orders), now)


def ask(ledger: Ledger, asked_at: float, told: Iterable[Account], at: float | None = None) -> set[str]:
    """Ask REST, and take the answer."""
    ledger.asking()
    return ledger.answer(told, asked_at, asked_at if at is None else at)


def believe(ledger: Ledger) -> set[str]:
    """Let the time be over in which an update may still explain the answer."""
    assert ledger.settles_at is not None
    return ledger.settle(ledger.settles_at)


def ask_and_believe(ledger: Ledger, asked_at: float, told: Iterable[Account]) -> None:
    """Ask REST, take the answer, and believe what no update has explained."""
    ask(ledger, asked_at, told)
    if ledger.settles_at is not None:
        believe(ledger)


def state(ledger: Ledger, currency: str) -> State:
    """What is known of a currency of which something is."""
    found = ledger.state(currency)
    assert found is not None
    return found


def holds(ledger: Ledger, **balances: str) -> bool:
    """Whether these are the amounts, "available" or "available+hold"."""
    wanted = {c: amounts(*balance.split("+")) for c, balance in balances.items()}
    return wanted == {c: state(ledger, c).amounts for c in balances}


def is_confirmed(ledger: Ledger, *currencies: str) -> bool:
    """Whether all of these are confirmed and beyond doubt."""
    states = [state(ledger, currency) for currency in currencies or ledger.currencies]
    return all(one.basis is Basis.CONFIRMED and not one.suspect for one in states)


def is_derived(ledger: Ledger, *currencies: str) -> bool:
    """Whether all of these follow from updates alone."""
    return all(state(ledger, currency).basis is Basis.DERIVED for currency in currencies or ledger.currencies)


def is_suspect(ledger: Ledger, *currencies: str) -> bool:
    """Whether all of these are in doubt."""
    return all(state(ledger, currency).suspect for currency in currencies or ledger.currencies)


def settled(*orders: Order, **balances: str) -> Ledger:
    """A ledger at the time of 100 s: these orders were open from the start, all is confirmed, nothing is wanted."""
    ledger = Ledger()
    list_open(ledger, 0.0, *orders)
    for asked_at in (1.0, 6.0):
        ask_and_believe(ledger, asked_at, accounts(**balances))
    assert is_confirmed(ledger)
    assert not ledger.wants_answer
    return ledger


# -- orders move balances ---------------------------------------------------------------------------------------


def test_an_open_purchase_holds_quote() -> None:
    """What it may spend cannot be spent otherwise; the total stays, and so does the base."""
    ledger = settled()
    assert tell(ledger, 100.0, BUY) == {"USD"}
    assert holds(ledger, USD="9154.96+845.04", BTC="0.25")
    assert is_derived(ledger, "USD")
    assert is_confirmed(ledger, "BTC", "ETH", "USDC")


def test_a_purchase_filled_in_part_takes_value_and_fees() -> None:
    """Quote falls by value and fees, base rises by quantity, less is held."""
    ledger = settled()
    tell(ledger, 100.0, BUY)
    assert tell(ledger, 101.0, HALF) == {"BTC", "USD"}
    assert holds(ledger, USD="9154.96+507.024", BTC="0.254")
    assert state(ledger, "USD").amounts.total == D("9661.984")


def test_a_filled_purchase_frees_its_hold() -> None:
    """Nothing is held for what is over."""
    ledger = settled()
    tell(ledger, 100.0, BUY, HALF, FILLED)
    assert holds(ledger, USD="9154.96", BTC="0.26")
    assert ledger.wants_answer


@pytest.mark.parametrize("status", ["CANCELLED", "EXPIRED", "FAILED"])
def test_an_order_that_ends_early_keeps_its_part(status: str) -> None:
    """What was filled stays, what was held comes back."""
    ledger = settled()
    tell(ledger, 100.0, BUY, HALF, replace(HALF, status=status, leaves=D(0), hold=D(0)))
    assert holds(ledger, USD="9661.984", BTC="0.254")
    assert ledger.wants_answer


def test_a_sale_holds_base_and_brings_value_less_fees() -> None:
    """Open, half filled, filled: the mirror of a purchase."""
    ledger = settled()
    assert tell(ledger, 100.0, SELL) == {"ETH"}
    assert holds(ledger, ETH="1.5+0.5", USD="10000")
    half = replace(SELL, quantity=D("0.2"), value=D(580), fees=D("3.48"), leaves=D("0.3"), hold=D("0.3"))
    assert tell(ledger, 101.0, half) == {"ETH", "USD"}
    assert holds(ledger, ETH="1.5+0.3", USD="10576.52")
    tell(ledger, 102.0, replace(half, status="FILLED", quantity=D("0.5"), value=D(1450), fees=D("8.7"), hold=D(0)))
    assert holds(ledger, ETH="1.5", USD="11441.3")


def test_a_cancelled_sale_frees_its_hold() -> None:
    """A sale that never was leaves nothing behind."""
    ledger = settled()
    tell(ledger, 100.0, SELL, replace(SELL, status="CANCELLED", leaves=D(0), hold=D(0)))
    assert holds(ledger, ETH="2", USD="10000")


def test_a_sale_whose_hold_is_told_in_quote_holds_base() -> None:
    """1450 dollars of hold on half an ether are half an ether."""
    ledger = settled()
    tell(ledger, 100.0, replace(SELL, hold=D(1450)))
    assert holds(ledger, ETH="1.5+0.5", USD="10000")


def test_orders_in_usdc_take_usdc() -> None:
    """USD and USDC are different wallets."""
    ledger = settled()
    assert tell(ledger, 100.0, replace(BUY, quote="USDC")) == {"USDC"}
    assert holds(ledger, USD="10000", USDC="1654.96+845.04")


def test_an_order_between_coins_moves_both() -> None:
    """A quote can be the base of others."""
    ledger = settled()
    bought = replace(FILLED, base="ETH", quote="BTC", quantity=D(1), value=D("0.03"), fees=D("0.0001"))
    tell(ledger, 100.0, bought)
    assert holds(ledger, ETH="3", BTC="0.2199", USD="10000")


def test_an_order_is_first_seen_filled() -> None:
    """Fast orders skip states."""
    ledger = settled()
    assert tell(ledger, 100.0, FILLED) == {"BTC", "USD"}
    assert holds(ledger, USD="9154.96", BTC="0.26")


def test_amounts_are_exact_to_the_last_digit() -> None:
    """Neither thirty digits before the point nor eighteen behind it round anything."""
    ledger = settled(USD="9" * 25 + ".000000000000000001")
    tell(ledger, 100.0, replace(BUY, hold=D("0.000000000000000003")))
    assert holds(ledger, USD="9" * 24 + "8." + "9" * 17 + "8+0.000000000000000003")
    assert state(ledger, "USD").amounts.total == D("9" * 25 + ".000000000000000001")


# -- repeated, late and contradictory updates -------------------------------------------------------------------


def test_a_repeated_update_changes_nothing() -> None:
    """Updates are cumulative, so replaying them is harmless, and counted."""
    ledger = settled()
    tell(ledger, 100.0, BUY, HALF)
    assert tell(ledger, 101.0, HALF, BUY, HALF) == set()
    assert holds(ledger, USD="9154.96+507.024", BTC="0.254")
    assert (ledger.counts.updates, ledger.counts.repeated) == (5, 3)


def test_an_older_update_changes_nothing() -> None:
    """Less filled is older, whatever its status."""
    ledger = settled()
    tell(ledger, 100.0, HALF)
    assert tell(ledger, 101.0, BUY, replace(BUY, status="PENDING")) == set()
    assert holds(ledger, USD="9154.96+507.024", BTC="0.254")


@pytest.mark.parametrize("late", [BUY, HALF, replace(FILLED, status="OPEN"), replace(FILLED, status="WHATEVER")])
def test_what_is_over_stays_over(late: Order) -> None:
    """No update undoes the end of an order."""
    ledger = settled()
    tell(ledger, 100.0, FILLED)
    assert tell(ledger, 101.0, late) == set()
    assert holds(ledger, USD="9154.96", BTC="0.26")


def test_more_filled_than_the_end_had_told_counts_and_holds_nothing() -> None:
    """A fill that comes after the cancel is money; a hold that it tells is not."""
    ledger = settled()
    tell(ledger, 100.0, replace(BUY, status="CANCELLED", hold=D(0)), HALF)
    assert holds(ledger, USD="9661.984", BTC="0.254")


def test_a_first_filled_with_a_hold_is_followed_by_one_without() -> None:
    """The second FILLED is a repetition: the hold was over with the first."""
    ledger = settled()
    tell(ledger, 100.0, replace(FILLED, hold=D(7)))
    assert holds(ledger, USD="9154.96", BTC="0.26")
    assert tell(ledger, 101.0, FILLED) == set()
    assert ledger.counts.repeated == 1


def test_an_unknown_status_is_taken_by_its_numbers() -> None:
    """It is counted, its numbers count, and REST is asked what it means."""
    ledger = settled()
    tell(ledger, 100.0, replace(HALF, status="HALF_FILLED"))
    assert holds(ledger, USD="9154.96+507.024", BTC="0.254")
    assert (ledger.counts.unknown_status, ledger.wants_answer) == (1, True)
    tell(ledger, 101.0, FILLED)
    assert holds(ledger, USD="9154.96", BTC="0.26")


def test_an_edit_changes_the_hold() -> None:
    """An order may hold more or less with nothing filled; REST is asked, for its updates may have been swapped."""
    ledger = settled()
    tell(ledger, 100.0, BUY)
    assert not ledger.wants_answer
    tell(ledger, 101.0, replace(BUY, hold=D(900)))
    assert holds(ledger, USD="9100+900")
    assert ledger.wants_answer


def test_an_old_update_that_comes_after_an_edit_is_not_confirmed_by_an_old_answer() -> None:
    """Of two updates equally far nobody can say which is older, so only an answer beyond the lag decides."""
    ledger = settled()
    tell(ledger, 100.0, BUY)
    tell(ledger, 110.0, replace(BUY, hold=D(900)))
    tell(ledger, 110.5, BUY)
    ask_and_believe(ledger, 110.6, accounts(USD="9154.96+845.04"))  # as it was at 109 s
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 115.6, accounts(USD="9100+900"))
    assert holds(ledger, USD="9100+900")
    assert is_confirmed(ledger, "USD")


# -- missing fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lacking",
    [replace(HALF, value=None), replace(HALF, fees=None), replace(HALF, hold=None)],
    ids=["value", "fees", "hold"],
)
def test_a_fill_that_lacks_a_field_is_marked_until_rest_has_told(lacking: Order) -> None:
    """What the update does not tell is a guess: derived, and not confirmed by an answer that may miss the fill."""
    ledger = settled(BUY, USD="9154.96+845.04")
    tell(ledger, 100.0, lacking)
    assert state(ledger, "BTC").amounts == amounts("0.254")
    assert is_derived(ledger, "BTC", "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 100.1, accounts(USD="9154.96+845.04"))  # as it was
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 105.1, accounts(USD="9154.96+507.024", BTC="0.254"))
    assert holds(ledger, USD="9154.96+507.024", BTC="0.254")
    assert is_confirmed(ledger, "USD", "BTC")


def test_an_order_that_never_told_its_hold_wants_an_answer() -> None:
    """Nothing is held for it as far as we know, and REST may not have heard of it yet."""
    ledger = settled()
    tell(ledger, 100.0, replace(BUY, hold=None))
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 100.5, accounts())  # as it was
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer


def test_a_fill_without_fields_is_no_confirmed_quote() -> None:
    """Where nothing tells what was paid, the quote does not look as if nothing had been."""
    market = replace(BUY, hold=D(0), leaves=None, limit_price=None)
    ledger = settled()
    tell(ledger, 100.0, market)
    ledger.asking()
    changed = tell(ledger, 101.0, replace(market, quantity=D("0.004"), value=None, fees=None))
    assert changed == {"BTC", "USD"}
    assert is_derived(ledger, "USD", "BTC")
    assert ledger.wants_answer


def test_the_end_of_an_order_whose_hold_was_never_told_is_marked() -> None:
    """REST has told the hold, so the sum does not move when it is freed; yet that is no confirmed balance."""
    ledger = settled()
    tell(ledger, 100.0, replace(BUY, hold=None))
    ask_and_believe(ledger, 104.0, accounts(USD="9154.96+845.04"))
    assert is_confirmed(ledger, "USD")
    tell(ledger, 200.0, replace(BUY, status="CANCELLED", hold=None, leaves=None))
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 200.1, accounts(USD="9154.96+845.04"))  # as it was
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 205.1, accounts())
    assert holds(ledger, USD="10000")
    assert is_confirmed(ledger, "USD")


def test_an_update_without_money_fields_repeats_what_was_known() -> None:
    """While nothing more is filled, a lack is no news."""
    ledger = settled()
    tell(ledger, 100.0, HALF)
    ledger.asking()
    assert tell(ledger, 101.0, replace(HALF, value=None, fees=None, hold=None)) == set()
    assert not ledger.wants_answer


def test_an_unreadable_update_puts_everything_in_doubt() -> None:
    """Something has happened to an order, nobody can tell to which: as good as lost."""
    ledger = settled()
    assert ledger.apply(OrderEvent(False, (), unreadable=2), 100.0) == set(RICH)
    assert is_suspect(ledger) and is_derived(ledger)
    assert (ledger.counts.unreadable, ledger.wants_answer, ledger.is_blind) == (2, True, False)
    ask_and_believe(ledger, 100.1, accounts())
    assert is_suspect(ledger)
    ask_and_believe(ledger, 105.1, accounts(BTC="0.3"))
    assert is_confirmed(ledger)
    assert holds(ledger, BTC="0.3")


def test_futures_touch_nothing_but_want_an_answer() -> None:
    """Margin moves in ways of its own; no order of a future is booked."""
    ledger = settled()
    assert tell(ledger, 100.0, replace(FILLED, base="BIT-27NOV26", quote="CDE", is_spot=False)) == set()
    assert holds(ledger, **RICH)
    assert ledger.wants_answer


# -- the beginning ----------------------------------------------------------------------------------------------


def test_nothing_is_known_before_the_first_answer() -> None:
    """Orders alone tell no balance, and no change is reported of what nobody knows."""
    ledger = Ledger()
    assert list_open(ledger, 0.0, HALF) == set()
    assert tell(ledger, 1.0, SELL) == set()
    assert ledger.currencies == []
    assert ledger.state("USD") is None
    assert ledger.wants_answer


def test_a_quiet_account_is_confirmed_by_its_first_answer() -> None:
    """Without orders there was nothing to miss; it is asked once more, for what ended just before we came."""
    ledger = Ledger()
    list_open(ledger, 0.0)
    assert ask(ledger, 0.5, accounts()) == set(RICH)
    believe(ledger)
    assert is_confirmed(ledger)
    assert ledger.wants_answer
    ask_and_believe(ledger, 5.5, accounts())
    assert is_confirmed(ledger)
    assert not ledger.wants_answer


def test_what_ended_just_before_we_came_is_found_by_the_second_answer() -> None:
    """The first answer may lag behind a purchase nobody tells us of; that is no difference, and not for long."""
    ledger = Ledger()
    list_open(ledger, 0.0)
    ask_and_believe(ledger, 0.5, accounts())
    ask_and_believe(ledger, 5.5, accounts(USD="9154.96", BTC="0.26"))
    assert holds(ledger, USD="9154.96", BTC="0.26")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_an_account_with_orders_is_suspect_until_an_answer_beyond_the_lag() -> None:
    """What REST tells within the lag after the snapshot may miss what was filled before it."""
    ledger = Ledger()
    list_open(ledger, 10.0, BUY)
    ask_and_believe(ledger, 10.0 + LAG_S - 0.1, accounts(USD="9154.96+845.04"))
    assert is_suspect(ledger) and is_derived(ledger)
    assert ledger.wants_answer
    ask_and_believe(ledger, 10.0 + LAG_S, accounts(USD="9154.96+845.04"))
    assert is_confirmed(ledger)
    assert not ledger.wants_answer


def test_without_a_snapshot_balances_are_shown_and_suspect() -> None:
    """REST alone feeds the portfolio where no order comes: shown as told, never confirmed, and never asked for."""
    ledger = Ledger()
    assert ask(ledger, 0.0, accounts()) == set(RICH)
    assert holds(ledger, **RICH)
    assert is_suspect(ledger) and is_derived(ledger)
    believe(ledger)
    assert not ledger.wants_answer, "another answer would settle nothing either"
    ask_and_believe(ledger, 600.0, accounts(USD="1"))
    assert holds(ledger, USD="1")
    assert is_suspect(ledger) and is_derived(ledger)
    assert ledger.counts.differences == 0


@pytest.mark.parametrize(
    ("order", "told"),
    [(BUY, {"USD": "9154.96+845.04"}), (HALF, {"USD": "9154.96+507.024", "BTC": "0.254"})],
    ids=["open", "half filled"],
)
def test_a_snapshot_after_the_first_answer_changes_no_balance(order: Order, told: dict[str, str]) -> None:
    """REST has told of these orders already: nothing is held twice, and no difference is counted later."""
    ledger = Ledger()
    ask(ledger, 0.0, accounts(**told))
    list_open(ledger, 0.5, order)
    assert holds(ledger, **told)
    believe(ledger)
    ask_and_believe(ledger, 5.0, accounts(**told))
    assert is_confirmed(ledger)
    tell(ledger, 100.0, FILLED)
    ask(ledger, 105.0, accounts(USD="9154.96", BTC="0.26"))
    assert holds(ledger, USD="9154.96", BTC="0.26")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


@pytest.mark.parametrize("shown", [BUY, HALF], ids=["before the fill", "after the fill"])
def test_a_half_filled_order_before_the_first_answer_counts_once(shown: Order) -> None:
    """What the first answer tells includes what the order has done, or not yet; the next one settles it."""
    ledger = Ledger()
    list_open(ledger, 0.0, HALF)
    old = {"USD": "9154.96+845.04", "BTC": "0.25"}
    new = {"USD": "9154.96+507.024", "BTC": "0.254"}
    ask(ledger, 0.5, accounts(**(old if shown is BUY else new)))
    believe(ledger)
    ask_and_believe(ledger, 5.5, accounts(**new))
    assert holds(ledger, **new)
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_a_first_answer_that_lags_behind_an_order_is_no_difference() -> None:
    """Which of its orders the first answer has in it nobody knows; the next one settles it without a word."""
    ledger = Ledger()
    list_open(ledger, 0.0)
    tell(ledger, 20.0, BUY)
    ask_and_believe(ledger, 20.5, accounts())  # as it was at 19 s
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 25.5, accounts(USD="9154.96+845.04"))
    assert holds(ledger, USD="9154.96+845.04")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_a_first_answer_ahead_of_an_update_is_no_difference() -> None:
    """An order that the first answer shows before we hear of it is not held twice for long, nor counted."""
    ledger = Ledger()
    list_open(ledger, 0.0)
    ask(ledger, 20.0, accounts(USD="9154.96+845.04"))
    tell(ledger, 20.5, BUY)
    believe(ledger)
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 25.0, accounts(USD="9154.96+845.04"))
    assert holds(ledger, USD="9154.96+845.04")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_the_first_answer_of_a_quiet_account_proves_nothing_about_orders() -> None:
    """It missed a sale; after a second one just like it the next answer fits, and proves nothing either."""
    ledger = Ledger()
    sold = replace(SELL, status="FILLED", quantity=D("0.5"), value=D(1450), fees=D("8.7"))
    list_open(ledger, 0.0)
    ask_and_believe(ledger, 0.5, accounts())  # as it was before the first sale
    tell(ledger, 5.2, sold)
    ask_and_believe(ledger, 5.5, accounts(USD="11441.3", ETH="1.5"))  # as it was before the second
    assert not is_confirmed(ledger, "ETH")
    ask_and_believe(ledger, 10.5, accounts(USD="12882.6", ETH="1"))
    assert holds(ledger, USD="12882.6", ETH="1")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_a_state_that_no_update_told_of_is_not_counted_at_the_beginning() -> None:
    """An order and its cancel, swapped, around the second answer: it settles nothing, so the third is no news."""
    ledger = Ledger()
    list_open(ledger, 0.0)
    ask_and_believe(ledger, 3.0, accounts())
    ask(ledger, 8.0, accounts(USD="9154.96+845.04"))  # while it was open
    tell(ledger, 8.1, replace(BUY, status="CANCELLED", hold=D(0)), BUY)
    believe(ledger)
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 13.0, accounts())
    assert holds(ledger, USD="10000")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_a_snapshot_of_orders_that_make_no_sense_is_not_quiet() -> None:
    """There are orders, whatever they are."""
    ledger = Ledger()
    ledger.apply(OrderEvent(True, (), unreadable=1), 0.0)
    ask_and_believe(ledger, 0.5, accounts())
    assert is_suspect(ledger)
    ask_and_believe(ledger, 5.5, accounts())
    assert is_confirmed(ledger)


def test_nothing_is_counted_as_long_as_nothing_was_settled() -> None:
    """A connection that breaks again and again at the start makes no differences."""
    ledger = Ledger()
    list_open(ledger, 0.0, BUY)
    ledger.lost()
    ask_and_believe(ledger, 20.0, accounts())
    list_open(ledger, 30.0)
    ask_and_believe(ledger, 35.0, accounts(USD="9000"))
    assert is_confirmed(ledger)
    assert holds(ledger, USD="9000")
    assert ledger.counts.differences == 0


# -- answers and the lag of REST --------------------------------------------------------------------------------


def test_an_answer_confirms_what_was_derived() -> None:
    """REST and the updates agree: confirmed, and nothing more to ask."""
    ledger = settled()
    tell(ledger, 100.0, FILLED)
    changed = ask(ledger, 100.5, accounts(USD="9154.96", BTC="0.26"))
    assert changed == {"BTC", "USD"}
    assert is_confirmed(ledger)
    assert not ledger.wants_answer
    assert ledger.settles_at is None


def test_an_answer_older_than_an_update_does_not_undo_it() -> None:
    """Explained by what was before: the balance stays derived, and another answer is wanted."""
    ledger = settled()
    tell(ledger, 100.0, FILLED)
    ask(ledger, 102.0, accounts())
    assert holds(ledger, USD="9154.96", BTC="0.26")
    assert is_derived(ledger, "USD", "BTC")
    assert is_confirmed(ledger, "ETH", "USDC")
    assert ledger.wants_answer
    ask(ledger, 107.0, accounts(USD="9154.96", BTC="0.26"))
    assert is_confirmed(ledger)
    assert not ledger.wants_answer
    assert ledger.counts.differences == 0


def test_an_answer_that_shows_a_step_between_is_explained() -> None:
    """REST may have stopped anywhere on the way, also between two orders of one event."""
    other = replace(BUY, order_id="other", hold=D(100))
    ledger = settled()
    ledger.apply(OrderEvent(False, (BUY, HALF, other)), 100.0)
    for told in ({"USD": "9154.96+845.04"}, {"USD": "9154.96+507.024", "BTC": "0.254"}):
        ask(ledger, 101.0, accounts(**told))
        assert ledger.settles_at is None
    assert holds(ledger, USD="9054.96+607.024", BTC="0.254")
    assert ledger.counts.differences == 0


def test_an_answer_ahead_of_an_update_is_explained_when_it_comes() -> None:
    """Not believed at once, not counted: the update was on its way."""
    ledger = settled()
    ask(ledger, 100.0, accounts(USD="9154.96", BTC="0.26"))
    assert holds(ledger, USD="10000", BTC="0.25")
    assert is_derived(ledger, "USD", "BTC")
    assert ledger.settles_at == 100.0 + AHEAD_S
    assert tell(ledger, 100.9, FILLED) == {"BTC", "USD"}
    assert ledger.settles_at is None
    assert holds(ledger, USD="9154.96", BTC="0.26")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_an_answer_ahead_is_explained_by_a_step_within_one_event() -> None:
    """What an event passes through counts, though it ends where it began."""
    done = replace(BUY, order_id="other")
    ledger = settled(done, USD="9154.96+845.04")
    ask(ledger, 100.0, accounts(USD="8309.92+1690.08"))  # both orders
    ledger.apply(OrderEvent(False, (BUY, replace(done, status="CANCELLED", hold=D(0)))), 100.5)
    assert ledger.settles_at is None
    assert ledger.settle(102.0) == set()
    assert holds(ledger, USD="9154.96+845.04")
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer
    assert ledger.counts.differences == 0


def test_time_is_not_over_a_moment_too_early() -> None:
    """An answer may still be explained until its time has come."""
    ledger = settled()
    ask(ledger, 100.0, accounts(USD="7"), at=100.5)
    assert ledger.settle(100.4 + AHEAD_S) == set()
    assert ledger.settles_at == 100.5 + AHEAD_S
    assert holds(ledger, USD="10000")


def test_a_deposit_is_adopted_and_counted_once() -> None:
    """What no update explains in time is REST's: both values are told, and what follows is confirmed."""
    ledger = settled()
    assert ask(ledger, 100.0, accounts(USD="12000")) == {"USD"}
    assert is_derived(ledger, "USD")
    assert ledger.counts.differences == 0
    assert believe(ledger) == {"USD"}
    assert holds(ledger, USD="12000")
    assert is_confirmed(ledger)
    difference = Difference("USD", amounts("10000"), amounts("12000"))
    assert (ledger.counts.differences, ledger.last_difference) == (1, difference)
    assert ledger.take_differences() == [difference]
    assert ledger.take_differences() == []
    ask_and_believe(ledger, 105.0, accounts(USD="12000"))
    assert ledger.counts.differences == 1
    assert not ledger.wants_answer


def test_an_update_later_than_the_ledger_waits_is_not_booked_twice_for_long() -> None:
    """REST has told of the order, it was believed, then comes the update: another answer has to decide."""
    ledger = settled()
    told = accounts(USD="9154.96+845.04")
    ask_and_believe(ledger, 100.0, told)
    assert is_confirmed(ledger)
    assert tell(ledger, 102.5, BUY) == {"USD"}
    assert is_suspect(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 106.4, told)
    assert is_suspect(ledger, "USD"), "this answer may lag too"
    ask_and_believe(ledger, 106.5, told)
    assert holds(ledger, USD="9154.96+845.04")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 2


def test_an_update_that_was_too_late_is_not_believed_for_its_cancel() -> None:
    """The order is booked twice; an answer as of before its cancel fits that, and proves nothing."""
    ledger = settled()
    ask_and_believe(ledger, 100.0, accounts(USD="9154.96+845.04"))
    tell(ledger, 101.5, BUY)
    tell(ledger, 107.0, replace(BUY, status="CANCELLED", hold=D(0)))
    ask_and_believe(ledger, 107.5, accounts(USD="9154.96+845.04"))  # as it was at 106 s
    assert is_suspect(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 112.5, accounts())
    assert holds(ledger, USD="10000")
    assert is_confirmed(ledger)


def test_a_deposit_shown_by_an_answer_that_lags_keeps_the_orders_since() -> None:
    """The answer is as of before the purchase: the deposit is added, the purchase stays."""
    ledger = settled()
    ask(ledger, 100.0, accounts(USD="12000"))
    tell(ledger, 100.5, SELL)
    believe(ledger)
    tell(ledger, 102.0, FILLED)
    assert holds(ledger, USD="11154.96", BTC="0.26", ETH="1.5+0.5")
    assert is_derived(ledger, "USD")


def test_offsets_that_are_ambiguous_are_narrowed_by_the_next_answers() -> None:
    """A deposit amid orders may be one of several amounts; answers leave one together, and another agrees."""
    ledger = settled()
    tell(ledger, 100.0, BUY)
    ask_and_believe(ledger, 101.0, accounts(USD="11154.96+845.04"))  # 2000 more, or less and something else held
    assert holds(ledger, USD="9154.96+845.04"), "which, nobody knows"
    tell(ledger, 104.0, HALF)
    ask_and_believe(ledger, 106.0, accounts(USD="11154.96+507.024", BTC="0.254"))
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer
    assert ledger.counts.differences == 0
    tell(ledger, 109.0, FILLED)
    ask_and_believe(ledger, 111.0, accounts(USD="11154.96", BTC="0.26"))
    assert holds(ledger, USD="11154.96")
    assert is_confirmed(ledger)
    assert ledger.take_differences() == [Difference("USD", amounts("9154.96"), amounts("11154.96"))]


def test_what_two_answers_leave_is_not_believed_where_the_third_disagrees() -> None:
    """A cancel has overtaken an order, which REST shows in between: no offset fits, but one seems to."""
    ledger = settled()
    first, other = replace(BUY, hold=D(300)), replace(BUY, order_id="other", hold=D(50))
    ledger.lost()
    list_open(ledger, 100.0, first)
    tell(ledger, 104.0, replace(BUY, order_id="third", hold=D(7)))
    ask_and_believe(ledger, 104.5, accounts(USD="9693+307"))
    assert is_suspect(ledger, "USD")
    tell(ledger, 105.0, replace(BUY, order_id="third", status="CANCELLED", hold=D(0)))
    tell(ledger, 109.4, replace(first, status="CANCELLED", hold=D(0)))
    ask(ledger, 109.5, accounts(USD="9650+350"))
    tell(ledger, 109.6, other)
    believe(ledger)
    assert is_suspect(ledger, "USD")
    ask_and_believe(ledger, 114.5, accounts(USD="9950+50"))
    assert holds(ledger, USD="9950+50")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_what_contradicts_all_that_was_possible_starts_over() -> None:
    """A second deposit makes the first answer worthless, not the second."""
    ledger = settled()
    tell(ledger, 100.0, BUY)
    ask_and_believe(ledger, 101.0, accounts(USD="11154.96+845.04"))
    ask_and_believe(ledger, 106.0, accounts(USD="11155.96+845.04"))
    assert holds(ledger, USD="11155.96+845.04")
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 1


def test_a_new_currency_is_a_difference() -> None:
    """What REST has not listed, we had none of."""
    ledger = settled()
    assert ask(ledger, 100.0, [*accounts(), Account("id-SOL", "SOL", D(7), D(0))]) == {"SOL"}
    assert holds(ledger, SOL="0")
    believe(ledger)
    assert state(ledger, "SOL") == State(amounts("7"), Basis.CONFIRMED, False, "id-SOL")
    assert ledger.take_differences() == [Difference("SOL", amounts("0"), amounts("7"))]


def test_a_new_currency_that_is_bought_starts_at_nothing() -> None:
    """Its balance is what the order brought, without an account id until REST tells one."""
    ledger = settled()
    tell(ledger, 100.0, replace(FILLED, base="SOL"))
    assert state(ledger, "SOL") == State(amounts("0.01"), Basis.DERIVED, False, None)
    ask(ledger, 105.0, [*accounts(USD="9154.96"), Account("id-SOL", "SOL", D("0.01"), D(0))])
    assert state(ledger, "SOL") == State(amounts("0.01"), Basis.CONFIRMED, False, "id-SOL")
    assert ledger.counts.differences == 0


def test_a_wallet_that_an_answer_leaves_out_is_not_known_to_be_empty() -> None:
    """The exchange lists empty wallets too, and a paging that breaks off leaves full ones out."""
    ledger = settled()
    before = ledger.state("ETH")
    ask_and_believe(ledger, 100.0, [account for account in accounts() if account.currency != "ETH"])
    assert ledger.state("ETH") == before
    assert ledger.counts.differences == 0


def test_what_happens_while_rest_is_asked_may_need_another_answer() -> None:
    """A question does not answer what comes after it."""
    ledger = settled()
    ledger.asking()
    tell(ledger, 100.0, FILLED)
    ledger.answer(accounts(USD="9154.96", BTC="0.26"), 99.5, 100.5)
    assert ledger.wants_answer


def test_the_ledger_forgets_orders_that_are_over_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that stays open for weeks is still known when it ends, however many came and went."""
    monkeypatch.setattr("streamer.ingest.ledger._KEEP_ORDERS", 3)
    ledger = settled()
    tell(ledger, 100.0, BUY)
    for number in range(9):
        tell(ledger, 101.0, replace(SELL, order_id=f"sell-{number}", status="CANCELLED", hold=D(0)))
    tell(ledger, 102.0, FILLED)
    assert holds(ledger, USD="9154.96", BTC="0.26", ETH="2")


# -- an order older than we knew --------------------------------------------------------------------------------


def test_the_end_of_an_order_that_nobody_told_of_is_marked() -> None:
    """It was not in the snapshot, being about to be cancelled; what it held is free, and nobody says how much."""
    ledger = settled(USD="9154.96+845.04")
    assert tell(ledger, 100.0, replace(BUY, status="CANCELLED", hold=D(0))) >= {"USD"}
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 100.5, accounts(USD="9154.96+845.04"))  # as it was
    assert is_derived(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 105.5, accounts())
    assert holds(ledger, USD="10000")
    assert is_confirmed(ledger)


def test_an_order_about_to_be_cancelled_at_first_sight_is_marked() -> None:
    """REST may have told its hold long ago, so it may be held twice until REST has told again."""
    ledger = settled(USD="9154.96+845.04")
    tell(ledger, 100.0, replace(BUY, status="CANCEL_QUEUED"))
    assert is_suspect(ledger, "USD")
    assert ledger.wants_answer
    ask_and_believe(ledger, 104.0, accounts(USD="9154.96+845.04"))
    tell(ledger, 110.0, replace(BUY, status="CANCELLED", hold=D(0)))
    assert holds(ledger, USD="10000")


def test_a_state_that_no_update_told_of_is_not_adopted() -> None:
    """A cancel overtakes its order: what REST shows of it in between is no deposit."""
    ledger = settled()
    tell(ledger, 100.0, replace(BUY, status="CANCELLED", hold=D(0)), BUY)
    ask_and_believe(ledger, 102.0, accounts(USD="9154.96+845.04"))  # while it was open
    assert holds(ledger, USD="10000")
    assert is_derived(ledger, "USD")
    ask_and_believe(ledger, 107.0, accounts())
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


# -- losses -----------------------------------------------------------------------------------------------------


def test_a_loss_puts_everything_in_doubt() -> None:
    """All balances stay, suspect and derived; told once."""
    ledger = settled()
    assert ledger.lost() == set(RICH)
    assert holds(ledger, **RICH)
    assert is_suspect(ledger) and is_derived(ledger)
    assert ledger.is_blind
    assert ledger.lost() == set()


def test_an_answer_while_blind_is_shown_and_settles_nothing() -> None:
    """REST is the best there is while updates are missed; asking more often would not help."""
    ledger = settled()
    ledger.lost()
    ask(ledger, 100.0, accounts(USD="9000"))
    believe(ledger)
    assert holds(ledger, USD="9000")
    assert is_suspect(ledger) and is_derived(ledger)
    assert not ledger.wants_answer
    assert ledger.counts.differences == 1


def test_a_snapshot_after_a_loss_wants_an_answer_beyond_the_lag() -> None:
    """Even of an account that never had an order: one may have come and gone unseen."""
    ledger = settled()
    ledger.lost()
    list_open(ledger, 100.0)
    assert not ledger.is_blind
    assert ledger.wants_answer
    ask_and_believe(ledger, 100.0 + LAG_S - 0.1, accounts())
    assert is_suspect(ledger)
    assert ledger.wants_answer
    ask_and_believe(ledger, 100.0 + LAG_S, accounts(USD="9154.96", BTC="0.26"))
    assert is_confirmed(ledger)
    assert holds(ledger, USD="9154.96", BTC="0.26")


def test_what_was_missed_is_found_by_rest_and_counted() -> None:
    """An order that ended unseen is not in the snapshot; what the ledger still held for it comes back."""
    ledger = settled(BUY, USD="9154.96+845.04")
    ledger.lost()
    list_open(ledger, 100.0)
    ask_and_believe(ledger, 105.0, accounts())
    assert holds(ledger, USD="10000")
    assert is_confirmed(ledger)
    assert [found.currency for found in ledger.take_differences()] == ["USD"]
    tell(ledger, 106.0, BUY)
    assert holds(ledger, USD="10000"), "an old repetition"


def test_orders_placed_unseen_come_with_the_snapshot() -> None:
    """What REST has not told of yet counts from the snapshot on."""
    ledger = settled()
    ledger.lost()
    list_open(ledger, 100.0, BUY)
    assert holds(ledger, USD="9154.96+845.04")
    ask_and_believe(ledger, 105.0, accounts(USD="9154.96+845.04"))
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_orders_that_rest_told_of_while_blind_are_not_held_twice() -> None:
    """The snapshot says nothing new of them, and the next answer agrees."""
    ledger = settled()
    ledger.lost()
    ask_and_believe(ledger, 100.0, accounts(USD="9154.96+845.04"))
    list_open(ledger, 110.0, BUY)
    assert holds(ledger, USD="9154.96+845.04")
    ask_and_believe(ledger, 115.0, accounts(USD="9154.96+845.04"))
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 1, "that of the answer while blind"
    tell(ledger, 120.0, FILLED)
    assert holds(ledger, USD="9154.96", BTC="0.26")


def test_after_a_second_loss_orders_placed_unseen_count_again() -> None:
    """That REST told first, the first time, is no reason to pass over orders the second time."""
    ledger = Ledger()
    ask_and_believe(ledger, 0.0, accounts())
    list_open(ledger, 1.0)
    for asked_at in (5.0, 10.0):
        ask_and_believe(ledger, asked_at, accounts())
    ledger.lost()
    list_open(ledger, 100.0, BUY)
    assert holds(ledger, USD="9154.96+845.04")


def test_a_currency_first_seen_in_doubt_is_in_doubt() -> None:
    """Whether we had any of it, REST has not told since the loss."""
    ledger = settled()
    ledger.lost()
    list_open(ledger, 100.0, replace(HALF, base="SOL"))
    assert is_suspect(ledger, "SOL")
    tell(ledger, 101.0, replace(HALF, base="DOGE", order_id="other"))
    assert is_suspect(ledger, "DOGE")


def test_what_was_possible_before_a_loss_says_nothing_after_it() -> None:
    """Two answers narrow an offset down only where it cannot have changed in between."""
    ledger = settled()
    tell(ledger, 100.0, BUY)
    ask_and_believe(ledger, 101.0, accounts(USD="11154.96+845.04"))
    assert ledger.wants_answer, "ambiguous"
    ledger.lost()
    list_open(ledger, 110.0, BUY)
    tell(ledger, 115.0, HALF)
    ask_and_believe(ledger, 116.0, accounts(USD="10309.92+1352.064"))  # fits one of the old ones, and another
    assert is_suspect(ledger, "USD")
    assert ledger.wants_answer


def test_an_answer_within_the_lag_after_a_loss_narrows_nothing() -> None:
    """It may miss what was lost, so what it leaves possible means nothing beside a later one."""
    ledger = settled()
    ledger.lost()
    list_open(ledger, 100.0, BUY)
    tell(ledger, 101.0, HALF)
    ask_and_believe(ledger, 102.0, accounts(USD="9154.96+507.024", BTC="0.254"))
    tell(ledger, 105.0, FILLED)
    ask_and_believe(ledger, 107.0, accounts(USD="9154.96", BTC="0.26"))
    assert is_suspect(ledger, "USD")
    ask_and_believe(ledger, 112.0, accounts(USD="9154.96", BTC="0.26"))
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0


def test_answers_that_both_know_of_an_order_before_we_do_settle_nothing() -> None:
    """Two answers that both know of an order before we do agree on an offset that is wrong."""
    early, late = replace(SELL, order_id="early"), replace(SELL, order_id="late", leaves=D("0.3"), hold=D("0.3"))
    ledger = settled()
    ledger.lost()
    list_open(ledger, 100.0)
    tell(ledger, 104.9, early)
    ask_and_believe(ledger, 105.0, accounts(ETH="1.2+0.8"))  # both orders
    tell(ledger, 106.5, late)
    tell(ledger, 110.0, replace(late, status="CANCELLED", hold=D(0)))
    ask_and_believe(ledger, 110.0, accounts(ETH="1.2+0.8"))  # as it was before the cancel
    assert not is_confirmed(ledger, "ETH")
    ask_and_believe(ledger, 115.0, accounts(ETH="1.5+0.5"))
    assert holds(ledger, ETH="1.5+0.5")
    assert is_confirmed(ledger)


def test_a_lost_cancel_is_not_taken_for_another_just_like_it() -> None:
    """Of two equal orders one ended unseen, the other ends now: an old answer fits both, and proves neither."""
    other = replace(BUY, order_id="other")
    ledger = settled(BUY, other, USD="8309.92+1690.08")
    ledger.lost()
    list_open(ledger, 100.0, other)
    tell(ledger, 106.0, replace(other, status="CANCELLED", hold=D(0)))
    ask_and_believe(ledger, 106.1, accounts(USD="9154.96+845.04"))  # as it was at 105 s
    assert not is_confirmed(ledger, "USD")
    ask_and_believe(ledger, 111.1, accounts())
    assert holds(ledger, USD="10000")
    assert is_confirmed(ledger)


# -- the samples of the protocol page ---------------------------------------------------------------------------


class Page(msgspec.Struct):
    """A page of accounts as the samples have it."""

    class Money(msgspec.Struct):
        value: str

    class Wallet(msgspec.Struct):
        uuid: str
        currency: str
        available_balance: Page.Money
        hold: Page.Money

    accounts: list[Wallet]


def listed(*names: str) -> list[Account]:
    """The accounts of sample pages."""
    wallets = [w for name in names for w in msgspec.json.decode((DATA / name).read_bytes(), type=Page).accounts]
    return [Account(w.uuid, w.currency, D(w.available_balance.value), D(w.hold.value)) for w in wallets]


@pytest.mark.parametrize("rest_first", [True, False])
def test_the_scenario_of_the_samples_ends_with_their_balances(rest_first: bool) -> None:
    """Snapshot, an order opened, one filled in two steps: what follows is what REST tells afterwards."""
    ledger, stream, now = Ledger(), OrderStream(), 4.0

    def hear(name: str, now: float) -> None:
        for event in stream.read(Decoder().decode((DATA / name).read_bytes()), 0.0):
            ledger.apply(event, now)

    before = listed("rest_accounts_page1.json", "rest_accounts_page2.json")
    if rest_first:
        ask_and_believe(ledger, now, before)
    hear("ws_user_snapshot.json", 5.0)
    for asked_at in (6.0, 11.0):
        ask_and_believe(ledger, asked_at, before)
    assert is_confirmed(ledger)
    for number, name in enumerate(("open", "partial_fill", "filled")):
        hear(f"ws_user_update_{name}.json", 100.0 + number)
    after = listed("rest_accounts_after_fill.json")
    assert {a.currency: Amounts(a.available, a.hold) for a in after} == {
        currency: state(ledger, currency).amounts for currency in ledger.currencies
    }
    ask(ledger, 103.0, after)
    assert is_confirmed(ledger)
    assert ledger.counts.differences == 0
    hear("ws_user_update_cancelled.json", 110.0)
    assert holds(ledger, USDC="2500")


def test_one_who_trades_all_the_time_is_not_suspect_for_ever() -> None:
    """Only where an answer was believed against what we knew could a late update have explained it."""
    ledger = settled(BUY, USD="9154.96+845.04")
    ledger.lost()
    list_open(ledger, 100.0, BUY)
    ask_and_believe(ledger, 105.0, accounts(USD="9154.96+845.04"))
    assert is_confirmed(ledger)
    tell(ledger, 107.0, HALF)
    assert is_derived(ledger, "USD", "BTC")
    assert not is_suspect(ledger, "USD")
    assert not is_suspect(ledger, "BTC")
