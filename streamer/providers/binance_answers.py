"""The shapes of Binance's answers: prices and volumes are strings, times whole milliseconds. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from streamer.providers.decode import epoch_ms, mapping, number, price_number, rows, text
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Symbol
from streamer.providers.spans import is_closed


@dataclass(frozen=True, slots=True)
class BestQuotes:
    """The best bid and ask of a perpetual."""

    bid: Decimal
    ask: Decimal
    as_of_ms: int


def read_price(body: Any, symbol: Symbol, now_ms: int) -> Price:
    """Return the price of `ticker/price` (v1, v2) or, as `lastPrice`, of `ticker/24hr`."""
    facts = mapping(body)
    _same(facts, symbol)
    stamp = facts["time"] if "time" in facts else facts.get("closeTime")
    value = facts["price"] if "price" in facts else facts.get("lastPrice")
    return Price(symbol, price_number(value), Instrument.PERPETUAL, epoch_ms(stamp, now_ms))


def read_prices(body: Any, symbols: Iterable[Symbol], now_ms: int) -> dict[Symbol, Price]:
    """Return the prices of `ticker/price` without a symbol, which is an array; what it has not is left out."""
    by_id = {text(mapping(row).get("symbol"), "symbol"): row for row in rows(body)}
    wanted = {symbol: by_id.get(symbol.base + symbol.quote) for symbol in symbols}
    return {symbol: read_price(row, symbol, now_ms) for symbol, row in wanted.items() if row is not None}


def read_quotes(body: Any, symbol: Symbol, now_ms: int) -> BestQuotes:
    """Return what `ticker/bookTicker` says; orders that only retail can take are left out of it."""
    facts = mapping(body)
    _same(facts, symbol)
    bid, ask = (price_number(facts.get(key), key) for key in ("bidPrice", "askPrice"))
    return BestQuotes(bid, ask, epoch_ms(facts.get("time"), now_ms))


def read_time(body: Any, now_ms: int) -> int:
    """Return the server's time in ms of `/fapi/v1/time`."""
    return epoch_ms(mapping(body).get("serverTime"), now_ms, "serverTime")


def read_bars(body: Any, interval: Interval, now_ms: int) -> list[Bar]:
    """Return klines: arrays of 12, times in ms, numbers as strings."""
    return [_bar(row, interval, now_ms) for row in rows(body)]


def read_listing(body: Any) -> list[Listed]:
    """Return the perpetuals of `exchangeInfo`; those on stocks are no stocks."""
    found = []
    for entry in rows(mapping(body).get("symbols"), "symbols"):
        facts = mapping(entry, "symbol")
        if facts.get("contractType") != "PERPETUAL":
            continue
        name, base, counted = (text(facts.get(key), key) for key in ("symbol", "baseAsset", "quoteAsset"))
        found.append(Listed(name, base, counted, Instrument.PERPETUAL, facts.get("status") == "TRADING"))
    return found


def _same(facts: Any, symbol: Symbol) -> None:
    if text(facts.get("symbol"), "symbol") != symbol.base + symbol.quote:
        raise ValueError(f"the answer is of {facts['symbol'][:30]}")


def _bar(row: Any, interval: Interval, now_ms: int) -> Bar:
    start_ms, *values = rows(row, "kline")[:6]
    if len(values) != 5:
        raise ValueError("a kline has too few values")
    start_s = epoch_ms(start_ms, now_ms, "open time") // 1000
    opened, high, low, close = (price_number(value, "kline") for value in values[:4])
    volume = number(values[4], "volume")
    return Bar(start_s, opened, high, low, close, volume, is_closed(start_s, interval, now_ms))
