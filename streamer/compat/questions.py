"""What a request of the SDK asks for: its kind, its budget, its urgency, and the question it is to us. Pure.

A question is only what can be answered as the exchange would, so a parameter that is not known here makes it none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamer.errors import ConfigError
from streamer.gateway.requests import MAX_CANDLES
from streamer.model import Granularity, Priority, ProductId, is_product_id, parse_granularity
from streamer.providers.base import Budget

_PREFIX: Final = "/api/v3/brokerage/"
_PUBLIC: Final = ("market/", "time")
_AREAS: Final = frozenset(
    {"accounts", "best_bid_ask", "cfm", "convert", "intx", "key_permissions", "orders", "payment_methods"}
    | {"portfolios", "product_book", "products", "time", "transaction_summary"}
)
"""First words of the paths of SDK 1.8.4: counters have names from here, and a path may be anything."""
_PREVIEWS: Final = frozenset({"orders/preview", "orders/edit_preview"})
_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_KINDS: Final = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "product": r"products/([^/]+)",
        "products": r"products",
        "best_bid_ask": r"best_bid_ask",
        "candles": r"products/([^/]+)/candles",
        "accounts": r"accounts",
        "account": rf"accounts/{_UUID}",
        "breakdown": rf"portfolios/{_UUID}",
    }.items()
}
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class ProductQuestion:
    """One product; `GetProductResponse`."""

    product_id: ProductId


@dataclass(frozen=True, slots=True)
class ProductsQuestion:
    """Products by name; `ListProductsResponse`. All of them are more than any stream has."""

    product_ids: tuple[ProductId, ...]


@dataclass(frozen=True, slots=True)
class QuotesQuestion:
    """Best bid and ask of products by name; `GetBestBidAskResponse`."""

    product_ids: tuple[ProductId, ...]


@dataclass(frozen=True, slots=True)
class CandlesQuestion:
    """Candles of a window, both ends included; `GetProductCandlesResponse`.

    Attributes:
        limit: At most so many, the newest.
    """

    product_id: ProductId
    granularity: Granularity
    start_s: int
    end_s: int
    limit: int


@dataclass(frozen=True, slots=True)
class WalletsQuestion:
    """A page of wallets, or one of them; what stays of it is what the exchange has said to the same key."""

    path: str
    params: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class BreakdownQuestion:
    """What a portfolio is worth; profit and cost are only in the exchange's own answer."""

    path: str
    params: tuple[tuple[str, str], ...]


Question = (
    ProductQuestion | ProductsQuestion | QuotesQuestion | CandlesQuestion | WalletsQuestion | BreakdownQuestion
)


def kind_of(method: str, path: str) -> str:
    """Return what a request is counted as: one of few words."""
    if method == "GET":
        below = _below(path).removeprefix("market/")
        for kind, pattern in _KINDS.items():
            if pattern.fullmatch(below):
                return kind
    return OTHER


def route_of(method: str, path: str) -> str:
    """Return the name of a request among REST calls: its kind, else where it belongs to; one of few words."""
    kind = kind_of(method, path)
    area = _below(path).removeprefix("market/").partition("/")[0]
    return kind if kind != OTHER else area if area in _AREAS else OTHER


def budget_of(path: str) -> Budget:
    """Return whose limit a request counts against."""
    return Budget.MARKET if _below(path).startswith(_PUBLIC) else Budget.PRIVATE


def priority_of(method: str, path: str, otherwise: Priority) -> Priority:
    """Return how urgent a request is: what changes something goes first, the others as their caller says."""
    is_read = method == "GET" or _below(path) in _PREVIEWS
    return otherwise if is_read else Priority.TRADING


def question_of(method: str, path: str, params: Mapping[str, Any] | None) -> Question | None:
    """Return what a request asks us; None where the exchange is to be asked.

    Args:
        params: As the SDK has them: values of any type, None for what is not given.
    """
    kind = kind_of(method, path)
    given = {name: value for name, value in (params or {}).items() if value is not None}
    below = _below(path).removeprefix("market/")
    match kind:
        case "product":
            return _product(below.partition("/")[2], given)
        case "products":
            ids = _ids(given, also={"product_type"}, unset={"get_tradability_status", "get_all_products"})
            return None if ids is None or given.get("product_type", "SPOT") != "SPOT" else ProductsQuestion(ids)
        case "best_bid_ask":
            ids = _ids(given)
            return None if ids is None else QuotesQuestion(ids)
        case "candles":
            return _candles(below.split("/")[1], given)
        case "accounts" | "account":
            return WalletsQuestion(path, _as_texts(given))
        case "breakdown":
            return BreakdownQuestion(path, _as_texts(given))
    return None


def _below(path: str) -> str:
    return path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""


def _is_only(given: Mapping[str, Any], known: Collection[str] = (), unset: Collection[str] = ()) -> bool:
    """Whether there is nothing but what is known, and what may only be there to say no."""
    return all(name in known or (name in unset and value is False) for name, value in given.items())


def _ids(
    given: Mapping[str, Any], *, also: Collection[str] = (), unset: Collection[str] = ()
) -> tuple[ProductId, ...] | None:
    ids = given.get("product_ids")
    if not _is_only(given, {"product_ids", *also}, unset) or not isinstance(ids, list | tuple) or not ids:
        return None
    if not all(isinstance(name, str) and is_product_id(name) for name in ids) or len(set(ids)) < len(ids):
        return None
    return tuple(ids)


def _product(name: str, given: Mapping[str, Any]) -> ProductQuestion | None:
    if not _is_only(given, unset={"get_tradability_status"}) or not is_product_id(name):
        return None
    return ProductQuestion(ProductId(name))


def _candles(name: str, given: Mapping[str, Any]) -> CandlesQuestion | None:
    limit = given.get("limit", MAX_CANDLES)
    if not _is_only(given, {"start", "end", "granularity", "limit"}) or not is_product_id(name):
        return None
    try:
        start_s, end_s, limit = (_whole(value) for value in (given.get("start"), given.get("end"), limit))
        granularity = parse_granularity(given.get("granularity", ""))
    except (ValueError, ConfigError):
        return None
    if end_s < start_s or not 1 <= limit <= MAX_CANDLES:
        return None
    if end_s // granularity.seconds - -(-start_s // granularity.seconds) >= MAX_CANDLES:
        return None  # the exchange refuses those, in its own words
    return CandlesQuestion(ProductId(name), granularity, start_s, end_s, limit)


def _whole(value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 12):
        raise ValueError(text[:20])
    return int(text)


def _as_texts(given: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in given.items()))
