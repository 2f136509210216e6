"""Binance USD-M futures, simulated. Pure.

Wire facts: developers.binance.com, Derivatives, USDS-Margined Futures: general info, market data and error codes,
November 2026. Not documented there and chosen here: Retry-After on 429 and 418, -1130 for a limit above 1500.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from streamer.simulator.providers.assets import COINS, DAY_S, Asset
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.market import Bar
from streamer.simulator.providers.provider import Provider, refused
from streamer.simulator.providers.wire import Ask, Refusal, Reply, fixed, json_reply, whole

_INTERVAL_S: Final = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": DAY_S,
}
_MAX_ROWS: Final = 1500
_LEGAL: Final = re.compile(r"[A-Z0-9-_.]{1,20}", re.ASCII)
_SYMBOLS: Final = {f"{coin.symbol}USDT": coin for coin in COINS if coin.symbol != "USDT"}
_ONBOARD_MS: Final = 1_569_398_400_000
_TOO_MANY: Final = (
    "Too many requests; current limit is {} requests per minute. Please use the websocket for live updates to avoid"
    " polling the API."
)
_BANNED: Final = (
    "Way too many requests; IP(127.0.0.1) banned until {}. Please use the websocket for live updates to avoid bans."
)
_RESTRICTED: Final = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms."
    " Please contact customer service if you believe you received this message in error."
)


class Binance(Provider):
    """`fapi.binance.com`: perpetuals in USDT."""

    name: ClassVar[str] = "binance"
    quotas = (Quota("weight_per_minute", 2400, "minute", counts_cost=True),)
    ban_after = 10
    bias = 15
    share = 300

    def key(self, ask: Ask) -> str:
        """Not needed for market data."""
        return ask.headers.get("x-mbx-apikey", "")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """A bad key is refused also where none is needed."""
        if ask.key and not is_good:
            raise refused(_error(401, -2014, "API-key format invalid."))

    def bucket(self, ask: Ask, address: str) -> str:
        """Limits are of an address."""
        return address

    def cost(self, ask: Ask) -> int:
        """Return the weight."""
        has_symbol = "symbol" in ask.params
        if ask.path.endswith("/klines"):
            limit = whole(ask.params.get("limit")) or 500
            return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
        if ask.path.endswith("/24hr"):
            return 1 if has_symbol else 40
        if ask.path.endswith("/bookTicker"):
            return 2 if has_symbol else 5
        return 2 if ask.path.endswith("/ticker/price") and not has_symbol else 1

    def answer(self, ask: Ask) -> Reply:
        """Answer by path."""
        made = _ROUTES.get(ask.path)
        if made is None:
            return _error(404, -1000, "Path not found.")
        return json_reply(made(ask))

    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """Code and text."""
        return _error(status, -1000, why)

    def broken(self, ask: Ask) -> Reply:
        """The text of its error page."""
        return _error(500, -1000, "An unknown error occurred while processing the request.")

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """429 with the limit."""
        return _error(429, -1003, _TOO_MANY.format(verdict.most or 2400), _retry_after(ask, verdict))

    def banned(self, ask: Ask, verdict: Verdict) -> Reply:
        """418; the text tells until when, in milliseconds."""
        return _error(418, -1003, _BANNED.format(int(verdict.until_s * 1000)), _retry_after(ask, verdict))

    def geo_blocked(self) -> Reply:
        """451, as from countries that are not served."""
        return _error(451, 0, _RESTRICTED)

    def decorated(self, ask: Ask, reply: Reply) -> Reply:
        """The used weight, which is documented to be wrong on two endpoints."""
        used = ask.used.get("weight_per_minute", 0)
        is_wrong = ask.path in ("/fapi/v2/ticker/price", "/fapi/v1/ticker/bookTicker")
        return reply.with_headers({"X-MBX-USED-WEIGHT-1M": str(self.cost(ask) if is_wrong else used)})


def _error(status: int, code: int, why: str, headers: Mapping[str, str] | None = None) -> Reply:
    return json_reply({"code": code, "msg": why}, status).with_headers(headers or {})


def _retry_after(ask: Ask, verdict: Verdict) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(verdict.until_s - ask.now_s)))}


def _bad(code: int, why: str) -> Refusal:
    return refused(_error(400, code, why))


def _coin(ask: Ask) -> Asset:
    symbol = ask.params.get("symbol", "")
    if not symbol:
        raise _missing("symbol")
    if not _LEGAL.fullmatch(symbol):
        raise _bad(-1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.")
    if symbol not in _SYMBOLS:
        raise _bad(-1121, "Invalid symbol.")
    return _SYMBOLS[symbol]


def _missing(name: str) -> Refusal:
    return _bad(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _number(ask: Ask, name: str) -> int | None:
    text = ask.params.get(name)
    found = whole(text)
    if text is not None and found is None:
        raise _bad(-1130, f"Data sent for parameter '{name}' is not valid.")
    return found


def _price_decimals(coin: Asset) -> int:
    return 2 if coin.start >= 1000 else 4


def _price(coin: Asset, value: Decimal) -> str:
    # Bitcoin trades in steps of 0.10, and is written with two decimals all the same.
    step = Decimal("0.1") if coin.symbol == "BTC" else Decimal(1).scaleb(-_tick_decimals(coin))
    return fixed(value.quantize(step), max(_price_decimals(coin), _tick_decimals(coin)))


def _tick_decimals(coin: Asset) -> int:
    return 2 if coin.start >= 1000 else 4 if coin.start >= 1 else 6


def _single_or_all(ask: Ask, made: Callable[[Ask, Asset], Any]) -> Any:
    if "symbol" in ask.params:
        return made(ask, _coin(ask))
    return [made(ask, coin) for coin in _SYMBOLS.values()]


def _ticker(ask: Ask, coin: Asset) -> dict[str, Any]:
    price, _ = ask.view.last(coin.symbol, "USDT", ask.now_s)
    return {"symbol": f"{coin.symbol}USDT", "price": _price(coin, price), "time": ask.now_ms - 252}


def _book(ask: Ask, coin: Asset) -> dict[str, Any]:
    price, _ = ask.view.last(coin.symbol, "USDT", ask.now_s)
    return {
        "symbol": f"{coin.symbol}USDT",
        "bidPrice": _price(coin, price * Decimal("0.99999")),
        "bidQty": "4.317",
        "askPrice": _price(coin, price * Decimal("1.00001")),
        "askQty": "2.860",
        "time": ask.now_ms - 133,
    }


def _day(ask: Ask, coin: Asset) -> dict[str, Any]:
    # The window rolls by whole hours here.
    bars = ask.view.bars(coin.symbol, "USDT", 3600, ask.now_s - DAY_S, ask.now_s, ask.now_s)
    volume = sum((bar.volume for bar in bars), Decimal(0))
    turnover = sum((bar.volume * _middle(bar) for bar in bars), Decimal(0))
    opened, last = bars[0].open, bars[-1].close
    return {
        "symbol": f"{coin.symbol}USDT",
        "priceChange": _price(coin, last - opened),
        "priceChangePercent": fixed((last / opened - 1) * 100, 3),
        "weightedAvgPrice": _price(coin, turnover / volume),
        "lastPrice": _price(coin, last),
        "lastQty": "0.012",
        "openPrice": _price(coin, opened),
        "highPrice": _price(coin, max(bar.high for bar in bars)),
        "lowPrice": _price(coin, min(bar.low for bar in bars)),
        "volume": fixed(volume, 3),
        "quoteVolume": fixed(turnover, 2),
        "openTime": bars[0].start_s * 1000,
        "closeTime": ask.now_ms - 252,
        "firstId": 6_871_204_411,
        "lastId": 6_874_533_920,
        "count": 3_329_510,
    }


def _middle(bar: Bar) -> Decimal:
    return (bar.open + bar.close) / 2


def _klines(ask: Ask) -> list[list[Any]]:
    coin, interval = _coin(ask), ask.params.get("interval")
    if not interval:
        raise _missing("interval")
    if interval not in _INTERVAL_S:
        raise _bad(-1120, "Invalid interval.")
    length_s, limit = _INTERVAL_S[interval], _number(ask, "limit")
    limit = 500 if limit is None else limit
    if not 1 <= limit <= _MAX_ROWS:
        raise _bad(-1130, "Data sent for parameter 'limit' is not valid.")
    from_ms, to_ms = _number(ask, "startTime"), _number(ask, "endTime")
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        raise _bad(-1023, "Start time is greater than end time.")
    to_s = ask.now_s if to_ms is None else min(ask.now_s, to_ms // 1000 + 1)
    if from_ms is None:
        newest_s = min(ask.now_ms, ask.now_ms if to_ms is None else to_ms) // 1000 // length_s * length_s
        from_s = newest_s - (limit - 1) * length_s
    else:
        from_s = -(-from_ms // 1000)
        to_s = min(to_s, from_s + limit * length_s)
    bars = ask.view.bars(coin.symbol, "USDT", length_s, max(from_s, _ONBOARD_MS // 1000), to_s, ask.now_s)
    return [_row(coin, bar) for bar in bars]


def _row(coin: Asset, bar: Bar) -> list[Any]:
    turnover = bar.volume * _middle(bar)
    half = Decimal("0.51")
    prices = [_price(coin, value) for value in (bar.open, bar.high, bar.low, bar.close)]
    count = max(1, int(turnover / 3000))
    taken = [fixed(bar.volume * half, 3), fixed(turnover * half, 5)]
    row = [bar.start_s * 1000, *prices, fixed(bar.volume, 3), bar.end_s * 1000 - 1, fixed(turnover, 5), count]
    return [*row, *taken, "0"]


def _info(ask: Ask) -> dict[str, Any]:
    rates = (("REQUEST_WEIGHT", ask.limits.get("weight_per_minute") or 2400), ("ORDERS", 1200))
    limits = [
        {"interval": "MINUTE", "intervalNum": 1, "limit": most, "rateLimitType": kind} for kind, most in rates
    ]
    return {
        "exchangeFilters": [],
        "rateLimits": limits,
        "serverTime": ask.now_ms,
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_contract(coin) for coin in _SYMBOLS.values()],
        "timezone": "UTC",
    }


def _contract(coin: Asset) -> dict[str, Any]:
    tick = "0.10" if coin.symbol == "BTC" else fixed(Decimal(1).scaleb(-_tick_decimals(coin)), _tick_decimals(coin))
    return {
        "symbol": f"{coin.symbol}USDT",
        "pair": f"{coin.symbol}USDT",
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": _ONBOARD_MS,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": coin.symbol,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": _price_decimals(coin),
        "quantityPrecision": 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "filters": [{"filterType": "PRICE_FILTER", "maxPrice": "4529764", "minPrice": tick, "tickSize": tick}],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
    }


_ROUTES: Final[dict[str, Callable[[Ask], Any]]] = {
    "/fapi/v1/ping": lambda ask: {},
    "/fapi/v1/time": lambda ask: {"serverTime": ask.now_ms},
    "/fapi/v1/exchangeInfo": _info,
    "/fapi/v1/ticker/price": lambda ask: _single_or_all(ask, _ticker),
    "/fapi/v2/ticker/price": lambda ask: _single_or_all(ask, _ticker),
    "/fapi/v1/ticker/bookTicker": lambda ask: _single_or_all(ask, _book),
    "/fapi/v1/ticker/24hr": lambda ask: _single_or_all(ask, _day),
    "/fapi/v1/klines": _klines,
}
