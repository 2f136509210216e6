"""What the simulated providers know: coins, stocks, and when stocks trade. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from streamer.simulator.market import POPULAR

DAY_S: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)
_OPEN_S: Final = (9 * 60 + 30) * 60
_SATURDAY: Final = 5


@dataclass(frozen=True, slots=True)
class Asset:
    """One coin or stock.

    Attributes:
        symbol: "BTC", "SPY".
        name: For people.
        slug: CoinGecko's id, and CoinMarketCap's slug; "" for a stock.
        number: CoinMarketCap's id; 0 for a stock.
        start: What its price in USD wanders around.
        wildness: How much it moves, in thousandths of what coins do.
        volume: Units traded on a day.
        supply: Units there are.
    """

    symbol: str
    name: str
    slug: str
    number: int
    start: Decimal
    wildness: int
    volume: int
    supply: int

    @property
    def is_stock(self) -> bool:
        """Whether it trades in sessions only."""
        return not self.slug


@dataclass(frozen=True, slots=True)
class Session:
    """When an asset trades on one day: `[start_s, end_s)`, in `blocks` equal parts of whole minutes."""

    start_s: int
    end_s: int
    blocks: int


def _coin(symbol: str, name: str, slug: str, number: int, volume: int, supply: int, wildness: int = 1000) -> Asset:
    return Asset(symbol, name, slug, number, Decimal(POPULAR[f"{symbol}-USD"]), wildness, volume, supply)


def _stock(symbol: str, name: str, start: str, volume: int) -> Asset:
    return Asset(symbol, name, "", 0, Decimal(start), 700, volume, 0)


_ALL: Final = (
    _coin("BTC", "Bitcoin", "bitcoin", 1, 150_000, 19_973_150),
    _coin("ETH", "Ethereum", "ethereum", 1027, 1_800_000, 120_700_000),
    _coin("SOL", "Solana", "solana", 5426, 12_000_000, 550_000_000),
    _coin("XRP", "XRP", "ripple", 52, 900_000_000, 60_000_000_000),
    _coin("DOGE", "Dogecoin", "dogecoin", 74, 6_000_000_000, 152_000_000_000),
    _coin("ADA", "Cardano", "cardano", 2010, 700_000_000, 36_000_000_000),
    _coin("AVAX", "Avalanche", "avalanche-2", 5805, 11_000_000, 425_000_000),
    _coin("LINK", "Chainlink", "chainlink", 1975, 25_000_000, 680_000_000),
    _coin("LTC", "Litecoin", "litecoin", 2, 5_000_000, 76_000_000),
    _coin("DOT", "Polkadot", "polkadot", 6636, 35_000_000, 1_600_000_000),
    _coin("USDT", "Tether", "tether", 825, 95_000_000_000, 201_000_000_000, wildness=3),
    _stock("SPY", "SPDR S&P 500 ETF Trust", "667.41", 58_000_000),
    _stock("AAPL", "Apple Inc.", "271.35", 47_000_000),
    _stock("MSFT", "Microsoft Corporation", "498.20", 21_000_000),
)
ASSETS: Final = {asset.symbol: asset for asset in _ALL}
"""By symbol."""
COINS: Final = tuple(asset for asset in _ALL if not asset.is_stock)
STOCKS: Final = tuple(asset for asset in _ALL if asset.is_stock)
USDT_RATE: Final = ASSETS["USDT"].start
"""USD for one USDT where a pair is quoted in it; the coin itself trades a hair around it."""


def date_of(day: int) -> date:
    """Return the date of a day counted from 1970."""
    return _EPOCH + timedelta(days=day)


def day_of(when: date) -> int:
    """Return the number of a date, counted in days from 1970."""
    return (when - _EPOCH).days


def eastern_offset_s(day: int) -> int:
    """Return how far New York is behind UTC during the day of that date, in seconds.

    Summer time lasts from the second Sunday of March to the first Sunday of November.
    """
    year = date_of(day).year
    march, november = date(year, 3, 8), date(year, 11, 1)
    starts = march + timedelta(days=(6 - march.weekday()) % 7)
    ends = november + timedelta(days=(6 - november.weekday()) % 7)
    return 4 * 3600 if starts <= date_of(day) < ends else 5 * 3600


def midnight_s(asset: Asset, day: int) -> int:
    """Return when the day of an asset begins: of coins in UTC, of stocks in New York."""
    return day * DAY_S + (eastern_offset_s(day) if asset.is_stock else 0)


def session(asset: Asset, day: int) -> Session | None:
    """Return when it trades on that day, None if it does not. Stocks rest at weekends; holidays are not known."""
    if not asset.is_stock:
        return Session(day * DAY_S, (day + 1) * DAY_S, 24)
    if date_of(day).weekday() >= _SATURDAY:
        return None
    opens_s = midnight_s(asset, day) + _OPEN_S
    return Session(opens_s, opens_s + 13 * 1800, 13)
