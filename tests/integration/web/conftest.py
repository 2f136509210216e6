"""A service over a filled Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.web.rig import TOKEN, Api, Full, settings
from tests.support import RedisServer


@pytest.fixture
def world(redis: RedisServer) -> Full:
    """Something of everything in Redis."""
    made = Full(redis)
    made.fill()
    return made


@pytest.fixture
async def api(redis: RedisServer, world: Full) -> AsyncIterator[Api]:
    """A service without a token, as on a loopback address."""
    async with Api(redis.url, settings()) as made:
        yield made


@pytest.fixture
async def guarded(redis: RedisServer, world: Full) -> AsyncIterator[Api]:
    """A service with a token."""
    async with Api(redis.url, settings(api_token=TOKEN)) as made:
        yield made
