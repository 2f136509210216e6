"""One order of the simulated exchange, and how the `user` channel and REST show it. Pure.

Field lists and spellings are those of the protocol notes, 6.2 and 10.6; what is a choice of ours says so. Sums
and products are exact: they are made within `EXACT`, which raises rather than round. Only the two quotients that
an order shows (average price, percentage) are rounded.
"""

from __future__ import annotations

import decimal
import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

EXACT = decimal.Context(
    prec=120,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
"""Money is added and multiplied in here; `exactly` puts a function into it."""

NEVER = "0001-01-01T00:00:00Z"
"""How the exchange writes a time that is not set."""

_QUOTIENT = decimal.Context(prec=120, rounding=decimal.ROUND_HALF_EVEN)
_PRICE_STEP = Decimal("1e-16")
_PERCENT_STEP = Decimal("0.01")

P = ParamSpec("P")
R = TypeVar("R")


def exactly(do: Callable[P, R]) -> Callable[P, R]:
    """Let a function calculate exactly: what would have to be rounded raises `decimal.Inexact`."""

    @functools.wraps(do)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        with decimal.localcontext(EXACT):
            return do(*args, **kwargs)

    return within


def decimal_text(value: Decimal) -> str:
    """Return a number as the exchange writes it: no exponent, no trailing zeros."""
    shown = format(value, "f")
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def time_text(unix_s: float) -> str:
    """Return a time as the exchange writes it in orders and accounts, to the microsecond."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Status(StrEnum):
    """Every state an order of the simulator can be in."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    OPEN = "OPEN"
    EDIT_QUEUED = "EDIT_QUEUED"
    CANCEL_QUEUED = "CANCEL_QUEUED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


WAITING = frozenset({Status.PENDING, Status.QUEUED})
"""Before an order is open nothing is held for it."""
FINISHED = frozenset({Status.FILLED, Status.CANCELLED, Status.EXPIRED, Status.FAILED})
"""Nothing changes any more: no hold, nothing left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose an order is: what every record of it repeats."""

    user_id: str
    portfolio_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order in one state; a change makes a new one.

    Attributes:
        product_id: As submitted: BTC-USDC settles in USDC.
        order_type: "Limit" or "Market".
        size: Ordered quantity, base.
        price: Limit price; of a market order the price its hold is reckoned with.
        quantity: Filled so far, base.
        value: Filled so far, quote, without fees.
        fees: Paid so far, quote.
        hold: What is held for it: quote with fees for a BUY, base for a SELL.
    """

    order_id: str
    client_order_id: str
    product_id: str
    side: str
    order_type: str
    size: Decimal
    price: Decimal
    status: Status
    created_s: float
    quantity: Decimal = Decimal(0)
    value: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    hold: Decimal = Decimal(0)
    fills: int = 0
    filled_s: float | None = None
    cancel_reason: str = ""
    reject_reason: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()

    @property
    def base(self) -> str:
        """Currency that is bought or sold."""
        return self.product_id.partition("-")[0]

    @property
    def quote(self) -> str:
        """Currency that is paid with."""
        return self.product_id.partition("-")[2]

    @property
    def held_currency(self) -> str:
        """Currency of its hold."""
        return self.quote if self.is_buy else self.base

    @property
    def is_buy(self) -> bool:
        """Whether it buys."""
        return self.side == "BUY"

    @property
    def is_finished(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in FINISHED

    @property
    def leaves(self) -> Decimal:
        """What is left to fill, base; nothing once finished, also if cancelled."""
        return Decimal(0) if self.is_finished else EXACT.subtract(self.size, self.quantity)

    def needed_hold(self, fee_rate: Decimal) -> Decimal:
        """Return what must be held for it in the state it is in."""
        if self.is_finished or self.status in WAITING:
            return Decimal(0)
        if not self.is_buy:
            return self.leaves
        return EXACT.multiply(EXACT.multiply(self.leaves, self.price), EXACT.add(1, fee_rate))

    def summary(self) -> str:
        """Return the order in words, for an error message."""
        return f"{self.side} {decimal_text(self.size)} {self.product_id} at {decimal_text(self.price)}"

    def _progress(self) -> dict[str, str]:
        average = percentage = Decimal(0)
        if self.quantity:
            average = _QUOTIENT.divide(self.value, self.quantity).quantize(_PRICE_STEP, context=_QUOTIENT)
            ratio = _QUOTIENT.multiply(_QUOTIENT.divide(self.quantity, self.size), Decimal(100))
            # Down: what is not quite filled must not read 100.
            percentage = ratio.quantize(_PERCENT_STEP, decimal.ROUND_DOWN, _QUOTIENT)
        after_fees = EXACT.add(self.value, self.fees) if self.is_buy else EXACT.subtract(self.value, self.fees)
        return {
            "average": decimal_text(average),
            "percentage": decimal_text(percentage),
            "after_fees": decimal_text(after_fees),
        }

    def on_user_channel(self, owner: Owner, product_id: str, status: str | None = None) -> dict[str, str]:
        """Return the order as the `user` channel carries it: cumulative, every value a string.

        Args:
            owner: Whose it is.
            product_id: The label it is sent under.
            status: A status to show instead of its own.
        """
        progress = self._progress()
        return {
            "avg_price": progress["average"],
            "cancel_reason": self.cancel_reason,
            "client_order_id": self.client_order_id,
            "completion_percentage": progress["percentage"],
            "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
            "cumulative_quantity": decimal_text(self.quantity),
            "filled_value": decimal_text(self.value),
            "leaves_quantity": decimal_text(self.leaves),
            "limit_price": self._limit_price(),
            "number_of_fills": str(self.fills),
            "order_id": self.order_id,
            "order_side": self.side,
            "order_type": self.order_type,
            "outstanding_hold_amount": decimal_text(self.hold),
            "post_only": "false",
            "product_id": product_id,
            "product_type": "SPOT",
            "reject_reason": self.reject_reason,
            "retail_portfolio_id": owner.portfolio_id,
            "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
            "status": self.status if status is None else status,
            "stop_price": "",
            "time_in_force": self._time_in_force(),
            "total_fees": decimal_text(self.fees),
            "total_value_after_fees": progress["after_fees"],
            "trigger_status": "INVALID_ORDER_TYPE",
            "creation_time": time_text(self.created_s),
            "end_time": NEVER,
            "start_time": NEVER,
        }

    def on_rest(self, owner: Owner) -> dict[str, Any]:
        """Return the order as `GET /orders/historical/...` shows it."""
        progress = self._progress()
        edits = [dict(zip(("price", "size", "replace_accept_timestamp"), e, strict=True)) for e in self.edits]
        return {
            "order_id": self.order_id,
            "product_id": self.product_id,
            "user_id": owner.user_id,
            "order_configuration": self._configuration(),
            "side": self.side,
            "client_order_id": self.client_order_id,
            "status": str(self.status),
            "time_in_force": self._time_in_force(),
            "created_time": time_text(self.created_s),
            "completion_percentage": progress["percentage"],
            "filled_size": decimal_text(self.quantity),
            "average_filled_price": progress["average"],
            "fee": "",
            "number_of_fills": str(self.fills),
            "filled_value": decimal_text(self.value),
            "pending_cancel": self.status is Status.CANCEL_QUEUED,
            "size_in_quote": False,
            "total_fees": decimal_text(self.fees),
            "size_inclusive_of_fees": False,
            "total_value_after_fees": progress["after_fees"],
            "trigger_status": "INVALID_ORDER_TYPE",
            "order_type": self.order_type.upper(),
            "reject_reason": self.reject_reason or "REJECT_REASON_UNSPECIFIED",
            "settled": self.status is Status.FILLED,
            "product_type": "SPOT",
            "reject_message": "",
            "cancel_message": self.cancel_reason,
            "order_placement_source": "RETAIL_ADVANCED",
            "outstanding_hold_amount": decimal_text(self.hold),
            "is_liquidation": False,
            "last_fill_time": None if self.filled_s is None else time_text(self.filled_s),
            "edit_history": edits,
            "leverage": "",
            "margin_type": "UNKNOWN_MARGIN_TYPE",
            "retail_portfolio_id": owner.portfolio_id,
            "originating_order_id": "",
            "attached_order_id": "",
        }

    @property
    def _is_limit(self) -> bool:
        return self.order_type == "Limit"

    def _limit_price(self) -> str:
        return decimal_text(self.price) if self._is_limit else "0"

    def _time_in_force(self) -> str:
        return "GOOD_UNTIL_CANCELLED" if self._is_limit else "IMMEDIATE_OR_CANCEL"

    def _configuration(self) -> dict[str, dict[str, Any]]:
        size = decimal_text(self.size)
        if not self._is_limit:
            return {"market_market_ioc": {"base_size": size}}
        return {"limit_limit_gtc": {"base_size": size, "limit_price": decimal_text(self.price), "post_only": False}}


@dataclass(frozen=True, slots=True)
class Fill:
    """One fill of an order."""

    number: int
    trade_id: str
    order: Order
    size: Decimal
    price: Decimal
    fee: Decimal
    at_s: float

    def on_rest(self, owner: Owner) -> dict[str, Any]:
        """Return the fill as `GET /orders/historical/fills` shows it."""
        at = time_text(self.at_s)
        return {
            # Rising, so that entries sort by time; the rest of it means nothing.
            "entry_id": f"{self.number:09x}{self.order.order_id.replace('-', '')[:23]}",
            "trade_id": self.trade_id,
            "order_id": self.order.order_id,
            "trade_time": at,
            "trade_type": "FILL",
            "price": decimal_text(self.price),
            "size": decimal_text(self.size),
            "commission": decimal_text(self.fee),
            "product_id": self.order.product_id,
            "sequence_timestamp": at,
            "liquidity_indicator": "MAKER" if self.order.order_type == "Limit" else "TAKER",
            "size_in_quote": False,
            "user_id": owner.user_id,
            "side": self.order.side,
            "retail_portfolio_id": owner.portfolio_id,
        }
