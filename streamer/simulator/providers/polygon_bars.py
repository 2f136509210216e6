"""Polygon's bars. Pure.

`limit` counts the minutes or days that bars are made of; a stretch without trades has no bar, and where there are
none `results` is missing. A window that the free plan cuts off at the last midnight is answered as DELAYED.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from streamer.simulator.providers.assets import ASSETS, DAY_S, Asset, midnight_s
from streamer.simulator.providers.market import Bar, joined
from streamer.simulator.providers.polygon_lookup import (
    TICKERS,
    bad,
    cursor,
    decimals,
    midnight_before_s,
    next_url,
    not_authorized,
    request_id,
)
from streamer.simulator.providers.wire import PAID, Ask, number, parsed_day, whole

_SPAN_S: Final = {"second": 1, "minute": 60, "hour": 3600, "day": DAY_S}
_MAX_LIMIT: Final = 50_000
_FREE_HISTORY_S: Final = 2 * 365 * DAY_S
_SESSION_END_S: Final = 16 * 3600
_TIMEFRAME: Final = (
    "Your plan doesn't include this data timeframe. Please upgrade your plan at https://massive.com/pricing"
)


def _time(ask: Ask, asset: Asset, text: str, name: str) -> tuple[float, bool]:
    """Return a time in Unix seconds, and whether it was a date."""
    day_s, millis = parsed_day(text), whole(text)
    if day_s is not None:
        return midnight_s(asset, day_s // DAY_S), True
    if millis is not None:
        return millis / 1000, False
    raise bad(ask, f"Could not parse the time parameter: '{name}'. Use YYYY-MM-DD or Unix MS Timestamps")


def ranged(ask: Ask, ticker: str, multiplier: str, timespan: str, first: str, last: str) -> dict[str, Any]:
    """Return the bars of a window, a page of them."""
    if timespan not in _SPAN_S or not 0 < int(multiplier) <= 1000:
        raise bad(ask, "Could not parse the parameter: 'timespan'.")
    asset = TICKERS.get(ticker)
    from_s, _ = _time(ask, asset or ASSETS["BTC"], first, "from")
    to_s, is_date = _time(ask, asset or ASSETS["BTC"], last, "to")
    to_s += DAY_S if is_date else 0.001  # both ends count
    if to_s <= from_s:
        raise bad(ask, "The parameter 'to' cannot be a time that occurs before 'from'")
    given = cursor(ask)
    limit = min(whole(given.get("limit")) or 5000, _MAX_LIMIT)
    is_descending = given.get("sort") == "desc"
    if asset is None:
        return _aggregates(ask, ticker, [], 0)
    shown_s = _entitled_to_s(ask, asset, from_s, to_s)
    span_s, base_s = _SPAN_S[timespan] * int(multiplier), 60 if _SPAN_S[timespan] < DAY_S else DAY_S
    bars = _bars(ask, asset, span_s, from_s, shown_s)
    bars = bars[::-1] if is_descending else bars
    # `limit` counts the minutes or days that bars are made of.
    rows = max(1, limit * base_s // span_s)
    shown, rest = bars[:rows], bars[rows:]
    body = _aggregates(
        ask, ticker, [bar_fields(asset, bar) for bar in shown], len(shown) * max(1, span_s // base_s)
    )
    if shown_s < to_s:
        body["status"] = "DELAYED"
    if rest:
        millis = (from_s, rest[0].end_s - 0.001) if is_descending else (rest[0].start_s, to_s - 0.001)
        window = "/".join(str(round(at_s * 1000)) for at_s in millis)
        path = f"/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{window}"
        body["next_url"] = next_url(ask, path, {"limit": str(limit), "sort": given.get("sort", "asc")})
    return body


def _entitled_to_s(ask: Ask, asset: Asset, from_s: float, to_s: float) -> float:
    if ask.plan == PAID:
        return to_s
    today_s = midnight_before_s(asset, ask.now_s)
    if from_s >= today_s or from_s < ask.now_s - _FREE_HISTORY_S:
        raise not_authorized(ask, _TIMEFRAME)
    return min(to_s, today_s)


def _bars(ask: Ask, asset: Asset, span_s: int, from_s: float, to_s: float) -> Sequence[Bar]:
    """Return bars that overlap the window: it is stretched to their boundaries."""
    if DAY_S % span_s and span_s % DAY_S:
        raise bad(ask, "Could not parse the parameter: 'multiplier'.")
    if span_s < DAY_S:
        return ask.view.bars(asset.symbol, "USD", span_s, from_s // span_s * span_s, to_s, ask.now_s)
    first_s, days = midnight_before_s(asset, from_s), span_s // DAY_S
    bars = ask.view.bars(asset.symbol, "USD", DAY_S, first_s, to_s, ask.now_s)
    groups: dict[int, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(bar.start_s // DAY_S // days, []).append(bar)
    return [joined(group) for group in groups.values()]


def bar_fields(asset: Asset, bar: Bar) -> dict[str, Any]:
    """Return a bar."""
    digits = decimals(asset)
    return {
        "v": number(bar.volume.quantize(Decimal(1)) if asset.is_stock else bar.volume, 8),
        "vw": number((bar.high + bar.low) / 2, digits + 2),
        "o": number(bar.open, digits),
        "c": number(bar.close, digits),
        "h": number(bar.high, digits),
        "l": number(bar.low, digits),
        "t": bar.start_s * 1000,
        "n": max(1, int(bar.volume * bar.open / 5000)),
    }


def _aggregates(ask: Ask, ticker: str, results: list[dict[str, Any]], base_bars: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "ticker": ticker,
        "queryCount": base_bars,
        "resultsCount": len(results),
        "adjusted": ask.params.get("adjusted") != "false",
    }
    if results:
        body["results"] = results
    body |= {"status": "OK", "request_id": request_id(ask)}
    return {**body, "count": len(results)} if results else body


def previous(ask: Ask, ticker: str) -> dict[str, Any]:
    """Return the last finished day."""
    asset = TICKERS.get(ticker)
    if asset is None:
        return _aggregates(ask, ticker, [], 0)
    today_s = midnight_before_s(asset, ask.now_s)
    last = ask.view.bars(asset.symbol, "USD", DAY_S, today_s - 7 * DAY_S, today_s, ask.now_s)[-1]
    # Labelled by the end of the session in the client's test data, unlike the bars of a range.
    end_s = last.start_s + _SESSION_END_S if asset.is_stock else last.end_s - 1
    return _aggregates(ask, ticker, [{"T": ticker, **bar_fields(asset, last), "t": end_s * 1000}], 1)
