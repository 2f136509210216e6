"""EODHD, simulated: errors are mostly plain text, and answers CSV unless JSON is asked for. Pure.

Wire facts: the vendor's skills, OpenAPI file and client, and captured answers, November 2026. Not settled there and
chosen here: real-time is CSV by default, 401 for a bad key, intraday of coins 15 minutes late.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import orjson

from streamer.simulator.providers.assets import COINS, DAY_S, STOCKS, Asset, midnight_s
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.market import Bar, joined
from streamer.simulator.providers.provider import Provider, html_reply, refused, text_reply
from streamer.simulator.providers.wire import (
    FREE,
    PAID,
    Ask,
    Reply,
    clock_text,
    day_text,
    json_reply,
    number,
    page,
    parsed_day,
    whole,
)

_CODES: Final = {f"{coin.symbol}-USD.CC": coin for coin in COINS} | {
    f"{stock.symbol}.US": stock for stock in STOCKS
}
_DEMO: Final = frozenset({"AAPL.US", "MSFT.US", "BTC-USD.CC"})
_PATH: Final = re.compile(r"/(real-time|eod|intraday)/([^/]+)")
_INTERVAL_S: Final = {"1m": 60, "5m": 300, "1h": 3600}
_REACH_S: Final = {"1m": 120 * DAY_S, "5m": 600 * DAY_S, "1h": 7200 * DAY_S}
_INTRADAY_CALLS: Final = 5
_STOCKS_LATE_S: Final = 15 * 60
_FINAL_S: Final = 3 * 3600
_HISTORY_S: Final = 10 * 365 * DAY_S
_WARNING: Final = "Data is limited by one year as you have free subscription"
_EOD_ONLY: Final = (
    "Only EOD data allowed for free users. Please, contact our support team: support@eodhistoricaldata.com"
)
_NO_CALLS_LEFT: Final = "You exceeded your daily API requests limit.  Please contact support@eodhistoricaldata.com"
_TOO_MANY: Final = (
    "<!DOCTYPE html>\n<html><head><title>Too Many Requests</title></head>"
    "<body><h1>429 | Too Many Requests</h1></body></html>\n"
)
_LIVE: Final = ("open", "high", "low", "close", "volume", "previousClose", "change", "change_p")


class Eodhd(Provider):
    """`eodhd.com/api`."""

    name: ClassVar[str] = "eodhd"
    quotas = (Quota("per_minute", 1000, "minute"), Quota("calls_per_day", 20, "day", counts_cost=True))
    paid_quotas = (Quota("per_minute", 1000, "minute"), Quota("calls_per_day", 100_000, "day", counts_cost=True))
    bias = 8
    styles = ("usual", "json", "daily")

    def key(self, ask: Ask) -> str:
        """In the query."""
        return ask.params.get("api_token", "")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """Nothing is answered without one."""
        if not is_good:
            raise refused(text_reply(401, "Unauthenticated"))

    def cost(self, ask: Ask) -> int:
        """Return the calls."""
        return _INTRADAY_CALLS if "/intraday/" in ask.path else 1 + len(ask.listed("s"))

    def answer(self, ask: Ask) -> Reply:
        """Answer by path, with or without the /api of the real one."""
        path = ask.path.removeprefix("/api")
        if path == "/internal-user":
            return json_reply(_user(ask))
        found = _PATH.fullmatch(path)
        if found is None:
            return page(404, "404 Not Found")
        kind, code = found[1], found[2]
        if ask.key == "demo" and code not in _DEMO:
            raise refused(text_reply(403, "Forbidden. Please contact support@eodhistoricaldata.com"))
        if kind == "real-time":
            return _real_time(ask, code)
        if kind == "intraday" and ask.plan == FREE:
            raise refused(text_reply(403, _EOD_ONLY))
        if code not in _CODES:
            raise refused(text_reply(404, "Ticker Not Found."))
        asset = _CODES[code]
        return _eod(ask, asset) if kind == "eod" else _table(ask, _intraday(ask, asset))

    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """Plain text."""
        return text_reply(status, why)

    def broken(self, ask: Ask) -> Reply:
        """A page of the proxy."""
        return page(502, "502 Bad Gateway")

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """402 for the day; 429 for the minute, as a page."""
        if verdict.name == "calls_per_day" or style == "daily":
            return text_reply(402, _NO_CALLS_LEFT)
        if style == "json":
            return json_reply({"error": "API rate limit exceeded"}, 429)
        wait_s = str(max(1, round(verdict.until_s - ask.now_s)))
        return html_reply(429, _TOO_MANY).with_headers({"Retry-After": wait_s, "X-RateLimit-Remaining": "0"})

    def empty(self, reply: Reply) -> Reply:
        """No rows; a price is "NA"."""
        body = orjson.loads(reply.body) if reply.body.startswith(b"{") else None
        return json_reply(_na(body["code"])) if body and "code" in body else json_reply([])

    def decorated(self, ask: Ask, reply: Reply) -> Reply:
        """What is left of the minute."""
        most = ask.limits.get("per_minute")
        if most is None:
            return reply
        left = max(0, most - ask.used.get("per_minute", 0))
        headers = {"X-RateLimit-Limit": str(most), "X-RateLimit-Remaining": str(left)}
        return reply.with_headers({**headers, **reply.headers})


def _table(ask: Ask, rows: Sequence[Mapping[str, Any]]) -> Reply:
    """Return rows as JSON, or as CSV where that is not asked for."""
    if ask.params.get("fmt") == "json":
        return json_reply(list(rows))
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, Any]]) -> Reply:
    names = list(rows[0]) if rows else ["Date"]
    lines = [",".join(names)]
    lines += [",".join(orjson.dumps(row.get(name)).decode().strip('"') for name in names) for row in rows]
    return text_reply(200, "\n".join(lines) + "\n")


def _decimals(asset: Asset) -> int:
    return 1 if asset.start >= 1000 else 4 if asset.start >= 1 else 6


def _prices(asset: Asset, bar: Bar) -> dict[str, Any]:
    values = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
    return {name: number(value, _decimals(asset)) for name, value in values.items()}


def _volume(asset: Asset, bar: Bar) -> Any:
    # Of coins it is a turnover in dollars.
    return number(bar.volume if asset.is_stock else bar.volume * bar.close, 0)


# Real time


def _real_time(ask: Ask, code: str) -> Reply:
    if "s" in ask.params and not ask.listed("s"):
        errors = {"s": ["The s field is invalid."]}
        raise refused(json_reply({"message": "The given data was invalid.", "errors": errors}, 422))
    rows = [_live(ask, name) for name in (code, *ask.listed("s"))]
    if ask.params.get("fmt") != "json":
        return _csv(rows)
    return json_reply(rows if "s" in ask.params else rows[0])


def _na(code: str) -> dict[str, Any]:
    return {"code": code, "timestamp": "NA", "gmtoffset": 0, **dict.fromkeys(_LIVE, "NA")}


def _live(ask: Ask, code: str) -> dict[str, Any]:
    asset = _CODES.get(code)
    if asset is None:
        return _na(code)
    # Stocks are a quarter of an hour late, coins up to a minute; both are stamped with whole minutes.
    late_s = int(ask.now_s - (_STOCKS_LATE_S if asset.is_stock else 0)) // 60 * 60
    price, time_s = ask.view.last(asset.symbol, "USD", late_s)
    days = ask.view.bars(asset.symbol, "USD", DAY_S, late_s - 8 * DAY_S, late_s, late_s)
    before, today = days[-2:]
    change, decimals = price - before.close, _decimals(asset)
    return {
        "code": code,
        "timestamp": time_s // 60 * 60,
        "gmtoffset": 0,
        **_prices(asset, today),
        "close": number(price, decimals),
        "volume": _volume(asset, today),
        "previousClose": number(before.close, decimals),
        "change": number(change, decimals),
        "change_p": number(change / before.close * 100, 4),
    }


# Bars


def _eod(ask: Ask, asset: Asset) -> Reply:
    rows, is_cut = _days(ask, asset)
    if ask.params.get("filter") == "last_close":
        return Reply(200, orjson.dumps(rows[-1]["close"]))
    if ask.params.get("order") == "d":
        rows.reverse()
    if is_cut and rows:
        # Seen in both places: on a row of data, and on one of its own.
        if asset.is_stock:
            rows[-1] = {**rows[-1], "warning": _WARNING}
        else:
            rows.append({"warning": _WARNING})
    return _table(ask, rows)


def _date_s(ask: Ask, asset: Asset, name: str, otherwise_s: float) -> float:
    text = ask.params.get(name)
    if not text:
        return otherwise_s
    day_s = parsed_day(text)
    if day_s is None:
        errors = {name: [f"The {name} does not match the format Y-m-d."]}
        raise refused(json_reply({"message": "The given data was invalid.", "errors": errors}, 422))
    return midnight_s(asset, day_s // DAY_S)


def _days(ask: Ask, asset: Asset) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of finished days, oldest first, and whether the free plan has cut them."""
    from_s = _date_s(ask, asset, "from", ask.now_s - _HISTORY_S)
    to_s = _date_s(ask, asset, "to", ask.now_s) + 1
    year_ago_s = ask.now_s - 365 * DAY_S
    is_cut = ask.plan != PAID and from_s < year_ago_s - DAY_S
    from_s = max(from_s, year_ago_s) if is_cut else from_s
    bars = ask.view.bars(asset.symbol, "USD", DAY_S, from_s, to_s, ask.now_s)
    found = [bar for bar in bars if bar.end_s <= ask.now_s]
    return [_day(asset, bar) for bar in _grouped(found, ask.params.get("period", "d"))], is_cut


def _grouped(bars: list[Bar], period: str) -> list[Bar]:
    if period == "d":
        return bars
    groups: dict[str, list[Bar]] = {}
    for bar in bars:
        day = datetime.fromtimestamp(bar.start_s, UTC)
        groups.setdefault(day.strftime("%G-%V" if period == "w" else "%Y-%m"), []).append(bar)
    return [joined(group) for group in groups.values()]


def _day(asset: Asset, bar: Bar) -> dict[str, Any]:
    prices = _prices(asset, bar)
    more = {"adjusted_close": prices["close"], "volume": _volume(asset, bar)}
    return {"date": day_text(bar.start_s), **prices, **more}


def _intraday(ask: Ask, asset: Asset) -> list[dict[str, Any]]:
    interval = ask.params.get("interval", "5m")
    if interval not in _INTERVAL_S:
        errors = {"interval": ["The selected interval is invalid."]}
        raise refused(json_reply({"message": "The given data was invalid.", "errors": errors}, 422))
    length_s = _INTERVAL_S[interval]
    to_s = whole(ask.params.get("to")) or int(ask.now_s)
    from_s = whole(ask.params.get("from")) or to_s - min(_REACH_S[interval], 120 * DAY_S)
    from_s = max(from_s, to_s - _REACH_S[interval])
    late_s = _FINAL_S if asset.is_stock else _STOCKS_LATE_S
    bars = ask.view.bars(asset.symbol, "USD", length_s, from_s, to_s + 1, ask.now_s)
    return [_part(asset, bar) for bar in bars if bar.end_s + late_s <= ask.now_s]


def _part(asset: Asset, bar: Bar) -> dict[str, Any]:
    values: dict[str, Any] = {**_prices(asset, bar), "volume": _volume(asset, bar)}
    # Now and then a minute of a stock has a row without values.
    if asset.is_stock and bar.end_s - bar.start_s == 60 and bar.start_s // 60 % 97 == 0:
        values = dict.fromkeys(values)
    return {"timestamp": bar.start_s, "gmtoffset": 0, "datetime": clock_text(bar.start_s), **values}


def _user(ask: Ask) -> dict[str, Any]:
    most = ask.limits.get("calls_per_day") or 100_000
    return {
        "name": "Sample User",
        "email": "user@example.com",
        "subscriptionType": "monthly",
        "paymentMethod": "Stripe",
        "apiRequests": ask.used.get("calls_per_day", 0),
        "apiRequestsDate": day_text(ask.now_s),
        "dailyRateLimit": most,
        "extraLimit": 500,
        "inviteToken": None,
        "inviteTokenClicked": 0,
        "subscriptionMode": "demo" if ask.key == "demo" else ask.plan,
        "canManageOrganizations": False,
        "availableDataFeeds": ["EOD Historical Data", "Live (delayed) Data API"],
        "availableMarketplaceDataFeeds": [],
    }
