"""Stories of questions."""

from __future__ import annotations

import pytest

from streamer.data.story import Fate, Story
from streamer.errors import NoData, NotEntitled, RestUnavailable, StoreUnavailable, StreamerError, UnknownSymbol


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (RestUnavailable("x", "HTTP 500"), Fate.FAILED),
        (StoreUnavailable("redis://x", "gone"), Fate.FAILED),
        (UnknownSymbol("x", "it has no BTC-USD"), Fate.REFUSED),
        (NoData("x", "none"), Fate.REFUSED),
        (NotEntitled("x", "not in the plan"), Fate.REFUSED),
    ],
)
def test_not_to_have_it_is_no_failure(error: StreamerError, fate: Fate) -> None:
    """An error's kind decides what is told; its words are told without the route before them."""
    story = Story()
    story.failed("binance", error, 0.0123)
    (step,) = story.steps
    assert (step.provider, step.fate, step.took_ms, step.error) == ("binance", fate, 12.3, type(error).__name__)
    assert step.why == getattr(error, "why", str(error)) or "redis" in step.why


def test_the_first_word_counts() -> None:
    """`tiers` has one entry a provider, in order: a second question is about what stands in."""
    story = Story()
    story.tell("b", Fate.FAILED, "first")
    story.tell("a", Fate.FAILED, "only")
    story.tell("b", Fate.FAILED, "second")
    assert list(story.tiers.items()) == [("b", "first"), ("a", "only")]


def test_who_is_held() -> None:
    """Left out with an error is held; left out for what it cannot have is not."""
    story = Story()
    story.tell("a", Fate.LEFT_OUT, "banned", error="Banned")
    story.tell("b", Fate.LEFT_OUT, "no stocks")
    story.tell("c", Fate.FAILED, "HTTP 500", error="RestUnavailable")
    assert [step.is_held for step in story.steps] == [True, False, False]
