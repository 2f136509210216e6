"""Laws of the adapters: whatever a provider answers becomes a sound value or an error that callers know."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import RestError
from streamer.providers.adapter import Access, Answer
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import Bar, Instrument, Interval, Price, Series, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.fuzz import ALLOWED, PROVIDERS, Fuzz, driven, unsound
from tests.unit.providers.samples import CLOCK_MS
from tests.unit.providers.test_samples import READERS

few = settings(max_examples=150, deadline=None)
"""`scripts/fuzz_providers.py` plays more, and says how each ended."""
FUZZES = {name: Fuzz(name, READERS.get(name, {})) for name in PROVIDERS}
NAMES = [
    "status",
    "code",
    "error",
    "data",
    "results",
    "ticker",
    "symbol",
    "price",
    "open",
    "Information",
    "bitcoin",
]
NOW_S = CLOCK_MS // 1000

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=30,
)
bodies = st.binary(max_size=200) | anything.map(lambda it: json.dumps(it).encode("utf-8", "replace"))
headers = st.dictionaries(
    st.sampled_from(["retry-after", "content-type", "x-ratelimit-reset"]), st.text(max_size=20), max_size=2
)
statuses = st.sampled_from([200, 200, 200]) | st.integers(100, 599)
symbols = st.sampled_from([crypto("BTC", "USD"), crypto("BTC", "USDT"), stock("SPY")])


@pytest.mark.parametrize("provider", PROVIDERS)
@few
@given(seed=st.integers(0, 2**64))
def test_a_sample_with_other_values_is_sound_or_refused(provider: str, seed: int) -> None:
    """A sample cut short or with junk in it becomes no value that could not be, and breaks nothing."""
    FUZZES[provider].play(Random(seed))


@pytest.mark.parametrize("provider", PROVIDERS)
@few
@given(
    answer=st.builds(Answer, statuses, headers, bodies),
    symbol=symbols,
    interval=st.sampled_from(Interval),
    from_s=st.integers(NOW_S - 10**8, NOW_S),
    length_s=st.integers(1, 10**8),
    limit=st.integers(1, 500),
)
def test_whatever_comes_is_sound_or_refused(
    provider: str, answer: Answer, symbol: Any, interval: Interval, from_s: int, length_s: int, limit: int
) -> None:
    """Any status, headers and bytes: a sound value, or an error that tells it from a bug."""
    adapter = ADAPTERS[provider](Access(key="k"))
    span = Span(from_s, from_s + length_s, limit)
    for flow in (
        adapter.price(symbol, CLOCK_MS),
        adapter.bars(symbol, interval, span, CLOCK_MS),
        adapter.listing(),
        adapter.quota(),
    ):
        try:
            value = driven(adapter, flow, answer)
        except ALLOWED:
            continue
        assert list(unsound(value)) == []


@pytest.mark.parametrize("provider", PROVIDERS)
@few
@given(answer=st.builds(Answer, st.integers(201, 599), headers, bodies))
def test_no_other_status_is_an_answer(provider: str, answer: Answer) -> None:
    """What has any status but 200 never passes the check."""
    with pytest.raises(RestError):
        ADAPTERS[provider](Access(key="k")).check(answer, CLOCK_MS)


def test_the_judge_sees_what_is_unsound() -> None:
    """The judgement of these tests is none that lets everything pass."""
    one = Decimal(1)
    sound = Bar(NOW_S, one, one, one, one, Decimal(0))
    bad: list[object] = [
        Price(crypto("BTC", "USD"), Decimal(0), Instrument.SPOT),
        Price(crypto("BTC", "USD"), Decimal("Infinity"), Instrument.SPOT),
        Price(crypto("BTC", "USD"), one, Instrument.SPOT, as_of_ms=NOW_S),
        Bar(NOW_S * 1000, one, one, one, one),
        Bar(NOW_S, one, one, -one, one),
        [Bar(NOW_S, one, one, one, one, Decimal("NaN"))],
        Series(crypto("BTC", "USD"), Interval.M1, Instrument.SPOT, ()),
    ]
    assert not list(unsound(sound))
    assert [value for value in bad if not list(unsound(value))] == []
