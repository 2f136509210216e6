"""The matching account of the simulated exchange: wallets and orders of every key. Pure; time is an argument.

What the real one does, with sources, is in the protocol notes (6, 7, 10.1 and 10.6). A BUY holds quantity left x
price x (1 + fee rate) of the quote currency, a SELL the quantity left of the base currency. Fees are charged in
quote. Wallets follow the submitted id: an order of BTC-USDC settles in USDC.

Each change of an order puts an `Update` into the `outbox`; whoever changes something takes them from there.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import orjson

from streamer.errors import ConfigError
from streamer.simulator.market import canonical
from streamer.simulator.orders import EXACT, WAITING, Fill, Order, Status, decimal_text, exactly, time_text
from streamer.simulator.portfolio import Portfolio, Reading, Wallet, check_lag
from streamer.simulator.updates import Outbox, Update

SNAPSHOT_ORDERS = 50
"""Orders a message of the snapshot holds; one with fewer ends it (protocol notes, 6.1)."""
BALANCES: Mapping[str, str] = {"USD": "100000", "BTC": "5", "ETH": "50", "SOL": "200", "USDC": "25000"}
"""What a new portfolio holds."""
FEE_RATE = Decimal("0.006")
"""Maker fee that holds and fills are reckoned with."""

_PRODUCT_ID = re.compile(r"[A-Z0-9.]{1,16}-[A-Z0-9.]{1,16}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z0-9.]{1,16}", re.ASCII)
_NO_POSITIONS: dict[str, list[Any]] = {"perpetual_futures_positions": [], "expiring_futures_positions": []}


class Bank:
    """Every account of the simulated exchange: one portfolio of wallets and orders a key.

    Args:
        lag_s: REST shows what was true this long ago; the `user` channel never lags.
        balances: Currency to what each new portfolio holds of it.
        extra_wallets: How many empty wallets each has besides.
        fee_rate: Fee of every fill, as a part of its value.
        follow_up: Type of the snapshot's messages after the first: the notes know both.
        canonical_labels: Whether the `user` channel calls BTC-USDC BTC-USD; otherwise it is as submitted.
        max_finished: How many finished orders of a key are remembered.
        seed: Makes order ids and shuffles repeatable; None for ids that no other bank has used.
    """

    def __init__(
        self,
        *,
        lag_s: float = 0.0,
        balances: Mapping[str, str | Decimal] = BALANCES,
        extra_wallets: int = 0,
        fee_rate: Decimal = FEE_RATE,
        follow_up: Literal["snapshot", "patch"] = "snapshot",
        canonical_labels: bool = False,
        max_finished: int = 1_000,
        seed: int | None = None,
    ) -> None:
        if (rule := check_lag(lag_s)) is not None:
            raise ConfigError("accounts_lag_s", lag_s, rule)
        if extra_wallets < 0:
            raise ConfigError("extra_wallets", extra_wallets, "must be 0 or more")
        self.lag_s = lag_s
        """REST shows what was true this long ago; may be set at any time, up to 600 s."""
        self.follow_up, self.canonical_labels = follow_up, canonical_labels
        self.outbox = Outbox(seed)
        """What the `user` channel is to say."""
        self.version = 0
        """Rises with every change of a wallet or an order."""
        self._balances = {currency: Decimal(amount) for currency, amount in balances.items()}
        self._extra_wallets, self._fee_rate, self._max_finished = extra_wallets, fee_rate, max_finished
        self._ids = random.Random(seed)
        self._known: dict[str, None] = {}
        self._portfolios: dict[str, Portfolio] = {}
        # By order id and by client order id.
        self._by_id: dict[str, tuple[Portfolio, str]] = {}
        self._fills = 0

    # Keys

    def admit(self, key_names: Iterable[str]) -> None:
        """Name keys that exist; from then on no others do."""
        self._known |= dict.fromkeys(key_names)

    def key_name(self, asked: str | None = None) -> str:
        """Return the key that is meant.

        Raises:
            ConfigError: There is no such key, or none was named and there is not exactly one.
        """
        known = self._known or self._portfolios
        if asked is None:
            if len(known) != 1:
                raise ConfigError("key", asked, f"must be named, as there are {len(known)} keys")
            return next(iter(known))
        if self._known and asked not in self._known:
            raise ConfigError("key", asked, "is no key of this exchange")
        return asked

    def portfolio_uuid(self, key_name: str) -> str:
        """Return the id of a key's portfolio, always the same for a key."""
        return self._portfolio(key_name).owner.portfolio_id

    def _portfolio(self, key_name: str) -> Portfolio:
        portfolio = self._portfolios.get(key_name)
        if portfolio is None:
            portfolio = Portfolio(key_name, self._balances, self._extra_wallets, self._max_finished)
            self._portfolios[key_name] = portfolio
        return portfolio

    # Views

    def _seen_at(self, now_s: float) -> float | None:
        return now_s - self.lag_s if self.lag_s > 0 else None

    def accounts(self, key_name: str, now_s: float) -> list[dict[str, Any]]:
        """Return the accounts as REST lists them at this time, in an order that stays."""
        return self._portfolio(key_name).accounts(self._seen_at(now_s))

    def orders(self, key_name: str, now_s: float) -> list[dict[str, Any]]:
        """Return the orders as REST lists them at this time, newest first."""
        portfolio = self._portfolio(key_name)
        return [order.on_rest(portfolio.owner) for order in portfolio.orders_at(self._seen_at(now_s))]

    def fills(self, key_name: str) -> list[dict[str, Any]]:
        """Return the fills as REST lists them, newest first. They do not lag."""
        portfolio = self._portfolio(key_name)
        return [fill.on_rest(portfolio.owner) for fill in reversed(portfolio.fills)]

    def truth(self, key_name: str) -> Reading:
        """Return available, hold and total of every wallet as they are now."""
        return self._portfolio(key_name).truth()

    def history(self, key_name: str, since_s: float = 0.0) -> list[tuple[float, Reading]]:
        """Return time and wallets after each change, oldest first (see `Portfolio.history`)."""
        return self._portfolio(key_name).history(since_s)

    def true_orders(self, key_name: str, *, also_finished: bool = False) -> list[dict[str, str]]:
        """Return the orders as they are now, newest first, in the form of the `user` channel."""
        portfolio = self._portfolio(key_name)
        wanted = (o for o in portfolio.orders_at(None) if also_finished or not o.is_finished)
        return [self._shown(portfolio, order) for order in wanted]

    def snapshot(self, key_name: str, product_ids: Sequence[str]) -> list[bytes]:
        """Return the open orders as snapshot events, one message each, the last one short.

        Args:
            key_name: Whose orders.
            product_ids: Only orders of these; none means all.
        """
        portfolio = self._portfolio(key_name)
        wanted = frozenset(product_ids)
        shown = [
            self._shown(portfolio, order)
            for order in portfolio.orders.values()
            if order.status is Status.OPEN and (not wanted or wanted & self._labels(order))
        ]
        events: list[bytes] = []
        # One step beyond a full last message: only a short one ends the snapshot.
        for start in range(0, len(shown) + 1, SNAPSHOT_ORDERS):
            kind = self.follow_up if events else "snapshot"
            orders = shown[start : start + SNAPSHOT_ORDERS]
            events.append(orjson.dumps({"type": kind, "orders": orders, "positions": _NO_POSITIONS}))
        return events

    def _label(self, order: Order) -> str:
        return canonical(order.product_id) if self.canonical_labels else order.product_id

    def _labels(self, order: Order) -> frozenset[str]:
        return frozenset({order.product_id, self._label(order)})

    def _shown(self, portfolio: Portfolio, order: Order, status: str | None = None) -> dict[str, str]:
        return order.on_user_channel(portfolio.owner, self._label(order), status)

    # Orders

    def place(
        self,
        key_name: str,
        product_id: str,
        side: str,
        size: Decimal,
        price: Decimal,
        now_s: float,
        *,
        order_type: str = "Limit",
        status: Status = Status.OPEN,
        fails: bool = False,
        client_order_id: str | None = None,
    ) -> str:
        """Take an order and return its id.

        Args:
            key_name: Whose it is.
            product_id: Base and quote; it need not exist in the market.
            side: "BUY" or "SELL".
            size: Quantity, base, above 0.
            price: Limit price, above 0; for a market order the price its hold is reckoned with.
            now_s: Time.
            order_type: "Limit" or "Market".
            status: OPEN, or PENDING or QUEUED: those hold nothing yet.
            fails: It becomes PENDING and then FAILED.
            client_order_id: The client's own id, made up if None; other methods take it for the order id.

        Raises:
            ConfigError: Funds do not suffice, or an id is not valid.
        """
        base, _, quote = product_id.partition("-")
        if not _PRODUCT_ID.fullmatch(product_id) or base == quote:
            raise ConfigError("product_id", product_id, "must be base-quote, such as BTC-USD")
        if client_order_id in self._by_id:
            raise ConfigError("client_order_id", client_order_id, "is taken")
        portfolio = self._portfolio(key_name)
        order_id = self._new_id()
        order = Order(
            order_id=order_id,
            client_order_id=client_order_id or f"sim-{order_id}",
            product_id=product_id,
            side=side,
            order_type=order_type,
            size=size,
            price=price,
            status=Status.PENDING if fails else status,
            created_s=now_s,
        )
        self._commit(portfolio, self._with_hold(order), now_s)
        if fails:
            failed = replace(order, status=Status.FAILED, reject_reason="HOLD_FAILURE")
            self._commit(portfolio, failed, now_s)
        return order_id

    def open_order(self, order_id: str, now_s: float) -> None:
        """Open an order that is PENDING or QUEUED.

        Raises:
            ConfigError: There is no such order, it is in another state, or funds do not suffice.
        """
        portfolio, order = self._found(order_id)
        self._require(order, order.status in WAITING, "must be PENDING or QUEUED")
        self._commit(portfolio, self._with_hold(replace(order, status=Status.OPEN)), now_s)

    @exactly
    def fill(
        self,
        order_id: str,
        now_s: float,
        *,
        size: Decimal | None = None,
        price: Decimal | None = None,
        fee: Decimal | None = None,
    ) -> None:
        """Fill an order in part or in whole; one that waited is open from then on.

        Args:
            order_id: The order.
            now_s: Time.
            size: How much of it, base; None for all that is left.
            price: Price, None for the order's own.
            fee: Fee, quote, 0 or more; None for the usual one.

        Raises:
            ConfigError: There is no such order, nothing is left, it is too much, the price is worse than the
                limit, or funds do not suffice.
        """
        portfolio, order = self._found(order_id)
        self._require(order, not order.is_finished, "must not be finished")
        size = order.leaves if size is None else size
        price = order.price if price is None else price
        if size > order.leaves:
            raise ConfigError("size", decimal_text(size), f"is more than the {decimal_text(order.leaves)} left")
        is_worse = price > order.price if order.is_buy else price < order.price
        if is_worse and order.order_type == "Limit":
            raise ConfigError("price", decimal_text(price), f"is worse than {decimal_text(order.price)}")
        value = size * price
        fee = value * self._fee_rate if fee is None else fee
        status = Status.OPEN if order.status in WAITING else order.status
        filled = replace(
            order,
            status=Status.FILLED if size == order.leaves else status,
            quantity=order.quantity + size,
            value=order.value + value,
            fees=order.fees + fee,
            fills=order.fills + 1,
            filled_s=now_s,
        )
        sign = 1 if order.is_buy else -1
        moves = {order.base: sign * size, order.quote: -sign * value - fee}
        self._commit(portfolio, self._with_hold(filled), now_s, moves)
        self._fills += 1
        portfolio.fills.append(Fill(self._fills, self._new_id(), filled, size, price, fee, now_s))

    def cancel(self, order_id: str, now_s: float, *, is_queued: bool = False) -> None:
        """Cancel an order.

        Args:
            order_id: The order.
            now_s: Time.
            is_queued: It becomes CANCEL_QUEUED first, and cancelled by a second call.

        Raises:
            ConfigError: There is no such order, or it is finished.
        """
        portfolio, order = self._found(order_id)
        self._require(order, not order.is_finished, "must not be finished")
        if is_queued and order.status is not Status.CANCEL_QUEUED:
            self._commit(portfolio, replace(order, status=Status.CANCEL_QUEUED), now_s)
            return
        cancelled = replace(order, status=Status.CANCELLED, cancel_reason="User requested cancel")
        self._commit(portfolio, self._with_hold(cancelled), now_s)

    def expire(self, order_id: str, now_s: float) -> None:
        """Let an order expire.

        Raises:
            ConfigError: There is no such order, or it is finished.
        """
        portfolio, order = self._found(order_id)
        self._require(order, not order.is_finished, "must not be finished")
        self._commit(portfolio, self._with_hold(replace(order, status=Status.EXPIRED)), now_s)

    def edit(
        self, order_id: str, now_s: float, *, price: Decimal | None = None, size: Decimal | None = None
    ) -> None:
        """Change price or size of an open order: it becomes EDIT_QUEUED, then OPEN with a new hold.

        Raises:
            ConfigError: There is no such order, it is not open, no more than what is filled would be left, or
                funds do not suffice; then nothing has changed.
        """
        portfolio, order = self._found(order_id)
        self._require(order, order.status is Status.OPEN, "must be OPEN")
        price = order.price if price is None else price
        size = order.size if size is None else size
        if size <= order.quantity:
            filled = decimal_text(order.quantity)
            raise ConfigError("size", decimal_text(size), f"must be more than the {filled} filled")
        entry = (decimal_text(price), decimal_text(size), time_text(now_s))
        edited = self._with_hold(replace(order, price=price, size=size, edits=(*order.edits, entry)))
        self._planned(portfolio, edited)  # refused before anybody hears of it
        self._commit(portfolio, replace(order, status=Status.EDIT_QUEUED), now_s)
        self._commit(portfolio, edited, now_s)

    def tell_status(self, order_id: str, status: str) -> None:
        """Send an update that shows any status; nothing else changes, and the order keeps its own.

        Raises:
            ConfigError: There is no such order.
        """
        portfolio, order = self._found(order_id)
        self._tell(portfolio, order, status)

    def deposit(self, key_name: str, currency: str, amount: Decimal, now_s: float) -> None:
        """Add to a wallet (a negative amount takes away), of which the `user` channel says nothing.

        Raises:
            ConfigError: It would take more than what is available, or the currency is not valid.
        """
        if not _CURRENCY.fullmatch(currency):
            raise ConfigError("currency", currency, "must be capitals and digits, such as USD")
        portfolio = self._portfolio(key_name)
        about = f"{decimal_text(amount)} {currency}"
        portfolio.take_over(portfolio.plan({currency: amount}, {}, about), now_s)
        self.version += 1

    def _found(self, order_id: str) -> tuple[Portfolio, Order]:
        if order_id not in self._by_id:
            raise ConfigError("order", order_id, "is not known")
        portfolio, own_id = self._by_id[order_id]
        return portfolio, portfolio.orders[own_id]

    def _require(self, order: Order, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError("order", order.order_id, f"{rule}, is {order.status}")

    def _with_hold(self, order: Order) -> Order:
        return replace(order, hold=order.needed_hold(self._fee_rate))

    def _planned(
        self, portfolio: Portfolio, order: Order, moves: Mapping[str, Decimal] | None = None
    ) -> dict[str, Wallet]:
        before = portfolio.orders.get(order.order_id)
        held = EXACT.subtract(order.hold, before.hold if before else Decimal(0))
        return portfolio.plan(moves or {}, {order.held_currency: held}, order.summary())

    def _commit(
        self, portfolio: Portfolio, order: Order, now_s: float, moves: Mapping[str, Decimal] | None = None
    ) -> None:
        portfolio.take_over(self._planned(portfolio, order, moves), now_s)
        self._by_id[order.order_id] = self._by_id[order.client_order_id] = (portfolio, order.order_id)
        for forgotten in portfolio.keep(order, now_s):
            del self._by_id[forgotten.order_id], self._by_id[forgotten.client_order_id]
        self.version += 1
        self._tell(portfolio, order)

    def _tell(self, portfolio: Portfolio, order: Order, status: str | None = None) -> None:
        event = orjson.dumps({"type": "update", "orders": [self._shown(portfolio, order, status)]})
        self.outbox.tell(Update(portfolio.key_name, self._labels(order), event))

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))
