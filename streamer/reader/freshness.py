"""Facts to tier and age: whether a stored value may be called realtime. Pure.

A hash is realtime only while the connection that wrote it is provably alive, whatever its TTL says; a product
that does not trade stays realtime on a live connection however old its last trade is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamer.model import Reading, Ticker, Tier
from streamer.store.records import StoredTicker, parse_json

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


def parse_feeds(raw: Mapping[str, str]) -> dict[str, FeedLife]:
    """Return the well-formed entries of `stream:feeds`; a damaged one proves no life."""
    feeds = {}
    for feed, entry in raw.items():
        if (life := parse_json(entry, FeedLife)) is not None:
            feeds[feed] = life
    return feeds


def why_not_realtime(
    stored: StoredTicker, feed: FeedLife | None, now_ms: int, stale_after_s: float = STALE_AFTER_S
) -> str | None:
    """Return why a stored value is not known to be current, None where it is."""
    if feed is None:
        return f"feed {stored.feed} no longer reports"
    if feed.state != "live":
        return f"feed {stored.feed} is {feed.state}"
    if (feed.connection, feed.epoch) != (stored.connection, stored.epoch):
        return f"feed {stored.feed} has reconnected and not seen this product since"
    if feed.alive_ms is not None and feed.alive_ms - now_ms > stale_after_s * 1000:
        return f"feed {stored.feed} has a proof of life from the future: the clock of Redis went back"
    if feed.alive_ms is None or now_ms - feed.alive_ms > stale_after_s * 1000:
        silent = "" if feed.alive_ms is None else f" for {(now_ms - feed.alive_ms) / 1000:.1f} s"
        return f"feed {stored.feed} has shown no life{silent}"
    if stored.suspect:
        return "suspect: frames were lost and no newer value has arrived since"
    return None


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
    """
    reason = why_not_realtime(stored, feed, now_ms, stale_after_s)
    if is_shadow and reason is None:
        reason = "only the stale shadow is left: the product is no longer streamed"
    ticker = stored.ticker
    # Not the time of the write: a value is also written to renew it, or into a Redis that came back empty.
    known_ms = min(stored.received_ms, stored.written_ms)
    same = feed is not None and (feed.connection, feed.epoch) == (stored.connection, stored.epoch)
    if same and not is_shadow and not stored.suspect and feed is not None and feed.alive_ms is not None:
        known_ms = max(known_ms, min(feed.alive_ms, now_ms))
    value_age_s = max(0.0, now_ms / 1000 - ticker.time.timestamp())
    return Reading(
        value=ticker,
        tier=Tier.STALE if reason else Tier.REALTIME,
        age_s=max(0.0, (now_ms - known_ms) / 1000),
        value_age_s=value_age_s,
        as_of=ticker.time,
        source=stored.source.value,
        reason=reason,
    )
