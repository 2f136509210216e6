"""The newest balances, their times, and what of them Redis lacks. What they are is the ledger's business."""

from __future__ import annotations

from decimal import Decimal

from streamer.coinbase.orders import Order, OrderEvent, Side
from streamer.ingest.portfolio import PendingBalance, Portfolio
from streamer.model import Account, Source, Stamp

STAMP = Stamp("default.user-0", 0, Source.COINBASE)


def portfolio() -> tuple[Portfolio, list[int]]:
    """An empty one, and how often it has told that there is something to write."""
    told: list[int] = []
    return Portfolio(lambda: told.append(1), STAMP), told


def account(currency: str, available: str) -> Account:
    """A wallet."""
    return Account(f"uuid-{currency}", currency, Decimal(available), Decimal(0))


def order(order_id: str, quantity: str = "0") -> OrderEvent:
    """A purchase of one bitcoin for 100 dollars, filled so far, without fees."""
    filled = Decimal(quantity)
    bought = Order(
        order_id=order_id,
        base="BTC",
        quote="USD",
        side=Side.BUY,
        status="OPEN" if filled < 1 else "FILLED",
        quantity=filled,
        value=filled * 100,
        fees=Decimal(0),
        leaves=1 - filled,
        hold=(1 - filled) * 100,
    )
    return OrderEvent(is_snapshot=False, orders=(bought,))


SNAPSHOT = OrderEvent(is_snapshot=True, orders=())


def settled(*accounts: Account) -> tuple[Portfolio, list[int]]:
    """With a snapshot, and answers until nothing is left in doubt; all of it drained."""
    made, told = portfolio()
    made.apply(SNAPSHOT, time="t0", received_s=1.0, now=0.0)
    for at in (1.0, 10.0, 20.0):
        made.answer(accounts, asked_at=at, now=at, time=f"t{at:g}", now_s=at)
        made.settle(now=at + 5, time=f"t{at:g}", now_s=at)
    made.drain(100)
    told.clear()
    return made, told


def amounts(batch: list[PendingBalance]) -> dict[str, tuple[Decimal, Decimal]]:
    """What is written."""
    return {p.currency: (p.state.amounts.available, p.state.amounts.hold) for p in batch}


def test_what_rest_tells_is_to_be_written_once() -> None:
    """With the time of the answer; wallets with names that no key may hold are passed over."""
    made, told = portfolio()
    made.apply(SNAPSHOT, time="t0", received_s=1.0, now=0.0)
    made.answer(
        [account("USD", "5"), account("B{AD", "1"), account("", "1"), account("x" * 40, "1")],
        asked_at=1.0,
        now=1.5,
        time="t1",
        now_s=101.0,
    )
    assert told == [1]
    (pending,) = made.drain(10)
    assert (pending.currency, pending.time, pending.received_s, pending.since_s) == ("USD", "t1", 101.0, 101.0)
    assert pending.state.account_uuid == "uuid-USD"
    assert (made.dirty, made.oldest_dirty_s(), list(made.currencies)) == (0, None, ["USD"])
    assert made.drain(10) == []


def test_an_order_changes_both_its_currencies() -> None:
    """With the time of its frame; events are all applied, their results conflated."""
    made, told = settled(account("USD", "1000"), account("BTC", "2"))
    made.apply(order("a"), time="t100", received_s=100.0, now=100.0)
    made.apply(order("a", "0.5"), time="t101", received_s=101.0, now=101.0)
    assert told == [1]
    batch = made.drain(10)
    assert amounts(batch) == {"USD": (Decimal(900), Decimal(50)), "BTC": (Decimal("2.5"), Decimal(0))}
    assert {p.currency: (p.time, p.since_s) for p in batch} == {"USD": ("t101", 100.0), "BTC": ("t101", 101.0)}


def test_a_loss_marks_every_balance() -> None:
    """They are written again, in doubt, without a newer time."""
    made, _ = settled(account("USD", "1000"), account("BTC", "2"))
    made.lost(50.0)
    batch = made.drain(10)
    assert {(p.currency, p.state.suspect, p.since_s) for p in batch} == {("USD", True, 50.0), ("BTC", True, 50.0)}
    made.lost(51.0)
    assert made.dirty == 0, "doubted twice is doubted once"


def test_what_could_not_be_written_waits_at_the_front() -> None:
    """With its newest value, and since when it has waited."""
    made, _ = settled(account("USD", "1000"), account("BTC", "2"), account("ETH", "3"))
    made.apply(order("a"), time="t100", received_s=100.0, now=100.0)
    batch = made.drain(10)
    made.apply(order("a", "1"), time="t105", received_s=105.0, now=105.0)
    made.restore(batch)
    assert made.oldest_dirty_s() == 100.0
    again = made.drain(10)
    assert {p.currency: p.since_s for p in again}["USD"] == 100.0
    assert amounts(again) == {"USD": (Decimal(900), Decimal(0)), "BTC": (Decimal(3), Decimal(0))}
    assert {p.time for p in again} == {"t105"}


def test_everything_or_some_can_be_written_again() -> None:
    """All of it after a restart of Redis; what has waited for another owner has not waited for us."""
    made, told = settled(account("USD", "1000"), account("BTC", "2"))
    made.rewrite(["BTC"], 60.0)
    assert [p.currency for p in made.drain(10)] == ["BTC"]
    made.lost(61.0)
    made.rewrite(None, 70.0)
    batch = made.drain(10)
    assert {(p.currency, p.since_s) for p in batch} == {("USD", 70.0), ("BTC", 70.0)}
    assert told, "the sink sleeps until it is told"


def test_no_more_is_handed_over_than_asked_for() -> None:
    """The longest waiting first."""
    made, _ = settled(account("USD", "1"), account("BTC", "2"), account("ETH", "3"))
    for i, currency in enumerate(("ETH", "USD", "BTC")):
        made.rewrite([currency], 100.0 + i)
    assert [p.currency for p in made.drain(2)] == ["ETH", "USD"]
    assert [p.currency for p in made.drain(2)] == ["BTC"]


def test_another_connection_carries_the_orders() -> None:
    """Balances are filed under it from then on."""
    made, _ = portfolio()
    assert made.stamp is STAMP
    later = Stamp("default.user-0", 7, Source.COINBASE)
    made.opened(later)
    assert made.stamp is later


def test_time_does_not_go_back_between_two_clocks() -> None:
    """An answer has the time of our idea of the exchange's clock, which may be ahead of the next update's."""
    made, _ = settled(account("USD", "500"), account("BTC", "0"))
    noon = "2026-11-21T12:00:0"
    made.answer([account("USD", "500")], asked_at=40.0, now=40.0, time=f"{noon}1.900Z", now_s=40.0)
    for n, (stamp, shown) in enumerate(
        [
            (f"{noon}2.123456789Z", f"{noon}2.123456789Z"),
            (f"{noon}1.5Z", f"{noon}2.123456789Z"),
            (f"{noon}0.1Z", f"{noon}0.1Z"),  # so far only a clock that was set goes back
            (f"{noon}3Z", f"{noon}3Z"),
        ]
    ):
        made.apply(order(f"o{n}"), time=stamp, received_s=50.0 + n, now=50.0 + n)
        (pending,) = (p for p in made.drain(10) if p.currency == "USD")
        assert pending.time == shown


def test_a_new_tenure_knows_nothing_of_the_last() -> None:
    """Meanwhile another owner has written: nothing of ours goes over that before REST has told again."""
    made, _ = settled(account("USD", "1000"))
    made.apply(order("a"), time="t100", received_s=100.0, now=100.0)
    made.forget()
    made.rewrite(None, 101.0)
    assert (made.drain(10), made.dirty, list(made.currencies)) == ([], 0, [])
    made.apply(SNAPSHOT, time="t102", received_s=102.0, now=102.0)
    assert made.drain(10) == []
    made.answer([account("USD", "7")], asked_at=103.0, now=103.0, time="t103", now_s=103.0)
    assert amounts(made.drain(10)) == {"USD": (Decimal(7), Decimal(0))}
