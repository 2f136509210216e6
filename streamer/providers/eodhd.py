"""EODHD: stocks and coins, both late; a key is needed, and gives 20 calls a day where nothing is paid.

Wire facts: the vendor's OpenAPI file, client and notes, November 2026. JSON comes only where it is asked for; most
refusals are plain text or a page; "NA" stands for a number that is not there; a cut at one year is a `warning`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final
from urllib.parse import quote

from streamer.errors import (
    BadInterval,
    KeyRefused,
    Maintenance,
    NoData,
    NotEntitled,
    QuotaExhausted,
    RestError,
    RestRateLimited,
    RestRefused,
    RestUnavailable,
    UnknownSymbol,
)
from streamer.providers.adapter import Adapter, Answer, Flow, Get, Limit
from streamer.providers.decode import document, is_page, mapping, retry_after_s
from streamer.providers.eodhd_answers import instrument, read_bars, read_close, read_price, read_quota
from streamer.providers.sessions import day_of, narrowed, settled_ms
from streamer.providers.shape import AssetClass, Bar, Interval, Price, Quota, Series, Span, Symbol
from streamer.providers.spans import joined, widened, within

_BY_STATUS: Final[dict[int, type[RestError]]] = {
    401: KeyRefused,
    402: QuotaExhausted,
    403: NotEntitled,
    404: UnknownSymbol,
    429: RestRateLimited,
}
_BAD_KEY: Final = re.compile(r"\b(api key|token|unauth\w+)\b", re.IGNORECASE)
_JSON: Final = {"fmt": "json"}
_INTRADAY_COST: Final = 5
_PARTS: Final = {Interval.M15: Interval.M5, Interval.M30: Interval.M5, Interval.H4: Interval.H1}
"""What longer bars are made of. Not the fives of ones: the two come from different sources and do not add up."""
_MINUTE_MS, _DAY_MS = 60_000, 86_400_000


class Eodhd(Adapter):
    """`eodhd.com`."""

    name: ClassVar[str] = "eodhd"
    title: ClassVar[str] = "EODHD"
    key_param: ClassVar[str | None] = "api_token"
    needs_key: ClassVar[bool] = True
    limits: ClassVar[Sequence[Limit]] = (Limit(1000, 60.0), Limit(20, 86_400.0))
    assets: ClassVar[frozenset[AssetClass]] = frozenset(AssetClass)
    intervals: ClassVar[frozenset[Interval]] = frozenset(Interval)
    max_bars: ClassVar[int] = 25_000
    """Of its own lengths; with room for nights they are within what one call spans, such as 600 days in fives."""

    @property
    def base_url(self) -> str:
        """One for all plans."""
        return "https://eodhd.com/api"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """The price of a minute ago, of a stock of 15 to 20; where the plan has neither, the last close."""
        wanted = _id(symbol)
        try:
            answer = yield Get(f"/real-time/{wanted}", _JSON)
        except NotEntitled:
            answer = yield Get(f"/eod/{wanted}", {"filter": "last_close", **_JSON})
            return read_close(document(answer, "eodhd price"), symbol)
        return read_price(document(answer, "eodhd price"), symbol, wanted, now_ms)

    def most_bars(self, interval: Interval) -> int:
        """As many fewer as others go into one."""
        return self.max_bars // (interval.seconds // _PARTS.get(interval, interval).seconds)

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Days up to the last close, or shorter bars, which come hours late; some lengths are put together."""
        wanted, part = _id(symbol), _PARTS.get(interval, interval)
        asked = narrowed(
            widened(span, interval, part) if part is not interval else span, part, symbol.asset, now_ms
        )
        if interval is Interval.D1:
            first, last = (day_of(at_s, symbol.asset) for at_s in (asked.from_s, asked.to_s - 1))
            params = {"from": first.isoformat(), "to": last.isoformat(), "period": "d", "order": "a", **_JSON}
            answer = yield Get(f"/eod/{wanted}", params)
        else:
            params = {"interval": part.value, "from": str(asked.from_s), "to": str(asked.to_s), **_JSON}
            answer = yield Get(f"/intraday/{wanted}", params, cost=_INTRADAY_COST)
        read, notes = read_bars(document(answer, "eodhd bars"), symbol, part, now_ms)
        found: Sequence[Bar] = read
        if part is not interval:
            found = joined(found, interval, settled_ms(found, part, now_ms))
        bars = within(found, span)
        if not bars:
            raise self.fault(NoData, "bars", "; ".join((f"none of {symbol} in that time", *notes)), answer)
        return Series(symbol, interval, instrument(symbol), bars, is_live=False, note="; ".join(notes))

    def quota(self) -> Flow[Quota]:
        """Calls of the day; asking costs one."""
        answer = yield Get("/internal-user", _JSON)
        return read_quota(document(answer, "eodhd quota"))

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by status: their text is for people, and once in a while a page."""
        if answer.status == 200:
            return
        why = _why(answer)
        kind = _BY_STATUS.get(answer.status, RestUnavailable if answer.status >= 500 else RestRefused)
        if is_page(answer) and kind is not RestRateLimited:
            kind = Maintenance
        elif kind is NotEntitled and _BAD_KEY.search(why):
            kind = KeyRefused
        elif answer.status == 422 and "interval" in why:
            kind = BadInterval
        error = self.fault(kind, "request", why, answer)
        if isinstance(error, RestRateLimited):
            told_s = retry_after_s(answer, now_ms)
            length_ms = _DAY_MS if kind is QuotaExhausted else _MINUTE_MS
            error.retry_after_s = told_s if told_s is not None else (length_ms - now_ms % length_ms) / 1000
        raise error


def _id(symbol: Symbol) -> str:
    if symbol.asset is AssetClass.CRYPTO:
        return quote(f"{symbol.base}-{symbol.quote}.CC")
    return quote(f"{symbol.base.replace('.', '-')}.US")


def _why(answer: Answer) -> str:
    """Return what a refusal says: plain text, or one of two forms of JSON; of a page only its status."""
    if is_page(answer):
        return f"HTTP {answer.status}"
    try:
        facts = mapping(document(answer, "eodhd"))
    except (RestUnavailable, ValueError):
        return answer.body[:300].decode("utf-8", "replace").strip() or f"HTTP {answer.status}"
    faults = ", ".join(map(str, facts["errors"])) if isinstance(facts.get("errors"), dict) else ""
    said = str(facts.get("error") or facts.get("message") or f"HTTP {answer.status}")
    return f"{said} ({faults})"[:300] if faults else said[:300]
