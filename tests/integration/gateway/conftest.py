"""A REST source that answers as told, and gateways as of several processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from streamer.gateway.gateway import Gateway
from streamer.gateway.group import MarkingGate
from streamer.gateway.requests import Requests
from streamer.model import Account, Bucket, Granularity, ProductId, Source
from streamer.providers.base import ANY, Budget, Call, CallCounts, Gate, OpenGate
from streamer.store.connect import Store
from streamer.store.keys import Keys
from tests.support import RedisServer

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")


@dataclass
class FakeRest:
    """Answers from memory. What it gets wrong: it does no paging, and candles are all alike.

    Attributes:
        asked: Every question, with the call it was asked for.
        delay_s: How long an answer takes.
        error: Raised instead of answering.
        refuses: Whether one unknown id makes it refuse all of a question.
    """

    gate: Gate = field(default_factory=OpenGate)
    asked: list[tuple[str, Any, Call]] = field(default_factory=list)
    delay_s: float = 0.0
    error: Exception | None = None
    refuses: bool = False
    counts: CallCounts = field(default_factory=CallCounts)
    source: Source = Source.SIMULATOR
    has_key: bool = True
    price: int = 100

    async def _answer(self, route: str, what: Any, call: Call, budget: Budget = Budget.MARKET) -> None:
        async def send() -> None:
            self.asked.append((route, what, call))
            await asyncio.sleep(self.delay_s)
            if self.error is not None:
                raise self.error

        await self.gate.run(budget, route, call, send)

    async def accounts(self, call: Call = ANY) -> list[Account]:
        """One wallet."""
        await self._answer("accounts", None, call, Budget.PRIVATE)
        return [Account("u", "USD", Decimal(self.price), Decimal(0))]

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        """A candle for every bucket."""
        await self._answer("candles", product_id, call)
        starts = range(from_s, to_s + 1, granularity.seconds)
        return [Bucket(start_s, "1", "2", "0.5", "1.5", "10") for start_s in starts]

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        """The products it knows."""
        from streamer.errors import RestRefused

        await self._answer("products", tuple(product_ids), call)
        if self.refuses and any(p not in PRODUCTS for p in product_ids):
            raise RestRefused("products", "HTTP 400", status=400)
        known = [p for p in PRODUCTS if not product_ids or p in product_ids]
        return [{"product_id": p, "price": str(self.price), "status": "online"} for p in known]

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        """Nothing."""
        await self._answer("portfolio_breakdown", uuid, call, Budget.PRIVATE)
        return {}

    def routes(self) -> list[str]:
        """What was asked, in order."""
        return [route for route, _, _ in self.asked]


@dataclass
class Party:
    """A gateway as of a process of its own."""

    gateway: Gateway[FakeRest]
    store: Store
    requests: Requests


Join = Callable[..., Party]


@pytest.fixture
async def rest() -> FakeRest:
    """The exchange, which all ask."""
    return FakeRest()


@pytest.fixture
async def join(redis: RedisServer, rest: FakeRest) -> AsyncIterator[Join]:
    """Makes gateways as of several processes, each with connections of its own."""
    async with AsyncExitStack() as stack:

        def made(source: FakeRest | None = None) -> Party:
            store = Store(redis.url, max_connections=50)
            gateway = Gateway(source or rest, store, Keys(), scope="coinbase")
            stack.push_async_callback(store.close)
            stack.push_async_callback(gateway.close)
            return Party(gateway, store, Requests(Keys()))

        yield made


class GateThatWaits:
    """Lets calls through when told to; remembers who waits."""

    def __init__(self) -> None:
        self.waiting: list[Call] = []
        self.left: list[Call] = []
        self.open = asyncio.Event()

    async def run(self, budget: Budget, route: str, call: Call, send: Callable[[], Awaitable[Any]]) -> Any:
        """Wait, then send."""
        self.waiting.append(call)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.left.append(call)
            raise
        return await send()


@pytest.fixture
def closed_gate(rest: FakeRest) -> GateThatWaits:
    """A gate in front of the exchange that is closed."""
    gate = GateThatWaits()
    rest.gate = MarkingGate(gate)
    return gate
