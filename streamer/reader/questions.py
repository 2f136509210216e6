"""What a reader can be asked: arguments checked, and turned into plans. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import TypedDict

from streamer.errors import ConfigError, Unavailable
from streamer.model import (
    Account,
    Answers,
    Balance,
    Candle,
    Explanation,
    Granularity,
    PortfolioBreakdown,
    Priority,
    Product,
    ProductId,
    Reading,
    Snapshot,
    Ticker,
    is_product_id,
    parse_granularity,
    parse_product_id,
)
from streamer.reader.freshness import NO_BOUNDS, Bounds
from streamer.reader.plans import Plans
from streamer.reader.steps import Ask, Plan

TIMEOUT_S = 5.0
"""For so long a reader waits for REST, where nothing else is said."""
LIMIT = 100
"""How many candles are read, where nothing else is said."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class How(TypedDict, total=False):
    """How an answer is wanted; every method of a reader takes these.

    Attributes:
        max_age_s: Oldest acceptable age since the value was known to be current; what is older is never served.
        max_value_age_s: Oldest acceptable age since the exchange stamped the value.
        timeout_s: How long to wait for REST, where it is needed.
        priority: How urgent that is among all callers of the fleet.
    """

    max_age_s: float | None
    max_value_age_s: float | None
    timeout_s: float
    priority: Priority


class Questions:
    """Makes a plan of every question. All raise ConfigError (a ValueError) for bad input, before anything is asked.

    Args:
        rest: Whether REST may be asked.
        caller: Who asks, for the statistics of REST calls.
    """

    def __init__(self, plans: Plans, *, rest: bool, caller: str) -> None:
        self._plans, self._rest, self._caller = plans, rest, caller

    def ask(
        self,
        *,
        max_age_s: float | None = None,
        max_value_age_s: float | None = None,
        timeout_s: float = TIMEOUT_S,
        priority: Priority = Priority.MARKET_DATA,
    ) -> Ask:
        """Check how an answer is wanted."""
        bounds = NO_BOUNDS
        if max_age_s is not None or max_value_age_s is not None:
            for name, value in (("max_age_s", max_age_s), ("max_value_age_s", max_value_age_s)):
                if value is not None:
                    _check_seconds(name, value)
            bounds = Bounds(max_age_s, max_value_age_s)
        if timeout_s is not TIMEOUT_S:
            _check_seconds("timeout_s", timeout_s)
        if priority is not Priority.MARKET_DATA and priority not in tuple(Priority):
            raise ConfigError("priority", priority, "expected one of Priority")
        now = time.monotonic()
        return Ask(now, bounds, timeout_s=timeout_s, priority=priority, caller=self._caller, rest=self._rest)

    def ticker(self, product_id: str, how: How) -> Plan[Reading[Ticker]]:
        """Ask for one ticker."""
        wanted, ask = parse_product_id(product_id), self.ask(**how)
        return self._plans.ticker(wanted, ask)

    def tickers(self, product_ids: Collection[str], how: How) -> Plan[Answers[ProductId, Ticker]]:
        """Ask for tickers."""
        return self._plans.tickers(_ids(product_ids), self.ask(**how))

    def shown(self, product_ids: Collection[str]) -> Plan[Answers[ProductId, Ticker]]:
        """Ask for tickers for somebody who shows what others want, and wants nothing."""
        ask = self.ask()
        ask.demand = False
        return self._plans.tickers(_ids(product_ids), ask)

    def explain(self, product_id: str, how: How) -> Plan[Explanation]:
        """Ask why a ticker is what it is."""
        return self._plans.explain(parse_product_id(product_id), self.ask(**how))

    def balances(self, how: How) -> Plan[Answers[str, Balance]]:
        """Ask for the balance of every currency."""
        return self._plans.balances(self.ask(**how))

    def balance(self, currency: str, how: How) -> Plan[Reading[Balance]]:
        """Ask for the balance of one currency."""
        if not isinstance(currency, str) or not is_product_id(currency):
            raise ConfigError("currency", currency, "expected capitals and digits, such as BTC")
        return self._balance(currency, self.ask(**how))

    def _balance(self, currency: str, ask: Ask) -> Plan[Reading[Balance]]:
        balances = yield from self._plans.balances(ask)
        if currency in balances or currency in balances.missing:
            return balances[currency]
        if "" in balances.missing:
            raise balances.missing[""]
        raise Unavailable(f"balance {currency}", {"account": "it has no wallet of that currency"})

    def accounts(self, how: How) -> Plan[Reading[tuple[Account, ...]]]:
        """Ask for all wallets."""
        return self._plans.accounts(self.ask(**how))

    def breakdown(self, uuid: str, how: How) -> Plan[Reading[PortfolioBreakdown]]:
        """Ask what a portfolio is worth."""
        if not isinstance(uuid, str) or _UUID.fullmatch(uuid) is None:
            raise ConfigError("portfolio uuid", uuid, "expected hexadecimal digits in groups of 8-4-4-4-12")
        return self._plans.breakdown(uuid, self.ask(**how))

    def candles(
        self, product_id: str, granularity: Granularity | str, limit: int, how: How
    ) -> Plan[Reading[tuple[Candle, ...]]]:
        """Ask for candles."""
        return self._plans.candles(parse_product_id(product_id), _length(granularity), limit, self.ask(**how))

    def products(self, how: How) -> Plan[Reading[tuple[Product, ...]]]:
        """Ask for the facts of every product."""
        return self._plans.products(self.ask(**how))

    def snapshot(
        self, product_ids: Collection[str], granularity: Granularity | str, limit: int, accounts: bool, how: How
    ) -> Plan[Snapshot]:
        """Ask for all that a fleet needs."""
        wanted, length = _ids(product_ids), _length(granularity)
        return self._plans.snapshot(wanted, length, limit, accounts=accounts, ask=self.ask(**how))


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, int | float) or not value >= 0:
        raise ConfigError(name, value, "expected seconds, 0 or more")


def _ids(product_ids: Collection[str]) -> list[ProductId]:
    if isinstance(product_ids, str):
        raise ConfigError("product ids", product_ids, 'expected several, such as ["BTC-USD"]')
    return [parse_product_id(product_id) for product_id in product_ids]


def _length(granularity: Granularity | str) -> Granularity:
    return granularity if isinstance(granularity, Granularity) else parse_granularity(granularity)
