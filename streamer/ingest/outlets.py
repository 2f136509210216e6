"""How each kind of realtime key is written: from a book, in batches, by one script call each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import msgspec

from streamer.ingest.books import Pending, TickerBook
from streamer.ingest.candles import CandleBook
from streamer.ingest.portfolio import PendingBalance, Portfolio
from streamer.model import ProductId
from streamer.store.candle_records import PendingCandles, candle_record
from streamer.store.connect import Script, Store
from streamer.store.keys import CANDLES_TTL_S, PORTFOLIO_TTL_S, STALE_TTL_S, TICKER_TTL_S, Keys
from streamer.store.records import balance_record, ticker_record

P = TypeVar("P")
Arguments = list[str | int | bytes]
_pack = msgspec.msgpack.Encoder().encode


class Book(Protocol[P]):
    """Newest values, and which of them Redis does not have. Conflates: what waits is replaced, never queued."""

    @property
    def dirty(self) -> int:
        """How much waits to be written."""

    def oldest_dirty_s(self) -> float | None:
        """Unix time since when the longest waiting waits, None where nothing does."""

    def drain(self, limit: int) -> list[P]:
        """Hand over up to `limit` to write, longest waiting first."""

    def restore(self, batch: Sequence[P]) -> None:
        """Take back what could not be written."""

    def rewrite(self, names: None, now_s: float) -> None:
        """Have everything written again."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one batch.

    Attributes:
        size: Of the batch.
        written: Taken by Redis.
        older: Refused because Redis held something newer.
        fenced: Refused because a newer owner wrote; these are back in the book.
        epoch: The highest epoch found.
        since_s: Unix time at which the oldest change in it reached us.
        stamped: The exchange's time of a record that is new to Redis; None where the batch is known to have none.
    """

    size: int
    written: int = 0
    older: int = 0
    fenced: int = 0
    epoch: int = 0
    since_s: float = 0.0
    stamped: str | None = None


class Outlet(ABC, Generic[P]):
    """Writes one kind of key.

    Args:
        batch: Most records of a script call: what keeps Redis busy for some 8 ms at most.

    Attributes:
        kind: What the records are, for whoever counts them.
    """

    kind: ClassVar[str]

    def __init__(self, book: Book[P], script: Script, *, batch: int) -> None:
        self.book, self._script, self._batch = book, script, batch

    async def flush(self, epoch: int) -> Written:
        """Write up to one batch under `epoch`.

        Raises:
            StoreUnavailable: Redis does not answer; the batch is back in the book.
        """
        since_s = self.book.oldest_dirty_s()
        batch = self.book.drain(self._batch)
        if since_s is None or not batch:
            return Written(0)
        done = False
        try:
            reply = await self._script(self._keys_of(batch), self._arguments(batch, epoch))
            done = True
        finally:
            if not done:  # also where we are cancelled with the answer outstanding: writing twice is harmless
                self.book.restore(batch)
        fenced = int(reply[3])
        if fenced:
            self.book.restore(batch)
        self._heed(batch, reply)
        written, older, epoch = int(reply[1]), int(reply[2]), int(reply[4])
        return Written(len(batch), written, older, fenced, epoch, since_s, self._stamp_of(batch))

    def _stamp_of(self, batch: Sequence[P]) -> str | None:
        """Return the exchange's time of one new record."""
        return None

    def _heed(self, batch: Sequence[P], reply: Sequence[bytes | int]) -> None:
        """Take whatever else the script has replied."""

    @abstractmethod
    def _keys_of(self, batch: Sequence[P]) -> list[str]: ...

    @abstractmethod
    def _arguments(self, batch: Sequence[P], epoch: int) -> Arguments: ...


class TickerOutlet(Outlet[Pending]):
    """Tickers and their shadows."""

    kind = "ticker"

    def __init__(self, store: Store, keys: Keys, book: TickerBook) -> None:
        super().__init__(book, Script(store, "fence", "write_hashes"), batch=500)
        self._keys = keys
        self._pairs: dict[ProductId, tuple[str, str]] = {}

    def _keys_of(self, batch: Sequence[Pending]) -> list[str]:
        keys: list[str] = []
        for pending in batch:
            pair = self._pairs.get(pending.product_id)
            if pair is None:
                product_id = pending.product_id
                pair = self._pairs[product_id] = self._keys.ticker(product_id), self._keys.ticker_stale(product_id)
            keys += pair
        return keys

    def _arguments(self, batch: Sequence[Pending], epoch: int) -> Arguments:
        records = [
            ticker_record(
                p.product_id,
                p.tick,
                suspect=p.suspect,
                epoch=epoch,
                status=p.status,
                outlier=None if p.jump is None else str(p.jump),
            )
            for p in batch
        ]
        return [epoch, TICKER_TTL_S * 1000, STALE_TTL_S * 1000, self._keys.ticker_updates, _pack(records), ""]

    def _stamp_of(self, batch: Sequence[Pending]) -> str | None:
        # One that is only renewed was stamped long ago, and has waited for less than since it came.
        return next((p.tick.time for p in batch if p.tick.received_s >= p.since_s), None)

    def forget(self, product_ids: Collection[ProductId]) -> None:
        """Drop what is kept of products that are gone."""
        for product_id in product_ids:
            self._pairs.pop(product_id, None)


class BalanceOutlet(Outlet[PendingBalance]):
    """Balances, their shadows, and the set that lists their currencies."""

    kind = "balance"

    def __init__(self, store: Store, keys: Keys, book: Portfolio) -> None:
        super().__init__(book, Script(store, "fence", "write_hashes"), batch=500)
        self._keys, self._portfolio = keys, book

    def _keys_of(self, batch: Sequence[PendingBalance]) -> list[str]:
        keys = [
            key
            for pending in batch
            for key in (self._keys.balance(pending.currency), self._keys.balance_stale(pending.currency))
        ]
        return [*keys, self._keys.currencies]

    def _arguments(self, batch: Sequence[PendingBalance], epoch: int) -> Arguments:
        records = [
            balance_record(
                p.currency,
                available=p.state.amounts.available,
                hold=p.state.amounts.hold,
                total=p.state.amounts.total,
                basis=p.state.basis,
                suspect=p.state.suspect,
                account_uuid=p.state.account_uuid,
                time=p.time,
                received_s=p.received_s,
                stamp=self._portfolio.stamp,
                epoch=epoch,
            )
            for p in batch
        ]
        channel = self._keys.balance_updates
        return [epoch, PORTFOLIO_TTL_S * 1000, STALE_TTL_S * 1000, channel, _pack(records), "currency"]


class CandleOutlet(Outlet[PendingCandles]):
    """Candles and what is known about them; a product of which Redis lacks the rest is written whole."""

    kind = "candles"

    def __init__(self, store: Store, keys: Keys, book: CandleBook) -> None:
        # A whole product is 350 buckets, 1 ms of Redis and some 25 kB: a call must not hold it up for others.
        super().__init__(book, Script(store, "fence", "write_candles"), batch=8)
        self._keys, self._candles = keys, book

    def _keys_of(self, batch: Sequence[PendingCandles]) -> list[str]:
        return [
            key for p in batch for key in (self._keys.candles(p.product_id), self._keys.candles_meta(p.product_id))
        ]

    def _arguments(self, batch: Sequence[PendingCandles], epoch: int) -> Arguments:
        return [epoch, CANDLES_TTL_S * 1000, _pack([candle_record(p, epoch=epoch) for p in batch])]

    def _heed(self, batch: Sequence[PendingCandles], reply: Sequence[bytes | int]) -> None:
        for index in reply[5:]:
            pending = batch[int(index) - 1]
            self._candles.rewrite([pending.product_id], pending.waiting_since_s)
