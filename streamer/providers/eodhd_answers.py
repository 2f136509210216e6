"""How EODHD's answers read. Pure.

Wire facts: the vendor's OpenAPI file, client and notes, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from streamer.errors import NoData
from streamer.providers.decode import epoch_ms, iso_ms, mapping, number, price_number, rows, sound_ms, text
from streamer.providers.sessions import day_start_s
from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Price, Quota, Symbol
from streamer.providers.spans import is_closed

_PRICES = ("open", "high", "low", "close")


def instrument(symbol: Symbol) -> Instrument:
    """Return what its prices are: those of coins are put together from the fifteen largest exchanges."""
    return Instrument.STOCK if symbol.asset is AssetClass.STOCK else Instrument.AGGREGATE


def read_price(body: Any, symbol: Symbol, asked_id: str, now_ms: int) -> Price:
    """Return the price of `real-time`, also from an answer for several; the live price is its `close`.

    Raises:
        NoData: It has no price of this.
    """
    found = [mapping(entry, "quote") for entry in (body if isinstance(body, list) else [body])]
    # Its name comes with and without what tells the exchange.
    facts = next((quote for quote in found if quote.get("code") in (asked_id, asked_id.rpartition(".")[0])), None)
    if facts is None:
        raise ValueError(f"the answer has no {asked_id}")
    if facts.get("close") in ("NA", None):
        raise NoData("eodhd price", f"it has none of {symbol}")
    is_stock = symbol.asset is AssetClass.STOCK
    stamp = facts.get("timestamp")
    return Price(
        symbol,
        price_number(facts["close"]),
        instrument(symbol),
        epoch_ms(stamp, now_ms) if stamp not in ("NA", None) else None,
        is_live=not is_stock,
        note="15 to 20 minutes late" if is_stock else "",
    )


def read_close(body: Any, symbol: Symbol) -> Price:
    """Return the last close of `eod` with `filter=last_close`: a bare number, of which day is not told."""
    return Price(symbol, price_number(body), instrument(symbol), is_live=False, note="the last close")


def read_bars(body: Any, symbol: Symbol, interval: Interval, now_ms: int) -> tuple[list[Bar], Sequence[str]]:
    """Return the bars of `eod` or `intraday`, and what there is to mind.

    Rows without prices are left out, and that is said, as is a `warning`, which comes in a row or as one.
    """
    bars, notes, empty = [], [], 0
    if symbol.asset is AssetClass.CRYPTO:
        notes.append("without volume: the provider's is in the quote currency")
    for row in rows(body):
        facts = mapping(row, "bar")
        if "warning" in facts:
            notes.append(text(facts["warning"], "warning")[:200])
            if "close" not in facts:
                continue
        if any(facts.get(name) is None for name in _PRICES):
            empty += 1
        else:
            bars.append(_bar(facts, symbol, interval, now_ms))
    if empty:
        notes.append(f"{empty} without prices left out")
    return bars, notes


def read_quota(body: Any) -> Quota:
    """Return the plan and the calls of the day, of `internal-user`. They count anew at midnight UTC."""
    facts = mapping(body)
    used, per_day = int(number(facts.get("apiRequests"))), int(number(facts.get("dailyRateLimit")))
    day = date.fromisoformat(text(facts.get("apiRequestsDate"), "day"))
    reset_ms = iso_ms((day + timedelta(days=1)).isoformat())
    plan = text(facts.get("subscriptionMode"), "plan")
    return Quota(plan, per_day=per_day, used=used, left=max(0, per_day - used), reset_ms=reset_ms)


def _bar(facts: Mapping[str, Any], symbol: Symbol, interval: Interval, now_ms: int) -> Bar:
    if interval is Interval.D1:
        start_s = day_start_s(date.fromisoformat(text(facts.get("date"), "date")), symbol.asset)
        sound_ms(start_s * 1000, now_ms, "date")
    else:
        start_s = epoch_ms(facts.get("timestamp"), now_ms, "timestamp") // 1000
    opened, high, low, close = (price_number(facts[name], name) for name in _PRICES)
    counted = facts.get("volume") if symbol.asset is AssetClass.STOCK else None
    volume = number(counted, "volume") if counted is not None else None
    return Bar(start_s, opened, high, low, close, volume, is_closed(start_s, interval, now_ms))
