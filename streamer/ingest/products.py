"""Keeps the facts of all products in Redis: one REST call a day, the rest from the status channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
import structlog

from streamer.coinbase.messages import ProductFields
from streamer.errors import CallNotMade, RestError, RestUnavailable, StoreUnavailable
from streamer.ingest.catalog import Catalog
from streamer.ingest.refresh import RefreshPlan, RefreshRules
from streamer.model import Priority
from streamer.providers.base import Call, RestSource
from streamer.store.connect import Store
from streamer.store.keys import Keys

log = structlog.get_logger(__name__)

RULES = RefreshRules(spacing_s=60, period_s=24 * 3600, first_s=0, slowest_s=1800)
_RENEW_EVERY_S = Keys().products_copy.ttl_s / 3
_RETRY_S = 5.0
_CALL = Call(Priority.BACKGROUND, caller="ingest")


class ProductsKeeper:
    """Brings the two sources of product facts together, and their result to Redis.

    Args:
        rest: Where facts and aliases come from; without one there is nothing to put into Redis.
        on_aliases: Told that aliases have changed.
        on_state: Told that a product has come online or gone offline.

    Attributes:
        why: Why REST brings no products at present, None while it does.
    """

    def __init__(
        self,
        catalog: Catalog,
        rest: RestSource | None,
        store: Store,
        keys: Keys,
        *,
        on_aliases: Callable[[], None],
        on_state: Callable[[], None],
    ) -> None:
        self._catalog, self._rest, self._store, self._keys = catalog, rest, store, keys
        self._on_aliases, self._on_state = on_aliases, on_state
        self._wake = asyncio.Event()
        self._fetched_ms = 0
        self.why: str | None = None

    def take(self, products: Sequence[ProductFields]) -> None:
        """Take what the status channel says."""
        if self._catalog.tell(products):
            self._on_state()
            self.rewrite()

    def rewrite(self) -> None:
        """Have the facts written again: they have changed, or Redis has."""
        self._wake.set()

    async def run(self) -> None:
        """Ask once a day and keep Redis supplied, until cancelled; a call that waits holds up no write."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_asking(), name="products-ask")
            tasks.create_task(self._keep_writing(), name="products-write")

    async def _keep_asking(self) -> None:
        plan = RefreshPlan(RULES, time.monotonic())
        while True:
            await asyncio.sleep(max(0.0, plan.due_at - time.monotonic()))
            await self._ask(plan)

    async def _keep_writing(self) -> None:
        while True:
            self._wake.clear()
            retry_s = _RENEW_EVERY_S if await self._write() else _RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(retry_s):
                    await self._wake.wait()

    async def _ask(self, plan: RefreshPlan) -> None:
        assert self._rest is not None
        plan.asked(time.monotonic())
        try:
            products = await self._rest.products(call=_CALL)
            _check(products)
        except CallNotMade as exc:
            self._unavailable(exc)
            plan.put_off(time.monotonic(), retry_after_s=exc.retry_after_s)
            return
        except RestError as exc:
            self._unavailable(exc)
            plan.failed(time.monotonic(), retry_after_s=exc.retry_after_s)
            return
        self.why, self._fetched_ms = None, int(time.time() * 1000)
        plan.answered(time.monotonic(), settled=True)
        if self._catalog.learn(products):
            self._on_aliases()
        self._on_state()
        self.rewrite()

    def _unavailable(self, exc: RestError) -> None:
        if self.why is None:
            log.warning("products.unavailable", why=exc.why)
        self.why = exc.why

    async def _write(self) -> bool:
        """Write the facts and their stale copy; return whether there is nothing left to write."""
        if not self._fetched_ms:
            return True
        value = {"products": list(self._catalog.facts.values()), "num_products": len(self._catalog.facts)}
        assert self._rest is not None
        copy = orjson.dumps({"source": self._rest.source.value, "fetched_ms": self._fetched_ms, "value": value})
        where = self._keys.products_copy
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.set(where.key, copy, ex=where.ttl_s)
        pipeline.set(where.stale_key, copy, ex=where.stale_ttl_s)
        try:
            await self._store.answer(pipeline.execute())
        except StoreUnavailable:
            return False
        return True


def _check(products: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what could not be written later, and nothing at all: JSON knows what our encoder does not."""
    if not products:
        raise RestUnavailable("products", "an answer without any product")
    try:
        orjson.dumps(products)
    except TypeError as exc:
        raise RestUnavailable("products", f"an answer without sense: {exc}") from exc
