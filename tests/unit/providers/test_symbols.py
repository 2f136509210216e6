"""Symbols: the ways they are written, and what is none."""

from __future__ import annotations

import pytest

from streamer.errors import ConfigError
from streamer.providers.coins import QUOTES
from streamer.providers.shape import AssetClass, Listed, Symbol
from streamer.providers.symbols import crypto, ids_of, parse_symbol, stock


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("BTC-USD", crypto("BTC", "USD")),
        ("btc-usd", crypto("BTC", "USD")),
        (" BTC/USD ", crypto("BTC", "USD")),
        ("BTC_USDT", crypto("BTC", "USDT")),
        ("BTCUSD", crypto("BTC", "USD")),
        ("BTCUSDT", crypto("BTC", "USDT")),
        ("BTCUSDC", crypto("BTC", "USDC")),
        ("USDCUSDT", crypto("USDC", "USDT")),
        ("ETHBTC", crypto("ETH", "BTC")),
        ("X:BTCUSD", crypto("BTC", "USD")),
        ("X:BTC-USD", crypto("BTC", "USD")),
        ("X:KASUSD", crypto("KAS", "USD")),
        ("BTC-USD.CC", crypto("BTC", "USD")),
        ("1INCH-USD", crypto("1INCH", "USD")),
        ("NEWCOIN-USDT", crypto("NEWCOIN", "USDT")),
        ("BTC", crypto("BTC", "USD")),
        ("USDT", crypto("USDT", "USD")),
        ("SPY", stock("SPY")),
        ("spy.us", stock("SPY")),
        ("BRK.B", stock("BRK.B")),
        ("BTC.US", stock("BTC")),
        ("A", stock("A")),
        ("GOOGL", stock("GOOGL")),
    ],
)
def test_symbols_are_read_however_they_are_written(text: str, symbol: Symbol) -> None:
    """Each of the usual ways leads to the one canonical name."""
    assert parse_symbol(text) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "BTC-",
        "-USD",
        "BTC--USD",
        "BTC-USD-X",
        "BTC/USD-X",
        "BTC-BTC",
        "X:",
        "X:SPY",
        "X:BTC",
        "KASUSD",
        "TOOLONG",
        "SPY.USA",
        "^GSPC",
        "BTC USD",
        "BTC\nUSD",
        "BTC-USD\0",
        "ВТС-USD",
        "BTC-USD" * 9,
        "../BTC",
        "BTC%2FUSD",
        "A" * 21 + "-USD",
    ],
)
def test_what_is_no_symbol_is_refused(text: str) -> None:
    """With the setting, the value and the rule; a pair of an unknown coin wants its mark."""
    with pytest.raises(ConfigError, match="expected a pair"):
        parse_symbol(text)


@pytest.mark.parametrize("symbol", [crypto("BTC", "USDT"), crypto("1INCH", "USD"), stock("SPY"), stock("BRK.B")])
def test_a_canonical_name_leads_back_to_its_symbol(symbol: Symbol) -> None:
    """What is shown can be asked for again."""
    assert parse_symbol(str(symbol)) == symbol


def test_no_quote_hides_a_longer_one() -> None:
    """A quote currency that ends with another stands before it, or BTCUSDT would be BTCUS in DT's place."""
    for at, quote in enumerate(QUOTES):
        assert not [shorter for shorter in QUOTES[:at] if quote.endswith(shorter)]


def test_a_stock_is_counted_in_dollars() -> None:
    """Of stocks only those of the United States are known."""
    assert (stock("SPY").quote, stock("SPY").asset) == ("USD", AssetClass.STOCK)


@pytest.mark.parametrize("text", ["SPY", "BRK.B", "BTC.US", "LINK.US", "OPETH.US", "BTC", "USDT-USD", "NEW-COIN"])
def test_a_canonical_name_leads_back(text: str) -> None:
    """Copies are kept under it and read by it: a stock called as a coin must not turn into the coin."""
    symbol = parse_symbol(text)
    assert parse_symbol(str(symbol)) == symbol


def test_what_we_know_stands_before_a_list() -> None:
    """The only active entry of a name counts; of namesakes none does, but for those that we know."""
    listed = [
        Listed("wrapped", "BTC"),
        Listed("old", "KAS", is_active=False),
        Listed("kaspa", "KAS"),
        Listed("one", "CAT"),
        Listed("another", "CAT"),
    ]
    assert ids_of(listed, {"BTC": "bitcoin"}) == {"BTC": "bitcoin", "KAS": "kaspa"}
