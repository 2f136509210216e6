"""Which of the readings is served, as a table: every fall from one tier to the next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streamer.model import Reading, Tier
from streamer.reader.freshness import RECENT_S, Bounds, choose

AT = datetime(2026, 11, 20, 15, 4, 6, tzinfo=UTC)


def read(name: str, tier: Tier, age_s: float = 1.0, value_age_s: float | None = None) -> Reading[str]:
    """A reading that is known by its name."""
    return Reading(name, tier, age_s, age_s if value_age_s is None else value_age_s, AT, "coinbase")


LIVE = read("live", Tier.REALTIME, 0.2, 600.0)
REST = read("rest", Tier.REST, 0.0)
COPY = read("copy", Tier.CACHE, 10.0)
OLD_COPY = read("old copy", Tier.CACHE, 29.0)
RECENT = read("recent", Tier.STALE, RECENT_S)
GONE = read("gone", Tier.STALE, 20.0)
LONG_GONE = read("long gone", Tier.STALE, 3600.0)

NO_BOUNDS = Bounds()
TABLE = [
    # what is there, bounds, what is served before REST is asked, what at last
    pytest.param([], NO_BOUNDS, None, None, id="nothing"),
    pytest.param([LIVE, REST, COPY, RECENT], NO_BOUNDS, "live", "live", id="realtime before all"),
    pytest.param([REST, COPY, RECENT], NO_BOUNDS, "rest", "rest", id="what REST has just said"),
    pytest.param([COPY], NO_BOUNDS, "copy", "copy", id="a copy"),
    pytest.param([COPY, OLD_COPY], NO_BOUNDS, "copy", "copy", id="the younger copy"),
    pytest.param([COPY, GONE], NO_BOUNDS, "copy", "copy", id="a copy younger than the stream's last word"),
    pytest.param([OLD_COPY, GONE], NO_BOUNDS, None, "gone", id="a copy older than the stream's last word"),
    pytest.param([COPY, read("x", Tier.STALE, 10.0)], NO_BOUNDS, "copy", "copy", id="as old as each other"),
    pytest.param([COPY, RECENT], NO_BOUNDS, "recent", "recent", id="vouched for a moment ago"),
    pytest.param([RECENT], NO_BOUNDS, "recent", "recent", id="recent before REST"),
    pytest.param([read("x", Tier.STALE, RECENT_S + 0.1)], NO_BOUNDS, None, "x", id="just not recent"),
    pytest.param([GONE], NO_BOUNDS, None, "gone", id="stale only at last"),
    pytest.param([LONG_GONE, GONE], NO_BOUNDS, None, "gone", id="the youngest of what is stale"),
    pytest.param([REST, GONE], NO_BOUNDS, "rest", "rest", id="REST before stale"),
    # the age since it was known to be current
    pytest.param([LIVE, COPY], Bounds(max_age_s=0.1), None, None, id="nothing is young enough"),
    pytest.param([LIVE, COPY], Bounds(max_age_s=0.2), "live", "live", id="just young enough"),
    pytest.param([COPY, REST], Bounds(max_age_s=5), "rest", "rest", id="the copy is too old"),
    pytest.param([GONE], Bounds(max_age_s=5), None, None, id="too old, even at last"),
    pytest.param([OLD_COPY, GONE], Bounds(max_age_s=25), None, "gone", id="the copy is too old, the rest not"),
    pytest.param([REST], Bounds(max_age_s=0), "rest", "rest", id="now, of REST"),
    # the age since the exchange stamped it
    pytest.param([LIVE], Bounds(max_value_age_s=60), None, None, id="live, but its trade is long ago"),
    pytest.param([LIVE, COPY], Bounds(max_value_age_s=60), "copy", "copy", id="a copy with a younger value"),
    pytest.param([LIVE], Bounds(max_age_s=1, max_value_age_s=600), "live", "live", id="both, just"),
    pytest.param([LIVE], Bounds(max_age_s=0.1, max_value_age_s=600), None, None, id="one of both not"),
]


@pytest.mark.parametrize(("found", "bounds", "first", "last"), TABLE)
def test_what_is_served(found: list[Reading[str]], bounds: Bounds, first: str | None, last: str | None) -> None:
    """Before REST is asked, and when it has nothing; in whatever order they were found."""
    for order in (found, found[::-1]):
        for expected, at_last in ((first, False), (last, True)):
            chosen = choose(order, bounds, at_last=at_last)
            assert (chosen.value if chosen is not None else None) == expected


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (NO_BOUNDS, None),
        (Bounds(max_age_s=10), None),
        (Bounds(max_age_s=9.9), "10.0 s old, at most 9.9 s were asked for"),
        (Bounds(max_value_age_s=99), "its value is 100.0 s old, at most 99 s were asked for"),
        (Bounds(max_age_s=9, max_value_age_s=99), "10.0 s old, at most 9 s were asked for"),
    ],
)
def test_bounds_say_what_is_too_old(bounds: Bounds, words: str | None) -> None:
    """Both ages in words: what it is, and what was asked for."""
    assert bounds.why_not(read("x", Tier.CACHE, 10.0, 100.0)) == words
