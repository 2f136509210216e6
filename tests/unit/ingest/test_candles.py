"""The candle book: who wins, what is covered, and what Redis does not have yet."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from streamer.ingest.candles import KEEP, CandleBook
from streamer.model import CANDLE_S, Bucket, ProductId, Source, Stamp

BTC, ETH, SOL = ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("SOL-USD")
ONE, TWO = Stamp("candles-0", 1, Source.COINBASE), Stamp("candles-0", 2, Source.COINBASE)
T0 = 1_795_186_800
"""Start of a bucket; others are counted from it."""
TIME = "2026-11-20T15:04:06Z"


def bucket(number: int, volume: str = "1", close: str = "10") -> Bucket:
    """The bucket so many after T0."""
    return Bucket(T0 + number * CANDLE_S, "10", "11", "9", close, volume)


def at(number: int, second: float = 60) -> float:
    """A moment within a bucket."""
    return T0 + number * CANDLE_S + second


def start(number: int) -> int:
    """Where a bucket starts."""
    return T0 + number * CANDLE_S


def apply(
    book: CandleBook,
    buckets: Iterable[Bucket | int],
    *,
    sequence: int = 1,
    stamp: Stamp = ONE,
    now_s: float | None = None,
    time: str = TIME,
    is_snapshot: bool = False,
    product_id: ProductId = BTC,
) -> bool:
    """Take a message that reaches us in the middle of its newest bucket."""
    given = [bucket(each) if isinstance(each, int) else each for each in buckets]
    received_s = max((b.start_s for b in given), default=T0) + 60 if now_s is None else now_s
    return book.apply(
        product_id,
        given,
        stamp=stamp,
        sequence=sequence,
        time=time,
        received_s=received_s,
        is_snapshot=is_snapshot,
    )


def snapshot(book: CandleBook, *numbers: int, sequence: int = 1, stamp: Stamp = ONE) -> bool:
    """Take a snapshot of these buckets."""
    return apply(book, numbers, sequence=sequence, stamp=stamp, is_snapshot=True)


def numbers(book: CandleBook) -> list[int]:
    """Which buckets the book holds."""
    return [(b.start_s - T0) // CANDLE_S for b in book.buckets(BTC)]


def since(book: CandleBook) -> int | None:
    """From which bucket on it has everything."""
    since_s = book.since_s(BTC)
    return None if since_s is None else (since_s - T0) // CANDLE_S


def answered(book: CandleBook, first: int, last: int, *, asked: float | None = None) -> bool:
    """Take a REST answer that holds a bucket for each from `first` to `last`, asked for within the last."""
    to_s = int(at(last) if asked is None else asked)
    return book.backfilled(BTC, [bucket(n) for n in range(first, last + 1)], start(first), to_s)


class Wakes:
    """Counts how often the sink is woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


# -- which values win -------------------------------------------------------------------------------------------


def test_first_message_is_taken() -> None:
    """A product is known from its first message on, oldest bucket first."""
    book = CandleBook()
    assert (len(book), book.buckets(BTC), since(book), book.stamp(BTC)) == (0, [], None, None)
    assert snapshot(book, 1, 0)
    assert (len(book), numbers(book), since(book), book.stamp(BTC)) == (1, [0, 1], 0, ONE)


@pytest.mark.parametrize("volume", ["0.5", "1", "2"])
def test_within_a_connection_the_later_message_wins(volume: str) -> None:
    """Whatever its volume: the exchange may correct itself."""
    book = CandleBook()
    apply(book, [bucket(0)], sequence=5)
    assert apply(book, [bucket(0, volume, close="12")], sequence=6)
    assert book.buckets(BTC) == [bucket(0, volume, close="12")]


@pytest.mark.parametrize("sequence", [4, 5])
def test_older_or_repeated_message_changes_nothing(sequence: int) -> None:
    """Replay is harmless."""
    book = CandleBook()
    apply(book, [bucket(0)], sequence=5)
    book.drain(500)
    assert not apply(book, [bucket(0, "0.5", close="12")], sequence=sequence)
    assert (book.buckets(BTC), book.dirty) == ([bucket(0)], 0)


def test_late_message_brings_a_bucket_that_later_ones_did_not_repeat() -> None:
    """The message decides for each bucket by itself."""
    book = CandleBook()
    apply(book, [bucket(0, "1")], sequence=1)
    apply(book, [bucket(1)], sequence=3)
    assert apply(book, [bucket(0, "2")], sequence=2)
    assert book.buckets(BTC)[0].volume == "2"


@pytest.mark.parametrize(
    ("held", "offered", "wins"),
    [
        ("9", "10", True),
        ("10", "9", False),
        ("1.50", "1.5", False),
        ("0.00000001", "0", False),
        ("2", "2.0001", True),
    ],
)
def test_across_connections_the_larger_volume_wins(held: str, offered: str, wins: bool) -> None:
    """Compared as numbers; of equal ones what we have stays."""
    book = CandleBook()
    apply(book, [bucket(0, held)], sequence=9)
    apply(book, [bucket(0, offered, close="12")], stamp=TWO, sequence=1)
    assert (book.buckets(BTC)[0].close == "12") is wins


@pytest.mark.parametrize(("volume", "wins"), [("0.9", False), ("1.0", False), ("1.1", True)])
def test_against_rest_the_larger_volume_wins(volume: str, wins: bool) -> None:
    """An answer may be older or newer than what was streamed meanwhile."""
    book = CandleBook()
    apply(book, [bucket(0)])
    book.backfilled(BTC, [bucket(0, volume, close="12")], start(0), int(at(0)))
    assert (book.buckets(BTC)[0].close == "12") is wins


def test_stream_goes_on_after_rest_was_ahead() -> None:
    """A message that knows less than REST did is passed over, and one that knows more is taken."""
    book = CandleBook()
    apply(book, [bucket(0, "1")], sequence=1)
    book.backfilled(BTC, [bucket(0, "3")], start(0), int(at(0)))
    apply(book, [bucket(0, "2")], sequence=2)
    assert book.buckets(BTC)[0].volume == "3"
    apply(book, [bucket(0, "4")], sequence=3)
    assert book.buckets(BTC)[0].volume == "4"


def test_bucket_twice_in_a_message_counts_once() -> None:
    """The one that knows more stays, whichever comes first."""
    book = CandleBook()
    apply(book, [bucket(0, "1"), bucket(0, "3"), bucket(0, "2")])
    assert book.buckets(BTC) == [bucket(0, "3")]


@pytest.mark.parametrize("start_s", [T0 + 1, -CANDLE_S, T0 + 90_000, 999_999_999_900])
def test_bucket_out_of_place_is_refused(start_s: int) -> None:
    """It is not at a multiple of five minutes, or far ahead: it would stay the newest for ever."""
    book = CandleBook()
    out_of_place = Bucket(start_s, "1", "1", "1", "1", "1")
    assert not apply(book, [out_of_place], now_s=at(0))
    assert (len(book), book.refused) == (0, 1)
    assert apply(book, [out_of_place, bucket(0)], now_s=at(0))
    assert (numbers(book), book.refused) == ([0], 2)


def test_empty_message_is_none() -> None:
    """It says neither what there is nor what there is not."""
    book = CandleBook()
    assert not apply(book, [], is_snapshot=True)
    assert len(book) == 0


# -- how many are kept ------------------------------------------------------------------------------------------


def test_newest_350_are_kept() -> None:
    """Older ones go, come no more, and coverage begins after them."""
    book = CandleBook()
    snapshot(book, *range(KEEP))
    assert (numbers(book), since(book)) == (list(range(KEEP)), 0)
    apply(book, [KEEP], sequence=2)
    assert (numbers(book), since(book)) == (list(range(1, KEEP + 1)), 1)
    book.drain(500)
    assert not apply(book, [bucket(0, "99")], sequence=3)
    assert not answered(book, -3, 0)
    assert (numbers(book)[0], since(book), book.dirty) == (1, 1, 0)


def test_a_bucket_filled_in_evicts_the_oldest() -> None:
    """What counts is which are the newest, not when they came."""
    book = CandleBook(keep=3)
    snapshot(book, 0, 1, 3)
    answered(book, 0, 3)
    assert (numbers(book), since(book)) == ([1, 2, 3], 1)


def test_buckets_of_a_quiet_product_reach_far_back() -> None:
    """Where little is traded the newest few are old ones, and what is between them had no trades."""
    book = CandleBook(keep=3)
    snapshot(book, 0, 500, 1000)
    assert (numbers(book), since(book)) == ([0, 500, 1000], 0)


# -- coverage ---------------------------------------------------------------------------------------------------


def test_snapshot_covers_from_its_oldest_bucket_on() -> None:
    """What is missing in its range had no trades."""
    book = CandleBook()
    snapshot(book, 0, 3, 7)
    assert since(book) == 0


def test_what_is_no_snapshot_covers_an_unbroken_run() -> None:
    """An update of several buckets does not say that there is nothing between them."""
    book = CandleBook()
    apply(book, [0, 3, 4, 5])
    assert since(book) == 3


def test_later_snapshot_that_reaches_further_back_extends_coverage() -> None:
    """As after a subscription is repeated on the same connection."""
    book = CandleBook()
    apply(book, [5], sequence=1)
    snapshot(book, 2, 3, 5, sequence=2)
    assert since(book) == 2


@pytest.mark.parametrize("stamp", [ONE, TWO])
def test_after_a_loss_a_snapshot_that_reaches_back_joins(stamp: Stamp) -> None:
    """On the same connection or the next: its oldest bucket is the one that was open when we lost the stream."""
    book = CandleBook()
    snapshot(book, 0, 1, 4)
    book.lost([BTC], at(4))
    assert (since(book), book.is_suspect(BTC)) == (0, True)
    snapshot(book, 4, 6, sequence=2, stamp=stamp)
    assert (since(book), book.is_suspect(BTC)) == (0, False)


@pytest.mark.parametrize("stamp", [ONE, TWO])
def test_after_a_loss_coverage_starts_anew_where_nothing_reaches_back(stamp: Stamp) -> None:
    """What was traded between is not known."""
    book = CandleBook()
    snapshot(book, 0, 1, 4)
    book.lost([BTC], at(4))
    snapshot(book, 5, 6, sequence=2, stamp=stamp)
    assert (since(book), numbers(book)) == (5, [0, 1, 4, 5, 6])


def test_update_of_the_bucket_that_was_open_joins() -> None:
    """A bucket is sent whole each time, so what was lost of it is made good."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.lost([BTC], at(1))
    apply(book, [1], sequence=3)
    assert since(book) == 0


def test_a_snapshot_after_a_first_update_still_joins() -> None:
    """What was complete before the loss is remembered until it can be joined."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.lost([BTC], at(1))
    apply(book, [3], sequence=3)
    assert since(book) == 3
    snapshot(book, 1, 2, 3, sequence=4)
    assert since(book) == 0


@pytest.mark.parametrize(("second", "joins"), [(0.0, False), (5.9, False), (6.0, True), (299.0, True)])
def test_bucket_that_ended_a_moment_before_the_loss_may_lack_its_last_trades(second: float, joins: bool) -> None:
    """A loss is noticed some seconds late, and last values come late: 6 s for both."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.lost([BTC], at(2, second))
    snapshot(book, 2, sequence=2)
    assert (since(book) == 0) is joins


def test_only_the_first_of_several_losses_counts() -> None:
    """What is lost already was not seen any later."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.lost([BTC], at(1))
    book.lost([BTC], at(9))
    snapshot(book, 9, sequence=2)
    assert since(book) == 9


def test_another_connection_is_a_loss_though_nobody_said_so() -> None:
    """Since the last message we cannot know."""
    book = CandleBook()
    snapshot(book, 0, 1)
    snapshot(book, 3, stamp=TWO)
    assert since(book) == 3
    snapshot(book, 1, 2, 3, stamp=TWO, sequence=2)
    assert since(book) == 0


def test_what_an_old_connection_still_says_proves_nothing() -> None:
    """Its buckets are taken where they know more; the state of the stream is that of the new one."""
    book = CandleBook()
    snapshot(book, 3, stamp=TWO)
    assert apply(book, [bucket(0), bucket(3, "5")], stamp=ONE, sequence=99)
    assert (since(book), book.stamp(BTC), numbers(book)) == (3, TWO, [0, 3])
    assert book.buckets(BTC)[-1].volume == "5"


def test_product_moved_to_an_older_connection_is_followed() -> None:
    """Where what it says is newer by the exchange's time."""
    book = CandleBook()
    snapshot(book, 0, 1, stamp=TWO)
    book.lost([BTC], at(1))
    apply(book, [bucket(1, "2")], stamp=ONE, sequence=7, time="2026-11-20T15:04:06.1Z")
    assert (since(book), book.stamp(BTC), book.is_suspect(BTC)) == (0, ONE, False)


def test_repeated_message_heals_nothing() -> None:
    """After a loss, only what is newer says that the stream is back."""
    book = CandleBook()
    snapshot(book, 0, 1, sequence=5)
    book.lost([BTC], at(1))
    for sequence in (4, 5):
        snapshot(book, 0, 1, sequence=sequence)
        assert book.is_suspect(BTC)


def test_message_that_speaks_twice_of_a_product_covers_all_it_says() -> None:
    """Two events of one frame are one message."""
    book = CandleBook()
    snapshot(book, 5, 6, sequence=5)
    snapshot(book, 2, 3, sequence=5)
    assert since(book) == 2


def test_loss_of_what_was_never_seen_is_none() -> None:
    """There is nothing to doubt."""
    wakes = Wakes()
    book = CandleBook(wakes)
    book.lost([BTC], at(0))
    assert (len(book), book.dirty, wakes.count) == (0, 0, 0)


def test_a_stream_lost_in_its_first_bucket_has_covered_nothing() -> None:
    """What is complete starts and ends there, and what is older does not reach up to it."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.lost([BTC], at(1))
    snapshot(book, 5, sequence=2)
    book.lost([BTC], at(5))
    assert since(book) == 5


# -- backfill ---------------------------------------------------------------------------------------------------


def test_backfill_joins_what_is_streamed() -> None:
    """It ends where the stream begins, or later."""
    book = CandleBook()
    snapshot(book, 9, 10)
    assert answered(book, 0, 10)
    assert (since(book), numbers(book)) == (0, list(range(11)))


def test_backfill_before_the_stream_joins_when_it_comes() -> None:
    """In whichever order; nothing is written before a connection vouches for it."""
    wakes = Wakes()
    book = CandleBook(wakes)
    answered(book, 0, 10)
    assert (book.dirty, wakes.count, book.since_s(BTC)) == (0, 0, start(0))
    snapshot(book, 10, stamp=ONE)
    assert (since(book), wakes.count) == (0, 1)
    [pending] = book.drain(500)
    assert (pending.size, len(pending.buckets), pending.is_whole) == (11, 11, True)


def test_backfill_that_leaves_a_hole_does_not_join() -> None:
    """And is kept for one that closes it."""
    book = CandleBook()
    snapshot(book, 20)
    answered(book, 0, 10)
    assert since(book) == 20
    answered(book, 10, 20)
    assert since(book) == 0


def test_bucket_that_is_open_when_rest_answers_is_not_complete() -> None:
    """Neither is one that has just ended: its last trades may not be there yet."""
    book = CandleBook()
    answered(book, 0, 4, asked=at(4, 1))
    snapshot(book, 4, stamp=ONE)
    assert since(book) == 4
    answered(book, 0, 4, asked=at(4, 2))
    assert since(book) == 0


def test_backfill_of_part_of_a_bucket_covers_from_the_next() -> None:
    """A range may begin anywhere."""
    book = CandleBook()
    snapshot(book, 4)
    book.backfilled(BTC, [], start(0) + 1, int(at(4)))
    assert since(book) == 1


def test_missing_in_a_backfill_is_known_to_be_empty() -> None:
    """The answer is complete: coverage grows though no bucket is added."""
    book = CandleBook()
    snapshot(book, 4)
    book.drain(500)
    assert book.backfilled(BTC, [], start(0), int(at(4)))
    [pending] = book.drain(500)
    assert (pending.since_s, pending.buckets, pending.is_whole) == (start(0), (), False)


def test_needs_lists_short_coverage_in_stable_order() -> None:
    """In the order given, without what is not known or not streamed."""
    book = CandleBook()
    for product_id in (ETH, BTC):
        apply(book, [5], product_id=product_id)
    answered(book, 0, 3)
    assert book.needs([SOL, BTC, ETH]) == [BTC, ETH]
    assert book.needs([ETH, BTC]) == [ETH, BTC]


def test_what_is_backfilled_needs_no_more() -> None:
    """Also where REST knows less than 350 buckets of a young product, or none."""
    book = CandleBook()
    snapshot(book, 4)
    assert book.needs([BTC]) == [BTC]
    answered(book, -5, 4)
    assert book.needs([BTC]) == []


def test_what_is_streamed_for_long_needs_nothing() -> None:
    """350 buckets of coverage are all there is to keep."""
    book = CandleBook()
    snapshot(book, *range(0, KEEP, 7), KEEP - 1)
    assert book.needs([BTC]) == []


def test_a_backfill_that_does_not_join_is_needed_again() -> None:
    """As where it was asked for just as a bucket ended."""
    book = CandleBook()
    snapshot(book, 4)
    answered(book, 0, 4, asked=at(4, 1))
    assert book.needs([BTC]) == [BTC]
    answered(book, 0, 4, asked=at(4, 3))
    assert book.needs([BTC]) == []


def test_a_break_needs_a_backfill_a_join_does_not() -> None:
    """Between a loss and the next message nothing is needed: the snapshot may spare it."""
    book = CandleBook()
    snapshot(book, 4)
    answered(book, 0, 4)
    book.lost([BTC], at(4))
    assert book.needs([BTC]) == []
    snapshot(book, 4, 5, stamp=TWO)
    assert book.needs([BTC]) == []
    book.lost([BTC], at(5))
    snapshot(book, 7, stamp=TWO, sequence=2)
    assert book.needs([BTC]) == [BTC]


# -- dirty ------------------------------------------------------------------------------------------------------


def test_first_write_is_whole_and_later_ones_are_not() -> None:
    """What Redis has is not written again."""
    book = CandleBook()
    snapshot(book, 0, 1)
    [first] = book.drain(500)
    assert (first.is_whole, first.buckets, first.size) == (True, (bucket(0), bucket(1)), 2)
    apply(book, [bucket(1, "2"), bucket(2)], sequence=2)
    [second] = book.drain(500)
    assert (second.is_whole, second.buckets, second.size) == (False, (bucket(1, "2"), bucket(2)), 3)
    assert (book.dirty, book.oldest_dirty_s(), book.drain(500)) == (0, None, [])


def test_pending_says_where_it_comes_from() -> None:
    """Connection, sequence and times of the newest message, coverage, and since when it waits."""
    book = CandleBook()
    apply(book, [0], sequence=1, now_s=at(0, 10), is_snapshot=True)
    apply(book, [2], sequence=7, now_s=at(2, 20), time="2026-11-20T15:10:20Z")
    [pending] = book.drain(500)
    assert (pending.product_id, pending.stamp, pending.sequence) == (BTC, ONE, 7)
    assert (pending.time, pending.received_s, pending.waiting_since_s) == (
        "2026-11-20T15:10:20Z",
        at(2, 20),
        at(0, 10),
    )
    assert (pending.since_s, pending.newest_s, pending.suspect) == (start(0), start(2), False)


def test_time_does_not_go_back_across_connections() -> None:
    """Redis would refuse the write as older; within a connection the sequence decides there."""
    book = CandleBook()
    apply(book, [0], time="2026-11-20T15:04:06.5Z")
    apply(book, [0], stamp=TWO, time="2026-11-20T15:04:06Z")
    [pending] = book.drain(500)
    assert (pending.stamp, pending.time) == (TWO, "2026-11-20T15:04:06.5Z")
    apply(book, [1], stamp=TWO, sequence=2, time="2026-11-20T15:04:06.1Z")
    assert [p.time for p in book.drain(500)] == ["2026-11-20T15:04:06.1Z"]


def test_same_candles_through_another_connection_are_written() -> None:
    """A quiet product must not look as if its feed had not seen it since."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.drain(500)
    assert snapshot(book, 0, 1, stamp=TWO)
    [pending] = book.drain(500)
    assert (pending.stamp, pending.buckets) == (TWO, ())


def test_message_without_news_wakes_nobody() -> None:
    """Nor does it make anything dirty."""
    wakes = Wakes()
    book = CandleBook(wakes)
    apply(book, [0])
    book.drain(500)
    assert not apply(book, [0], sequence=2)
    assert (book.dirty, wakes.count) == (0, 1)


def test_sink_is_woken_once_for_what_waits() -> None:
    """`on_dirty` is called when there is something where there was nothing."""
    wakes = Wakes()
    book = CandleBook(wakes)
    apply(book, [0])
    apply(book, [1], sequence=2)
    apply(book, [1], product_id=ETH)
    assert wakes.count == 1
    book.drain(500)
    apply(book, [2], sequence=3)
    assert wakes.count == 2


def test_drain_hands_over_the_longest_waiting_first() -> None:
    """A busy product does not keep a quiet one waiting."""
    book = CandleBook()
    for number, product_id in enumerate((BTC, ETH, SOL)):
        apply(book, [number], product_id=product_id, now_s=at(number))
    apply(book, [9], now_s=at(9), sequence=2)
    assert book.drain(0) == []
    assert book.oldest_dirty_s() == at(0)
    assert [pending.product_id for pending in book.drain(2)] == [BTC, ETH]
    assert (book.dirty, book.oldest_dirty_s()) == (1, at(2))


def test_doubt_is_written_and_healed() -> None:
    """Readers see that the stream was lost, and that it is back."""
    book = CandleBook()
    snapshot(book, 0)
    book.drain(500)
    book.lost([BTC], at(0))
    book.lost([BTC], at(0, 61))
    [pending] = book.drain(500)
    assert (pending.suspect, pending.buckets, pending.waiting_since_s) == (True, (), at(0))
    apply(book, [0], sequence=3)
    assert [pending.suspect for pending in book.drain(500)] == [False]


def test_evicted_buckets_are_named() -> None:
    """Once, and only where Redis may hold them."""
    book = CandleBook(keep=3)
    snapshot(book, 0, 1, 2, 3)
    [whole] = book.drain(500)
    assert (whole.evicted, whole.size) == ((), 3)
    apply(book, [4], sequence=2)
    [partial] = book.drain(500)
    assert (partial.evicted, partial.size) == ((start(1),), 3)
    apply(book, [4], sequence=3, stamp=TWO)
    assert [p.evicted for p in book.drain(500)] == [()]


def test_a_long_outage_costs_no_memory() -> None:
    """Where more has gone than is left, the whole is written instead of what has changed."""
    book = CandleBook(keep=3)
    snapshot(book, 0)
    book.drain(500)
    for number in range(1, 50):
        apply(book, [number], sequence=number + 1)
    assert book.dirty == 1
    [pending] = book.drain(500)
    assert (pending.is_whole, pending.evicted, pending.size) == (True, (), 3)


# -- restore ----------------------------------------------------------------------------------------------------


def test_failed_write_waits_again_since_it_first_waited() -> None:
    """An outage shows in the lag; what changed meanwhile goes out with it."""
    book = CandleBook()
    snapshot(book, 0)
    book.drain(500)
    apply(book, [1, 2], sequence=2)
    batch = book.drain(500)
    apply(book, [bucket(2, "2"), bucket(3)], sequence=3)
    book.restore(batch)
    assert book.oldest_dirty_s() == at(2)
    [pending] = book.drain(500)
    assert (pending.is_whole, pending.buckets) == (False, (bucket(1), bucket(2, "2"), bucket(3)))


def test_failed_write_of_the_whole_is_repeated_whole() -> None:
    """Though only a little has changed since."""
    book = CandleBook()
    snapshot(book, 0)
    batch = book.drain(500)
    apply(book, [1], sequence=2)
    book.restore(batch)
    [pending] = book.drain(500)
    assert (pending.is_whole, pending.buckets) == (True, (bucket(0), bucket(1)))


def test_what_was_evicted_during_a_failed_write_is_removed() -> None:
    """Redis may have taken it although it did not answer."""
    book = CandleBook(keep=2)
    snapshot(book, 0, 1)
    book.drain(500)
    apply(book, [2], sequence=2)
    batch = book.drain(500)
    apply(book, [3, 4], sequence=3)
    book.restore(batch)
    [pending] = book.drain(500)
    held = {start(0), start(1), start(2)}
    after = {b.start_s for b in pending.buckets} | (set() if pending.is_whole else held - set(pending.evicted))
    assert after == {start(3), start(4)}


def test_restore_does_not_bring_back_what_was_forgotten() -> None:
    """A product dropped during a failed write stays dropped."""
    book = CandleBook()
    snapshot(book, 0)
    batch = book.drain(500)
    book.forget([])
    book.restore(batch)
    assert (book.dirty, book.drain(500)) == (0, [])


def test_restored_products_go_before_later_ones() -> None:
    """What has waited through a failed write is first in the next."""
    book = CandleBook()
    for product_id in (BTC, ETH):
        apply(book, [0], product_id=product_id)
    batch = book.drain(1)
    apply(book, [0], product_id=SOL)
    book.restore(batch)
    assert [pending.product_id for pending in book.drain(500)] == [BTC, ETH, SOL]


# -- rewrite, renew, forget -------------------------------------------------------------------------------------


def test_rewrite_of_all_writes_all_whole() -> None:
    """Another Redis, or another epoch: the wait starts anew, and the sink is woken."""
    wakes = Wakes()
    book = CandleBook(wakes)
    for product_id in (BTC, ETH):
        apply(book, [0, 1], product_id=product_id)
    book.drain(500)
    book.rewrite(None, 6.0)
    assert wakes.count == 2
    apply(book, [2], sequence=2)
    book.rewrite(None, 7.0)
    assert [(p.product_id, p.is_whole, p.waiting_since_s, p.size) for p in book.drain(500)] == [
        (BTC, True, 7.0, 3),
        (ETH, True, 7.0, 2),
    ]


def test_rewrite_of_some_leaves_the_rest() -> None:
    """Only the named that are known, each whole, waiting no less than before."""
    book = CandleBook()
    for product_id in (BTC, ETH):
        apply(book, [0, 1], product_id=product_id, now_s=at(1))
    book.drain(500)
    apply(book, [2], sequence=2, now_s=at(2))
    book.rewrite([BTC, SOL], at(9))
    [pending] = book.drain(500)
    assert (pending.product_id, pending.is_whole, pending.waiting_since_s) == (BTC, True, at(2))


def test_what_no_connection_vouches_for_is_not_written() -> None:
    """Not even where all is to be written again."""
    book = CandleBook()
    answered(book, 0, 3)
    book.rewrite(None, 7.0)
    book.rewrite([BTC], 7.0)
    book.renew([BTC], 7.0)
    assert book.dirty == 0


def test_renewal_writes_no_bucket() -> None:
    """It is enough to prolong the life of what Redis has."""
    book = CandleBook()
    snapshot(book, 0, 1)
    book.drain(500)
    book.renew([BTC, SOL], 7.0)
    [pending] = book.drain(500)
    assert (pending.buckets, pending.is_whole, pending.size, pending.waiting_since_s) == ((), False, 2, 7.0)


def test_forget_drops_all_but_what_is_kept() -> None:
    """What nobody wants takes no memory, is not written, and starts afresh when it comes back."""
    book = CandleBook()
    for product_id in (BTC, ETH, SOL):
        apply(book, [0, 1], product_id=product_id)
    assert book.forget([ETH]) == {BTC, SOL}
    assert (len(book), book.buckets(BTC), since(book)) == (1, [], None)
    assert [pending.product_id for pending in book.drain(500)] == [ETH]
    snapshot(book, 9)
    assert since(book) == 9
