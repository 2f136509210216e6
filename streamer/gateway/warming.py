"""A REST source whose answers are kept for others: what the ingester asks for itself warms the copies of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from streamer.errors import StoreUnavailable
from streamer.gateway.cache import CopyStore
from streamer.gateway.requests import AccountsRequest, Request, Requests, TickerRequest, encode_accounts
from streamer.model import Account, Bucket, Granularity, ProductId, Source
from streamer.providers.base import ANY, Call, CallCounts, RestSource
from streamer.store.connect import Store
from streamer.store.copies import StoredCopy, encode_value
from streamer.store.keys import Keys


class WarmingSource:
    """Passes every question on; of the answers it keeps the accounts, and the prices of hot products.

    Args:
        hot: The products whose prices are worth keeping.
    """

    def __init__(
        self, rest: RestSource, store: Store, keys: Keys, hot: Callable[[], Collection[ProductId]]
    ) -> None:
        self._rest, self._store, self._hot = rest, store, hot
        self._copies, self._requests = CopyStore(store), Requests(keys)

    @property
    def counts(self) -> CallCounts:
        """Calls made so far."""
        return self._rest.counts

    @property
    def source(self) -> Source:
        """Who answers, as far as is known."""
        return self._rest.source

    @property
    def has_key(self) -> bool:
        """Whether what belongs to the account can be asked."""
        return self._rest.has_key

    async def accounts(self, call: Call = ANY) -> list[Account]:
        """Return all wallets of the key's portfolio, and keep them."""
        accounts = await self._rest.accounts(call)
        await self._keep({self._requests.accounts(): encode_accounts(accounts)})
        return accounts

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        """Return candles; the stream keeps those."""
        return await self._rest.candles(product_id, granularity, from_s, to_s, call)

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        """Return products, and keep the prices of hot ones: until the stream has them, readers find them there."""
        products = await self._rest.products(product_ids, call)
        hot = set(self._hot())
        named = {name: facts for facts in products if isinstance(name := facts.get("product_id"), str)}
        priced = {name: facts for name, facts in named.items() if name in hot and facts.get("price")}
        await self._keep({self._requests.ticker(ProductId(p)): encode_value(facts) for p, facts in priced.items()})
        return products

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        """Return `breakdown` of a portfolio."""
        return await self._rest.portfolio_breakdown(uuid, call)

    async def _keep(self, values: Mapping[AccountsRequest | TickerRequest, bytes]) -> None:
        kept: list[tuple[Request[Any], StoredCopy]] = []
        with suppress(StoreUnavailable):  # who misses it asks for it
            seconds, micros = await self._store.answer(self._store.client.time())
            now_ms = seconds * 1000 + micros // 1000
            for request, value in values.items():
                kept.append((request, StoredCopy(self.source, now_ms, msgspec.Raw(value))))
            await self._copies.keep(kept)
