"""Keeps the portfolio true: asks REST for the accounts whenever only REST can tell, and seldom otherwise."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.intake import Frame
from streamer.coinbase.orders import OrderEvent
from streamer.errors import CallNotMade, RestError, RestUnauthorized, RestUnavailable
from streamer.ingest.ledger import Ledger
from streamer.ingest.portfolio import Portfolio
from streamer.ingest.refresh import RefreshPlan, RefreshRules
from streamer.model import Priority, Stamp
from streamer.providers.base import Call, RestSource
from streamer.store.records import parse_time

log = structlog.get_logger(__name__)

_PATIENCE_S = 30.0
"""After so long the question is put anew: an answer may speak of any moment since it was asked for."""


class AccountsKeeper:
    """Brings order events and REST answers together in the portfolio.

    Attributes:
        why: Why REST brings no accounts at present, None while it does.
        unauthorized: Whether REST does not take the key.
        answered_at: Monotonic time of the last good answer, None before the first.
    """

    def __init__(
        self, portfolio: Portfolio, rest: RestSource, clock: ExchangeClock, rules: RefreshRules | None = None
    ) -> None:
        self._portfolio = portfolio
        self._rest, self._clock, self._rules = rest, clock, rules or RefreshRules()
        self._wake = asyncio.Event()
        self.why: str | None = None
        self.unauthorized = False
        self._refused = False
        self.answered_at: float | None = None

    @property
    def _ledger(self) -> Ledger:
        return self._portfolio.ledger

    # -- called by the feed --------------------------------------------------------------------------------------

    def take(self, event: OrderEvent, frame: Frame, stamp: Stamp) -> None:
        """Take an order event."""
        if stamp is not self._portfolio.stamp:
            self._portfolio.opened(stamp)
        self._portfolio.apply(event, time=self._stamped(frame), received_s=frame.received_s, now=time.monotonic())
        if self._ledger.wants_answer or self._ledger.settles_at is not None:
            self._wake.set()

    def lost(self) -> None:
        """Order events may be lost from here on."""
        self._portfolio.lost(time.time())

    # -- a task of the supervisor --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask until cancelled. Events are taken whether or not this runs."""
        plan = RefreshPlan(self._rules, time.monotonic())
        while True:
            self._wake.clear()
            now = time.monotonic()
            self._settle(now)
            if self._ledger.wants_answer and not self._ledger.is_blind:
                self._ledger.asking()  # the plan knows now; what is wanted from here on is wanted because of news
                plan.want()
            if now >= plan.due_at:
                await self._ask(plan)
                continue
            due_at = min(plan.due_at, self._ledger.settles_at or plan.due_at)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due_at - now)):
                    await self._wake.wait()

    async def _ask(self, plan: RefreshPlan) -> None:
        asked_at = time.monotonic()
        plan.asked(asked_at)
        self._ledger.asking()
        try:
            accounts = await self._rest.accounts(Call(Priority.BOT_EVALUATION, asked_at + _PATIENCE_S, "ingest"))
            if not accounts and self._ledger.currencies:
                raise RestUnavailable("accounts", "an answer without any account")
        except CallNotMade as exc:
            self._unavailable(exc)
            plan.put_off(time.monotonic(), retry_after_s=exc.retry_after_s)
            return
        except RestError as exc:
            self._failed(exc)
            plan.failed(time.monotonic(), retry_after_s=exc.retry_after_s)
            return
        now = time.monotonic()
        if self.why is not None:
            log.info("accounts.back")
        self.why, self.unauthorized, self.answered_at = None, False, now
        self._refused = False
        is_news = self._ledger.wants_answer  # what has happened since we asked is no fault of the answer
        self._ledger.asking()
        if not self._portfolio.stamp.connection:
            self._portfolio.opened(Stamp(self._portfolio.stamp.feed, 0, self._rest.source))
        self._portfolio.answer(accounts, asked_at=asked_at, now=now, time=self._exchange_time(), now_s=time.time())
        plan.answered(now, settled=not self._ledger.wants_answer)
        self._ledger.wants_answer = is_news

    def _settle(self, now: float) -> None:
        if (at := self._ledger.settles_at) is not None and now >= at:
            self._portfolio.settle(now=now, time=self._exchange_time(), now_s=time.time())
        for found in self._ledger.take_differences():
            log.warning(
                "balance.difference",
                currency=found.currency,
                derived=f"{found.derived.available:f}+{found.derived.hold:f}",
                confirmed=f"{found.confirmed.available:f}+{found.confirmed.hold:f}",
            )

    def _failed(self, exc: RestError) -> None:
        if exc.status == 401 and not self._refused:
            # Good keys see one now and then (coinbase-advanced-py issues 19 and 132): the next one counts.
            self._refused = True
            return
        self._unavailable(exc)
        self.why, self.unauthorized = exc.why, isinstance(exc, RestUnauthorized)

    def _unavailable(self, exc: RestError) -> None:
        """Say so, once; what was wrong before stays wrong where nothing was asked."""
        if self.why is None:
            log.warning("accounts.unavailable", why=exc.why)
            self.why = exc.why

    def _stamped(self, frame: Frame) -> str:
        """Return when the exchange sent a frame; where it does not say so soundly, what time it is there now."""
        try:
            parse_time(frame.message.timestamp)
        except ValueError:
            return self._exchange_time()
        return frame.message.timestamp

    def _exchange_time(self) -> str:
        now = datetime.fromtimestamp(self._clock.now(time.time()), UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
