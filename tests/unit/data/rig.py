"""Values for the tests of this folder."""

from __future__ import annotations

from decimal import Decimal

from streamer.data.ask import Found, Value
from streamer.model import Tier
from streamer.providers.shape import AssetClass, Bar, Instrument, Price, Symbol
from streamer.providers.symbols import parse_symbol

BTC, USDT, SPY = parse_symbol("BTC-USD"), parse_symbol("BTC-USDT"), parse_symbol("SPY")


def bar(start_s: int) -> Bar:
    """A bar."""
    return Bar(start_s, Decimal(1), Decimal(2), Decimal(1), Decimal(2), Decimal(3))


def price(
    name: str,
    *,
    amount: str = "100",
    symbol: Symbol = BTC,
    tier: Tier = Tier.REST,
    age_s: float = 0.0,
    as_of_ms: int | None = None,
    is_live: bool = True,
) -> Found[Value]:
    """What a provider has."""
    kind = Instrument.STOCK if symbol.asset is AssetClass.STOCK else Instrument.AGGREGATE
    return Found(Price(symbol, Decimal(amount), kind, as_of_ms, is_live), name, tier, age_s, name)
