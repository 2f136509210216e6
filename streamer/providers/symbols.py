"""Symbols as people write them, and their canonical names: BTC-USD, BTC-USDT, SPY. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from streamer.errors import ConfigError
from streamer.providers.coins import COINS, parted
from streamer.providers.shape import AssetClass, Listed, Symbol

_PART: Final = re.compile(r"[A-Z0-9]{1,20}", re.ASCII)
_STOCK: Final = re.compile(r"[A-Z]{1,5}(\.[A-Z]{1,2})?", re.ASCII)
_RULE: Final = "expected a pair such as BTC-USD, BTCUSDT, BTC/USD or X:BTCUSD, or a stock such as SPY"


def parse_symbol(text: str) -> Symbol:
    """Return what a symbol names, in whichever of the usual ways it is written; capitals or not.

    With "-", "/" or "_" between base and quote, with "X:" before it (Polygon), ".CC" (EODHD) or ".US" after it, or
    as one word that ends in a known quote currency. A single coin ("BTC") is meant in USD.

    Raises:
        ConfigError: It is none of these (also a ValueError).
    """
    if not isinstance(text, str) or not text.isascii() or len(text) > 44:
        raise ConfigError("symbol", str(text)[:60], _RULE)
    word = text.strip().upper()
    if word.endswith(".US") and _STOCK.fullmatch(word[:-3]):
        return stock(word[:-3])
    is_pair = word.startswith("X:") or word.endswith(".CC")
    word = word.removeprefix("X:").removesuffix(".CC")
    for mark in "-/_":
        base, found, quote = word.partition(mark)
        if found:
            if _PART.fullmatch(base) and _PART.fullmatch(quote) and base != quote:
                return crypto(base, quote)
            raise ConfigError("symbol", text, _RULE)
    base, quote = parted(word)
    if quote and _PART.fullmatch(base) and (is_pair or base in COINS):
        return crypto(base, quote)
    if word in COINS and not is_pair:
        return crypto(word, "USD")
    if not is_pair and _STOCK.fullmatch(word):
        return stock(word)
    raise ConfigError("symbol", text, _RULE)


def crypto(base: str, quote: str) -> Symbol:
    """Return a pair."""
    return Symbol(base, quote, AssetClass.CRYPTO)


def stock(ticker: str) -> Symbol:
    """Return a stock or fund of an exchange of the United States."""
    return Symbol(ticker, "USD", AssetClass.STOCK)


def ids_of(listed: Iterable[Listed], known: dict[str, str]) -> dict[str, str]:
    """Return base to the provider's id: what the list says, and before it what is `known` by us.

    Names are not unique. Of one that several active entries share and we do not know, nothing is said: the price of
    a namesake is worse than none.
    """
    active = [entry for entry in listed if entry.is_active]
    shared = Counter(entry.base for entry in active)
    return {entry.base: entry.id for entry in active if shared[entry.base] == 1} | known
