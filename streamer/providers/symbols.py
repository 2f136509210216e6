"""Symbols as people write them, and their canonical names: BTC-USD, BTC-USDT, SPY. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from streamer.errors import ConfigError
from streamer.providers.shape import AssetClass, Listed, Symbol

QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "BTC", "ETH")
"""Currencies that prices are counted in, the longer first: BTCUSDT is BTC in USDT."""
_COINS = (
    "AAVE ADA ALGO APT ARB ATOM AVAX BCH BNB BTC CRV DAI DOGE DOT ETC ETH FIL HBAR ICP INJ LDO LINK LTC MATIC MKR"
    " NEAR OP PEPE POL SHIB SOL SUI TON TRX UNI USDC USDT XLM XMR XRP XTZ ZEC"
)
_CRYPTO: Final = frozenset(_COINS.split())
"""What is taken for a coin where nothing else tells; any other is one as soon as it is written with its quote."""
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
    quotes = (quote for quote in QUOTES if word.endswith(quote) and word != quote)
    quote = next(quotes, "")
    base = word.removesuffix(quote) if quote else word
    if quote and _PART.fullmatch(base) and (is_pair or base in _CRYPTO):
        return crypto(base, quote)
    if word in _CRYPTO and not is_pair:
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

    Names are not unique: for those that we know ours holds, of others the first that is active.
    """
    found = dict(known)
    for entry in listed:
        if entry.is_active:
            found.setdefault(entry.base, entry.id)
    return found
