"""How each kind of data is read: which keys, in what order of trust, and what is said where nothing will do. Pure.

The first lookup of a plan is the hot path: the realtime hashes, the proof of life of the feeds and the clock. Only
what is not realtime costs a second one (shadow and copies), and only what is not there either costs REST.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from streamer.errors import StoreUnavailable, StreamerError
from streamer.gateway.breakdown import AS_DOLLAR, DOLLAR
from streamer.gateway.requests import CandlesRequest, Requests
from streamer.model import (
    CANDLE_S,
    Account,
    Answers,
    Balance,
    Candle,
    Explanation,
    Granularity,
    PortfolioBreakdown,
    Product,
    ProductId,
    Reading,
    Snapshot,
    Ticker,
    Tier,
    TierSays,
)
from streamer.reader.candles import candles_reading, extended, reaches_back
from streamer.reader.facts import FeedFacts, as_text, names
from streamer.reader.freshness import balance_reading, choose, reading
from streamer.reader.steps import Ask, Plan, together
from streamer.reader.tiers import CLOCK, Item, Tiers, passed_over, why_not
from streamer.reader.wallets import accounts_of, balances_of, each_missing, worth
from streamer.reader.wire import Lookup
from streamer.store.candle_records import StoredCandles
from streamer.store.copies import StoredCopy
from streamer.store.keys import Keys
from streamer.store.raw import Command
from streamer.store.records import StoredBalance, StoredTicker

T = TypeVar("T")

_MOST_LOOKUPS = 256
_MOST_PICKED = 300
"""Buckets; of the 350 that are kept, so many or more are read as quickly all at once."""
_NOT_STREAMED = "it is not streamed"


class Plans:
    """Makes the plans of one reader.

    Attributes:
        stale_after_s: Oldest proof of life of a feed whose values still count as realtime.
        told: What of `served` all have been told, under the names of their counters.
        read: Products that were read since somebody last looked.
        missing: Those of them that the stream does not have, though they exist.
        extended: Candles that the stream continued from a copy, and when they were asked for, by the copy's key:
            worth keeping in its place.
        served: Readings served, by kind and tier; what could not be served counts as tier "none".
        copied: Keys of the copies that were read since somebody last looked, and when (monotonic).
        parser: Reads hashes, and counts those that are damaged.
    """

    def __init__(self, keys: Keys, *, stale_after_s: float) -> None:
        self._keys, self.stale_after_s = keys, stale_after_s
        self.requests = Requests(keys)
        self._tiers = Tiers(keys)
        self.parser, self.served, self.copied = self._tiers.parser, self._tiers.served, self._tiers.copied
        self.told: Counter[str] = Counter()
        self.read: set[ProductId] = set()
        self.missing: set[ProductId] = set()
        self.extended: dict[str, tuple[CandlesRequest, Reading[tuple[Candle, ...]], float]] = {}
        self._lookups: dict[tuple[ProductId, ...], Lookup] = {}
        self._candle_lookups: dict[tuple[ProductId, Sequence[str] | None], Lookup] = {}
        self._fields: tuple[tuple[int, int], Sequence[str]] | None = None
        self._clock: tuple[float, float] | None = None
        self._currencies: frozenset[str] = frozenset()

    # -- tickers -------------------------------------------------------------------------------------------------

    def ticker(self, product_id: ProductId, ask: Ask) -> Plan[Reading[Ticker]]:
        """Read one ticker."""
        return (yield from self.tickers((product_id,), ask))[product_id]

    def tickers(self, product_ids: Sequence[ProductId], ask: Ask) -> Plan[Answers[ProductId, Ticker]]:
        """Read tickers."""
        wanted = tuple(dict.fromkeys(product_ids))
        self.read.update(wanted)
        realtime: dict[ProductId, Reading[Ticker]] = {}
        items: list[Item[Ticker]] = []
        try:
            replies = yield self._ticker_lookup(wanted)
        except StoreUnavailable as exc:
            items = [self._ticker_item(product_id, None, str(exc)) for product_id in wanted]
        else:
            facts = self.parser.facts(replies[0], replies[1])
            for product_id, raw in zip(wanted, replies[2:], strict=True):
                stored = self.parser.ticker(raw, product_id)
                found = None if stored is None else self._judged(stored, facts)
                why = why_not(found, ask)
                if why is None and found is not None:
                    realtime[product_id] = found
                else:
                    items.append(self._ticker_item(product_id, found, why or _NOT_STREAMED))
        self.served["ticker", "realtime"] += len(realtime)
        if not items:
            return Answers(realtime, {})
        answers, missing = yield from self._tiers.below(items, ask)
        if ask.demand:
            self.missing.update(item.key for item in items if item.stream is None and item.key in answers)
        served = realtime | answers
        return Answers({p: served[p] for p in wanted if p in served}, missing)

    def explain(self, product_id: ProductId, ask: Ask) -> Plan[Explanation]:
        """Say what each tier has of a ticker, and what is served of it; REST is not asked.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        replies = yield self._ticker_lookup((product_id,))
        facts = self.parser.facts(replies[0], replies[1])
        stored = self.parser.ticker(replies[2], product_id)
        stream = None if stored is None else self._judged(stored, facts)
        item = self._ticker_item(product_id, stream, why_not(stream, ask) or _NOT_STREAMED)
        yield from self._tiers.look_for_copies([item], ask)
        found = [*item.found, *([stream] if stream is not None else [])]
        served = choose(found, ask.bounds, at_last=not ask.rest)
        shadow, cache, stale = item.slots
        copy = item.request.copy
        places = (
            (self._keys.ticker(product_id), stream),
            (copy.key, cache),
            (self._keys.ticker_stale(product_id), shadow),
            (copy.stale_key, stale),
        )
        tiers = tuple(TierSays(where, found, passed_over(found, served, ask)) for where, found in places)
        return Explanation(item.what, tiers, served)

    def _ticker_lookup(self, wanted: tuple[ProductId, ...]) -> Lookup:
        lookup = self._lookups.get(wanted)
        if lookup is None:
            hashes = [("HGETALL", self._keys.ticker(product_id)) for product_id in wanted]
            lookup = Lookup([CLOCK, ("HGETALL", self._keys.feeds), *hashes])
            if len(self._lookups) >= _MOST_LOOKUPS:
                self._lookups.clear()
            self._lookups[wanted] = lookup
        return lookup

    def ticker_state(self, wanted: Sequence[ProductId]) -> Lookup:
        """Return the lookup of all that the stream has of tickers: the hash and its shadow for each."""
        keys = [key for p in wanted for key in (self._keys.ticker(p), self._keys.ticker_stale(p))]
        return Lookup([CLOCK, ("HGETALL", self._keys.feeds), *(("HGETALL", key) for key in keys)])

    def _ticker_item(self, product_id: ProductId, found: Reading[Ticker] | None, why: str) -> Item[Ticker]:
        def shadow(facts: FeedFacts, replies: Sequence[Any]) -> Reading[Ticker] | None:
            stored = self.parser.ticker(replies[0], product_id)
            return None if stored is None else self._judged(stored, facts, is_shadow=True)

        command: Command = ("HGETALL", self._keys.ticker_stale(product_id))
        return Item(product_id, self.requests.ticker(product_id), found, why, (command,), shadow)

    def _judged(self, stored: StoredTicker, facts: FeedFacts, *, is_shadow: bool = False) -> Reading[Ticker]:
        life = facts.lives.get(stored.feed)
        return reading(stored, life, facts.now_ms, self.stale_after_s, is_shadow=is_shadow)

    # -- balances ------------------------------------------------------------------------------------------------

    def _streamed_balances(
        self, *, also_shadows: bool
    ) -> Plan[tuple[FeedFacts, dict[str, Reading[Balance] | None]]]:
        """Read what the stream has of every currency; None where what it had is gone or damaged.

        One round trip, two where currencies have come since the last call.
        """
        asked: set[str] = set()
        found: dict[str, Reading[Balance] | None] = {}
        while True:
            known = self._currencies  # once: another thread may learn of more in between
            new = sorted(known - asked)
            asked |= known
            commands: list[Command] = [CLOCK, ("HGETALL", self._keys.feeds), ("SMEMBERS", self._keys.currencies)]
            for currency in new:
                commands.append(("HGETALL", self._keys.balance(currency)))
                commands.append(("HGETALL", self._keys.balance_stale(currency)))
            clock, feeds, members, *hashes = yield Lookup(commands)
            facts = self.parser.facts(clock, feeds)
            for i, currency in enumerate(new):
                found[currency] = self._balance(facts, hashes[2 * i], hashes[2 * i + 1] if also_shadows else None)
            self._currencies = members_now = names(members)
            if members_now <= asked:
                return facts, {currency: found.get(currency) for currency in sorted(members_now)}

    def _balance(self, facts: FeedFacts, raw: Any, shadow: Any) -> Reading[Balance] | None:
        for reply, is_shadow in ((raw, False), (shadow, True)):
            stored = self.parser.parsed(StoredBalance, reply)
            if stored is not None:
                life = facts.lives.get(stored.feed)
                return balance_reading(stored, life, facts.now_ms, self.stale_after_s, is_shadow=is_shadow)
        return None

    def balances(self, ask: Ask) -> Plan[Answers[str, Balance]]:
        """Read the balance of every currency."""
        streamed: Mapping[str, Reading[Balance] | None] = {}
        why = "no balances are streamed"
        try:
            _, streamed = yield from self._streamed_balances(also_shadows=True)
        except StoreUnavailable as exc:
            why = str(exc)
        fit = {c: r for c, r in streamed.items() if r is not None and why_not(r, ask) is None}
        if streamed and len(fit) == len(streamed):
            self.served["balance", "realtime"] += len(fit)
            return Answers(fit, {})
        for currency, found in streamed.items():
            if currency not in fit:
                why = f"{currency}: {why_not(found, ask) or 'what the stream had is gone'}"
                break
        item = Item(None, self.requests.accounts(), accounts_of(streamed), why)
        answers, missing = yield from self._tiers.below([item], ask)
        if None in missing:
            return Answers(fit, each_missing(streamed, fit, missing[None]))
        held = {c: r for c, r in streamed.items() if r is not None and ask.bounds.why_not(r) is None}
        return Answers(balances_of(answers[None], held, fit), {})

    def accounts(self, ask: Ask) -> Plan[Reading[tuple[Account, ...]]]:
        """Read all wallets."""
        found, why = None, "no balances are streamed"
        try:
            _, streamed = yield from self._streamed_balances(also_shadows=True)
            found = accounts_of(streamed)
            why = why_not(found, ask) or why
        except StoreUnavailable as exc:
            why = str(exc)
        if found is not None and why_not(found, ask) is None:
            self.served["accounts", "realtime"] += 1
            return found
        return (yield from self._tiers.one(Item(None, self.requests.accounts(), found, why), ask))

    def breakdown(self, uuid: str, ask: Ask) -> Plan[Reading[PortfolioBreakdown]]:
        """Read what the portfolio is worth and made of."""
        found: Reading[PortfolioBreakdown] | None = None
        why = "no balances are streamed"
        try:
            _, streamed = yield from self._streamed_balances(also_shadows=False)
            if (accounts := accounts_of(streamed)) is not None:
                prices = yield from self._prices(accounts.value, ask)
                found = worth(accounts, prices, uuid)
                why = why_not(found, ask) or why
                if found.value.unpriced:
                    why = f"no realtime price of {', '.join(found.value.unpriced)}"
        except StoreUnavailable as exc:
            why = str(exc)
        if found is not None and not found.value.unpriced and why_not(found, ask) is None:
            self.served["portfolio_breakdown", "realtime"] += 1
            return found
        stream = found if found is not None and not found.value.unpriced else None
        return (yield from self._tiers.one(Item(None, self.requests.breakdown(uuid), stream, why), ask))

    def _prices(self, accounts: Collection[Account], ask: Ask) -> Plan[dict[str, Reading[Ticker]]]:
        held = [a.currency for a in accounts if a.available + a.hold and a.currency not in (DOLLAR, *AS_DOLLAR)]
        ids = [ProductId(f"{asset}-{DOLLAR}") for asset in held]
        if not ids:
            return {}
        answers = yield from self.tickers(ids, ask.without_rest())
        return {product_id.rpartition("-")[0]: found for product_id, found in answers.items()}

    # -- candles and products ------------------------------------------------------------------------------------

    def candles(
        self, product_id: ProductId, granularity: Granularity, limit: int, ask: Ask
    ) -> Plan[Reading[tuple[Candle, ...]]]:
        """Read the newest candles of a product."""
        request = self.requests.candles(product_id, granularity, limit)
        self.read.add(product_id)
        found: Reading[tuple[Candle, ...]] | None = None
        is_whole = False
        try:
            facts, stored = yield from self._streamed_candles(product_id, granularity, limit, ask)
        except StoreUnavailable as exc:
            why: str | None = str(exc)
        else:
            why = "no candles are streamed"
            if stored is not None:
                found = self._aggregated(stored, facts, granularity)
                is_whole = reaches_back(stored, found.value, granularity, limit, facts.now_ms)
                found = replace(found, value=found.value[-limit:])
                why = why_not(found, ask)
        if found is not None and is_whole and why is None:
            self.served["historical", "realtime"] += 1
            return found
        stream, whole = found, found if is_whole else None

        def blended(copy: StoredCopy, kept: Reading[tuple[Candle, ...]]) -> Reading[tuple[Candle, ...]] | None:
            return None if stream is None else extended(stream, kept, granularity, limit, copy.fetched_ms)

        why = why or "the stream does not reach back so far"
        served = yield from self._tiers.one(Item(product_id, request, whole, why, blend=blended), ask)
        if served.tier is Tier.REALTIME:
            self.extended[request.copy.key] = request, served, ask.since
        return served

    def _aggregated(
        self, stored: StoredCandles, facts: FeedFacts, granularity: Granularity
    ) -> Reading[tuple[Candle, ...]]:
        life = facts.lives.get(stored.feed)
        known = self.parser.closed_candles
        after_s = self.stale_after_s
        return candles_reading(stored, life, facts.now_ms, granularity, stale_after_s=after_s, known=known)

    def _streamed_candles(
        self, product_id: ProductId, granularity: Granularity, limit: int, ask: Ask
    ) -> Plan[tuple[FeedFacts, StoredCandles | None]]:
        """Read what the stream has: the buckets that are needed, all where these are not known to be the newest."""
        if not granularity.is_made_of_streamed:
            return FeedFacts(0, {}), None
        fields = self._needed_buckets(granularity, limit, ask.since)
        if fields is not None:
            replies = yield self._candles_lookup(product_id, fields)
            facts = self._told_time(replies, ask)
            meta = as_text(replies[-1][1]) if isinstance(replies[-1], list) else {}
            is_there = meta.get("newest_s", fields[-1]) in fields
            if is_there and int(fields[0]) <= facts.now_ms // 1000 <= int(fields[-1]) + CANDLE_S:
                return facts, self.parser.candles(replies[-1], fields)
        replies = yield self._candles_lookup(product_id, None)
        return self._told_time(replies, ask), self.parser.candles(replies[-1])

    def _told_time(self, replies: Sequence[Any], ask: Ask) -> FeedFacts:
        facts = self.parser.facts(replies[0], replies[1])
        self._clock = facts.now_ms / 1000, ask.since
        return facts

    def _needed_buckets(self, granularity: Granularity, limit: int, now: float) -> Sequence[str] | None:
        """Return the fields of the newest buckets as far as we know what time it is; None where all are needed."""
        count = limit * granularity.seconds // CANDLE_S
        if self._clock is None or count > _MOST_PICKED:
            return None
        redis_s, at = self._clock
        open_s = int(redis_s + now - at) // granularity.seconds * granularity.seconds
        last_s = int(redis_s + now - at) // CANDLE_S * CANDLE_S + CANDLE_S
        first_s = open_s - limit * granularity.seconds
        key = first_s, last_s
        held = self._fields  # once: another thread may ask for others in between
        if held is None or held[0] != key:
            held = self._fields = key, tuple(str(s) for s in range(first_s, last_s + 1, CANDLE_S))
        return held[1]

    def _candles_lookup(self, product_id: ProductId, fields: Sequence[str] | None) -> Lookup:
        name = product_id, fields
        lookup = self._candle_lookups.get(name)
        if lookup is None:
            candles, meta = self._keys.candles(product_id), self._keys.candles_meta(product_id)
            read: Command = ("HGETALL", candles) if fields is None else ("HMGET", candles, *fields)
            # One transaction: the two hashes belong together.
            commands: list[Command] = [("MULTI",), read, ("HGETALL", meta), ("EXEC",)]
            lookup = Lookup([CLOCK, ("HGETALL", self._keys.feeds), *commands])
            if len(self._candle_lookups) >= _MOST_LOOKUPS:
                self._candle_lookups.clear()
            self._candle_lookups[name] = lookup
        return lookup

    def products(self, ask: Ask) -> Plan[Reading[tuple[Product, ...]]]:
        """Read the facts of every product."""
        item = Item(None, self.requests.products(), None, "the product list is kept as a copy")
        return (yield from self._tiers.one(item, ask))

    # -- for a fleet ---------------------------------------------------------------------------------------------

    def snapshot(
        self, product_ids: Sequence[ProductId], granularity: Granularity, limit: int, *, accounts: bool, ask: Ask
    ) -> Plan[Snapshot]:
        """Read all that a fleet of bots needs, in one round trip where all of it is realtime."""
        wanted = tuple(dict.fromkeys(product_ids))
        for product_id in wanted:
            self.requests.candles(product_id, granularity, limit)  # bad input is no missing answer
        plans: list[Plan[Any]] = [self.tickers(wanted, ask)]
        plans += [_or_error(self.candles(product_id, granularity, limit, ask)) for product_id in wanted]
        if accounts:
            plans.append(_or_error(self.accounts(ask)))
        tickers, *rest = yield from together(plans)
        wallet = rest.pop() if accounts else None
        candles = dict(zip(wanted, rest, strict=True))
        return Snapshot(
            tickers=tickers,
            candles=Answers(
                {p: c for p, c in candles.items() if isinstance(c, Reading)},
                {p: c for p, c in candles.items() if isinstance(c, StreamerError)},
            ),
            accounts=wallet if isinstance(wallet, Reading) else None,
            accounts_error=wallet if isinstance(wallet, StreamerError) else None,
        )


def _or_error(plan: Plan[T]) -> Plan[T | StreamerError]:
    try:
        return (yield from plan)
    except StreamerError as exc:
        return exc
