"""Who asks REST for the accounts, and when: with a REST that answers as it is told, and rules of moments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count, pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamer.coinbase.clock import ExchangeClock
from streamer.coinbase.intake import Frame
from streamer.coinbase.messages import Message
from streamer.coinbase.orders import Order, OrderEvent, Side
from streamer.errors import (
    CircuitOpen,
    QueueTimeout,
    RestError,
    RestRateLimited,
    RestUnauthorized,
    RestUnavailable,
)
from streamer.ingest import ledger
from streamer.ingest.accounts import AccountsKeeper
from streamer.ingest.portfolio import Portfolio
from streamer.ingest.refresh import RefreshRules
from streamer.model import Account, Basis, Bucket, Granularity, Priority, ProductId, Source, Stamp
from streamer.providers.base import ANY, Call, CallCounts

SPACING_S = 0.05
RULES = RefreshRules(spacing_s=SPACING_S, period_s=30.0, first_s=0.02, slowest_s=0.4)
STAMP = Stamp("default.user-0", 1, Source.COINBASE)
SNAPSHOT = OrderEvent(is_snapshot=True, orders=())


class FakeRest:
    """Answers with the wallets, or with an error while there are any."""

    def __init__(self) -> None:
        self.counts, self.source, self.has_key = CallCounts(), Source.COINBASE, True
        self.wallets = {"USD": Decimal(1000), "BTC": Decimal(2)}
        self.errors: list[RestError] = []
        self.asked_at: list[float] = []
        self.takes_s = 0.0
        self.calls: list[Call] = []

    async def accounts(self, call: Call = ANY) -> list[Account]:
        self.asked_at.append(time.monotonic())
        self.calls.append(call)
        told = [Account(c, c, available, Decimal(0)) for c, available in self.wallets.items()]
        await asyncio.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        return told

    async def candles(
        self, product_id: ProductId, granularity: Granularity, from_s: int, to_s: int, call: Call = ANY
    ) -> list[Bucket]:
        raise NotImplementedError

    async def products(
        self, product_ids: Sequence[ProductId] = (), call: Call = ANY
    ) -> Sequence[Mapping[str, Any]]:
        raise NotImplementedError

    async def portfolio_breakdown(self, uuid: str, call: Call = ANY) -> Mapping[str, Any]:
        raise NotImplementedError


class Rig:
    """A keeper at work, and the user channel it hears."""

    def __init__(self, rules: RefreshRules = RULES) -> None:
        self.rest = FakeRest()
        self.portfolio = Portfolio(lambda: None, Stamp("default.user-0", 0, Source.COINBASE))
        self.portfolio.ledger = ledger.Ledger(lag_s=0.1, ahead_s=0.05)
        self.keeper = AccountsKeeper(self.portfolio, self.rest, ExchangeClock(), rules)
        self._numbers = count()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keeper.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), task.exception()

    def take(self, event: OrderEvent, stamp: Stamp = STAMP) -> None:
        """An event of the user channel."""
        message = Message(channel="user", timestamp="2026-11-20T15:04:06Z", sequence_num=next(self._numbers))
        self.keeper.take(event, Frame(message, message.sequence_num or 0, time.time()), stamp)

    def held(self, currency: str) -> tuple[Decimal, Decimal, Basis, bool] | None:
        """What is known of a currency."""
        state = self.portfolio.ledger.state(currency)
        if state is None:
            return None
        return state.amounts.available, state.amounts.hold, state.basis, state.suspect

    @property
    def is_confirmed(self) -> bool:
        """Whether everything is known and confirmed."""
        states = [self.portfolio.ledger.state(c) for c in self.rest.wallets]
        return all(s is not None and s.basis is Basis.CONFIRMED and not s.suspect for s in states)


def purchase(order_id: str, status: str) -> OrderEvent:
    """A purchase of one bitcoin for 100 dollars, without fees."""
    filled = Decimal(1 if status == "FILLED" else 0)
    bought = Order(
        order_id=order_id,
        base="BTC",
        quote="USD",
        side=Side.BUY,
        status=status,
        quantity=filled,
        value=filled * 100,
        fees=Decimal(0),
        leaves=1 - filled,
        hold=Decimal(100) if status == "OPEN" else Decimal(0),
    )
    return OrderEvent(is_snapshot=False, orders=(bought,))


async def until(holds: Callable[[], object]) -> None:
    """Give the loop turns until `holds` does."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


async def quiet(rig: Rig, for_s: float) -> int:
    """Return how many questions were asked in so many seconds."""
    before = len(rig.rest.asked_at)
    ends = time.monotonic() + for_s
    await until(lambda: time.monotonic() >= ends)
    return len(rig.rest.asked_at) - before


async def test_accounts_are_asked_for_without_a_user_channel() -> None:
    """It may be long in coming: balances as REST tells them are better than none, and said to be in doubt."""
    rig = Rig()
    async with rig.running():
        await until(lambda: rig.held("USD"))
        assert rig.held("USD") == (Decimal(1000), Decimal(0), Basis.DERIVED, True)
        assert await quiet(rig, 0.3) == 0, "another answer would settle nothing"
        assert rig.keeper.answered_at is not None


async def test_a_quiet_account_settles_and_is_left_alone() -> None:
    """Confirmed within a few questions; then no more before the period is over."""
    rig = Rig()
    async with rig.running():
        rig.take(SNAPSHOT)
        await until(lambda: rig.is_confirmed)
        await quiet(rig, 0.5)
        assert len(rig.rest.asked_at) <= 4
        assert await quiet(rig, 0.3) == 0
        assert (rig.keeper.why, rig.keeper.unauthorized) == (None, False)


async def test_it_asks_again_each_period() -> None:
    """A deposit is told by nobody: it is found, shown, and said."""
    rig = Rig(RefreshRules(spacing_s=SPACING_S, period_s=0.3, first_s=0.02, slowest_s=0.4))
    with capture_logs() as logs:
        async with rig.running():
            rig.take(SNAPSHOT)
            await until(lambda: rig.is_confirmed)
            await quiet(rig, 0.4)
            rig.rest.wallets["USD"] += 50
            await until(lambda: rig.held("USD") == (Decimal(1050), Decimal(0), Basis.CONFIRMED, False))
            await until(lambda: rig.portfolio.ledger.counts.differences)
    (said,) = [entry for entry in logs if entry["event"] == "balance.difference"]
    assert (said["currency"], said["derived"], said["confirmed"]) == ("USD", "1000+0", "1050+0")


async def test_many_orders_share_a_question() -> None:
    """Hundreds end at once: balances follow each at once, REST is asked as often as the spacing allows."""
    rig = Rig()
    async with rig.running():
        rig.take(SNAPSHOT)
        await until(lambda: rig.is_confirmed)
        await quiet(rig, 0.3)
        began, before = time.monotonic(), len(rig.rest.asked_at)
        rig.rest.wallets |= {"USD": Decimal(500), "BTC": Decimal(7)}
        for i in range(5):
            rig.take(purchase(f"{i}", "OPEN"))
            rig.take(purchase(f"{i}", "FILLED"))
        assert rig.held("USD") == (Decimal(500), Decimal(0), Basis.DERIVED, False)
        assert rig.held("BTC") == (Decimal(7), Decimal(0), Basis.DERIVED, False)
        await until(lambda: rig.is_confirmed)
        await quiet(rig, 0.3)
        assert len(rig.rest.asked_at) - before <= 1 + (time.monotonic() - began) / SPACING_S
        assert len(rig.rest.asked_at) - before <= 4
        assert rig.portfolio.ledger.counts.differences == 0


async def test_no_two_questions_are_closer_than_the_spacing() -> None:
    """Whatever happens, and however often."""
    rig = Rig()
    async with rig.running():
        rig.take(SNAPSHOT)
        for i in range(40):
            rig.take(purchase(f"{i}", "FILLED"))
            await asyncio.sleep(0.01)
        assert len(rig.rest.asked_at) >= 3
        # Asked a moment after the plan is told, so the one may seem closer by that moment.
        assert all(later - at >= SPACING_S * 0.9 for at, later in pairwise(rig.rest.asked_at))


async def test_order_events_are_taken_while_rest_is_slow() -> None:
    """An answer that was on its way when the order came undoes nothing."""
    rig = Rig()
    async with rig.running():
        rig.take(SNAPSHOT)
        await until(lambda: rig.is_confirmed)
        await quiet(rig, 0.3)
        rig.rest.takes_s = 0.2
        asked = len(rig.rest.asked_at)
        rig.take(purchase("a", "FILLED"))
        await until(lambda: len(rig.rest.asked_at) > asked)  # it will tell what was before
        assert rig.held("USD") == (Decimal(900), Decimal(0), Basis.DERIVED, False)
        rig.rest.wallets |= {"USD": Decimal(900), "BTC": Decimal(3)}
        rig.rest.takes_s = 0.0
        seen = set()
        async with asyncio.timeout(10):
            while not rig.is_confirmed:
                held = rig.held("USD")
                assert held is not None
                seen.add(held[0])
                await asyncio.sleep(0.002)
        assert seen == {Decimal(900)}
        assert rig.portfolio.ledger.counts.differences == 0


async def test_a_loss_is_made_good_by_rest() -> None:
    """From the loss to the next snapshot nothing is asked; then until all is certain again."""
    rig = Rig()
    async with rig.running():
        rig.take(SNAPSHOT)
        await until(lambda: rig.is_confirmed)
        await quiet(rig, 0.3)
        rig.keeper.lost()
        held = rig.held("USD")
        assert held is not None and held[3], "in doubt at once"
        rig.rest.wallets["USD"] -= 10
        assert await quiet(rig, 0.3) == 0
        rig.take(SNAPSHOT, Stamp("default.user-0", 2, Source.COINBASE))
        assert rig.portfolio.stamp.connection == 2
        await until(lambda: rig.held("USD") == (Decimal(990), Decimal(0), Basis.CONFIRMED, False))


@pytest.mark.parametrize(
    ("error", "unauthorized"),
    [
        (RestUnavailable("accounts", "HTTP 503", status=503), False),
        (RestUnauthorized("accounts", "HTTP 401: the key is wrong", status=401), True),
        (RestUnauthorized("accounts", "HTTP 403: the key lacks", status=403), True),
        (RestRateLimited("accounts", "HTTP 429: too many calls", status=429), False),
    ],
)
async def test_a_failure_is_said_once_and_until_it_is_over(error: RestError, unauthorized: bool) -> None:
    """Asked ever more seldom meanwhile; balances go on by what the exchange pushes."""
    rig = Rig()
    with capture_logs() as logs:
        async with rig.running():
            rig.take(SNAPSHOT)
            await until(lambda: rig.is_confirmed)
            await quiet(rig, 0.3)
            before = len(rig.rest.asked_at)
            rig.rest.errors = [error] * 4
            rig.take(purchase("a", "FILLED"))
            rig.rest.wallets |= {"USD": Decimal(900), "BTC": Decimal(3)}
            await until(lambda: rig.keeper.why)
            assert (rig.keeper.why, rig.keeper.unauthorized) == (error.why, unauthorized)
            assert rig.held("USD") == (Decimal(900), Decimal(0), Basis.DERIVED, False)
            await until(lambda: rig.is_confirmed)
            assert (rig.keeper.why, rig.keeper.unauthorized) == (None, False)
            waits = [later - at for at, later in pairwise(rig.rest.asked_at[before:])]
            assert all(wait >= least * 0.9 for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.4), strict=False))
    events = [entry["event"] for entry in logs]
    assert (events.count("accounts.unavailable"), events.count("accounts.back")) == (1, 1)


async def test_a_single_401_is_no_refused_key() -> None:
    """Good keys see one now and then; it is asked again, and nobody is told to change a key that works."""
    rig = Rig()
    rig.rest.errors = [RestUnauthorized("accounts", "HTTP 401: the key is wrong", status=401)]
    with capture_logs() as logs:
        async with rig.running():
            rig.take(SNAPSHOT)
            await until(lambda: rig.rest.asked_at)
            assert (rig.keeper.why, rig.keeper.unauthorized) == (None, False)
            await until(lambda: rig.is_confirmed)
    assert not [entry for entry in logs if entry["event"].startswith("accounts.")]


async def test_retry_after_is_not_undercut() -> None:
    """Though an order ends meanwhile."""
    rig = Rig()
    rig.rest.errors = [RestRateLimited("accounts", "HTTP 429", status=429, retry_after_s=0.4)]
    async with rig.running():
        rig.take(SNAPSHOT)
        await until(lambda: rig.rest.asked_at)
        rig.take(purchase("a", "FILLED"))
        await until(lambda: len(rig.rest.asked_at) > 1)
        assert rig.rest.asked_at[1] - rig.rest.asked_at[0] >= 0.4


async def test_accounts_are_asked_for_in_the_name_of_bots_and_not_for_ever() -> None:
    """They decide by balances; an answer that was asked for long ago is worth less than one asked for now."""
    rig = Rig()
    async with rig.running():
        await until(lambda: rig.rest.calls)
    (call,) = rig.rest.calls
    assert (call.priority, call.caller) == (Priority.BOT_EVALUATION, "ingest")
    assert call.deadline is not None
    assert 20 < call.deadline - rig.rest.asked_at[0] < 40


@pytest.mark.parametrize(
    ("error", "least_s"),
    [
        (CircuitOpen("accounts", "too many calls have failed", retry_after_s=0.3), 0.3),
        (QueueTimeout("accounts", "no call was free in time"), SPACING_S),
    ],
)
async def test_a_call_not_made_is_put_off(error: RestError, least_s: float) -> None:
    """Said once, asked again when that makes sense and not ever more seldom: it was the exchange that failed."""
    rig = Rig()
    rig.rest.errors = [error] * 4
    with capture_logs() as logs:
        async with rig.running():
            rig.take(SNAPSHOT)
            await until(lambda: rig.keeper.why)
            assert (rig.keeper.why, rig.keeper.unauthorized) == (error.why, False)
            await until(lambda: rig.is_confirmed)
            assert (rig.keeper.why, rig.keeper.unauthorized) == (None, False)
    waits = [later - at for at, later in pairwise(rig.rest.asked_at[:5])]
    assert all(wait >= least_s * 0.9 for wait in waits)
    assert max(waits) < least_s + 0.2
    events = [entry["event"] for entry in logs]
    assert (events.count("accounts.unavailable"), events.count("accounts.back")) == (1, 1)


async def test_a_call_not_made_says_nothing_of_the_key() -> None:
    """Neither that a good one is bad, nor that a bad one is good again."""
    rig = Rig()
    refused = RestUnauthorized("accounts", "HTTP 403: the key lacks", status=403)
    rig.rest.errors = [refused, *[CircuitOpen("accounts", "too many calls have failed")] * 3, refused]
    async with rig.running():
        rig.take(SNAPSHOT)
        for asked in range(2, 6):
            await until(lambda asked=asked: len(rig.rest.asked_at) >= asked)  # type: ignore[misc]
            assert (rig.keeper.why, rig.keeper.unauthorized) == (refused.why, True)
        await until(lambda: rig.is_confirmed)
        assert (rig.keeper.why, rig.keeper.unauthorized) == (None, False)


async def test_a_bug_is_not_taken_for_an_outage() -> None:
    """It ends the task, loudly, and with it the process."""
    rig = Rig()

    async def broken(call: Call = ANY) -> list[Account]:
        raise KeyError("a bug")

    rig.rest.accounts = broken  # type: ignore[method-assign]
    with pytest.raises(KeyError, match="a bug"):
        async with asyncio.timeout(10):
            await rig.keeper.run()


async def test_events_are_taken_where_nobody_asks() -> None:
    """A standby hears no orders, but an owner does from the first moment, before its task has had a turn."""
    rig = Rig()
    rig.take(SNAPSHOT)
    rig.take(purchase("a", "OPEN"))
    assert rig.portfolio.ledger.counts.updates == 1
    assert rig.rest.asked_at == []
