"""What all clients of one process have in common: a reader, what Redis says of the whole, and the way out.

Made when it is first needed, once for each Redis, and anew after a fork. Nothing is started by importing it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from streamer.compat import answers
from streamer.compat.answers import Json, Served
from streamer.compat.census import Census
from streamer.compat.comparison import Comparison
from streamer.compat.kept import Kept, Shelf
from streamer.compat.outlook import Outlook
from streamer.compat.passage import Passage
from streamer.compat.questions import (
    BreakdownQuestion,
    CandlesQuestion,
    ProductQuestion,
    ProductsQuestion,
    Question,
    QuotesQuestion,
    WalletsQuestion,
)
from streamer.errors import StreamerError
from streamer.gateway.caller import scope_of
from streamer.model import Answers, Balance, Priority, ProductId, Reading, Source
from streamer.reader.questions import How, Questions
from streamer.reader.sync import Reader
from streamer.settings import REST_URL, Settings, load
from streamer.store.keys import Keys

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0
"""For so long a read waits for what REST brings to all; after that it goes to the exchange by itself."""
_FACTS_S = 60.0
_FACTS_RETRY_S = 5.0
_WALLETS_S = 3600.0
"""Names and ids of wallets change by the year; new ones are noticed at once."""
_BREAKDOWN_S = Keys().breakdown_copy("").ttl_s
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf something is asked.

    Attributes:
        name: The caller's.
        key: Name of the API key, "" for none.
        scope: The exchange.
        max_age_s: Oldest acceptable age of what is served, None for the reader's own rules.
    """

    name: str
    key: str
    scope: str
    priority: Priority
    max_age_s: float | None


class Desk:
    """Serves what can be served.

    Attributes:
        outlook: Who is coordinated.
        passage: The way to the exchange.
        census: Counts.
        comparison: Compares with the exchange now and then.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        keys = Keys(settings.key_prefix)
        self._reader = reader = Reader(url, settings=settings)
        self.outlook = Outlook(reader, keys, settings)
        self.passage = Passage(reader, settings)
        self.census = Census(reader, keys, self.passage.counts)
        self.comparison = Comparison(reader, self.passage, keys, settings)
        self._shelf = Shelf(reader, keys)
        self._facts: dict[ProductId, bytes] = {}
        self._facts_reading: Reading[Any] | None = None
        self._facts_at = self._facts_due = 0.0
        self._facts_lock = threading.Lock()

    def serve(self, question: Question, asker: Asker) -> Served | None:
        """Return an answer; None where the exchange is to be asked."""
        if self.outlook.scope() != asker.scope:
            return None
        try:
            return self._serve(question, asker)
        except StreamerError:
            return None
        except Exception:  # whatever is wrong here, or with what somebody wrote into Redis: the exchange knows
            log.exception("compat.bug", question=type(question).__name__)
            return None

    def keep(self, question: Question, asker: Asker, body: Json) -> None:
        """Keep what the exchange has said, where that helps to answer the same question."""
        try:
            kept = Kept(time.time(), _BREAKDOWN_S, [], msgspec.Raw(msgspec.json.encode(body)))
            if isinstance(question, WalletsQuestion) and self.outlook.scope() == asker.scope:
                balances = self._balances(asker)
                if answers.wallets(kept.decoded(), balances) is None:
                    return
                kept = msgspec.structs.replace(kept, life_s=_WALLETS_S, currencies=sorted(balances))
            elif not isinstance(question, BreakdownQuestion):
                return
        except StreamerError:
            return
        except Exception:  # the answer is there: what is wrong with keeping it must not cost it
            log.exception("compat.bug", question=type(question).__name__)
            return
        self._shelf.keep(asker.scope, asker.key, question, kept)

    def close(self) -> None:
        """Tell Redis what there is to tell; not for long."""
        behind = self._reader.behind()
        with suppress(Exception):  # the process ends, and nobody could do anything about it
            behind.run(asyncio.wait_for(self._farewell(), _FAREWELL_S))

    async def _farewell(self) -> None:
        await self.census.tell()
        await self.passage.close()

    # -- kind by kind --------------------------------------------------------------------------------------------

    def _serve(self, question: Question, asker: Asker) -> Served | None:
        match question:
            case ProductQuestion():
                return self._products([question.product_id], asker, is_one=True)
            case ProductsQuestion():
                return self._products(question.product_ids, asker, is_one=False)
            case QuotesQuestion():
                found = self._tickers(question.product_ids, asker, rest=False)
                return self._served(answers.quotes(found), found, asker)
            case CandlesQuestion():
                return self._candles(question, asker)
            case WalletsQuestion():
                return self._wallets(question, asker)
            case BreakdownQuestion():
                kept = self._shelf.find(asker.scope, asker.key, question)
                if kept is None or (asker.max_age_s is not None and kept.age_s > asker.max_age_s):
                    return None
                return answers.copied(kept.decoded(), kept.age_s, kept.fetched, self._source(asker))

    def _served(
        self, body: Json | None, found: Sequence[Reading[Any]], asker: Asker, facts_age_s: float | None = None
    ) -> Served | None:
        # What the exchange is asked for is never answered with simulated prices, whatever Redis says of itself.
        is_foreign = asker.scope == scope_of(REST_URL) and answers.source_of(found) != {Source.COINBASE.value}
        return None if body is None or is_foreign else answers.served(body, found, facts_age_s=facts_age_s)

    def _questions(self, asker: Asker, *, rest: bool) -> Questions:
        return Questions(self._reader.plans, rest=rest, caller=asker.name)

    @staticmethod
    def _how(asker: Asker) -> How:
        return How(max_age_s=asker.max_age_s, timeout_s=_TIMEOUT_S, priority=asker.priority)

    def _tickers(self, product_ids: Sequence[ProductId], asker: Asker, *, rest: bool) -> list[Reading[Any]]:
        found = self._reader.run(self._questions(asker, rest=rest).tickers(product_ids, self._how(asker)))
        return [found[product_id] for product_id in product_ids]  # raises where one is missing

    def _products(self, product_ids: Sequence[ProductId], asker: Asker, *, is_one: bool) -> Served | None:
        facts, told = self._all_facts(asker)
        if told is None or any(product_id not in facts for product_id in product_ids):
            return None  # unknown or new: the exchange knows
        # As the exchange lists them.
        wanted = list(product_ids) if is_one else [name for name in facts if name in frozenset(product_ids)]
        found = self._tickers(wanted, asker, rest=True)
        decoded = [msgspec.json.decode(facts[name]) for name in wanted]
        whole = [answers.product(each, one) for each, one in zip(decoded, found, strict=True)]
        body = whole[0] if is_one else answers.products(whole)
        age_s = told.age_s + time.monotonic() - self._facts_at
        return self._served(body, [*found], asker, age_s) if told.source == found[0].source else None

    def _all_facts(self, asker: Asker) -> tuple[Mapping[ProductId, bytes], Reading[Any] | None]:
        """Return what the exchange says of each product, as JSON: it is much, and changes by the day."""
        with self._facts_lock:
            if time.monotonic() >= self._facts_due:
                self._facts_due = time.monotonic() + _FACTS_RETRY_S
                try:
                    how = How(timeout_s=_TIMEOUT_S, priority=asker.priority)
                    told = self._reader.run(self._questions(asker, rest=True).products(how))
                except StreamerError:
                    return self._facts, self._facts_reading
                self._facts = {one.product_id: msgspec.json.encode(one.facts) for one in told.value}
                self._facts_reading, self._facts_at = told, time.monotonic()
                self._facts_due = self._facts_at + _FACTS_S
            return self._facts, self._facts_reading

    def _candles(self, question: CandlesQuestion, asker: Asker) -> Served | None:
        now_s = time.time()
        count = answers.candles_needed(question, now_s)
        if count is None:
            return None
        ask = self._questions(asker, rest=True)
        plan = ask.candles(question.product_id, question.granularity, count, self._how(asker))
        found = self._reader.run(plan)
        return self._served(answers.candles(question, found, now_s), [found], asker)

    def _balances(self, asker: Asker) -> Answers[str, Balance]:
        # Without REST: it would be asked with the stream's key, and this client has one of its own.
        return self._reader.run(self._questions(asker, rest=False).balances(self._how(asker)))

    def _wallets(self, question: WalletsQuestion, asker: Asker) -> Served | None:
        kept = self._shelf.find(asker.scope, asker.key, question)
        if kept is None:
            return None
        balances = self._balances(asker)
        if sorted(balances) != kept.currencies or balances.missing:
            return None  # a wallet has come or gone: pages are others now
        found = answers.wallets(kept.decoded(), balances)
        return None if found is None else self._served(*found, asker, kept.age_s)

    @staticmethod
    def _source(asker: Asker) -> str:
        return (Source.COINBASE if asker.scope == scope_of(REST_URL) else Source.SIMULATOR).value


# -- one for each Redis -------------------------------------------------------------------------------------------

_lock = threading.Lock()
_desks: dict[str, Desk] = {}
_of_parents: list[Desk] = []
"""Kept, as nobody here may touch what belongs to the threads of another process, not even to throw it away."""


def desk_at(url: str) -> Desk:
    """Return the desk of this process for a Redis.

    Raises:
        ConfigError: A setting breaks a rule.
    """
    with _lock:
        desk = _desks.get(url)
        if desk is None:
            desk = _desks[url] = Desk(url, load())
            atexit.register(desk.close)
        return desk


def _start_anew() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that held it is not here
    for desk in _desks.values():
        atexit.unregister(desk.close)
    _of_parents.extend(_desks.values())
    _desks.clear()


os.register_at_fork(after_in_child=_start_anew)
