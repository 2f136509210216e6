"""CoinMarketCap's days and hours. Pure.

The paid plan's only. `time_start` is exclusive, and `count` counts the open period, which is not shown.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from streamer.simulator.providers.assets import DAY_S, Asset
from streamer.simulator.providers.coinmarketcap_lookup import bad, by_symbol, cached_s, converts, error, found
from streamer.simulator.providers.market import Bar
from streamer.simulator.providers.provider import refused
from streamer.simulator.providers.wire import PAID, Ask, iso, number, parsed_day, whole

_PERIOD_S: Final = {"daily": DAY_S, "hourly": 3600}
_LATE_S: Final = 300
_MAX_COUNT: Final = 10_000


def _paid_only(ask: Ask) -> None:
    if ask.plan != PAID:
        raise refused(error(ask, 403, 1006, "Your API Key subscription plan doesn't support this endpoint."))


def _moment(ask: Ask, name: str) -> float | None:
    text = ask.params.get(name, "")
    if not text:
        return None
    seconds = whole(text)
    if seconds is not None:
        return seconds
    day_s = parsed_day(text[:10])
    clock = text[11:19].split(":") if len(text) >= 16 else []
    if day_s is None or not all(part.isdigit() for part in clock):
        raise bad(ask, f'"{name}" must be a valid ISO 8601 timestamp or unix time value')
    return day_s + sum(int(part) * unit for part, unit in zip(clock, (3600, 60, 1), strict=False))


def historical(ask: Ask) -> dict[str, Any]:
    """Return finished days or hours; of several coins by id."""
    _paid_only(ask)
    period = ask.params.get("time_period", "daily")
    if period not in _PERIOD_S:
        raise bad(ask, '"time_period" must be one of [daily, hourly]')
    coins = [coin for _, coin in found(ask)] if "symbol" not in ask.params else [c for _, c in by_symbol(ask) if c]
    rows = [
        {
            "id": coin.number,
            "name": coin.name,
            "symbol": coin.symbol,
            "quotes": _periods(ask, coin, _PERIOD_S[period]),
        }
        for coin in coins
    ]
    return rows[0] if len(rows) == 1 else {str(row["id"]): row for row in rows}


def _periods(ask: Ask, coin: Asset, period_s: int) -> list[dict[str, Any]]:
    after_s, until_s = _moment(ask, "time_start"), _moment(ask, "time_end")
    count = min(whole(ask.params.get("count")) or 10, _MAX_COUNT)
    if period_s == DAY_S:  # only the dates of times count
        after_s, until_s = (None if at_s is None else at_s // DAY_S * DAY_S for at_s in (after_s, until_s))
    newest_s = int(ask.now_s if until_s is None else min(until_s, ask.now_s)) // period_s * period_s
    # The start is exclusive. Counted back from the end, the open period counts, though it is not shown.
    first_s = (
        newest_s - (count - 1) * period_s if after_s is None else int(after_s) // period_s * period_s + period_s
    )
    bars = ask.view.bars(coin.symbol, "USD", period_s, first_s, newest_s + 1, ask.now_s)
    if "count" in ask.params:
        bars = bars[:count]
    # A period shows minutes after its end.
    return [_period(ask, coin, bar) for bar in bars if bar.end_s + _LATE_S <= ask.now_s]


def _period(ask: Ask, coin: Asset, bar: Bar) -> dict[str, Any]:
    closed, length_s = iso(bar.end_s - 0.001), bar.end_s - bar.start_s
    quotes = {}
    for name in converts(ask)[:3]:
        rate = Decimal(1) if name == "USD" else ask.view.market.last(name, bar.end_s)[0]
        prices = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
        quotes[name] = {
            **{key: number(value / rate, 10) for key, value in prices.items()},
            "volume": number(bar.volume * bar.close / rate, 2),
            "market_cap": number(bar.close * coin.supply / rate, 2),
            "timestamp": closed,
        }
    return {
        "time_open": iso(bar.start_s),
        "time_close": closed,
        "time_high": iso(bar.start_s + length_s // 3),
        "time_low": iso(bar.start_s + length_s // 2),
        "quote": quotes,
    }


def running(ask: Ask) -> dict[str, Any]:
    """The running day of each coin."""
    _paid_only(ask)
    at_s = max(cached_s(ask), int(ask.now_s) // DAY_S * DAY_S + 1)
    shown = {}
    for _, coin in found(ask):
        bar = ask.view.bars(coin.symbol, "USD", DAY_S, at_s // DAY_S * DAY_S, at_s, at_s)[0]
        period = _period(ask, coin, bar)
        quotes = {
            name: {
                **{k: v for k, v in quote.items() if k not in ("market_cap", "timestamp")},
                "last_updated": iso(at_s),
            }
            for name, quote in period["quote"].items()
        }
        times = {"last_updated": iso(at_s), "time_close": None, "quote": quotes}
        shown[str(coin.number)] = {
            "id": coin.number,
            "name": coin.name,
            "symbol": coin.symbol,
            **{key: iso(bar.start_s) for key in ("time_open", "time_high", "time_low")},
            **times,
        }
    return shown
