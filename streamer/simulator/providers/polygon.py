"""Polygon.io / Massive, simulated. Pure.

Wire facts: the vendor's OpenAPI file, client and knowledge base, and captured refusals, November 2026. The free
plan has the data of finished days of two years; here a day is finished at midnight, in UTC (coins) or in New York
(stocks). Stocks have no bars before and after their session, and no holidays.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar, Final

import orjson

from streamer.simulator.providers.assets import (
    ASSETS,
    DAY_S,
    Asset,
    date_of,
    eastern_offset_s,
    session,
)
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.market import Bar
from streamer.simulator.providers.polygon_bars import bar_fields, previous, ranged
from streamer.simulator.providers.polygon_lookup import (
    TICKERS,
    cursor,
    decimals,
    midnight_before_s,
    next_url,
    not_authorized,
    not_found,
    request_id,
)
from streamer.simulator.providers.provider import Provider, refused, text_reply
from streamer.simulator.providers.wire import (
    PAID,
    Ask,
    Reply,
    iso,
    json_reply,
    number,
    whole,
)

_RANGE: Final = re.compile(r"/v2/aggs/ticker/([^/]+)/range/(\d+)/([a-z]+)/([^/]+)/([^/]+)")
_PREVIOUS: Final = re.compile(r"/v2/aggs/ticker/([^/]+)/prev")
_LAST_STOCK: Final = re.compile(r"/v2/last/trade/([^/]+)")
_LAST_CRYPTO: Final = re.compile(r"/v1/last/crypto/([^/]+)/([^/]+)")
_SNAPSHOT: Final = re.compile(r"/v2/snapshot/locale/(global|us)/markets/(crypto|stocks)/tickers/([^/]+)")
_NOT_ENTITLED: Final = "You are not entitled to this data. Please upgrade your plan at https://massive.com/pricing"
_TOO_MANY: Final = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."
    " https://massive.com/pricing"
)


class Polygon(Provider):
    """`api.massive.com`: coins in USD and stocks."""

    name: ClassVar[str] = "polygon"
    quotas = (Quota("per_minute", 5, "minute"),)
    paid_quotas = (Quota("per_minute", None, "minute"),)
    share = 40
    styles = ("usual", "empty_body")

    def key(self, ask: Ask) -> str:
        """In the header or the query."""
        bearer = ask.headers.get("authorization", "")
        return bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else ask.params.get("apiKey", "")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """Nothing is answered without one."""
        if not ask.key:
            raise refused(self.error(ask, 401, "API Key was not provided"))
        if not is_good:
            raise refused(self.error(ask, 401, "Unknown API Key"))

    def answer(self, ask: Ask) -> Reply:
        """Answer by path."""
        for pattern, made in _ROUTES:
            found = pattern.fullmatch(ask.path)
            if found:
                return json_reply(made(ask, *found.groups()))
        raise not_found(ask)

    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """The text is in `error`; refusals of a plan have it in `message`."""
        return json_reply({"status": "ERROR", "request_id": request_id(ask), "error": why}, status)

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """429, in some reports without a body; no hint when to come again."""
        return text_reply(429, "") if style == "empty_body" else self.error(ask, 429, _TOO_MANY)

    def banned(self, ask: Ask, verdict: Verdict) -> Reply:
        """As any 429: the lock-out after a burst looks no different."""
        return self.error(ask, 429, _TOO_MANY)

    def empty(self, reply: Reply) -> Reply:
        """Without `results`, not with empty ones."""
        body = orjson.loads(reply.body)
        kept = ("ticker", "adjusted", "status", "request_id")
        return json_reply(
            {**{name: body[name] for name in kept if name in body}, "queryCount": 0, "resultsCount": 0}
        )


# Prices


def _known(ask: Ask, ticker: str) -> Asset:
    if ask.plan != PAID:
        raise not_authorized(ask, _NOT_ENTITLED)
    if ticker not in TICKERS:
        raise not_found(ask)
    return TICKERS[ticker]


def _trade(ask: Ask, asset: Asset) -> tuple[Decimal, int]:
    """Return the last price and its time in milliseconds."""
    price, time_s = ask.view.last(asset.symbol, "USD", ask.now_s)
    return price, min(time_s * 1000 + 883, ask.now_ms)


def _last_stock(ask: Ask, ticker: str) -> dict[str, Any]:
    asset = _known(ask, ticker)
    if not asset.is_stock:
        raise not_found(ask)
    price, time_ms = _trade(ask, asset)
    results = {
        "T": ticker,
        "c": [37],
        "f": time_ms * 1_000_000 + 121_890,
        "i": "52983525029461",
        "p": number(price, 2),
        "q": 3_135_876,
        "r": 202,
        "s": 25,
        "t": time_ms * 1_000_000 + 122_100,
        "x": 4,
        "y": time_ms * 1_000_000 + 121_500,
        "z": 3,
    }
    return {"results": results, "status": "OK", "request_id": request_id(ask)}


def _last_crypto(ask: Ask, base: str, quote: str) -> dict[str, Any]:
    asset = _known(ask, f"X:{base}{quote}")
    price, time_ms = _trade(ask, asset)
    last = {
        "conditions": [1],
        "exchange": 4,
        "price": number(price, decimals(asset)),
        "size": number(Decimal("0.006909"), 6),
        "timestamp": time_ms,
    }
    return {"last": last, "request_id": request_id(ask), "status": "success", "symbol": f"{base}-{quote}"}


def _snapshot(ask: Ask, locale: str, market: str, ticker: str) -> dict[str, Any]:
    asset = _known(ask, ticker)
    if asset.is_stock != (market == "stocks") or asset.is_stock != (locale == "us"):
        raise not_found(ask)
    price, time_ms = _trade(ask, asset)
    digits = decimals(asset)
    today_s = midnight_before_s(asset, ask.now_s)
    days = ask.view.bars(asset.symbol, "USD", DAY_S, today_s - 7 * DAY_S, ask.now_s, ask.now_s)
    before = [bar for bar in days if bar.start_s < today_s][-1]
    today = [bar for bar in days if bar.start_s >= today_s]
    minutes = ask.view.bars(asset.symbol, "USD", 60, ask.now_s - 120, ask.now_s, ask.now_s)
    # Trades of coins are stamped in milliseconds, everything else in nanoseconds.
    trade_time = time_ms * 1_000_000 if asset.is_stock else time_ms
    trade = {"c": [1], "i": "897113204", "p": number(price, digits), "s": number(Decimal("0.006909"), 6)}
    parts = {
        "day": _part(asset, today[-1]) if today else _zeros(),
        "lastTrade": {**trade, "t": trade_time, "x": 4},
        "min": bar_fields(asset, minutes[-1]) if minutes else {**_zeros(), "n": 0, "t": 0},
        "prevDay": _part(asset, before),
    }
    change = price - before.close
    shown = {
        "ticker": ticker,
        "todaysChange": number(change, digits),
        "todaysChangePerc": number(change / before.close * 100, 5),
        "updated": ask.now_ms * 1_000_000,
        **parts,
    }
    return {"request_id": request_id(ask), "status": "OK", "ticker": shown}


def _part(asset: Asset, bar: Bar) -> dict[str, Any]:
    return {name: value for name, value in bar_fields(asset, bar).items() if name not in ("t", "n")}


def _zeros() -> dict[str, Any]:
    return dict.fromkeys(("o", "h", "l", "c", "v", "vw"), 0)


# Lists


def _tickers(ask: Ask) -> dict[str, Any]:
    given = cursor(ask)
    limit, after = min(whole(given.get("limit")) or 100, 1000), whole(given.get("after")) or 0
    market = given.get("market", "")
    rows = [_reference(ask, ticker, asset) for ticker, asset in sorted(TICKERS.items())]
    rows = [row for row in rows if market in ("", row["market"])]
    wanted = given.get("ticker")
    rows = [row for row in rows if wanted in (None, row["ticker"])]
    shown = rows[after : after + limit]
    body = {"results": shown, "status": "OK", "request_id": request_id(ask), "count": len(shown)}
    if rows[after + limit :]:
        more = {"limit": str(limit), "after": str(after + limit), "market": market}
        body["next_url"] = next_url(ask, "/v3/reference/tickers", more)
    return body


def _reference(ask: Ask, ticker: str, asset: Asset) -> dict[str, Any]:
    at = iso(ask.now_s)[:10] + "T00:00:00Z"
    common = {"ticker": ticker, "active": True, "last_updated_utc": at}
    if asset.is_stock:
        more = {"primary_exchange": "XNAS", "type": "CS", "currency_name": "usd"}
        return {**common, "name": asset.name, "market": "stocks", "locale": "us", **more}
    return {
        **common,
        "name": f"{asset.name} - United States Dollar",
        "market": "crypto",
        "locale": "global",
        "currency_symbol": "USD",
        "currency_name": "United States Dollar",
        "base_currency_symbol": asset.symbol,
        "base_currency_name": asset.name,
    }


def _status(ask: Ask) -> dict[str, Any]:
    day = int(ask.now_s - 5 * 3600) // DAY_S
    times, behind_s = session(ASSETS["SPY"], day), eastern_offset_s(day)
    is_open = times is not None and times.start_s <= ask.now_s < times.end_s
    word = "open" if is_open else "closed"
    local = iso(ask.now_s - behind_s)[:19]
    return {
        "market": word if is_open or date_of(day).weekday() > 4 else "extended-hours",
        "earlyHours": False,
        "afterHours": False,
        "serverTime": f"{local}-0{behind_s // 3600}:00",
        "exchanges": {"nyse": word, "nasdaq": word, "otc": word},
        "currencies": {"fx": "open", "crypto": "open"},
    }


_ROUTES: Final = (
    (_RANGE, ranged),
    (_PREVIOUS, previous),
    (_LAST_STOCK, _last_stock),
    (_LAST_CRYPTO, _last_crypto),
    (_SNAPSHOT, _snapshot),
    (re.compile("/v3/reference/tickers"), _tickers),
    (re.compile("/v1/marketstatus/now"), _status),
)
