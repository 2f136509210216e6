"""Which providers there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamer.simulator.providers.alphavantage import AlphaVantage
from streamer.simulator.providers.binance import Binance
from streamer.simulator.providers.coinbase import Coinbase
from streamer.simulator.providers.coingecko import CoinGecko
from streamer.simulator.providers.coinmarketcap import CoinMarketCap
from streamer.simulator.providers.eodhd import Eodhd
from streamer.simulator.providers.polygon import Polygon
from streamer.simulator.providers.provider import Provider

ROSTER: Final[Sequence[Provider]] = (
    Coinbase(),
    Binance(),
    Polygon(),
    CoinGecko(),
    CoinMarketCap(),
    AlphaVantage(),
    Eodhd(),
)
"""One of each, in no order of rank."""
