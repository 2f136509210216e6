"""Names of well-known coins, and of what prices are counted in: what a word without a mark is read by. Pure."""

from __future__ import annotations

from typing import Final

QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "BTC", "ETH")
"""Currencies that prices are counted in, the longer first: BTCUSDT is BTC in USDT."""
_COINS = (
    "AAVE ADA ALGO APT ARB ATOM AVAX BCH BNB BTC CRV DAI DOGE DOT ETC ETH FIL HBAR ICP INJ LDO LINK LTC MATIC MKR"
    " NEAR OP PEPE POL SHIB SOL SUI TON TRX UNI USDC USDT XLM XMR XRP XTZ ZEC"
)
COINS: Final = frozenset(_COINS.split())
"""What is taken for a coin where nothing else tells; any other is one as soon as it is written with its quote."""


def parted(word: str) -> tuple[str, str]:
    """Return what comes before the quote currency that a word ends in, and that; the word and "" for none."""
    quote = next((quote for quote in QUOTES if word.endswith(quote) and word != quote), "")
    return word.removesuffix(quote), quote


def is_coin(word: str) -> bool:
    """Whether a word in capitals, without a mark, is read as a coin or a pair rather than as a stock."""
    base, quote = parted(word)
    return word in COINS or (bool(quote) and base in COINS)
