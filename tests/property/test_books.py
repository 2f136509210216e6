"""Laws of the book: nothing dirty is lost, and Redis never goes back in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streamer.ingest.books import Pending, TickerBook
from streamer.model import ProductId, Source, Stamp, Tick, TickerFields

PRODUCTS = [ProductId(name) for name in ("BTC-USD", "ETH-USD", "SOL-USD", "BTC-USDC")]
STAMPS = [Stamp("market-0", number, Source.COINBASE) for number in range(3)]


@dataclass(frozen=True)
class Arrives:
    """A tick reaches the book; sequences may repeat and come late, also those of an older connection."""

    product_id: ProductId
    connection: int
    sequence: int

    @property
    def rank(self) -> tuple[int, int]:
        """Newer ticks rank higher: the exchange's time rises with connection and sequence."""
        return self.connection, self.sequence

    def tick(self, now: int) -> Tick:
        time = f"2026-11-20T15:{self.connection:02}:{self.sequence:02}Z"
        return Tick(TickerFields(price="1"), STAMPS[self.connection], self.sequence, time, float(now))


@dataclass(frozen=True)
class Drains:
    """The sink takes a batch and starts to write it."""

    limit: int


@dataclass(frozen=True)
class Answers:
    """Redis answers the write under way, or does not."""

    ok: bool


@dataclass(frozen=True)
class Doubts:
    """A gap makes a product suspect."""

    product_id: ProductId


@dataclass(frozen=True)
class Rewrites:
    """Another Redis may be answering: all of it again."""


Step = Arrives | Drains | Answers | Doubts | Rewrites

arrivals = st.builds(Arrives, st.sampled_from(PRODUCTS), st.integers(0, 2), st.integers(0, 20))
steps = st.lists(
    st.one_of(
        arrivals,
        arrivals,
        st.builds(Drains, st.integers(1, 5)),
        st.builds(Answers, st.booleans()),
        st.builds(Doubts, st.sampled_from(PRODUCTS)),
        st.builds(Rewrites),
    ),
    max_size=60,
)


@dataclass
class World:
    """A book, a sink with at most one write under way, and what an observer knows without looking inside."""

    wakes: int = 0
    book: TickerBook = field(init=False)
    under_way: list[Pending] = field(default_factory=list)
    written: list[Pending] = field(default_factory=list)
    newest: dict[ProductId, tuple[int, int]] = field(default_factory=dict)
    suspect: set[ProductId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.book = TickerBook(self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def run(self, todo: Iterable[Step]) -> None:
        """Take each step, with `now` counting them."""
        for now, step in enumerate(todo):
            idle, wakes = not self.book.dirty, self.wakes
            self._take(step, now)
            if idle and self.book.dirty and not isinstance(step, Answers):
                # After a failed write the sink goes on by itself; else it would sleep on.
                assert self.wakes == wakes + 1, "dirty, but nobody was woken"
            assert self.book.dirty <= len(PRODUCTS)

    def _take(self, step: Step, now: int) -> None:
        if isinstance(step, Arrives):
            newest = self.newest.get(step.product_id)
            taken = self.book.apply(step.product_id, step.tick(now))
            assert taken is (newest is None or step.rank > newest)
            if taken:
                self.newest[step.product_id] = step.rank
                self.suspect.discard(step.product_id)
        elif isinstance(step, Drains):
            if not self.under_way:
                self.under_way = self.book.drain(step.limit)
                assert len(self.under_way) <= step.limit
        elif isinstance(step, Answers):
            if step.ok:
                self.written += self.under_way
            else:
                self.book.restore(self.under_way)
            self.under_way = []
        elif isinstance(step, Doubts):
            self.book.suspect([step.product_id], float(now))
            if step.product_id in self.newest:
                self.suspect.add(step.product_id)
        else:
            self.book.rewrite(None, float(now))

    def finish(self, ok: bool) -> None:
        """Let the write under way end, then write until nothing is dirty."""
        self._take(Answers(ok), 1000)
        rounds = 0
        while self.book.dirty:
            self.written += self.book.drain(2)
            rounds += 1
            assert rounds <= len(PRODUCTS), "a drain that does not end"


def rank(pending: Pending) -> tuple[int, int]:
    """How new a written value is."""
    return pending.tick.stamp.connection, pending.tick.sequence


@given(steps, st.booleans())
def test_nothing_dirty_is_lost(todo: list[Step], ok: bool) -> None:
    """After a final drain Redis has the newest value and the true doubt of every product, whatever failed."""
    world = World()
    world.run(todo)
    world.finish(ok)
    last = {pending.product_id: pending for pending in world.written}
    assert {product_id: rank(pending) for product_id, pending in last.items()} == world.newest
    assert {product_id for product_id, pending in last.items() if pending.suspect} == world.suspect


@given(steps, st.booleans())
def test_redis_never_goes_back(todo: list[Step], ok: bool) -> None:
    """The values written of a product only get newer: within a connection by sequence, across them by time."""
    world = World()
    world.run(todo)
    world.finish(ok)
    for product_id in PRODUCTS:
        ranks = [rank(pending) for pending in world.written if pending.product_id == product_id]
        assert ranks == sorted(ranks)


@given(steps)
def test_a_batch_names_each_product_once(todo: list[Step]) -> None:
    """One script call never holds two values of a product."""
    world = World()
    world.run(todo)
    batch = [pending.product_id for pending in world.book.drain(500)]
    assert len(batch) == len(set(batch))
    assert world.book.dirty == 0


@given(st.lists(arrivals, max_size=40), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(arrived: list[Arrives], random: Random) -> None:
    """The same ticks in any order, and twice over, leave the same book."""
    one, other = World(), World()
    one.run(arrived)
    shuffled = arrived * 2
    random.shuffle(shuffled)
    other.run(shuffled)
    assert one.newest == other.newest
    assert one.book.refused + sum(one.book.updates.values()) == len(arrived)


@given(steps, st.sets(st.sampled_from(PRODUCTS)), steps)
def test_what_is_forgotten_stays_away(before: list[Step], keep: set[ProductId], after: list[Step]) -> None:
    """A product nobody wants is written no more, unless it is wanted and seen again."""
    world = World()
    world.run(before)
    world.book.forget(keep)
    world.newest = {product_id: newest for product_id, newest in world.newest.items() if product_id in keep}
    world.suspect &= keep
    world._take(Answers(ok=False), 1000)
    world.written.clear()
    world.run(after)
    world.finish(ok=True)
    assert {pending.product_id for pending in world.written} <= world.newest.keys()
