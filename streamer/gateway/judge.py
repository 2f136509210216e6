"""Asks Redis who may call, and decides alone, on a share of the budgets, while Redis is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from streamer.errors import StoreUnavailable
from streamer.gateway.decision import Ask, Decision, Grant, Place, Refused, Reply, Wait
from streamer.gateway.limits import HANDICAP_MS, LEASE_MS, Outcome, Window
from streamer.model import Priority
from streamer.providers.base import Budget
from streamer.store.connect import Script, Store
from streamer.store.keys import Keys

ASSUMED_PROCESSES: Final = 4
"""How many share the budgets where Redis has never told."""
_PARTS: Final = ("log", "line")
_SHARED: Final = ("state", "spent", "spent_before", "processes")
_FEW: Final = 3
"""So many of the keys are enough where nothing is counted; all are one slot's, but each costs time."""
AT_ONCE: Final = 4
"""So many questions to Redis are open at a time."""
_ANNOUNCE_S: Final = 1.0
_FIRST_LOOK_S: Final = 0.25
_LONGEST_LOOK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shed:
    """Redis is away, and the call is not urgent enough to be made on what is left."""


Ruling: TypeAlias = Reply | Shed
_packed = msgspec.msgpack.Encoder().encode


def now_ms() -> int:
    """Return this process's own clock."""
    return int(time.monotonic() * 1000)


class Judge:
    """Decides through the scripts in Redis; no method raises because Redis is away.

    `Decision` is the rule in either case. Neither side knows what the other has granted just before, so both begin
    with half their limits: around the loss of Redis, and its return, a window sees at most 1.5 times its limit.

    Args:
        changed: Called when those who wait should ask again at once.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        budgets: Mapping[Budget, Sequence[Window]],
        *,
        scope: str,
        name: str,
        changed: Callable[[], None],
    ) -> None:
        self._store, self._name, self._changed = store, name, changed
        self.channel = keys.gateway(scope, "wake")
        scripts = {word: Script(store, "gateway_rules", f"gateway_{word}") for word in ("admit", "settle", "leave")}
        self._admit, self._settle, self._leave = scripts.values()
        self._hello = Script(store, "gateway_rules", "gateway_hello")
        self._snapshot = Script(store, "gateway_rules", "gateway_snapshot")
        state, *shared = (keys.gateway(scope, part) for part in _SHARED)
        self._keys = {
            budget: [state, *(keys.gateway(scope, f"{part}:{budget}") for part in _PARTS), *shared]
            for budget in budgets
        }
        self._windows = {
            budget: [number for window in windows for number in (window.limit, window.length_ms)]
            for budget, windows in budgets.items()
        }
        self._local = Decision(budgets, now_ms(), ASSUMED_PROCESSES)
        self._alone: set[Budget] = set()
        self._uncounted: set[Budget] = set()
        # What Redis has said last, for when it is away: a ban must not end because Redis does.
        self._closed_ms: dict[Budget, int] = {}
        self._refused_ms = 0
        # The pool of connections is small, and one more than it holds would look like Redis away.
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._watch: asyncio.Task[None] | None = None
        self._is_away = self._is_closed = False
        self.processes = 0
        self._announce_at = 0.0

    @property
    def is_away(self) -> bool:
        """Whether we decide alone."""
        return self._is_away

    async def decide(self, ask: Ask) -> Ruling:
        """Decide whether this call may go; bounded by the command deadline of Redis."""
        async with self._turns:
            if not self.is_away:
                try:
                    return await self._asked(ask)
                except StoreUnavailable:
                    self._lost()
        if ask.place.priority is Priority.BACKGROUND:
            return Shed()
        reply = self._local.admit(ask, now_ms())
        if not isinstance(reply, Grant):
            return reply
        self._alone.add(ask.budget)
        return reply._replace(is_local=True)

    async def settle(self, grant: Grant, outcome: Outcome, retry_after_ms: int | None = None) -> None:
        """Say how a call ended. Where Redis cannot be told, the call's lease stands for its end."""
        async with self._turns:
            if not self.is_away:
                try:
                    words = self._settle_words(grant, outcome, retry_after_ms)
                    await self._settle(self._keys[grant.budget], [_packed(words)])
                except StoreUnavailable:
                    self._lost()
        if grant.is_local or self.is_away or outcome is Outcome.LIMITED:
            # A Redis time or generation means nothing here, nor ours there: no result counts for a breaker that did
            # not see its beginning. What was spent and refused counts everywhere; it is a lease old at most.
            known = grant if grant.is_local else grant._replace(granted_ms=now_ms() - LEASE_MS, generation=-1)
            self._local.settle(known, outcome, now_ms(), retry_after_ms)
            self._changed()

    async def leave(self, budget: Budget) -> None:
        """Give up our place in the line of a budget."""
        self._local.leave(budget, self._name)
        async with self._turns:
            if self.is_away:
                return
            try:
                await self._leave(self._keys[budget][:_FEW], [_packed([budget, self._name, self.channel])])
            except StoreUnavailable:
                self._lost()

    async def snapshot(self, budget: Budget) -> list[Any]:
        """Return the reply of `gateway_snapshot.lua`.

        Raises:
            StoreUnavailable: Redis cannot tell.
        """
        reply: list[Any] = await self._snapshot(self._keys[budget], [_packed([budget, *self._windows[budget]])])
        return reply

    async def close(self) -> None:
        """Stop looking for Redis."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _asked(self, ask: Ask) -> Reply:
        uncounted = ask.budget in self._uncounted
        announces = time.monotonic() >= self._announce_at
        following: Place | None = ask.next
        words = [
            ask.budget,
            ask.name,
            ask.token,
            ask.place.waited_ms,
            HANDICAP_MS[ask.place.priority],
            ask.queued,
            following is not None and following.waited_ms,
            following is not None and HANDICAP_MS[following.priority],
            uncounted,
            announces,
            self.channel,
            *self._windows[ask.budget],
        ]
        keys = self._keys[ask.budget]
        reply = await self._admit(keys if announces else keys[:_FEW], [_packed(words)])
        kind, first, second, processes, *_ = reply
        if announces:
            self.processes, self._announce_at = processes, time.monotonic() + _ANNOUNCE_S
        if uncounted:
            self._uncounted.discard(ask.budget)
        if kind == 1:
            return Grant(ask.budget, ask.token, first, second, ask.label)
        if kind == 2:
            self._closed_ms[ask.budget] = now_ms() + second
            return Wait(first, second)
        self._refused_ms = now_ms() + first
        return Refused(first)

    def _settle_words(self, grant: Grant, outcome: Outcome, retry_after_ms: int | None) -> list[object]:
        generation = -1 if grant.is_local else grant.generation
        retry_after = False if retry_after_ms is None else retry_after_ms
        words: list[object] = [grant.budget, grant.token, outcome, generation, grant.granted_ms, retry_after]
        return [*words, grant.label, self.channel, *self._windows[grant.budget]]

    def _lost(self) -> None:
        if not self._is_away:
            self._is_away = True
            share = max(1, self.processes or ASSUMED_PROCESSES)
            self._local.reborn(now_ms(), share, self._closed_ms, self._refused_ms)
            if not self._is_closed:
                self._watch = asyncio.create_task(self._look(), name="gateway-redis-watch")
            self._changed()

    async def _look(self) -> None:
        """Wait until a script can write again; not for PING alone, which a full or read-only Redis answers too."""
        keys = next(iter(self._keys.values()))
        pause_s = _FIRST_LOOK_S
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))
            try:
                self.processes = await self._hello(keys, [_packed([self._name])])
                break
            except StoreUnavailable:
                pause_s = min(_LONGEST_LOOK_S, 2 * pause_s)
        self._uncounted |= self._alone
        self._alone.clear()
        self._is_away = False
        self._changed()
