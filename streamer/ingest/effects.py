"""What an order has done to the balances of its two currencies. Pure.

Arithmetic is exact: the default context of `decimal` would round sums at 28 digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal, Inexact

from streamer.coinbase.orders import Order, Side

_EXACT = Context(prec=200, traps=[Inexact])
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What can be spent, and what open orders hold back."""

    available: Decimal = _ZERO
    hold: Decimal = _ZERO

    @property
    def total(self) -> Decimal:
        """Both together."""
        return _EXACT.add(self.available, self.hold)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(_EXACT.add(self.available, other.available), _EXACT.add(self.hold, other.hold))

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(_EXACT.subtract(self.available, other.available), _EXACT.subtract(self.hold, other.hold))


Effects = Mapping[str, Amounts]
"""What an order has done to each currency so far."""


def completed(order: Order, before: Order | None) -> Order:
    """Return the order with fields that it lacks taken from what is known; some may still be missing."""
    value, fees, held = order.value, order.fees, order.held
    same = before if before is not None and before.quantity == order.quantity else None
    if value is None:
        value = _ZERO if not order.quantity else same.value if same is not None else None
    if fees is None:
        fees = _ZERO if not order.quantity else same.fees if same is not None else None
    if held is None and order.side is Side.SELL:
        held = order.leaves
    if held is None and same is not None:
        held = same.held
    return replace(order, value=value, fees=fees, hold=held, leaves=None)


def effects(order: Order) -> Effects:
    """Return what an order has done to both currencies so far (fees are taken in the quote currency)."""
    value = order.value
    if value is None:
        value = _EXACT.multiply(order.average_price or _ZERO, order.quantity)
    fees, held = order.fees or _ZERO, order.held or _ZERO
    if order.side is Side.BUY:
        spent = _EXACT.add(value, fees)
        return {
            order.base: Amounts(order.quantity),
            order.quote: Amounts(_EXACT.minus(_EXACT.add(spent, held)), held),
        }
    return {
        order.base: Amounts(_EXACT.minus(_EXACT.add(order.quantity, held)), held),
        order.quote: Amounts(_EXACT.subtract(value, fees)),
    }
