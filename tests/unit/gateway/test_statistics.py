"""What this process's calls have come to, under the names that all processes share."""

from __future__ import annotations

import pytest

from streamer.gateway.report import _by_tier, _calls
from streamer.gateway.statistics import Statistics, call_counts
from streamer.model import Priority
from streamer.store.counters import sum_of
from streamer.store.keys import CALL, HIT, LIMITED, MISS, WAIT_UP_TO


@pytest.mark.parametrize(
    ("seconds", "up_to"),
    [(0.0, "0.1"), (0.1, "0.1"), (0.11, "0.5"), (2.0, "2.5"), (60.0, "60.0"), (60.1, "+Inf"), (1e9, "+Inf")],
)
def test_a_wait_is_counted_by_priority_and_length(seconds: float, up_to: str) -> None:
    """Once, under the least bound that it did not exceed, and by its time."""
    statistics = Statistics()
    statistics.waited(seconds, Priority.TRADING)
    counted = +call_counts(statistics)
    assert counted.pop(f"wait:TRADING:{up_to}") == 1
    assert counted.pop("waited_ms:TRADING", 0) == int(seconds * 1000)
    assert not counted


def test_names_of_counters_are_bounded() -> None:
    """However many wait for however long, they share a fixed set of names."""
    statistics = Statistics()
    for priority in Priority:
        for length in range(200):
            statistics.waited(length**2 / 100, priority)
    names = {name for name in call_counts(statistics) if name != LIMITED}
    assert names == {f"wait:{priority.name}:{up_to}" for priority in Priority for up_to in WAIT_UP_TO} | {
        f"waited_ms:{priority.name}" for priority in Priority
    }
    assert (statistics.waits, statistics.longest_wait_s) == (800, 199**2 / 100)


def test_waits_are_no_calls_and_no_reads() -> None:
    """Whoever adds up calls, reads or 429s finds none in them."""
    statistics = Statistics()
    statistics.waited(3.0, Priority.MARKET_DATA)
    counted = call_counts(statistics)
    assert [sum_of(counted, kind) for kind in (CALL, HIT, MISS, LIMITED)] == [0, 0, 0, 0]
    assert (_calls(counted), _by_tier(counted)) == ([], {})
