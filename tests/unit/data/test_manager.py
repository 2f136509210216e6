"""Which of several answers will do, which is served at last, and what an answer says of how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from streamer.data.ask import Ask, Found
from streamer.data.manager import How, Manager, cut
from streamer.data.settings import DataSettings
from streamer.data.story import Fate, Story
from streamer.model import Tier
from streamer.providers.shape import Instrument, Interval, Series
from streamer.store.connect import Store
from tests.unit.data.rig import BTC, SPY, USDT, bar, price

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2026, 11, 20, 12, tzinfo=NEW_YORK)  # a Friday
NOW_MS = int(NOON.timestamp() * 1000)
SUNDAY_MS = int(datetime(2026, 11, 22, 12, tzinfo=NEW_YORK).timestamp() * 1000)
CLOSE_MS = int(datetime(2026, 11, 20, 16, tzinfo=NEW_YORK).timestamp() * 1000)


class Named:
    """As much of a provider as naming it takes."""

    def __init__(self, title: str) -> None:
        self.title = title


@pytest.fixture
def manager() -> Manager:
    """One without anybody to ask."""
    providers: Mapping[str, Any] = {name: Named(name.upper()) for name in "abc"}
    settings = DataSettings(_env_file=None)  # type: ignore[call-arg]
    return Manager(Store("redis://127.0.0.1:1/0"), settings, providers)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (price("a"), None),
        (price("a", as_of_ms=NOW_MS - 299_000), None),
        (price("a", as_of_ms=NOW_MS - 301_000), "stale data"),
        (price("a", as_of_ms=NOW_MS - 301_000, tier=Tier.REALTIME), None),
        (price("a", as_of_ms=NOW_MS - 301_000, age_s=10, tier=Tier.CACHE), None),
        (price("a", tier=Tier.STALE), "stale"),
        (price("a", is_live=False), "unknown time"),
        (price("a", is_live=False, as_of_ms=NOW_MS - 3_000_000), None),
        (price("a", is_live=False, as_of_ms=NOW_MS - 4_000_000), "last close"),
        (price("a", symbol=SPY, as_of_ms=NOW_MS - 301_000), "stale data"),
    ],
)
def test_what_will_do(manager: Manager, found: Found[Any], why: str | None) -> None:
    """A live price must have been of now when it came; what is late by its plan, of the last hour."""
    said = manager._why_not(found, How(), NOW_MS)
    assert said is None if why is None else why in (said or "")


def test_too_old_for_who_asks(manager: Manager) -> None:
    """`max_age_s` is the asker's own rule."""
    assert manager._why_not(price("a", age_s=2), How(max_age_s=1), NOW_MS) == "2.0 s old"
    assert manager._why_not(price("a", age_s=2), How(max_age_s=3), NOW_MS) is None


@pytest.mark.parametrize("is_live", [True, False])
def test_at_the_weekend(manager: Manager, is_live: bool) -> None:
    """A stock's price of Friday's close is the newest there is on Sunday, one of Thursday is not."""
    close = price("a", symbol=SPY, as_of_ms=CLOSE_MS, is_live=is_live)
    assert manager._why_not(close, How(), SUNDAY_MS) is None
    assert manager._why_not(price("a", symbol=SPY, as_of_ms=CLOSE_MS - 86_400_000), How(), SUNDAY_MS) is not None


@pytest.mark.parametrize(
    ("found", "stands"),
    [
        (price("a", age_s=200, tier=Tier.CACHE), True),
        (price("a", age_s=200, tier=Tier.CACHE, is_live=False), True),
        (price("a", age_s=20, tier=Tier.CACHE, as_of_ms=NOW_MS - 900_000), True),
        (price("a", age_s=40, tier=Tier.CACHE, as_of_ms=NOW_MS - 900_000), False),
    ],
)
def test_what_is_not_asked_for_again(manager: Manager, found: Found[Any], stands: bool) -> None:
    """A copy that is late by plan is as good as a new answer; one that came late by accident for half a minute."""
    assert manager._stands(found, How(), NOW_MS) is stands
    assert not manager._stands(found, How(max_age_s=1), NOW_MS)


def test_at_last(manager: Manager) -> None:
    """Of what would not do, what is not stale goes first, then what was stamped last; it says what it is."""
    story = Story()
    old, older = price("a", as_of_ms=NOW_MS - 900_000), price("b", as_of_ms=NOW_MS - 1_900_000)
    kept = replace(price("c", as_of_ms=NOW_MS), tier=Tier.STALE, age_s=600)
    assert manager._at_last([], How(), story) is None
    assert story.steps == []
    served = manager._at_last([kept, older, old], How(), story)
    assert served is not None
    assert (served.provider, served.tier) == ("a", Tier.STALE)
    late = manager._at_last([kept, price("b", is_live=False, as_of_ms=NOW_MS - 10**8)], How(), story)
    assert late is not None
    assert (late.provider, late.tier) == ("b", Tier.REST)
    assert manager._at_last([kept], How(max_age_s=500), story) is None


def test_what_an_answer_says(manager: Manager) -> None:
    """What stands in, who was to be asked first and why it was not, Redis that is away, what is late."""
    story = Story(order=("a", "b"))
    story.tell("a", Fate.LEFT_OUT, "banned", error="Banned")
    story.outage = "gone"
    served = manager._served(price("b", symbol=USDT, is_live=False), Ask(BTC), story)
    assert served.title == "B"
    for part in ("BTC-USDT stands in for BTC-USD", "a comes first: banned", "without Redis", "not live"):
        assert part in (served.reason or "")
    plain = Story()
    plain.tell("a", Fate.LEFT_OUT, "it has no symbols of this kind")
    plain.tell("c", Fate.REFUSED, "it has no BTC-USD", error="UnknownSymbol")
    assert manager._served(price("b"), Ask(BTC), plain).reason is None
    failed = Story(order=("a", "b"))
    failed.tell("a", Fate.FAILED, "HTTP 500", error="RestUnavailable")
    assert manager._served(price("b"), Ask(BTC), failed).reason == "a was asked first: HTTP 500"
    assert manager._served(price("a"), Ask(BTC), failed).reason is None


def test_who_is_named_as_the_first(manager: Manager) -> None:
    """The first choice that did not answer, whenever its turn ended; nobody who was asked beside, after it."""
    beside = Story(order=("a", "b"))
    beside.tell("a", Fate.SERVED, "rest")
    beside.tell("b", Fate.LATE, "no answer in time")
    assert manager._served(price("a"), Ask(BTC), beside).reason is None
    late = Story(order=("a", "b"))
    late.tell("b", Fate.PASSED_OVER, "of the last close")
    late.tell("a", Fate.FAILED, "HTTP 503", error="RestUnavailable")
    assert manager._served(price("b"), Ask(BTC), late).reason == "a was asked first: HTTP 503"


def test_cut() -> None:
    """The newest of a range, both of what was fetched; the end is not in it."""
    series = Series(USDT, Interval.H1, Instrument.PERPETUAL, tuple(bar(at * 3600) for at in range(10)))
    newest = cut(series, Ask(USDT, Interval.H1, 3))
    assert [one.start_s // 3600 for one in newest.bars] == [7, 8, 9]
    within = cut(series, Ask(USDT, Interval.H1, 100, 2 * 3600, 5 * 3600))
    assert [one.start_s // 3600 for one in within.bars] == [2, 3, 4]
    both = cut(series, Ask(USDT, Interval.H1, 2, 2 * 3600, 5 * 3600))
    assert [one.start_s // 3600 for one in both.bars] == [3, 4]
