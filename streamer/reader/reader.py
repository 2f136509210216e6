"""The reader for event loops: realtime, else a copy, else REST, else what is stale; every answer says which."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing, suppress
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
    Tier,
    parse_product_id,
)
from streamer.reader.housekeeping import Housekeeping
from streamer.reader.mirror import Mirror
from streamer.reader.plans import Plans
from streamer.reader.questions import LIMIT, How, Questions
from streamer.reader.steps import Plan
from streamer.reader.watching import NOT_STREAMED, OnOutage, Watcher
from streamer.reader.wire import AsyncWire, Lookup
from streamer.settings import Settings, load
from streamer.settings import redis_url as find_redis
from streamer.store.connect import Store
from streamer.store.keys import Keys

T = TypeVar("T")

_REALTIME_TICKER = "ticker", Tier.REALTIME.value


class AsyncReader:
    """Reads prices, balances, candles and products.

    REST is asked only where nothing else will do. Every answer says its tier, its two ages and its source. Every
    method takes `max_age_s`, `max_value_age_s`, `timeout_s` and `priority` (see `How`), and raises ConfigError
    (a ValueError) for bad input before anything is asked, `Unavailable` where no tier has anything that may be
    served, and `UnknownProduct` for a product that does not exist.

    Args:
        redis_url: Where Redis is; None means REDIS_URL, or the embedded Redis of a running start-stream.
        mirror: Products to keep in this process as they change: reading one of them costs no round trip.
        rest: Whether REST may be asked at all.
        caller: Name in the statistics of REST calls, such as "bot-7".
        settings: None means the environment.

    Raises:
        ConfigError: There is no Redis to read, or a setting breaks a rule.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        mirror: Iterable[str] = (),
        rest: bool = True,
        caller: str = "",
        settings: Settings | None = None,
    ) -> None:
        config = settings or load()
        self._store = Store(find_redis(redis_url), max_connections=1000)  # watches keep one each
        self._wire, keys = AsyncWire(self._store), Keys(config.key_prefix)
        self._plans = Plans(keys, stale_after_s=config.stale_after_s)
        self._ask = Questions(self._plans, rest=rest, caller=caller)
        self._caller = Caller(self._store, keys, config)
        self._house = Housekeeping(self._store, keys, config, self._plans, self._caller.statistics)
        self._watcher = Watcher(self._store, keys, self._plans, self._house)
        mirrored = [parse_product_id(product_id) for product_id in mirror]
        self._mirror = Mirror(self._watcher, mirrored) if mirrored else None

    async def __aenter__(self) -> AsyncReader:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def damaged(self) -> int:
        """Values of Redis passed over because they are not what the schema says."""
        return self._plans.parser.damaged

    @property
    def calls(self) -> Caller:
        """Who makes this process's REST calls."""
        return self._caller

    async def ticker(self, product_id: str, **how: Unpack[How]) -> Reading[Ticker]:
        """Return the newest ticker of a product; from the mirror, where it is mirrored and good enough there."""
        held = self._mirror.get(product_id) if self._mirror is not None else None
        if held is not None and (not how or self._ask.ask(**how).bounds.why_not(held) is None):
            self._plans.read.add(held.value.product_id)
            self._plans.served[_REALTIME_TICKER] += 1
            return held
        return await self._run(self._ask.ticker(product_id, how))

    async def tickers(self, product_ids: Collection[str], **how: Unpack[How]) -> Answers[ProductId, Ticker]:
        """Return the newest ticker of each product, in one round trip where all are realtime.

        What cannot be served is not among the answers; `missing` says why, and asking for it raises that. Where all
        are mirrored and good enough there, no round trip.
        """
        if self._mirror is not None and (held := self._mirrored(product_ids, how)) is not None:
            return Answers(held, {})
        return await self._run(self._ask.tickers(product_ids, how))

    async def explain(self, product_id: str, **how: Unpack[How]) -> Explanation:
        """Return what each tier has of a product's ticker, and why it is or is not served; REST is not asked."""
        return await self._run(self._ask.explain(product_id, how))

    async def balances(self, **how: Unpack[How]) -> Answers[str, Balance]:
        """Return the balance of each currency of the account; see `tickers` for what is missing."""
        return await self._run(self._ask.balances(how))

    async def balance(self, currency: str, **how: Unpack[How]) -> Reading[Balance]:
        """Return the balance of one currency."""
        return await self._run(self._ask.balance(currency, how))

    async def accounts(self, **how: Unpack[How]) -> Reading[tuple[Account, ...]]:
        """Return all wallets as one reading, which is as good as the worst of them."""
        return await self._run(self._ask.accounts(how))

    async def portfolio_breakdown(self, uuid: str, **how: Unpack[How]) -> Reading[PortfolioBreakdown]:
        """Return what the key's portfolio is worth and made of; in realtime computed from balances and prices."""
        return await self._run(self._ask.breakdown(uuid, how))

    async def candles(
        self,
        product_id: str,
        granularity: Granularity | str = Granularity.FIVE_MINUTE,
        limit: int = LIMIT,
        **how: Unpack[How],
    ) -> Reading[tuple[Candle, ...]]:
        """Return the newest candles of a product, oldest first; the last may still be open.

        Fewer come where nothing was traded: a bucket without trades has no candle.
        """
        return await self._run(self._ask.candles(product_id, granularity, limit, how))

    async def products(self, **how: Unpack[How]) -> Reading[tuple[Product, ...]]:
        """Return the facts of every product of the exchange."""
        return await self._run(self._ask.products(how))

    async def snapshot(
        self,
        product_ids: Collection[str],
        granularity: Granularity | str = Granularity.FIVE_MINUTE,
        limit: int = LIMIT,
        *,
        accounts: bool = True,
        **how: Unpack[How],
    ) -> Snapshot:
        """Return tickers, candles and accounts for a fleet of bots, in one round trip where all is realtime."""
        return await self._run(self._ask.snapshot(product_ids, granularity, limit, accounts, how))

    async def watch(
        self, product_ids: Collection[str], *, on_outage: OnOutage | None = None, demand: bool = True
    ) -> AsyncGenerator[tuple[ProductId, Reading[Ticker]], None]:
        """Yield the current reading of each product, then every change as it is pushed, also of its tier.

        What is not streamed is read once as `tickers` reads it, and asked for. A slow consumer gets the newest
        state, never a backlog. Where Redis goes away the readings turn stale, and go on when it is back.

        Args:
            on_outage: Called with the reason when Redis goes away, and with None when it is back.
            demand: Ask for what is not streamed. Without, this only looks on: a product that somebody has just
                taken out of the stream does not come back because of it.
        """
        wanted = [parse_product_id(product_id) for product_id in product_ids]
        first = self.tickers(wanted) if demand else self._run(self._ask.shown(wanted))
        for product_id, reading in (await first).items():
            if reading.tier in NOT_STREAMED:
                yield product_id, reading
        async with aclosing(self._watcher.watch(wanted, on_outage)) as changes:
            async for change in changes:
                yield change

    async def close(self) -> None:
        """Close the connections."""
        if self._mirror is not None:
            await self._mirror.close()
        await self._house.close()
        await self._caller.close()
        with suppress(StoreUnavailable):  # it is away: there is nothing to close
            await self._store.close()

    def _mirrored(self, product_ids: Collection[str], how: How) -> dict[ProductId, Reading[Ticker]] | None:
        """Return what the mirror has of all products; None where one of them is not there, or not good enough."""
        assert self._mirror is not None
        bounds = self._ask.ask(**how).bounds if how else None
        readings = {}
        for product_id in product_ids:
            held = self._mirror.get(product_id)
            if held is None or (bounds is not None and bounds.why_not(held) is not None):
                return None
            readings[ProductId(product_id)] = held
        self._plans.served[_REALTIME_TICKER] += len(readings)
        self._plans.read.update(readings)
        return readings

    async def _run(self, plan: Plan[T]) -> T:
        """Take a plan's steps."""
        self._house.tend_if_due()
        reply: Any = None
        failure: StoreUnavailable | None = None
        try:
            while True:
                step = plan.send(reply) if failure is None else plan.throw(failure)
                reply, failure = None, None
                if isinstance(step, Lookup):
                    try:
                        reply = await self._wire.ask(step)
                    except StoreUnavailable as exc:
                        failure = exc
                else:
                    reply = await self._caller.fetch(step.requests, step.call, step.since)
                    self._house.after_call()
        except StopIteration as done:
            value: T = done.value
            return value
