"""Coinbase as one provider among others: the public market data of Advanced Trade, without a key.

Wire facts: docs.cdp.coinbase.com, Advanced Trade API, public endpoints, November 2026. Spot prices of one exchange;
candles come newest first, and none for a time without a trade. The stream is the better way to the same prices;
this is for what is not streamed, and to compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from streamer.errors import (
    BadInterval,
    Maintenance,
    NoData,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnauthorized,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.model import Granularity
from streamer.providers.adapter import Adapter, Answer, Flow, Get, Limit
from streamer.providers.decode import (
    document,
    epoch_ms,
    is_page,
    mapping,
    number,
    price_number,
    retry_after_s,
    rows,
    text,
)
from streamer.providers.sessions import narrowed
from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Listed, Price, Series, Span, Symbol
from streamer.providers.spans import is_closed, within

_PRODUCTS: Final = "/api/v3/brokerage/market/products"
_GRANULARITIES: Final = {
    Interval.M1: Granularity.ONE_MINUTE,
    Interval.M5: Granularity.FIVE_MINUTE,
    Interval.M15: Granularity.FIFTEEN_MINUTE,
    Interval.M30: Granularity.THIRTY_MINUTE,
    Interval.H1: Granularity.ONE_HOUR,
    Interval.H4: Granularity.FOUR_HOUR,
    Interval.D1: Granularity.ONE_DAY,
}
_BY_STATUS: Final[dict[int, type[RestError]]] = {
    401: RestUnauthorized,
    403: RestUnauthorized,
    404: UnknownSymbol,
    408: RestUnavailable,
    429: RestRateLimited,
}
_LIMIT_S: Final = 1.0
"""The limit is by the second, and no header tells more."""


class CoinbasePublic(Adapter):
    """`api.coinbase.com`."""

    name: ClassVar[str] = "coinbase"
    title: ClassVar[str] = "Coinbase Advanced Trade"
    limits: ClassVar[Sequence[Limit]] = (Limit(10, 1.0),)
    assets: ClassVar[frozenset[AssetClass]] = frozenset({AssetClass.CRYPTO})
    intervals: ClassVar[frozenset[Interval]] = frozenset(_GRANULARITIES)
    market: ClassVar[Instrument] = Instrument.SPOT
    max_bars: ClassVar[int] = 300
    """One request brings 350 by newer pages of the documentation, 300 by older ones."""

    @property
    def base_url(self) -> str:
        """One for all."""
        return "https://api.coinbase.com"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """The last trade; when it was is not told."""
        answer = yield Get(f"{_PRODUCTS}/{self._id(symbol)}")
        return read_price(document(answer, "coinbase price"), symbol)

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Candles; the last may be open."""
        asked = narrowed(span, interval, symbol.asset, now_ms)
        params = {
            "start": str(asked.from_s),
            "end": str(asked.to_s),
            "granularity": _GRANULARITIES[interval].value,
            "limit": "350",
        }
        answer = yield Get(f"{_PRODUCTS}/{self._id(symbol)}/candles", params)
        bars = within(read_bars(document(answer, "coinbase bars"), interval, now_ms), span)
        if not bars:
            raise self.fault(NoData, "bars", f"none of {symbol} in that time", answer)
        return Series(symbol, interval, Instrument.SPOT, bars)

    def listing(self) -> Flow[Sequence[Listed]]:
        """All products of the spot market."""
        answer = yield Get(_PRODUCTS, {"product_type": "SPOT"})
        return read_listing(document(answer, "coinbase list"))

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by status: the body of the same may be JSON, a page or empty."""
        if answer.status == 200:
            return
        why = _why(answer)
        kind = _BY_STATUS.get(answer.status, RestUnavailable if answer.status >= 500 else RestRefused)
        if is_page(answer) and kind is not RestRateLimited:
            kind = Maintenance
        elif answer.status == 400 and "granularity" in why.lower():
            kind = BadInterval
        error = self.fault(kind, "request", why, answer)
        if isinstance(error, RestRateLimited):
            told_s = retry_after_s(answer, now_ms)
            error.retry_after_s = told_s if told_s is not None else _LIMIT_S
        raise error

    def _id(self, symbol: Symbol) -> str:
        wanted = f"{symbol.base}-{symbol.quote}"
        listed = {entry.id for entry in self.listed if entry.is_active}
        if symbol.asset is not AssetClass.CRYPTO or (listed and wanted not in listed):
            raise self.fault(UnknownSymbol, "symbol", f"it has no {symbol}")
        return quote(wanted)


def read_price(body: Any, symbol: Symbol) -> Price:
    """Return the price of one product.

    Some products are other names of one: BTC-USDC trades in the book of BTC-USD, and a note says so.

    Raises:
        NoData: It has not traded yet: the price is empty.
    """
    facts = mapping(body)
    if text(facts.get("product_id"), "product_id") != f"{symbol.base}-{symbol.quote}":
        raise ValueError(f"the answer is of {str(facts['product_id'])[:30]}")
    if facts.get("price") in ("", None):
        raise NoData("coinbase price", f"{symbol} has none yet")
    book = facts.get("alias") or ""
    notes = [f"of the book of {str(book)[:30]}"] if book else []
    halted = facts.get("trading_disabled") is True
    if halted:
        notes.append("trading is halted")
    return Price(symbol, price_number(facts["price"]), Instrument.SPOT, is_live=not halted, note="; ".join(notes))


def read_bars(body: Any, interval: Interval, now_ms: int) -> list[Bar]:
    """Return candles, in the order they came in; volume is in base units."""
    return [_bar(mapping(row, "candle"), interval, now_ms) for row in rows(mapping(body).get("candles"), "candles")]


def _bar(facts: Mapping[str, Any], interval: Interval, now_ms: int) -> Bar:
    start_s = epoch_ms(facts.get("start"), now_ms, "start") // 1000
    opened, high, low, close = (price_number(facts.get(name), name) for name in ("open", "high", "low", "close"))
    volume = number(facts.get("volume"), "volume")
    return Bar(start_s, opened, high, low, close, volume, is_closed(start_s, interval, now_ms))


def read_listing(body: Any) -> list[Listed]:
    """Return the products of a list; those that only can be looked at have prices too."""
    found = []
    for row in rows(mapping(body).get("products"), "products"):
        facts = mapping(row, "product")
        name, base, counted = (
            text(facts.get(key), key) for key in ("product_id", "base_currency_id", "quote_currency_id")
        )
        is_active = facts.get("status") == "online" and facts.get("is_disabled") is not True
        found.append(Listed(name, base, counted, Instrument.SPOT, is_active))
    return found


def _why(answer: Answer) -> str:
    try:
        facts = mapping(document(answer, "coinbase"))
    except (RestUnavailable, ValueError):
        return f"HTTP {answer.status}"
    return str(facts.get("message") or facts.get("error") or f"HTTP {answer.status}")[:300]
