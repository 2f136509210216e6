"""Products, books, trades and candles over REST. Pure; what needs no key is the same with one."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from streamer.simulator.catalogue import Catalogue
from streamer.simulator.clock import Clock
from streamer.simulator.frames import Stamper
from streamer.simulator.market import Market, Ticker, canonical
from streamer.simulator.past import plain
from streamer.simulator.rest_ask import Ask
from streamer.simulator.rest_errors import invalid, not_found
from streamer.simulator.tape import GRANULARITIES, Tape

MAX_CANDLES = 350
_TOO_MANY = "start and end argument is invalid - number of candles requested should be less than 350"
_MAX_TRADES = 1000
_LEVELS = 10


class RestMarket:
    """The market's desk.

    Args:
        market: Where prices come from.
        catalogue: The products.
        tape: Trades and candles.
        clock: The exchange's clock.
        fill_candles: Whether buckets without trades have candles.
        unknown_products: What becomes of ids that are not known, one of `settings.UNKNOWN_PRODUCTS`.
    """

    def __init__(
        self,
        market: Market,
        catalogue: Catalogue,
        tape: Tape,
        clock: Clock,
        *,
        fill_candles: bool = False,
        unknown_products: str = "leave_out",
    ) -> None:
        self._market, self._catalogue, self._tape, self._clock = market, catalogue, tape, clock
        self._fill, self._unknown_products = fill_candles, unknown_products
        self._stamper = Stamper()

    def time(self, ask: Ask) -> dict[str, Any]:
        """`GET /time`."""
        now_ns = self._clock.now_ns()
        second, millis = now_ns // 1_000_000_000, now_ns // 1_000_000
        iso = self._stamper.stamp(second * 1_000_000_000).decode()
        return {"iso": iso, "epochSeconds": str(second), "epochMillis": str(millis)}

    def products(self, ask: Ask) -> dict[str, Any]:
        """`GET /products`."""
        wanted = frozenset(ask.many("product_ids"))
        self._check_known(wanted)
        ids = [p for p in self._catalogue.ids() if not wanted or p in wanted]
        if (ask.one("product_type") or "SPOT") not in ("SPOT", "UNKNOWN_PRODUCT_TYPE"):
            ids = []
        offset, limit = ask.whole("offset") or 0, ask.whole("limit") or len(ids)
        found = [self._catalogue.rest_product(p) for p in ids[offset : offset + limit]]
        return {"products": found, "num_products": len(found), "pagination": None}

    def product(self, ask: Ask) -> dict[str, Any]:
        """`GET /products/{product_id}`."""
        return self._catalogue.rest_product(self._known(ask.params.get("product_id")))

    def best_bid_ask(self, ask: Ask) -> dict[str, Any]:
        """`GET /best_bid_ask`."""
        ids = [self._known(p) for p in ask.many("product_ids")] or self._catalogue.ids()
        return {"pricebooks": [self._book(p, 1) for p in ids]}

    def product_book(self, ask: Ask) -> dict[str, Any]:
        """`GET /product_book`: a few levels, of which the first is the ticker's."""
        product_id = self._known(ask.one("product_id"))
        ticker = self._ticker(product_id)
        answer = {
            "pricebook": self._book(product_id, min(ask.whole("limit") or _LEVELS, _LEVELS)),
            "last": ticker.get("price", ""),
            "mid_market": "",
            "spread_bps": "",
            "spread_absolute": "",
        }
        bid, offer = ticker.get("best_bid"), ticker.get("best_ask")
        if bid and offer:
            spread, mid = Decimal(offer) - Decimal(bid), (Decimal(offer) + Decimal(bid)) / 2
            answer["mid_market"], answer["spread_absolute"] = plain(mid), plain(spread)
            answer["spread_bps"] = plain((spread / mid * 10_000).quantize(Decimal("1e-12")))
        return answer

    def trades(self, ask: Ask) -> dict[str, Any]:
        """`GET /products/{product_id}/ticker`: the newest trades, newest first."""
        product_id = self._known(ask.params.get("product_id"))
        limit = ask.whole("limit", 1, _MAX_TRADES) or 100
        label, ticker = canonical(product_id), self._ticker(product_id)
        found = self._tape.trades(label, limit, ask.whole("start"), ask.whole("end"))
        shown = [
            {
                "trade_id": str(trade.number),
                "product_id": product_id,
                "price": trade.price,
                "size": trade.size,
                "time": self._stamper.stamp(trade.time_ns).decode(),
                "side": trade.side,
                "bid": "",
                "ask": "",
                "exchange": "coinbase",
            }
            for trade in found
        ]
        return {
            "trades": shown,
            "best_bid": ticker.get("best_bid", ""),
            "best_ask": ticker.get("best_ask", ""),
        }

    def candles(self, ask: Ask) -> dict[str, Any]:
        """`GET /products/{product_id}/candles`.

        Both ends count: a bucket is there if it starts from `start` to `end`. Over 350 such buckets are refused,
        whether there were trades in them or not.
        """
        product_id = self._known(ask.params.get("product_id"))
        width_s = GRANULARITIES.get(ask.one("granularity") or "")
        start_s, end_s = ask.whole("start"), ask.whole("end")
        if width_s is None:
            raise invalid("granularity argument is invalid")
        if start_s is None or end_s is None or end_s < start_s:
            raise invalid("start and end argument is invalid")
        first, last = -(-start_s // width_s), end_s // width_s
        if last - first + 1 > MAX_CANDLES:
            raise invalid(_TOO_MANY)
        limit = ask.whole("limit", 1, MAX_CANDLES) or MAX_CANDLES
        end_s = min(end_s, self._clock.true_ns() // 1_000_000_000)
        found = self._tape.candles(canonical(product_id), width_s, start_s, end_s, fill=self._fill)
        return {"candles": [candle.fields() for candle in found[:limit]]}

    def _check_known(self, product_ids: Iterable[str]) -> None:
        if self._unknown_products == "leave_out" or all(self._catalogue.has(p) for p in product_ids):
            return
        if self._unknown_products == "400":
            raise invalid("product_ids argument is invalid")
        raise not_found("valid product_id is required")

    def _known(self, product_id: str | None) -> str:
        if product_id is None or not self._catalogue.has(product_id):
            raise not_found("valid product_id is required")
        return product_id

    def _ticker(self, product_id: str) -> Ticker:
        return self._market.latest(canonical(product_id)) or {}

    def _book(self, product_id: str, levels: int) -> dict[str, Any]:
        ticker = self._ticker(product_id)
        step = Decimal(self._catalogue.increment(product_id))
        return {
            "product_id": product_id,
            "bids": _levels(ticker.get("best_bid"), ticker.get("best_bid_quantity"), -step, levels),
            "asks": _levels(ticker.get("best_ask"), ticker.get("best_ask_quantity"), step, levels),
            "time": self._stamper.stamp(self._clock.now_ns() // 1000 * 1000).decode(),
        }


def _levels(best: str | None, size: str | None, step: Decimal, count: int) -> list[dict[str, str]]:
    if not best:
        return []
    prices = [Decimal(best) + step * (i * i + i) for i in range(count)]
    sizes = [Decimal(size or "1") * (i + 1) for i in range(count)]
    return [{"price": plain(p), "size": plain(s)} for p, s in zip(prices, sizes, strict=True) if p > 0]
