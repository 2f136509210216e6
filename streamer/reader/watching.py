"""Follows tickers as they are pushed, and says what has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from streamer.errors import StoreUnavailable
from streamer.model import ProductId, Reading, Ticker, Tier
from streamer.reader.facts import FeedFacts
from streamer.reader.freshness import reading
from streamer.reader.housekeeping import Housekeeping
from streamer.reader.plans import Plans
from streamer.reader.wire import AsyncWire
from streamer.store.connect import FAILURES, Store, unavailable
from streamer.store.keys import Keys
from streamer.store.records import StoredTicker

NOT_STREAMED = (Tier.REST, Tier.CACHE)
"""Tiers of a reading that the stream has no part in."""
_LOOK_EVERY_S = 1.0
_LISTEN_S = 0.25
_RETRY_S = 0.5
_GONE = "Redis has nothing of it any more"
_Records = list[dict[str, str]]

OnOutage = Callable[[str | None], None]
"""Told why when Redis goes away, and None when it is back."""


class Watcher:
    """Watches tickers; each watch has a connection of its own, for as long as it lasts.

    Args:
        house: Tended also where nothing but the process itself is read: what is watched or mirrored must stay.
    """

    def __init__(self, store: Store, keys: Keys, plans: Plans, house: Housekeeping) -> None:
        self._store, self._keys, self._plans, self._house = store, keys, plans, house

    def follow(self, product_ids: Collection[ProductId]) -> Following:
        """Return what follows products, once it is started."""
        return Following(self._store, self._keys, self._plans, product_ids, self._house)

    async def watch(
        self, product_ids: Collection[ProductId], on_outage: OnOutage | None = None
    ) -> AsyncGenerator[tuple[ProductId, Reading[Ticker]], None]:
        """Yield the current reading of each product, then every change of its value or tier.

        Between two changes that a consumer takes there may be any number that it does not see: it gets the newest.
        """
        shown: dict[ProductId, Reading[Ticker]] = {}
        is_away = False
        following = self.follow(product_ids)
        following.start()
        try:
            while True:
                await following.changed()
                self._plans.read.update(product_ids)
                if on_outage is not None and is_away is (following.why is None):
                    is_away = not is_away
                    on_outage(following.why)
                for product_id in product_ids:
                    now, before = following.get(product_id), shown.get(product_id)
                    if now is not None and (before is None or (before.value, before.tier) != (now.value, now.tier)):
                        shown[product_id] = now
                        yield product_id, now
        finally:
            await following.close()


class _Held:
    """A ticker as it was pushed or found; read only when somebody wants it.

    Attributes:
        order: Rises with every newer value of a product.
        is_gone: Whether Redis had it once and has nothing of it now.
    """

    __slots__ = ("_record", "_stored", "is_gone", "is_shadow", "order")

    def __init__(self, record: Mapping[str, str], *, stored: StoredTicker | None = None, is_shadow: bool) -> None:
        self._record, self._stored, self.is_shadow, self.is_gone = record, stored, is_shadow, False
        if stored is not None:
            self.order = stored.epoch, stored.connection, stored.sequence
        else:
            self.order = int(record["epoch"]), int(record["connection"]), int(record["sequence"])

    @property
    def stored(self) -> StoredTicker:
        """The ticker; raises ValueError where it is damaged."""
        if self._stored is None:
            self._stored = StoredTicker(self._record)
        return self._stored


class Following:
    """The newest state of some products, kept in this process by a task that listens to Redis.

    Its memory is one record a product, however fast prices change and however seldom anybody looks.

    Attributes:
        why: Why Redis does not answer at present, None while it does.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        plans: Plans,
        product_ids: Collection[ProductId],
        house: Housekeeping,
    ) -> None:
        self._store, self._keys, self._plans, self._house = store, keys, plans, house
        self._wire = AsyncWire(store)
        self._wanted = tuple(dict.fromkeys(product_ids))
        self._names = frozenset(self._wanted)
        self._newest: dict[ProductId, _Held] = {}
        self._facts = FeedFacts(0, {})
        self._looked_at = -1e9
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.why: str | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run(), name="following")

    @property
    def is_running(self) -> bool:
        """Whether it listens, in the running loop."""
        return self._task is not None and not self._task.done()

    @property
    def is_current(self) -> bool:
        """Whether what it has is what Redis has, but for moments."""
        return self.is_running and self.why is None and time.monotonic() - self._looked_at < 2 * _LOOK_EVERY_S

    async def changed(self) -> None:
        """Return when something may have changed since the last call.

        Raises:
            Exception: What ended the listening, which is a bug.
        """
        assert self._task is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._news.wait()
        self._news.clear()
        if self._task.done():
            self._task.result()

    def get(self, product_id: ProductId) -> Reading[Ticker] | None:
        """Return the newest reading of a product as of now, None where there is none."""
        held = self._newest.get(product_id)
        if held is None:
            return None
        stored = held.stored
        now_ms = self._facts.now_ms + int((time.monotonic() - self._looked_at) * 1000)
        life = self._facts.lives.get(stored.feed)
        found = reading(stored, life, now_ms, self._plans.stale_after_s, is_shadow=held.is_shadow)
        # What cannot be looked at any more is not known to be current, however lately its feed was alive.
        why = self.why or (_GONE if held.is_gone else None)
        return found if why is None else replace(found, tier=Tier.STALE, reason=why)

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                async with self._store.client.pubsub() as updates:
                    await self._store.answer(updates.subscribe(self._keys.ticker_updates))
                    await self._look()
                    self.why = None
                    await self._listen(updates)
            except StoreUnavailable as exc:
                self.why = str(exc)
            except FAILURES as exc:  # the connection could not even be closed in time
                self.why = str(unavailable(self._store.url, exc))
            self._news.set()
            await asyncio.sleep(_RETRY_S)

    async def _listen(self, updates: Any) -> None:
        while True:
            message = await self._store.answer(
                updates.get_message(ignore_subscribe_messages=True, timeout=_LISTEN_S)
            )
            if message is not None and isinstance(message.get("data"), bytes) and self._take(message["data"]):
                await self._look()  # of a connection that we know nothing of yet
            elif time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                # Also the proof that we are not a subscriber whom Redis has silently forgotten.
                await self._look()

    def _take(self, data: bytes) -> bool:
        """Take a notification; return whether it comes from a connection that is not known."""
        try:
            records = msgspec.msgpack.decode(data, type=_Records)
        except msgspec.MsgspecError:
            self._plans.parser.damaged += 1
            return False
        is_new = is_kept = False
        for record in records:
            if record.get("product_id") in self._names:
                try:
                    held = _Held(record, is_shadow=False)
                    is_new |= not self._knows(held)
                except (ValueError, KeyError):
                    self._plans.parser.damaged += 1
                    continue
                self._keep(ProductId(record["product_id"]), held)
                is_kept = True
        if is_kept and not is_new:  # else a value of a new connection would pass for stale until we have looked
            self._news.set()
        return is_new

    def _keep(self, product_id: ProductId, held: _Held) -> None:
        before = self._newest.get(product_id)
        if before is None or held.order >= before.order:
            self._newest[product_id] = held

    def _knows(self, held: _Held) -> bool:
        life = self._facts.lives.get(held.stored.feed)
        return life is not None and (life.epoch, life.connection) == held.order[:2]

    async def _look(self) -> None:
        """Take the state of Redis as it is: all that was pushed before is in it, and what was made up is not."""
        parser = self._plans.parser
        began = time.monotonic()
        clock, feeds, *hashes = await self._wire.ask(self._plans.ticker_state(self._wanted))
        self._facts, self._looked_at = parser.facts(clock, feeds), began
        found: dict[ProductId, _Held] = {}
        for i, product_id in enumerate(self._wanted):
            for reply, is_shadow in ((hashes[2 * i], False), (hashes[2 * i + 1], True)):
                stored = parser.ticker(reply, product_id)
                if stored is not None:
                    found[product_id] = _Held({}, stored=stored, is_shadow=is_shadow)
                    break
        for product_id, held in self._newest.items():
            if product_id not in found:
                found[product_id] = held
                held.is_gone = True
        self._newest = found
        self._news.set()
        self._house.tend_if_due()
