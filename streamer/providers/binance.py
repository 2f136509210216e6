"""Binance USD-M futures: perpetuals in USDT, no key needed.

Wire facts: developers.binance.com, Derivatives, USDS-Margined Futures: market data and error codes, November 2026.
No contract is quoted in USD and none is spot: a price from here says so and answers BTC-USDT only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from streamer.errors import (
    BadInterval,
    Banned,
    GeoBlocked,
    KeyRefused,
    Maintenance,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
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
from streamer.providers.shape import (
    AssetClass,
    Bar,
    Instrument,
    Interval,
    Listed,
    Price,
    Quota,
    Series,
    Span,
    Symbol,
)
from streamer.providers.spans import is_closed, within

_BY_CODE: Final[dict[int, type[RestError]]] = {
    -1121: UnknownSymbol,
    -1122: UnknownSymbol,
    -1120: BadInterval,
    -2014: KeyRefused,
    -2015: KeyRefused,
    -1000: RestUnavailable,
    -1001: RestUnavailable,
    -1007: RestUnavailable,
    -1008: RestUnavailable,
}
_BY_STATUS: Final[dict[int, type[RestError]]] = {
    418: Banned,
    429: RestRateLimited,
    451: GeoBlocked,
    403: RestRateLimited,  # the firewall's limit ("General Info")
    408: RestUnavailable,
}
_BANNED_UNTIL: Final = re.compile(r"until (\d{13})\b")
_SHORTEST_BAN_S: Final = 120.0
_MINUTE_MS: Final = 60_000


class Binance(Adapter):
    """`fapi.binance.com`."""

    name: ClassVar[str] = "binance"
    title: ClassVar[str] = "Binance USD-M futures"
    key_header: ClassVar[str | None] = "X-MBX-APIKEY"
    limits: ClassVar[Sequence[Limit]] = (Limit(10, 1.0), Limit(1000, 60.0))
    assets: ClassVar[frozenset[AssetClass]] = frozenset({AssetClass.CRYPTO})
    intervals: ClassVar[frozenset[Interval]] = frozenset(Interval)
    max_bars: ClassVar[int] = 499
    """Up to here klines weigh 2 of the 2,400 a minute; 1,500 rows would weigh 10."""

    @property
    def base_url(self) -> str:
        """One for all plans."""
        return "https://fapi.binance.com"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """The last trade of the perpetual."""
        answer = yield Get("/fapi/v2/ticker/price", {"symbol": self._id(symbol)})
        return read_price(document(answer, "binance price"), symbol, now_ms)

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Klines; the last may be open."""
        params = {
            "symbol": self._id(symbol),
            "interval": interval.value,
            "startTime": str(span.from_s * 1000),
            "endTime": str(span.to_s * 1000 - 1),
            "limit": str(self.max_bars),
        }
        answer = yield Get("/fapi/v1/klines", params)
        found = read_bars(document(answer, "binance bars"), interval, now_ms)
        return Series(symbol, interval, Instrument.PERPETUAL, within(found, span))

    def listing(self) -> Flow[Sequence[Listed]]:
        """All contracts; `status` tells which have live prices."""
        answer = yield Get("/fapi/v1/exchangeInfo")
        return read_listing(document(answer, "binance list"))

    def quota(self) -> Flow[Quota]:
        """The limit, and what this address has used of it by the header of this very call."""
        answer = yield Get("/fapi/v1/time")
        used = answer.headers.get("x-mbx-used-weight-1m", "")
        return Quota(per_minute=2400, used=int(used) if used.isascii() and used.isdigit() else None)

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by code, then by status."""
        if answer.status == 200:
            return
        try:
            body = document(answer, "binance")
        except RestUnavailable:
            body = None
        facts = body if isinstance(body, dict) else {}
        code, why = facts.get("code"), str(facts.get("msg") or f"HTTP {answer.status}")[:300]
        kind = _BY_STATUS.get(answer.status) or (_BY_CODE.get(code) if isinstance(code, int) else None)
        if kind is None:
            kind = RestUnavailable if answer.status >= 500 else RestRefused
            kind = Maintenance if kind is RestUnavailable and is_page(answer) else kind
        error = self.fault(kind, "request", why, answer)
        if isinstance(error, RestRateLimited):
            error.retry_after_s = _wait_s(answer, why, now_ms)
        raise error

    def _id(self, symbol: Symbol) -> str:
        wanted = symbol.base + symbol.quote
        listed = {entry.id for entry in self.listed if entry.is_active}
        if symbol.asset is not AssetClass.CRYPTO or symbol.quote == "USD" or (listed and wanted not in listed):
            raise self.fault(UnknownSymbol, "symbol", f"it has no {symbol}")
        return quote(wanted)


def read_price(body: Any, symbol: Symbol, now_ms: int) -> Price:
    """Return the price of `ticker/price` (v1, v2) or, as `lastPrice`, of `ticker/24hr`."""
    facts = mapping(body)
    if text(facts.get("symbol"), "symbol") != symbol.base + symbol.quote:
        raise ValueError(f"the answer is of {str(facts.get('symbol'))[:30]}")
    stamp = facts["time"] if "time" in facts else facts.get("closeTime")
    value = facts["price"] if "price" in facts else facts.get("lastPrice")
    return Price(symbol, price_number(value), Instrument.PERPETUAL, epoch_ms(stamp, now_ms))


def read_bars(body: Any, interval: Interval, now_ms: int) -> list[Bar]:
    """Return klines: arrays of 12, times in ms, numbers as strings."""
    return [_bar(row, interval, now_ms) for row in rows(body)]


def _bar(row: Any, interval: Interval, now_ms: int) -> Bar:
    start_ms, *values = rows(row, "kline")[:6]
    if len(values) != 5:
        raise ValueError("a kline has too few values")
    start_s = epoch_ms(start_ms, now_ms, "open time") // 1000
    opened, high, low, close = (price_number(value, "kline") for value in values[:4])
    volume = number(values[4], "volume")
    return Bar(start_s, opened, high, low, close, volume, is_closed(start_s, interval, now_ms))


def read_listing(body: Any) -> list[Listed]:
    """Return the perpetuals of `exchangeInfo`; those on stocks are no stocks."""
    found = []
    for entry in rows(mapping(body).get("symbols"), "symbols"):
        facts = mapping(entry, "symbol")
        if facts.get("contractType") != "PERPETUAL":
            continue
        name, base, counted = (text(facts.get(key), key) for key in ("symbol", "baseAsset", "quoteAsset"))
        found.append(Listed(name, base, counted, Instrument.PERPETUAL, facts.get("status") == "TRADING"))
    return found


def _wait_s(answer: Answer, why: str, now_ms: int) -> float | None:
    """Return how long a limit lasts: by the text or a header, else to the end of the minute, or of a short ban."""
    until = _BANNED_UNTIL.search(why)
    if until is not None:
        return max(0.0, (int(until[1]) - now_ms) / 1000)
    told = retry_after_s(answer, now_ms)
    if told is not None:
        return told
    return _SHORTEST_BAN_S if answer.status == 418 else (_MINUTE_MS - now_ms % _MINUTE_MS) / 1000
