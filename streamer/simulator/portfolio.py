"""What one API key owns on the simulated exchange: wallets, orders, fills, and how all of it was before. Pure."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from streamer.errors import ConfigError
from streamer.simulator import checks
from streamer.simulator.keys import user_uuid
from streamer.simulator.orders import EXACT, Fill, Order, Owner, decimal_text, time_text

MAX_LAG_S = 600.0
"""How far back REST can be made to look."""
MAX_HISTORY = 20_000
"""How many changes of the wallets are remembered."""

_MAX_FILLS = 3_000
_BORN = "2024-02-11T09:20:31.447Z"
_FIAT = frozenset({"USD", "EUR", "GBP"})

Reading = dict[str, dict[str, str]]
"""Currency to available, hold and total."""


def check_lag(lag_s: Any) -> str | None:
    """Say which rule a lag breaks, None if none."""
    return checks.number(0)(lag_s) or (f"must be at most {MAX_LAG_S:g}" if lag_s > MAX_LAG_S else None)


@dataclass(frozen=True, slots=True)
class Wallet:
    """One wallet at one moment; a change makes a new one."""

    total: Decimal = Decimal(0)
    hold: Decimal = Decimal(0)
    changed_s: float | None = None

    @property
    def available(self) -> Decimal:
        """What can be spent."""
        return EXACT.subtract(self.total, self.hold)

    def shown(self) -> dict[str, str]:
        """Return the wallet as the control port tells of it."""
        return {
            "available": decimal_text(self.available),
            "hold": decimal_text(self.hold),
            "total": decimal_text(self.total),
        }


class Portfolio:
    """One portfolio and its past.

    Args:
        key_name: Name of the API key.
        balances: What its wallets hold at first.
        extra_wallets: How many empty wallets it has besides.
        max_finished: How many finished orders are remembered.
    """

    def __init__(
        self, key_name: str, balances: Mapping[str, Decimal], extra_wallets: int, max_finished: int
    ) -> None:
        self.key_name = key_name
        self.owner = Owner(
            user_id=user_uuid(key_name),
            portfolio_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"streamer-simulator/portfolio/{key_name}")),
        )
        self.wallets = {currency: Wallet(total) for currency, total in balances.items()}
        # Empty ones are left out of the past: thousands of copies of hundreds of zeros.
        self._eventful = {c: w for c, w in self.wallets.items() if w.total}
        self.wallets |= {f"NIL{i:03d}": Wallet() for i in range(1, extra_wallets + 1)}
        self._first = frozenset(self.wallets)
        self._uuids: dict[str, str] = {}
        self._past: deque[tuple[float, dict[str, Wallet]]] = deque([(0.0, self._eventful)], MAX_HISTORY)
        self.orders: dict[str, Order] = {}
        self._versions: dict[str, list[tuple[float, Order]]] = {}
        self._finished: deque[str] = deque()
        self._max_finished = max_finished
        self.fills: deque[Fill] = deque(maxlen=_MAX_FILLS)

    # Changes

    def plan(self, moves: Mapping[str, Decimal], holds: Mapping[str, Decimal], about: str) -> dict[str, Wallet]:
        """Return the wallets that a change would lead to, without making it.

        Args:
            moves: Currency to change of its total.
            holds: Currency to change of its hold.
            about: What is asked for, for the error.

        Raises:
            ConfigError: Funds do not suffice.
        """
        planned: dict[str, Wallet] = {}
        for currency in {**moves, **holds}:
            wallet = self.wallets.get(currency, Wallet())
            changed = Wallet(
                EXACT.add(wallet.total, moves.get(currency, Decimal(0))),
                EXACT.add(wallet.hold, holds.get(currency, Decimal(0))),
            )
            if changed.available < 0:
                rest = decimal_text(wallet.available)
                raise ConfigError("funds", about, f"needs more {currency} than the {rest} available")
            if (changed.total, changed.hold) != (wallet.total, wallet.hold):
                planned[currency] = changed
        return planned

    def take_over(self, planned: Mapping[str, Wallet], now_s: float) -> None:
        """Put planned wallets in force."""
        if not planned:
            return
        now_s = max(now_s, self._past[-1][0])  # a clock that is set back must not reorder the past
        stamped = {c: Wallet(w.total, w.hold, now_s) for c, w in planned.items()}
        self.wallets |= stamped
        self._eventful = self._eventful | stamped
        self._past.append((now_s, self._eventful))

    def keep(self, order: Order, now_s: float) -> list[Order]:
        """Remember the newest state of an order; return finished orders that are forgotten for it."""
        self.orders[order.order_id] = order
        versions = self._versions.setdefault(order.order_id, [])
        versions.append((max(now_s, versions[-1][0] if versions else 0.0), order))
        while len(versions) > 1 and versions[1][0] < now_s - MAX_LAG_S:
            del versions[0]
        if order.is_finished:
            self._finished.append(order.order_id)
        forgotten = []
        while len(self._finished) > self._max_finished:
            order_id = self._finished.popleft()
            forgotten.append(self.orders.pop(order_id))
            del self._versions[order_id]
        return forgotten

    # Views

    def accounts(self, when_s: float | None) -> list[dict[str, Any]]:
        """Return the accounts as REST shows them.

        Args:
            when_s: As they were at that time, None for now.
        """
        return [self._account(c, w) for c, w in self._wallets_at(when_s)]

    def _wallets_at(self, when_s: float | None) -> Iterator[tuple[str, Wallet]]:
        if when_s is None:
            yield from self.wallets.items()
            return
        # From the newest on: a lag is short beside what is remembered.
        past = next((wallets for at_s, wallets in reversed(self._past) if at_s <= when_s), self._past[0][1])
        for currency in self.wallets:
            if currency in past or currency in self._first:
                yield currency, past.get(currency, Wallet())

    def _account(self, currency: str, wallet: Wallet) -> dict[str, Any]:
        if currency not in self._uuids:
            name = f"{self.owner.portfolio_id}/{currency}"
            self._uuids[currency] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"streamer-simulator/{name}"))
        return {
            "uuid": self._uuids[currency],
            "name": f"{currency} Wallet",
            "currency": currency,
            "available_balance": {"value": decimal_text(wallet.available), "currency": currency},
            "default": True,
            "active": True,
            "created_at": _BORN,
            "updated_at": _BORN if wallet.changed_s is None else time_text(wallet.changed_s),
            "deleted_at": None,
            "type": "ACCOUNT_TYPE_FIAT" if currency in _FIAT else "ACCOUNT_TYPE_CRYPTO",
            "ready": True,
            "hold": {"value": decimal_text(wallet.hold), "currency": currency},
            "retail_portfolio_id": self.owner.portfolio_id,
            "platform": "ACCOUNT_PLATFORM_CONSUMER",
        }

    def orders_at(self, when_s: float | None) -> Iterator[Order]:
        """Yield the orders, newest first, as they were at a time (None for now)."""
        for order_id in reversed(self.orders):
            if when_s is None:
                yield self.orders[order_id]
                continue
            for at_s, order in reversed(self._versions[order_id]):
                if at_s <= when_s:
                    yield order
                    break

    def truth(self) -> Reading:
        """Return every wallet as it is."""
        return {currency: wallet.shown() for currency, wallet in self.wallets.items()}

    def history(self, since_s: float) -> list[tuple[float, Reading]]:
        """Return the wallets after each change, oldest first, those left out that were always empty.

        Args:
            since_s: The first entry is the last one made at that time or before, if it is still remembered.
        """
        wanted: list[tuple[float, dict[str, Wallet]]] = []
        for entry in reversed(self._past):
            wanted.append(entry)
            if entry[0] <= since_s:
                break
        shown: dict[int, dict[str, str]] = {}  # neighbours share most wallets; all are kept alive by the past
        for _, wallets in wanted:
            shown |= {id(w): w.shown() for w in wallets.values() if id(w) not in shown}
        return [(at_s, {c: shown[id(w)] for c, w in wallets.items()}) for at_s, wallets in reversed(wanted)]
