"""The reader for threads: the same answers without an event loop on the way to Redis.

Only what has to be fetched over REST, and `watch`, runs on an event loop, in a thread of its own that is started
when it is first needed. So a reader works in a thread, inside a running loop, and after a fork.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Collection, Coroutine, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from typing import Any, TypeVar, Unpack

from streamer.errors import StoreUnavailable
from streamer.gateway.caller import Caller
from streamer.model import (
    Account,
    Answers,
    Balance,
    Candle,
    Explanation,
    Granularity,
    PortfolioBreakdown,
    Product,
    ProductId,
    Reading,
    Snapshot,
    Ticker,
    parse_product_id,
)
from streamer.reader.housekeeping import EVERY_S, Housekeeping
from streamer.reader.plans import Plans
from streamer.reader.questions import LIMIT, How, Questions
from streamer.reader.steps import Fetch, Plan
from streamer.reader.watching import NOT_STREAMED, OnOutage, Watcher
from streamer.reader.wire import Lookup, SyncWire
from streamer.settings import Settings, load
from streamer.settings import redis_url as find_redis
from streamer.store.connect import Store
from streamer.store.keys import Keys

T = TypeVar("T")

_LOOK_EVERY_S = 1.0
_MOST_CONNECTIONS = 1000
"""A watch keeps one, and many answers may land at once: one more than allowed would look like Redis away."""


class Reader:
    """Reads prices, balances, candles and products. See `AsyncReader`: the same methods, and the same rules.

    May be shared by threads and made before a fork.

    Args:
        redis_url: Where Redis is; None means REDIS_URL, or the embedded Redis of a running start-stream.
        rest: Whether REST may be asked at all.
        caller: Name in the statistics of REST calls, such as "bot-7".
        settings: None means the environment.

    Attributes:
        plans: Makes the plans that `run` takes.

    Raises:
        ConfigError: There is no Redis to read, or a setting breaks a rule.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        rest: bool = True,
        caller: str = "",
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or load()
        self._url = find_redis(redis_url)
        self._wire, self._keys = SyncWire(self._url), Keys(self._settings.key_prefix)
        self.plans = Plans(self._keys, stale_after_s=self._settings.stale_after_s)
        self._ask = Questions(self.plans, rest=rest, caller=caller)
        self._lock = threading.Lock()
        self._tend_at = time.monotonic() + EVERY_S
        self._backstage: Backstage | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def damaged(self) -> int:
        """Values of Redis passed over because they are not what the schema says."""
        return self.plans.parser.damaged

    def ticker(self, product_id: str, **how: Unpack[How]) -> Reading[Ticker]:
        """Return the newest ticker of a product."""
        return self.run(self._ask.ticker(product_id, how))

    def tickers(self, product_ids: Collection[str], **how: Unpack[How]) -> Answers[ProductId, Ticker]:
        """Return the newest ticker of each product, in one round trip where all are realtime."""
        return self.run(self._ask.tickers(product_ids, how))

    def explain(self, product_id: str, **how: Unpack[How]) -> Explanation:
        """Return what each tier has of a product's ticker, and why it is or is not served; REST is not asked."""
        return self.run(self._ask.explain(product_id, how))

    def balances(self, **how: Unpack[How]) -> Answers[str, Balance]:
        """Return the balance of each currency of the account."""
        return self.run(self._ask.balances(how))

    def balance(self, currency: str, **how: Unpack[How]) -> Reading[Balance]:
        """Return the balance of one currency."""
        return self.run(self._ask.balance(currency, how))

    def accounts(self, **how: Unpack[How]) -> Reading[tuple[Account, ...]]:
        """Return all wallets as one reading, which is as good as the worst of them."""
        return self.run(self._ask.accounts(how))

    def portfolio_breakdown(self, uuid: str, **how: Unpack[How]) -> Reading[PortfolioBreakdown]:
        """Return what the key's portfolio is worth and made of; in realtime computed from balances and prices."""
        return self.run(self._ask.breakdown(uuid, how))

    def candles(
        self,
        product_id: str,
        granularity: Granularity | str = Granularity.FIVE_MINUTE,
        limit: int = LIMIT,
        **how: Unpack[How],
    ) -> Reading[tuple[Candle, ...]]:
        """Return the newest candles of a product, oldest first; the last may still be open."""
        return self.run(self._ask.candles(product_id, granularity, limit, how))

    def products(self, **how: Unpack[How]) -> Reading[tuple[Product, ...]]:
        """Return the facts of every product of the exchange."""
        return self.run(self._ask.products(how))

    def snapshot(
        self,
        product_ids: Collection[str],
        granularity: Granularity | str = Granularity.FIVE_MINUTE,
        limit: int = LIMIT,
        *,
        accounts: bool = True,
        **how: Unpack[How],
    ) -> Snapshot:
        """Return tickers, candles and accounts for a fleet of bots, in one round trip where all is realtime."""
        return self.run(self._ask.snapshot(product_ids, granularity, limit, accounts, how))

    def watch(
        self, product_ids: Collection[str], *, on_outage: OnOutage | None = None
    ) -> Iterator[tuple[ProductId, Reading[Ticker]]]:
        """Yield the current reading of each product, then every change as it is pushed. See `AsyncReader.watch`."""
        wanted = [parse_product_id(product_id) for product_id in product_ids]
        for product_id, reading in self.tickers(wanted).items():
            if reading.tier in NOT_STREAMED:
                yield product_id, reading
        backstage = self.behind()
        changes = backstage.watcher.watch(wanted, on_outage)
        try:
            while True:
                yield backstage.run(anext(changes))
        finally:
            if backstage.is_ours:  # else the reader was closed, and with it this
                backstage.run(changes.aclose())

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()
        with self._lock:
            backstage, self._backstage = self._backstage, None
        if backstage is not None and backstage.is_ours:
            backstage.close()

    def run(self, plan: Plan[T]) -> T:
        """Take a plan's steps and return its answer; a plan is made of `plans`."""
        if time.monotonic() >= self._tend_at:
            self._tend_at = time.monotonic() + EVERY_S
            self.behind().tend()
        reply: Any = None
        failure: StoreUnavailable | None = None
        try:
            while True:
                step = plan.send(reply) if failure is None else plan.throw(failure)
                reply, failure = None, None
                if isinstance(step, Lookup):
                    try:
                        reply = self._wire.ask(step)
                    except StoreUnavailable as exc:
                        failure = exc
                else:
                    reply = self.behind().fetch(step)
        except StopIteration as done:
            value: T = done.value
            return value

    def behind(self) -> Backstage:
        """Return where work of this process runs that needs an event loop; started when it is first needed."""
        with self._lock:
            if self._backstage is None or not self._backstage.is_ours:  # a fork copies no threads
                self._backstage = Backstage(self._url, self._keys, self._settings, self.plans)
            return self._backstage


class Backstage:
    """The event loop of a synchronous reader, in a thread of its own."""

    def __init__(self, url: str, keys: Keys, settings: Settings, plans: Plans) -> None:
        self._pid, self._is_closing = os.getpid(), False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="streamer-reader", daemon=True)
        self._thread.start()
        self._store = Store(url, max_connections=_MOST_CONNECTIONS)
        self._caller = Caller(self._store, keys, settings)
        self._house = Housekeeping(self._store, keys, settings, plans, self._caller.statistics)
        self.watcher = Watcher(self._store, keys, plans, self._house)

    @property
    def store(self) -> Store:
        """Redis, for work on this loop."""
        return self._store

    @property
    def is_ours(self) -> bool:
        """Whether the thread runs, and in this process."""
        return self._pid == os.getpid() and not self._is_closing and self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns."""
        is_over = threading.Event()

        async def whole() -> T:
            try:
                return await work
            finally:
                is_over.set()

        done = asyncio.run_coroutine_threadsafe(whole(), self._loop)
        try:
            while not wait([done], timeout=_LOOK_EVERY_S).done:
                if not self._thread.is_alive():  # closed by another thread before this began
                    work.close()
                    raise CancelledError
            return done.result()
        except BaseException:
            if done.cancel():  # whoever waited here, as with Ctrl-C, does so no more
                is_over.wait(1.0)  # nor does the work go on when this returns
            raise

    def soon(self, work: Coroutine[Any, Any, object]) -> None:
        """Have a coroutine run in the background, unless this was closed; what goes wrong in it is its affair."""
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()

    def fetch(self, step: Fetch) -> Any:
        """Ask REST."""
        return self.run(self._fetch(step))

    async def _fetch(self, step: Fetch) -> Any:
        try:
            return await self._caller.fetch(step.requests, step.call, step.since)
        finally:
            self._house.after_call()

    def tend(self) -> None:
        """Have the housekeeping done, without waiting for it."""
        self._loop.call_soon_threadsafe(self._house.begin)

    def close(self) -> None:
        """End the thread."""
        self._is_closing = True
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        await self._house.close()
        await self._caller.close()
        with suppress(StoreUnavailable):
            await self._store.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:  # watches that go on in other threads: they would wait for ever
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
