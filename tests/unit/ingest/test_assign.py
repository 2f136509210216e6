"""Which feed carries which product."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from streamer.ingest.assign import assign
from streamer.model import ProductId

A, B, C, D, E = (ProductId(f"{letter}-USD") for letter in "ABCDE")


@pytest.mark.parametrize(
    ("wanted", "current", "expected"),
    [
        ([], {}, {}),
        ([A], {}, {0: {A}}),
        ([B, A, B], {}, {0: {A, B}}),
        ([E, D, C, B, A], {}, {0: {A, B}, 1: {C, D}, 2: {E}}),
        ([A, B], {0: [A, B]}, {0: {A, B}}),
        ([A, B], {1: [A, B]}, {1: {A, B}}),
        ([A, B, C], {1: [A, B]}, {0: {C}, 1: {A, B}}),
        ([A, C], {0: [A, B], 1: [C, D]}, {0: {A}, 1: {C}}),
        ([A, C, E], {0: [A, B], 1: [C, D]}, {0: {A, E}, 1: {C}}),
        ([C, D], {0: [A, B], 1: [C, D]}, {1: {C, D}}),
        ([A], {0: [], 7: [A]}, {7: {A}}),
        ([], {0: [A], 1: []}, {}),
    ],
    ids=[
        "nothing",
        "first product",
        "repeated wish",
        "as many feeds as it takes",
        "nothing to do",
        "number kept",
        "newcomer in the lowest number",
        "removal",
        "newcomer fills a gap",
        "feed without products ends",
        "empty feed ends",
        "all removed",
    ],
)
def test_assign(
    wanted: list[ProductId], current: Mapping[int, Collection[ProductId]], expected: dict[int, set[ProductId]]
) -> None:
    """Two products a feed: who has a place keeps it, newcomers fill the lowest feeds."""
    assert assign(wanted, current, 2) == expected


def test_a_lowered_limit_moves_only_the_overflow() -> None:
    """A feed with more than it may carry keeps as many as it may."""
    assert assign([A, B, C, D], {0: [A, B, C, D]}, 3) == {0: {A, B, C}, 1: {D}}


def test_product_with_two_places_keeps_one() -> None:
    """Two feeds that carry the same product: the lower number keeps it."""
    assert assign([A, B], {0: [A], 1: [A, B]}, 2) == {0: {A}, 1: {B}}


def test_order_of_wishes_does_not_matter() -> None:
    """The same wishes give the same feeds on every host."""
    assert assign([A, B, C, D, E], {}, 2) == assign([D, B, E, A, C], {}, 2)


def test_arguments_are_left_as_they_are() -> None:
    """The present state is read, not changed."""
    current = {0: {A, B}}
    assign([B, C], current, 2)
    assert current == {0: {A, B}}
