"""One provider with all that stands between it and a question: budget, breaker, single flight, copies."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

import msgspec

from streamer.data.ask import Ask, Found, Value
from streamer.data.holds import hold_of, keep_hold
from streamer.data.origin import ProviderOrigin
from streamer.data.requests import BarsRequest, ListingRequest, PriceRequest, encode_price
from streamer.data.settings import Budget as BudgetSettings
from streamer.errors import (
    NoData,
    NotEntitled,
    RestError,
    RestUnavailable,
    StoreUnavailable,
    StreamerError,
    UnknownSymbol,
)
from streamer.gateway.admission import Admission, Snapshot
from streamer.gateway.gateway import Gateway
from streamer.gateway.limits import Window
from streamer.gateway.requests import Request
from streamer.model import Source, Tier
from streamer.providers.adapter import Adapter, Flow, Limit
from streamer.providers.base import Budget, Call
from streamer.providers.http import HttpClient
from streamer.providers.sessions import room_s
from streamer.providers.shape import AssetClass, Interval, Price, Series, Span
from streamer.settings import owner_name
from streamer.store.connect import Script, Store
from streamer.store.copies import StoredCopy, parse_copy
from streamer.store.keys import Keys

DAY_S: Final = 24 * 3600.0
NEWEST: Final = 300
"""So many bars are fetched and kept where no range is named; fewer where a provider gives fewer at once."""
_UNLIMITED: Final = (Window(10, 1.0),)
"""Where neither plan nor settings name a short window, so that no provider is ever hammered."""

_LONGEST_S: Final = 10
"""No window of a rate is longer."""

_LEARN_AGAIN_S: Final = 600.0
"""A list is not asked for again before, whether it came or not."""

Progress = Callable[[int, int], None]
"""Told how many pieces of a range there are by now, and of how many."""


class Provider:
    """Asks one provider, once for all who ask the same.

    Args:
        store: Redis; stays open when this is closed.
        scope: Whose budget it is, instead of the provider's and its key's own.
        windows: What calls are held to, unless there is an admission for them.
        admission: Gives leave to call, where somebody else of this process calls the same; stays open.

    Attributes:
        held_key: Where all processes keep until when it is not to be asked.
    """

    def __init__(
        self,
        adapter: Adapter,
        windows: Sequence[Window],
        http: HttpClient,
        store: Store,
        keys: Keys,
        *,
        scope: str | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.name, self.title, self.adapter = adapter.name, adapter.title, adapter
        scope = scope or scope_of(adapter)
        self.held_key = keys.gateway(scope, "held")
        self._is_shared = admission is not None
        self.admission = admission or Admission(
            store, keys, {Budget.MARKET: windows}, scope=scope, name=owner_name()
        )
        self._origin = ProviderOrigin(adapter, http, self.admission)
        self._gateway = Gateway(self._origin, store, keys, scope=scope)
        self._store, self._keys = store, keys
        self._store_copy = Script(store, "store_copy")
        self._learned_at, self._outdated_at = -_LEARN_AGAIN_S, math.inf
        self._learning = asyncio.Lock()

    def cannot(self, asset: AssetClass, interval: Interval | None = None) -> str | None:
        """Return why it cannot have what is asked for, None where it may."""
        if asset not in self.adapter.assets:
            return f"it has no symbols of this kind ({asset})"
        if interval is not None and interval not in self.adapter.intervals:
            return f"it has no bars of {interval}"
        if self.adapter.needs_key and not self.adapter.access.key:
            return "no key is set for it"
        return None

    def requests(self, ask: Ask, now_s: int) -> list[Request[Any]]:
        """Return what it takes to answer a question: one request, or the pieces of a range, oldest first.

        Pieces begin at the same times whoever asks, so that they are shared.
        """
        symbol, interval = ask.symbol, ask.interval
        if interval is None:
            return [PriceRequest(self.name, symbol, self._keys.data_copy(self.name, str(symbol), "price"))]
        step_s, most = interval.seconds, self.adapter.most_bars(interval)
        if ask.from_s is None or ask.to_s is None:
            to_s = now_s // step_s * step_s + step_s
            if ask.count <= min(NEWEST, most):
                count = min(NEWEST, most)
                span = Span(to_s - room_s(count, interval, symbol.asset), to_s, count)
                copy = self._keys.data_copy(self.name, str(symbol), interval.value)
                return [BarsRequest(self.name, symbol, interval, span, copy)]
            from_s = to_s - room_s(ask.count, interval, symbol.asset)
        else:
            from_s, to_s = ask.from_s, ask.to_s
        pieces: list[Request[Any]] = []
        at_s = from_s
        while at_s < to_s and not (pieces and at_s > now_s):  # in what is to come there is nothing yet
            start_s, at_s = self.adapter.piece(symbol, interval, at_s, now_s)
            copy = self._keys.data_copy(self.name, str(symbol), f"{interval}:{start_s}:{at_s}")
            span = Span(start_s, at_s, -(-(at_s - start_s) // step_s))
            pieces.append(BarsRequest(self.name, symbol, interval, span, copy))
        return pieces

    async def find(
        self,
        ask: Ask,
        call: Call,
        now_s: int,
        *,
        since: float | None = None,
        max_age_s: float | None = None,
        progress: Progress | None = None,
    ) -> Found[Value]:
        """Return what it has, by calls for whatever no copy has.

        Args:
            since: Monotonic time of the question: what others have been answered since will do; None means now.
            max_age_s: Copies of pieces that are older are not used; a single request is always made.

        Raises:
            RestError: No usable answer; one that stands for a while is told to all processes.
        """
        began = time.monotonic()
        try:
            if not self._knows(ask, now_s) or time.monotonic() >= self._outdated_at:
                await self._learn(call)
            return await self._found(ask, call, now_s, since, max_age_s, progress)
        except StreamerError as exc:
            # What the provider asks for counts from its answer on, and that may have been long in coming.
            await self._hold(exc, int((now_s + time.monotonic() - began) * 1000))
            raise

    def is_foreign(self, copy: StoredCopy) -> bool:
        """Whether a copy is of another maker: made by a simulator that no longer answers in its place."""
        return copy.source != self.name and (copy.source != Source.SIMULATOR or self.adapter.access.url is None)

    async def snapshot(self) -> Snapshot:
        """Return how the calls of all processes stand.

        Raises:
            StoreUnavailable: Redis cannot tell.
        """
        return await self.admission.snapshot()

    async def close(self) -> None:
        """End all that is under way."""
        await self._gateway.close()
        if not self._is_shared:
            await self.admission.close()

    async def take(self, price: Price, source: str) -> bool:
        """Keep a price that was sent to us unasked; say whether it is the newest by now.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        assert price.as_of_ms is not None
        copy = self._keys.data_copy(self.name, str(price.symbol), "price")
        kept = StoredCopy(source, price.as_of_ms, msgspec.Raw(encode_price(price)))
        ttls_ms = (copy.ttl_s * 1000, copy.stale_ttl_s * 1000)
        arguments: list[str | int | bytes] = [kept.encode(), kept.fetched_ms, *ttls_ms]
        return bool(await self._store_copy([copy.key, copy.stale_key], arguments))

    # -- within --------------------------------------------------------------------------------------------------

    def _knows(self, ask: Ask, now_s: int) -> bool:
        """Whether the adapter can put the question, which it cannot where it does not know the symbol."""
        now_ms, request = now_s * 1000, self.requests(ask, now_s)[0]
        flow: Flow[Any] = (
            self.adapter.bars(ask.symbol, request.interval, request.span, now_ms)
            if isinstance(request, BarsRequest)
            else self.adapter.price(ask.symbol, now_ms)
        )
        try:
            next(flow)
        except UnknownSymbol:
            return False
        except RestError:
            pass  # asked in earnest, it says so again
        finally:
            flow.close()
        return True

    async def _learn(self, call: Call) -> None:
        """Read the provider's own list, at most once a day; that of another process where there is one."""
        if (listing := self.adapter.listing()) is None:
            return
        listing.close()
        async with self._learning:  # who comes while it is read waits: else a refusal would be remembered
            if time.monotonic() >= self._learned_at + _LEARN_AGAIN_S:
                await self._read_list(call)
                self._learned_at = time.monotonic()

    async def _read_list(self, call: Call) -> None:
        request = ListingRequest(self.name, self._keys.listing_copy(self.name))
        try:
            client = self._store.client
            clock, raw = (
                await self._store.answer(client.time()),
                await self._store.answer(client.get(request.copy.key)),
            )
            kept = self.kept(request, raw, clock_ms(clock), Tier.CACHE)
            found = kept if kept is not None else await self._fetched(request, call)
        except StreamerError:
            return  # then what we know ourselves has to do
        self.adapter.listed = found.value
        self._outdated_at = time.monotonic() + request.copy.ttl_s - found.age_s

    async def _found(
        self,
        ask: Ask,
        call: Call,
        now_s: int,
        since: float | None,
        max_age_s: float | None,
        progress: Progress | None,
    ) -> Found[Value]:
        requests = self.requests(ask, now_s)
        if len(requests) == 1:
            return await self._fetched(requests[0], call, since)
        kept = await self._pieces_kept(requests, max_age_s)
        parts: list[Found[Series]] = []
        empty: NoData | UnknownSymbol | None = None
        have = 0
        for at, request in enumerate(reversed(requests), 1):
            part = kept.get(request.copy.key)
            try:
                parts.append(part if part is not None else await self._fetched(request, call, since))
            except NoData as exc:  # a range may begin before there was anything
                empty = exc
            except UnknownSymbol as exc:  # as some say it
                if not parts:
                    raise
                empty = exc
            except NotEntitled:
                if not parts:
                    raise
                return joined(parts[::-1], note="the plan refuses older bars")
            else:
                have += _count(parts[-1], ask)
            if progress is not None:
                progress(at, len(requests))
            if have >= ask.count:
                break  # the newest are wanted, and older pieces would be calls for nothing
        if empty is not None and not parts:
            raise empty
        return joined(parts[::-1])

    async def _fetched(self, request: Request[Any], call: Call, since: float | None = None) -> Found[Any]:
        answer = await self._gateway.fetch(request, call, since=since)
        if self.is_foreign(answer.copy):
            raise RestUnavailable(request.what, f"others have {answer.copy.source} answer in its place")
        return Found(answer.value, self.name, Tier.REST, answer.age_s, answer.copy.source)

    async def _pieces_kept(
        self, requests: Sequence[Request[Any]], max_age_s: float | None
    ) -> dict[str, Found[Series]]:
        """Return those pieces of a range that are kept and young enough, by key."""
        try:
            clock = await self._store.answer(self._store.client.time())
            raws = await self._store.answer(self._store.client.mget([request.copy.key for request in requests]))
        except StoreUnavailable:
            return {}
        found = {}
        for request, raw in zip(requests, raws, strict=True):
            part = self.kept(request, raw, clock_ms(clock), Tier.CACHE)
            if part is not None and (max_age_s is None or part.age_s <= max_age_s):
                found[request.copy.key] = part
        return found

    def kept(self, request: Request[Any], raw: object, now_ms: int, tier: Tier) -> Found[Any] | None:
        """Return what a copy has; None where there is none, or it is foreign or damaged."""
        copy = parse_copy(raw)
        if copy is None or self.is_foreign(copy) or copy.fetched_ms > now_ms + 5000:
            return None
        age_s = max(0.0, (now_ms - copy.fetched_ms) / 1000)
        try:
            value = request.parse(bytes(copy.value), self._gateway.time_of(copy))
        except ValueError:
            return None
        if tier is Tier.CACHE and age_s > request.copy.ttl_s:
            tier = Tier.STALE
        return Found(value, self.name, tier, age_s, copy.source)

    async def _hold(self, error: StreamerError, now_ms: int) -> None:
        hold = hold_of(error, now_ms)
        if hold is not None:
            try:
                await keep_hold(self._store, self.held_key, hold, now_ms)
            except StoreUnavailable:
                return  # whoever asks next meets the same error


def clock_ms(reply: tuple[int, int]) -> int:
    """Return the clock of Redis from its reply to TIME."""
    seconds, micros = reply
    return int(seconds) * 1000 + int(micros) // 1000


def _count(part: Found[Series], ask: Ask) -> int:
    """Return how many bars of a piece were asked for."""
    from_s, to_s = ask.from_s or 0, ask.to_s if ask.to_s is not None else math.inf
    return sum(from_s <= bar.start_s < to_s for bar in part.value.bars)


def joined(parts: Sequence[Found[Series]], note: str = "") -> Found[Value]:
    """Return the pieces of a range, oldest first, as one series, as old as the oldest copy of them."""
    first = parts[0]
    notes = dict.fromkeys([*(part.value.note for part in parts), note])
    series = Series(
        first.value.symbol,
        first.value.interval,
        first.value.instrument,
        tuple(bar for part in parts for bar in part.value.bars),
        all(part.value.is_live for part in parts),
        "; ".join(filter(None, notes)),
    )
    was_called = any(part.tier is Tier.REST for part in parts)
    tier = Tier.REST if was_called else max((part.tier for part in parts), key=list(Tier).index)
    return Found(series, first.provider, tier, max(part.age_s for part in parts), first.source)


def windows_of(limits: Sequence[Limit], budget: BudgetSettings) -> tuple[Window, ...]:
    """Return the windows that calls are held to: the plan's, or what the settings say in their place.

    A rate replaces the plan's windows that are shorter than a day, a daily number the one of a day. A rate of 2.5
    means no more than 5 within any 2 s and 3 within one, one of 0.083 no more than 1 within any 12.05 s.
    """
    short = tuple(Window(limit.calls, limit.length_s) for limit in limits if limit.length_s < DAY_S)
    daily = tuple(Window(limit.calls, limit.length_s) for limit in limits if limit.length_s >= DAY_S)
    if budget.rps is not None:
        short = _windows_of_rate(budget.rps)
    if budget.daily is not None:
        daily = (Window(budget.daily, DAY_S),)
    return (*(short or _UNLIMITED), *daily)


def _windows_of_rate(rps: float) -> tuple[Window, ...]:
    """Return the window of whole seconds that comes nearest to a rate and never exceeds it; the shortest such.

    Beside a longer one, a window of one second keeps its calls from coming all at once.
    """
    if rps < 1:
        return (Window(1, 1 / rps),)
    rate = Fraction(str(rps))
    length_s = max(range(1, _LONGEST_S + 1), key=lambda length_s: Fraction(int(rate * length_s), length_s))
    nearest = Window(int(rate * length_s), float(length_s))
    return (nearest,) if length_s == 1 else (Window(math.ceil(rate), 1.0), nearest)


def scope_of(adapter: Adapter) -> str:
    """Return the name of a budget in the keys that all callers share: another key or address has another."""
    access = adapter.access
    whose = f"{access.key} {access.url or ''}".rstrip()
    return f"{adapter.name}-{hashlib.sha256(whose.encode()).hexdigest()[:12]}" if whose else adapter.name
