"""Fetches the candles from before the stream began: one REST call a product, spread out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

import structlog

from streamer.coinbase.clock import ExchangeClock
from streamer.errors import CallNotMade, RestError
from streamer.ingest.candles import KEEP, CandleBook
from streamer.model import CANDLE_S, Granularity, Priority, ProductId
from streamer.providers.base import Call, RestSource

log = structlog.get_logger(__name__)

SPACING_S = 6.0
"""Between two calls: the default budget for market data is 10 calls a minute."""
SPANS = (KEEP - 1, 299)
"""Candles asked for in one call: the exchange takes up to 350 by its newer documentation, 300 by its older."""
_LOOK_EVERY_S = 1.0
_RETRY_S = 60.0
_NOT_NOW_S = 10.0
"""After a call that was not made, as while Redis is away."""
_SLOWEST_S = 1800.0
_CALL = Call(Priority.BACKGROUND, caller="ingest")


class Backfiller:
    """Asks for the candles that the book lacks, product by product.

    Args:
        wanted: The products, looked at anew each time.
    """

    def __init__(
        self,
        book: CandleBook,
        rest: RestSource,
        clock: ExchangeClock,
        wanted: Callable[[], Collection[ProductId]],
        *,
        spacing_s: float = SPACING_S,
    ) -> None:
        self._book, self._rest, self._clock, self._wanted = book, rest, clock, wanted
        self._spacing_s = spacing_s
        self._spans = list(SPANS)
        self._not_before: dict[ProductId, tuple[float, float]] = {}
        self._failed: dict[ProductId, str] = {}

    @property
    def why(self) -> str | None:
        """Why the past of a product is still missing, None where nothing has failed."""
        return next(
            (f"{p}: {self._failed[p]}" for p in self._book.needs(self._wanted()) if p in self._failed), None
        )

    @property
    def waiting(self) -> int:
        """How many products still wait for their past."""
        return len(self._book.needs(self._wanted()))

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            now = time.monotonic()
            needed = self._book.needs(sorted(self._wanted()))
            due = next((p for p in needed if self._not_before.get(p, (0.0, 0.0))[0] <= now), None)
            if due is None:
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            retry_after_s = await self._fetch(due)
            await asyncio.sleep(max(self._spacing_s, retry_after_s))

    async def _fetch(self, product_id: ProductId) -> float:
        """Ask for one product; return how long the exchange wants to be left alone."""
        to_s = int(self._clock.now(time.time()))
        from_s = (to_s // CANDLE_S - self._spans[0] + 1) * CANDLE_S
        try:
            buckets = await self._rest.candles(product_id, Granularity.FIVE_MINUTE, from_s, to_s, _CALL)
        except CallNotMade as exc:  # no fault of this product: its turn comes again as soon as any call is made
            self._failed[product_id] = exc.why
            return min(_NOT_NOW_S if exc.retry_after_s is None else exc.retry_after_s, _SLOWEST_S)
        except RestError as exc:
            if exc.status == 400 and len(self._spans) > 1:
                self._spans.pop(0)
                return 0.0
            self._failed[product_id] = exc.why
            wait_s = min(_SLOWEST_S, self._not_before.get(product_id, (0.0, _RETRY_S / 2))[1] * 2)
            self._not_before[product_id] = time.monotonic() + wait_s, wait_s
            log.warning("candles.backfill_failed", product_id=product_id, why=exc.why, retry_in_s=wait_s)
            return min(exc.retry_after_s or 0.0, _SLOWEST_S)
        self._failed.pop(product_id, None)
        self._not_before.pop(product_id, None)
        if product_id in self._wanted():  # a call may wait long, and what is gone must not come back
            self._book.backfilled(product_id, buckets, from_s, to_s)
        return 0.0
