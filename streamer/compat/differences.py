"""How an answer of ours differs from the exchange's own. Pure.

Figures are made to be added up by many processes: sums and maxima, each under a name of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from streamer.compat.answers import MARKER

Json = dict[str, Any]
_BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One number for the comparison.

    Attributes:
        how: Whether it is added to the others or the largest of them counts.
        name: Such as "price:sum_bp".
    """

    how: Literal["sum", "max"]
    name: str
    number: Decimal


def differences(kind: str, ours: Json, theirs: Json) -> list[Figure]:
    """Return the figures of one comparison.

    Args:
        kind: "product", "best_bid_ask" or "accounts".
        ours: With the marker.

    Raises:
        ValueError: One of them is not what the exchange sends.
    """
    try:
        if kind == "accounts":
            found = list(_balances(ours["accounts"], theirs["accounts"]))
        elif kind == "product":
            found = _apart("price", [(ours["price"], theirs["price"])])
        else:
            found = _apart("bid_ask", _quotes(ours, theirs))
        age_ms = Decimal(str(ours[MARKER]["age_s"])) * 1000
    except (KeyError, IndexError, TypeError, ArithmeticError) as exc:
        raise ValueError(f"not what the exchange sends: {type(exc).__name__}") from exc
    return [*found, _sum("age_ms:count", 1), _sum("age_ms:sum", age_ms), Figure("max", "age_ms:max", age_ms)]


def _quotes(ours: Json, theirs: Json) -> list[tuple[str, str]]:
    by_id = {book["product_id"]: book for book in theirs["pricebooks"]}
    return [
        (book[side][0]["price"], by_id[book["product_id"]][side][0]["price"])
        for book in ours["pricebooks"]
        for side in ("bids", "asks")
    ]


def _apart(what: str, pairs: Iterable[tuple[str, str]]) -> list[Figure]:
    figures: list[Figure] = []
    for ours, theirs in pairs:
        apart = abs(Decimal(ours) - Decimal(theirs)) / Decimal(theirs) * _BASIS_POINTS
        rounded = apart.quantize(Decimal("0.0001"))
        figures += [
            _sum(f"{what}:count", 1),
            _sum(f"{what}:sum_bp", rounded),
            Figure("max", f"{what}:max_bp", rounded),
        ]
    return figures


def _balances(ours: Iterable[Json], theirs: Iterable[Json]) -> Iterable[Figure]:
    told = {wallet["uuid"]: _amounts(wallet) for wallet in theirs}
    for wallet in ours:
        yield _sum("balance:count", 1)
        yield _sum("balance:different", int(told.get(wallet["uuid"]) != _amounts(wallet)))


def _amounts(wallet: Json) -> tuple[Decimal, Decimal]:
    return Decimal(wallet["available_balance"]["value"]), Decimal(wallet["hold"]["value"])


def _sum(name: str, number: Decimal | int) -> Figure:
    return Figure("sum", name, Decimal(number))
