"""How Alpha Vantage's answers read. Pure.

Wire facts: the vendor's documentation, November 2026. A field is known by what follows its number: "05. price".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from streamer.errors import UnknownSymbol
from streamer.providers.decode import mapping, number, price_number, sound_ms, text
from streamer.providers.sessions import zone
from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Price, Symbol
from streamer.providers.spans import is_closed


def read_close(body: Any, symbol: Symbol) -> Price:
    """Return the price of `GLOBAL_QUOTE`; it has a date and no time.

    Raises:
        UnknownSymbol: There is no such stock: the quote is there and empty.
    """
    facts = _fields(mapping(body).get("Global Quote"))
    if not facts:
        raise UnknownSymbol("alphavantage symbol", f"it has no {symbol}")
    _same(facts.get("symbol"), symbol.base)
    day = date.fromisoformat(text(facts.get("latest trading day"), "day"))
    return Price(symbol, price_number(facts.get("price")), Instrument.STOCK, is_live=False, note=f"of {day}")


def read_rate(body: Any, symbol: Symbol, now_ms: int) -> Price:
    """Return the price of `CURRENCY_EXCHANGE_RATE`; bid and ask may be a dash and are not read."""
    facts = _fields(mapping(body).get("Realtime Currency Exchange Rate"))
    _same(facts.get("From_Currency Code"), symbol.base)
    _same(facts.get("To_Currency Code"), symbol.quote)
    at = _at(text(facts.get("Last Refreshed"), "time"), _zone(facts.get("Time Zone")))
    as_of_ms = sound_ms(int(at.timestamp() * 1000), now_ms)
    return Price(symbol, price_number(facts.get("Exchange Rate")), Instrument.AGGREGATE, as_of_ms)


def read_bars(body: Any, symbol: Symbol, interval: Interval, now_ms: int) -> list[Bar]:
    """Return the rows of any time series: of stocks or coins, of days (also adjusted ones) or shorter."""
    document = mapping(body)
    facts = _fields(document.get("Meta Data"))
    if symbol.asset is AssetClass.STOCK:
        _same(facts.get("Symbol"), symbol.base)
    else:
        _same(facts.get("Digital Currency Code"), symbol.base)
        _same(facts.get("Market Code"), symbol.quote)
    local = _zone(facts.get("Time Zone"))
    series = next((rows for name, rows in document.items() if name.startswith("Time Series")), None)
    return [
        _bar(_at(when, local), row, symbol, interval, now_ms) for when, row in mapping(series, "series").items()
    ]


def _bar(at: datetime, row: Any, symbol: Symbol, interval: Interval, now_ms: int) -> Bar:
    facts = _fields(row)
    start_s = sound_ms(int(at.timestamp() * 1000), now_ms) // 1000

    def price(name: str) -> Any:
        # Days of coins had each price twice until 2024: "1a. open (EUR)" in the currency asked for, "1b." in USD.
        return price_number(facts.get(name, facts.get(f"{name} ({symbol.quote})")), name)

    return Bar(
        start_s,
        price("open"),
        price("high"),
        price("low"),
        price("close"),
        number(facts.get("volume"), "volume"),
        is_closed(start_s, interval, now_ms),
    )


def _fields(value: object) -> Mapping[str, Any]:
    return {name.partition(". ")[2]: found for name, found in mapping(value, "fields").items()}


def _same(said: object, wanted: str) -> None:
    if text(said, "symbol").upper() != wanted:
        raise ValueError(f"the answer is of {str(said)[:30]}, not of {wanted}")


def _zone(name: object) -> tzinfo:
    if name == "UTC":
        return UTC
    if name == "US/Eastern":
        return zone(AssetClass.STOCK)
    raise ValueError(f"no time zone of theirs: {str(name)[:30]!r}")


def _at(when: str, local: tzinfo) -> datetime:
    """Return a local time or date. The hour that is there twice in autumn is its first: nothing trades then."""
    at = datetime.fromisoformat(when)
    if at.tzinfo is not None:
        raise ValueError(f"a local time with a zone: {when[:40]!r}")
    return at.replace(tzinfo=local)
