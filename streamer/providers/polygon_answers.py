"""The shapes of Polygon's answers: one function for each kind of endpoint. Pure.

Times are nanoseconds in one answer and milliseconds in the next, so their size decides. Where nothing is found
`results` is missing, and was null once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streamer.errors import RestError, UnknownSymbol
from streamer.providers.decode import epoch_ms, iso_ms, mapping, number, price_number, rows, text
from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Listed, Price, Symbol
from streamer.providers.spans import is_closed

CLOSE_NOTE: Final = "close of the last session: the plan has no newer price"
FINISHED_NOTE: Final = "of finished days: the plan has no newer bars"
LATE_NOTE: Final = "late by the plan"


def ticker(symbol: Symbol) -> str:
    """Return Polygon's name of a symbol."""
    return symbol.base if symbol.asset is AssetClass.STOCK else f"X:{symbol.base}{symbol.quote}"


def instrument(symbol: Symbol) -> Instrument:
    """Return what a price of it is the price of."""
    return Instrument.STOCK if symbol.asset is AssetClass.STOCK else Instrument.AGGREGATE


def is_late(body: Mapping[str, Any]) -> bool:
    """Whether an answer says that the plan brings it late."""
    return body.get("status") == "DELAYED"


def read_last_crypto(body: Any, symbol: Symbol, now_ms: int) -> Price:
    """Return the last trade of `/v1/last/crypto`, whose times are ms."""
    facts = mapping(body)
    _same(facts.get("symbol"), str(symbol))
    last = mapping(facts.get("last"), "last")
    return _price(symbol, last.get("price"), last.get("timestamp"), now_ms, is_late(facts))


def read_last_trade(body: Any, symbol: Symbol, now_ms: int) -> Price:
    """Return the last trade of `/v2/last/trade`, whose times are ns."""
    facts = mapping(body)
    last = mapping(facts.get("results"), "results")
    _same(last.get("T"), ticker(symbol))
    return _price(symbol, last.get("p"), last.get("t"), now_ms, is_late(facts))


def read_close(body: Any, symbol: Symbol, now_ms: int) -> Price | None:
    """Return the close of `/prev`, stamped with the end of its session; None where there is none."""
    facts = mapping(body)
    _same(facts.get("ticker"), ticker(symbol))
    found = _results(facts)
    if not found:
        return None
    bar = mapping(found[-1], "bar")
    price = price_number(bar.get("c"), "close")
    return Price(symbol, price, instrument(symbol), epoch_ms(bar.get("t"), now_ms), False, CLOSE_NOTE)


def read_bars(body: Any, symbol: Symbol, interval: Interval, now_ms: int) -> list[Bar]:
    """Return the bars of one page of aggregates. A day begins when `t` says, for stocks at midnight in New York."""
    facts = mapping(body)
    _same(facts.get("ticker"), ticker(symbol))
    return [_bar(mapping(row, "bar"), interval, now_ms) for row in _results(facts)]


def read_listing(body: Any) -> list[Listed]:
    """Return the pairs on one page of `/v3/reference/tickers`; what is no pair of crypto is left out."""
    found = []
    for row in _results(mapping(body)):
        facts = mapping(row, "ticker")
        if facts.get("market") != "crypto":
            continue
        names = ("ticker", "base_currency_symbol", "currency_symbol")
        name, base, counted = (text(facts.get(key), key) for key in names)
        found.append(Listed(name, base, counted, Instrument.AGGREGATE, facts.get("active") is True))
    return found


def read_snapshot(body: Any, symbol: Symbol, now_ms: int) -> Price:
    """Return the last trade of a snapshot of one ticker (v2)."""
    facts = mapping(body)
    found = mapping(facts.get("ticker"), "ticker")
    _same(found.get("ticker"), ticker(symbol))
    last = mapping(found.get("lastTrade"), "lastTrade")
    return _price(symbol, last.get("p"), last.get("t"), now_ms, is_late(facts))


def read_snapshots(body: Any, symbols: Iterable[Symbol], now_ms: int) -> dict[Symbol, Price | RestError]:
    """Return what a snapshot of several tickers (v3) says of each: within it some may be refused."""
    by_ticker = {text(mapping(row).get("ticker")): row for row in _results(mapping(body))}
    found: dict[Symbol, Price | RestError] = {}
    for symbol in symbols:
        facts = by_ticker.get(ticker(symbol), {"message": "not in the answer"})
        last = facts.get("last_trade")
        if "error" in facts or last is None:
            why = str(facts.get("message") or facts.get("error") or "no trade")[:300]
            found[symbol] = UnknownSymbol("polygon snapshot", why, status=200)
            continue
        last = mapping(last, "last_trade")
        late = last.get("timeframe") == "DELAYED"
        found[symbol] = _price(symbol, last.get("price"), last.get("last_updated"), now_ms, late)
    return found


def read_trades(body: Any, symbol: Symbol, now_ms: int) -> list[Price]:
    """Return trades of `/v3/trades` as they come, the newest first where that was asked. They name no ticker."""
    facts = mapping(body)
    trades = (mapping(row, "trade") for row in _results(facts))
    return [
        _price(symbol, trade.get("price"), trade.get("participant_timestamp"), now_ms, is_late(facts))
        for trade in trades
    ]


def read_clock(body: Any) -> tuple[int, bool]:
    """Return the server's time in ms, and whether the stock exchanges are open, of `/v1/marketstatus/now`."""
    facts = mapping(body)
    return iso_ms(facts.get("serverTime"), "serverTime"), text(facts.get("market"), "market") == "open"


def _results(facts: Mapping[str, Any]) -> list[Any]:
    found = facts.get("results")
    return [] if found is None else rows(found, "results")


def _same(said: object, wanted: str) -> None:
    if said != wanted:
        raise ValueError(f"the answer is of {str(said)[:30]}")


def _price(symbol: Symbol, value: object, stamp: object, now_ms: int, late: bool) -> Price:
    at = epoch_ms(stamp, now_ms)
    return Price(symbol, price_number(value), instrument(symbol), at, not late, LATE_NOTE if late else "")


def _bar(facts: Mapping[str, Any], interval: Interval, now_ms: int) -> Bar:
    opened, high, low, close = (price_number(facts.get(key), key) for key in "ohlc")
    start_s = epoch_ms(facts.get("t"), now_ms, "t") // 1000
    volume = number(facts.get("v"), "volume")
    return Bar(start_s, opened, high, low, close, volume, is_closed(start_s, interval, now_ms))
