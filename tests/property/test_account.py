"""Laws of the matching account: money is neither made nor lost, whatever orders do."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ConfigError
from streamer.simulator.account import Bank
from streamer.simulator.orders import Status

KEY = "key"
BALANCES = {"USD": "1000", "USDC": "500", "BTC": "2", "ETH": "3"}
PRODUCTS = ["BTC-USD", "BTC-USDC", "ETH-USD", "ETH-BTC", "SOL-USD"]
FINISHED = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}

amounts = st.decimals("0.000000000000000001", "1000", places=18) | st.decimals("0.1", "3", places=1)
few = st.integers(0, 7)
places = st.fixed_dictionaries(
    {
        "do": st.just("place"),
        "product_id": st.sampled_from(PRODUCTS),
        "side": st.sampled_from(["BUY", "SELL"]),
        "size": amounts,
        "price": amounts,
        "order_type": st.sampled_from(["Limit", "Market"]),
        "status": st.sampled_from([Status.OPEN, Status.OPEN, Status.PENDING, Status.QUEUED]),
        "fails": st.integers(0, 9).map(lambda n: n == 0),
    }
)
fills = st.fixed_dictionaries(
    {
        "do": st.just("fill"),
        "order": few,
        "size": st.none() | amounts,
        "price": st.none() | st.none() | amounts,
        "fee": st.none() | st.none() | amounts,
    }
)
changes = st.one_of(
    st.fixed_dictionaries({"do": st.just("cancel"), "order": few, "is_queued": st.booleans()}),
    st.fixed_dictionaries({"do": st.sampled_from(["expire", "open_order"]), "order": few}),
    st.fixed_dictionaries(
        {"do": st.just("edit"), "order": few, "size": st.none() | amounts, "price": st.none() | amounts}
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("deposit"),
            "currency": st.sampled_from(["USD", "BTC", "SOL"]),
            "amount": st.decimals("-100", "100", places=2).filter(bool),
        }
    ),
)


def carry_out(bank: Bank, step: dict[str, Any], orders: list[str], now_s: float) -> None:
    """Do one step; what the bank refuses must leave everything as it was."""
    options = dict(step)
    verb = options.pop("do")
    before = (bank.truth(KEY), bank.true_orders(KEY, also_finished=True))
    act: Callable[..., Any] = getattr(bank, verb)
    try:
        if verb == "place":
            key = [options.pop(name) for name in ("product_id", "side", "size", "price")]
            orders.append(act(KEY, *key, now_s, **options))
        elif verb == "deposit":
            act(KEY, options["currency"], options["amount"], now_s)
        elif orders:
            act(orders[options.pop("order") % len(orders)], now_s, **options)
    except ConfigError:
        assert (bank.truth(KEY), bank.true_orders(KEY, also_finished=True)) == before


# Orders first: a script of changes to nothing would prove nothing.
steps = st.builds(
    lambda first, then: [*first, *then],
    st.lists(places, min_size=2, max_size=6),
    st.lists(places | fills | fills | changes, min_size=5, max_size=34),
)


@given(steps)
def test_wallets_are_what_orders_made_of_them(script: list[dict[str, Any]]) -> None:
    """At every moment total = available + hold, nothing is negative, and what orders say explains each wallet."""
    bank = Bank(balances=BALANCES, seed=1)
    orders: list[str] = []
    deposited: dict[str, Decimal] = {}
    with decimal.localcontext(prec=200):
        for i, step in enumerate(script):
            before = {c: Decimal(w["total"]) for c, w in bank.truth(KEY).items()}
            carry_out(bank, step, orders, float(i))
            truth = bank.truth(KEY)
            if step["do"] == "deposit":
                for currency, wallet in truth.items():
                    change = Decimal(wallet["total"]) - before.get(currency, Decimal(0))
                    deposited[currency] = deposited.get(currency, Decimal(0)) + change
            assert_explained(truth, bank.true_orders(KEY, also_finished=True), deposited)


def assert_explained(
    truth: dict[str, dict[str, str]], orders: list[dict[str, str]], deposited: dict[str, Decimal]
) -> None:
    """Check wallets against the cumulative fields of all orders (protocol notes, 7)."""
    totals = {c: Decimal(a) for c, a in BALANCES.items()}
    for currency, amount in deposited.items():
        totals[currency] = totals.get(currency, Decimal(0)) + amount
    holds: dict[str, Decimal] = {}
    for order in orders:
        base, quote = order["product_id"].split("-")
        sign = 1 if order["order_side"] == "BUY" else -1
        value, fees, quantity = (
            Decimal(order[name]) for name in ("filled_value", "total_fees", "cumulative_quantity")
        )
        totals[base] = totals.get(base, Decimal(0)) + sign * quantity
        totals[quote] = totals.get(quote, Decimal(0)) - sign * value - fees
        held = quote if sign > 0 else base
        holds[held] = holds.get(held, Decimal(0)) + Decimal(order["outstanding_hold_amount"])
        assert Decimal(order["total_value_after_fees"]) == value + sign * fees
        if order["status"] in FINISHED:
            assert (order["leaves_quantity"], order["outstanding_hold_amount"]) == ("0", "0")
    for currency, wallet in truth.items():
        available, hold, total = (Decimal(wallet[name]) for name in ("available", "hold", "total"))
        assert total == available + hold
        assert min(available, hold) >= 0
        assert total == totals.get(currency, Decimal(0))
        assert hold == holds.get(currency, Decimal(0))


@given(steps)
def test_the_last_update_of_each_order_is_its_state(script: list[dict[str, Any]]) -> None:
    """Who applies the updates in order knows every order as the exchange does; fills add up to the sums."""
    bank = Bank(balances=BALANCES, seed=1)
    orders: list[str] = []
    for i, step in enumerate(script):
        carry_out(bank, step, orders, float(i))
    known: dict[str, dict[str, str]] = {}
    for update in bank.outbox.take():
        (order,) = orjson.loads(update.event)["orders"]
        before = known.get(order["order_id"])
        if before is not None:
            assert before["status"] not in FINISHED
            assert Decimal(order["cumulative_quantity"]) >= Decimal(before["cumulative_quantity"])
        known[order["order_id"]] = order
    assert list(known.values()) == bank.true_orders(KEY, also_finished=True)[::-1]
    with decimal.localcontext(prec=200):
        for order_id, order in known.items():
            fills = [f for f in bank.fills(KEY) if f["order_id"] == order_id]
            assert sum((Decimal(f["commission"]) for f in fills), Decimal(0)) == Decimal(order["total_fees"])
            assert str(len(fills)) == order["number_of_fills"]


@given(steps, st.integers(0, 40), st.integers(0, 10))
def test_a_lagging_view_is_one_that_was_true(script: list[dict[str, Any]], now: int, lag: int) -> None:
    """REST at a time shows exactly what the ledger was one lag before."""
    bank = Bank(balances=BALANCES, seed=1, lag_s=float(lag))
    orders: list[str] = []
    was: dict[int, dict[str, dict[str, str]]] = {-1: bank.truth(KEY)}
    for i, step in enumerate(script):
        carry_out(bank, step, orders, float(i))
        was[i] = bank.truth(KEY)
    last = len(script) - 1
    then = last if lag == 0 else min(max(now - lag, -1), last)
    seen = {a["currency"]: a for a in bank.accounts(KEY, float(now))}
    assert {c: (a["available_balance"]["value"], a["hold"]["value"]) for c, a in seen.items()} == {
        c: (w["available"], w["hold"]) for c, w in was[then].items()
    }


@given(steps, st.integers(1, 50))
def test_a_hushed_bank_says_nothing_and_does_the_same(script: list[dict[str, Any]], from_step: int) -> None:
    """Nobody hears of what happens from then on, and it happens all the same."""
    loud, hushed = Bank(balances=BALANCES, seed=1), Bank(balances=BALANCES, seed=1)
    for bank in (loud, hushed):
        orders: list[str] = []
        for i, step in enumerate(script):
            if bank is hushed and i == from_step:
                bank.outbox.is_hushed = True
                bank.outbox.take()
            carry_out(bank, step, orders, float(i))
    assert hushed.truth(KEY) == loud.truth(KEY)
    if hushed.outbox.is_hushed:
        assert hushed.outbox.take() == []
