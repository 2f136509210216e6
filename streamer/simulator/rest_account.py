"""Accounts, portfolios, orders and fills over REST: what a key may see of itself. Pure.

The bank knows the money; here it is put into pages and added up. Sums are decimals to the end, also where the
exchange writes JSON numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

import orjson

from streamer.simulator.clock import Clock
from streamer.simulator.keys import JwtChecker
from streamer.simulator.market import Market
from streamer.simulator.past import plain
from streamer.simulator.rest_ask import Ask, page
from streamer.simulator.rest_errors import not_found

_CASH = frozenset({"USD", "USDC"})
_CENT = Decimal("0.01")
_FEES: dict[str, Any] = {
    "pricing_tier": "Intro 1",
    "usd_from": "",
    "usd_to": "",
    "taker_fee_rate": "0.012",
    "maker_fee_rate": "0.006",
    "aop_from": "0",
    "aop_to": "1000000",
    "perps_vol_from": "",
    "perps_vol_to": "",
    "futures_vol_from": "",
    "futures_vol_to": "",
    "volume_types_and_range": [
        {"volume_types": ["VOLUME_TYPE_SPOT", "VOLUME_TYPE_US_DERIVATIVES"], "vol_from": "0", "vol_to": "10000"}
    ],
}


class Books(Protocol):
    """What the bank tells about a key; each list of REST objects is whole, orders and fills newest first."""

    def portfolio_uuid(self, key_name: str) -> str:
        """Return the portfolio a key is bound to."""

    def accounts(self, key_name: str, now_s: float) -> list[dict[str, Any]]:
        """Return the accounts, in an order that stays."""

    def orders(self, key_name: str, now_s: float) -> list[dict[str, Any]]:
        """Return the orders."""

    def fills(self, key_name: str) -> list[dict[str, Any]]:
        """Return the fills."""


class RestAccount:
    """The account desk.

    Args:
        bank: Who knows the money.
        market: What it is worth.
        checker: What the keys may do.
        clock: The exchange's clock; what the bank shows late is reckoned by the true time.
    """

    def __init__(self, bank: Books, market: Market, checker: JwtChecker, clock: Clock) -> None:
        self._bank, self._market, self._checker, self._clock = bank, market, checker, clock

    def _accounts(self, ask: Ask) -> list[dict[str, Any]]:
        return self._bank.accounts(ask.key_name, self._clock.true_ns() / 1e9)

    def _orders(self, ask: Ask) -> list[dict[str, Any]]:
        return self._bank.orders(ask.key_name, self._clock.true_ns() / 1e9)

    def accounts(self, ask: Ask) -> dict[str, Any]:
        """`GET /accounts`."""
        found, cursor = page(self._accounts(ask), "uuid", ask.whole("limit", 1, 250) or 49, ask)
        return {"accounts": found, "has_next": bool(cursor), "cursor": cursor, "size": len(found)}

    def account(self, ask: Ask) -> dict[str, Any]:
        """`GET /accounts/{account_uuid}`."""
        return {"account": _find(self._accounts(ask), "uuid", ask.params["account_uuid"], "account not found")}

    def _portfolio(self, ask: Ask) -> dict[str, Any]:
        uuid = self._bank.portfolio_uuid(ask.key_name)
        return {"name": "Default", "uuid": uuid, "type": "DEFAULT", "deleted": False}

    def portfolios(self, ask: Ask) -> dict[str, Any]:
        """`GET /portfolios`."""
        is_wanted = (ask.one("portfolio_type") or "DEFAULT") in ("DEFAULT", "UNDEFINED")
        return {"portfolios": [self._portfolio(ask)] if is_wanted else []}

    def breakdown(self, ask: Ask) -> dict[str, Any]:
        """`GET /portfolios/{portfolio_uuid}`; balances of zero are left out of the positions."""
        portfolio = self._portfolio(ask)
        if ask.params["portfolio_uuid"] != portfolio["uuid"]:
            raise not_found("portfolio not found")
        held = [(account, _total(account)) for account in self._accounts(ask)]
        worth = {a["currency"]: (total * self._price(a["currency"])).quantize(_CENT) for a, total in held}
        cash = sum((worth[a["currency"]] for a, _ in held if a["currency"] in _CASH), Decimal("0.00"))
        total = sum(worth.values(), Decimal("0.00"))
        balances = {
            "total_balance": total,
            "total_futures_balance": Decimal("0.00"),
            "total_cash_equivalent_balance": cash,
            "total_crypto_balance": total - cash,
            "futures_unrealized_pnl": Decimal("0.00"),
            "perp_unrealized_pnl": Decimal("0.00"),
        }
        positions = [self._position(a, size, worth[a["currency"]], total) for a, size in held if size]
        return {
            "breakdown": {
                "portfolio": portfolio,
                "portfolio_balances": {name: _usd(format(value, "f")) for name, value in balances.items()},
                "spot_positions": positions,
                "perp_positions": [],
                "futures_positions": [],
            }
        }

    def _position(self, account: dict[str, Any], size: Decimal, fiat: Decimal, all_fiat: Decimal) -> dict[str, Any]:
        currency = account["currency"]
        free = Decimal(account["available_balance"]["value"])
        free_fiat = (free * self._price(currency)).quantize(_CENT)
        share = fiat / all_fiat if all_fiat else Decimal(0)
        return {
            "asset": currency,
            "account_uuid": account["uuid"],
            "total_balance_fiat": _number(fiat),
            "total_balance_crypto": _number(size),
            "available_to_trade_fiat": _number(free_fiat),
            "allocation": _number(share.quantize(Decimal("1e-8"))),
            "one_day_change": _number(Decimal(0)),
            "cost_basis": _usd(plain(fiat)),
            "asset_img_url": "",
            "is_cash": currency in _CASH,
            "average_entry_price": _usd(plain(self._price(currency))),
            "asset_uuid": "",
            "available_to_trade_crypto": _number(free),
            "unrealized_pnl": _number(Decimal(0)),
            "available_to_transfer_fiat": _number(free_fiat),
            "available_to_transfer_crypto": _number(free),
            "asset_color": "",
            "account_type": account["type"],
        }

    def _price(self, currency: str) -> Decimal:
        if currency in _CASH:
            return Decimal(1)
        ticker = self._market.latest(f"{currency}-USD") or {}
        return Decimal(ticker.get("price") or 0)

    def key_permissions(self, ask: Ask) -> dict[str, Any]:
        """`GET /key_permissions`."""
        may = {f"can_{scope}": self._checker.may(ask.key_name, scope) for scope in ("view", "trade", "transfer")}
        return {**may, "portfolio_uuid": self._bank.portfolio_uuid(ask.key_name), "portfolio_type": "DEFAULT"}

    def transaction_summary(self, ask: Ask) -> dict[str, Any]:
        """`GET /transaction_summary`."""
        fills = self._bank.fills(ask.key_name)
        values = (Decimal(f["size"]) * (1 if f["size_in_quote"] else Decimal(f["price"])) for f in fills)
        volume = _number(sum(values, Decimal(0)).quantize(_CENT))
        fees = _number(sum((Decimal(f["commission"]) for f in fills), Decimal(0)).quantize(_CENT))
        worth = sum((_total(a) * self._price(a["currency"]) for a in self._accounts(ask)), Decimal(0))
        return {
            "total_volume": volume,
            "total_fees": fees,
            "fee_tier": _FEES,
            "margin_rate": None,
            "goods_and_services_tax": None,
            "advanced_trade_only_volume": volume,
            "advanced_trade_only_fees": fees,
            "coinbase_pro_volume": 0,
            "coinbase_pro_fees": 0,
            "total_balance": format(worth.quantize(_CENT), "f"),
            "has_promo_fee": False,
            "volume_breakdown": [
                {"volume_type": "VOLUME_TYPE_SPOT", "volume": volume},
                {"volume_type": "VOLUME_TYPE_US_DERIVATIVES", "volume": 0},
            ],
            "has_cost_plus_commission": False,
        }

    def orders(self, ask: Ask) -> dict[str, Any]:
        """`GET /orders/historical/batch`."""
        sides = [side for side in ask.many("order_side") if side != "UNKNOWN_ORDER_SIDE"]
        filters = {
            "order_id": ask.many("order_ids"),
            "product_id": ask.many("product_ids"),
            "status": ask.many("order_status"),
            "side": sides,
        }
        found, cursor = page(_only(self._orders(ask), filters), "order_id", ask.whole("limit", 1) or 1000, ask)
        return {"orders": found, "sequence": "0", "has_next": bool(cursor), "cursor": cursor}

    def order(self, ask: Ask) -> dict[str, Any]:
        """`GET /orders/historical/{order_id}`."""
        return {"order": _find(self._orders(ask), "order_id", ask.params["order_id"], "order not found")}

    def fills(self, ask: Ask) -> dict[str, Any]:
        """`GET /orders/historical/fills`; no `has_next`, the end is an empty cursor."""
        names = ("order_id", "trade_id", "product_id")
        filters = {name: ask.many(f"{name}s") for name in names}
        wanted = _only(self._bank.fills(ask.key_name), filters)
        found, cursor = page(wanted, "entry_id", ask.whole("limit", 1) or 100, ask)
        return {"fills": found, "cursor": cursor}


def _only(items: Sequence[dict[str, Any]], filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    kept = {name: values for name, values in filters.items() if values}
    return [item for item in items if all(item[name] in values for name, values in kept.items())]


def _find(items: Sequence[dict[str, Any]], name: str, wanted: str, missing: str) -> dict[str, Any]:
    for item in items:
        if item[name] == wanted:
            return item
    raise not_found(missing)


def _total(account: dict[str, Any]) -> Decimal:
    return Decimal(account["available_balance"]["value"]) + Decimal(account["hold"]["value"])


def _usd(value: str) -> dict[str, str]:
    return {"value": value, "currency": "USD"}


def _number(value: Decimal) -> orjson.Fragment:
    # A JSON number, without ever being a float.
    return orjson.Fragment(plain(value))
