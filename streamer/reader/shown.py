"""Readings as JSON: money as strings, ages in seconds. One shape for commands, HTTP and pushed events. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from streamer.model import Account, Balance, Candle, PortfolioBreakdown, Product, Reading, SpotPosition, Ticker

Json = dict[str, Any]


def provenance(reading: Reading[Any]) -> Json:
    """Return what every answer says of itself."""
    return {
        "tier": reading.tier.value,
        "age_s": round(reading.age_s, 3),
        "value_age_s": round(reading.value_age_s, 3),
        "as_of": reading.as_of.isoformat(),
        "source": reading.source,
        "reason": reading.reason,
    }


def ticker_json(reading: Reading[Ticker]) -> Json:
    """Return a ticker."""
    ticker = reading.value
    return {
        "product_id": ticker.product_id,
        "price": str(ticker.price),
        "best_bid": _text(ticker.best_bid),
        "best_bid_quantity": _text(ticker.best_bid_quantity),
        "best_ask": _text(ticker.best_ask),
        "best_ask_quantity": _text(ticker.best_ask_quantity),
        "volume_24_h": _text(ticker.volume_24_h),
        "low_24_h": _text(ticker.low_24_h),
        "high_24_h": _text(ticker.high_24_h),
        "low_52_w": _text(ticker.low_52_w),
        "high_52_w": _text(ticker.high_52_w),
        "price_percent_chg_24_h": _text(ticker.price_percent_chg_24_h),
        **provenance(reading),
        "alias_of": ticker.alias_of,
        "status": ticker.status,
    }


def balance_json(reading: Reading[Balance]) -> Json:
    """Return the balance of one currency."""
    balance = reading.value
    return {
        "currency": balance.currency,
        "available": _plain(balance.available),
        "hold": _plain(balance.hold),
        "total": _plain(balance.total),
        "basis": balance.basis.value,
        **provenance(reading),
        "account_uuid": balance.account_uuid,
    }


def accounts_json(reading: Reading[tuple[Account, ...]]) -> Json:
    """Return all wallets."""
    return {"accounts": [_account(account) for account in reading.value], **provenance(reading)}


def candles_json(reading: Reading[tuple[Candle, ...]]) -> Json:
    """Return candles, oldest first."""
    return {"candles": [_candle(candle) for candle in reading.value], **provenance(reading)}


def products_json(reading: Reading[tuple[Product, ...]]) -> Json:
    """Return the rules of every product."""
    return {"products": [_product(product) for product in reading.value], **provenance(reading)}


def breakdown_json(reading: Reading[PortfolioBreakdown]) -> Json:
    """Return what a portfolio is worth and made of."""
    told = reading.value
    return {
        "uuid": told.uuid,
        "currency": told.currency,
        "total_balance": _text(told.total_balance),
        "total_cash_equivalent_balance": _text(told.total_cash_equivalent_balance),
        "total_crypto_balance": _text(told.total_crypto_balance),
        "spot_positions": [_position(position) for position in told.spot_positions],
        "unpriced": list(told.unpriced),
        **provenance(reading),
    }


def _account(account: Account) -> Json:
    return {
        "uuid": account.uuid,
        "currency": account.currency,
        "available": _plain(account.available),
        "hold": _plain(account.hold),
        "total": _plain(account.available + account.hold),
    }


def _candle(candle: Candle) -> Json:
    values = {name: _plain(getattr(candle, name)) for name in ("open", "high", "low", "close", "volume")}
    return {"start_s": candle.start_s, **values, "closed": candle.closed}


def _product(product: Product) -> Json:
    return {
        "product_id": product.product_id,
        "status": product.status,
        "base": product.base,
        "quote": product.quote,
        "price": _text(product.price),
        "price_increment": _text(product.price_increment),
        "base_increment": _text(product.base_increment),
        "quote_increment": _text(product.quote_increment),
        "base_min_size": _text(product.base_min_size),
        "alias_of": product.alias_of,
    }


def _position(position: SpotPosition) -> Json:
    return {
        "asset": position.asset,
        "account_uuid": position.account_uuid,
        "total_balance_crypto": _plain(position.total_balance_crypto),
        "available_to_trade_crypto": _plain(position.available_to_trade_crypto),
        "total_balance_fiat": _text(position.total_balance_fiat),
        "available_to_trade_fiat": _text(position.available_to_trade_fiat),
        "allocation": _text(position.allocation),
        "is_cash": position.is_cash,
    }


def _text(number: Decimal | None) -> str | None:
    return None if number is None else _plain(number)


def _plain(number: Decimal) -> str:
    return f"{number:f}"
