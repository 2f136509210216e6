"""CoinGecko, simulated: the demo host for the free plan, the pro host for the paid one. Pure.

Wire facts: the vendor's OpenAPI files and error pages, and captured answers, November 2026. Where sources disagree
the demo limit is 30 a minute, a plan is refused with 401, and prices of the demo plan are up to 60 s old.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar, Final

import orjson

from streamer.simulator.providers.assets import COINS, DAY_S, Asset
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.market import Bar, joined
from streamer.simulator.providers.provider import Provider, html_reply, refused
from streamer.simulator.providers.wire import PAID, Ask, Refusal, Reply, iso, json_reply, number, parsed_day, whole

_BY_ID: Final = {coin.slug: coin for coin in COINS}
_CURRENCIES: Final = ("usd", "btc", "eth")
_OHLC_DAYS: Final = (1, 7, 14, 30, 90, 180, 365)
_UPDATED_S: Final = 900
_OHLC: Final = re.compile(r"/coins/([^/]+)/ohlc(/range)?")
_CHART: Final = re.compile(r"/coins/([^/]+)/market_chart(/range)?")
_WRONG_HOST: Final = "If you are using {} API key, please change your root URL from {} to {}"
_HOSTS: Final = ("pro-api.coingecko.com", "api.coingecko.com")
_DEMO_KEY: Final = _WRONG_HOST.format("Demo", *_HOSTS)
_PRO_KEY: Final = _WRONG_HOST.format("Pro", *reversed(_HOSTS))
_TOO_FAR: Final = (
    "Your request exceeds the allowed time range. Public API users are limited to querying historical data within"
    " the past 365 days. Upgrade to a paid plan to get full access."
)
_TOO_MANY: Final = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to our API"
    " plans for higher rate limits."
)


class CoinGecko(Provider):
    """`api.coingecko.com` and `pro-api.coingecko.com`."""

    name: ClassVar[str] = "coingecko"
    quotas = (Quota("per_minute", 30, "minute"),)
    paid_quotas = (Quota("per_minute", 500, "minute"), Quota("per_month", 500_000, "month"))
    bias = -5
    styles = ("usual", "no_header", "with_200")

    def key(self, ask: Ask) -> str:
        """In one of two headers or query parameters, for one of two hosts."""
        return _key(ask, "pro") or _key(ask, "demo")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """The demo host needs none; a key for the other host is refused."""
        if ask.plan == PAID and _key(ask, "demo"):
            raise refused(self.error(ask, 400, _DEMO_KEY, 10011))
        if ask.plan != PAID and _key(ask, "pro"):
            raise refused(self.error(ask, 400, _PRO_KEY, 10010))
        if (ask.plan == PAID and not ask.key) or (ask.key and not is_good):
            why = "API Key Missing. Please make sure you\u2019re using the right authentication method."
            raise refused(self.error(ask, 401, why, 10002))

    def answer(self, ask: Ask) -> Reply:
        """Answer by path, with or without the /api/v3 of the real one."""
        path = ask.path.removeprefix("/api/v3")
        if path in _ROUTES:
            return json_reply(_ROUTES[path](ask))
        if path == "/key" and ask.plan == PAID:
            return json_reply(_plan(ask))
        for pattern, made in ((_OHLC, _ohlc), (_CHART, _chart)):
            found = pattern.fullmatch(path)
            if found:
                if found[1] not in _BY_ID:
                    raise refused(json_reply({"error": "coin not found"}, 404))
                return json_reply(made(ask, _BY_ID[found[1]], is_range=bool(found[2])))
        raise refused(json_reply({"error": "Incorrect path. Please check https://docs.coingecko.com/"}, 404))

    def error(self, ask: Ask, status: int, why: str, code: int | None = None) -> Reply:
        """The shape with `status` on top; there are two more."""
        facts = {"timestamp": _stamp(ask), "error_code": code or status, "error_message": why}
        return json_reply({"status": facts}, status)

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """429, with or without a hint; also seen with HTTP 200."""
        body = {"status": {"error_code": 429, "error_message": _TOO_MANY}}
        reply = json_reply(body, 200 if style == "with_200" else 429)
        wait_s = str(max(1, round(verdict.until_s - ask.now_s)))
        return reply.with_headers({"retry-after": wait_s}) if style == "usual" else reply

    def banned(self, ask: Ask, verdict: Verdict) -> Reply:
        """The page of the network in front of it."""
        text = "<!DOCTYPE html>\n<html><head><title>Access denied</title></head><body><h1>Error 1020</h1>"
        return html_reply(403, f"{text}<p>Access denied</p></body></html>\n")


def _key(ask: Ask, kind: str) -> str:
    return ask.headers.get(f"x-cg-{kind}-api-key") or ask.params.get(f"x_cg_{kind}_api_key", "")


def _stamp(ask: Ask) -> str:
    return iso(ask.now_s)[:-1] + "+00:00"


def _missing(name: str) -> Refusal:
    return refused(json_reply({"error": f"Missing parameter {name}"}, 422))


def _paid_only(ask: Ask) -> None:
    if ask.plan != PAID:
        facts = {"error_code": 10005, "error_message": "This request is limited to paid plan subscribers."}
        raise refused(json_reply({"status": {"timestamp": _stamp(ask), **facts}}, 401))


def _too_far(ask: Ask) -> Refusal:
    facts = {"timestamp": _stamp(ask), "error_code": 10012, "error_message": _TOO_FAR}
    return refused(json_reply({"error": {"status": facts}}, 401))


def _decimals(coin: Asset) -> int:
    return 0 if coin.start >= 10_000 else 2 if coin.start >= 1 and coin.start > 10 else 6


def _rounded(ask: Ask, value: Decimal, usual: int) -> orjson.Fragment:
    wanted = ask.params.get("precision")
    digits = whole(wanted)
    return number(value, usual if wanted is None else 12 if digits is None else min(digits, 18))


def _in(ask: Ask, currency: str, value: Decimal, at_s: float) -> Decimal:
    return value if currency == "usd" else value / ask.view.last(currency.upper(), "USD", at_s)[0]


def _turnover(ask: Ask, coin: Asset, at_s: float) -> Decimal:
    """The volume of the last 24 hours: rolling, and in dollars."""
    price, _ = ask.view.last(coin.symbol, "USD", at_s)
    return price * coin.volume


def _prices(ask: Ask) -> dict[str, Any]:
    if not ask.params.get("vs_currencies"):
        raise _missing("vs_currencies")
    names, symbols = ask.listed("ids"), {text.upper() for text in ask.listed("symbols")}
    coins = [_BY_ID[name] for name in names if name in _BY_ID] + [c for c in COINS if c.symbol in symbols]
    currencies = [text for text in ask.listed("vs_currencies") if text in _CURRENCIES]
    return {(coin.symbol.lower() if symbols else coin.slug): _price(ask, coin, currencies) for coin in coins}


def _price(ask: Ask, coin: Asset, currencies: list[str]) -> dict[str, Any]:
    every_s = 20 if ask.plan == PAID else 60
    # Not all coins are looked at in the same second.
    at_s = (int(ask.now_s) - coin.number % 7) // every_s * every_s + coin.number % 7
    price, _ = ask.view.last(coin.symbol, "USD", at_s)
    before, _ = ask.view.last(coin.symbol, "USD", at_s - DAY_S)
    shown: dict[str, Any] = {}
    for currency in currencies:
        value = _in(ask, currency, price, at_s)
        shown[currency] = _rounded(ask, value, _decimals(coin) if currency == "usd" else 8)
        extras = {
            "market_cap": (value * coin.supply, 2),
            "24h_vol": (_in(ask, currency, _turnover(ask, coin, at_s), at_s), 2),
            "24h_change": ((price / before - 1) * 100, 10),
        }
        for name, (extra, digits) in extras.items():
            if ask.params.get(f"include_{'24hr' + name[3:] if name.startswith('24h') else name}") == "true":
                shown[f"{currency}_{name}"] = number(extra, digits)
    if ask.params.get("include_last_updated_at") == "true":
        shown["last_updated_at"] = at_s
    return shown


def _currency(ask: Ask) -> str:
    currency = ask.params.get("vs_currency", "")
    if not currency:
        raise _missing("vs_currency")
    if currency not in _CURRENCIES:
        raise refused(json_reply({"error": "invalid vs_currency"}, 422))
    return currency


def _ohlc(ask: Ask, coin: Asset, *, is_range: bool) -> list[list[Any]]:
    currency, interval = _currency(ask), ask.params.get("interval")
    until_s = int(ask.now_s) // _UPDATED_S * _UPDATED_S
    if is_range:
        _paid_only(ask)
        from_s, to_s = _moment(ask, "from"), _moment(ask, "to")
        if interval not in ("daily", "hourly"):
            raise _missing("interval")
    else:
        if interval is not None:
            _paid_only(ask)
        days = whole(ask.params.get("days"))
        if ask.params.get("days") == "max":
            raise _too_far(ask)
        if days not in _OHLC_DAYS:
            raise _missing("days")
        from_s, to_s = until_s - days * DAY_S, until_s
    size_s = {"daily": DAY_S, "hourly": 3600}.get(interval or "") or _automatic_s(to_s - from_s)
    decimals = _decimals(coin) if coin.start < 1000 else 1 if coin.start < 10_000 else 0
    rows = []
    for bar in _candles(ask, coin, size_s, from_s - size_s, to_s):
        # Labelled by its end, and there only once that has passed.
        if from_s < bar.end_s <= min(to_s, until_s):
            values = (bar.open, bar.high, bar.low, bar.close)
            shown = [_rounded(ask, _in(ask, currency, value, bar.end_s), max(1, decimals)) for value in values]
            rows.append([bar.end_s * 1000, *shown])
    return rows


def _automatic_s(length_s: int) -> int:
    days = length_s / DAY_S
    return 1800 if days <= 2 else 4 * 3600 if days <= 30 else 4 * DAY_S


def _candles(ask: Ask, coin: Asset, size_s: int, from_s: int, to_s: int) -> list[Bar]:
    if size_s <= DAY_S:
        return ask.view.bars(coin.symbol, "USD", size_s, from_s, to_s, ask.now_s)
    first_s = from_s // size_s * size_s
    days = ask.view.bars(coin.symbol, "USD", DAY_S, first_s, to_s, ask.now_s)
    return [joined(group) for i in range(0, len(days), 4) if len(group := days[i : i + 4]) == 4]


def _moment(ask: Ask, name: str) -> int:
    text = ask.params.get(name, "")
    found = whole(text)
    if found is None and len(text) >= 10:
        midnight_s = parsed_day(text[:10])
        hours = re.fullmatch(r"T(\d\d):(\d\d).*", text[10:])
        found = None if midnight_s is None else midnight_s
        if found is not None and hours:
            found += int(hours[1]) * 3600 + int(hours[2]) * 60
    if found is None:
        raise _missing(name)
    return found


def _chart(ask: Ask, coin: Asset, *, is_range: bool) -> dict[str, Any]:
    currency, now_s = _currency(ask), int(ask.now_s)
    if is_range:
        from_s, to_s = _moment(ask, "from"), min(now_s, _moment(ask, "to"))
    else:
        days = whole(ask.params.get("days"))
        if days is None and ask.params.get("days") != "max":
            raise _missing("days")
        from_s, to_s = now_s - (5000 if days is None else days) * DAY_S, now_s
    if ask.plan != PAID and from_s < now_s - 365 * DAY_S - 3600:
        raise _too_far(ask)
    length_s = to_s - from_s
    automatic_s = 300 if length_s <= DAY_S else 3600 if length_s <= 90 * DAY_S else DAY_S
    step_s = {"daily": DAY_S, "hourly": 3600, "5m": 300}.get(ask.params.get("interval", "")) or automatic_s
    # Points lie near the marks, not on them; those of days lie at midnight. The last one is now.
    marks = list(range(-(-from_s // step_s) * step_s, to_s, step_s))
    times = [mark * 1000 + (0 if step_s == DAY_S else mark // step_s * 7919 % 4000) for mark in marks]
    found: dict[str, Any] = {"prices": [], "market_caps": [], "total_volumes": []}
    for time_ms in [*times, to_s * 1000]:
        price = _in(ask, currency, ask.view.last(coin.symbol, "USD", time_ms / 1000)[0], time_ms / 1000)
        found["prices"].append([time_ms, number(price, 6)])
        found["market_caps"].append([time_ms, number(price * coin.supply, 2)])
        found["total_volumes"].append([time_ms, number(price * coin.volume, 2)])
    return found


def _plan(ask: Ask) -> dict[str, Any]:
    minute, month = ask.limits.get("per_minute") or 500, ask.limits.get("per_month") or 500_000
    used = ask.used.get("per_month", 0)
    return {
        "plan": "Analyst",
        "rate_limit_request_per_minute": minute,
        "monthly_call_credit": month,
        "current_total_monthly_calls": used,
        "current_remaining_monthly_calls": month - used,
        "api_key_rate_limit_request_per_minute": minute,
        "api_key_monthly_call_credit": month,
        "api_key_current_total_monthly_calls": used,
    }


def _coins(ask: Ask) -> list[dict[str, str]]:
    """Symbols are not unique: an impostor comes before the coin that is meant."""
    rows = []
    for coin in COINS:
        for slug, name in ((f"bridged-{coin.slug}-sample", f"Bridged {coin.name}"), (coin.slug, coin.name)):
            rows.append({"id": slug, "symbol": coin.symbol.lower(), "name": name})
    return rows


_ROUTES: Final = {
    "/ping": lambda ask: {"gecko_says": "(V3) To the Moon!"},
    "/simple/price": _prices,
    "/simple/supported_vs_currencies": lambda ask: list(_CURRENCIES),
    "/coins/list": _coins,
}
