"""A few of the answers, asked for over REST as well: what the way over the stream costs in truth, if anything."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import requests

from streamer.compat.answers import Served
from streamer.compat.differences import Figure, differences
from streamer.compat.passage import Passage
from streamer.errors import StreamerError
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.reader.sync import Reader
from streamer.settings import Settings
from streamer.store.connect import Script
from streamer.store.keys import Keys

KINDS: Final = frozenset({"product", "best_bid_ask", "accounts"})
_PATIENCE_S = 30.0
_MINUTE_S = 60


class Comparison:
    """Compares now and then, in a thread of its own, one answer at a time; harms and delays nobody."""

    def __init__(self, reader: Reader, passage: Passage, keys: Keys, settings: Settings) -> None:
        self._reader, self._passage, self._key = reader, passage, keys.comparison
        self._share, self._per_minute = settings.compare_share, settings.compare_per_minute
        self._busy = threading.Lock()
        self._add: Script | None = None

    def is_drawn(self, kind: str) -> bool:
        """Whether an answer is to be compared."""
        return kind in KINDS and random.random() < self._share

    def begin(
        self,
        kind: str,
        rest_url: str,
        budget: Budget,
        ask: Callable[[], Any],
        serve: Callable[[], Served | None],
    ) -> None:
        """Compare, unless another comparison is under way or enough have been made.

        Args:
            ask: Asks the exchange.
            serve: Answers the same question once more: prices move while a request waits for its turn.
        """
        if self._busy.acquire(blocking=False):
            args = (kind, rest_url, budget, ask, serve)
            try:
                threading.Thread(target=self._compare, args=args, name="streamer-comparison", daemon=True).start()
            except RuntimeError:  # no thread to be had: another time
                self._busy.release()

    def _compare(
        self,
        kind: str,
        rest_url: str,
        budget: Budget,
        ask: Callable[[], Any],
        serve: Callable[[], Served | None],
    ) -> None:
        behind = self._reader.behind()
        try:
            if not behind.run(self._may()):
                return
            call = Call(Priority.BACKGROUND, time.monotonic() + _PATIENCE_S, "comparison")
            theirs = self._passage.send(rest_url, budget, call, kind, ask)
            ours = serve()
            if ours is not None and not ours.is_last_resort:
                behind.run(self._add_up(differences(kind, ours.body, theirs)))
        except (StreamerError, requests.RequestException, ValueError):
            pass  # the next one tells
        finally:
            self._busy.release()

    async def _may(self) -> bool:
        """Whether the fleet has made fewer of them within this minute than it may."""
        store, key = self._reader.behind().store, f"{self._key}:minute"
        pipeline = store.client.pipeline(transaction=True)
        pipeline.set(key, 0, ex=_MINUTE_S, nx=True)
        pipeline.incr(key)
        _, made = await store.answer(pipeline.execute())
        return int(made) <= self._per_minute

    async def _add_up(self, figures: Sequence[Figure]) -> None:
        if self._add is None:
            self._add = Script(self._reader.behind().store, "add_up")
        words = [word for one in figures for word in (one.how, one.name, f"{one.number:f}")]
        await self._add([self._key], [*words])
