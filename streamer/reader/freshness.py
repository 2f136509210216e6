"""Facts to tier and age: whether a stored value may be called realtime. Pure.

A hash is realtime only while the connection that wrote it is provably alive, whatever its TTL says; a product
that does not trade stays realtime on a live connection however old its last trade is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from streamer.model import Balance, Reading, Source, Ticker, Tier
from streamer.store.records import StoredBalance, StoredTicker, parse_json

T = TypeVar("T")

STALE_AFTER_S = 5.0
"""Oldest proof of life of a feed whose values still count as realtime."""


RECENT_S = STALE_AFTER_S
"""A value that the stream has vouched for so lately is served, marked, before a REST call is spent on it: a gap or
a reconnect is over sooner than the call."""

_OLDEST_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How old an answer may be; None means that its tier alone decides.

    Attributes:
        max_age_s: Since it was last known to be current.
        max_value_age_s: Since the exchange stamped it.
    """

    max_age_s: float | None = None
    max_value_age_s: float | None = None

    def why_not(self, found: Reading[object]) -> str | None:
        """Return why a reading is too old, None where it is not."""
        if self.max_age_s is not None and found.age_s > self.max_age_s:
            return f"{found.age_s:.1f} s old, at most {self.max_age_s:g} s were asked for"
        if self.max_value_age_s is not None and found.value_age_s > self.max_value_age_s:
            return f"its value is {found.value_age_s:.1f} s old, at most {self.max_value_age_s:g} s were asked for"
        return None


NO_BOUNDS = Bounds()
"""Any age will do, if the tier does."""


def choose(found: Iterable[Reading[T]], bounds: Bounds, *, at_last: bool = False) -> Reading[T] | None:
    """Return the reading to serve, None where none may be.

    Realtime comes first, then what REST has just said, then a copy of REST's that is not older than what the stream
    last vouched for. What is stale comes only where the stream vouched for it a moment ago, or where nothing else
    is there (`at_last`): then the youngest of all is served, and says that it is stale.
    """
    fit = [one for one in found if bounds.why_not(one) is None]
    by_tier: dict[Tier, Reading[T]] = {}
    for one in fit:
        held = by_tier.get(one.tier)
        if held is None or one.age_s < held.age_s:
            by_tier[one.tier] = one
    for tier in (Tier.REALTIME, Tier.REST):
        if tier in by_tier:
            return by_tier[tier]
    stale, cache = by_tier.get(Tier.STALE), by_tier.get(Tier.CACHE)
    if stale is None or (cache is not None and cache.age_s <= stale.age_s):
        return cache
    return stale if at_last or stale.age_s <= RECENT_S else None


class FeedLife(msgspec.Struct, frozen=True):
    """A feed's entry in `stream:feeds`, as far as a reader judges by it.

    Attributes:
        alive_ms: Clock of Redis at the feed's last proof of life; None on a connection without any yet.
    """

    state: str
    connection: int
    epoch: int
    alive_ms: int | None


class Vouched(Protocol):
    """A stored value that a connection vouches for: what a reader judges it by."""

    feed: str
    connection: int
    epoch: int
    received_ms: int
    written_ms: int
    suspect: bool
    source: Source


def parse_feeds(raw: Mapping[str, str]) -> dict[str, FeedLife]:
    """Return the well-formed entries of `stream:feeds`; a damaged one proves no life."""
    feeds = {}
    for feed, entry in raw.items():
        if (life := parse_json(entry, FeedLife)) is not None:
            feeds[feed] = life
    return feeds


def why_not_realtime(
    stored: Vouched, feed: FeedLife | None, now_ms: int, stale_after_s: float = STALE_AFTER_S
) -> str | None:
    """Return why a stored value is not known to be current, None where it is."""
    if feed is None:
        return f"feed {stored.feed} no longer reports"
    if feed.state != "live":
        return f"feed {stored.feed} is {feed.state}"
    if (feed.connection, feed.epoch) != (stored.connection, stored.epoch):
        return f"feed {stored.feed} has reconnected and not told of this since"
    if feed.alive_ms is not None and feed.alive_ms - now_ms > stale_after_s * 1000:
        return f"feed {stored.feed} has a proof of life from the future: the clock of Redis went back"
    if feed.alive_ms is None or now_ms - feed.alive_ms > stale_after_s * 1000:
        silent = "" if feed.alive_ms is None else f" for {(now_ms - feed.alive_ms) / 1000:.1f} s"
        return f"feed {stored.feed} has shown no life{silent}"
    if stored.suspect:
        return "suspect: frames were lost and no newer value has arrived since"
    return None


def certain_ms(stored: Vouched, feed: FeedLife | None, now_ms: int, *, is_shadow: bool = False) -> int:
    """Return when a stored value was last known to be current, on the clock of Redis."""
    # Not the time of the write: a value is also written to renew it, or into a Redis that came back empty.
    known_ms = min(stored.received_ms, stored.written_ms)
    same = feed is not None and (feed.connection, feed.epoch) == (stored.connection, stored.epoch)
    if same and not is_shadow and not stored.suspect and feed is not None and feed.alive_ms is not None:
        known_ms = max(known_ms, min(feed.alive_ms, now_ms))
    return known_ms


def age_since(known_ms: int, now_ms: int, *, is_realtime: bool) -> float:
    """Return how long ago something was last known to be current, in seconds.

    Where that is in the future, as after a failover to a slower clock, nobody can tell: then it counts as old as
    a shadow can be, or a value of long ago would be the youngest of all until that clock has caught up.
    """
    if known_ms - now_ms > STALE_AFTER_S * 1000 and not is_realtime:
        return _OLDEST_S
    return max(0.0, (now_ms - known_ms) / 1000)


def reading(
    stored: StoredTicker,
    feed: FeedLife | None,
    now_ms: int,
    stale_after_s: float = STALE_AFTER_S,
    *,
    is_shadow: bool = False,
) -> Reading[Ticker]:
    """Return a stored ticker as a reading, judged at `now_ms` on the clock of Redis.

    A shadow is never realtime: the hash of every product that is streamed is renewed while its feed lives, so
    where only the shadow is left, nobody streams the product any more.

    A product that is not online keeps its tier, and so does a price that jumped: it is the newest there is. The
    reason says so.
    """
    judged = _judged(stored.ticker, stored.ticker.time, stored, feed, now_ms, stale_after_s, is_shadow)
    if judged.reason is not None or (stored.ticker.status is None and stored.outlier is None):
        return judged
    status = stored.ticker.status
    offline = None if status is None else f"the exchange says that the product is {status}"
    return replace(judged, reason="; ".join(filter(None, (offline, stored.outlier))))


def balance_reading(
    stored: StoredBalance,
    feed: FeedLife | None,
    now_ms: int,
    stale_after_s: float = STALE_AFTER_S,
    *,
    is_shadow: bool = False,
) -> Reading[Balance]:
    """Return a stored balance as a reading, by the rules of a ticker. `value.basis` says what it rests on."""
    return _judged(stored.balance, stored.balance.time, stored, feed, now_ms, stale_after_s, is_shadow)


def _judged(
    value: T,
    time: datetime,
    stored: Vouched,
    feed: FeedLife | None,
    now_ms: int,
    stale_after_s: float,
    is_shadow: bool,
) -> Reading[T]:
    reason = why_not_realtime(stored, feed, now_ms, stale_after_s)
    if is_shadow and reason is None:
        reason = "only the stale shadow is left: it is no longer streamed"
    known_ms = certain_ms(stored, feed, now_ms, is_shadow=is_shadow)
    return Reading(
        value=value,
        tier=Tier.STALE if reason else Tier.REALTIME,
        age_s=age_since(known_ms, now_ms, is_realtime=reason is None),
        value_age_s=max(0.0, now_ms / 1000 - time.timestamp()),
        as_of=time,
        source=stored.source.value,
        reason=reason,
    )
