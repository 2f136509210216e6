"""What the simulated providers count."""

from __future__ import annotations

from streamer.simulator.providers.books import Books
from tests.unit.simulator.providers.asking import NOW_S


def test_the_most_within_a_second_and_a_minute_slides() -> None:
    """A burst across the border of two seconds is one burst; costs are summed likewise."""
    books = Books()
    for at_s in (0.0, 0.6, 1.1, 1.5, 30.0, 59.9, 60.1, 200.0):
        books.arrived("/a", "k", 2, NOW_S + at_s)
    found = books.described()
    assert (found["total"], found["most_per_second"]) == (8, 3)
    assert (found["most_per_minute"], found["most_cost_per_minute"]) == (6, 12)
    assert found["keys"]["k"]["most_per_second"] == 3


def test_keys_and_paths_are_counted_apart() -> None:
    """Requests without a key under a name of their own; times in paths make no path of their own."""
    books = Books()
    for path, key in (("/x/1795186800000/2026-11-20", "a"), ("/x/1795186860000/2026-11-21", ""), ("/y/1", "a")):
        books.arrived(path, key, 1, NOW_S)
    found = books.described()
    assert found["paths"] == {"/x/*/*": 2, "/y/1": 1}
    assert {key: each["total"] for key, each in found["keys"].items()} == {"a": 2, "(none)": 1}


def test_what_is_named_is_limited() -> None:
    """A thousand paths have names; the others are counted together, so that memory is bounded."""
    books = Books()
    for n in range(1500):
        books.arrived(f"/{n}", f"key-{n}", 1, NOW_S)
    found = books.described()
    assert len(found["paths"]) == len(found["keys"]) == 1001
    assert found["paths"]["(other)"] == found["keys"]["(other)"]["total"] == 500


def test_at_once_is_who_came_and_has_not_left() -> None:
    """The most of them stays known; connections that were cut are counted as such."""
    books = Books()
    for _ in range(3):
        books.arrived("/a", "", 1, NOW_S)
    books.left(200)
    books.left(None)
    found = books.described()
    assert (found["at_once"], found["most_at_once"], found["statuses"]) == (1, 3, {"200": 1, "cut": 1})
