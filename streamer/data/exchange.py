"""Coinbase as one of the providers: what is streamed is read, and only ranges of candles are asked for.

A price of a product that is streamed costs no call; one that is not goes the reader's way, which counts against the
exchange's own budget and has the product streamed from then on. Ranges count against the same budget. A price that
was sent to us is served where the reader has none, or an older one.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from streamer.data.ask import Ask, Found, Value
from streamer.data.provider import Progress, Provider, clock_ms
from streamer.errors import (
    ConfigError,
    NoData,
    RestUnavailable,
    StoreUnavailable,
    StreamerError,
    UnknownProduct,
    UnknownSymbol,
)
from streamer.gateway.caller import scope_of
from streamer.gateway.requests import MAX_CANDLES, Request
from streamer.model import Candle, Granularity, ProductId, Reading, Source, Ticker, Tier
from streamer.providers.adapter import Access
from streamer.providers.base import Call
from streamer.providers.coinbase import CoinbasePublic
from streamer.providers.http import HttpClient
from streamer.providers.shape import Bar, Instrument, Interval, Price, Series
from streamer.reader.questions import How
from streamer.reader.reader import AsyncReader
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.copies import StoredCopy
from streamer.store.keys import Keys

_LIST_AGAIN_S: Final = 300.0
"""So long a product that is not on the list is not looked for again."""
_LAST_WORD_S: Final = 0.2
"""So long before the time is over the reader stops waiting for REST: what is stale is better than nothing."""
_GRANULARITY: Final = {
    Interval.M1: Granularity.ONE_MINUTE,
    Interval.M5: Granularity.FIVE_MINUTE,
    Interval.M15: Granularity.FIFTEEN_MINUTE,
    Interval.M30: Granularity.THIRTY_MINUTE,
    Interval.H1: Granularity.ONE_HOUR,
    Interval.H4: Granularity.FOUR_HOUR,
    Interval.D1: Granularity.ONE_DAY,
}


class Exchange(Provider):
    """Coinbase, by way of the reader."""

    def __init__(
        self, access: Access, url: str, reader: AsyncReader, settings: Settings, http: HttpClient, store: Store
    ) -> None:
        where = access.url or url
        adapter = CoinbasePublic(Access(where, access.key, access.plan))
        # One for the reader's calls and ours: without Redis each would take itself for a process of its own.
        admission, scope = reader.calls.admission(where), scope_of(where)
        super().__init__(adapter, (), http, store, Keys(settings.key_prefix), scope=scope, admission=admission)
        self._reader = reader
        self._products: set[ProductId] = set()
        self._listed_at = -_LIST_AGAIN_S
        self._is_real = scope == scope_of(adapter.base_url)

    def requests(self, ask: Ask, now_s: int) -> list[Request[Any]]:
        """Return the pieces of a range; none for a price: its copy is no answer before the reader was asked."""
        return [] if ask.interval is None else super().requests(ask, now_s)

    async def find(
        self,
        ask: Ask,
        call: Call,
        now_s: int,
        *,
        since: float | None = None,
        max_age_s: float | None = None,
        progress: Progress | None = None,
    ) -> Found[Value]:
        """Read what the reader can read, and ask for ranges."""
        if ask.interval is not None and (ask.from_s is not None or ask.count > MAX_CANDLES):
            return await super().find(ask, call, now_s, since=since, max_age_s=max_age_s, progress=progress)
        if ask.interval is not None:
            return await self._read(ask, call, max_age_s)
        try:
            read = await self._read(ask, call, max_age_s)
        except StreamerError as exc:
            if (sent := await self._sent(ask, now_s)) is None:
                raise
            return replace(sent, why=str(exc))
        if read.tier in (Tier.REALTIME, Tier.REST):
            return read
        sent = await self._sent(ask, now_s)
        if sent is None:
            return read
        return min(read, replace(sent, why=read.why), key=lambda found: (found.tier is Tier.STALE, found.age_s))

    async def _read(self, ask: Ask, call: Call, max_age_s: float | None) -> Found[Value]:
        if not await self._lists(str(ask.symbol), _how(call, share=0.5)):
            raise UnknownSymbol("coinbase symbol", f"the exchange has no product {ask.symbol}")
        how = _how(call)
        how["max_age_s"] = max_age_s
        try:
            if ask.interval is None:
                return _price(ask, await self._reader.ticker(str(ask.symbol), **how))
            granularity = _GRANULARITY[ask.interval]
            return _series(ask, await self._reader.candles(str(ask.symbol), granularity, ask.count, **how))
        except UnknownProduct as exc:
            raise UnknownSymbol("coinbase symbol", str(exc)) from exc
        except ConfigError as exc:
            raise UnknownSymbol("coinbase symbol", exc.rule) from exc
        except NoData:
            raise
        except StreamerError as exc:
            raise RestUnavailable(f"coinbase {ask.what}", str(exc)) from exc

    async def _sent(self, ask: Ask, now_s: int) -> Found[Value] | None:
        """Return the newest price that was sent to us; None where there is none, or Redis cannot tell."""
        (request,) = super().requests(ask, now_s)
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.mget([request.copy.key, request.copy.stale_key])
        try:
            clock, raws = await self._store.answer(pipeline.execute())
        except StoreUnavailable:
            return None
        tiers = zip(raws, (Tier.CACHE, Tier.STALE), strict=True)
        kept = (self.kept(request, raw, clock_ms(clock), tier) for raw, tier in tiers)
        return next((found for found in kept if found is not None), None)

    async def _lists(self, product_id: str, how: How) -> bool:
        """Whether the exchange may have a product: a question for each that it has not would be a call each.

        The list is kept by the stream, else it is one call an hour for all processes.
        """
        if product_id not in self._products and time.monotonic() >= self._listed_at + _LIST_AGAIN_S:
            self._listed_at = time.monotonic()
            with suppress(StreamerError):
                reading = await self._reader.products(**how)
                self._products = {product.product_id for product in reading.value}
        return not self._products or product_id in self._products

    def is_foreign(self, copy: StoredCopy) -> bool:
        """Whether a copy is of another maker: the simulator's where the exchange itself would be asked."""
        return copy.source != self.name and (copy.source != Source.SIMULATOR or self._is_real)


def _how(call: Call, share: float = 1.0) -> How:
    """Return how the reader is asked: it stops waiting for REST while it can still say what else it has."""
    how: How = {"priority": call.priority}
    if call.deadline is not None:
        left_s = max(0.0, call.deadline - time.monotonic())
        how["timeout_s"] = max(0.01, share * (left_s - min(_LAST_WORD_S, left_s / 5)))
    return how


def _price(ask: Ask, reading: Reading[Ticker]) -> Found[Value]:
    as_of_ms = int(reading.as_of.timestamp() * 1000)
    # A quiet product on a live feed is live, however old its last trade is; what is stale says so by its tier.
    price = Price(ask.symbol, reading.value.price, Instrument.SPOT, as_of_ms)
    return Found(price, "coinbase", reading.tier, reading.age_s, reading.source, reading.reason)


def _series(ask: Ask, reading: Reading[tuple[Candle, ...]]) -> Found[Value]:
    assert ask.interval is not None
    if not reading.value:
        raise NoData(f"coinbase {ask.what}", "it has none in that time")
    bars = tuple(Bar(c.start_s, c.open, c.high, c.low, c.close, c.volume, c.closed) for c in reading.value)
    series = Series(ask.symbol, ask.interval, Instrument.SPOT, bars)
    return Found(series, "coinbase", reading.tier, reading.age_s, reading.source, reading.reason)
