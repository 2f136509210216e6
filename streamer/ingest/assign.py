"""Which feed carries which product. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from streamer.model import ProductId


def assign(
    wanted: Iterable[ProductId], current: Mapping[int, Collection[ProductId]], per_feed: int
) -> dict[int, set[ProductId]]:
    """Spread products over feeds, moving none that has a place: a move costs a gap in its data.

    Args:
        wanted: All products to carry.
        current: Products of each running feed, by number.
        per_feed: Most products of one feed.

    Returns:
        Products of each feed, by number. A feed that would carry nothing is left out.
    """
    remaining = set(wanted)
    feeds: dict[int, set[ProductId]] = {}
    for number in sorted(current):
        kept = set(sorted(remaining & set(current[number]))[:per_feed])
        remaining -= kept
        if kept:
            feeds[number] = kept
    number = 0
    for product_id in sorted(remaining):
        while len(feeds.get(number, ())) >= per_feed:
            number += 1
        feeds.setdefault(number, set()).add(product_id)
    return feeds
