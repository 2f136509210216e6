"""Facts to tier and age: whether a stored value may be called realtime. Pure.

A hash is realtime only while the connection that wrote it is provably alive, whatever its TTL says; a product
that does not trade stays realtime on a live connection however old its last trade is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from streamer.model import Balance, Reading, Source, Ticker, Tier
from streamer.store.records import StoredBalance, StoredTicker, parse_json

T = TypeVar("T")

STALE_AFTER_S = 5.0
"""Oldest proof of life of a feed whose values still count as realtime."""


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

    A product that is not online keeps its tier: its price is the newest there is. The reason says so.
    """
    judged = _judged(stored.ticker, stored.ticker.time, stored, feed, now_ms, stale_after_s, is_shadow)
    if stored.ticker.status is not None and judged.reason is None:
        return replace(judged, reason=f"the exchange says that the product is {stored.ticker.status}")
    return judged


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
        age_s=max(0.0, (now_ms - known_ms) / 1000),
        value_age_s=max(0.0, now_ms / 1000 - time.timestamp()),
        as_of=time,
        source=stored.source.value,
        reason=reason,
    )
