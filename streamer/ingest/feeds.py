"""The feeds of one channel: as many as its products need, each a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from streamer.coinbase.feed import Feed, FeedFacts
from streamer.ingest.assign import assign
from streamer.model import ProductId


class FeedGroup:
    """Starts, changes and ends feeds until they carry what is wanted.

    Args:
        name: Feeds are called `<name>-<number>`.
        per_feed: Most products of one feed.
        make: Makes a feed of a given name.
    """

    def __init__(self, name: str, *, per_feed: int, make: Callable[[str], Feed]) -> None:
        self.name, self._per_feed, self._make = name, per_feed, make
        self.feeds: dict[int, Feed] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._retired_frames = 0

    def converge(self, wanted: Collection[ProductId], tasks: asyncio.TaskGroup) -> None:
        """Make the feeds carry what is wanted, and nothing else."""
        current = {number: feed.wanted for number, feed in self.feeds.items()}
        target = assign(wanted, current, self._per_feed)
        for number in current.keys() - target.keys():
            self._retired_frames += self.feeds.pop(number).frames
            self._tasks.pop(number).cancel()
        for number, product_ids in target.items():
            feed = self.feeds.get(number)
            if feed is None:
                feed = self.feeds[number] = self._make(f"{self.name}-{number}")
                feed.want(product_ids)
                self._tasks[number] = tasks.create_task(feed.run(), name=f"feed-{feed.id}")
            elif set(feed.wanted) != product_ids:
                feed.want(product_ids)

    def cancel(self) -> None:
        """End all feeds."""
        for task in self._tasks.values():
            task.cancel()

    def facts(self, now: float) -> list[FeedFacts]:
        """Return how each feed stands at monotonic time `now`."""
        return [feed.facts(now) for feed in self.feeds.values()]

    @property
    def frames(self) -> int:
        """Frames received since start, also by feeds that are gone."""
        return self._retired_frames + sum(feed.frames for feed in self.feeds.values())
