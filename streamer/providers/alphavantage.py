"""Alpha Vantage: stocks of the last close, coins against currencies; a key is needed, and gives 25 calls a day.

Wire facts: the vendor's documentation and the source of its MCP server, November 2026. Every refusal is a 200 with
one text; rows are keyed by local time, newest first; fields are numbered differently from function to function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import ClassVar, Final

from streamer.errors import (
    KeyRefused,
    Maintenance,
    MalformedAnswer,
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
from streamer.providers.alphavantage_answers import read_bars, read_close, read_rate
from streamer.providers.decode import document, is_page, retry_after_s
from streamer.providers.sessions import day_of, day_start_s, narrowed, settled_ms
from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Price, Series, Span, Symbol
from streamer.providers.spans import joined, widened, within

_BY_TEXT: Final[Sequence[tuple[str, type[RestError], float | None]]] = (
    ("1 request per second", RestRateLimited, 2.0),
    ("calls per minute", RestRateLimited, 60.0),
    ("detected your api key", QuotaExhausted, 3600.0),
    ("requests per day", QuotaExhausted, 3600.0),
    ("premium", NotEntitled, None),
    ("claim your free api key", KeyRefused, None),
    ("parameter apikey", KeyRefused, None),
    ("invalid api call", UnknownSymbol, None),
)
"""The first that is found counts: the text about the second names the day and premium plans too, and that about the
day premium plans. When the day's count begins anew is not told: one call an hour finds out."""
_REFUSALS: Final = ("Information", "Note", "Error Message")
_LENGTHS: Final = {
    Interval.M1: "1min",
    Interval.M5: "5min",
    Interval.M15: "15min",
    Interval.M30: "30min",
    Interval.H1: "60min",
}
_DAY_S: Final = 86_400
_LATER_S: Final = 4_102_444_800
"""2100: the end of what is to come."""


class AlphaVantage(Adapter):
    """`www.alphavantage.co`."""

    name: ClassVar[str] = "alphavantage"
    title: ClassVar[str] = "Alpha Vantage"
    key_param: ClassVar[str | None] = "apikey"
    needs_key: ClassVar[bool] = True
    limits: ClassVar[Sequence[Limit]] = (Limit(1, 12.05), Limit(25, float(_DAY_S)))
    assets: ClassVar[frozenset[AssetClass]] = frozenset(AssetClass)
    intervals: ClassVar[frozenset[Interval]] = frozenset(Interval)
    max_bars: ClassVar[int] = 100
    """As many days of a stock are free; who asks for more at once gets none without a premium plan."""
    free_days: ClassVar[int | None] = 138
    """A hundred days of trading are no fewer."""

    @property
    def base_url(self) -> str:
        """One for all plans."""
        return "https://www.alphavantage.co"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """Of a stock the last close, with its date only; of a coin the exchange rate."""
        if symbol.asset is AssetClass.STOCK:
            answer = yield _get("GLOBAL_QUOTE", symbol=symbol.base)
            return read_close(document(answer, "alphavantage price"), symbol)
        answer = yield _get("CURRENCY_EXCHANGE_RATE", from_currency=symbol.base, to_currency=symbol.quote)
        return read_rate(document(answer, "alphavantage price"), symbol, now_ms)

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Days, or with a premium plan shorter ones; those of four hours are made of hours."""
        part = Interval.H1 if interval is Interval.H4 else interval
        asked = widened(span, interval, part) if part is not interval else span
        asked = narrowed(asked, part, symbol.asset, now_ms)
        found: Sequence[Bar] = ()
        for get in _gets(symbol, part, asked, span, now_ms):
            answer = yield get
            read = read_bars(document(answer, "alphavantage bars"), symbol, part, now_ms)
            found = within((*found, *read), asked)
            if len(found) >= asked.limit:
                break
        if part is not interval:
            found = joined(found, interval, settled_ms(found, part, now_ms))
        bars = within(found, span)
        if not bars:
            raise self.fault(NoData, "bars", f"none of {symbol} in that time")
        is_stock = symbol.asset is AssetClass.STOCK
        kind = Instrument.STOCK if is_stock else Instrument.AGGREGATE
        return Series(symbol, interval, kind, bars, not is_stock, "up to the last close" if is_stock else "")

    def piece(self, symbol: Symbol, interval: Interval, at_s: int, now_s: int) -> tuple[int, int]:
        """What one request brings: all of a coin, of a stock a calendar month, or all days, the free ones apart."""
        if symbol.asset is AssetClass.CRYPTO:
            return 0, _LATER_S
        if interval is Interval.D1:
            free_from_s = self.free_from_s(now_s)
            return (0, free_from_s) if at_s < free_from_s else (free_from_s, _LATER_S)
        first = day_of(at_s, symbol.asset).replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
        return day_start_s(first, symbol.asset), day_start_s(following, symbol.asset)

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by their text, whatever the status."""
        if answer.status >= 500:
            kind = Maintenance if is_page(answer) else RestUnavailable
            raise self.fault(kind, "request", f"HTTP {answer.status}", answer)
        if answer.status == 429:
            error = self.fault(RestRateLimited, "request", "HTTP 429", answer)
            error.retry_after_s = retry_after_s(answer, now_ms)
            raise error
        body = document(answer, "alphavantage")
        facts = body if isinstance(body, dict) else {}
        said = next((str(facts[name]) for name in _REFUSALS if name in facts), None)
        if said is not None:
            raise self._refusal(said, answer)
        if answer.status != 200:
            raise self.fault(RestRefused, "request", f"HTTP {answer.status}", answer)
        if not facts:
            raise self.fault(MalformedAnswer, "request", "an answer with nothing in it", answer)

    def _refusal(self, said: str, answer: Answer) -> RestError:
        lower = said.lower()
        for mark, kind, wait_s in _BY_TEXT:
            if mark in lower:
                # That text repeats the key.
                why = "the calls of the day are used up" if kind is QuotaExhausted else said[:300]
                error = self.fault(kind, "request", why, answer)
                error.retry_after_s = wait_s
                return error
        return self.fault(RestRefused, "request", said[:300], answer)


def _get(function: str, **params: str) -> Get:
    return Get("/query", {"function": function, **params})


def _gets(symbol: Symbol, interval: Interval, asked: Span, span: Span, now_ms: int) -> Iterator[Get]:
    """Yield the requests that bring the bars of `asked`, the newest first."""
    if symbol.asset is AssetClass.CRYPTO:
        pair = {"symbol": symbol.base, "market": symbol.quote}
        if interval is Interval.D1:
            yield _get("DIGITAL_CURRENCY_DAILY", **pair)
        else:
            yield _get("CRYPTO_INTRADAY", **pair, interval=_LENGTHS[interval], outputsize="full")
    elif interval is Interval.D1:
        # Only the newest hundred are free; where those are not meant, the provider says what the plan lacks.
        is_recent = asked.from_s >= now_ms // 1000 - 100 * _DAY_S or span.to_s >= now_ms // 1000 - _DAY_S
        size = "compact" if is_recent else "full"
        yield _get("TIME_SERIES_DAILY", symbol=symbol.base, outputsize=size)
    else:
        # Of what was asked for, not of what it was widened to: no bar has trades of two days.
        from_s, to_s = max(asked.from_s, span.from_s), min(asked.to_s, span.to_s)
        month, first = day_of(to_s - 1, symbol.asset), day_of(from_s, symbol.asset)
        while month >= first.replace(day=1):
            params = {"interval": _LENGTHS[interval], "outputsize": "full", "month": f"{month:%Y-%m}"}
            yield _get("TIME_SERIES_INTRADAY", symbol=symbol.base, adjusted="false", **params)
            month = month.replace(day=1) - timedelta(days=1)
