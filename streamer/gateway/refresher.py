"""Renews copies of REST's answers before they expire: those that are read, and that the stream does not have."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from streamer.errors import StoreUnavailable, StreamerError, UnknownProduct
from streamer.gateway.admission import Admission
from streamer.gateway.caller import scope_of
from streamer.gateway.gateway import Answer, Gateway
from streamer.gateway.refresh import (
    FAST_S,
    HOT_FOR_S,
    SCORED_BY,
    SLOW_S,
    Hot,
    budget_of,
    due_after_s,
    is_private,
    is_streamed,
    next_call,
    product_of,
    refresh_after_s,
    request_of,
    room,
    volatility_score,
    volume_score,
)
from streamer.gateway.requests import CandlesRequest, Request, Requests
from streamer.model import Candle, Priority, ProductId
from streamer.providers.base import Budget, Call, RestSource
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.counters import Counters, Tally
from streamer.store.hot import HotSet
from streamer.store.keys import REFRESH, Keys

LOOK_EVERY_S: Final = 5.0
"""As often as readers note what they read."""
SPACING_S: Final = 1.0
"""Between two calls, so that what has become due at once does not go at once."""
_PATIENCE_S: Final = 5.0
_SOONEST_S: Final = 0.05
_AGAIN_S: Final = FAST_S
"""What has failed is not tried again before."""
_SCORED_FOR_S: Final = 300.0
_SCORING_LEAVES: Final = 2
"""Scoring is a call that answers nobody: so many are left to those that do."""
_MOST_WARMED: Final = 20
_FIRST_COST_S: Final = 1.0
_LEARNING: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Pace:
    """How soon what is known of a product is renewed, when that was learned, and by candles of what length."""

    after_s: float
    at: float
    length_s: float = math.inf

    def is_outdated(self, now: float) -> bool:
        return now - self.at >= _SCORED_FOR_S


class Refresher:
    """Looks at what is hot and renews what is due, one call at a time, while this process owns the stream.

    Trading never waits for it: it asks at the lowest priority, only while nobody waits and nothing is amiss, and
    leaves a part of every limit alone. When it begins it renews, once, what has expired of what was read last
    within the hour: a fleet that was away finds it there.

    Args:
        rest: Whom to ask, through a `MarkingGate`.
        store: Redis; stays open when this ends.
        is_owner: Whether this process owns the stream.
        wanted: Returns the products that are streamed.
        beta: How eagerly copies are renewed ahead of their expiry; see `due_after_s`.
        chance: Draws from 0 up to, but not including, 1.
        settle_s: For so long the stream comes first: only then is it known what it does not have.

    Attributes:
        facts: As JSON for `stream:status`; None while another process owns the stream, or Redis is away.
    """

    def __init__(
        self,
        rest: RestSource,
        admission: Admission,
        store: Store,
        settings: Settings,
        *,
        is_owner: Callable[[], bool],
        wanted: Callable[[], Collection[ProductId]],
        beta: float = 1.0,
        chance: Callable[[], float] = random.random,
        settle_s: float = LOOK_EVERY_S,
    ) -> None:
        self._keys = keys = Keys(settings.key_prefix)
        self._gateway = Gateway(rest, store, keys, scope=scope_of(settings.rest_url))
        self._admission = admission
        self._is_owner, self._wanted, self._channels = is_owner, wanted, settings.channels
        self._beta, self._chance, self._settle_s = beta, chance, settle_s
        self._hot, self._requests = HotSet(store, keys), Requests(keys)
        self._tally, self._told_at = Tally(Counters(store, keys)), time.monotonic()
        self._counts: Counter[str] = Counter()
        self._asks: dict[str, Request[Any] | None] = {}
        self._draws: dict[str, float] = {}
        self._tried: dict[str, float] = {}
        self._costs: dict[str, float] = {}
        self._paces: dict[ProductId, _Pace] = {}
        self._warming: set[str] | None = None
        self.facts: dict[str, Any] | None = None

    async def keep(self) -> None:
        """Renew until cancelled."""
        pause_s = self._settle_s
        try:
            while True:
                await asyncio.sleep(pause_s)
                pause_s = await self.turn()
        finally:
            await self._gateway.close()

    async def turn(self) -> float:
        """Look, and make the most urgent call where there is room for it; return for how long to rest."""
        if not self._is_owner():
            self.facts = self._warming = None
            return LOOK_EVERY_S
        try:
            rest_s = await self._turn()
            if time.monotonic() - self._told_at >= LOOK_EVERY_S:
                self._told_at = time.monotonic()
                await self._tally.tell(self._counts)
        except StoreUnavailable:
            self.facts = None
            return LOOK_EVERY_S
        return rest_s

    async def _turn(self) -> float:
        looked_at = time.monotonic()
        hot = await self._look(looked_at)
        due = [one for one in hot if one.age_s >= one.due_s and self._may_try(one.key, looked_at)]
        unscored = [one for one in hot if one.age_s >= FAST_S and self._is_unscored(one.request, looked_at)]
        rooms = await self._rooms() if due or unscored else {}
        possible = [one for one in due if rooms[budget_of(one.request), one.is_expiring]]
        is_scoring = not possible and bool(unscored) and rooms[Budget.MARKET, False] > _SCORING_LEAVES
        if possible:
            await self._renew(next_call(possible, hot), looked_at)
        elif is_scoring:
            await self._score(unscored[0].request, hot, looked_at)
        put_off = [one for one in due if one not in possible]
        self._counts.update(f"{REFRESH}:{one.request.kind}:put_off" for one in put_off)
        next_s = min((one.due_s - one.age_s for one in hot if one.age_s < one.due_s), default=LOOK_EVERY_S)
        self.facts = {
            "hot": len(hot),
            "put_off": len(put_off),
            "next_s": round(next_s, 1),
            **{name: self._total(name) for name in ("ok", "failed", "unknown")},
        }
        return SPACING_S if possible or is_scoring else min(LOOK_EVERY_S, max(_SOONEST_S, next_s))

    def _total(self, outcome: str) -> int:
        return sum(number for name, number in self._counts.items() if name.endswith(f":{outcome}"))

    async def _rooms(self) -> dict[tuple[Budget, bool], int]:
        """Return what room there is by budget, and by whether it is for what expires."""
        snapshot = await self._admission.snapshot()
        return {(b, e): room(snapshot, b, expiring=e) for b in snapshot.budgets for e in (False, True)}

    # -- what is hot ----------------------------------------------------------------------------------------------

    async def _look(self, now: float) -> list[Hot]:
        """Return what is read from copies, and can be renewed by us, with how old each copy is."""
        idle_s = await self._hot.read()
        is_first, warming = self._warming is None, self._warming or set()
        if is_first:
            warming = set([key for key, idle in idle_s.items() if idle > HOT_FOR_S][:_MOST_WARMED])
        wanted, has_key = self._wanted(), self._gateway.rest.has_key
        requests = [
            request
            for key, idle in idle_s.items()
            if (idle <= HOT_FOR_S or key in warming)
            and (request := self._known(key)) is not None
            and (has_key or not is_private(request))
            and not is_streamed(request, wanted, self._channels)
        ]
        lives_ms = await self._hot.lives_ms([request.copy.key for request in requests])
        hot = [self._seen(request, left_ms, now) for request, left_ms in zip(requests, lives_ms, strict=True)]
        if is_first:
            warming &= {one.key for one in hot if one.age_s == math.inf}
        self._warming = warming
        self._forget(idle_s.keys(), {product_of(one.request) for one in hot})
        return [one for one in hot if idle_s[one.key] <= HOT_FOR_S or one.key in warming]

    def _known(self, key: str) -> Request[Any] | None:
        if key not in self._asks:
            self._asks[key] = request_of(key, self._keys, self._requests)
        return self._asks[key]

    def _seen(self, request: Request[Any], left_ms: int, now: float) -> Hot:
        # Below 0 there is none, or somebody has meddled with its expiry. What the stream or a reader wrote there
        # counts by when it was written, as for the one who reads it.
        copy = request.copy
        age_s = copy.ttl_s - left_ms / 1000 if left_ms >= 0 else math.inf
        draw = self._draws.get(copy.key) or self._draw(copy.key)
        expiring_s = due_after_s(copy.ttl_s, self._cost_s(request.kind), beta=self._beta, random=draw)
        return Hot(request, age_s, self._pace_s(request), expiring_s)

    def _pace_s(self, request: Request[Any]) -> float:
        product_id = product_of(request)
        if product_id is None:
            return math.inf
        pace = self._paces.get(product_id)
        return SLOW_S if pace is None else pace.after_s

    def _cost_s(self, kind: str) -> float:
        return self._costs.get(kind, _FIRST_COST_S)

    def _draw(self, key: str) -> float:
        self._draws[key] = draw = 1 - self._chance()
        return draw

    def _forget(self, keys: Set[str], products: Set[ProductId | None]) -> None:
        """Know no more than what is hot."""
        held: dict[str, Any]
        for held in (self._asks, self._draws, self._tried):
            for key in held.keys() - keys:
                del held[key]
        for product_id in self._paces.keys() - products:
            del self._paces[product_id]

    # -- calls ----------------------------------------------------------------------------------------------------

    def _may_try(self, key: str, now: float) -> bool:
        return now - self._tried.get(key, -math.inf) >= _AGAIN_S

    def _is_unscored(self, request: Request[Any], now: float) -> bool:
        product_id = product_of(request)
        if product_id is None:
            return False
        pace = self._paces.get(product_id)
        return pace is None or pace.is_outdated(now)

    async def _renew(self, chosen: Sequence[Hot], looked_at: float) -> None:
        """Ask for all of them in one call; who asks for the same meanwhile shares it."""
        answers = await self._ask([one.request for one in chosen], looked_at)
        gone = []
        for one, answer in zip(chosen, answers, strict=True):
            is_unknown = isinstance(answer, UnknownProduct)
            outcome = "unknown" if is_unknown else "failed" if isinstance(answer, StreamerError) else "ok"
            self._counts[f"{REFRESH}:{one.request.kind}:{outcome}"] += 1
            self._draw(one.key)
            if self._warming is not None:
                self._warming.discard(one.key)
            if outcome != "ok":
                self._tried[one.key] = looked_at
            if is_unknown:
                gone.append(one.key)
        await self._hot.forget(gone)

    async def _score(self, request: Request[Any], hot: Sequence[Hot], looked_at: float) -> None:
        """Learn how busy a product is, by candles of it that somebody reads, or else by those of a day."""
        product_id = product_of(request)
        assert product_id is not None
        read = [one.request for one in hot if isinstance(one.request, CandlesRequest)]
        same = [one for one in read if one.product_id == product_id]
        finest = min(same, key=lambda one: (one.granularity.seconds, -one.limit), default=None)
        self._paces[product_id] = _Pace(SLOW_S, looked_at)  # also where no answer comes: not again at once
        await self._ask([finest or self._requests.candles(product_id, *SCORED_BY)], looked_at - _SCORED_FOR_S)

    async def _ask(self, requests: Sequence[Request[Any]], since: float) -> Sequence[Answer[Any] | StreamerError]:
        began, kind = time.monotonic(), requests[0].kind
        call = Call(Priority.BACKGROUND, began + _PATIENCE_S, REFRESH)
        answers = await self._gateway.fetch_all(requests, call, since=since)
        if any(isinstance(answer, Answer) for answer in answers):
            known = self._cost_s(kind)
            self._costs[kind] = known + (time.monotonic() - began - known) * _LEARNING
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(request, CandlesRequest) and isinstance(answer, Answer):
                self._learn(request, answer.value, began)
        return answers

    def _learn(self, request: CandlesRequest, candles: Sequence[Candle], now: float) -> None:
        """Score a product; by the finest candles there are, since those tell of the present."""
        held, length_s = self._paces.get(request.product_id), request.granularity.seconds
        if held is None or held.is_outdated(now) or length_s <= held.length_s:
            after_s = refresh_after_s(volatility_score(candles), volume_score(candles))
            self._paces[request.product_id] = _Pace(after_s, now, length_s)
