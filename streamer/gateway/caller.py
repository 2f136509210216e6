"""The gateway of a process that reads: put together when it is first needed, from the settings and from Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from streamer.coinbase.auth import Signer, find_key
from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.rest import CoinbaseRest
from streamer.errors import CallNotMade, ConfigError, StoreUnavailable, StreamerError
from streamer.gateway.admission import Admission, Snapshot, budgets
from streamer.gateway.gate import CallGate
from streamer.gateway.gateway import Answer, Gateway
from streamer.gateway.group import MarkingGate
from streamer.gateway.limits import Window
from streamer.gateway.requests import AccountsRequest, BreakdownRequest, Request
from streamer.gateway.statistics import Statistics
from streamer.model import Source
from streamer.providers.base import Budget, Call, RestSource
from streamer.settings import REST_URL, WS_URL, Settings, owner_name
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.store.records import parse_json

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOOK_EVERY_S = 5.0
"""So long a reader goes on with the exchange that it knows of, before it looks whose data Redis holds now."""


class _Status(msgspec.Struct):
    source: str = ""
    rest_url: str | None = None


class Caller:
    """Fetches over REST for a reader. Builds nothing until something has to be fetched."""

    def __init__(self, store: Store, keys: Keys, settings: Settings) -> None:
        self._store, self._keys, self._settings = store, keys, settings
        self._gateway: Gateway[RestSource] | None = None
        self._admission: Admission | None = None
        self._admissions: dict[str, Admission] = {}
        self._exchange: tuple[str, Source] | None = None
        self._looked_at = -_LOOK_EVERY_S
        self._former: list[Gateway[RestSource]] = []
        self._lock: asyncio.Lock | None = None

    async def fetch(
        self, requests: Sequence[Request[Any]], call: Call, since: float
    ) -> list[Answer[Any] | StreamerError]:
        """Return an answer to each request, in order, or why there is none."""
        try:
            gateway = await self.gateway()
        except StreamerError as exc:
            return [exc] * len(requests)
        needs_key = [isinstance(request, AccountsRequest | BreakdownRequest) for request in requests]
        if any(needs_key) and not gateway.rest.has_key:
            refusal = CallNotMade("accounts", "no key: set COINBASE_API_KEY and COINBASE_API_SECRET")
            public = [request for request, private in zip(requests, needs_key, strict=True) if not private]
            answers = iter(await gateway.fetch_all(public, call, since=since))
            return [refusal if private else next(answers) for private in needs_key]
        return await gateway.fetch_all(requests, call, since=since)

    def statistics(self) -> Statistics | None:
        """Return what has become of this process's calls; None where it has made none."""
        return None if self._admission is None else self._admission.statistics

    async def gateway(self) -> Gateway[RestSource]:
        """Return the gateway to the exchange whose data Redis holds.

        Raises:
            StreamerError: There is no REST to call: the exchange is another one, and has not told where it has it.
        """
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self._gateway is None or self._is_to_look:
                exchange = await self._rest_url()
                if exchange != self._exchange:
                    self._leave()
                self._exchange, self._looked_at = exchange, time.monotonic()
            if self._gateway is None:
                self._gateway = self._build(*exchange)
            return self._gateway

    async def url(self) -> str:
        """Return where REST is of the exchange whose data Redis holds.

        Raises:
            StreamerError: It is another one, and has not told where it has it.
        """
        if self._exchange is None or self._is_to_look:
            exchange = await self._rest_url()
            if self._gateway is None:
                self._exchange, self._looked_at = exchange, time.monotonic()
            return exchange[0]
        return self._exchange[0]

    @property
    def _is_to_look(self) -> bool:
        """Whether Redis may hold data of another exchange by now; where it is away there is nothing to see."""
        is_away = self._admission is not None and self._admission.is_alone
        return time.monotonic() - self._looked_at >= _LOOK_EVERY_S and not is_away

    def _leave(self) -> None:
        """Ask the present exchange for nothing more; what is under way there comes to its end."""
        self._former += [self._gateway] if self._gateway is not None else []
        self._gateway = self._admission = None

    @property
    def budgets(self) -> Mapping[Budget, Sequence[Window]]:
        """The windows that calls are held to."""
        return budgets(self._settings)

    async def snapshot(self) -> Snapshot:
        """Return how the calls of all processes stand.

        Raises:
            StreamerError: Redis does not answer, or there is no REST to call.
        """
        url, _ = await self._rest_url()
        return await self._admitting(url).snapshot()

    def admission(self, url: str) -> Admission:
        """Return what admits this process's calls to an exchange, whoever makes them; it is closed with this."""
        scope = scope_of(url)
        if scope not in self._admissions:
            self._admissions[scope] = admission_of(self._settings, self._store, url)
        return self._admissions[scope]

    def _admitting(self, url: str) -> Admission:
        self._admission = self.admission(url)
        return self._admission

    def _build(self, url: str, source: Source) -> Gateway[RestSource]:
        settings = self._settings
        key = find_key(settings) if source is Source.COINBASE or "rest_url" in settings.model_fields_set else None
        rest = CoinbaseRest(
            url,
            signer=Signer(key, backdate_s=settings.nbf_backdate_s) if key is not None else None,
            clock=ExchangeClock(),
            gate=MarkingGate(CallGate(self._admitting(url))),
            ca_file=settings.ca_file,
            source=source,
        )
        return Gateway(rest, self._store, self._keys, scope=scope_of(url))

    async def _rest_url(self) -> tuple[str, Source]:
        """Return where REST is. What Redis holds of one exchange is never completed from another."""
        settings = self._settings
        if "rest_url" in settings.model_fields_set:
            return settings.rest_url, Source.COINBASE
        try:
            raw = await self._store.answer(self._store.client.get(self._keys.status))
        except StoreUnavailable:
            raw = None
        status = parse_json(raw, _Status) if isinstance(raw, bytes) else None
        if status is not None and status.source == Source.SIMULATOR:
            if status.rest_url and urlsplit(status.rest_url).hostname in _LOOPBACK:
                return status.rest_url, Source.SIMULATOR
            raise CallNotMade(
                "REST", "this Redis holds simulated prices, and no STREAMER_REST_URL says where REST is"
            )
        if settings.ws_url != WS_URL:
            raise CallNotMade(
                "REST", "STREAMER_WS_URL names another exchange; STREAMER_REST_URL does not say where"
            )
        if self._exchange is not None and (status is None or status.source != Source.COINBASE):
            return self._exchange  # nobody says otherwise
        return settings.rest_url, Source.COINBASE

    async def close(self) -> None:
        """End all that is under way."""
        self._leave()
        for gateway in self._former:
            await gateway.close()
        for admission in self._admissions.values():
            await admission.close()


def admission_of(settings: Settings, store: Store, rest_url: str | None = None) -> Admission:
    """Return what admits this process's calls to REST, together with those of all others.

    Args:
        rest_url: Where REST is, if not where the settings say.
    """
    scope = scope_of(rest_url or settings.rest_url)
    return Admission(store, Keys(settings.key_prefix), budgets(settings), scope=scope, name=owner_name())


def scope_of(rest_url: str) -> str:
    """Return the name of an exchange in the keys that all its callers share.

    Raises:
        ConfigError: The URL names no host.
    """
    host = urlsplit(rest_url).netloc.lower().removesuffix(":443")
    if not host:
        raise ConfigError("rest_url", rest_url, "expected https://host[:port]")
    if host == urlsplit(REST_URL).netloc:
        return "coinbase"
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in host)
