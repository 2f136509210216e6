"""The shapes of CoinGecko's answers, which candles it has, and its ids of well-known coins. Pure.

Times are seconds in prices and milliseconds in candles. A number may be null, and an unknown id is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Any, Final, NamedTuple

from streamer.errors import BadInterval, NoData, UnknownSymbol
from streamer.providers.decode import epoch_ms, mapping, number, price_number, rows, text
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Quota, Span, Symbol
from streamer.providers.spans import is_closed, widened

VS: Final = frozenset({"usd", "eur", "gbp", "jpy", "btc", "eth"})
"""What prices are counted in, of what we have names for."""
_IDS: Final = """
    AAVE aave ADA cardano ALGO algorand APT aptos ARB arbitrum ATOM cosmos AVAX avalanche-2 BCH bitcoin-cash
    BNB binancecoin BTC bitcoin CRV curve-dao-token DAI dai DOGE dogecoin DOT polkadot ETC ethereum-classic
    ETH ethereum FIL filecoin HBAR hedera-hashgraph ICP internet-computer INJ injective-protocol LDO lido-dao
    LINK chainlink LTC litecoin MATIC matic-network MKR maker NEAR near OP optimism PEPE pepe
    POL polygon-ecosystem-token SHIB shiba-inu SOL solana SUI sui TON the-open-network TRX tron UNI uniswap
    USDC usd-coin USDT tether XLM stellar XMR monero XRP ripple XTZ tezos ZEC zcash
"""
_WORDS: Final = _IDS.split()
KNOWN: Final = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
"""Symbol to id. Symbols are not unique there: bridged coins share those of what they stand for."""
AUTO: Final[Mapping[Interval, tuple[Interval, Sequence[int]]]] = {
    Interval.M30: (Interval.M30, (1,)),
    Interval.H4: (Interval.H4, (7, 14, 30)),
    Interval.D1: (Interval.H4, (7, 14, 30)),
}
"""Without a paid plan: of which candles a bar is made, and the numbers of days for which they come in that size."""
NAMED: Final[Mapping[Interval, tuple[Interval, Sequence[int]]]] = {
    Interval.M30: (Interval.M30, (1,)),
    Interval.H1: (Interval.H1, (1, 7, 14, 30, 90)),
    Interval.H4: (Interval.H1, (1, 7, 14, 30, 90)),
    Interval.D1: (Interval.D1, (1, 7, 14, 30, 90, 180)),
}
"""With one: likewise; candles of `_NAMES` can be asked for by name, and for any time."""
_NAMES: Final = {Interval.H1: "hourly", Interval.D1: "daily"}
_UNSURE: Final = "that candles of a range bear their end is not documented"
_DAY_MS: Final = 24 * 3600 * 1000
_RATIO: Final = Context(prec=15)
"""Digits of a price worked out from two: no more than they have."""


class Candles(NamedTuple):
    """Of which candles bars are made, how those are asked for, and what there is to mind."""

    length: Interval
    path: str
    params: dict[str, str]
    note: str = ""


def candles(interval: Interval, span: Span, now_ms: int, *, is_paid: bool) -> Candles:
    """Return how to come by the bars of a span, or by those of them that are within reach of the plan.

    Raises:
        BadInterval: The plan has none of this length, or none of so long ago.
    """
    table = NAMED if is_paid else AUTO
    if interval not in table:
        raise BadInterval("coingecko bars", f"no {interval} bars on this plan: it has {', '.join(table)}")
    length, choices = table[interval]
    name = {"interval": _NAMES[length]} if is_paid and length in _NAMES else {}
    first_s = -(-span.from_s // interval.seconds) * interval.seconds
    days = next((days for days in choices if first_s * 1000 >= now_ms - days * _DAY_MS), None)
    if days is not None:
        return Candles(length, "ohlc", {"days": str(days)} | name)
    if name:
        end_s = min(widened(span, interval, length).to_s, now_ms // 1000)
        return Candles(length, "ohlc/range", {"from": str(first_s), "to": str(end_s)} | name, _UNSURE)
    note = f"{interval} bars reach back {choices[-1]} days on this plan"
    if span.to_s * 1000 <= now_ms - choices[-1] * _DAY_MS:
        raise BadInterval("coingecko bars", note)
    return Candles(length, "ohlc", {"days": str(choices[-1])}, note)


def read_price(body: Any, symbol: Symbol, ids: Sequence[str], vs: str, now_ms: int) -> Price:
    """Return the price of `/simple/price`: of the first id, over that of the second where there are two.

    Raises:
        UnknownSymbol: An id is not in the answer.
        NoData: It is, without a price.
    """
    (value, at_ms), *others = (_priced(mapping(body), coin, vs, now_ms) for coin in ids)
    if not others:
        return Price(symbol, value, Instrument.AGGREGATE, at_ms)
    (other, other_ms), note = others[0], f"{ids[0]} over {ids[1]}, both in {vs.upper()}"
    found = price_number(_RATIO.divide(value, other), "ratio")
    return Price(symbol, found, Instrument.DERIVED, min(at_ms, other_ms), note=note)


def read_bars(body: Any, length: Interval, now_ms: int) -> list[Bar]:
    """Return candles of `length`; each row begins with its end."""
    return [_bar(row, length, now_ms) for row in rows(body)]


def read_listing(body: Any) -> list[Listed]:
    """Return the coins of `/coins/list`."""
    found = []
    for row in rows(body):
        facts = mapping(row, "coin")
        base = text(facts.get("symbol"), "symbol").upper()
        found.append(Listed(text(facts.get("id"), "id"), base, instrument=Instrument.AGGREGATE))
    return found


def read_quota(body: Any) -> Quota:
    """Return the limits of a paid plan from `/key`."""
    facts = mapping(body)
    return Quota(
        text(facts.get("plan"), "plan"),
        per_minute=_count(facts, "rate_limit_request_per_minute"),
        per_month=_count(facts, "monthly_call_credit"),
        used=_count(facts, "current_total_monthly_calls"),
        left=_count(facts, "current_remaining_monthly_calls"),
    )


def read_points(body: Any, now_ms: int) -> list[tuple[int, Decimal]]:
    """Return the prices of `/market_chart`: when, in ms, and how much. They are no bars; the last one is of now."""
    found = []
    for row in rows(mapping(body).get("prices"), "prices"):
        at, value = rows(row, "point")
        found.append((epoch_ms(at, now_ms), price_number(value)))
    return found


def read_names(body: Any) -> frozenset[str]:
    """Return the currencies of `/simple/supported_vs_currencies`."""
    return frozenset(text(name) for name in rows(body))


def read_ping(body: Any) -> str:
    """Return what `/ping` says."""
    return text(mapping(body).get("gecko_says"), "gecko_says")


def refusal(body: Any) -> tuple[int, str]:
    """Return the code, 0 for none, and the text of an answer that refuses, of whichever of the three shapes."""
    facts = body if isinstance(body, dict) else {}
    inner = facts.get("error")
    if isinstance(inner, str):
        return 0, inner[:300]
    status = (inner if isinstance(inner, dict) else facts).get("status")
    if not isinstance(status, dict) or not isinstance(status.get("error_code"), int):
        return 0, ""
    return status["error_code"], str(status.get("error_message") or "")[:300]


def _priced(facts: Any, coin: str, vs: str, now_ms: int) -> tuple[Decimal, int]:
    if coin not in facts:
        raise UnknownSymbol("coingecko price", f"it has no {coin}", status=200)
    found = mapping(facts[coin], coin)
    if found.get(vs) is None:
        raise NoData("coingecko price", f"no price of {coin} in {vs}", status=200)
    return price_number(found[vs]), epoch_ms(found.get("last_updated_at"), now_ms)


def _bar(row: Any, length: Interval, now_ms: int) -> Bar:
    end, *values = rows(row, "candle")
    opened, high, low, close = (price_number(value, "candle") for value in values)
    start_s = epoch_ms(end, now_ms, "end") // 1000 - length.seconds
    return Bar(start_s, opened, high, low, close, None, is_closed(start_s, length, now_ms))


def _count(facts: Any, name: str) -> int | None:
    return None if facts.get(name) is None else int(number(facts[name], name))
