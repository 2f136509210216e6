"""All providers at a fake, a real Redis, and desks as of several processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from streamer.simulator.providers.server import ProviderFake, serving
from tests.integration.data.rig import Party, environment, joined
from tests.support import RedisServer

Join = Callable[..., Awaitable[Party]]


@pytest.fixture
async def fake() -> AsyncIterator[ProviderFake]:
    """All providers, on paid plans and without limits of their own: what is held back, we hold back."""
    async with serving() as made:
        for name in ("polygon", "eodhd", "alphavantage", "coinmarketcap"):
            made.command({"plan": "paid", "provider": name})
        made.command({"limits": "off"})
        yield made


@pytest.fixture
async def join(redis: RedisServer, fake: ProviderFake, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Join]:
    """Makes desks, each with connections of its own; words are settings beside the usual ones."""
    async with AsyncExitStack() as stack:

        async def made(**changed: str) -> Party:
            for name, value in environment(fake, **changed).items():
                monkeypatch.setenv(name, value)
            return await stack.enter_async_context(joined(redis.url))

        yield made


@pytest.fixture
async def party(join: Join) -> Party:
    """One of them."""
    return await join()
