"""Polygon, now Massive: stocks, and crypto put together from exchanges. Needs a key.

Wire facts: the vendor's OpenAPI file, its clients and help pages, November 2026. No pair in USDT is known.
Plans decide what is answered: the free one has closes of past days, dearer ones prices 15 minutes late or live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, quote, urlsplit

from streamer import errors
from streamer.providers import polygon_answers as answers
from streamer.providers.adapter import Adapter, Answer, Flow, Get, Limit
from streamer.providers.decode import document, is_page, mapping, retry_after_s, text
from streamer.providers.sessions import day_of, day_start_s
from streamer.providers.shape import AssetClass, Bar, Interval, Listed, Price, Series, Span, Symbol
from streamer.providers.spans import within

_BY_STATUS: Final[Mapping[int, type[errors.RestError]]] = {
    401: errors.KeyRefused,
    403: errors.NotEntitled,
    404: errors.UnknownSymbol,
    408: errors.RestUnavailable,
    429: errors.RestRateLimited,
}
_BY_WORD: Final = {"NOT_AUTHORIZED": 403, "NOT_FOUND": 404, "ERROR": 400}
"""What `status` says in answers that refuse; in others it is OK, DELAYED or success."""
_TOO_MANY: Final = "maximum requests"
_HOSTS: Final = frozenset({"api.massive.com", "api.polygon.io"})
_QUOTES: Final = frozenset({"USD", "EUR", "GBP", "JPY"})
_FREE: Final = frozenset({"free", "basic"})
_UNITS: Final = {
    Interval.M1: ("1/minute", 1),
    Interval.M5: ("5/minute", 5),
    Interval.M15: ("15/minute", 15),
    Interval.M30: ("30/minute", 30),
    Interval.H1: ("1/hour", 60),
    Interval.H4: ("4/hour", 240),
    Interval.D1: ("1/day", 1),
}
"""Path, and how many of the bars that `limit` counts make one."""
_MOST_COUNTED: Final = 50_000
_MOST_LISTED: Final = 20_000


class Polygon(Adapter):
    """`api.massive.com`; `api.polygon.io` answers as well."""

    name: ClassVar[str] = "polygon"
    title: ClassVar[str] = "Polygon (Massive)"
    key_header: ClassVar[str | None] = "Authorization"
    key_prefix: ClassVar[str] = "Bearer "
    needs_key: ClassVar[bool] = True
    limits: ClassVar[Sequence[Limit]] = (Limit(5, 60.0),)
    assets: ClassVar[frozenset[AssetClass]] = frozenset(AssetClass)
    intervals: ClassVar[frozenset[Interval]] = frozenset(Interval)
    max_bars: ClassVar[int] = _MOST_COUNTED
    free_days: ClassVar[int | None] = 730

    @property
    def base_url(self) -> str:
        """One for all plans."""
        return "https://api.massive.com"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """The last trade; where the plan has none, the close of the last session."""
        name, is_stock = self._name(symbol), symbol.asset is AssetClass.STOCK
        path = f"/v2/last/trade/{symbol.base}" if is_stock else f"/v1/last/crypto/{symbol.base}/{symbol.quote}"
        if self.access.plan.lower() not in _FREE:  # else it would be one of five calls a minute for nothing
            with suppress(errors.NotEntitled):
                answer = yield Get(quote(path))
                read = answers.read_last_trade if is_stock else answers.read_last_crypto
                return read(document(answer, "polygon price"), symbol, now_ms)
        answer = yield Get(f"/v2/aggs/ticker/{name}/prev", {"adjusted": "true"})
        price = answers.read_close(document(answer, "polygon price"), symbol, now_ms)
        if price is None:
            raise self.fault(errors.NoData, "price", f"no close of {symbol}", answer)
        return price

    def most_bars(self, interval: Interval) -> int:
        """So many minutes or days, as `limit` counts them."""
        return self.max_bars // _UNITS[interval][1]

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Aggregates; where the plan has none of today, those of the days before."""
        today_s = day_start_s(day_of(now_ms // 1000, symbol.asset), symbol.asset)
        with_today = span.from_s < today_s < span.to_s
        if not with_today or self.access.plan.lower() not in _FREE:
            try:
                return (yield from self._bars(symbol, interval, span, now_ms))
            except errors.NotEntitled:
                if not with_today:
                    raise
        series = yield from self._bars(symbol, interval, replace(span, to_s=today_s), now_ms)
        return replace(series, is_live=False, note=answers.FINISHED_NOTE)

    def listing(self) -> Flow[Sequence[Listed]]:
        """The pairs of crypto. Stocks are too many for the calls of the free plan, and asked by their name."""
        found: list[Listed] = []
        get: Get | None = Get("/v3/reference/tickers", {"market": "crypto", "limit": "1000"})
        while get is not None:
            body = mapping(document((yield get), "polygon list"))
            page = answers.read_listing(body)
            found += page
            get = self._next(body) if page else None
            if len(found) > _MOST_LISTED:
                raise ValueError(f"a list of more than {_MOST_LISTED} pairs")
        return found

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by HTTP status and by the answer's own: a limit has been seen with HTTP 200."""
        try:
            body = document(answer, "polygon")
        except errors.RestUnavailable:
            if answer.status == 200:
                raise
            body = None
        facts = body if isinstance(body, dict) else {}
        status = answer.status if answer.status != 200 else _BY_WORD.get(str(facts.get("status")), 200)
        if status == 200:
            return
        why = str(facts.get("error") or facts.get("message") or f"HTTP {answer.status}")[:300]
        kind = _BY_STATUS.get(429 if _TOO_MANY in why else status, errors.RestRefused)
        if status >= 500:
            kind = errors.Maintenance if is_page(answer) else errors.RestUnavailable
        error = self.fault(kind, "request", why, answer)
        error.retry_after_s = retry_after_s(answer, now_ms)
        raise error

    def _bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """The newest first, page by page until there are enough. There is no bar where nobody traded."""
        name, (unit, counted) = self._name(symbol), _UNITS[interval]
        limit = min((span.limit + 1) * counted, _MOST_COUNTED)
        path = f"/v2/aggs/ticker/{name}/range/{unit}/{span.from_s * 1000}/{span.to_s * 1000 - 1}"
        get: Get | None = Get(path, {"adjusted": "true", "sort": "desc", "limit": str(limit)})
        found: list[Bar] = []
        late = False
        while get is not None and len(found) < span.limit:
            body = mapping(document((yield get), "polygon bars"))
            page = answers.read_bars(body, symbol, interval, now_ms)
            found += page
            late = late or answers.is_late(body)
            get = self._next(body) if page else None
        kept, note = within(found, span), answers.LATE_NOTE if late else ""
        if not kept:
            raise self.fault(errors.NoData, "bars", f"none of {symbol} in that time, or it is not known")
        return Series(symbol, interval, answers.instrument(symbol), kept, not late, note)

    def _name(self, symbol: Symbol) -> str:
        """Return the name as it stands in a path."""
        if symbol.asset is AssetClass.CRYPTO:
            # By base and quote, not by both as one word: BTCU in SD has the letters of BTC in USD.
            listed = {(entry.base, entry.quote) for entry in self.listed if entry.is_active}
            pair = symbol.base, symbol.quote
            if pair not in listed if listed else symbol.quote not in _QUOTES:
                raise self.fault(errors.UnknownSymbol, "symbol", f"it has no {symbol}")
        return quote(answers.ticker(symbol), safe=":")

    def _next(self, body: Mapping[str, Any]) -> Get | None:
        """Return the request of the next page. Its link has no key; ours goes to our own host alone."""
        if body.get("next_url") is None:
            return None
        link, ours = urlsplit(text(body["next_url"], "next_url")), urlsplit(self.access.url or self.base_url)
        if link.netloc != ours.netloc and link.netloc not in _HOSTS:
            raise ValueError(f"next_url leads elsewhere: {link.netloc[:60]}")
        path = link.path.removeprefix(ours.path.rstrip("/"))
        return Get(quote(path, safe="/:%"), dict(parse_qsl(link.query)))
