"""Answers from several providers: the first choice where it can, else the next, and every answer tells its story.

manager.price("BTC-USDT")                    # Served: value, provider, tier, ages, story
manager.price("BTC-USD", verify=True)        # several are asked and held against one another
manager.bars("SPY", Interval.D1, count=100)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from streamer.data.ask import Ask, Found, Served, Value, stand_in, traded_until_s
from streamer.data.holds import Hold, parse_hold
from streamer.data.provider import Progress, Provider, clock_ms
from streamer.data.race import race
from streamer.data.settings import DataSettings
from streamer.data.story import Fate, Story
from streamer.data.verification import FRESH_S, Verification, ask_around
from streamer.errors import NoData, StoreUnavailable, StreamerError, Unavailable, UnknownSymbol
from streamer.model import Priority, Tier
from streamer.providers.base import Call
from streamer.providers.shape import Bar, Price, Series, Symbol
from streamer.store.connect import Store

DELAYED_S: Final = 3600.0
"""What is not live may be so old, and is still worth more than asking the next one."""
_LOOKS_AT_ONCE: Final = 4
"""The pool of connections is small, and one more than it holds would look like Redis away."""
_AWAY_S: Final = 0.5
"""For so long Redis is not asked again after it did not answer: each who asks would wait for its deadline."""
_HAS_NONE: Final = frozenset({UnknownSymbol.__name__, NoData.__name__})
"""How providers say that they do not have a symbol; some know it only as one without a price."""
_ASK_AGAIN_S: Final = 30.0
"""A live price that came late from its provider is not asked for anew before: the calls of a day are few."""
_SCORE_STEP: Final = 10
"""Scores that differ by less do not change the order."""


@dataclass(frozen=True, slots=True)
class How:
    """How an answer is wanted.

    Attributes:
        provider: Only this one is asked; it may then answer with a symbol that stands in for the one asked for.
        max_age_s: Nothing that was known to be so longer ago is served.
        timeout_s: None means the setting.
        caller: Who asks, for the statistics.
        progress: Told of the pieces of a long range.
    """

    provider: str | None = None
    max_age_s: float | None = None
    timeout_s: float | None = None
    priority: Priority = Priority.MARKET_DATA
    caller: str = ""
    progress: Progress | None = None


@dataclass(slots=True)
class _Look:
    """What Redis has before anyone is asked.

    Attributes:
        at: Monotonic time, of ours, before it was asked.
    """

    at: float
    now_ms: int
    fresh: dict[str, Found[Value]] = field(default_factory=dict)
    stale: dict[str, Found[Value]] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    outage: StoreUnavailable | None = None


class Manager:
    """Asks providers in order, and goes back to the first as soon as it can answer.

    Args:
        providers: By name; those that the order does not name are asked only where they are asked for.
        heard: Told of every answer and failure, for scores and alerts: provider, question, and what came of it.
        scores: Returns the quality of a provider for a symbol, None where unknown; for `providers_by_score`.
        compared: Told of every verification.
    """

    def __init__(
        self,
        store: Store,
        settings: DataSettings,
        providers: Mapping[str, Provider],
        *,
        heard: Callable[[str, Ask, Found[Any] | StreamerError], None] = lambda name, ask, outcome: None,
        scores: Callable[[str, Symbol], float | None] = lambda name, symbol: None,
        compared: Callable[[Verification], None] = lambda checked: None,
    ) -> None:
        self.providers, self.settings = providers, settings
        self._store, self._heard, self._scores, self._compared = store, heard, scores, compared
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._outage: StoreUnavailable | None = None
        self._away_until = 0.0

    async def ask(self, ask: Ask, how: How) -> Served[Any]:
        """Return an answer to one question.

        Raises:
            Unavailable: Nobody has anything that may be served; `tiers` says why, provider by provider.
            UnknownSymbol: Nobody who was asked has such a symbol.
        """
        story = Story()
        served = await self._answered(ask, how, story)
        has_none = bool(story.steps) and story.steps[-1].error in _HAS_NONE
        if served is None and how.provider is not None and has_none and (near := stand_in(ask.symbol)):
            served = await self._answered(ask.of(near), how, story)
        if served is None:
            raise _nobody(ask, story)
        return self._served(served, ask, story)

    async def verify(self, ask: Ask, how: How) -> tuple[Served[Any], Verification]:
        """Return an answer that several providers were asked for, and what they say.

        It is of the first in order that is not known to be wrong: three that agree make that known, two do not.

        Raises:
            Unavailable: None of them answers.
        """
        story = Story()
        names = self._candidates(ask, how, story)
        if how.provider is not None:
            others = self._candidates(ask, How(), Story())
            names = [*names, *(name for name in others if name not in names)]
        story.order = tuple(names)
        look = await self._look(names, ask)
        near = stand_in(ask.symbol)
        look_near = await self._look(names, ask.of(near)) if near is not None else look
        names = self._not_held(names, look, story)
        timeout_s = how.timeout_s if how.timeout_s is not None else self.settings.data_timeout_s
        call = Call(how.priority, time.monotonic() + timeout_s, how.caller)
        fresh_s = FRESH_S if how.max_age_s is None else min(FRESH_S, how.max_age_s)

        async def find(name: str, asked: Ask) -> Found[Any]:
            fresh = (look if asked is ask else look_near).fresh.get(name)
            if fresh is not None and fresh.age_s <= fresh_s:
                return fresh
            return await self._find(name, asked, call, look, how)

        tolerance_bp = Decimal(str(self.settings.data_suspect_bp))
        spare: list[Found[Any]] = []
        checked = await ask_around(
            names,
            ask,
            find,
            lambda found: self._why_stale(found, how, look.now_ms),
            timeout_s=timeout_s,
            tolerance_bp=tolerance_bp,
            story=story,
            spare=spare,
        )
        chosen = None
        for name, found in checked.found.items():
            if not checked.is_believed(name):
                agreement = checked.of(name)
                assert agreement is not None
                off = f"{agreement.deviation_bp[name]:+.0f} bp from the median of the others: not believed"
                story.tell(name, Fate.PASSED_OVER, off)
            elif chosen is None and (found.value.symbol == ask.symbol or how.provider == name):
                story.tell(name, Fate.SERVED, found.tier.value)
                chosen = found
        self._compared(checked)
        if chosen is None:
            chosen = self._at_last([found for found in spare if found.value.symbol == ask.symbol], how, story)
        if chosen is None:
            raise _nobody(ask, story)
        return self._served(chosen, ask, story), checked

    # -- one question --------------------------------------------------------------------------------------------

    async def _find(
        self, name: str, ask: Ask, call: Call, look: _Look, how: How, heard: Callable[[], None] = lambda: None
    ) -> Found[Any]:
        """Ask one provider, and let those who keep scores know how it went; `heard` is told of each piece."""

        def progress(at: int, of: int) -> None:
            heard()
            if how.progress is not None:
                how.progress(at, of)

        try:
            found = await self.providers[name].find(
                ask, call, look.now_ms // 1000, since=look.at, max_age_s=how.max_age_s, progress=progress
            )
        except StreamerError as exc:
            self._heard(name, ask, exc)
            raise
        self._heard(name, ask, found)
        return found

    async def _answered(self, ask: Ask, how: How, story: Story) -> Found[Any] | None:
        names = self._candidates(ask, how, story)
        if not names:
            return None
        story.order = tuple(names)
        now = time.monotonic()
        timeout_s = how.timeout_s if how.timeout_s is not None else self.settings.data_timeout_s
        look = await self._look(names, ask)
        spare: list[Found[Any]] = list(look.stale.values())
        call = Call(how.priority, now + timeout_s, how.caller)
        open_names = self._not_held(names, look, story)

        async def find(name: str, heard: Callable[[], None]) -> Found[Any]:
            fresh = look.fresh.get(name)
            if fresh is not None and self._stands(fresh, how, look.now_ms):
                return fresh
            return await self._find(name, ask, call, look, how, heard)

        is_urgent = how.priority is Priority.TRADING
        found = await race(
            open_names,
            find,
            lambda found: self._why_not(found, how, look.now_ms),
            patience_s=self.settings.data_hedge_s if is_urgent else self.settings.data_patience_s,
            deadline=now + timeout_s,
            story=story,
            spare=spare,
        )
        return found if found is not None else self._at_last(spare, how, story)

    def _candidates(self, ask: Ask, how: How, story: Story) -> list[str]:
        asset = ask.symbol.asset
        if how.provider is not None:
            names: Sequence[str] = [how.provider]
        else:
            names = [name for name in self.settings.order(asset) if name in self.providers]
            if self.settings.providers_by_score:
                names = sorted(names, key=lambda name: -self._rank(name, ask.symbol))
        able = []
        for name in names:
            why = self.providers[name].cannot(asset, ask.interval)
            if why is None:
                able.append(name)
            else:
                story.tell(name, Fate.LEFT_OUT, why)
        return able

    def _rank(self, name: str, symbol: Symbol) -> int:
        score = self._scores(name, symbol)
        return 100 // _SCORE_STEP if score is None else int(score // _SCORE_STEP)

    def _not_held(self, names: Sequence[str], look: _Look, story: Story) -> list[str]:
        """Return those that may be asked; the story tells of the others, and of Redis where it could not say."""
        story.outage = look.outage.why if look.outage is not None else ""
        for name, hold in look.holds.items():
            left_s = (hold.until_ms - look.now_ms) / 1000
            story.tell(name, Fate.LEFT_OUT, f"not asked for {left_s:.0f} s more: {hold.why}", error=hold.kind)
        return [name for name in names if name not in look.holds]

    async def _look(self, names: Sequence[str], ask: Ask) -> _Look:
        """See what Redis has, in one round trip."""
        at, now_s = time.monotonic(), int(time.time())
        requests = {name: self.providers[name].requests(ask, now_s) for name in names}
        single = {name: pieces[0] for name, pieces in requests.items() if len(pieces) == 1}
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.mget([self.providers[name].held_key for name in names])
        for request in single.values():
            pipeline.mget([request.copy.key, request.copy.stale_key])
        async with self._looks:
            if self._outage is None or time.monotonic() >= self._away_until:
                try:
                    clock, holds, *copies = await self._store.answer(pipeline.execute())
                    self._outage = None
                except StoreUnavailable as exc:
                    self._outage, self._away_until = exc, time.monotonic() + _AWAY_S
            if self._outage is not None:
                return _Look(at, int(time.time() * 1000), outage=self._outage)
        look = _Look(at, clock_ms(clock))
        for name, raw in zip(names, holds, strict=True):
            if (hold := parse_hold(raw, look.now_ms)) is not None:
                look.holds[name] = hold
        for (name, request), (fresh, stale) in zip(single.items(), copies, strict=True):
            provider = self.providers[name]
            for raw, tier, kept in ((fresh, Tier.CACHE, look.fresh), (stale, Tier.STALE, look.stale)):
                if (found := provider.kept(request, raw, look.now_ms, tier)) is not None:
                    kept[name] = found
        return look

    def _stands(self, fresh: Found[Any], how: How, now_ms: int) -> bool:
        """Whether a copy is as good as what its provider would answer now, be that good enough or not."""
        if how.max_age_s is not None and fresh.age_s > how.max_age_s:
            return False
        is_late_by_plan = not fresh.value.is_live
        return is_late_by_plan or fresh.age_s <= _ASK_AGAIN_S or self._why_not(fresh, how, now_ms) is None

    def _why_not(self, found: Found[Any], how: How, now_ms: int) -> str | None:
        """Return why an answer will not do, None where it will."""
        value = found.value
        if (why := self._why_stale(found, how, now_ms)) is not None or not isinstance(value, Price):
            return why
        if value.is_live or found.tier is Tier.REALTIME:
            return None
        if value.as_of_ms is None:
            return "not live, and of an unknown time"
        return None if late_s(found, now_ms) <= DELAYED_S else "of the last close: another one may be newer"

    def _why_stale(self, found: Found[Any], how: How, now_ms: int) -> str | None:
        """Return why an answer is older than its kind may be, None where it is not."""
        if how.max_age_s is not None and found.age_s > how.max_age_s:
            return f"{found.age_s:.1f} s old"
        if found.tier is Tier.STALE:
            return f"stale: {found.why}" if found.why else "stale"
        value = found.value
        if not isinstance(value, Price) or value.as_of_ms is None or not value.is_live:
            return None
        if found.tier is Tier.REALTIME:  # a quiet product is not a stale one
            return None
        age_s = late_s(found, now_ms)
        if age_s <= self.settings.data_max_value_age_s:
            return None
        return f"stale data: its provider stamped it {age_s:.0f} s before it came"

    def _at_last(self, spare: Sequence[Found[Any]], how: How, story: Story) -> Found[Any] | None:
        """Return the least old of what would not do, where it may be served at all."""
        allowed = [found for found in spare if how.max_age_s is None or found.age_s <= how.max_age_s]
        if not allowed:
            return None
        best = min(allowed, key=_oldness)
        is_stale = best.tier is Tier.STALE or best.value.is_live
        tier = Tier.STALE if is_stale else best.tier
        story.tell(best.provider, Fate.SERVED, f"{tier}: nobody has anything better")
        return Found(best.value, best.provider, tier, best.age_s, best.source, best.why)

    # -- the answer ----------------------------------------------------------------------------------------------

    def _served(self, found: Found[Any], ask: Ask, story: Story) -> Served[Any]:
        value, reasons = found.value, []
        if isinstance(value, Series):
            value = cut(value, ask)
            found = Found(value, found.provider, found.tier, found.age_s, found.source, found.why)
        if value.symbol != ask.symbol:
            reasons.append(f"{value.symbol} stands in for {ask.symbol}: it is not the same")
        if (first := story.forerunner(found.provider)) is not None:
            reasons.append(f"{first.provider} {'comes' if first.is_held else 'was asked'} first: {first.why}")
        if story.outage:
            reasons.append(f"without Redis, and what others have asked: {story.outage}")
        if found.why or found.tier is Tier.STALE:
            reasons.append(found.why or "stale: nobody has anything better")
        if not value.is_live:
            reasons.append("not live: delayed, or of the last close")
        if value.note:
            reasons.append(value.note)
        title = self.providers[found.provider].title
        return Served(ask.symbol, found, title, value_age_s(found), "; ".join(reasons) or None, story)


def late_s(found: Found[Price], now_ms: int) -> float:
    """Return how old a price was when it came; while its market is closed, how far it was from the last trade."""
    price = found.value
    assert price.as_of_ms is not None
    return traded_until_s(price.symbol.asset, now_ms / 1000 - found.age_s) - price.as_of_ms / 1000


def _nobody(ask: Ask, story: Story) -> StreamerError:
    """Return why there is no answer: nobody knows the symbol, or nobody can answer."""
    asked = [step for step in story.steps if step.fate is not Fate.LEFT_OUT]
    if asked and all(step.error == UnknownSymbol.__name__ for step in asked):
        return UnknownSymbol("data symbol", f"none of the providers asked has {ask.symbol}")
    return Unavailable(ask.what, story.tiers or {"providers": "none is set for such symbols"})


def _oldness(found: Found[Any]) -> tuple[bool, float]:
    """What is stale is older than what is not, and what has no time older than what has one."""
    age_s = value_age_s(found)
    return found.tier is Tier.STALE, math.inf if age_s is None else age_s


def value_age_s(found: Found[Any]) -> float | None:
    """Return how long ago the provider stamped a price, None where it did not; of bars when the last one began."""
    value = found.value
    if isinstance(value, Price):
        return None if value.as_of_ms is None else max(0.0, time.time() - value.as_of_ms / 1000)
    return max(0.0, time.time() - value.bars[-1].start_s) if value.bars else None


def cut(series: Series, ask: Ask) -> Series:
    """Return the bars that were asked for: what is fetched and kept is more."""
    bars: Sequence[Bar] = series.bars
    if ask.from_s is not None and ask.to_s is not None:
        bars = [bar for bar in bars if ask.from_s <= bar.start_s < ask.to_s]
    bars = tuple(bars[-ask.count :])
    return Series(series.symbol, series.interval, series.instrument, bars, series.is_live, series.note)
