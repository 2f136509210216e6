"""Reads tickers from Redis in one round trip, and follows their changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from streamer.errors import StoreUnavailable
from streamer.model import ProductId, Reading, Ticker
from streamer.reader.freshness import STALE_AFTER_S, FeedLife, parse_feeds, reading
from streamer.store.connect import Store
from streamer.store.keys import Keys
from streamer.store.records import StoredTicker

_LOOK_EVERY_S = 1.0
_RETRY_S = 0.5


class AsyncReader:
    """Reads what the ingester wrote. Judges every value by the life of its feed, on the clock of Redis.

    Attributes:
        damaged: Hashes passed over because they are not what the schema says.
    """

    def __init__(self, store: Store, keys: Keys, *, stale_after_s: float = STALE_AFTER_S) -> None:
        self._store, self._keys, self._stale_after_s = store, keys, stale_after_s
        self.damaged = 0

    async def tickers(self, product_ids: Collection[ProductId]) -> dict[ProductId, Reading[Ticker] | None]:
        """Return a reading a product, None where Redis has none. One round trip.

        Raises:
            StoreUnavailable: Redis does not answer; an outage is never reported as a miss.
        """
        return (await self._read(product_ids))[0]

    async def _read(
        self, product_ids: Collection[ProductId]
    ) -> tuple[dict[ProductId, Reading[Ticker] | None], dict[str, FeedLife]]:
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(self._keys.feeds)
        for product_id in product_ids:
            pipeline.hgetall(self._keys.ticker(product_id))
            pipeline.hgetall(self._keys.ticker_stale(product_id))
        (seconds, micros), raw_feeds, *hashes = await self._store.answer(pipeline.execute(raise_on_error=False))
        now_ms = seconds * 1000 + micros // 1000
        feeds = parse_feeds(_text(raw_feeds))
        held = {
            product_id: self._judged(hashes[2 * i : 2 * i + 2], feeds, now_ms)
            for i, product_id in enumerate(product_ids)
        }
        return held, feeds

    async def watch(self, product_ids: Collection[ProductId]) -> AsyncIterator[tuple[ProductId, Reading[Ticker]]]:
        """Yield the current reading of each product, then every change as it is pushed.

        A change of tier is a change: a feed that dies shows within a second of its values going stale. A Redis
        that drops is waited for.
        """
        shown: dict[ProductId, Reading[Ticker]] = {}
        while True:
            try:
                async with self._store.client.pubsub() as updates:
                    await self._store.answer(updates.subscribe(self._keys.ticker_updates))
                    async for product_id, now in self._follow(updates, product_ids):
                        before = shown.get(product_id)
                        if before is None or (before.value, before.tier) != (now.value, now.tier):
                            shown[product_id] = now
                            yield product_id, now
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)

    async def _follow(
        self, updates: Any, product_ids: Collection[ProductId]
    ) -> AsyncIterator[tuple[ProductId, Reading[Ticker]]]:
        feeds: dict[str, FeedLife] = {}
        wanted, looked_at = set(product_ids), -_LOOK_EVERY_S
        while True:
            if time.monotonic() - looked_at >= _LOOK_EVERY_S:
                # Also the proof that we are not a subscriber whom Redis has silently forgotten.
                looked_at = time.monotonic()
                held, feeds = await self._read(product_ids)
                for product_id, found in held.items():
                    if found is not None:
                        yield product_id, found
            message = await self._store.answer(
                updates.get_message(ignore_subscribe_messages=True, timeout=_LOOK_EVERY_S / 4)
            )
            for record in _records(message):
                if record.get("product_id") in wanted:
                    with suppress(ValueError):
                        stored = StoredTicker(record)
                        life = _life_of(stored, feeds)
                        yield (
                            stored.ticker.product_id,
                            reading(stored, life, stored.written_ms, self._stale_after_s),
                        )

    def _judged(
        self, hashes: Collection[object], feeds: Mapping[str, FeedLife], now_ms: int
    ) -> Reading[Ticker] | None:
        for raw in hashes:
            if not raw:
                continue
            try:
                stored = StoredTicker(_text(raw))
            except ValueError:
                self.damaged += 1
                continue
            return reading(stored, feeds.get(stored.feed), now_ms, self._stale_after_s)
        return None


def _life_of(stored: StoredTicker, feeds: Mapping[str, FeedLife]) -> FeedLife | None:
    """Return the life to judge a pushed value by.

    A value of a connection we have not heard of yet is its own proof of life: only the owner writes, and it has
    just written. Of a known one the report counts; values of dead feeds are pushed too, to mend Redis.
    """
    life = feeds.get(stored.feed)
    if life is None or (life.epoch, life.connection) < (stored.epoch, stored.connection):
        return FeedLife("live", stored.connection, stored.epoch, stored.written_ms)
    return life


def _text(raw: object) -> dict[str, str]:
    """Return a reply of HGETALL as text; an error reply (a key of another type) or bytes that are no text as {}."""
    if not isinstance(raw, dict):
        return {}
    try:
        return {name.decode(): value.decode() for name, value in raw.items()}
    except UnicodeDecodeError:
        return {}


def _records(message: Mapping[str, Any] | None) -> list[dict[str, str]]:
    if message is None or not isinstance(message.get("data"), bytes):
        return []
    try:
        return msgspec.msgpack.decode(message["data"], type=list[dict[str, str]])
    except msgspec.MsgspecError:
        return []
