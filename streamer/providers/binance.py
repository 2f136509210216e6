"""Binance USD-M futures: perpetuals in USDT, no key needed.

Wire facts: developers.binance.com, Derivatives, USDS-Margined Futures: market data and error codes, November 2026.
No contract is quoted in USD and none is spot: a price from here says so and answers BTC-USDT only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from streamer import errors
from streamer.providers.adapter import Adapter, Answer, Flow, Get, Limit
from streamer.providers.binance_answers import read_bars, read_listing, read_price
from streamer.providers.decode import document, is_page, retry_after_s
from streamer.providers.sessions import narrowed
from streamer.providers.shape import AssetClass, Instrument, Interval, Listed, Price, Quota, Series, Span, Symbol
from streamer.providers.spans import within

_BY_CODE: Final[Mapping[int, type[errors.RestError]]] = {
    -1121: errors.UnknownSymbol,
    -1122: errors.UnknownSymbol,
    -1120: errors.BadInterval,
    -2014: errors.KeyRefused,
    -2015: errors.KeyRefused,
    -1000: errors.RestUnavailable,
    -1001: errors.RestUnavailable,
    -1007: errors.RestUnavailable,
    -1008: errors.RestUnavailable,
}
_BY_STATUS: Final[Mapping[int, type[errors.RestError]]] = {
    418: errors.Banned,
    429: errors.RestRateLimited,
    451: errors.GeoBlocked,
    403: errors.RestRateLimited,  # the firewall's limit ("General Info")
    408: errors.RestUnavailable,
}
_QUOTES: Final = frozenset({"USDT", "USDC", "BTC"})
"""What contracts are quoted in, until the list says more."""
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
    market: ClassVar[Instrument] = Instrument.PERPETUAL
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
        wanted = narrowed(span, interval, symbol.asset, now_ms)
        params = {
            "symbol": self._id(symbol),
            "interval": interval.value,
            "startTime": str(wanted.from_s * 1000),
            "endTime": str(wanted.to_s * 1000 - 1),
            "limit": str(wanted.limit),
        }
        answer = yield Get("/fapi/v1/klines", params)
        found = within(read_bars(document(answer, "binance bars"), interval, now_ms), wanted)
        if not found:
            raise self.fault(errors.NoData, "bars", f"none of {symbol} in that time", answer)
        return Series(symbol, interval, Instrument.PERPETUAL, found)

    def listing(self) -> Flow[Sequence[Listed]]:
        """All contracts; `status` tells which have live prices."""
        answer = yield Get("/fapi/v1/exchangeInfo")
        return read_listing(document(answer, "binance list"))

    def quota(self) -> Flow[Quota]:
        """The limit, and what this address has used of it by the header of this very call."""
        answer = yield Get("/fapi/v1/time")
        document(answer, "binance quota")
        used = answer.headers.get("x-mbx-used-weight-1m", "")
        return Quota(per_minute=2400, used=int(used) if used.isascii() and used.isdigit() else None)

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by code, then by status."""
        if answer.status == 200:
            return
        try:
            body = document(answer, "binance")
        except errors.RestUnavailable:
            body = None
        facts = body if isinstance(body, dict) else {}
        code, why = facts.get("code"), str(facts.get("msg") or f"HTTP {answer.status}")[:300]
        kind = _BY_STATUS.get(answer.status) or (_BY_CODE.get(code) if isinstance(code, int) else None)
        if kind is None:
            kind = errors.RestUnavailable if answer.status >= 500 else errors.RestRefused
            kind = errors.Maintenance if kind is errors.RestUnavailable and is_page(answer) else kind
        error = self.fault(kind, "request", why, answer)
        if isinstance(error, errors.RestRateLimited):
            error.retry_after_s = _wait_s(answer, why, now_ms)
        raise error

    def _id(self, symbol: Symbol) -> str:
        # By base and quote, not by both as one word: BTCU in SDT has the letters of BTC in USDT.
        pair = symbol.base, symbol.quote
        listed = {(entry.base, entry.quote) for entry in self.listed if entry.is_active}
        is_known = pair in listed if listed else symbol.quote in _QUOTES
        if symbol.asset is not AssetClass.CRYPTO or not is_known:
            raise self.fault(errors.UnknownSymbol, "symbol", f"it has no {symbol}")
        return symbol.base + symbol.quote


def _wait_s(answer: Answer, why: str, now_ms: int) -> float | None:
    """Return how long a limit lasts: by the text or a header, else to the end of the minute, or of a short ban."""
    until = _BANNED_UNTIL.search(why)
    if until is not None:
        return max(0.0, (int(until[1]) - now_ms) / 1000)
    told = retry_after_s(answer, now_ms)
    if told is not None:
        return told
    return _SHORTEST_BAN_S if answer.status == 418 else (_MINUTE_MS - now_ms % _MINUTE_MS) / 1000
