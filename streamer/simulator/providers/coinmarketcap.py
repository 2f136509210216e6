"""CoinMarketCap, simulated. Pure.

Wire facts: the vendor's SDK, documentation, guides and command-line client, November 2026. A lookup by symbol finds
another coin of that name first. Not documented and chosen here: unknown ids are left out, Retry-After on 1008.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

import orjson

from streamer.simulator.providers.assets import COINS, DAY_S, Asset
from streamer.simulator.providers.coinmarketcap_bars import historical, running
from streamer.simulator.providers.coinmarketcap_lookup import (
    CONVERTS,
    bad,
    by_symbol,
    cached_s,
    converts,
    error,
    found,
    head,
)
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.provider import Provider, refused
from streamer.simulator.providers.wire import (
    Ask,
    Reply,
    day_text,
    iso,
    json_reply,
    number,
    parsed_day,
    whole,
)

_KEYLESS: Final = "/public-api"
_COINS_A_CREDIT: Final = 100
_SINCE: Final = "2010-07-13T00:00:00.000Z"
_CODES: Final = {
    "1008": "You've exceeded your API Key's HTTP request rate limit. Rate limits reset every minute.",
    "1009": "You've exceeded your API Key's daily rate limit.",
    "1010": "You've exceeded your API Key's monthly rate limit.",
    "1011": "You've hit an IP rate limit.",
}
_CODE_OF: Final = {"per_minute": "1008", "credits_per_day": "1009", "credits_per_month": "1010"}


class CoinMarketCap(Provider):
    """`pro-api.coinmarketcap.com`."""

    name: ClassVar[str] = "coinmarketcap"
    quotas = (
        Quota("per_minute", 30, "minute"),
        Quota("credits_per_day", None, "day", counts_cost=True),
        Quota("credits_per_month", 15_000, "month", counts_cost=True),
    )
    bias = 10
    styles = tuple(_CODES)

    def key(self, ask: Ask) -> str:
        """In the header or the query."""
        return ask.headers.get("x-cmc_pro_api_key") or ask.params.get("CMC_PRO_API_KEY", "")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """Some paths need none, below a prefix of their own."""
        if ask.path.startswith(_KEYLESS):
            return
        if not ask.key:
            raise refused(error(ask, 401, 1002, "API key missing."))
        if not is_good:
            raise refused(error(ask, 401, 1001, "This API Key is invalid."))

    def cost(self, ask: Ask) -> int:
        """Return the credits: one for each hundred coins or points, and one for each further currency."""
        if ask.path.endswith(("/key/info", "/map")):
            return 0 if ask.path.endswith("/key/info") else 1
        names = max(len(ask.listed(name)) for name in ("id", "symbol", "slug"))
        count = (whole(ask.params.get("count")) or 10) * names if ask.path.endswith("/historical") else names
        return max(1, -(-count // _COINS_A_CREDIT)) + max(0, len(ask.listed("convert")) - 1)

    def answer(self, ask: Ask) -> Reply:
        """Answer by path; every answer tells what it has cost."""
        made = _ROUTES.get(ask.path.removeprefix(_KEYLESS))
        if made is None:
            raise refused(error(ask, 404, 404, "Not found"))
        data = made(ask)
        is_simple = ask.path.endswith("/simple/price")
        # One endpoint has the code as text, in the vendor's own example.
        code, why = ("0", "") if is_simple else (0, None)
        return json_reply({"status": head(ask, code, why, self.cost(ask)), "data": data})

    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """No data, no credits."""
        return error(ask, status, status, why)

    def broken(self, ask: Ask) -> Reply:
        """Its own text."""
        return error(ask, 500, 500, "An internal server error occurred")

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """429; the code tells which limit. Only the minute's comes with a hint."""
        code = _CODE_OF.get(verdict.name, style)
        reply = error(ask, 429, int(code), _CODES[code])
        if code != "1008":
            return reply
        reset = iso(verdict.until_s + 0.999)[:19].replace("T", " ") + " +0000"
        wait_s = str(max(1, round(verdict.until_s - ask.now_s)))
        return reply.with_headers({"Retry-After": wait_s, "x-ratelimit-reset": reset})

    def banned(self, ask: Ask, verdict: Verdict) -> Reply:
        """The limit of the address."""
        return error(ask, 429, 1011, _CODES["1011"])

    def empty(self, reply: Reply) -> Reply:
        """No data of the same kind."""
        body = orjson.loads(reply.body)
        data = body.get("data")
        if isinstance(data, dict) and "quotes" in data:
            body["data"] = {**data, "quotes": []}
        elif isinstance(data, dict | list):
            body["data"] = type(data)()
        return json_reply(body)


# Prices


def _quote(ask: Ask, coin: Asset, currency: str) -> dict[str, Any]:
    at_s = cached_s(ask)
    price = _in(ask, coin, currency, at_s)
    changes = {}
    for name, back_s in (("1h", 3600), *((f"{days}d", days * DAY_S) for days in (7, 30, 60, 90)), ("24h", DAY_S)):
        changes[name] = number((price / _in(ask, coin, currency, at_s - back_s) - 1) * 100, 8)
    return {
        "price": number(price, 10),
        "volume_24h": number(price * coin.volume, 2),
        "volume_change_24h": number(Decimal("-3.1144"), 4),
        **{f"percent_change_{name}": changes[name] for name in ("1h", "24h", "7d", "30d", "60d", "90d")},
        "market_cap": number(price * coin.supply, 2),
        "market_cap_dominance": number(Decimal("57.9022"), 4),
        "fully_diluted_market_cap": number(price * coin.supply, 2),
        "tvl": None,
        "last_updated": iso(at_s),
    }


def _coin(ask: Ask, coin: Asset, *, has_plain_tags: bool) -> dict[str, Any]:
    tag: Any = "mineable" if has_plain_tags else {"slug": "mineable", "name": "Mineable", "category": "OTHERS"}
    return {
        "id": coin.number,
        "name": coin.name,
        "symbol": coin.symbol,
        "slug": coin.slug,
        "num_market_pairs": 12_044,
        "date_added": _SINCE,
        "tags": [tag],
        "max_supply": coin.supply,
        "circulating_supply": coin.supply,
        "total_supply": coin.supply,
        "is_active": 1,
        "infinite_supply": False,
        "platform": None,
        "cmc_rank": COINS.index(coin) + 1,
        "is_fiat": 0,
        "self_reported_circulating_supply": None,
        "self_reported_market_cap": None,
        "tvl_ratio": None,
        "last_updated": iso(cached_s(ask)),
    }


def _with_quotes(ask: Ask, coin: Asset, *, has_plain_tags: bool = False) -> dict[str, Any]:
    quotes = {name: _quote(ask, coin, name) for name in converts(ask)}
    return {**_coin(ask, coin, has_plain_tags=has_plain_tags), "quote": quotes}


def _impostor(ask: Ask, coin: Asset) -> dict[str, Any]:
    """Another coin of the same symbol, worth next to nothing."""
    shown = _with_quotes(ask, coin)
    quotes = {
        name: {
            **quote,
            "price": orjson.Fragment("0.0001021"),
            "market_cap": 0,
            "volume_24h": orjson.Fragment("12.4"),
        }
        for name, quote in shown["quote"].items()
    }
    other = {"id": 30_000 + coin.number, "name": f"{coin.symbol} Cat (sample)", "cmc_rank": None, "quote": quotes}
    return {**shown, **other, "slug": f"{coin.slug}-cat-sample", "tags": []}


def _quotes_v1(ask: Ask) -> dict[str, Any]:
    pairs = [(text, coin) for text, coin in by_symbol(ask) if coin] if "symbol" in ask.params else found(ask)
    return {text: _with_quotes(ask, coin, has_plain_tags=True) for text, coin in pairs}


def _quotes_v2(ask: Ask) -> dict[str, Any]:
    if "symbol" not in ask.params:
        return {str(coin.number): _with_quotes(ask, coin) for _, coin in found(ask)}
    return {
        text: [] if coin is None else [_impostor(ask, coin), _with_quotes(ask, coin)]
        for text, coin in by_symbol(ask)
    }


def _quotes_v3(ask: Ask) -> list[dict[str, Any]]:
    if "symbol" in ask.params:
        rows = [row for group in _quotes_v2(ask).values() for row in group]
    else:
        rows = [_with_quotes(ask, coin) for _, coin in found(ask)]
    return [{**row, "quote": _listed(row["quote"])} for row in rows]


def _listed(quotes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"id": CONVERTS[name], "symbol": name, **quote} for name, quote in quotes.items()]


def _simple(ask: Ask) -> list[dict[str, Any]]:
    names = ("price", "market_cap", "volume_24h", "percent_change_24h", "last_updated")
    rows = []
    for _, coin in found(ask):
        quotes = {name: _quote(ask, coin, name) for name in converts(ask)}
        shown = [{"symbol": name, **{key: quote[key] for key in names}} for name, quote in quotes.items()]
        rows.append(
            {"id": coin.number, "name": coin.name, "symbol": coin.symbol, "slug": coin.slug, "quotes": shown}
        )
    return rows


def _map(ask: Ask) -> list[dict[str, Any]]:
    wanted = {text.upper() for text in ask.listed("symbol")}
    rows = []
    for rank, coin in enumerate(COINS, 1):
        if not wanted or coin.symbol in wanted:
            common = {"symbol": coin.symbol, "is_active": 1, "first_historical_data": _SINCE, "platform": None}
            common["last_historical_data"] = iso(cached_s(ask))
            cat = {"name": f"{coin.symbol} Cat (sample)", "slug": f"{coin.slug}-cat-sample"}
            rows.append({"id": 30_000 + coin.number, "rank": None, **cat, **common})
            rows.append({"id": coin.number, "rank": rank, "name": coin.name, "slug": coin.slug, **common})
    return rows


def _in(ask: Ask, coin: Asset, currency: str, at_s: float) -> Decimal:
    price, _ = ask.view.last(coin.symbol, "USD", at_s)
    # Arithmetic, not a market of its own.
    return price if currency == "USD" else price / ask.view.market.last(currency, at_s)[0]


def _key_info(ask: Ask) -> dict[str, Any]:
    if "id" in ask.params:
        raise bad(ask, '"id" is not allowed')
    month, minute = ask.limits.get("credits_per_month"), ask.limits.get("per_minute")
    day = ask.limits.get("credits_per_day")
    used = ask.used
    next_month = f"{day_text(ask.now_s)[:7]}-01"
    next_month = day_text((parsed_day(next_month) or 0) + 32 * DAY_S)[:7] + "-01T00:00:00.000Z"
    return {
        "plan": {
            "credit_limit_monthly": month,
            "credit_limit_monthly_reset": "In 10 days, 8 hours, 59 minutes",
            "credit_limit_monthly_reset_timestamp": next_month,
            "rate_limit_minute": minute,
        },
        "usage": {
            "current_minute": {
                "requests_made": used.get("per_minute", 0),
                "requests_left": None if minute is None else minute - used.get("per_minute", 0),
            },
            "current_day": _credits(used.get("credits_per_day", 0), day),
            "current_month": _credits(used.get("credits_per_month", 0), month),
        },
    }


def _credits(used: int, most: int | None) -> dict[str, int | None]:
    return {"credits_used": used, "credits_left": None if most is None else most - used}


_ROUTES: Final[dict[str, Callable[[Ask], Any]]] = {
    "/v1/cryptocurrency/quotes/latest": _quotes_v1,
    "/v2/cryptocurrency/quotes/latest": _quotes_v2,
    "/v3/cryptocurrency/quotes/latest": _quotes_v3,
    "/v2/simple/price": _simple,
    "/v1/cryptocurrency/map": _map,
    "/v2/cryptocurrency/ohlcv/historical": historical,
    "/v2/cryptocurrency/ohlcv/latest": running,
    "/v1/key/info": _key_info,
}
