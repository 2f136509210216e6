"""A product as the exchange describes it, to values of ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from streamer.model import Product, ProductId, Ticker, is_product_id
from streamer.store.records import parse_decimal


def parse_product(facts: Mapping[str, Any]) -> Product:
    """Return a product; what the exchange leaves empty is None.

    Raises:
        ValueError: It has no id that could become part of a key, or a number that is none.
    """
    product_id, alias = facts.get("product_id"), facts.get("alias")
    if not isinstance(product_id, str) or not is_product_id(product_id):
        raise ValueError(f"{str(product_id)[:40]!r} is not a product id")
    is_alias = isinstance(alias, str) and is_product_id(alias)
    return Product(
        product_id=ProductId(product_id),
        status=_text(facts, "status"),
        base=_text(facts, "base_currency_id") or product_id.partition("-")[0],
        quote=_text(facts, "quote_currency_id") or product_id.rpartition("-")[2],
        price=_number(facts, "price"),
        price_increment=_number(facts, "price_increment"),
        base_increment=_number(facts, "base_increment"),
        quote_increment=_number(facts, "quote_increment"),
        base_min_size=_number(facts, "base_min_size"),
        alias_of=ProductId(alias) if is_alias and isinstance(alias, str) else None,
        facts=facts,
    )


def ticker_of(product: Product, time: datetime) -> Ticker:
    """Return what a product's facts say of its price; bid and ask they do not tell.

    Raises:
        ValueError: They have no price.
    """
    if product.price is None:
        raise ValueError(f"{product.product_id} has no price")
    return Ticker(
        product_id=product.product_id,
        price=product.price,
        time=time,
        volume_24_h=_number(product.facts, "volume_24h"),
        price_percent_chg_24_h=_number(product.facts, "price_percentage_change_24h"),
        alias_of=product.alias_of,
        status=product.status if product.status not in ("", "online") else None,
    )


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _number(facts: Mapping[str, Any], name: str) -> Decimal | None:
    value = facts.get(name)
    return parse_decimal(value) if isinstance(value, str) and value else None
