"""The providers there are. A new one is added here, by its one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamer.providers.adapter import Adapter
from streamer.providers.alphavantage import AlphaVantage
from streamer.providers.binance import Binance
from streamer.providers.coinbase import CoinbasePublic
from streamer.providers.coingecko import CoinGecko
from streamer.providers.coinmarketcap import CoinMarketCap
from streamer.providers.eodhd import Eodhd
from streamer.providers.polygon import Polygon

_ALL: Final[tuple[type[Adapter], ...]] = (
    AlphaVantage,
    Binance,
    CoinbasePublic,
    CoinGecko,
    CoinMarketCap,
    Eodhd,
    Polygon,
)
ADAPTERS: Final[Mapping[str, type[Adapter]]] = {adapter.name: adapter for adapter in _ALL}
"""By name, in alphabetical order."""
