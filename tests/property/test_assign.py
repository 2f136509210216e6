"""Laws of the spreading of products over feeds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.ingest.assign import assign
from streamer.model import ProductId

products = st.integers(0, 30).map(lambda number: ProductId(f"P{number:02}-USD"))
limits = st.integers(1, 5)
wishes = st.sets(products)


@st.composite
def running(draw: st.DrawFn) -> tuple[dict[int, set[ProductId]], int]:
    """Feeds as they run: numbers with holes, none over the limit, no product twice."""
    limit = draw(limits)
    feeds: dict[int, set[ProductId]] = {}
    for product_id in draw(st.lists(products, unique=True)):
        number = draw(st.integers(0, 9))
        if len(feeds.setdefault(number, set())) < limit:
            feeds[number].add(product_id)
    return feeds, limit


@given(wishes, running())
def test_every_wanted_product_has_exactly_one_place(
    wanted: set[ProductId], state: tuple[dict[int, set[ProductId]], int]
) -> None:
    """Nothing is forgotten, nothing is carried twice, nothing unwanted is carried."""
    current, limit = state
    carried = [product_id for feed in assign(wanted, current, limit).values() for product_id in feed]
    assert sorted(carried) == sorted(wanted)


@given(wishes, running())
def test_no_feed_is_empty_or_over_the_limit(
    wanted: set[ProductId], state: tuple[dict[int, set[ProductId]], int]
) -> None:
    """Every feed has something to carry, and no more than it may."""
    current, limit = state
    assert all(1 <= len(feed) <= limit for feed in assign(wanted, current, limit).values())


@given(wishes, running())
def test_nothing_moves_that_had_a_place(
    wanted: set[ProductId], state: tuple[dict[int, set[ProductId]], int]
) -> None:
    """A product that is still wanted stays with its feed: a move costs a gap in its data."""
    current, limit = state
    target = assign(wanted, current, limit)
    for number, feed in current.items():
        assert feed & wanted <= target.get(number, set())


@given(wishes, running())
def test_assigning_again_changes_nothing(
    wanted: set[ProductId], state: tuple[dict[int, set[ProductId]], int]
) -> None:
    """Once converged, the feeds are left alone."""
    current, limit = state
    target = assign(wanted, current, limit)
    assert assign(wanted, target, limit) == target


@given(wishes, limits)
def test_a_fresh_start_needs_as_few_feeds_as_possible(wanted: set[ProductId], limit: int) -> None:
    """Connections are scarce: all but the last are full, and they are numbered from 0."""
    target = assign(wanted, {}, limit)
    assert list(target) == list(range(-(-len(wanted) // limit)))


@given(wishes, st.dictionaries(st.integers(0, 5), st.sets(products), max_size=4), limits)
def test_overfull_and_overlapping_feeds_are_put_right(
    wanted: set[ProductId], current: dict[int, set[ProductId]], limit: int
) -> None:
    """From any state, also one that breaks the limit: each product once, no feed over it."""
    target = assign(wanted, current, limit)
    carried = [product_id for feed in target.values() for product_id in feed]
    assert sorted(carried) == sorted(wanted)
    assert all(1 <= len(feed) <= limit for feed in target.values())
