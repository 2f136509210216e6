"""Alpha Vantage, simulated: every failure is an answer with status 200. Pure.

Wire facts: the vendor's own server for assistants, public clients and captured answers, November 2026. Not settled
there and chosen here: USDT is no market, the day of the limit ends at midnight UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final

from streamer.simulator.providers.assets import ASSETS, DAY_S, STOCKS, Asset, date_of, eastern_offset_s, session
from streamer.simulator.providers.limits import Quota, Verdict
from streamer.simulator.providers.market import Bar
from streamer.simulator.providers.provider import Provider, refused
from streamer.simulator.providers.wire import (
    PAID,
    Ask,
    Refusal,
    Reply,
    clock_text,
    day_text,
    fixed,
    json_reply,
    number,
)

_INTERVAL_S: Final = {"1min": 60, "5min": 300, "15min": 900, "30min": 1800, "60min": 3600}
_COMPACT: Final = 100
_CRYPTO_DAYS: Final = 350
_FULL_DAYS: Final = 20 * 365
_STOCKS: Final = {stock.symbol: stock for stock in STOCKS}
_NAMES: Final = {"USD": "United States Dollar"}
_CURRENCY: Final = "Realtime Currency Exchange Rate"
_PLANS: Final = "You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/"
_BURST: Final = (
    "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly"
    f" (1 request per second). {_PLANS} to lift the free key rate limit (25 requests per day), raise the per-second"
    " burst limit, and instantly unlock all premium endpoints"
)
_DAILY: Final = (
    "We have detected your API key as {} and our standard API rate limit is {} requests per day. Please subscribe"
    " to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all daily rate"
    " limits."
)
_NOTE: Final = (
    "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per"
    " day. Please visit https://www.alphavantage.co/premium/ if you would like to target a higher API call"
    " frequency."
)
_PREMIUM: Final = (
    f"Thank you for using Alpha Vantage! This is a premium endpoint. {_PLANS} to instantly unlock all"
    " premium endpoints"
)
_PREMIUM_SIZE: Final = (
    "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the"
    f" TIME_SERIES_DAILY endpoint. {_PLANS} to instantly unlock all premium features"
)
_CLAIM: Final = "(https://www.alphavantage.co/support/#api-key)"
_NO_KEY: Final = (
    f"the parameter apikey is invalid or missing. Please claim your free API key on {_CLAIM}. It should take less"
    " than 20 seconds."
)
_DEMO: Final = (
    f"The **demo** API key is for demo purposes only. Please claim your free API key at {_CLAIM} to explore our"
    " full API offerings. It takes fewer than 20 seconds."
)


class AlphaVantage(Provider):
    """`www.alphavantage.co/query`."""

    name: ClassVar[str] = "alphavantage"
    quotas = (Quota("per_second", 1, "second"), Quota("per_day", 25, "day"))
    paid_quotas = (Quota("per_minute", 75, "minute"),)
    bias = -10
    share = 50
    styles = ("burst", "daily", "note")

    def key(self, ask: Ask) -> str:
        """In the query only."""
        return ask.params.get("apikey", "")

    def check_key(self, ask: Ask, *, is_good: bool) -> None:
        """Nothing is answered without one, and next to nothing for `demo`."""
        if ask.key == "demo":
            raise refused(_information(_DEMO))
        if not is_good:
            raise refused(json_reply({"Error Message": _NO_KEY}))

    def answer(self, ask: Ask) -> Reply:
        """Answer by function."""
        if ask.path not in ("/query", "/", "/query/"):
            return Reply(404, b"<html><body>404 Not Found</body></html>", "text/html")
        function = ask.params.get("function", "")
        if function not in _FUNCTIONS:
            raise refused(json_reply({"Error Message": f"This API function ({function}) does not exist."}))
        return json_reply(_FUNCTIONS[function](ask))

    def error(self, ask: Ask, status: int, why: str) -> Reply:
        """Its status is 200 except when it is broken."""
        return json_reply({"Error Message": why}, status if status >= 500 else 200)

    def limited(self, ask: Ask, verdict: Verdict, style: str) -> Reply:
        """A text; that of the day repeats the key."""
        style = {"per_second": "burst", "per_minute": "burst", "per_day": "daily"}.get(verdict.name, style)
        if style == "note":
            return json_reply({"Note": _NOTE})
        return _information(_BURST if style == "burst" else _DAILY.format(ask.key, verdict.most or 25))

    def key_echo(self, ask: Ask) -> Reply:
        """The text of the daily limit."""
        return _information(_DAILY.format(ask.key, 25))

    def empty(self, reply: Reply) -> Reply:
        """An empty object."""
        return json_reply({})


def _information(text: str) -> Reply:
    return json_reply({"Information": text})


def _invalid(ask: Ask) -> Refusal:
    where = "(https://www.alphavantage.co/documentation/)"
    why = f"Invalid API call. Please retry or visit the documentation {where} for {ask.params['function']}."
    return refused(json_reply({"Error Message": why}))


def _premium(ask: Ask, text: str = _PREMIUM) -> None:
    if ask.plan != PAID:
        raise refused(_information(text))


# Stocks


def _sessions_over_s(ask: Ask, stock: Asset) -> int:
    """Return the end of the last session that is over: free keys see finished days."""
    day = int(ask.now_s) // DAY_S + 1
    while (times := session(stock, day)) is None or times.end_s > ask.now_s:
        day -= 1
    return times.end_s


def _stock_days(ask: Ask, count: int) -> tuple[Asset, list[Bar]]:
    stock = _STOCKS.get(ask.params.get("symbol", "").upper())
    if stock is None:
        raise _invalid(ask)
    end_s = _sessions_over_s(ask, stock)
    from_s = end_s - (count * 7 // 5 + 7) * DAY_S
    return stock, ask.view.bars(stock.symbol, "USD", DAY_S, from_s, end_s, ask.now_s)[-count:]


def _global_quote(ask: Ask) -> dict[str, Any]:
    if ask.params.get("symbol", "").upper() not in _STOCKS:
        return {"Global Quote": {}}
    stock, (before, last) = _stock_days(ask, 2)
    change = last.close - before.close
    fields = {
        "01. symbol": stock.symbol,
        "02. open": fixed(last.open, 4),
        "03. high": fixed(last.high, 4),
        "04. low": fixed(last.low, 4),
        "05. price": fixed(last.close, 4),
        "06. volume": fixed(last.volume, 0),
        "07. latest trading day": day_text(last.start_s),
        "08. previous close": fixed(before.close, 4),
        "09. change": fixed(change, 4),
        "10. change percent": fixed(change / before.close * 100, 4) + "%",
    }
    return {"Global Quote": fields}


def _row(bar: Bar, decimals: int, volume: Any) -> dict[str, Any]:
    prices = {"1. open": bar.open, "2. high": bar.high, "3. low": bar.low, "4. close": bar.close}
    return {**{name: fixed(value, decimals) for name, value in prices.items()}, "5. volume": volume}


def _newest_first(rows: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return dict(reversed(list(rows)))


def _daily(ask: Ask) -> dict[str, Any]:
    is_full = ask.params.get("outputsize") == "full"
    if is_full:
        _premium(ask, _PREMIUM_SIZE)
    stock, bars = _stock_days(ask, _FULL_DAYS if is_full else _COMPACT)
    rows = ((day_text(bar.start_s), _row(bar, 4, fixed(bar.volume, 0))) for bar in bars)
    information = "Daily Prices (open, high, low, close) and Volumes"
    meta = _stock_meta(stock, information, day_text(bars[-1].start_s), _size(ask))
    return {"Meta Data": meta, "Time Series (Daily)": _newest_first(rows)}


def _daily_adjusted(ask: Ask) -> dict[str, Any]:
    _premium(ask)
    stock, bars = _stock_days(ask, _FULL_DAYS if ask.params.get("outputsize") == "full" else _COMPACT)
    rows = []
    for bar in bars:
        row = _row(bar, 4, None)
        del row["5. volume"]
        more = {"5. adjusted close": row["4. close"], "6. volume": fixed(bar.volume, 0)}
        rows.append(
            (day_text(bar.start_s), {**row, **more, "7. dividend amount": "0.0000", "8. split coefficient": "1.0"})
        )
    information = "Daily Time Series with Splits and Dividend Events"
    meta = _stock_meta(stock, information, day_text(bars[-1].start_s), _size(ask))
    return {"Meta Data": meta, "Time Series (Daily)": _newest_first(rows)}


def _size(ask: Ask) -> str:
    return "Full size" if ask.params.get("outputsize") == "full" else "Compact"


def _stock_meta(stock: Asset, information: str, refreshed: str, size: str, interval: str = "") -> dict[str, str]:
    texts = {"Information": information, "Symbol": stock.symbol, "Last Refreshed": refreshed, "Interval": interval}
    texts |= {"Output Size": size, "Time Zone": "US/Eastern"}
    return _numbered(texts)


def _numbered(texts: dict[str, str]) -> dict[str, str]:
    return {f"{i}. {name}": text for i, (name, text) in enumerate(((n, t) for n, t in texts.items() if t), 1)}


def _intraday(ask: Ask) -> dict[str, Any]:
    _premium(ask)
    stock, interval = _STOCKS.get(ask.params.get("symbol", "").upper()), ask.params.get("interval", "")
    if stock is None or interval not in _INTERVAL_S:
        raise _invalid(ask)
    bars = _window(ask, stock, _INTERVAL_S[interval])
    rows = [(_eastern(bar.start_s), _row(bar, 4, fixed(bar.volume, 0))) for bar in bars]
    information = f"Intraday ({interval}) open, high, low, close prices and volume"
    meta = _stock_meta(stock, information, rows[-1][0] if rows else "", _size(ask), interval)
    return {"Meta Data": meta, f"Time Series ({interval})": _newest_first(rows)}


def _eastern(at_s: int) -> str:
    return clock_text(at_s - eastern_offset_s(at_s // DAY_S))


def _window(ask: Ask, asset: Asset, length_s: int) -> list[Bar]:
    """Return the bars of a month, of 30 days (full), or the newest hundred (compact)."""
    month = ask.params.get("month", "")
    from_s, to_s = ask.now_s - 30 * DAY_S, ask.now_s
    if month:
        days = [day for day in range(int(ask.now_s) // DAY_S, -1, -1) if str(date_of(day)).startswith(month)]
        if len(month) != 7 or not days:
            raise _invalid(ask)
        from_s, to_s = days[-1] * DAY_S, min(ask.now_s, (days[0] + 1) * DAY_S)
    elif ask.params.get("outputsize") != "full":
        rest_s = 6 * DAY_S if asset.is_stock else 0
        from_s = ask.now_s - _COMPACT * length_s * (4 if asset.is_stock else 1) - rest_s
    bars = ask.view.bars(asset.symbol, "USD", length_s, from_s, to_s, ask.now_s)
    return bars if ask.params.get("outputsize") == "full" else bars[-_COMPACT:]


# Coins


def _pair(ask: Ask, base: str, quote: str) -> Asset:
    coin = ASSETS.get(ask.params.get(base, "").upper())
    if coin is None or coin.is_stock or ask.params.get(quote, "").upper() != "USD":
        raise _invalid(ask)
    return coin


def _exchange_rate(ask: Ask) -> dict[str, Any]:
    coin = _pair(ask, "from_currency", "to_currency")
    at_s = ask.now_s - 6
    price, _ = ask.view.last(coin.symbol, "USD", at_s)
    texts = {
        "From_Currency Code": coin.symbol,
        "From_Currency Name": coin.name,
        "To_Currency Code": "USD",
        "To_Currency Name": _NAMES["USD"],
        "Exchange Rate": fixed(price, 8),
        "Last Refreshed": clock_text(at_s),
        "Time Zone": "UTC",
        "Bid Price": fixed(price * Decimal("0.99999"), 8),
        "Ask Price": fixed(price * Decimal("1.00001"), 8),
    }
    return {_CURRENCY: _numbered(texts)}


def _crypto_meta(coin: Asset, information: str, refreshed: str, more: dict[str, str]) -> dict[str, str]:
    texts = {
        "Information": information,
        "Digital Currency Code": coin.symbol,
        "Digital Currency Name": coin.name,
        "Market Code": "USD",
        "Market Name": _NAMES["USD"],
        "Last Refreshed": refreshed,
        **more,
        "Time Zone": "UTC",
    }
    return _numbered(texts)


def _crypto_daily(ask: Ask) -> dict[str, Any]:
    coin = _pair(ask, "symbol", "market")
    today_s = int(ask.now_s) // DAY_S * DAY_S
    from_s = today_s - (_CRYPTO_DAYS - 1) * DAY_S
    bars = ask.view.bars(coin.symbol, "USD", DAY_S, from_s, ask.now_s, ask.now_s)
    rows = ((day_text(bar.start_s), _row(bar, 8, fixed(bar.volume, 8))) for bar in bars)
    meta = _crypto_meta(coin, "Daily Prices and Volumes for Digital Currency", clock_text(today_s), {})
    return {"Meta Data": meta, "Time Series (Digital Currency Daily)": _newest_first(rows)}


def _crypto_intraday(ask: Ask) -> dict[str, Any]:
    _premium(ask)
    coin, interval = _pair(ask, "symbol", "market"), ask.params.get("interval", "")
    if interval not in _INTERVAL_S:
        raise _invalid(ask)
    bars = _window(ask, coin, _INTERVAL_S[interval])
    # Here the volume is a number while prices are texts.
    rows = [(clock_text(bar.start_s), _row(bar, 5, _volume(bar))) for bar in bars]
    more = {"Interval": interval, "Output Size": _size(ask)}
    meta = _crypto_meta(coin, f"Crypto Intraday ({interval}) Time Series", rows[-1][0] if rows else "", more)
    return {"Meta Data": meta, f"Time Series Crypto ({interval})": _newest_first(rows)}


def _volume(bar: Bar) -> Any:
    return number(bar.volume, 4)


_FUNCTIONS: Final[dict[str, Callable[[Ask], dict[str, Any]]]] = {
    "GLOBAL_QUOTE": _global_quote,
    "TIME_SERIES_DAILY": _daily,
    "TIME_SERIES_DAILY_ADJUSTED": _daily_adjusted,
    "TIME_SERIES_INTRADAY": _intraday,
    "CURRENCY_EXCHANGE_RATE": _exchange_rate,
    "DIGITAL_CURRENCY_DAILY": _crypto_daily,
    "CRYPTO_INTRADAY": _crypto_intraday,
}
