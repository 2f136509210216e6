"""Everything that flows in: the feeds of each channel, where their data goes, and who asks REST for the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from itertools import count
from typing import Any

from streamer.coinbase.feed import Feed, FeedFacts, FeedState
from streamer.coinbase.intake import CandleIntake, CandleUpdate, Intake, StatusIntake, TickerIntake, UserIntake
from streamer.coinbase.messages import CANDLES, STATUS, TICKER, USER, Decoder
from streamer.coinbase.pace import Paces
from streamer.coinbase.session import ALL, Session
from streamer.coinbase.transport import choose
from streamer.gateway.warming import WarmingSource
from streamer.ingest.accounts import AccountsKeeper
from streamer.ingest.backfill import Backfiller
from streamer.ingest.catalog import Catalog
from streamer.ingest.feeds import FeedGroup
from streamer.ingest.products import ProductsKeeper
from streamer.ingest.report import renewal_slice
from streamer.ingest.sink import Sink
from streamer.ingest.upstream import Upstream
from streamer.model import Bucket, ProductId, Stamp
from streamer.providers.base import RestSource
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.keys import CANDLES_TTL_S, PORTFOLIO_TTL_S, TICKER_TTL_S, Keys

_FEED_NAMES = {TICKER: "market", CANDLES: "candles", STATUS: "status", USER: "user"}
_ONE_CONNECTION = 1_000_000


class Streams:
    """Wires channels to books. Public channels run always, the user channel and REST only for the shard's owner.

    Args:
        shard: Feeds are called `<shard>.<name>-<number>`.
        on_state: Told that a feed or a product has come or gone.
    """

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        sink: Sink,
        store: Store,
        keys: Keys,
        *,
        shard: str,
        on_state: Callable[[], None],
    ) -> None:
        self._settings, self._upstream, self._sink = settings, upstream, sink
        self._shard, self._on_state = shard, on_state
        self._connect = choose(settings.transport)
        self.decoder, self._paces, self._numbers = Decoder(), Paces(), count(1)
        self._wanted: Collection[ProductId] = ()
        self.catalog = Catalog()
        rest: RestSource | None = None
        if upstream.rest is not None:
            rest = WarmingSource(upstream.rest, store, keys, lambda: self._wanted)
        self.products = ProductsKeeper(
            self.catalog,
            rest,
            store,
            keys,
            on_aliases=self._relearn,
            on_state=self._states_changed,
        )
        self.accounts: AccountsKeeper | None = None
        self.backfiller: Backfiller | None = None
        if rest is not None:
            if upstream.user:
                self.accounts = AccountsKeeper(sink.portfolio, rest, upstream.clock)
            if CANDLES in settings.channels:
                self.backfiller = Backfiller(sink.candles, rest, upstream.clock, lambda: self._wanted)
        self._groups = {channel: self._group(channel) for channel in settings.channels if self._has(channel)}
        self._owner_tasks: list[asyncio.Task[None]] = []
        self._turn, self._was_owner = 0, False

    def _has(self, channel: str) -> bool:
        return channel != USER or self.accounts is not None

    def _group(self, channel: str) -> FeedGroup:
        spread = channel in (TICKER, CANDLES)
        return FeedGroup(
            f"{self._shard}.{_FEED_NAMES[channel]}",
            per_feed=self._settings.products_per_connection if spread else _ONE_CONNECTION,
            make=lambda feed_id: self._feed(feed_id, channel),
        )

    def _feed(self, feed_id: str, channel: str) -> Feed:
        upstream = self._upstream
        signer, clock = upstream.signer, upstream.clock
        sign = None
        if channel == USER:
            assert signer is not None
            key = signer
            sign = lambda: key.ws_token(clock.now(time.time()))  # noqa: E731
        return Feed(
            feed_id,
            upstream.user if channel == USER else upstream.market,
            connect=self._connect,
            session=Session(
                self._settings.session_rules, channel=channel, sign=sign, canonical=self.catalog.canonical
            ),
            intake=self._intake(channel),
            decoder=self.decoder,
            paces=self._paces,
            source=upstream.source,
            clock=clock,
            numbers=self._numbers,
            on_state=self._on_state,
        )

    def _intake(self, channel: str) -> Intake:
        sink = self._sink
        if channel == TICKER:
            return TickerIntake(
                self.decoder,
                sink.tickers.apply,
                lambda product_ids: sink.tickers.suspect(product_ids, time.time()),
                sink.tickers.superseded,
            )
        if channel == CANDLES:
            # A silent connection is noticed late: what came last, came at least so long ago.
            late_s = self._settings.silence_s
            return CandleIntake(
                self.decoder,
                self._candles,
                lambda product_ids: sink.candles.lost(product_ids, time.time() - late_s),
            )
        if channel == STATUS:
            return StatusIntake(self.decoder, self.products.take)
        assert self.accounts is not None
        return UserIntake(self.accounts.take, self.accounts.lost)

    def _candles(self, product_id: ProductId, update: CandleUpdate) -> None:
        self._sink.candles.apply(
            product_id,
            [Bucket(int(c.start), c.open, c.high, c.low, c.close, c.volume) for c in update.candles],
            stamp=update.stamp,
            sequence=update.frame.sequence,
            time=update.frame.message.timestamp,
            received_s=update.frame.received_s,
            is_snapshot=update.is_snapshot,
        )

    # -- once a second -------------------------------------------------------------------------------------------

    def converge(self, wanted: Collection[ProductId], *, is_owner: bool, tasks: asyncio.TaskGroup) -> None:
        """Make the feeds carry what is wanted, and whatever only the owner may run follow the ownership."""
        self._wanted = wanted
        for channel, group in self._groups.items():
            if channel == USER:
                group.converge([ALL] if is_owner else [], tasks)
            else:
                group.converge(wanted, tasks)
        self._sink.forget(wanted)
        self._states_changed()
        if is_owner and not self._owner_tasks:
            self._owner_tasks = [tasks.create_task(work, name=name) for name, work in self._owner_work()]
        elif not is_owner and self._was_owner:
            self._end_owner_work()
            self._sink.portfolio.forget()
        self._was_owner = is_owner

    def _owner_work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        work: list[tuple[str, Coroutine[Any, Any, None]]] = []
        if self.accounts is not None:
            work.append(("accounts", self.accounts.run()))
        if self.backfiller is not None:
            work.append(("backfill", self.backfiller.run()))
        if self._upstream.rest is not None and STATUS in self._groups:
            work.append(("products", self.products.run()))
        return work

    def _end_owner_work(self) -> None:
        for task in self._owner_tasks:
            task.cancel()
        self._owner_tasks = []

    def cancel(self) -> None:
        """End everything."""
        for group in self._groups.values():
            group.cancel()
        self._end_owner_work()

    def rewrite(self) -> None:
        """Have everything written again, as after a restart of Redis."""
        self._sink.rewrite()
        self.products.rewrite()

    def renew(self) -> None:
        """Renew the life of what is quiet, and mend keys that someone deleted or overwrote, in turns.

        Each at a third of its life in Redis, and only what its feed has seen on its present connection: nothing
        else is known to be current.
        """
        live = {feed.stamp for feed in self._feeds() if feed.state is FeedState.LIVE}
        sink, now_s = self._sink, time.time()
        self._turn += 1
        ordered = sorted(self._wanted)
        tickers = [p for p in ordered if (tick := sink.tickers.get(p)) is not None and tick.stamp in live]
        sink.tickers.rewrite(renewal_slice(tickers, self._turn, TICKER_TTL_S // 3), now_s)
        candles = [p for p in ordered if sink.candles.stamp(p) in live]
        sink.candles.renew(renewal_slice(candles, self._turn, CANDLES_TTL_S // 3), now_s)
        if sink.portfolio.stamp in live:
            balances = sorted(sink.portfolio.currencies)
            sink.portfolio.rewrite(renewal_slice(balances, self._turn, PORTFOLIO_TTL_S // 3), now_s)

    def _states_changed(self) -> None:
        self._sink.tickers.tell(self.catalog.offline(self._wanted), time.time())

    def _relearn(self) -> None:
        for feed in self._feeds():
            feed.relearn()

    # -- how it stands -------------------------------------------------------------------------------------------

    def _feeds(self) -> list[Feed]:
        return [feed for group in self._groups.values() for feed in group.feeds.values()]

    def facts(self, now: float) -> list[FeedFacts]:
        """Return how each feed stands at monotonic time `now`."""
        return [facts for group in self._groups.values() for facts in group.facts(now)]

    @property
    def frames(self) -> int:
        """Frames received since start."""
        return sum(group.frames for group in self._groups.values())

    @property
    def malformed(self) -> int:
        """Frames that were none of the protocol's."""
        return sum(feed.malformed for feed in self._feeds())

    @property
    def unasked(self) -> int:
        """Data of products that nobody asked for."""
        return sum(feed.unasked for feed in self._feeds())

    @staticmethod
    def user_stamp(shard: str, upstream: Upstream) -> Stamp:
        """Return what balances are filed under before the user channel has connected."""
        return Stamp(f"{shard}.{_FEED_NAMES[USER]}-0", 0, upstream.source)
