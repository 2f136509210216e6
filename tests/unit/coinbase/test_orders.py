"""Orders: numbers out of text, what they hold, and snapshots in batches."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamer.coinbase.messages import Decoder, Message, OrderFields
from streamer.coinbase.orders import SNAPSHOT_BATCH, Order, OrderEvent, OrderStream, Side, parse_order

DATA = Path(__file__).parents[2] / "data"
SAMPLES = sorted(path.name for path in DATA.glob("ws_user_*.json"))


def sample(name: str) -> Message:
    """Decode a sample of the protocol page."""
    return Decoder().decode((DATA / name).read_bytes())


def fields(**values: str) -> OrderFields:
    """What any order has, and what is given."""
    required = {"order_id": "1", "product_id": "BTC-USD", "order_side": "BUY", "status": "OPEN"}
    return OrderFields(**(required | {"cumulative_quantity": "0"} | values))


def parsed(**values: str) -> Order:
    """Parse an order that can be parsed."""
    order = parse_order(fields(**values))
    assert order is not None
    return order


# -- parsing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_every_order_of_the_samples_is_read(name: str) -> None:
    """Every sample of the user channel makes sense to the last order."""
    for event in sample(name).events:
        assert event.unreadable == 0
        for item in event.orders or []:
            order = parse_order(item)
            assert order is not None
            assert order.is_spot
            assert order.is_known_status
            assert order.is_complete
            assert (order.order_id, order.status) == (item.order_id, item.status)


def test_a_sample_order_has_the_numbers_of_its_text() -> None:
    """Each field of a half-filled purchase lands where it belongs."""
    (item,) = sample("ws_user_update_partial_fill.json").events[0].orders or []
    assert parse_order(item) == Order(
        order_id="1f6d3b80-4c2e-4a97-8e15-d2c07b9a6f31",
        base="BTC",
        quote="USD",
        side=Side.BUY,
        status="OPEN",
        quantity=Decimal("0.004"),
        value=Decimal(336),
        fees=Decimal("2.016"),
        leaves=Decimal("0.006"),
        hold=Decimal("507.024"),
        average_price=Decimal(84000),
        limit_price=Decimal(84000),
    )


def test_an_order_of_which_little_is_told_is_read() -> None:
    """Only what identifies an order and how much of it is filled is required; the rest is None, not 0."""
    order = parsed()
    assert (order.value, order.fees, order.leaves, order.hold) == (None, None, None, None)
    assert (order.average_price, order.limit_price, order.held) == (None, None, None)
    assert order.is_spot
    assert not order.is_complete


@pytest.mark.parametrize(
    "bad",
    [
        {"order_id": ""},
        {"order_id": "x" * 101},
        {"product_id": ""},
        {"product_id": "BTC"},
        {"product_id": "-USD"},
        {"product_id": "btc-usd"},
        {"order_side": ""},
        {"order_side": "UNKNOWN_ORDER_SIDE"},
        {"cumulative_quantity": ""},
        {"cumulative_quantity": "NaN"},
        {"cumulative_quantity": "-1"},
        {"cumulative_quantity": "1_000"},
        {"cumulative_quantity": "1e3"},
        {"cumulative_quantity": "１"},
        {"cumulative_quantity": "1" * 31},
    ],
    ids=str,
)
def test_an_order_without_sense_is_refused(bad: dict[str, str]) -> None:
    """What must be there and is not makes no order."""
    assert parse_order(fields(**bad)) is None


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "-0.5", "1e5", "0x1", " 1", "1\n"])
def test_a_number_that_need_not_be_there_is_none_where_it_makes_no_sense(text: str) -> None:
    """A fee that is none of ours to guess does not cost the order."""
    order = parsed(total_fees=text, filled_value=text, outstanding_hold_amount=text)
    assert (order.fees, order.value, order.hold) == (None, None, None)


def test_numbers_are_exact() -> None:
    """Thirty digits before the point and thirty behind it survive."""
    text = "9" * 30 + "." + "1" * 30
    assert parsed(filled_value=text).value == Decimal(text)


def test_case_does_not_matter() -> None:
    """The exchange's spelling of enumerations differs between its pages."""
    order = parsed(order_side="sell", status="Filled", product_type="Spot")
    assert (order.side, order.is_over, order.is_spot) == (Side.SELL, True, True)


@pytest.mark.parametrize(
    ("product_id", "product_type", "spot"),
    [
        ("BTC-USDC", "SPOT", True),
        ("BTC-USDC", "", True),
        ("BTC-USDC", "UNKNOWN_PRODUCT_TYPE", True),
        ("BTC-USD", "FUTURE", False),
        ("BIT-27NOV26-CDE", "", False),
        ("BTC-PERP-INTX", "SPOT", False),
    ],
)
def test_futures_are_told_apart(product_id: str, product_type: str, spot: bool) -> None:
    """What moves margin is no spot order, whatever its type says."""
    order = parsed(product_id=product_id, product_type=product_type)
    assert order.is_spot is spot
    assert f"{order.base}-{order.quote}" == product_id


# -- what an order is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "over", "open_", "known"),
    [
        ("PENDING", False, False, True),
        ("QUEUED", False, False, True),
        ("OPEN", False, True, True),
        ("CANCEL_QUEUED", False, False, True),
        ("EDIT_QUEUED", False, False, True),
        ("FILLED", True, False, True),
        ("CANCELLED", True, False, True),
        ("EXPIRED", True, False, True),
        ("FAILED", True, False, True),
        ("UNKNOWN_ORDER_STATUS", False, False, False),
        ("", False, False, False),
    ],
)
def test_what_a_status_means(status: str, over: bool, open_: bool, known: bool) -> None:
    """Four states are final, only OPEN is listed in snapshots, and an unknown one is none of these."""
    order = parsed(status=status)
    assert (order.is_over, order.is_open, order.is_known_status) == (over, open_, known)


def test_rank_rises_with_what_is_filled_then_with_status() -> None:
    """The life of an order, in order."""
    life = [("PENDING", "0"), ("OPEN", "0"), ("OPEN", "0.4"), ("CANCEL_QUEUED", "0.4"), ("CANCELLED", "0.4")]
    ranks = [parsed(status=status, cumulative_quantity=quantity).rank for status, quantity in life]
    assert ranks == sorted(ranks)
    assert parsed(status="FAILED").rank > parsed(status="OPEN").rank > parsed(status="QUEUED").rank


@pytest.mark.parametrize(
    ("told", "held"),
    [
        ({"order_side": "BUY", "outstanding_hold_amount": "507.024", "leaves_quantity": "0.006"}, "507.024"),
        ({"order_side": "BUY", "outstanding_hold_amount": "0"}, "0"),
        ({"order_side": "SELL", "outstanding_hold_amount": "0.5", "leaves_quantity": "0.5"}, "0.5"),
        ({"order_side": "SELL", "outstanding_hold_amount": "0.5"}, "0.5"),
        ({"order_side": "SELL", "outstanding_hold_amount": "0.3", "leaves_quantity": "0.5"}, "0.3"),
    ],
)
def test_what_an_order_holds_is_what_the_exchange_says(told: dict[str, str], held: str) -> None:
    """A purchase holds quote, a sale holds base."""
    assert parsed(**told, limit_price="2900").held == Decimal(held)


@pytest.mark.parametrize("hold", ["1450", "1458.7", "1441.3"])
@pytest.mark.parametrize("price", [{"limit_price": "2900"}, {"limit_price": "0", "avg_price": "2900"}])
def test_a_sale_whose_hold_is_told_in_quote_holds_what_remains(hold: str, price: dict[str, str]) -> None:
    """What remains times the price, fees or not, can only be quote; what it holds is what remains."""
    told = {"order_side": "SELL", "outstanding_hold_amount": hold, "leaves_quantity": "0.5"}
    assert parsed(**told, **price).held == Decimal("0.5")


@pytest.mark.parametrize("price", [{}, {"limit_price": "0", "avg_price": "0"}, {"limit_price": "2900"}])
def test_a_sale_that_holds_nothing_holds_nothing(price: dict[str, str]) -> None:
    """A hold of 0 is no hold in quote, not even of a market order that has no price yet."""
    told = {"order_side": "SELL", "outstanding_hold_amount": "0", "leaves_quantity": "0.5"}
    assert parsed(**told, **price).held == 0


@pytest.mark.parametrize("status", ["FILLED", "CANCELLED", "EXPIRED", "FAILED"])
def test_what_is_over_holds_nothing(status: str) -> None:
    """The first FILLED may still tell a hold; nothing can be spent from it any more."""
    assert parsed(status=status, outstanding_hold_amount="5").held == 0


# -- snapshots in batches ---------------------------------------------------------------------------------------


def message(kind: str, count: int, *, first: int = 0, unreadable: int = 0) -> Message:
    """A message of the user channel with so many orders."""
    orders: list[dict[str, Any]] = [
        msgspec.to_builtins(fields(order_id=f"order-{first + number}")) for number in range(count)
    ]
    orders += [{"order_id": 7}] * unreadable
    frame = {"channel": "user", "sequence_num": 0, "events": [{"type": kind, "orders": orders}]}
    return Decoder().decode(msgspec.json.encode(frame))


def read(stream: OrderStream, *messages: Message) -> list[OrderEvent]:
    """Read messages one after another."""
    return [event for one in messages for event in stream.read(one, 0.0)]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 109, 150])
@pytest.mark.parametrize("later", ["snapshot", "patch"])
def test_a_snapshot_is_whole_with_its_first_short_batch(count: int, later: str) -> None:
    """Batches of 50 wait for one that is shorter, be it empty, and whatever the later ones are called."""
    stream = OrderStream()
    events: list[OrderEvent] = []
    for first in range(0, count + 1, SNAPSHOT_BATCH):
        assert events == []
        size = min(SNAPSHOT_BATCH, count - first)
        events = read(stream, message("patch" if later == "patch" and first else "snapshot", size, first=first))
    (event,) = events
    assert event.is_snapshot
    assert [order.order_id for order in event.orders] == [f"order-{number}" for number in range(count)]


def test_unreadable_orders_count_for_the_size_of_a_batch() -> None:
    """A batch of 50 is full also where one of them makes no sense; all that do not are counted."""
    stream = OrderStream()
    assert read(stream, message("snapshot", 48, unreadable=2)) == []
    (event,) = read(stream, message("patch", 3, unreadable=1))
    assert (len(event.orders), event.unreadable) == (51, 3)


def test_an_order_that_is_shaped_well_but_makes_no_sense_is_counted() -> None:
    """The number of unreadable orders says how many updates are lost on us."""
    item = msgspec.structs.replace(fields(), cumulative_quantity="NaN")
    event = msgspec.structs.replace(message("update", 1).events[0], orders=[item, fields()])
    assert read(OrderStream(), Message(events=[event])) == [OrderEvent(False, (parsed(),), 1)]


def test_an_update_between_batches_is_passed_on_at_once() -> None:
    """Updates do not wait for the snapshot, nor do they end up in it."""
    stream = OrderStream()
    first, update = read(stream, message("snapshot", 50)), read(stream, message("update", 1, first=900))
    (rest,) = read(stream, message("snapshot", 1, first=50))
    assert first == []
    assert [(event.is_snapshot, len(event.orders)) for event in update] == [(False, 1)]
    assert (rest.is_snapshot, len(rest.orders)) == (True, 51)


def test_a_second_snapshot_starts_from_nothing() -> None:
    """Orders of one snapshot are not in the next."""
    stream = OrderStream()
    events = read(stream, message("snapshot", 2, unreadable=1), message("snapshot", 1, first=7))
    assert [len(event.orders) for event in events] == [2, 1]
    assert [event.unreadable for event in events] == [1, 0]


def test_a_message_of_many_events_gives_them_all() -> None:
    """Events of one message come out in its order; one without orders is about something else."""
    updates = message("update", 1).events
    bare = msgspec.structs.replace(updates[0], orders=None)
    events = read(OrderStream(), Message(events=[*updates, bare, *message("snapshot", 0).events]))
    assert [(event.is_snapshot, len(event.orders)) for event in events] == [(False, 1), (True, 0)]


def test_a_snapshot_may_leave_its_orders_out() -> None:
    """The SDK takes a missing list for an empty one: there are no open orders."""
    bare = msgspec.structs.replace(message("snapshot", 0).events[0], orders=None)
    assert read(OrderStream(), Message(events=[bare])) == [OrderEvent(True, ())]


def test_a_snapshot_that_does_not_end_is_ended_by_what_comes_later() -> None:
    """Exactly 50 orders and no shorter batch: the next snapshot does not grow on top of it."""
    stream = OrderStream()
    assert list(stream.read(message("snapshot", 50), 100.0)) == []
    later = list(stream.read(message("snapshot", 50, first=100), 110.0))
    assert [(event.is_snapshot, len(event.orders)) for event in later] == [(True, 50)]
    ended = list(stream.read(message("update", 1), 120.0))
    assert [(event.is_snapshot, len(event.orders)) for event in ended] == [(True, 50), (False, 1)]


def test_the_samples_make_events() -> None:
    """The snapshots of the samples are whole, their updates are updates."""
    seen = {name: read(OrderStream(), sample(name)) for name in SAMPLES if "subscriptions" not in name}
    kinds = {
        name: [(event.is_snapshot, len(event.orders), event.unreadable) for event in seen[name]] for name in seen
    }
    assert kinds == {
        "ws_user_snapshot.json": [(True, 2, 0)],
        "ws_user_snapshot_empty.json": [(True, 0, 0)],
        "ws_user_snapshot_with_positions.json": [(True, 0, 0)],
        "ws_user_update_cancelled.json": [(False, 1, 0)],
        "ws_user_update_filled.json": [(False, 1, 0)],
        "ws_user_update_open.json": [(False, 1, 0)],
        "ws_user_update_partial_fill.json": [(False, 1, 0)],
    }
