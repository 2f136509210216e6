"""Readings as the exchange would have told them over REST: its fields, its spelling, and one marker more. Pure.

Where a field of the exchange's is not known there is no answer (None), and the exchange itself is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from streamer.compat.questions import CandlesQuestion
from streamer.gateway.requests import MAX_CANDLES
from streamer.model import CANDLE_S, Balance, Candle, Reading, Ticker, Tier
from streamer.reader.freshness import RECENT_S
from streamer.reader.shown import provenance

MARKER: Final = "streamer"
_CENT: Final = Decimal("0.01")
_AS_USUAL: Final = (
    *("is_disabled", "cancel_only", "limit_only", "post_only", "trading_disabled", "auction_mode", "view_only"),
)
_WORST: Final = (Tier.REALTIME, Tier.REST, Tier.CACHE, Tier.STALE)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """An answer.

    Attributes:
        body: As the SDK expects it, with the marker.
        is_last_resort: Whether it is stale, so that the exchange is to be asked first.
    """

    body: Json
    is_last_resort: bool


def served(body: Json, readings: Sequence[Reading[Any]], *, facts_age_s: float | None = None) -> Served:
    """Return an answer that says how good it is: as good as the worst reading it is made of.

    Args:
        facts_age_s: How long ago the exchange told what is not from a reading, None where all is.
    """
    worst = max(readings, key=lambda one: (_WORST.index(one.tier), one.age_s))
    oldest = min(readings, key=lambda one: one.as_of)
    marker = provenance(worst)
    marker["age_s"] = round(max(one.age_s for one in readings), 3)
    marker["value_age_s"] = provenance(oldest)["value_age_s"]
    marker["as_of"] = oldest.as_of.isoformat()
    if facts_age_s is not None:
        marker["facts_age_s"] = round(facts_age_s, 3)
    return Served(body | {MARKER: marker}, worst.tier is Tier.STALE and worst.age_s > RECENT_S)


def source_of(readings: Sequence[Reading[Any]]) -> set[str]:
    """Return who has made the readings."""
    return {one.source for one in readings}


def product(facts: Json, found: Reading[Ticker]) -> Json | None:
    """Return a product: the exchange's own facts, with what moves as the ticker has it.

    None for what the ticker does not tell: futures, and products that do not trade as usual, whose state is more
    than one word.
    """
    ticker = found.value
    is_usual = facts.get("product_type") == "SPOT" and facts.get("status") == "online" and ticker.status is None
    if not is_usual or any(facts.get(name) for name in _AS_USUAL) or not facts.get("price"):
        return None
    moved: dict[str, Decimal | None] = {
        "price": ticker.price,
        "volume_24h": ticker.volume_24_h,
        "price_percentage_change_24h": ticker.price_percent_chg_24_h,
        "best_bid_price": ticker.best_bid,
        "best_ask_price": ticker.best_ask,
    }
    if ticker.volume_24_h is not None:
        # So it is in live captures (nautilus_trader, http_product.json, 2026): the two multiplied, in cents.
        turnover = (ticker.price * ticker.volume_24_h).quantize(_CENT)
        moved["approximate_quote_24h_volume"] = Decimal(shortest(turnover))
    told = {name for name in moved if facts.get(name)}  # what the exchange leaves empty stays empty
    if facts.get("mid_market_price") or any(moved[name] is None for name in told):
        return None
    return facts | {name: plain(number) for name, number in moved.items() if name in told and number is not None}


def products(whole: Sequence[Json | None]) -> Json | None:
    """Return a list of products."""
    sound = [one for one in whole if one is not None]
    if len(sound) < len(whole):
        return None
    return {"products": sound, "num_products": len(sound), "pagination": None}


def quotes(found: Sequence[Reading[Ticker]]) -> Json | None:
    """Return best bids and asks."""
    books = [_book(one.value) for one in found]
    return None if None in books else {"pricebooks": books}


def _book(ticker: Ticker) -> Json | None:
    sides = (ticker.best_bid, ticker.best_bid_quantity), (ticker.best_ask, ticker.best_ask_quantity)
    levels = [
        [{"price": plain(price), "size": plain(size)}]
        for price, size in sides
        if price is not None and size is not None
    ]
    if len(levels) < len(sides) or ticker.status is not None:
        return None
    return {"product_id": ticker.product_id, "bids": levels[0], "asks": levels[1], "time": stamp(ticker.time)}


def candles_needed(question: CandlesQuestion, now_s: float) -> int | None:
    """Return how many of the newest candles reach back to the window; None where that is more than can be had.

    One more than it takes by our clock: that of Redis may be in the next bucket already.
    """
    length_s = question.granularity.seconds
    count = int(now_s) // length_s - -(-question.start_s // length_s) + 2
    return count if 1 <= count <= MAX_CANDLES else None


def candles(question: CandlesQuestion, found: Reading[tuple[Candle, ...]], now_s: float) -> Json | None:
    """Return the candles of a window, newest first; None where the reading does not know all of it."""
    length_s = question.granularity.seconds
    newest_s = min(question.end_s, int(now_s)) // length_s * length_s
    if found.tier is not Tier.REALTIME and now_s - found.age_s < newest_s:
        return None  # the newest bucket began after it was fetched
    inside = [c for c in found.value if question.start_s <= c.start_s <= question.end_s]
    entries = [
        {
            "start": str(c.start_s),
            "low": plain(c.low),
            "high": plain(c.high),
            "open": plain(c.open),
            "close": plain(c.close),
            # Added up of smaller buckets it may end in zeros, which the exchange does not write.
            "volume": plain(c.volume) if length_s == CANDLE_S else shortest(c.volume),
        }
        for c in reversed(inside)
    ]
    return {"candles": entries[: question.limit]}


def wallets(page: Json, balances: Mapping[str, Reading[Balance]]) -> tuple[Json, list[Reading[Balance]]] | None:
    """Return a page of wallets, or one wallet, with the balances of now, and what they were read from.

    Args:
        page: The exchange's answer to the same key: whose wallet has another id is somebody else's.
    """
    renewed, readings = [], []
    try:
        for wallet in page["accounts"] if "accounts" in page else [page["account"]]:
            found = balances.get(wallet["currency"])
            if found is None or found.value.account_uuid != wallet["uuid"]:
                return None
            renewed.append(_wallet(wallet, found.value))
            readings.append(found)
    except (KeyError, TypeError, ArithmeticError):  # not what the exchange sends
        return None
    if not readings:
        return None
    body = page | ({"accounts": renewed} if "accounts" in page else {"account": renewed[0]})
    return body, readings


def _wallet(wallet: Json, balance: Balance) -> Json:
    amounts = {"available_balance": balance.available, "hold": balance.hold}
    moved = {
        name: {**wallet[name], "value": plain(amount)}
        for name, amount in amounts.items()
        if Decimal(wallet[name]["value"]) != amount  # else the exchange's own spelling stays
    }
    return wallet | moved | ({"updated_at": stamp(balance.time)} if moved else {})


def copied(body: Json, age_s: float, fetched: datetime, source: str) -> Served:
    """Return an answer of the exchange that was given a moment ago."""
    return served(body, [Reading(None, Tier.CACHE, age_s, age_s, fetched, source)])


def stamp(time: datetime) -> str:
    """Return a time as the exchange writes it: no zeros at its end."""
    text = f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}".rstrip("0").rstrip(".")
    return f"{text}Z"


def plain(number: Decimal) -> str:
    """Return a number as the exchange writes it: digits, and no exponent."""
    return f"{number:f}"


def shortest(number: Decimal) -> str:
    """Return a number likewise, without zeros at its end."""
    text = plain(number)
    return text.rstrip("0").rstrip(".") if "." in text else text
