"""The providers of one process: made from the settings, and anew where Redis turns out to hold simulated data."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

import msgspec

from streamer.coinbase.transport import is_loopback, tls_context
from streamer.data.exchange import Exchange
from streamer.data.provider import Provider, windows_of
from streamer.data.settings import Budget, adapter_of, load_provider
from streamer.errors import StoreUnavailable, StreamerError
from streamer.model import Source
from streamer.providers.adapter import Access
from streamer.providers.http import HttpClient
from streamer.providers.registry import ADAPTERS
from streamer.reader.reader import AsyncReader
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.store.records import parse_json

COINBASE: Final = "coinbase"
_LOOK_S: Final = 5.0
"""So long the world stands as it was last seen."""
_SIMULATED_KEY: Final = "simulated-key"
"""Never one of ours: it has nothing to do with a simulated provider."""


class _Status(msgspec.Struct):
    source: str = ""
    provider_urls: dict[str, str] = {}


class Roster:
    """All providers, by name.

    Args:
        reader: Reads what is streamed, and knows where the exchange is; stays open.

    Attributes:
        providers: The exchange is among them once `know` has been called.

    Raises:
        ConfigError: A setting of a provider breaks a rule.
    """

    def __init__(self, reader: AsyncReader, store: Store, settings: Settings) -> None:
        self._reader, self._store, self._settings = reader, store, settings
        self._keys = Keys(settings.key_prefix)
        self._http = HttpClient(lambda url: tls_context(url, settings.ca_file))
        self._given: dict[str, tuple[Access, Budget]] = {name: load_provider(name) for name in ADAPTERS}
        self._urls: dict[str, str | None] = {}
        self._looked_at = -_LOOK_S
        self._looking = asyncio.Lock()
        self.providers: dict[str, Provider] = {}
        for name in ADAPTERS:
            if name != COINBASE:
                self._make(name, None)

    async def know(self) -> None:
        """Have all providers where they are by now: the exchange's own, or those that a simulator plays."""
        if self._is_known:
            return
        async with self._looking:  # all who ask at first wait for the one who looks
            if not self._is_known:
                await self._look()
                self._looked_at = time.monotonic()

    @property
    def _is_known(self) -> bool:
        return COINBASE in self.providers and time.monotonic() - self._looked_at < _LOOK_S

    async def _look(self) -> None:
        simulated = await self._simulated()
        for name, (access, _) in self._given.items():
            if name == COINBASE:
                url: str | None = await self._exchange_url()
            else:
                url = simulated.get(name) if access.url is None else None
            if name not in self.providers or url != self._urls[name]:
                former = self.providers.get(name)
                self._make(name, url)
                if former is not None:
                    await former.close()

    async def close(self) -> None:
        """End all that is under way."""
        for provider in self.providers.values():
            await provider.close()
        await self._http.close()

    def _make(self, name: str, url: str | None) -> None:
        access, budget = self._given[name]
        self._urls[name] = url
        if name == COINBASE:
            assert url is not None
            self.providers[name] = Exchange(access, url, self._reader, self._settings, self._http, self._store)
            return
        if url is not None:
            access = Access(url, _SIMULATED_KEY, access.plan)
        adapter = adapter_of(name)(access)
        windows = windows_of(adapter.limits, budget)
        self.providers[name] = Provider(adapter, windows, self._http, self._store, self._keys)

    async def _exchange_url(self) -> str:
        try:
            return await self._reader.calls.url()
        except StreamerError:
            return self._settings.rest_url  # nobody says where REST is; what is streamed can be read all the same

    async def _simulated(self) -> dict[str, str]:
        """Return where a simulator plays providers, if the data in Redis is a simulator's; on this machine only."""
        try:
            raw = await self._store.answer(self._store.client.get(self._keys.status))
        except StoreUnavailable:
            return {name: url for name, url in self._urls.items() if url is not None}  # as it was
        status = parse_json(raw, _Status) if isinstance(raw, bytes) else None
        if status is None or status.source != Source.SIMULATOR:
            return {}
        urls = status.provider_urls
        return {name: url for name, url in urls.items() if is_loopback(urlsplit(url).hostname or "")}
