"""What providers of market data answer, in one shape for all: symbols, intervals, prices and bars. Pure.

Numbers are `Decimal` from the provider's own digits; times are Unix milliseconds (prices) or seconds (bars) in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from streamer.providers.coins import is_coin


class AssetClass(StrEnum):
    """What kind of thing a symbol names; providers are ordered by it."""

    CRYPTO = "crypto"
    STOCK = "stock"


@dataclass(frozen=True, slots=True)
class Symbol:
    """What is asked for; its canonical name is `str` of it: "BTC-USD", "SPY".

    `symbols.parse_symbol` makes one from what people write, and from that name the same one again.

    Attributes:
        base: "BTC", "SPY".
        quote: What the price counts, "USD" or "USDT"; of a stock the currency of its exchange.
    """

    base: str
    quote: str
    asset: AssetClass

    def __str__(self) -> str:
        if self.asset is AssetClass.CRYPTO:
            return f"{self.base}-{self.quote}"
        # Some stocks bear the name of a coin, such as LINK: by the bare word the coin is meant.
        return f"{self.base}.US" if is_coin(self.base) else self.base


class Instrument(StrEnum):
    """What a provider's price is the price of."""

    SPOT = "spot"
    """Trades of one exchange."""
    AGGREGATE = "aggregate"
    """Put together from many exchanges."""
    PERPETUAL = "perpetual"
    """A perpetual future: neither spot nor index."""
    STOCK = "stock"
    DERIVED = "derived"
    """Worked out from other prices, such as BTC-USDT from two prices in USD."""


class Interval(StrEnum):
    """How long a bar is. Days of crypto begin at 00:00 UTC; those of stocks when their exchange's day does."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def seconds(self) -> int:
        """The length in seconds."""
        return _INTERVAL_S[self]


_INTERVAL_S: Final = {
    Interval.M1: 60,
    Interval.M5: 300,
    Interval.M15: 900,
    Interval.M30: 1800,
    Interval.H1: 3600,
    Interval.H4: 4 * 3600,
    Interval.D1: 24 * 3600,
}


@dataclass(frozen=True, slots=True)
class Price:
    """One price, labelled as what it is.

    Attributes:
        symbol: What it is the price of: where this is not what was asked for, it is no answer to that.
        as_of_ms: When the provider stamped it; None where it does not say.
        is_live: False where it is late by the provider's word or plan: delayed, or of the last close.
        note: What there is to mind, in words; "" for nothing.
    """

    symbol: Symbol
    price: Decimal
    instrument: Instrument
    as_of_ms: int | None = None
    is_live: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """Trades of `[start_s, start_s + interval)`.

    Attributes:
        volume: In base units where the provider counts so; None where it gives none for a bar.
        is_closed: Whether it is over; an open one still changes.
    """

    start_s: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None = None
    is_closed: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one symbol, oldest first.

    Attributes:
        symbol: What they are of, as with `Price`.
        is_live: As with `Price`.
        note: As with `Price`.
    """

    symbol: Symbol
    interval: Interval
    instrument: Instrument
    bars: Sequence[Bar]
    is_live: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Which bars are wanted: those that begin within `[from_s, to_s)`.

    Attributes:
        limit: Most of them; the newest ones where there are more.
    """

    from_s: int
    to_s: int
    limit: int


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a plan is left, as far as the provider tells. None where it does not.

    Attributes:
        reset_ms: When the count begins anew.
    """

    plan: str = ""
    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    used: int | None = None
    left: int | None = None
    reset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a provider's list of what it has.

    Attributes:
        id: The provider's own name of it: "BTCUSDT", "bitcoin", "1".
        instrument: None where the list does not tell.
    """

    id: str
    base: str
    quote: str = ""
    instrument: Instrument | None = None
    is_active: bool = True
