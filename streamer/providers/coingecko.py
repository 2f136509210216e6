"""CoinGecko: crypto, put together from exchanges. Works without a key.

Wire facts: docs.coingecko.com (demo and pro references, error codes, OHLC pages), November 2026. Keys of the demo
plan and of paid ones go to different hosts under different names. Nothing is quoted in USDT: a price in it is
worked out from two in USD, bars in it are not. A candle bears the time of its end, and has no volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import quote

from streamer import errors
from streamer.providers import coingecko_answers as answers
from streamer.providers.adapter import Access, Adapter, Answer, Flow, Get, Limit
from streamer.providers.decode import document, is_page, retry_after_s
from streamer.providers.sessions import narrowed
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
from streamer.providers.spans import joined, within

_BY_CODE: Final[Mapping[int, type[errors.RestError]]] = {
    429: errors.RestRateLimited,
    10002: errors.KeyRefused,
    10010: errors.KeyRefused,
    10011: errors.KeyRefused,
    10005: errors.NotEntitled,
    10012: errors.NotEntitled,  # too long ago for the plan, under a 401: the key is fine
}
_BY_STATUS: Final[Mapping[int, type[errors.RestError]]] = {
    401: errors.KeyRefused,
    403: errors.NotEntitled,
    404: errors.UnknownSymbol,
    408: errors.RestUnavailable,
    429: errors.RestRateLimited,
}
_BLOCK_S: Final = 300.0
"""How long to stay away when the network before the provider shuts us out (1020); it does not tell."""
_PAID: Final = frozenset({"basic", "lite", "analyst", "pro", "enterprise", "paid"})
_LAG_MS: Final = 35 * 60 * 1000
"""So long after its end a day may still miss candles."""
_STABLE: Final = {"USDT": "tether", "USDC": "usd-coin"}
"""In these a price is worked out."""


class CoinGecko(Adapter):
    """`api.coingecko.com`, or for a paid plan (`access.plan`) `pro-api.coingecko.com`."""

    name: ClassVar[str] = "coingecko"
    title: ClassVar[str] = "CoinGecko"
    key_header: ClassVar[str | None] = "x-cg-demo-api-key"
    limits: ClassVar[Sequence[Limit]] = (Limit(30, 60.0),)
    assets: ClassVar[frozenset[AssetClass]] = frozenset({AssetClass.CRYPTO})
    intervals: ClassVar[frozenset[Interval]] = frozenset(answers.AUTO) | frozenset(answers.NAMED)
    max_bars: ClassVar[int] = 175
    """Within the 180 days of one call, and as bars of four hours within its 744 hours."""

    def __init__(self, access: Access, listed: Sequence[Listed] = ()) -> None:
        super().__init__(access, listed)
        self._is_paid = access.plan.strip().lower() in _PAID
        if self._is_paid:
            self.key_header = "x-cg-pro-api-key"  # type: ignore[misc]  # fixed for every other provider

    @property
    def base_url(self) -> str:
        """One host for paid plans, one for all others."""
        return f"https://{'pro-api' if self._is_paid else 'api'}.coingecko.com/api/v3"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """The price over all exchanges, of some 20 to 60 s ago; in USDT or USDC from two in USD."""
        ids, vs = [self._id(symbol)], symbol.quote.lower()
        if symbol.quote in _STABLE:
            ids, vs = [*ids, _STABLE[symbol.quote]], "usd"
        elif vs not in answers.VS:
            raise self.fault(errors.UnknownSymbol, "symbol", f"it counts nothing in {symbol.quote}")
        params = {"ids": ",".join(ids), "vs_currencies": vs}
        answer = yield Get("/simple/price", params | {"include_last_updated_at": "true", "precision": "full"})
        return answers.read_price(document(answer, "coingecko price"), symbol, ids, vs, now_ms)

    def most_bars(self, interval: Interval) -> int:
        """Of hours four times as many."""
        return self.max_bars * (4 if interval is Interval.H1 else 1)

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Candles within reach of the plan, put together where they come in a shorter length alone."""
        coin, vs = quote(self._id(symbol)), symbol.quote.lower()
        if vs not in answers.VS:
            raise self.fault(errors.UnknownSymbol, "symbol", f"it has no bars in {symbol.quote}")
        wanted = narrowed(span, interval, symbol.asset, now_ms)
        part, path, params, note = answers.candles(interval, wanted, now_ms, is_paid=self._is_paid)
        answer = yield Get(f"/coins/{coin}/{path}", {"vs_currency": vs, "precision": "full"} | params)
        found: Sequence[Bar] = answers.read_bars(document(answer, "coingecko bars"), part, now_ms)
        if part is not interval:
            found = joined(found, interval, now_ms - _LAG_MS)
        kept = within(found, wanted)
        if not kept:
            raise self.fault(errors.NoData, "bars", f"none of {symbol} in that time", answer)
        return Series(symbol, interval, Instrument.AGGREGATE, kept, note=note)

    def listing(self) -> Flow[Sequence[Listed]]:
        """All coins. Their symbols are not unique."""
        answer = yield Get("/coins/list", {"include_platform": "false"})
        return answers.read_listing(document(answer, "coingecko list"))

    def quota(self) -> Flow[Quota] | None:
        """What is left of a paid plan."""
        return self._quota() if self._is_paid else None

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by code, then by status; a limit has been seen with HTTP 200."""
        try:
            code, why = answers.refusal(document(answer, "coingecko"))
        except errors.RestUnavailable:
            if answer.status == 200:
                raise
            code, why = 0, ""
        status = code if answer.status == 200 and 400 <= code < 600 else answer.status
        if status == 200 and not code:
            return
        kind = _BY_CODE.get(code) or _BY_STATUS.get(status, errors.RestRefused)
        if status >= 500:
            kind = errors.Maintenance if is_page(answer) else errors.RestUnavailable
        blocked = status == 403 and is_page(answer)
        error = self.fault(errors.Banned if blocked else kind, "request", why or f"HTTP {answer.status}", answer)
        error.retry_after_s = _BLOCK_S if blocked else retry_after_s(answer, now_ms)
        raise error

    def _quota(self) -> Flow[Quota]:
        answer = yield Get("/key")
        return answers.read_quota(document(answer, "coingecko quota"))

    def _id(self, symbol: Symbol) -> str:
        known = answers.KNOWN.get(symbol.base)
        ids = [known] if known is not None else [entry.id for entry in self.listed if entry.base == symbol.base]
        if len(ids) > 1:  # in no order that would tell which of them is meant
            why = f"{len(ids)} coins are called {symbol.base}, and which of them is meant is not known"
            raise self.fault(errors.UnknownSymbol, "symbol", why)
        if symbol.asset is not AssetClass.CRYPTO or not ids:
            raise self.fault(errors.UnknownSymbol, "symbol", f"it has no {symbol}")
        return ids[0]
