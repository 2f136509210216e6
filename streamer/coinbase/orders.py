"""Orders as the user channel tells them, with numbers instead of text. Pure.

The channel carries the cumulative state of orders, not balances; `ingest/ledger.py` derives balances from it.
Which fields an update always has is documented nowhere: only what identifies an order and how much of it is filled
is required here, anything else may be None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from streamer.coinbase.messages import Message, OrderFields

SNAPSHOT_BATCH = 50
"""Orders in each message of a snapshot but the last, which has fewer (user channel documentation, June 2026)."""

BATCH_PAUSE_S = 5.0
"""A batch that comes so long after the last one belongs to another snapshot: they are sent one after the other."""

_NUMBER = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?", re.ASCII).fullmatch
_PRODUCT = re.compile(r"[A-Z0-9][A-Z0-9.]{0,19}-[A-Z0-9][A-Z0-9.-]{0,19}", re.ASCII).fullmatch
_FINAL = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
_BEFORE_OPEN = frozenset({"PENDING", "QUEUED"})
_CHANGING = frozenset({"CANCEL_QUEUED", "EDIT_QUEUED"})
_KNOWN = _FINAL | _BEFORE_OPEN | _CHANGING | {"OPEN"}


class Side(StrEnum):
    """Whether an order buys or sells the base currency."""

    BUY = "BUY"
    SELL = "SELL"


@dataclass(frozen=True, slots=True)
class Order:
    """The cumulative state of an order at one moment. Money in the quote currency unless said otherwise.

    Attributes:
        status: The exchange's word.
        quantity: Filled so far, base currency.
        value: Filled so far.
        fees: So far.
        leaves: What remains, in the currency the order was sized in; 0 once it is over.
        hold: Held back for it: for a purchase in quote with expected fees, for a sale in base (the unit of a
            sale is documented nowhere; see `held`).
    """

    order_id: str
    base: str
    quote: str
    side: Side
    status: str
    quantity: Decimal
    is_spot: bool = True
    value: Decimal | None = None
    fees: Decimal | None = None
    leaves: Decimal | None = None
    hold: Decimal | None = None
    average_price: Decimal | None = None
    limit_price: Decimal | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen to the order."""
        return self.status in _FINAL

    @property
    def is_open(self) -> bool:
        """Whether a snapshot of open orders has to list it."""
        return self.status == "OPEN"

    @property
    def is_changing(self) -> bool:
        """Whether somebody has asked for a change, and so it is not new; a snapshot does not list it."""
        return self.status in _CHANGING

    @property
    def is_known_status(self) -> bool:
        """Whether the documentation knows the status."""
        return self.status in _KNOWN

    @property
    def is_complete(self) -> bool:
        """Whether the exchange has told all that money depends on."""
        return None not in (self.value, self.fees, self.held)

    @property
    def rank(self) -> tuple[Decimal, int]:
        """Never falls as an order goes on: what is filled, then how far its status is."""
        stage = 2 if self.is_over else 0 if self.status in _BEFORE_OPEN else 1
        return self.quantity, stage

    @property
    def held(self) -> Decimal | None:
        """What the order holds back, in the currency it would spend; None where the exchange does not say."""
        if self.is_over:
            return Decimal(0)
        if self.side is Side.BUY or self.hold is None or self.leaves is None or self.hold == self.leaves:
            return self.hold
        # A sale's hold is told in base, we think. Where it is what remains times the price, it is told in quote.
        price = self.limit_price or self.average_price
        in_quote = price and abs(self.hold - self.leaves * price) <= self.leaves * price / 50
        return self.leaves if in_quote else self.hold


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """What one message says of orders.

    Attributes:
        is_snapshot: Whether `orders` are all open orders there are; else each has changed.
        unreadable: Orders in it that make no sense; something has happened to them, we cannot tell what.
    """

    is_snapshot: bool
    orders: tuple[Order, ...]
    unreadable: int = 0


class OrderStream:
    """Puts the batches of a snapshot together, and makes events of the messages of one connection.

    The documentation names the later batches "patch" in one place and "snapshot" in another, so any type but
    "update" is taken for a part of a snapshot. It promises a batch of fewer than 50 at the end, also after exactly
    50 orders; where that does not come, whatever comes some time later ends the snapshot.
    """

    def __init__(self) -> None:
        self._batches: list[Order] = []
        self._unreadable = 0
        self._is_open = False
        self._last_s = 0.0

    def read(self, message: Message, received_s: float) -> Iterator[OrderEvent]:
        """Yield the events of a message that came at `received_s`; a snapshot when its last batch is there."""
        for event in message.events:
            if event.orders is None and not event.unreadable and event.type != "snapshot":
                continue  # it is about something else; a snapshot without orders is one of none
            fields = event.orders or []
            orders = [order for item in fields if (order := parse_order(item)) is not None]
            unreadable = len(fields) - len(orders) + event.unreadable
            if self._is_open and received_s - self._last_s > BATCH_PAUSE_S:
                yield self._snapshot()
            if event.type == "update":
                yield OrderEvent(False, tuple(orders), unreadable)
                continue
            self._is_open, self._last_s = True, received_s
            self._batches += orders
            self._unreadable += unreadable
            if len(fields) + event.unreadable < SNAPSHOT_BATCH:
                yield self._snapshot()

    def _snapshot(self) -> OrderEvent:
        event = OrderEvent(True, tuple(self._batches), self._unreadable)
        self._batches, self._unreadable, self._is_open = [], 0, False
        return event


def parse_order(fields: OrderFields) -> Order | None:
    """Return an order, None where what must be there is not or makes no sense."""
    quantity = _number(fields.cumulative_quantity)
    side = fields.order_side.upper()
    if quantity is None or side not in list(Side) or not 0 < len(fields.order_id) <= 100:
        return None
    if _PRODUCT(fields.product_id) is None:
        return None
    base, _, quote = fields.product_id.rpartition("-")
    return Order(
        order_id=fields.order_id,
        base=base,
        quote=quote,
        side=Side(side),
        status=fields.status.upper(),
        quantity=quantity,
        is_spot=fields.product_type.upper() in ("", "SPOT", "UNKNOWN_PRODUCT_TYPE") and "-" not in base,
        value=_number(fields.filled_value),
        fees=_number(fields.total_fees),
        leaves=_number(fields.leaves_quantity),
        hold=_number(fields.outstanding_hold_amount),
        average_price=_number(fields.avg_price),
        limit_price=_number(fields.limit_price),
    )


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER(text) else None
