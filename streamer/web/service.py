"""What the routes work with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from streamer.data.desk import DataDesk
from streamer.errors import StoreUnavailable
from streamer.reader.reader import AsyncReader
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.store.wanted import WantedSet

MOST_CONNECTIONS: Final = 64
"""Questions to other providers take one or two each while they are under way."""


@dataclass(frozen=True, slots=True)
class Service:
    """One Redis, and what there is to ask and to change in it. Needs no ingester in this process."""

    settings: Settings
    store: Store
    keys: Keys
    reader: AsyncReader
    wanted: WantedSet
    data: DataDesk

    @classmethod
    def of(cls, redis_url: str, settings: Settings) -> Service:
        """Return a service over a Redis; nothing is connected until it is asked."""
        store, keys = Store(redis_url, max_connections=MOST_CONNECTIONS), Keys(settings.key_prefix)
        reader = AsyncReader(redis_url, caller="api", settings=settings)
        return cls(settings, store, keys, reader, WantedSet(store, keys), DataDesk(reader, store, settings))

    async def close(self) -> None:
        """Close the connections."""
        await self.data.close()
        await self.reader.close()
        with suppress(StoreUnavailable):
            await self.store.close()


async def service_of(request: Request) -> Service:
    """Return what the routes work with: a dependency."""
    service: Service = request.app.state.service
    return service
