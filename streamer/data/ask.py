"""What can be asked of the other providers, and what they are found to have. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeAlias, TypeVar

from streamer.data.story import Story
from streamer.errors import ConfigError
from streamer.model import Tier
from streamer.providers.sessions import day_of, room_s, session
from streamer.providers.shape import AssetClass, Interval, Price, Series, Symbol

T_co = TypeVar("T_co", covariant=True)

_UNIX = re.compile(r"\d{9,11}", re.ASCII)
MOST_BARS = 100_000
"""Most bars of one question."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question.

    Attributes:
        interval: Of the bars; None asks for the price.
        count: How many of the newest bars; with a range at most so many, the newest of them.
        from_s: Begin of a range, with `to_s`; None asks for the newest bars.
    """

    symbol: Symbol
    interval: Interval | None = None
    count: int = 0
    from_s: int | None = None
    to_s: int | None = None

    @property
    def what(self) -> str:
        """For messages: "price BTC-USD"."""
        return f"bars {self.symbol} {self.interval}" if self.interval is not None else f"price {self.symbol}"

    def of(self, symbol: Symbol) -> Ask:
        """Return the same question about another symbol."""
        return Ask(symbol, self.interval, self.count, self.from_s, self.to_s)


def parse_interval(text: str) -> Interval:
    """Return an interval.

    Raises:
        ConfigError: There is none of that name.
    """
    try:
        return Interval(text)
    except ValueError as exc:
        rule = f"expected one of {', '.join(Interval)}"
        raise ConfigError("interval", str(text)[:40], rule) from exc


def bars_of(
    symbol: Symbol, interval: Interval, *, start_s: int | None, end_s: int | None, limit: int, now_s: int
) -> Ask:
    """Return the question for bars; a range without an end goes up to now.

    Raises:
        ConfigError: It is for none, for too many, or ends before it begins.
    """
    if not 1 <= limit <= MOST_BARS:
        raise ConfigError("limit", limit, f"expected 1 to {MOST_BARS}")
    if start_s is None:
        if end_s is None:
            return Ask(symbol, interval, limit)
        end_s = min(end_s, now_s + interval.seconds)
        start_s = end_s - room_s(limit, interval, symbol.asset)
    end_s = min(end_s if end_s is not None else now_s + interval.seconds, now_s + interval.seconds)
    if start_s < 0 or start_s >= end_s:
        raise ConfigError("start", start_s, "expected a time before the end, and before now")
    if (end_s - start_s) // interval.seconds > MOST_BARS:
        raise ConfigError("start", start_s, f"that is more than {MOST_BARS} bars: ask in parts")
    return Ask(symbol, interval, limit, start_s, end_s)


def seconds_of(name: str, text: str | None) -> int | None:
    """Return a time as people write it, in Unix seconds: ISO 8601, in UTC where it names no zone, or such seconds.

    Raises:
        ConfigError: It is none.
    """
    if text is None:
        return None
    if _UNIX.fullmatch(text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as exc:
        raise ConfigError(name, text, "expected a time such as 2026-11-20T15:00:00Z, or Unix seconds") from exc


@dataclass(frozen=True, slots=True)
class Found(Generic[T_co]):
    """What one provider has.

    Attributes:
        tier: How it came: from a copy, by a call made now, or by the stream.
        age_s: Since it was known to be so.
        source: Who made it: the provider's name, or "simulator".
        why: Why it is not better, None where there is nothing to say.
    """

    value: T_co
    provider: str
    tier: Tier
    age_s: float
    source: str
    why: str | None = None


Value: TypeAlias = Price | Series


@dataclass(frozen=True, slots=True)
class Served(Generic[T_co]):
    """An answer, and how it came about.

    Attributes:
        asked: The symbol that was asked for; where `found.value.symbol` is another, it stands in for it.
        title: The provider's name for people.
        value_age_s: Since the provider stamped it, None where it does not say.
        reason: What there is to mind, else None.
    """

    asked: Symbol
    found: Found[T_co]
    title: str
    value_age_s: float | None
    reason: str | None
    story: Story = field(default_factory=Story)


def stand_in(symbol: Symbol) -> Symbol | None:
    """Return the nearest other symbol: the same coin in USDT for USD, and the other way; only as such."""
    other = {"USD": "USDT", "USDT": "USD"}.get(symbol.quote)
    if symbol.asset is not AssetClass.CRYPTO or other is None or symbol.base == other:
        return None
    return Symbol(symbol.base, other, AssetClass.CRYPTO)


def traded_until_s(asset: AssetClass, now_s: float) -> float:
    """Return when something of this kind can have been traded last: now, or when the stock exchange last closed."""
    if asset is AssetClass.CRYPTO:
        return now_s
    day = day_of(int(now_s), asset)
    while (hours := session(day)) is None or now_s < hours.opens_s:
        day -= timedelta(days=1)
    return min(now_s, hours.closes_s)
