"""The book: newest wins, dirty is what Redis does not have yet."""

from __future__ import annotations

import pytest

from streamer.ingest.books import Pending, TickerBook
from streamer.model import ProductId, Source, Stamp, Tick, TickerFields

BTC, ETH, SOL = ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("SOL-USD")
ONE, TWO = Stamp("market-0", 1, Source.COINBASE), Stamp("market-0", 2, Source.COINBASE)


def tick(
    sequence: int,
    *,
    price: str = "1",
    stamp: Stamp = ONE,
    time: str = "2026-11-20T15:04:06Z",
    received_s: float = 0.0,
) -> Tick:
    """A tick that differs from others in what is given."""
    return Tick(TickerFields(product_id=BTC, price=price), stamp, sequence, time, received_s)


class Wakes:
    """Counts how often the sink is woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


# -- newest wins ------------------------------------------------------------------------------------------------


def test_first_tick_is_taken() -> None:
    """A product is known from its first tick on."""
    book, first = TickerBook(), tick(1)
    assert book.get(BTC) is None
    assert book.apply(BTC, first)
    assert book.get(BTC) is first
    assert (len(book), book.dirty, dict(book.updates), book.refused) == (1, 1, {BTC: 1}, 0)


@pytest.mark.parametrize("sequence", [4, 5])
def test_older_or_repeated_tick_of_a_connection_is_refused(sequence: int) -> None:
    """Within a connection the sequence decides, whatever the time says; replay is harmless."""
    book, newest = TickerBook(), tick(5)
    book.apply(BTC, newest)
    assert not book.apply(BTC, tick(sequence, price="2", time="2027-01-01T00:00:00Z"))
    assert book.get(BTC) is newest
    assert (book.refused, book.updates[BTC]) == (1, 1)


def test_newer_tick_of_a_connection_is_taken_whatever_its_time() -> None:
    """A clock of the exchange that steps back does not stop the prices."""
    book = TickerBook()
    book.apply(BTC, tick(5, time="2026-11-20T15:04:06Z"))
    assert book.apply(BTC, tick(6, time="2020-01-01T00:00:00Z"))


@pytest.mark.parametrize(
    ("held", "offered", "taken"),
    [
        ("2026-11-20T15:04:06Z", "2026-11-20T15:04:07Z", True),
        ("2026-11-20T15:04:06Z", "2026-11-20T15:04:06Z", True),
        ("2026-11-20T15:04:06.5Z", "2026-11-20T15:04:06.5Z", True),
        ("2026-11-20T15:04:06Z", "2026-11-20T15:04:05.999999999Z", False),
        ("2026-11-20T15:04:06.39Z", "2026-11-20T15:04:06.390000001Z", True),
        ("2026-11-20T15:04:06.390000001Z", "2026-11-20T15:04:06.39Z", False),
        ("2026-11-20T15:04:06.1Z", "2026-11-20T15:04:06Z", False),
        ("2026-11-20T15:04:06Z", "2026-11-20T15:04:06.1Z", True),
        ("2026-11-20T15:04:06.09Z", "2026-11-20T15:04:06.1Z", True),
        ("2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00Z", True),
    ],
)
def test_across_connections_the_time_decides(held: str, offered: str, taken: bool) -> None:
    """Sequences of two connections cannot be compared; times can, with any number of decimals."""
    book = TickerBook()
    book.apply(BTC, tick(900, time=held))
    assert book.apply(BTC, tick(1, stamp=TWO, time=offered)) is taken


def test_products_do_not_share_a_sequence_check() -> None:
    """A frame of one product is not old because another product is further."""
    book = TickerBook()
    assert book.apply(BTC, tick(9))
    assert book.apply(ETH, tick(3))


# -- dirty ------------------------------------------------------------------------------------------------------


def test_ticks_conflate() -> None:
    """Ten ticks of a product are one write, of the newest, waiting since the oldest."""
    book = TickerBook()
    for number in range(10):
        book.apply(BTC, tick(number, price=str(number), received_s=100.0 + number))
    [pending] = book.drain(500)
    assert (pending.tick.fields.price, pending.since_s) == ("9", 100.0)
    assert (book.dirty, book.oldest_dirty_s()) == (0, None)
    assert book.drain(500) == []


def test_sink_is_woken_once_for_what_waits() -> None:
    """`on_dirty` is called when there is something where there was nothing, not for every tick."""
    wakes = Wakes()
    book = TickerBook(wakes)
    book.apply(BTC, tick(1))
    book.apply(BTC, tick(2))
    book.apply(ETH, tick(3))
    assert wakes.count == 1
    book.drain(500)
    book.apply(BTC, tick(4))
    assert wakes.count == 2


def test_refused_tick_wakes_nobody() -> None:
    """What changes nothing is not written."""
    wakes = Wakes()
    book = TickerBook(wakes)
    book.apply(BTC, tick(1))
    book.drain(500)
    book.apply(BTC, tick(1))
    assert (book.dirty, wakes.count) == (0, 1)


def test_drain_hands_over_the_longest_waiting_first() -> None:
    """A busy product does not keep a quiet one waiting."""
    book = TickerBook()
    for number, product_id in enumerate((BTC, ETH, SOL)):
        book.apply(product_id, tick(number, received_s=float(number)))
    book.apply(BTC, tick(9, received_s=9.0))
    assert book.oldest_dirty_s() == 0.0
    assert [pending.product_id for pending in book.drain(2)] == [BTC, ETH]
    assert (book.dirty, book.oldest_dirty_s()) == (1, 2.0)
    assert [pending.product_id for pending in book.drain(2)] == [SOL]


def test_drain_of_nothing_takes_nothing() -> None:
    """A limit of 0 leaves everything dirty."""
    book = TickerBook()
    book.apply(BTC, tick(1))
    assert book.drain(0) == []
    assert book.dirty == 1


# -- restore ----------------------------------------------------------------------------------------------------


def test_failed_write_waits_again_since_it_first_waited() -> None:
    """An outage shows in the lag: the wait does not start over."""
    book = TickerBook()
    book.apply(BTC, tick(1, received_s=100.0))
    book.restore(book.drain(500))
    assert book.oldest_dirty_s() == 100.0
    [pending] = book.drain(500)
    assert pending == Pending(BTC, tick(1, received_s=100.0), suspect=False, since_s=100.0)


def test_restored_product_is_written_with_its_newest_value() -> None:
    """What changed while the write failed is what goes out next, and it waits since the older change."""
    book = TickerBook()
    book.apply(BTC, tick(1, received_s=100.0))
    batch = book.drain(500)
    book.apply(BTC, tick(2, price="2", received_s=105.0))
    book.restore(batch)
    [pending] = book.drain(500)
    assert (pending.tick.sequence, pending.since_s) == (2, 100.0)


def test_restored_products_go_before_later_ones() -> None:
    """What has waited through a failed write is first in the next."""
    book = TickerBook()
    book.apply(BTC, tick(1, received_s=100.0))
    book.apply(ETH, tick(2, received_s=101.0))
    batch = book.drain(1)
    book.apply(SOL, tick(3, received_s=102.0))
    book.restore(batch)
    assert [pending.product_id for pending in book.drain(500)] == [BTC, ETH, SOL]


def test_restore_does_not_bring_back_what_was_forgotten() -> None:
    """A product dropped during a failed write stays dropped."""
    book = TickerBook()
    book.apply(BTC, tick(1))
    batch = book.drain(500)
    book.forget([])
    book.restore(batch)
    assert (book.dirty, book.drain(500)) == (0, [])


# -- suspects ---------------------------------------------------------------------------------------------------


def test_suspect_is_written_and_healed_by_the_next_tick() -> None:
    """Readers see the doubt, and see it go."""
    book = TickerBook()
    book.apply(BTC, tick(1))
    book.drain(500)
    book.suspect([BTC], 50.0)
    [pending] = book.drain(500)
    assert (pending.suspect, pending.since_s) == (True, 50.0)
    book.apply(BTC, tick(2))
    assert [pending.suspect for pending in book.drain(500)] == [False]


def test_refused_tick_does_not_heal() -> None:
    """An old value says nothing about what was lost."""
    book = TickerBook()
    book.apply(BTC, tick(5))
    book.suspect([BTC], 1.0)
    book.apply(BTC, tick(5))
    assert [pending.suspect for pending in book.drain(500)] == [True]


def test_product_without_a_value_is_not_suspect() -> None:
    """There is nothing to doubt before the first tick."""
    book = TickerBook()
    book.suspect([BTC], 1.0)
    assert book.dirty == 0
    book.apply(BTC, tick(1))
    assert [pending.suspect for pending in book.drain(500)] == [False]


def test_suspect_twice_is_written_once() -> None:
    """A stream of gaps is no stream of writes."""
    book = TickerBook()
    book.apply(BTC, tick(1))
    book.suspect([BTC], 1.0)
    book.drain(500)
    book.suspect([BTC], 2.0)
    assert book.dirty == 0


def test_suspicion_reaches_a_write_that_failed() -> None:
    """A batch restored after a gap goes out as suspect."""
    book = TickerBook()
    book.apply(BTC, tick(1))
    batch = book.drain(500)
    book.suspect([BTC], 1.0)
    book.restore(batch)
    assert [pending.suspect for pending in book.drain(500)] == [True]


# -- rewrite and forget -----------------------------------------------------------------------------------------


def test_rewrite_of_all_makes_all_dirty() -> None:
    """Another Redis gets the whole state; the sink is woken."""
    wakes = Wakes()
    book = TickerBook(wakes)
    for number, product_id in enumerate((BTC, ETH)):
        book.apply(product_id, tick(number))
    book.drain(500)
    book.rewrite(None, 70.0)
    assert wakes.count == 2
    assert [(pending.product_id, pending.since_s) for pending in book.drain(500)] == [(BTC, 70.0), (ETH, 70.0)]


def test_rewrite_of_some_leaves_the_rest() -> None:
    """Only the named products that have a value are written again; nothing is counted as an update."""
    book = TickerBook()
    for number, product_id in enumerate((BTC, ETH)):
        book.apply(product_id, tick(number))
    book.drain(500)
    book.rewrite([ETH, SOL], 70.0)
    assert [pending.product_id for pending in book.drain(500)] == [ETH]
    assert dict(book.updates) == {BTC: 1, ETH: 1}


def test_rewrite_of_some_keeps_the_age_of_what_already_waits() -> None:
    """A change that waits since 100 does not become younger."""
    book = TickerBook()
    book.apply(BTC, tick(1, received_s=100.0))
    book.rewrite([BTC], 170.0)
    assert book.oldest_dirty_s() == 100.0


def test_rewrite_of_all_starts_the_wait_anew() -> None:
    """It comes with a new epoch: what waited while another ingester owned the shard did not wait for us."""
    book = TickerBook()
    book.apply(BTC, tick(1, received_s=100.0))
    book.rewrite(None, 170.0)
    assert book.oldest_dirty_s() == 170.0


def test_forget_drops_all_but_what_is_kept() -> None:
    """What nobody wants takes no memory and is not written any more."""
    book = TickerBook()
    for number, product_id in enumerate((BTC, ETH, SOL)):
        book.apply(product_id, tick(number))
    book.suspect([BTC], 1.0)
    book.forget([ETH])
    assert (len(book), book.get(BTC), dict(book.updates)) == (1, None, {ETH: 1})
    assert [pending.product_id for pending in book.drain(500)] == [ETH]


def test_forgotten_product_starts_afresh() -> None:
    """Wanted again, a product takes any tick and carries no old doubt."""
    book = TickerBook()
    book.apply(BTC, tick(9))
    book.suspect([BTC], 1.0)
    book.forget([])
    assert book.apply(BTC, tick(2))
    assert [pending.suspect for pending in book.drain(500)] == [False]


# -- jumps ------------------------------------------------------------------------------------------------------


def drained(book: TickerBook, sequence: int, price: str) -> Pending:
    """What goes out of a tick that comes a tenth of a second after the one before it."""
    book.apply(BTC, tick(sequence, price=price, received_s=sequence / 10))
    [pending] = book.drain(500)
    return pending


def watched() -> TickerBook:
    """A book that has written thirty ticks of a quiet product."""
    book = TickerBook()
    for sequence in range(30):
        assert drained(book, sequence, f"84000.0{sequence % 3}").jump is None
    return book


def test_a_price_that_jumps_goes_out_marked() -> None:
    """The tick itself as it came; the one that comes back is not marked."""
    book = watched()
    pending = drained(book, 30, "86000.00")
    assert (pending.tick.fields.price, book.jumps) == ("86000.00", 1)
    assert str(pending.jump).startswith("price jumped 2.4 % in one tick")
    assert drained(book, 31, "84000.01").jump is None
    assert book.jumps == 1


def test_a_tick_that_is_written_again_confirms_nothing() -> None:
    """Renewed or after a failure it is still the one jump; others at that price make it the level."""
    book = watched()
    first = drained(book, 30, "86000.00")
    for _ in range(5):
        book.rewrite(None, 9.0)
        [again] = book.drain(500)
        book.restore([again])
        assert again.jump == first.jump
    assert book.jumps == 1
    assert [drained(book, sequence, "86000.00").jump is None for sequence in (31, 32, 33)] == [False, True, True]


def test_what_is_replaced_before_it_is_written_is_not_judged() -> None:
    """Nobody reads it, and it leaves no trace."""
    book = watched()
    book.apply(BTC, tick(30, price="860000.00"))
    assert drained(book, 31, "84000.01").jump is None
    assert (book.conflated, book.jumps) == (1, 0)


def test_products_have_bands_of_their_own_and_lose_them_when_forgotten() -> None:
    """Another price is no jump where the product is another, or is wanted anew."""
    book = watched()
    book.apply(ETH, tick(31, price="3100.00", received_s=3.1))
    assert [pending.jump for pending in book.drain(500)] == [None]
    book.forget([])
    assert drained(book, 32, "91000.00").jump is None
