"""The market as one provider shows it: a hair off, and wrong where a fault says so. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from streamer.simulator.providers.assets import ASSETS, DAY_S, USDT_RATE
from streamer.simulator.providers.market import Bar, Market

_ONE: Final = Decimal(1)
_TENTH_OF_BP: Final = Decimal("0.00001")


@dataclass(frozen=True, slots=True)
class View:
    """What a provider knows.

    Attributes:
        market: The truth.
        bias: How far its prices are off, in tenths of a basis point.
        share: Thousandths of the world's volume of coins that it counts.
        lie: What all prices are multiplied with.
        spike: What the price and the newest finished bar are multiplied with, beside that.
    """

    market: Market
    bias: int = 0
    share: int = 1000
    lie: Decimal = _ONE
    spike: Decimal = _ONE

    def last(self, base: str, quote: str, at_s: float) -> tuple[Decimal, int]:
        """Return the last price before a moment, in USD or USDT, and when it was traded in Unix seconds."""
        price, time_s = self.market.last(base, at_s)
        return price * self._factor(quote) * self.spike, time_s

    def bars(self, base: str, quote: str, interval_s: int, from_s: float, to_s: float, now_s: float) -> list[Bar]:
        """Return bars as `Market.bars` does."""
        factor = self._factor(quote)
        share = Decimal(1) if ASSETS[base].is_stock else Decimal(self.share) / 1000
        found = [_scaled(bar, factor, share) for bar in self.market.bars(base, interval_s, from_s, to_s, now_s)]
        # Stocks rest for days: their newest finished bar may be that old.
        rest_s = 4 * DAY_S if ASSETS[base].is_stock else 0
        newest = max((i for i, bar in enumerate(found) if bar.end_s <= now_s), default=None)
        if newest is not None and found[newest].end_s + interval_s + rest_s > now_s and self.spike != _ONE:
            bar = found[newest]
            close = bar.close * self.spike
            found[newest] = replace(bar, close=close, high=max(bar.high, close), low=min(bar.low, close))
        return found

    def _factor(self, quote: str) -> Decimal:
        factor = self.lie * (1 + self.bias * _TENTH_OF_BP)
        return factor / USDT_RATE if quote == "USDT" else factor


def _scaled(bar: Bar, factor: Decimal, share: Decimal) -> Bar:
    prices = (bar.open * factor, bar.high * factor, bar.low * factor, bar.close * factor)
    return Bar(bar.start_s, bar.end_s, *prices, bar.volume * share)
