"""CoinMarketCap: prices of coins over many exchanges, in any currency by arithmetic; a key is needed.

Wire facts: the vendor's API documentation, SDK and command line, November 2026. Coins are asked for by number:
names are not unique, and the first of several need not be the one that is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final

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
from streamer.providers.coinmarketcap_answers import instrument, read_bars, read_listing, read_price, read_quota
from streamer.providers.decode import document, is_page, retry_after_s
from streamer.providers.sessions import narrowed, settled_ms
from streamer.providers.shape import AssetClass, Bar, Interval, Listed, Price, Quota, Series, Span, Symbol
from streamer.providers.spans import joined, widened, within
from streamer.providers.symbols import ids_of

_NUMBERS: Final = """
    AAVE 7278 ADA 2010 ALGO 4030 ATOM 3794 AVAX 5805 BCH 1831 BNB 1839 BTC 1 DOGE 74 DOT 6636 ETC 1321 ETH 1027
    FIL 2280 ICP 8916 LINK 1975 LTC 2 NEAR 6535 SHIB 5994 SOL 5426 TRX 1958 UNI 7083 USDC 3408 USDT 825 XLM 512
    XMR 328 XRP 52
"""
_WORDS: Final = _NUMBERS.split()
KNOWN: Final = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
"""Numbers of coins, from memory; an answer is refused where its name is another."""
_BY_CODE: Final[dict[str, type[RestError]]] = {
    "1001": KeyRefused,
    "1002": KeyRefused,
    "1003": NotEntitled,
    "1004": NotEntitled,
    "1005": KeyRefused,
    "1006": NotEntitled,
    "1007": KeyRefused,
    "1008": RestRateLimited,
    "1009": QuotaExhausted,
    "1010": QuotaExhausted,
    "1011": RestRateLimited,
}
_BY_STATUS: Final = {401: KeyRefused, 402: NotEntitled, 403: NotEntitled, 404: UnknownSymbol, 429: RestRateLimited}
_BAD_NAME: Final = re.compile(r'for "(id|slug|symbol|convert)"')
_BAD_INTERVAL: Final = re.compile(r'for "(interval|time_period)"')
_PERIODS: Final = {Interval.H1: "hourly", Interval.D1: "daily"}
_MINUTE_MS, _DAY_MS = 60_000, 86_400_000
_NO_VOLUME: Final = "without volume: the provider's is of all markets, in the quote currency"
_POINTS_A_CREDIT: Final = 100


class CoinMarketCap(Adapter):
    """`pro-api.coinmarketcap.com`."""

    name: ClassVar[str] = "coinmarketcap"
    title: ClassVar[str] = "CoinMarketCap"
    key_header: ClassVar[str | None] = "X-CMC_PRO_API_KEY"
    needs_key: ClassVar[bool] = True
    limits: ClassVar[Sequence[Limit]] = (Limit(30, 60.0), Limit(333, 86_400.0))
    """30 requests a minute, and 10,000 credits a month spread over its days; each is counted in credits."""
    assets: ClassVar[frozenset[AssetClass]] = frozenset({AssetClass.CRYPTO})
    intervals: ClassVar[frozenset[Interval]] = frozenset({Interval.H1, Interval.H4, Interval.D1})
    max_bars: ClassVar[int] = 498
    """With the two more that are counted they take 5 credits; of four hours 20 of the 30 that a minute has."""

    @property
    def base_url(self) -> str:
        """One for all plans."""
        return "https://pro-api.coinmarketcap.com"

    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """The price over all exchanges, renewed every minute."""
        coin_id = self._id(symbol)
        answer = yield Get("/v2/cryptocurrency/quotes/latest", {"id": coin_id, "convert": symbol.quote})
        return read_price(document(answer, "coinmarketcap price"), symbol, coin_id, now_ms)

    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Bars that are over, those of four hours made of hours; paid plans only."""
        coin_id = self._id(symbol)
        if interval not in self.intervals:
            raise self.fault(BadInterval, "bars", f"it has none of {interval}")
        # Its own `interval=4h` is one hour out of every four.
        part = Interval.H1 if interval is Interval.H4 else interval
        asked = widened(span, interval, part) if part is not interval else span
        asked = narrowed(asked, part, symbol.asset, now_ms)
        # The start is exclusive, and an open period counts without being sent.
        from_s, count = asked.from_s - part.seconds, (asked.to_s - asked.from_s) // part.seconds + 2
        params = {
            "id": coin_id,
            "convert": symbol.quote,
            "time_period": _PERIODS[part],
            "interval": _PERIODS[part],
            "time_start": _iso(from_s),
            "time_end": _iso(asked.to_s),
            "count": str(count),
        }
        answer = yield Get("/v2/cryptocurrency/ohlcv/historical", params, cost=-(-count // _POINTS_A_CREDIT))
        found: Sequence[Bar] = read_bars(document(answer, "coinmarketcap bars"), symbol, coin_id, part, now_ms)
        if part is not interval:
            found = joined(found, interval, settled_ms(found, part, now_ms))
        bars = within(found, span)
        if not bars:
            raise self.fault(NoData, "bars", f"none of {symbol} in that time", answer)
        return Series(symbol, interval, instrument(symbol), bars, note=_NO_VOLUME)

    def listing(self) -> Flow[Sequence[Listed]]:
        """All coins, the larger first: of those with the same name the first is the one meant."""
        params = {"listing_status": "active", "sort": "cmc_rank", "limit": "5000"}
        answer = yield Get("/v1/cryptocurrency/map", params)
        return read_listing(document(answer, "coinmarketcap list"))

    def quota(self) -> Flow[Quota]:
        """Credits of the month; asking costs none, but is a request."""
        answer = yield Get("/v1/key/info")
        return read_quota(document(answer, "coinmarketcap quota"))

    def check(self, answer: Answer, now_ms: int) -> None:
        """Tell refusals apart by the code in the body, which may sit in a 200, then by status."""
        try:
            body = document(answer, "coinmarketcap")
        except RestUnavailable:
            if answer.status == 200:
                raise
            body = None
        found = body.get("status") if isinstance(body, dict) else None
        status = found if isinstance(found, dict) else {}
        code = str(status.get("error_code") or 0)
        if answer.status == 200 and code == "0":
            return
        why = str(status.get("error_message") or f"HTTP {answer.status}")[:300]
        error = self.fault(_kind(answer, code, why), "request", why, answer)
        if isinstance(error, RestRateLimited):
            # When the month of a plan begins anew is not told here: whoever waits finds out.
            length_ms = _MINUTE_MS if not isinstance(error, QuotaExhausted) else _DAY_MS
            until_s = (length_ms - now_ms % length_ms) / 1000 if code != "1010" else None
            told_s = retry_after_s(answer, now_ms)
            error.retry_after_s = told_s if told_s is not None else until_s
        raise error

    def _id(self, symbol: Symbol) -> str:
        found = ids_of(self.listed, KNOWN).get(symbol.base)
        if symbol.asset is not AssetClass.CRYPTO or found is None:
            raise self.fault(UnknownSymbol, "symbol", f"it has no {symbol}")
        return found


def _kind(answer: Answer, code: str, why: str) -> type[RestError]:
    """Return what a refusal is."""
    found = _BY_CODE.get(code)
    if found is not None:
        return found
    if code == "400" or answer.status == 400:
        if _BAD_NAME.search(why):
            return UnknownSymbol
        return BadInterval if _BAD_INTERVAL.search(why) else RestRefused
    if is_page(answer) and answer.status != 429:
        return Maintenance
    if answer.status in _BY_STATUS:
        return _BY_STATUS[answer.status]
    level = int(code) if answer.status == 200 and code.isascii() and code.isdigit() else answer.status
    return RestRefused if 400 <= level < 500 else RestUnavailable


def _iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
