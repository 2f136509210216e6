"""How CoinMarketCap's answers read; its shapes differ from version to version. Pure.

Wire facts: the vendor's API documentation and SDK, November 2026. `data` is one coin, an array of coins, or coins
or arrays of them by name or number; `quote` (`quotes` in `simple/price`) is by currency or an array.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamer.errors import NoData, UnknownSymbol
from streamer.providers.decode import iso_ms, mapping, number, price_number, rows, sound_ms, text
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Quota, Symbol
from streamer.providers.spans import is_closed


def instrument(symbol: Symbol) -> Instrument:
    """Return what a price in this currency is: all but those in USD are converted from that."""
    return Instrument.AGGREGATE if symbol.quote == "USD" else Instrument.DERIVED


def read_price(body: Any, symbol: Symbol, coin_id: str, now_ms: int) -> Price:
    """Return the price in `quotes/latest` (v1, v2, v3) or `simple/price` (v2), by name or by number.

    Raises:
        UnknownSymbol: The answer is sound and has not this coin.
        NoData: The coin is there without a price.
    """
    values = _values(_coin(body, symbol, coin_id), symbol)
    if values.get("price") is None:
        raise NoData("coinmarketcap price", f"{symbol} has none")
    stamp = values.get("last_updated")
    as_of_ms = sound_ms(iso_ms(stamp), now_ms) if stamp is not None else None
    note = "" if symbol.quote == "USD" else "converted from USD by the provider"
    return Price(symbol, price_number(values["price"]), instrument(symbol), as_of_ms, note=note)


def read_bars(body: Any, symbol: Symbol, coin_id: str, interval: Interval, now_ms: int) -> list[Bar]:
    """Return `ohlcv/historical` of one coin, also from an answer of several; raises as `read_price` does."""
    coin = _coin(body, symbol, coin_id)
    return [_bar(row, symbol, interval, now_ms) for row in rows(coin.get("quotes"), "quotes")]


def _bar(row: Any, symbol: Symbol, interval: Interval, now_ms: int) -> Bar:
    """Return one period: `time_open`, and its prices in `quote` by currency."""
    facts = mapping(row, "period")
    values = _values(facts, symbol)
    start_s = sound_ms(iso_ms(facts.get("time_open"), "time_open"), now_ms) // 1000
    opened, high, low, close = (price_number(values.get(name), name) for name in ("open", "high", "low", "close"))
    return Bar(start_s, opened, high, low, close, is_closed=is_closed(start_s, interval, now_ms))


def read_running_day(body: Any, symbol: Symbol, coin_id: str, now_ms: int) -> Bar:
    """Return the one period of `ohlcv/latest`, the day that is not over; raises as `read_price` does."""
    return _bar(_coin(body, symbol, coin_id), symbol, Interval.D1, now_ms)


def read_listing(body: Any) -> list[Listed]:
    """Return the coins of `cryptocurrency/map`, in its order."""
    entries = [mapping(entry, "coin") for entry in rows(mapping(body).get("data"), "data")]
    return [
        Listed(str(int(entry["id"])), str(entry["symbol"]).upper(), is_active=entry.get("is_active") == 1)
        for entry in entries
    ]


def read_quota(body: Any) -> Quota:
    """Return the plan and what is used of it, of `key/info`."""
    data = mapping(mapping(body).get("data"), "data")
    plan, usage = mapping(data.get("plan"), "plan"), mapping(data.get("usage"), "usage")
    month, reset = (
        mapping(usage.get("current_month"), "current_month"),
        plan.get("credit_limit_monthly_reset_timestamp"),
    )
    return Quota(
        per_minute=_count(plan.get("rate_limit_minute")),
        per_month=_count(plan.get("credit_limit_monthly")),
        used=_count(month.get("credits_used")),
        left=_count(month.get("credits_left")),
        reset_ms=iso_ms(reset) if reset is not None else None,
    )


def _count(value: object) -> int | None:
    return None if value is None else int(number(value))


def _coin(body: Any, symbol: Symbol, coin_id: str) -> Mapping[str, Any]:
    data = mapping(body).get("data")
    if isinstance(data, dict):
        data = [data] if "id" in data else list(data.values())
    for entry in rows(data, "data"):
        for found in entry if isinstance(entry, list) else [entry]:
            coin = mapping(found, "coin")
            if str(coin.get("id")) == coin_id:
                if text(coin.get("symbol"), "symbol").upper() != symbol.base:
                    raise ValueError(f"coin {coin_id} is {str(coin['symbol'])[:30]}")
                return coin
    raise UnknownSymbol("coinmarketcap symbol", f"the answer has no {symbol.base} under number {coin_id}")


def _values(coin: Mapping[str, Any], symbol: Symbol) -> Mapping[str, Any]:
    quotes = coin["quote"] if "quote" in coin else coin.get("quotes")
    if isinstance(quotes, list):
        quotes = {str(mapping(quote, "quote").get("symbol")): quote for quote in quotes}
    return mapping(mapping(quotes, "quote").get(symbol.quote), symbol.quote)
