"""A portfolio's breakdown: as REST tells it, and computed from balances and prices. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from streamer.model import Account, PortfolioBreakdown, SpotPosition
from streamer.store.records import parse_decimal

DOLLAR = "USD"
"""What a computed breakdown is told in."""
AS_DOLLAR = frozenset({"USDC"})
"""What is worth a dollar: Coinbase redeems it one to one."""
CASH = frozenset({"USD", "USDC", "EUR", "GBP"})
"""What Coinbase counts as cash: fiat, and USDC, which it redeems one to one."""


def parse_breakdown(value: bytes) -> PortfolioBreakdown:
    """Return REST's answer; its positions are JSON numbers (sample rest_portfolio_breakdown.json), read as Decimal.

    Raises:
        ValueError: It is not what the exchange sends.
    """
    try:
        body = json.loads(value, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)["breakdown"]
        balances, portfolio = body["portfolio_balances"], body["portfolio"]
        total = balances["total_balance"]
        return PortfolioBreakdown(
            uuid=str(portfolio["uuid"]),
            currency=str(total["currency"]),
            total_balance=parse_decimal(total["value"]),
            total_cash_equivalent_balance=parse_decimal(balances["total_cash_equivalent_balance"]["value"]),
            total_crypto_balance=parse_decimal(balances["total_crypto_balance"]["value"]),
            spot_positions=tuple(_position(entry) for entry in body["spot_positions"]),
        )
    except (KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as exc:
        raise ValueError(f"not a breakdown: {type(exc).__name__} {str(exc)[:100]}") from exc


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _number(value: Any) -> Decimal:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return value


def _position(entry: Mapping[str, Any]) -> SpotPosition:
    return SpotPosition(
        asset=str(entry["asset"]),
        account_uuid=str(entry["account_uuid"]) or None,
        total_balance_crypto=_number(entry["total_balance_crypto"]),
        available_to_trade_crypto=_number(entry["available_to_trade_crypto"]),
        total_balance_fiat=_number(entry["total_balance_fiat"]),
        available_to_trade_fiat=_number(entry["available_to_trade_fiat"]),
        allocation=_number(entry["allocation"]),
        is_cash=bool(entry["is_cash"]),
    )


def compute_breakdown(
    accounts: Iterable[Account], prices: Mapping[str, Decimal], *, uuid: str
) -> PortfolioBreakdown:
    """Return what the accounts are worth, in the shape of REST's spot positions. Empty wallets are left out.

    Args:
        prices: Of one unit of an asset in dollars; those of dollars need not be among them.
    """
    held = [account for account in accounts if account.available + account.hold]
    worth: dict[str, Decimal] = {}
    for account in held:
        is_dollar = account.currency == DOLLAR or account.currency in AS_DOLLAR
        price = Decimal(1) if is_dollar else prices.get(account.currency)
        if price is not None:
            worth[account.currency] = (account.available + account.hold) * price
    unpriced = tuple(account.currency for account in held if account.currency not in worth)
    total = None if unpriced else sum(worth.values(), Decimal(0))
    cash = sum((value for asset, value in worth.items() if asset in CASH), Decimal(0))
    return PortfolioBreakdown(
        uuid=uuid,
        currency=DOLLAR,
        total_balance=total,
        total_cash_equivalent_balance=cash,
        total_crypto_balance=None if total is None else total - cash,
        spot_positions=tuple(_computed(account, worth, total) for account in held),
        unpriced=unpriced,
    )


def _computed(account: Account, worth: Mapping[str, Decimal], total: Decimal | None) -> SpotPosition:
    units = account.available + account.hold
    value = worth.get(account.currency)
    return SpotPosition(
        asset=account.currency,
        account_uuid=account.uuid or None,
        total_balance_crypto=units,
        available_to_trade_crypto=account.available,
        total_balance_fiat=value,
        available_to_trade_fiat=None if value is None else value * account.available / units,
        allocation=None if value is None or not total else value / total,
        is_cash=account.currency in CASH,
    )
