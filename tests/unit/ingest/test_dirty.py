"""What waits to be written: a set with an order and a memory of since when."""

from __future__ import annotations

from streamer.ingest.dirty import Dirty


def test_marking_twice_is_marking_once() -> None:
    """The place in the line and the time are those of the first mark."""
    dirty = Dirty[str]()
    for name, since_s in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        dirty.mark(name, since_s)
    assert list(dirty.items()) == [("a", 1.0), ("b", 2.0)]
    assert dirty.oldest_s == 1.0


def test_nothing_waits_at_first() -> None:
    """No oldest, and nothing to take."""
    dirty = Dirty[str]()
    assert (dirty.oldest_s, dirty.take(10), len(dirty)) == (None, [], 0)


def test_the_first_of_a_line_is_told() -> None:
    """Once, however many join; and again when the line has been empty."""
    told: list[int] = []
    dirty = Dirty[str](lambda: told.append(len(dirty)))
    dirty.mark("a", 1.0)
    dirty.mark("b", 1.0)
    dirty.mark("a", 1.0)
    assert told == [1]
    dirty.take(2)
    dirty.mark("c", 2.0)
    assert told == [1, 1]


def test_taken_in_order_and_no_more_than_asked_for() -> None:
    """Longest waiting first; what is left keeps its place."""
    dirty = Dirty[str]()
    for i, name in enumerate("abc"):
        dirty.mark(name, float(i))
    assert dirty.take(2) == [("a", 0.0), ("b", 1.0)]
    assert dirty.oldest_s == 2.0
    assert dirty.take(2) == [("c", 2.0)]


def test_what_could_not_be_written_goes_to_the_front() -> None:
    """With the time since when it has waited, also where it has changed again meanwhile."""
    dirty = Dirty[str]()
    dirty.mark("a", 1.0)
    dirty.mark("b", 2.0)
    taken = dirty.take(2)
    dirty.mark("c", 3.0)
    dirty.mark("b", 4.0)
    dirty.put_back(taken)
    assert list(dirty.items()) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
