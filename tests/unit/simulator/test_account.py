"""The matching account: wallets, orders and what is said of them. Time is an argument."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamer.errors import ConfigError
from streamer.simulator.account import BALANCES, Bank
from streamer.simulator.faults import parse_command
from streamer.simulator.orders import decimal_text
from streamer.simulator.trading import Trade, carry_out
from streamer.simulator.updates import Update

DATA = Path(__file__).parents[2] / "data"
KEY = "organizations/o/apiKeys/k"
# Those of the samples: protocol notes, 15.
SAMPLE_BALANCES = {"BTC": "0.25", "ETH": "2", "USD": "10000", "USDC": "2500"}
NO_ID_AND_TIME = ("order_id", "retail_portfolio_id", "creation_time", "uuid", "created_at", "updated_at")


def bank_of(**options: Any) -> Bank:
    """A bank with one key."""
    bank = Bank(**{"balances": SAMPLE_BALANCES, "seed": 0, **options})
    bank.admit([KEY])
    return bank


def do(bank: Bank, command: dict[str, Any], now_s: float = 1_000.0) -> dict[str, Any]:
    """Carry out a command as the control port reads it."""
    trade = parse_command(command)
    assert isinstance(trade, Trade)
    return carry_out(bank, trade, now_s)


def place(bank: Bank, now_s: float = 1_000.0, **order: Any) -> str:
    """Place an order, a small BUY of BTC-USD unless told otherwise, and return its id."""
    default = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}
    order_id: str = do(bank, {"order": {**default, **order}}, now_s)["order_id"]
    return order_id


def said(updates: list[Update]) -> list[dict[str, str]]:
    """The orders in updates, one each."""
    events = [orjson.loads(u.event) for u in updates]
    assert all(e["type"] == "update" and len(e["orders"]) == 1 for e in events)
    return [e["orders"][0] for e in events]


def statuses(bank: Bank) -> list[str]:
    """The statuses said since the last look."""
    return [order["status"] for order in said(bank.outbox.take())]


def wallet(bank: Bank, currency: str) -> tuple[str, str]:
    """Available and hold of a wallet."""
    truth = bank.truth(KEY)[currency]
    return truth["available"], truth["hold"]


def sample(name: str, *path: str | int) -> Any:
    """A part of a sample."""
    found = json.loads((DATA / f"{name}.json").read_bytes())
    for step in path:
        found = found[step]
    return found


def same_but_ids(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two objects have the same fields in the same order, and are equal but for ids and times."""
    strip = [{k: v for k, v in each.items() if k not in NO_ID_AND_TIME} for each in (one, other)]
    return list(one) == list(other) and strip[0] == strip[1]


def test_the_user_channel_speaks_as_in_the_samples() -> None:
    """Open, partial fill, filled and cancelled give the documented messages, field by field."""
    bank = bank_of()
    order_id = place(bank, client_order_id="bot-20261120-0001")
    opened = said(bank.outbox.take())[0]
    assert same_but_ids(opened, sample("ws_user_snapshot", "events", 0, "orders", 0))
    for size in ("0.0015", "0.0025"):
        do(bank, {"fill": order_id, "size": size})
    partial = said(bank.outbox.take())[-1]
    assert same_but_ids(partial, sample("ws_user_update_partial_fill", "events", 0, "orders", 0))
    do(bank, {"fill": order_id})
    filled = said(bank.outbox.take())[0]
    assert same_but_ids(filled, sample("ws_user_update_filled", "events", 0, "orders", 0))
    usdc = place(bank, product_id="BTC-USDC", price="80000", size="0.005", client_order_id="bot-20261120-0003")
    assert wallet(bank, "USDC") == ("2097.6", "402.4")
    do(bank, {"cancel": usdc})
    opened, cancelled = said(bank.outbox.take())
    assert same_but_ids(opened, sample("ws_user_update_open", "events", 0, "orders", 0))
    assert same_but_ids(cancelled, sample("ws_user_update_cancelled", "events", 0, "orders", 0))


def test_rest_speaks_as_in_the_samples() -> None:
    """Accounts, orders and fills have the documented fields, and the documented values after the same events."""
    bank = bank_of()
    place(bank, product_id="ETH-USD", side="SELL", price="2900", size="0.5", client_order_id="bot-20261120-0002")
    order_id = place(bank, client_order_id="bot-20261120-0001")
    pages = sample("rest_accounts_page1", "accounts") + sample("rest_accounts_page2", "accounts")
    assert all(map(same_but_ids, bank.accounts(KEY, 1_000.0), pages))
    open_orders = bank.orders(KEY, 1_000.0)
    listed = sample("rest_orders_open", "orders")
    moving = {"order_id", "user_id", "created_time", "retail_portfolio_id", "last_fill_time"}
    assert [list(o) for o in open_orders] == [list(o) for o in listed]
    for mine, theirs in zip(open_orders, reversed(listed), strict=True):  # ours are placed the other way round
        assert {k: v for k, v in mine.items() if k not in moving} == {
            k: v for k, v in theirs.items() if k not in moving
        }
    for size in ("0.0015", "0.0025", "0.006"):
        do(bank, {"fill": order_id, "size": size})
    filled = sample("rest_order_filled", "order")
    mine = bank.orders(KEY, 1_000.0)[0]
    assert {k: v for k, v in mine.items() if k not in moving} == {
        k: v for k, v in filled.items() if k not in moving
    }
    for ours, theirs in zip(bank.fills(KEY), sample("rest_fills", "fills"), strict=True):
        assert list(ours) == list(theirs)
        assert all(
            ours[k] == theirs[k] for k in ("size", "price", "commission", "side", "trade_type", "product_id")
        )
    place(bank, product_id="BTC-USDC", price="80000", size="0.005")
    assert all(map(same_but_ids, bank.accounts(KEY, 1_000.0), sample("rest_accounts_after_fill", "accounts")))


def test_a_sell_holds_base_and_is_paid_in_quote() -> None:
    """The hold is the quantity left; a fill pays its value less the fee."""
    bank = bank_of()
    order_id = place(bank, side="SELL", size="0.2", price="80000")
    assert wallet(bank, "BTC") == ("0.05", "0.2")
    do(bank, {"fill": order_id, "size": "0.05", "price": "80500", "fee": "1.5"})
    assert wallet(bank, "BTC") == ("0.05", "0.15")
    assert wallet(bank, "USD") == ("14023.5", "0")
    shown = said(bank.outbox.take())[-1]
    assert (shown["total_value_after_fees"], shown["outstanding_hold_amount"]) == ("4023.5", "0.15")
    do(bank, {"expire": order_id})
    assert wallet(bank, "BTC") == ("0.2", "0")
    assert (statuses(bank), bank.true_orders(KEY)) == (["EXPIRED"], [])


def test_averages_are_rounded_and_sums_are_not() -> None:
    """Odd amounts add up to the last digit, and what is not quite filled is not 100 percent."""
    bank = bank_of()
    order_id = place(bank, size="0.03", price="70000.07")
    do(bank, {"fill": order_id, "size": "0.012345678901234567", "price": "69999.99", "fee": "0.000000000000000001"})
    do(bank, {"fill": order_id, "size": "0.017654321098765432", "price": "70000.01"})
    shown = said(bank.outbox.take())[-1]
    assert shown["leaves_quantity"] == "0.000000000000000001"
    assert (shown["status"], shown["completion_percentage"]) == ("OPEN", "99.99")
    assert shown["avg_price"] == "70000.001769547399177"
    paid = Decimal(shown["filled_value"]) + Decimal(shown["total_fees"])
    assert shown["total_value_after_fees"] == decimal_text(paid)
    total = Decimal(bank.truth(KEY)["USD"]["total"])
    assert total + paid == Decimal(10_000)


def test_an_order_that_cannot_be_paid_is_refused() -> None:
    """Nothing is placed, held or said; what is left can be spent to the last cent."""
    bank = bank_of(balances={"USD": "1006"})
    with pytest.raises(ConfigError, match="needs more USD than the 1006 available"):
        place(bank, price="1000.01", size="1")
    assert (bank.outbox.take(), bank.orders(KEY, 1e9), bank.version) == ([], [], 0)
    place(bank, price="1000", size="1")
    assert wallet(bank, "USD") == ("0", "1006")
    with pytest.raises(ConfigError, match="needs more BTC"):
        place(bank, side="SELL", size="0.1")


def test_an_order_that_waits_holds_nothing_until_it_is_open() -> None:
    """PENDING and QUEUED hold nothing; a first fill opens by itself; FAILED follows PENDING."""
    bank = bank_of()
    first, second = place(bank, status="PENDING"), place(bank, status="QUEUED")
    assert wallet(bank, "USD") == ("10000", "0")
    do(bank, {"open": first})
    assert wallet(bank, "USD") == ("9154.96", "845.04")
    do(bank, {"fill": second})
    assert wallet(bank, "USD") == ("8309.92", "845.04")
    assert statuses(bank) == ["PENDING", "QUEUED", "OPEN", "FILLED"]
    place(bank, fail=True, size="1000")
    pending, failed = said(bank.outbox.take())
    assert (pending["status"], failed["status"], failed["leaves_quantity"]) == ("PENDING", "FAILED", "0")
    with pytest.raises(ConfigError, match="must be PENDING or QUEUED, is OPEN"):
        do(bank, {"open": first})


def test_cancelling_may_take_two_steps() -> None:
    """CANCEL_QUEUED keeps its hold and may still be filled; the second cancel ends it."""
    bank = bank_of()
    order_id = place(bank)
    do(bank, {"cancel": order_id, "queued": True})
    assert wallet(bank, "USD") == ("9154.96", "845.04")
    do(bank, {"fill": order_id, "size": "0.005"})
    assert bank.orders(KEY, 1e9)[0]["pending_cancel"] is True
    do(bank, {"cancel": order_id, "queued": True})
    assert wallet(bank, "USD") == ("9577.48", "0")
    assert statuses(bank) == ["OPEN", "CANCEL_QUEUED", "CANCEL_QUEUED", "CANCELLED"]
    for command in ({"cancel": order_id}, {"expire": order_id}, {"fill": order_id}):
        with pytest.raises(ConfigError, match="must not be finished, is CANCELLED"):
            do(bank, command)


def test_an_edit_changes_the_hold() -> None:
    """EDIT_QUEUED still shows the old order, OPEN the new; one that cannot be paid is not heard of."""
    bank = bank_of()
    order_id = place(bank)
    do(bank, {"fill": order_id, "size": "0.004"})
    bank.outbox.take()
    do(bank, {"edit": order_id, "price": "83000", "size": "0.02"})
    queued, opened = said(bank.outbox.take())
    assert (queued["status"], queued["limit_price"], queued["outstanding_hold_amount"]) == (
        "EDIT_QUEUED",
        "84000",
        "507.024",
    )
    assert (opened["status"], opened["limit_price"], opened["leaves_quantity"]) == ("OPEN", "83000", "0.016")
    assert wallet(bank, "USD")[1] == opened["outstanding_hold_amount"] == "1335.968"
    with pytest.raises(ConfigError, match="needs more USD"):
        do(bank, {"edit": order_id, "size": "2"})
    with pytest.raises(ConfigError, match=r"must be more than the 0\.004 filled"):
        do(bank, {"edit": order_id, "size": "0.004"})
    assert bank.outbox.take() == []


def test_fills_obey_the_order() -> None:
    """No more than is left, and no worse than the limit; a market order takes any price it can pay."""
    bank = bank_of()
    order_id = place(bank)
    with pytest.raises(ConfigError, match=r"more than the 0\.01 left"):
        do(bank, {"fill": order_id, "size": "0.011"})
    with pytest.raises(ConfigError, match="worse than 84000"):
        do(bank, {"fill": order_id, "price": "84000.01"})
    market = place(bank, type="Market", size="0.1")
    do(bank, {"fill": market, "size": "0.05", "price": "90000"})
    shown = said(bank.outbox.take())[-1]
    assert (shown["order_type"], shown["limit_price"], shown["avg_price"]) == ("Market", "0", "90000")
    with pytest.raises(ConfigError, match="needs more USD"):
        do(bank, {"fill": market, "price": "190000"})


def test_any_status_can_be_said_without_being_true() -> None:
    """An update with a word of the future leaves the order as it is."""
    bank = bank_of()
    order_id = place(bank)
    before = bank.version
    do(bank, {"status": order_id, "as": "HALF_BAKED"})
    assert statuses(bank) == ["OPEN", "HALF_BAKED"]
    assert (bank.version, bank.true_orders(KEY)[0]["status"]) == (before, "OPEN")


def test_deposits_are_not_said() -> None:
    """A wallet changes, or is made, and the user channel is silent; no more can be withdrawn than is available."""
    bank = bank_of()
    place(bank)
    bank.outbox.take()
    do(bank, {"deposit": "USD", "amount": "-9154.96"})
    do(bank, {"deposit": "DOGE", "amount": "12.5"})
    assert (wallet(bank, "USD"), wallet(bank, "DOGE")) == (("0", "845.04"), ("12.5", "0"))
    with pytest.raises(ConfigError, match="needs more USD than the 0 available"):
        do(bank, {"deposit": "USD", "amount": "-0.01"})
    assert bank.outbox.take() == []


def test_rest_lags_and_the_truth_does_not() -> None:
    """Accounts and orders are shown as they were; a wallet that was not there yet is not shown."""
    bank = bank_of(balances={"USD": "10000", "EUR": "5"}, lag_s=2.0, extra_wallets=1)
    order_id = place(bank, now_s=100.0)
    do(bank, {"fill": order_id, "size": "0.004"}, 101.0)
    do(bank, {"deposit": "NIL001", "amount": "1"}, 102.0)

    def seen(now_s: float) -> list[tuple[str, str]]:
        return [(a["currency"], a["available_balance"]["value"]) for a in bank.accounts(KEY, now_s)]

    assert seen(101.9) == [("USD", "10000"), ("EUR", "5"), ("NIL001", "0")]
    assert seen(102.0) == [("USD", "9154.96"), ("EUR", "5"), ("NIL001", "0")]
    assert seen(103.5) == [("USD", "9154.96"), ("EUR", "5"), ("NIL001", "0"), ("BTC", "0.004")]
    assert seen(104.0)[2] == ("NIL001", "1")
    assert bank.orders(KEY, 101.9) == []
    assert [o["filled_size"] for o in (*bank.orders(KEY, 102.5), *bank.orders(KEY, 103.0))] == ["0", "0.004"]
    do(bank, {"accounts_lag_s": 0}, 103.0)
    assert seen(101.9)[2:] == [("NIL001", "1"), ("BTC", "0.004")]


def test_the_history_tells_every_state() -> None:
    """Each change leaves the time and all wallets that ever had money; a clock set back does not reorder it."""
    bank = bank_of(balances={"USD": "10000"}, extra_wallets=300)
    order_id = place(bank, now_s=100.0)
    do(bank, {"fill": order_id}, 99.0)
    reply = do(bank, {"query": "history"})
    assert [at_s for at_s, _ in reply["history"]] == [0.0, 100.0, 100.0]
    assert [list(wallets) for _, wallets in reply["history"]] == [["USD"], ["USD"], ["USD", "BTC"]]
    assert reply["history"][-1][1]["USD"] == {"available": "9154.96", "hold": "0", "total": "9154.96"}
    assert [at_s for at_s, _ in bank.history(KEY, 99.9)] == [0.0, 100.0, 100.0]
    assert [at_s for at_s, _ in bank.history(KEY, 100.0)] == [100.0]


def test_snapshots_come_in_fifties() -> None:
    """Open orders only, oldest first; a full message is followed by another, even if empty."""
    bank = bank_of(follow_up="patch")
    for count, batches in [(0, [0]), (3, [3]), (49, [49]), (50, [50, 0]), (109, [50, 50, 9])]:
        while len(bank.true_orders(KEY)) < count:
            place(bank, size="0.0001")
        events = [orjson.loads(event) for event in bank.snapshot(KEY, [])]
        assert [len(e["orders"]) for e in events] == batches
        assert [e["type"] for e in events] == ["snapshot", "patch", "patch"][: len(batches)]
        assert all(
            set(e["positions"]) == {"perpetual_futures_positions", "expiring_futures_positions"} for e in events
        )
    place(bank, status="PENDING")
    do(bank, {"cancel": place(bank, size="0.0001"), "queued": True})
    usdc = place(bank, product_id="BTC-USDC")
    assert [len(orjson.loads(e)["orders"]) for e in bank.snapshot(KEY, [])] == [50, 50, 10]
    assert [o["order_id"] for e in bank.snapshot(KEY, ["BTC-USDC"]) for o in orjson.loads(e)["orders"]] == [usdc]


def test_usdc_orders_can_be_labelled_as_usd() -> None:
    """The label is the canonical id, the wallet that of the submitted one."""
    bank = bank_of(canonical_labels=True)
    place(bank, product_id="BTC-USDC")
    assert wallet(bank, "USDC") == ("1654.96", "845.04")
    update = bank.outbox.take()[0]
    assert said([update])[0]["product_id"] == "BTC-USD"
    assert update.product_ids == {"BTC-USD", "BTC-USDC"}
    assert bank.orders(KEY, 1e9)[0]["product_id"] == "BTC-USDC"


def test_updates_can_be_hushed_lost_and_said_again() -> None:
    """Hushed ones leave no trace, lost ones take a number, and a replay repeats what was said."""
    bank = bank_of()
    order_id = place(bank)
    for size in ("0.001", "0.002", "0.003"):
        do(bank, {"fill": order_id, "size": size})
    first = bank.outbox.take()
    do(bank, {"hush": True})
    do(bank, {"fill": order_id, "size": "0.001"})
    assert do(bank, {"replay": 2}) == {"ok": True, "replayed": 2}
    assert bank.outbox.take() == []
    do(bank, {"hush": False})
    do(bank, {"lose": 2})
    for size in ("0.001", "0.001", "0.001"):
        do(bank, {"fill": order_id, "size": size})
    later = bank.outbox.take()
    assert [u.is_lost for u in later] == [True, True, False]
    assert said(later)[-1]["cumulative_quantity"] == "0.01"
    do(bank, {"replay": 5})
    again = bank.outbox.take()
    assert [u.event for u in again] == [u.event for u in [*first, *later][-5:]]
    assert not any(u.is_lost for u in again)
    do(bank, {"replay": 5, "shuffled": True})
    shuffled = [u.event for u in bank.outbox.take()]
    assert sorted(shuffled) == sorted(u.event for u in again)
    assert shuffled != [u.event for u in again]
    assert do(bank, {"replay": 100})["replayed"] == 7


def test_a_batch_carries_out_what_it_can() -> None:
    """Each command has its reply; ids of the client's own make one line do for an order and its fills."""
    bank = bank_of()
    mine = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01", "client_order_id": "mine"}
    reply = do(bank, {"batch": [{"order": mine}, {"fill": "mine", "size": "0.004"}, {"cancel": "other"}]})
    assert (reply["ok"], [r["ok"] for r in reply["replies"]]) == (False, [True, True, False])
    assert "is not known" in reply["replies"][2]["error"]
    assert statuses(bank) == ["OPEN", "OPEN"]
    with pytest.raises(ConfigError, match="is taken"):
        place(bank, client_order_id="mine")


def test_the_truth_can_be_asked_for() -> None:
    """Accounts, orders and a number that rises with each change."""
    bank = bank_of()
    do(bank, {"cancel": place(bank)})
    order_id = place(bank)
    reply = do(bank, {"query": "accounts"}, 7.5)
    assert reply["accounts"]["USD"] == {"available": "9154.96", "hold": "845.04", "total": "10000"}
    assert ([o["order_id"] for o in reply["orders"]], reply["version"], reply["time_s"]) == ([order_id], 3, 7.5)
    assert len(do(bank, {"query": "accounts", "orders": "all"})["orders"]) == 2
    assert "orders" not in do(bank, {"query": "accounts", "orders": "none"})


def test_keys_have_separate_accounts() -> None:
    """What one does the other does not see; with several a key must be named, and must exist."""
    bank = Bank()
    bank.admit(["one", "two"])
    place(bank, key="two")
    assert bank.truth("one")["USD"]["hold"] == "0"
    assert bank.truth("two")["USD"]["hold"] == "845.04"
    assert bank.portfolio_uuid("one") != bank.portfolio_uuid("two")
    assert Bank().portfolio_uuid("one") == bank.portfolio_uuid("one")
    assert set(BALANCES) == set(bank.truth("one"))
    with pytest.raises(ConfigError, match="must be named, as there are 2 keys"):
        place(bank)
    with pytest.raises(ConfigError, match="no key of this exchange"):
        place(bank, key="three")


def test_extra_wallets_make_pages() -> None:
    """So many empty wallets come after those with money, always in the same order."""
    bank = bank_of(extra_wallets=260)
    accounts = bank.accounts(KEY, 5.0)
    assert len(accounts) == len({a["uuid"] for a in accounts}) == 264
    do(bank, {"deposit": "NIL100", "amount": "1"})
    assert [a["uuid"] for a in bank.accounts(KEY, 6.0)] == [a["uuid"] for a in accounts]


def test_finished_orders_are_forgotten_in_time() -> None:
    """Only so many finished orders are kept, open ones always."""
    bank = bank_of(max_finished=2)
    kept = place(bank, size="0.0001")
    for _ in range(5):
        do(bank, {"cancel": place(bank)})
    ids = [o["order_id"] for o in bank.orders(KEY, 1e9)]
    assert (len(ids), ids[-1]) == (3, kept)
    with pytest.raises(ConfigError, match="is not known"):
        do(bank, {"status": "1", "as": "X"})


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ({"order": 7}, "must be an object"),
        ({"order": {}}, "product_id: None is not valid: must be given"),
        ({"order": {"product_id": "BTC-USD", "side": "buy"}}, "must be one of BUY, SELL"),
        ({"order": {"product_id": "BTC-USD", "side": "BUY", "price": 5}}, "above 0, as text"),
        ({"order": {"product_id": "BTC-USD", "side": "BUY", "price": "0"}}, "above 0, as text"),
        ({"order": {"product_id": "BTC-USD", "side": "BUY", "price": "1e3"}}, "above 0, as text"),
        ({"order": {"prise": "1"}}, "not an option"),
        ({"order": {}, "key": "k"}, "not an option"),
        ({"fill": "x", "size": "-1"}, "above 0"),
        ({"fill": "x", "fee": "-1"}, "at least 0"),
        ({"fill": 3}, "must be text"),
        ({"fill": "x", "cancel": "x"}, "exactly one of"),
        ({"cancel": "x", "queued": 1}, "one of True, False"),
        ({"edit": "x"}, "price, size or both"),
        ({"status": "x"}, "as: None is not valid: must be given"),
        ({"deposit": "USD", "amount": "0"}, "other than 0"),
        ({"replay": 0}, "whole number from 1"),
        ({"hush": "yes"}, "one of True, False"),
        ({"lose": -1}, "whole number from 0"),
        ({"accounts_lag_s": 601}, "at most 600"),
        ({"accounts_lag_s": "1"}, "must be a number"),
        ({"query": "accounts", "since_s": 1}, "not an option"),
        ({"query": "money"}, "must be one of state"),
        ({"batch": []}, "list of 1 to"),
        ({"batch": [{"tick": "BTC-USD"}]}, "exactly one of"),
        ({"batch": [{"batch": []}]}, "no batch"),
    ],
)
def test_commands_are_read_strictly(command: dict[str, Any], rule: str) -> None:
    """A command with a mistake is refused with the rule it breaks."""
    with pytest.raises(ConfigError, match=rule):
        parse_command(command)


@pytest.mark.parametrize("product_id", ["BTC", "BTC-", "btc-usd", "BTC-USD-X", "BTC-BTC", "BTC USD"])
def test_products_are_base_and_quote(product_id: str) -> None:
    """Of anything else no two wallets could be told."""
    with pytest.raises(ConfigError, match="must be base-quote"):
        place(bank_of(), product_id=product_id)


@pytest.mark.parametrize(
    ("options", "rule"), [({"lag_s": -1}, "at least 0"), ({"extra_wallets": -1}, "must be 0 or more")]
)
def test_bad_options_are_refused(options: dict[str, Any], rule: str) -> None:
    """A bank that cannot be is not made."""
    with pytest.raises(ConfigError, match=rule):
        Bank(**options)


def test_a_status_may_also_be_an_option() -> None:
    """The word is a verb of its own and an option of two faults and of a product's command."""
    for command in ({"fault": "refuse_upgrade", "status": 502}, {"product": "BTC-USD", "status": "offline"}):
        assert not isinstance(parse_command(command), Trade)
    assert isinstance(parse_command({"status": "id", "as": "X"}), Trade)
