"""Laws of the ledger: it ends with the exchange's balances to the last digit, and until then says where it may err.

A little exchange keeps the truth in whole numbers, without a line of ours. Its order updates come late, twice, in
any order or not at all; its REST answers show each wallet as it was up to 3 s before the question, or fresher.

What "right" can mean while news is on its way: a balance that is called confirmed and is not suspect is one that
the exchange had, and not before the oldest news that has not reached us, or what it would have without the news.
News is

- an update on its way, or lost without us knowing yet; one is not news any more where a later one of its order has
  come,
- a deposit or withdrawal that no REST answer has shown yet,
- of an account that had no open order when we began to watch: what ended in the 3 s before, until an answer that
  was asked for after them. Nobody tells us of such orders, and the first answer is believed at once.

Two tolerances are in how the numbers are drawn. A deposit equal to the last digit to what an order did in the same
seconds can be taken for it until the next answer, so no deposit here equals anything. And where updates come out of
order, or later than the ledger waits for them, sums of effects appear that the exchange never had; so no order then
equals another. Where updates come in order and in time, orders are as equal as those of a market maker.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from functools import cache, partial
from itertools import count
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.coinbase.messages import OrderFields
from streamer.coinbase.orders import Order, OrderEvent, parse_order
from streamer.ingest.effects import Amounts
from streamer.ingest.ledger import LAG_S, Ledger, State
from streamer.model import Account, Basis

PRODUCTS = [("BTC", "USD"), ("ETH", "USD"), ("BTC", "USDC"), ("ETH", "BTC")]
CURRENCIES = ["BTC", "ETH", "USD", "USDC"]
UNIT = 10**18
"""Of which all money here is a whole multiple: 18 decimals."""
LATE = [0.0, 0.125, 0.25, 0.5, 0.875]
VERY_LATE = [*LATE, 1.5, 3.0]
WAITS = [0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 60.0]
REST_LAG = [0.0, 0.125, 0.5, 1.0, 2.0, 2.875, 3.0]
ASK_EVERY_S, REFRESH_EVERY_S = 5.0, 600.0


def text(units: int) -> str:
    """Write units as a decimal number."""
    sign, units = "-" if units < 0 else "", abs(units)
    return f"{sign}{units // UNIT}.{units % UNIT:018}"


class Do(IntEnum):
    """What can happen at the exchange. The first four are what any account knows."""

    PLACE = 0
    FILL = 1
    CANCEL = 2
    MARKET = 3
    EXPIRE = 4
    FAIL = 5
    EDIT = 6
    DEPOSIT = 7
    LOSE = 8
    QUEUE = 9
    PEND = 10


@dataclass(frozen=True)
class Step:
    """Something happens `wait` after the step before; its update comes `late`, and once more `again` after that."""

    do: Do
    wait: float
    number: int
    late: float
    again: float | None

    @property
    def which(self) -> int:
        """What it happens to, from 0 to 7."""
        return self.number % 8

    @property
    def much(self) -> int:
        """How much of it happens, from 1 to 16."""
        return self.number // 8 + 1


@dataclass(frozen=True)
class World:
    """How a history goes.

    Attributes:
        in_order: Updates arrive in the order of their events.
        alike: Orders are equal to each other.
        joins: When the connection first stands.
        asks: When REST is first asked.
        rest: How each wallet of each answer differs from the moment of its question: lag, or -1 for the freshest.
        takes: How long each answer takes.
    """

    steps: list[Step]
    in_order: bool
    alike: bool
    joins: float
    asks: float
    rest: list[float]
    takes: list[float]


@st.composite
def worlds(
    draw: st.DrawFn,
    *,
    kinds: list[Do],
    late: list[float] = LATE,
    in_order: bool | None = None,
    again: bool = True,
) -> World:
    """Draw a history."""
    ordered = draw(st.booleans()) if in_order is None else in_order
    repeats = st.sampled_from([None, None, 0.0, 0.5, 2.0, 8.0]) if again else st.none()
    step = st.builds(
        Step, st.sampled_from(kinds), st.sampled_from(WAITS), st.integers(0, 127), st.sampled_from(late), repeats
    )
    return World(
        steps=draw(st.lists(step, max_size=15)) + draw(st.lists(step, max_size=15)),  # one list is mostly short
        in_order=ordered,
        alike=ordered and late is LATE and Do.QUEUE not in kinds and draw(st.booleans()),
        joins=draw(st.sampled_from([0.0, 2.0, 10.0])),
        asks=draw(st.sampled_from([0.0, 1.0, 3.0, 20.0])),
        rest=draw(st.lists(st.sampled_from([*REST_LAG, -1.0]), min_size=1, max_size=11)),
        takes=draw(st.lists(st.sampled_from([0.0, 0.125, 0.5, 1.0]), min_size=1, max_size=3)),
    )


@dataclass
class Deal:
    """An order as the exchange has it. Sizes in 1e-8, prices in 1e-6, the fee rate in 1e-4, money in UNIT."""

    number: int
    base: str
    quote: str
    buys: bool
    size: int
    price: int
    rate: int
    status: str = "OPEN"
    filled: int = 0
    value: int = 0
    fees: int = 0

    @property
    def is_over(self) -> bool:
        return self.status in ("FILLED", "CANCELLED", "EXPIRED", "FAILED")

    @property
    def spends(self) -> str:
        return self.quote if self.buys else self.base

    @property
    def hold(self) -> int:
        if self.is_over:
            return 0
        left = self.size - self.filled
        return left * self.price * (10_000 + self.rate) if self.buys else left * 10**10

    @property
    def fields(self) -> OrderFields:
        left = 0 if self.is_over else (self.size - self.filled) * 10**10
        return OrderFields(
            order_id=f"order-{self.number}",
            product_id=f"{self.base}-{self.quote}",
            order_side="BUY" if self.buys else "SELL",
            status=self.status,
            cumulative_quantity=text(self.filled * 10**10),
            product_type="SPOT",
            leaves_quantity=text(left),
            filled_value=text(self.value),
            total_fees=text(self.fees),
            limit_price=text(self.price * 10**12),
            outstanding_hold_amount=text(self.hold),
        )


@dataclass
class Update:
    """An update, the versions of its wallets that it made, and whether it can still be news."""

    deal: int
    order: Order
    made: dict[str, int]
    is_news: bool = True


Wallet = tuple[int, int]
"""Available and hold."""


@dataclass
class Exchange:
    """The truth: wallets with all their past, and orders."""

    alike: bool
    random: Random = field(default_factory=lambda: Random(7))
    deals: list[Deal] = field(default_factory=list)
    past: dict[str, list[tuple[float, Wallet]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.past = {c: [(-1e9, (10**21 * UNIT + self.odd(UNIT), 0))] for c in CURRENCIES}

    def odd(self, below: int) -> int:
        """Return a number that equals no other."""
        return self.random.randrange(below // 10, below) | 1

    def wallet(self, currency: str) -> Wallet:
        return self.past[currency][-1][1]

    def version(self, currency: str, at: float | None = None) -> int:
        past = self.past[currency]
        return next(i for i in reversed(range(len(past))) if at is None or past[i][0] <= at)

    def change(self, now: float, currency: str, total: int, hold: int) -> dict[str, int]:
        available, held = self.wallet(currency)
        self.past[currency].append((now, (available + total - hold, held + hold)))
        return {currency: len(self.past[currency]) - 1}

    def deal(self, step: Step) -> Deal:
        base, quote = PRODUCTS[step.which % 4]
        size, price, rate = 10**8 * (step.much % 2 + 1), 100 * 10**6, 100 * (step.much % 3)
        if not self.alike:
            size, price, rate = self.odd(10 ** (step.much + 3)), self.odd(10 ** (19 - step.much)), step.much * 7
        status = "PENDING" if step.do is Do.PEND else "OPEN"
        deal = Deal(len(self.deals), base, quote, step.which < 4, size, price, rate, status)
        self.deals.append(deal)
        return deal

    def book(self, now: float, deal: Deal, hold_before: int, *gains: tuple[str, int]) -> Update:
        """Book what an order has just done: totals, and the change of its hold."""
        made: dict[str, int] = {}
        for currency in {deal.spends} | {currency for currency, _ in gains}:
            total = sum(gain for gained, gain in gains if gained == currency)
            made |= self.change(now, currency, total, deal.hold - hold_before if currency == deal.spends else 0)
        order = parse_order(deal.fields)
        assert order is not None
        return Update(deal.number, order, made)

    def fill(self, now: float, deal: Deal, sixteenths: int, before: int) -> Update:
        """Fill a part, at the limit or a little better."""
        left = deal.size - deal.filled
        quantity = max(1, left * sixteenths // 16)
        value = quantity * (deal.price - (0 if self.alike else sixteenths % 3)) * 10**4
        fee = value // 10_000 * deal.rate
        deal.filled, deal.value, deal.fees = deal.filled + quantity, deal.value + value, deal.fees + fee
        if deal.filled == deal.size:
            deal.status = "FILLED"
        sign = 1 if deal.buys else -1
        gains = (deal.base, sign * quantity * 10**10), (deal.quote, -sign * value - fee)
        return self.book(now, deal, before, *gains)

    def act(self, now: float, step: Step) -> Update | None:
        """Do what a step says; None where nothing can be done or nobody is told."""
        if step.do is Do.DEPOSIT:
            amount = self.odd(10 ** (step.much + 5)) * (1 if step.which < 5 else -1)
            self.change(now, CURRENCIES[step.which % 4], amount, 0)
            return None
        if step.do is Do.MARKET:
            return self.fill(now, self.deal(step), 16, 0)
        if step.do in (Do.PLACE, Do.PEND):
            return self.book(now, self.deal(step), 0)
        living = [deal for deal in self.deals if not deal.is_over]
        if not living:
            return None
        deal = living[step.which % len(living)]
        before = deal.hold
        if step.do is Do.FILL:
            if deal.status == "PENDING":
                deal.status = "OPEN"
            return self.fill(now, deal, step.much, before)
        if step.do is Do.EDIT:
            if deal.status != "OPEN":
                return None
            deal.size += step.which * 10**8 if self.alike else self.odd(10**9)
            deal.price += step.much * 10**6
        elif step.do is Do.QUEUE:
            deal.status = "CANCEL_QUEUED"
        else:
            deal.status = {Do.CANCEL: "CANCELLED", Do.EXPIRE: "EXPIRED", Do.FAIL: "FAILED"}[step.do]
        return self.book(now, deal, before)


class Run:
    """A ledger, its driver and the wire between it and an exchange; checks what holds at every moment."""

    def __init__(self, world: World) -> None:
        self.world, self.exchange = world, Exchange(world.alike)
        self.ledger = Ledger()
        self.agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self.numbers = count()
        self.now = 0.0
        self.updates: list[Update] = []
        self.on_their_way = 0
        self.is_up, self.is_noticed = False, True
        self.connection = self.snapshots = 0
        self.not_before = 0.0
        self.deposits: dict[str, list[int]] = {c: [] for c in CURRENCIES}
        self.doubt_before: float | None = None
        self.asked_at: float | None = None
        self.last_asked = -1e9
        self.answers = 0
        self.lags, self.takes = count(), count()
        self.checked: dict[str, State] = {}
        self.confirmations = 0

    def at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self.agenda, (when, next(self.numbers), what))

    # -- the wire ------------------------------------------------------------------------------------------------

    def tell(self, change: Callable[[], set[str]]) -> None:
        """Let the ledger do something; what it says has changed has to be all that has."""
        before = {c: self.ledger.state(c) for c in CURRENCIES}
        named = change()
        changed = {c for c in CURRENCIES if self.ledger.state(c) != before[c]}
        assert changed <= named, "a change that nobody is told of"

    def send(self, update: Update, step: Step) -> None:
        self.updates.append(update)
        if not self.is_up:
            update.is_news = not self.is_noticed
            return
        arrives = self.now + step.late
        if self.world.in_order:
            arrives = self.not_before = max(arrives, self.not_before)
        self.deliver(arrives, [update])
        if step.again is not None:
            self.deliver(arrives + step.again, [update])

    def deliver(self, when: float, updates: list[Update], *, is_snapshot: bool = False) -> None:
        connection = self.connection

        def arrive(now: float) -> None:
            if connection != self.connection:
                return
            event = OrderEvent(is_snapshot, tuple(update.order for update in updates))
            if is_snapshot and not updates and not self.snapshots:
                self.doubt_before = now
            self.snapshots += is_snapshot
            self.tell(lambda: self.ledger.apply(event, now))
            for update in updates:
                self.come(update)

        self.at(when, arrive)

    def come(self, update: Update) -> None:
        """What an update and those before it of its order tell is no news any more."""
        for other in self.updates:
            if other.deal == update.deal:
                other.is_news = False
            if other is update:
                return

    def join(self, now: float) -> None:
        """A connection stands: the exchange sends all open orders first."""
        self.is_up = True
        updates = []
        for deal in self.exchange.deals:
            if deal.status == "PENDING":
                deal.status = "OPEN"  # that state lasts for moments only
            if deal.status == "OPEN":
                order = parse_order(deal.fields)
                assert order is not None
                updates.append(Update(deal.number, order, {}, is_news=False))
        self.not_before = now + 0.25
        self.deliver(now + 0.25, updates, is_snapshot=True)

    def lose(self, now: float, step: Step) -> None:
        """The wire is cut with all that is in it, which is noticed a little later."""
        if not self.is_up:
            return
        self.is_up = self.is_noticed = False
        self.connection += 1
        self.at(now + step.late, self.notice)
        self.at(now + step.late + step.much, self.join)

    def notice(self, now: float) -> None:
        self.is_noticed = True
        self.tell(self.ledger.lost)
        for update in self.updates:
            update.is_news = False

    # -- the driver ----------------------------------------------------------------------------------------------

    def asks_at(self) -> float | None:
        if self.asked_at is not None:
            return None
        if self.last_asked < 0:
            return self.world.asks
        wait = ASK_EVERY_S if self.ledger.wants_answer else REFRESH_EVERY_S
        return max(self.now, self.last_asked + wait)

    def ask(self, now: float) -> None:
        self.asked_at = self.last_asked = now
        self.ledger.asking()
        takes = self.world.takes[next(self.takes) % len(self.world.takes)]
        seen = {}
        for currency in CURRENCIES:
            lag = self.world.rest[next(self.lags) % len(self.world.rest)]
            seen[currency] = lag
        self.at(now + takes, lambda at: self.answer(now, at, seen))

    def answer(self, asked_at: float, now: float, lags: dict[str, float]) -> None:
        accounts = []
        for currency, lag in lags.items():
            version = self.exchange.version(currency, asked_at - lag if lag >= 0 else now)
            available, hold = self.exchange.past[currency][version][1]
            accounts.append(Account(f"id-{currency}", currency, Decimal(text(available)), Decimal(text(hold))))
            self.deposits[currency] = [made for made in self.deposits[currency] if made > version]
        self.asked_at = None
        self.answers += 1
        if self.doubt_before is not None and asked_at >= self.doubt_before + LAG_S:
            self.doubt_before = None
        self.tell(lambda: self.ledger.answer(accounts, asked_at, now))

    # -- time ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen and arrive, then let the driver come to rest and refresh once more."""
        self.at(self.world.joins, self.join)
        when = 0.0
        for step in self.world.steps:
            when += step.wait
            self.at(when, partial(self.step, step))
        while self.agenda:
            self.advance()
        quiet, answers = self.now, self.answers
        while not self.is_at_rest:
            self.advance()
        assert self.answers <= answers + 4, f"{self.answers - answers} answers and more after the last event"
        assert self.now <= quiet + 45
        self.at(self.last_asked + REFRESH_EVERY_S, lambda now: None)
        refreshed = self.answers + 1
        while self.answers < refreshed or not self.is_at_rest:
            self.advance()
            assert self.answers < refreshed + 3

    @property
    def is_at_rest(self) -> bool:
        waits = self.agenda or self.asked_at is not None or self.ledger.settles_at is not None
        return not waits and not self.ledger.wants_answer and self.answers > 0

    def advance(self) -> None:
        """Go to the next moment at which anything happens."""
        settles_at, asks_at = self.ledger.settles_at, self.asks_at()
        happens_at = self.agenda[0][0] if self.agenda else 1e9
        self.now = max(self.now, min(happens_at, settles_at or 1e9, 1e9 if asks_at is None else asks_at))
        if happens_at <= self.now:
            heapq.heappop(self.agenda)[2](self.now)
        elif settles_at is not None and settles_at <= self.now:
            self.tell(lambda: self.ledger.settle(self.now))
            assert self.ledger.settles_at is None or self.ledger.settles_at > self.now
        else:
            self.ask(self.now)
        self.check()

    def step(self, step: Step, now: float) -> None:
        if step.do is Do.LOSE:
            self.lose(now, step)
            return
        update = self.exchange.act(now, step)
        if update is not None:
            self.send(update, step)
        elif step.do is Do.DEPOSIT:
            currency = CURRENCIES[step.which % 4]
            self.deposits[currency].append(self.exchange.version(currency))

    # -- what holds ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Whatever is confirmed and not suspect is true, as far as anyone can know."""
        for currency in CURRENCIES:
            state = self.ledger.state(currency)
            if state is None:
                continue
            if state != self.checked.get(currency):
                self.checked[currency] = state
                assert Fraction(state.amounts.total) == sum(map(Fraction, astuple(state.amounts)))
            if state.basis is Basis.CONFIRMED and not state.suspect:
                self.confirmations += 1
                assert state.amounts in set(self.honest(currency)), f"{currency} is {state.amounts} at {self.now}"

    def honest(self, currency: str) -> Iterator[Amounts]:
        """Yield what a wallet may be shown as."""
        past = self.exchange.past[currency]
        news = [update.made[currency] for update in self.updates if update.is_news and currency in update.made]
        news += self.deposits[currency]
        oldest = min(news, default=len(past)) - 1
        if self.doubt_before is not None:
            oldest = min(oldest, self.exchange.version(currency, self.doubt_before - max(REST_LAG)))
        yield from (amounts(wallet) for _, wallet in past[oldest:])
        available, hold = past[-1][1]
        for version in news:
            (_, before), (_, after) = past[version - 1 : version + 1]
            available, hold = available - after[0] + before[0], hold - after[1] + before[1]
        yield amounts((available, hold))

    def check_end(self) -> None:
        """Every wallet is the exchange's, confirmed and beyond doubt."""
        for currency in CURRENCIES:
            wallet = amounts(self.exchange.wallet(currency))
            assert self.ledger.state(currency) == State(wallet, Basis.CONFIRMED, False, f"id-{currency}")


@cache
def amounts(wallet: Wallet) -> Amounts:
    """Return a wallet as the ledger says it."""
    return Amounts(Decimal(text(wallet[0])), Decimal(text(wallet[1])))


ORDERS = [Do.PLACE, Do.PLACE, Do.FILL, Do.FILL, Do.CANCEL, Do.MARKET, Do.EXPIRE, Do.FAIL]
many = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
some = settings(many, max_examples=50)


def run(world: World) -> Run:
    """Let a history happen, with all checks."""
    result = Run(world)
    result.run()
    result.check_end()
    return result


@many
@given(worlds(kinds=[*ORDERS, Do.EDIT, Do.DEPOSIT, Do.LOSE]))
def test_right_or_marked_and_exact_in_the_end(world: World) -> None:
    """Through deposits, losses, repeats and any order, the ledger is right or marked, and exact in the end."""
    run(world)


@some
@given(worlds(kinds=[*ORDERS, Do.EDIT, Do.DEPOSIT, Do.LOSE, Do.QUEUE, Do.PEND], late=VERY_LATE))
def test_updates_that_come_very_late(world: World) -> None:
    """Nor does it lie where updates come later than it waits for them, and snapshots do not list every order."""
    run(world)


@some
@given(worlds(kinds=ORDERS))
def test_no_difference_without_a_cause(world: World) -> None:
    """Without deposits and losses REST and the updates never differ, whatever the lag and the order of arrival."""
    ledger = run(world).ledger
    assert (ledger.counts.differences, ledger.take_differences()) == (0, [])


@some
@given(worlds(kinds=[*ORDERS, Do.EDIT], in_order=True, again=False))
def test_no_difference_after_an_edit(world: World) -> None:
    """Nor do they after orders were edited, as long as an order's updates come in order."""
    assert run(world).ledger.counts.differences == 0
