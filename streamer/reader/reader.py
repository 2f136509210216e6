"""Reads tickers, balances and candles from Redis in one round trip, and follows changes of tickers."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from streamer.errors import StoreUnavailable
from streamer.model import Balance, Candle, Granularity, ProductId, Reading, Ticker, is_product_id
from streamer.reader.candles import candles_reading
from streamer.reader.freshness import STALE_AFTER_S, FeedLife, balance_reading, parse_feeds, reading
from streamer.store.candle_records import parse_candles
from streamer.store.connect import Store, explain
from streamer.store.keys import Keys
from streamer.store.records import StoredBalance, StoredTicker

S = TypeVar("S")

_LOOK_EVERY_S = 1.0


class AsyncReader:
    """Reads what the ingester wrote. Judges every value by the life of its feed, on the clock of Redis.

    Attributes:
        damaged: Hashes passed over because they are not what the schema says.
    """

    def __init__(self, store: Store, keys: Keys, *, stale_after_s: float = STALE_AFTER_S) -> None:
        self._store, self._keys, self._stale_after_s = store, keys, stale_after_s
        self._currencies: set[str] = set()
        self.damaged = 0

    async def tickers(self, product_ids: Collection[ProductId]) -> dict[ProductId, Reading[Ticker] | None]:
        """Return a reading a product, None where Redis has none. One round trip.

        Raises:
            StoreUnavailable: Redis does not answer, or cannot; an outage is never reported as a miss.
        """
        look = await self._look(product_ids)
        return {product_id: self._reading(look, look.held.get(product_id)) for product_id in product_ids}

    async def balances(self) -> dict[str, Reading[Balance] | None]:
        """Return a reading for each currency of the account; empty where no balances were ever streamed.

        None where a currency is listed, but what Redis held of it is gone or damaged.

        One round trip, two where currencies have come since the last call.

        Raises:
            StoreUnavailable: Redis does not answer, or cannot.
        """
        asked: set[str] = set()
        found: dict[str, Reading[Balance]] = {}
        while True:
            new = sorted(self._currencies - asked)
            asked |= self._currencies
            pipeline = self._store.client.pipeline(transaction=False)
            pipeline.time()
            pipeline.hgetall(self._keys.feeds)
            pipeline.smembers(self._keys.currencies)
            for currency in new:
                pipeline.hgetall(self._keys.balance(currency))
                pipeline.hgetall(self._keys.balance_stale(currency))
            (seconds, micros), feeds, members, *hashes = await self._answers(pipeline)
            now_ms, lives = seconds * 1000 + micros // 1000, parse_feeds(_text(feeds))
            for i, currency in enumerate(new):
                held = self._parsed(StoredBalance, hashes[2 * i], hashes[2 * i + 1])
                if held is not None:
                    stored, is_shadow = held
                    life = lives.get(stored.feed)
                    found[currency] = balance_reading(
                        stored, life, now_ms, self._stale_after_s, is_shadow=is_shadow
                    )
            self._currencies = _names(members)
            if self._currencies <= asked:
                return {currency: found.get(currency) for currency in sorted(self._currencies)}

    async def candles(
        self, product_id: ProductId, granularity: Granularity = Granularity.ONE_HOUR, limit: int | None = None
    ) -> Reading[list[Candle]] | None:
        """Return the newest candles of a product, oldest first; None where none are streamed. One round trip.

        Args:
            granularity: Five minutes, or a multiple of that.
            limit: How many; fewer come where less is known (29 hours at most) or traded.

        Raises:
            ConfigError: Candles that cannot be made of five-minute ones.
            StoreUnavailable: Redis does not answer, or cannot.
        """
        pipeline = self._store.client.pipeline(transaction=True)  # the two hashes belong together
        pipeline.time()
        pipeline.hgetall(self._keys.feeds)
        pipeline.hgetall(self._keys.candles(product_id))
        pipeline.hgetall(self._keys.candles_meta(product_id))
        (seconds, micros), feeds, raw, meta = await self._answers(pipeline)
        if not raw or not meta:
            return None
        try:
            stored = parse_candles(_text(raw), _text(meta))
        except ValueError:
            self.damaged += 1
            return None
        self.damaged += stored.damaged
        life = parse_feeds(_text(feeds)).get(stored.feed)
        now_ms = seconds * 1000 + micros // 1000
        return candles_reading(stored, life, now_ms, granularity, limit=limit, stale_after_s=self._stale_after_s)

    async def watch(
        self, product_ids: Collection[ProductId]
    ) -> AsyncGenerator[tuple[ProductId, Reading[Ticker]], None]:
        """Yield the current reading of each product, then every change as it is pushed.

        A change of tier is a change: a feed that dies shows within a second of its values going stale. A slow
        consumer gets the newest state, never a backlog.

        Raises:
            StoreUnavailable: Redis has gone; what was yielded is no longer watched. Watch again.
        """
        wanted, newest = set(product_ids), dict[ProductId, _Held]()
        shown: dict[ProductId, Reading[Ticker]] = {}
        async with self._store.client.pubsub() as updates:
            await self._store.answer(updates.subscribe(self._keys.ticker_updates))
            look = await self._look(product_ids)
            newest.update(look.held)
            while True:
                for product_id, held in list(newest.items()):
                    now, before = self._judged(look, held), shown.get(product_id)
                    if before is None or (before.value, before.tier) != (now.value, now.tier):
                        shown[product_id] = now
                        yield product_id, now
                pushed = await self._pushed(updates, wanted)
                for product_id, held in pushed.items():
                    if product_id not in newest or held.order >= newest[product_id].order:
                        newest[product_id] = held
                news = any(not look.knows(held) for held in pushed.values())
                if news or time.monotonic() - look.at >= _LOOK_EVERY_S:
                    # Also the proof that we are not a subscriber whom Redis has silently forgotten.
                    look = await self._look(product_ids)
                    newest = {p: held for p, held in newest.items() if p in look.held} | {
                        p: held for p, held in look.held.items() if p not in newest or held.order >= newest[p].order
                    }

    async def _look(self, product_ids: Collection[ProductId]) -> _Look:
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(self._keys.feeds)
        for product_id in product_ids:
            pipeline.hgetall(self._keys.ticker(product_id))
            pipeline.hgetall(self._keys.ticker_stale(product_id))
        (seconds, micros), feeds, *hashes = await self._answers(pipeline)
        held = {}
        for i, product_id in enumerate(product_ids):
            found = self._held(hashes[2 * i], hashes[2 * i + 1])
            if found is not None:
                held[product_id] = found
        return _Look(parse_feeds(_text(feeds)), held, seconds * 1000 + micros // 1000, time.monotonic())

    async def _answers(self, pipeline: Any) -> list[Any]:
        replies: list[Any] = await self._store.answer(pipeline.execute(raise_on_error=False))
        for reply in replies:
            if isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE"):
                raise StoreUnavailable(self._store.shown_url, explain(reply)) from reply
        return replies

    def _held(self, realtime: object, shadow: object) -> _Held | None:
        parsed = self._parsed(StoredTicker, realtime, shadow)
        return _Held(*parsed) if parsed is not None else None

    def _parsed(
        self, parse: Callable[[Mapping[str, str]], S], realtime: object, shadow: object
    ) -> tuple[S, bool] | None:
        """Return the first of the two that is sound, and whether it is the shadow."""
        for raw, is_shadow in ((realtime, False), (shadow, True)):
            if raw:
                try:
                    return parse(_text(raw)), is_shadow
                except ValueError:
                    self.damaged += 1
        return None

    async def _pushed(self, updates: Any, wanted: Collection[str]) -> dict[ProductId, _Held]:
        """Wait a moment for notifications, then take all there are, the newest a product."""
        newest: dict[ProductId, _Held] = {}
        timeout_s = _LOOK_EVERY_S / 4
        while True:
            message = await self._store.answer(
                updates.get_message(ignore_subscribe_messages=True, timeout=timeout_s)
            )
            if message is None:
                return newest
            timeout_s = 0.0
            for record in _records(message):
                if record.get("product_id") in wanted:
                    try:
                        held = _Held(StoredTicker(record), is_shadow=False)
                    except ValueError:
                        self.damaged += 1
                        continue
                    newest[held.stored.ticker.product_id] = held

    def _reading(self, look: _Look, held: _Held | None) -> Reading[Ticker] | None:
        return self._judged(look, held) if held is not None else None

    def _judged(self, look: _Look, held: _Held) -> Reading[Ticker]:
        feed = look.feeds.get(held.stored.feed)
        return reading(held.stored, feed, look.now_ms, self._stale_after_s, is_shadow=held.is_shadow)


@dataclass(frozen=True, slots=True)
class _Held:
    """A value of Redis, and whether it is the hash itself or its shadow."""

    stored: StoredTicker
    is_shadow: bool

    @property
    def order(self) -> tuple[int, int, int]:
        """Rises with every newer value of a product."""
        return self.stored.epoch, self.stored.connection, self.stored.sequence


@dataclass(frozen=True, slots=True)
class _Look:
    """What one round trip has shown.

    Attributes:
        at: Monotonic time of it.
    """

    feeds: Mapping[str, FeedLife]
    held: Mapping[ProductId, _Held]
    redis_ms: int
    at: float

    @property
    def now_ms(self) -> int:
        """The clock of Redis now, as far as ours keeps pace with it."""
        return self.redis_ms + int((time.monotonic() - self.at) * 1000)

    def knows(self, held: _Held) -> bool:
        """Whether the connection of a pushed value is the one its feed reported."""
        life = self.feeds.get(held.stored.feed)
        return life is not None and (life.epoch, life.connection) == (held.stored.epoch, held.stored.connection)


def _text(raw: object) -> dict[str, str]:
    """Return a reply of HGETALL as text; a key of another type, or bytes that are no text, as {}."""
    if not isinstance(raw, dict):
        return {}
    try:
        return {name.decode(): value.decode() for name, value in raw.items()}
    except UnicodeDecodeError:
        return {}


def _names(raw: object) -> set[str]:
    """Return the members of a set that can be ids; a key of another type as none."""
    members = raw if isinstance(raw, set) else set()
    return {name for member in members if is_product_id(name := member.decode("ascii", "replace"))}


def _records(message: Mapping[str, Any] | None) -> list[dict[str, str]]:
    if message is None or not isinstance(message.get("data"), bytes):
        return []
    try:
        return msgspec.msgpack.decode(message["data"], type=list[dict[str, str]])
    except msgspec.MsgspecError:
        return []
