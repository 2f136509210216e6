"""The candles from before the stream, with a REST that answers as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from streamer.coinbase.clock import ExchangeClock
from streamer.errors import CircuitOpen, RestRateLimited, RestRefused, RestUnavailable
from streamer.ingest import backfill
from streamer.ingest.backfill import SPACING_S, SPANS, Backfiller
from streamer.ingest.candles import CandleBook
from streamer.model import CANDLE_S, Account, Bucket, Granularity, Priority, ProductId, Source, Stamp
from streamer.providers.base import ANY, Call, CallCounts

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")


class FakeRest:
    """Answers with what is queued for a product, else with a candle for each bucket."""

    def __init__(self) -> None:
        self.counts, self.source, self.has_key = CallCounts(), Source.COINBASE, True
        self.asked: list[tuple[float, ProductId, int, int]] = []
        self.answers: dict[ProductId, list[Exception]] = {}
        self.opened = asyncio.Event()
        self.opened.set()

    async def accounts(self, call: Call = ANY) -> list[Account]:
        raise NotImplementedError

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        raise NotImplementedError

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        raise NotImplementedError

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        assert (granularity, call) == (Granularity.FIVE_MINUTE, Call(Priority.BACKGROUND, caller="ingest"))
        self.asked.append((time.monotonic(), product_id, from_s, to_s))
        await self.opened.wait()
        if queued := self.answers.get(product_id):
            raise queued.pop(0)
        return [bucket(start_s) for start_s in range(from_s, to_s, CANDLE_S)]

    @property
    def products_asked(self) -> list[ProductId]:
        return [product_id for _, product_id, _, _ in self.asked]


def bucket(start_s: int) -> Bucket:
    """A candle."""
    return Bucket(start_s, "1", "1", "1", "1", "1")


def streamed(book: CandleBook, *product_ids: ProductId) -> None:
    """The stream has spoken of these products: the candle of now."""
    now_s = time.time()
    for product_id in product_ids:
        book.apply(
            product_id,
            [bucket(int(now_s) // CANDLE_S * CANDLE_S)],
            stamp=Stamp("default.candles-0", 1, Source.COINBASE),
            sequence=1,
            time="2026-11-20T15:04:06Z",
            received_s=now_s,
        )


class Rig:
    """A backfiller at work."""

    def __init__(
        self, wanted: list[ProductId], clock: ExchangeClock | None = None, spacing_s: float = 0.02
    ) -> None:
        self.rest, self.book, self.wanted = FakeRest(), CandleBook(), wanted
        self.backfiller = Backfiller(
            self.book, self.rest, clock or ExchangeClock(), lambda: self.wanted, spacing_s=spacing_s
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        task = asyncio.create_task(self.backfiller.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), task.exception()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is a moment."""
    monkeypatch.setattr(backfill, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(backfill, "_RETRY_S", 0.1)


async def until(holds: Callable[[], object]) -> None:
    """Give the loop turns until `holds` does."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


def test_the_default_budget_is_kept() -> None:
    """Ten calls a minute for market data."""
    assert SPACING_S >= 6.0


async def test_each_product_is_asked_for_once_apart_from_each_other() -> None:
    """When the stream has spoken of it, and then no more; never two closer than the spacing."""
    rig = Rig([ETH, BTC], spacing_s=0.1)
    async with rig.running():
        await asyncio.sleep(0.05)
        assert rig.rest.asked == []
        streamed(rig.book, BTC, ETH)
        assert rig.backfiller.waiting == 2
        await until(lambda: rig.backfiller.waiting == 0)
        await asyncio.sleep(0.25)
        assert rig.rest.products_asked == [BTC, ETH]
        assert rig.rest.asked[1][0] - rig.rest.asked[0][0] >= 0.1
        assert len(rig.book.buckets(BTC)) == SPANS[0]
        assert rig.backfiller.why is None


async def test_the_range_is_that_of_the_exchange() -> None:
    """By its clock, not by ours: in its past there are no candles of its future."""
    clock = ExchangeClock()
    clock.saw(time.time() - 86400, time.time())
    rig = Rig([BTC], clock)
    async with rig.running():
        streamed(rig.book, BTC)
        await until(lambda: rig.rest.asked)
        _, _, from_s, to_s = rig.rest.asked[0]
        assert abs(to_s - (time.time() - 86400)) < 10
        assert from_s % CANDLE_S == 0
        assert to_s // CANDLE_S - from_s // CANDLE_S + 1 == SPANS[0]


async def test_a_range_too_long_is_shortened_for_good() -> None:
    """The documentation knows two limits: 400 to the first means the second, asked for at once and from then on."""
    rig = Rig([BTC, ETH])
    rig.rest.answers[BTC] = [RestRefused("candles", "HTTP 400", status=400)]
    async with rig.running():
        streamed(rig.book, BTC, ETH)
        await until(lambda: rig.backfiller.waiting == 0)
        spans = [to_s // CANDLE_S - from_s // CANDLE_S + 1 for _, _, from_s, to_s in rig.rest.asked]
        assert spans == [SPANS[0], SPANS[1], SPANS[1]]
        assert rig.backfiller.why is None


async def test_a_failure_is_said_retried_ever_more_seldom_and_holds_up_nobody() -> None:
    """Others go first; what is wrong is named until it is over."""
    rig = Rig([BTC, ETH])
    rig.rest.answers[BTC] = [RestUnavailable("candles", "HTTP 503", status=503) for _ in range(3)]
    async with rig.running():
        streamed(rig.book, BTC, ETH)
        await until(lambda: len(rig.rest.asked) == 2)
        assert rig.rest.products_asked == [BTC, ETH]
        await until(lambda: len(rig.rest.asked) == 3)
        assert rig.backfiller.why is not None
        assert BTC in rig.backfiller.why and "HTTP 503" in rig.backfiller.why
        await until(lambda: rig.backfiller.waiting == 0)
        times = [at for at, product_id, _, _ in rig.rest.asked if product_id == BTC]
        waits = [later - at for at, later in pairwise(times)]
        assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3
        assert rig.backfiller.why is None


async def test_what_nobody_wants_any_more_is_no_trouble() -> None:
    """A product that could not be had and is no longer asked for must not be named for ever."""
    rig = Rig([BTC])
    rig.rest.answers[BTC] = [RestRefused("candles", "HTTP 404", status=404) for _ in range(100)]
    async with rig.running():
        streamed(rig.book, BTC)
        await until(lambda: rig.backfiller.why)
        rig.wanted = []
        await until(lambda: rig.backfiller.why is None)


async def test_the_success_of_another_does_not_hide_a_failure() -> None:
    """What is missing is missing until it is there."""
    rig = Rig([BTC, ETH])
    rig.rest.answers[BTC] = [RestUnavailable("candles", "HTTP 503", status=503) for _ in range(100)]
    async with rig.running():
        streamed(rig.book, BTC, ETH)
        await until(lambda: ETH not in rig.book.needs([BTC, ETH]))
        await asyncio.sleep(0.03)
        assert rig.backfiller.why is not None
        assert BTC in rig.backfiller.why


async def test_retry_after_is_for_all_products() -> None:
    """The limit is of the address: asking for another one instead would be rude."""
    rig = Rig([BTC, ETH])
    rig.rest.answers[BTC] = [RestRateLimited("candles", "HTTP 429", status=429, retry_after_s=0.3)]
    async with rig.running():
        streamed(rig.book, BTC, ETH)
        await until(lambda: len(rig.rest.asked) == 2)
        assert rig.rest.asked[1][0] - rig.rest.asked[0][0] >= 0.3


async def test_calls_that_are_not_made_are_no_fault_of_a_product() -> None:
    """It is asked for again when calls are made again, however often that took; why it is missing is told."""
    rig = Rig([BTC, ETH])
    rig.rest.answers[BTC] = [CircuitOpen("candles", "too many calls failed", retry_after_s=0.05) for _ in range(6)]
    async with rig.running():
        streamed(rig.book, BTC, ETH)
        await until(lambda: rig.backfiller.why)
        assert rig.backfiller.why == "BTC-USD: too many calls failed"
        await until(lambda: rig.backfiller.waiting == 0)
    assert rig.rest.products_asked == [BTC] * 7 + [ETH]
    times = [at for at, _, _, _ in rig.rest.asked]
    assert all(0.05 <= later - at < 1 for at, later in pairwise(times[:7]))
    assert rig.backfiller.why is None


async def test_what_is_not_wanted_any_more_does_not_come_back() -> None:
    """A call may wait minutes for its turn; meanwhile the product has left, and its keys with it."""
    rig = Rig([BTC])
    rig.rest.opened.clear()
    async with rig.running():
        streamed(rig.book, BTC)
        await until(lambda: rig.rest.asked)
        rig.wanted = []
        rig.book.forget([])
        rig.rest.opened.set()
        await asyncio.sleep(0.05)
        assert rig.book.buckets(BTC) == []
        assert len(rig.book) == 0
