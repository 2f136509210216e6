"""What REST answers, decoded and checked. Pure; a body without sense raises ValueError.

Shapes are those of the documentation and of live captures (November 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from streamer.coinbase.messages import CandleFields, is_sound_candle
from streamer.model import Account, Bucket, Granularity, ProductId
from streamer.store.records import parse_decimal

_MOST_DIGITS = 100
"""No sum of money is so large or so fine; a number of a few bytes may stand for gigabytes of digits."""


class _Money(msgspec.Struct):
    value: str


class Wallet(msgspec.Struct):
    """One account as it is listed; a currency may have several."""

    uuid: str
    currency: str
    available_balance: _Money
    hold: _Money | None = None
    default: bool = False
    active: bool = True
    type: str = ""

    def parsed(self) -> Account:
        """Return the account with numbers; raises ValueError."""
        hold = parse_decimal(self.hold.value) if self.hold is not None else parse_decimal("0")
        return Account(self.uuid, self.currency, parse_decimal(self.available_balance.value), hold)


class AccountsPage(msgspec.Struct):
    """One page of accounts; `cursor` leads to the next one where there is one."""

    accounts: list[Wallet]
    has_next: bool = False
    cursor: str = ""


class _CandleFields(msgspec.Struct):
    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class _Candles(msgspec.Struct):
    candles: list[_CandleFields]


class _Products(msgspec.Struct):
    products: list[dict[str, Any]]


class _Breakdown(msgspec.Struct):
    breakdown: dict[str, Any]


def accounts_page(body: bytes) -> AccountsPage:
    """Return a page of `GET /accounts`; numbers are not looked at yet."""
    return msgspec.json.decode(body, type=AccountsPage)


def one_a_currency(wallets: Iterable[Wallet]) -> list[Account]:
    """Return for each currency the wallet that its orders are settled in, with numbers."""
    chosen: dict[str, Wallet] = {}
    for wallet in sorted(wallets, key=_preference):
        chosen.setdefault(wallet.currency, wallet)
    return [wallet.parsed() for wallet in chosen.values()]


def _preference(wallet: Wallet) -> tuple[bool, bool, bool]:
    return wallet.type.endswith("VAULT"), not wallet.active, not wallet.default


def candles(body: bytes, product_id: ProductId, granularity: Granularity) -> list[Bucket]:
    """Return the candles of an answer, oldest first. Of a bad list none is taken: holes would mean "no trades"."""
    found = []
    for c in msgspec.json.decode(body, type=_Candles).candles:
        if not is_sound_candle(CandleFields(c.start, c.open, c.high, c.low, c.close, c.volume, product_id)):
            raise ValueError("a candle of it cannot be")
        start_s = int(c.start)
        if start_s % granularity.seconds:
            raise ValueError(f"a candle of it is none of {granularity}")
        found.append(Bucket(start_s, c.open, c.high, c.low, c.close, c.volume))
    return sorted(found, key=lambda bucket: bucket.start_s)


def products(body: bytes) -> list[dict[str, Any]]:
    """Return the products of an answer, as they are described there."""
    return msgspec.json.decode(body, type=_Products).products


def breakdown(body: bytes) -> Mapping[str, Any]:
    """Return the breakdown of a portfolio; every number in it is a `Decimal`, digit for digit as it was sent."""
    exact: dict[str, Any] = _exact(_BREAKDOWN.decode(body).breakdown)
    return exact


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent beyond what a Decimal can hold
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS:
        raise ValueError("a number of it cannot be")
    return value


def _exact(value: Any) -> Any:
    """Return decoded JSON with its whole numbers made decimals like the others."""
    if isinstance(value, dict):
        return {name: _exact(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_exact(inside) for inside in value]
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


_BREAKDOWN = msgspec.json.Decoder(_Breakdown, float_hook=_decimal)
