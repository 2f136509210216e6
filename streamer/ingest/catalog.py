"""What is known of the products: facts from REST, their state from the status channel, aliases. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from streamer.coinbase.messages import ProductFields
from streamer.coinbase.session import canonical_by_rule
from streamer.model import ProductId

ONLINE = ("online", "")
"""States in which a product trades; futures have an empty one."""


class Catalog:
    """All products of the exchange.

    Attributes:
        facts: What REST said of each, with the newest state; empty before the first answer.
    """

    def __init__(self) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        self._status: dict[str, str] = {}
        self._alias_of: dict[str, str] = {}

    def learn(self, products: Iterable[Mapping[str, Any]]) -> bool:
        """Take the answer of REST; return whether an alias has changed.

        A state told by the status channel stays: that is the newer one.
        """
        facts = {p["product_id"]: dict(p) for p in products if isinstance(p.get("product_id"), str)}
        aliases = {i: p["alias"] for i, p in facts.items() if isinstance(p.get("alias"), str) and p["alias"]}
        changed = aliases != self._alias_of
        self.facts, self._alias_of = facts, aliases
        for product_id, fact in facts.items():
            if product_id in self._status:
                fact["status"] = self._status[product_id]
        return changed

    def tell(self, products: Sequence[ProductFields]) -> bool:
        """Take what the status channel says; return whether a state has changed."""
        changed = False
        for product in products:
            if self._status.get(product.id) != product.status:
                self._status[product.id] = product.status
                changed = True
                if product.id in self.facts:
                    self.facts[product.id]["status"] = product.status
        return changed

    def canonical(self, product_id: str) -> str:
        """Return the id under which the exchange labels a product's public data."""
        if product_id in self.facts:
            return self._alias_of.get(product_id, product_id)
        return canonical_by_rule(product_id)

    def offline(self, product_ids: Collection[ProductId]) -> dict[ProductId, str]:
        """Return those that do not trade at present, each with the exchange's word for it."""
        states = {product_id: self._state(product_id) for product_id in product_ids}
        return {product_id: status for product_id, status in states.items() if status not in ONLINE}

    def _state(self, product_id: str) -> str:
        """What the status channel says of a product or of what it is an alias of, else what REST said of them."""
        told = [self._status.get(name) for name in (product_id, self.canonical(product_id))]
        told += [self.facts.get(name, {}).get("status") for name in (product_id, self.canonical(product_id))]
        return next((status for status in told if isinstance(status, str)), "")
