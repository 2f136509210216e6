"""Coinbase's public routes for products, simulated in the market that all providers share. Pure.

Wire facts: docs.cdp.coinbase.com, Advanced Trade REST API, November 2026. Its streams, accounts and other routes
are those of the simulated exchange, whose market keeps to this one (`guide`).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar, Final

from streamer.simulator.past import plain
from streamer.simulator.providers.assets import COINS, DAY_S, Asset
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.market import Bar
from streamer.simulator.providers.provider import Provider, refused
from streamer.simulator.providers.wire import Ask, Refusal, Reply, fixed, json_reply, whole

_ALL: Final = "/api/v3/brokerage/market/products"
_PATH: Final = re.compile(rf"{_ALL}/([^/]+)(/candles)?")
_PRODUCTS: Final = {
    f"{coin.symbol}-{quote}": (coin, quote) for coin in COINS for quote in ("USD", "USDT") if coin.symbol != quote
}
_GRANULARITY_S: Final = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1800,
    "ONE_HOUR": 3600,
    "TWO_HOUR": 7200,
    "FOUR_HOUR": 14_400,
    "SIX_HOUR": 21_600,
    "ONE_DAY": DAY_S,
}
_MAX_CANDLES: Final = 350
_QUOTES: Final = {"USD": "US Dollar", "USDT": "Tether"}
_TOO_MANY_CANDLES: Final = "start and end argument is invalid - number of candles requested should be less than 350"
_EMPTY: Final = (
    "mid_market_price",
    "alias",
    "market_cap",
    "base_cbrn",
    "quote_cbrn",
    "product_cbrn",
    "icon_color",
    "icon_url",
    "display_name_overwrite",
    "about_description",
    "best_bid_price",
    "best_ask_price",
)
_FALSE: Final = (
    "watched",
    "is_disabled",
    "new",
    "cancel_only",
    "limit_only",
    "post_only",
    "trading_disabled",
    "auction_mode",
    "view_only",
    "is_alpha_testing",
)


class Coinbase(Provider):
    """`api.coinbase.com`, public market data."""

    name: ClassVar[str] = "coinbase"
    quotas = (Quota("per_second", 10, "second"),)
    bias = 2
    share = 60

    def key(self, ask: Ask) -> str:
        """A token, which public routes do not need."""
        return ask.headers.get("authorization", "").removeprefix("Bearer ")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """Whoever asks may ask; tokens are the business of the simulated exchange."""

    def bucket(self, ask: Ask, address: str) -> str:
        """Limits of public routes are of an address."""
        return address

    def answer(self, ask: Ask) -> Reply:
        """Answer by path."""
        if ask.path == _ALL:
            return json_reply(_products(ask))
        found = _PATH.fullmatch(ask.path)
        if found is None or found[1] not in _PRODUCTS:
            raise _refused(404, "NOT_FOUND", "valid product_id is required")
        coin, quote = _PRODUCTS[found[1]]
        return json_reply(_candles(ask, coin, quote) if found[2] else _product(ask, coin, quote))

    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """Three texts."""
        return json_reply({"error": "UNKNOWN", "error_details": why, "message": why}, status)

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """429 in the shape of the older API, which the SDK's users report."""
        return json_reply({"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}, 429)

    def empty(self, reply: Reply) -> Reply:
        """No candles, or a product without a price."""
        return json_reply({"candles": []} if reply.body.startswith(b'{"candles"') else {"price": ""})


def _refused(status: int, error: str, why: str) -> Refusal:
    return refused(json_reply({"error": error, "error_details": why, "message": why}, status))


def _decimals(coin: Asset) -> int:
    return -int(coin.start.as_tuple().exponent)


def _product(ask: Ask, coin: Asset, quote: str) -> dict[str, Any]:
    price, _ = ask.view.last(coin.symbol, quote, ask.now_s)
    before, _ = ask.view.last(coin.symbol, quote, ask.now_s - DAY_S)
    volume = Decimal(coin.volume) * Coinbase.share / 1000
    product_id, step = f"{coin.symbol}-{quote}", plain(Decimal(1).scaleb(-_decimals(coin)))
    return {
        "product_id": product_id,
        "price": plain(Decimal(fixed(price, _decimals(coin)))),
        "price_percentage_change_24h": fixed((price / before - 1) * 100, 14),
        "volume_24h": fixed(volume, 8),
        "volume_percentage_change_24h": "12.4920886271996",
        "base_increment": "0.00000001",
        "quote_increment": step,
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": "0.00000001",
        "base_max_size": "3400",
        "base_name": coin.name,
        "quote_name": _QUOTES[quote],
        **dict.fromkeys(_FALSE, False),
        **dict.fromkeys(_EMPTY, ""),
        "status": "online",
        "product_type": "SPOT",
        "quote_currency_id": quote,
        "base_currency_id": coin.symbol,
        "fcm_trading_session_details": None,
        "alias_to": [f"{product_id}C"] if quote == "USD" else [],
        "base_display_symbol": coin.symbol,
        "quote_display_symbol": quote,
        "price_increment": step,
        "display_name": product_id,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": fixed(volume * price, 2),
        "new_at": "2023-01-01T00:00:00Z",
    }


def _products(ask: Ask) -> dict[str, Any]:
    wanted = ask.params.get("product_type", "SPOT")
    rows = [_product(ask, *of) for of in _PRODUCTS.values()] if wanted == "SPOT" else []
    return {"products": rows, "num_products": len(rows), "pagination": None}


def _candles(ask: Ask, coin: Asset, quote: str) -> dict[str, Any]:
    """Newest first; both ends count, and the open one is among them."""
    length_s = _GRANULARITY_S.get(ask.params.get("granularity", ""))
    start_s, end_s = whole(ask.params.get("start")), whole(ask.params.get("end"))
    if length_s is None:
        raise _refused(400, "INVALID_ARGUMENT", "granularity argument is invalid")
    if start_s is None or end_s is None or end_s < start_s:
        raise _refused(400, "INVALID_ARGUMENT", "start and end argument is invalid")
    if end_s // length_s - -(-start_s // length_s) + 1 > _MAX_CANDLES:
        raise _refused(400, "INVALID_ARGUMENT", _TOO_MANY_CANDLES)
    bars = ask.view.bars(coin.symbol, quote, length_s, start_s, end_s + 1, ask.now_s)
    limit = whole(ask.params.get("limit")) or _MAX_CANDLES
    return {"candles": [_candle(coin, bar) for bar in reversed(bars)][:limit]}


def _candle(coin: Asset, bar: Bar) -> dict[str, str]:
    values = {"low": bar.low, "high": bar.high, "open": bar.open, "close": bar.close}
    prices = {name: plain(Decimal(fixed(value, _decimals(coin)))) for name, value in values.items()}
    return {"start": str(bar.start_s), **prices, "volume": plain(Decimal(fixed(bar.volume, 8)))}
