"""Product facts on their way to Redis, with a REST and a Redis that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from streamer.errors import CircuitOpen, RestError, RestUnavailable
from streamer.ingest import products
from streamer.ingest.catalog import Catalog
from streamer.ingest.products import ProductsKeeper, _check
from streamer.ingest.refresh import RefreshRules
from streamer.model import Account, Bucket, Granularity, Priority, ProductId, Source
from streamer.providers.base import ANY, Call, CallCounts
from streamer.store.keys import Keys


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("odd", [2**70, nested(400)], ids=["a number beyond 64 bits", "nesting"])
def test_an_answer_that_cannot_be_written_is_no_answer(odd: Any) -> None:
    """Found at the time of writing it would end the process, prices and all."""
    with pytest.raises(RestUnavailable, match="without sense"):
        _check([{"product_id": "BTC-USD", "odd": odd}])
    _check([{"product_id": "BTC-USD", "odd": 2**60}])


class FakeRest:
    """Tells one product, when it is let; with an error while there are any."""

    def __init__(self) -> None:
        self.counts, self.source, self.has_key = CallCounts(), Source.COINBASE, True
        self.errors: list[RestError] = []
        self.calls: list[Call] = []
        self.opened = asyncio.Event()
        self.opened.set()

    async def accounts(self, call: Call = ANY) -> list[Account]:
        raise NotImplementedError

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        raise NotImplementedError

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        assert not product_ids
        self.calls.append(call)
        await self.opened.wait()
        if self.errors:
            raise self.errors.pop(0)
        return [{"product_id": "BTC-USD", "status": "online", "alias": "", "alias_to": []}]

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        raise NotImplementedError


class FakeStore:
    """Keeps what is set, as a store, its client and a pipeline in one."""

    def __init__(self) -> None:
        self.client = self
        self.written: list[tuple[str, bytes, int]] = []

    def pipeline(self, *, transaction: bool) -> FakeStore:
        return self

    def set(self, key: str, value: bytes, *, ex: int) -> None:
        self.written.append((key, value, ex))

    async def execute(self) -> None:
        await asyncio.sleep(0)

    async def answer(self, command: Awaitable[None]) -> None:
        await command


class Rig:
    """A keeper at work."""

    def __init__(self) -> None:
        self.rest, self.store, self.states = FakeRest(), FakeStore(), 0
        self.keeper = ProductsKeeper(
            Catalog(),
            self.rest,
            self.store,  # type: ignore[arg-type]
            Keys(),
            on_aliases=lambda: None,
            on_state=self._count,
        )

    def _count(self) -> None:
        self.states += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keeper.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), task.exception()


async def until(holds: Callable[[], object]) -> None:
    """Give the loop turns until `holds` does."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


async def test_what_was_told_is_written_at_once_with_its_stale_copy() -> None:
    """Each for as long as the contract says; the call is one that can wait."""
    rig = Rig()
    async with rig.running():
        await until(lambda: len(rig.store.written) == 2)
    assert [(key, ttl_s) for key, _, ttl_s in rig.store.written] == [
        ("products:all", 3600),
        ("products:all:stale", 86400),
    ]
    told = orjson.loads(rig.store.written[0][1])
    assert told["source"] == "coinbase"
    assert [product["product_id"] for product in told["value"]["products"]] == ["BTC-USD"]
    assert rig.rest.calls == [Call(Priority.BACKGROUND, caller="ingest")]
    assert rig.keeper.why is None


async def test_a_call_that_waits_for_its_turn_holds_up_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis may lose everything while it does: what is known is written again at once."""
    monkeypatch.setattr(products, "RULES", RefreshRules(spacing_s=0.01, period_s=0.05, first_s=0, slowest_s=1))
    rig = Rig()
    async with rig.running():
        await until(lambda: len(rig.store.written) >= 2)
        rig.rest.opened.clear()
        asked = len(rig.rest.calls)
        await until(lambda: len(rig.rest.calls) > asked)
        written = len(rig.store.written)
        rig.keeper.rewrite()
        await until(lambda: len(rig.store.written) == written + 2)


async def test_a_call_not_made_is_put_off_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again when that makes sense, and not ever more seldom."""
    monkeypatch.setattr(products, "RULES", RefreshRules(spacing_s=0.01, period_s=60, first_s=0, slowest_s=60))
    rig = Rig()
    rig.rest.errors = [CircuitOpen("products", "too many calls failed", retry_after_s=0.02) for _ in range(12)]
    async with rig.running():
        await until(lambda: rig.keeper.why == "too many calls failed")
        await until(lambda: rig.store.written)
        assert rig.keeper.why is None
        assert len(rig.rest.calls) == 13
