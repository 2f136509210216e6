"""The tiers below realtime: copies, REST, and at last what is stale. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from streamer.errors import StoreUnavailable, StreamerError, Unavailable, UnknownProduct
from streamer.gateway.requests import Request
from streamer.model import Reading, Tier
from streamer.reader.facts import FeedFacts, Parser
from streamer.reader.freshness import choose
from streamer.reader.steps import Ask, Fetch, Plan
from streamer.reader.wire import Lookup
from streamer.store.copies import StoredCopy, parse_copy
from streamer.store.keys import Keys
from streamer.store.raw import Command

T = TypeVar("T")

CLOCK: Command = ("TIME",)
_MOST_COPIES = 500
_AHEAD_MS = 5000
"""A copy that is further ahead of the clock of Redis has no age: that clock went back, or somebody made it up."""


@dataclass(slots=True)
class Item(Generic[T]):
    """Something that is not realtime, and what the other tiers say of it.

    Attributes:
        key: What the caller asked for.
        stream: What the stream had, judged; None where it had nothing.
        why: Why that will not do.
        more: Commands for what else the stream has left, and how their replies are read.
        slots: What was found as shadow, as fresh and as stale copy.
        outage: Why Redis could not be asked for copies, None where it could.
        blend: Makes a better reading of a copy and what the stream had, where that can be done.
    """

    key: Any
    request: Request[T]
    stream: Reading[T] | None
    why: str
    more: Sequence[Command] = ()
    read_more: Callable[[FeedFacts, Sequence[Any]], Reading[T] | None] | None = None
    blend: Callable[[StoredCopy, Reading[T]], Reading[T] | None] | None = None
    found: list[Reading[T]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    slots: list[Reading[T] | None] = field(default_factory=lambda: [None, None, None])
    outage: StoreUnavailable | None = None

    @property
    def what(self) -> str:
        """Name it."""
        return self.request.what


class Tiers:
    """Serves what the stream could not.

    Attributes:
        served: Readings served, by kind and tier; what could not be served counts as tier "none".
        copied: Keys of the copies that were read since somebody last looked, and when (monotonic).
        parser: Reads hashes, and counts those that are damaged.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.parser = Parser()
        self.served: Counter[tuple[str, str]] = Counter()
        self.copied: dict[str, float] = {}
        self._understood_before: dict[str, tuple[Any, StoredCopy, Any]] = {}

    def one(self, item: Item[T], ask: Ask) -> Plan[Reading[T]]:
        """Serve one thing, or raise why not."""
        answers, missing = yield from self.below([item], ask)
        if item.key in missing:
            raise missing[item.key]
        return answers[item.key]

    def below(
        self, items: Sequence[Item[T]], ask: Ask
    ) -> Plan[tuple[dict[Any, Reading[T]], dict[Any, StreamerError]]]:
        """Serve what the stream could not: from a copy, over REST, or at last what is stale."""
        for item in items:
            item.said["realtime"] = item.why
            if item.stream is not None:
                item.found.append(item.stream)
        yield from self.look_for_copies(items, ask)
        answers: dict[Any, Reading[T]] = {}
        missing: dict[Any, StreamerError] = {}
        for item in items:
            if (chosen := choose(item.found, ask.bounds)) is not None:
                answers[item.key] = chosen
        open_items = [item for item in items if item.key not in answers]
        if open_items:
            errors = yield from self._call(open_items, ask)
            for item in open_items:
                chosen = choose(item.found, ask.bounds, at_last=True)
                error = errors.get(item.key)
                if isinstance(error, UnknownProduct):
                    missing[item.key] = error
                elif chosen is not None:
                    answers[item.key] = chosen if error is None else replace(chosen, reason=_both(chosen, error))
                else:
                    missing[item.key] = unavailable = Unavailable(item.what, item.said)
                    unavailable.__cause__ = item.outage  # an outage is no miss: who asks can tell
        self._count(items, answers, ask)
        return answers, missing

    def _count(self, items: Sequence[Item[T]], answers: Mapping[Any, Reading[T]], ask: Ask) -> None:
        for item in items:
            served = answers.get(item.key)
            self.served[item.request.kind, "none" if served is None else served.tier.value] += 1
            is_copied = served is not None and served.tier is not Tier.REALTIME and ask.demand
            if is_copied and (len(self.copied) < _MOST_COPIES or item.request.copy.key in self.copied):
                self.copied[item.request.copy.key] = ask.since

    def look_for_copies(self, items: Sequence[Item[T]], ask: Ask) -> Plan[None]:
        """Find what the stream has left and what is kept of REST's answers."""
        commands: list[Command] = [CLOCK, ("HGETALL", self._keys.feeds)]
        for item in items:
            commands += [*item.more, ("GET", item.request.copy.key), ("GET", item.request.copy.stale_key)]
        try:
            clock, feeds, *replies = yield Lookup(commands)
        except StoreUnavailable as exc:
            for item in items:
                item.said["cache"], item.outage = str(exc), exc
            return
        facts, at = self.parser.facts(clock, feeds), 0
        for item in items:
            more, at = replies[at : at + len(item.more)], at + len(item.more)
            if item.read_more is not None and (shadow := item.read_more(facts, more)) is not None:
                item.found.append(shadow)
                item.slots[0] = shadow
            self._take_copies(item, facts, replies[at], replies[at + 1], ask)
            at += 2

    def _take_copies(self, item: Item[T], facts: FeedFacts, fresh: Any, stale: Any, ask: Ask) -> None:
        item.said["cache"] = "no copy"
        for slot, raw, tier in ((1, fresh, Tier.CACHE), (2, stale, Tier.STALE)):
            if raw is None:
                continue
            kept = self._understood(item.request, raw)
            if kept is None or kept[0].fetched_ms - facts.now_ms > _AHEAD_MS:
                self.parser.damaged += 1
                item.said["cache"] = "a damaged copy"
                continue
            copy, value = kept
            found = self._copy_reading(item, copy, value, facts.now_ms, tier)
            if (why := ask.bounds.why_not(found)) is not None:
                item.said["cache"] = why
            item.found.append(found)
            item.slots[slot] = found
            blend = item.blend(copy, found) if item.blend is not None else None
            if blend is not None:
                item.found.append(blend)

    def _understood(self, request: Request[T], raw: Any) -> tuple[StoredCopy, T] | None:
        """Return a copy and what it means, None where it is damaged; the same copy is read once."""
        key = request.copy.key
        held = self._understood_before.get(key)
        if held is not None and held[0] == raw:
            return held[1], held[2]
        copy = parse_copy(raw)
        if copy is None:
            return None
        try:
            value = request.parse(bytes(copy.value), _time_of(copy))
        except ValueError:
            return None
        if len(self._understood_before) >= _MOST_COPIES:
            self._understood_before.clear()
        self._understood_before[key] = raw, copy, value
        return copy, value

    def _copy_reading(self, item: Item[T], copy: StoredCopy, value: T, now_ms: int, tier: Tier) -> Reading[T]:
        age_s = max(0.0, (now_ms - copy.fetched_ms) / 1000)
        where = item.request.copy
        if tier is Tier.CACHE and age_s > where.ttl_s and not item.request.is_kept_by_stream:
            tier = Tier.STALE  # it outlives its time: somebody has meddled with its expiry
        return _reading_of(value, copy, age_s, tier, item.why)

    def _call(self, items: Sequence[Item[T]], ask: Ask) -> Plan[dict[Any, StreamerError]]:
        """Ask REST for all; return what went wrong."""
        if not ask.rest:
            for item in items:
                item.said["rest"] = "not asked for"
            return {}
        answers = yield Fetch([item.request for item in items], ask.call, ask.since)
        errors: dict[Any, StreamerError] = {}
        for item, answer in zip(items, answers, strict=True):
            if isinstance(answer, StreamerError):
                errors[item.key] = answer
                item.said["rest"] = str(answer)
                continue
            found = _reading_of(answer.value, answer.copy, answer.age_s, Tier.REST, item.why)
            item.said["rest"] = ask.bounds.why_not(found) or "served"
            item.found.append(found)
        return errors


def _reading_of(value: T, copy: StoredCopy, age_s: float, tier: Tier, why: str) -> Reading[T]:
    return Reading(value, tier, age_s, age_s, _time_of(copy), copy.source, why)


def _both(found: Reading[Any], error: StreamerError) -> str:
    """Return why a reading is not better: what was wrong with the stream, and why REST was no help."""
    return "; ".join(filter(None, (found.reason, str(error))))


def _time_of(copy: StoredCopy) -> datetime:
    return datetime.fromtimestamp(copy.fetched_ms / 1000, UTC)


def why_not(found: Reading[Any] | None, ask: Ask) -> str | None:
    """Return why what the stream has will not do as realtime, None where it will."""
    if found is None:
        return None
    if found.tier is not Tier.REALTIME:
        return found.reason
    return ask.bounds.why_not(found)


def passed_over(found: Reading[Any] | None, served: Reading[Any] | None, ask: Ask) -> str | None:
    """Return why a reading is not the one that is served, None where it is."""
    if found is None:
        return "nothing there that can be read"
    if found is served:
        return None
    if (why := ask.bounds.why_not(found)) is not None:
        return why
    if served is not None and served.tier is Tier.REALTIME:
        return "a better one is there"
    if found.tier is Tier.STALE:
        return found.reason or "stale: only where nothing else is to be had"
    return "a better one is there" if served is not None else "the stream vouched for a newer value"
