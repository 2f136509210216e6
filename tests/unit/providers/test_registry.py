"""What must hold of every provider."""

from __future__ import annotations

from contextlib import suppress

import pytest

from streamer.errors import RestError
from streamer.providers.adapter import Access, Adapter, Get
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import AssetClass, Interval, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS

NOW_S = CLOCK_MS // 1000
EVERY = [pytest.param(kind, id=name) for name, kind in ADAPTERS.items()]


def test_they_are_found_by_their_own_names() -> None:
    """In alphabetical order; names are such as keys, settings and routes can have."""
    assert list(ADAPTERS) == sorted(kind.name for kind in ADAPTERS.values())
    assert all(name.isascii() and name.isalnum() and name == name.lower() for name in ADAPTERS)


@pytest.mark.parametrize("kind", EVERY)
def test_the_facts_of_a_class_are_sound(kind: type[Adapter]) -> None:
    """An address over TLS, limits, and one place for the key at most."""
    adapter = kind(Access(key="k"))
    assert adapter.base_url.startswith("https://")
    assert not adapter.base_url.endswith("/")
    assert adapter.limits
    assert all(limit.calls >= 1 and limit.length_s > 0 for limit in adapter.limits)
    assert adapter.assets
    assert Interval.D1 in adapter.intervals
    assert adapter.max_bars >= 1
    assert adapter.key_header is None or adapter.key_param is None
    assert not adapter.needs_key or adapter.key_header or adapter.key_param


@pytest.mark.parametrize("kind", EVERY)
def test_a_first_request_is_sound(kind: type[Adapter]) -> None:
    """A path below the base, texts as parameters, a cost, and no key: whoever carries it adds that."""
    adapter = kind(Access(key="the-key"))
    span = Span(NOW_S - 30 * 86_400, NOW_S, min(30, adapter.max_bars))
    for symbol in (crypto("BTC", "USD"), crypto("BTC", "USDT"), stock("SPY")):
        for flow in (
            adapter.price(symbol, CLOCK_MS),
            *(adapter.bars(symbol, interval, span, CLOCK_MS) for interval in Interval),
        ):
            with suppress(RestError):
                get: Get = next(flow)
                assert get.path.startswith("/")
                assert not set("? ") & set(get.path)
                assert all(isinstance(value, str) for value in get.params.values())
                assert get.cost >= 1
                assert "the-key" not in repr(get)


@pytest.mark.parametrize("kind", EVERY)
def test_pieces_of_a_range_follow_one_another(kind: type[Adapter]) -> None:
    """Each holds the time it was asked for, is the same from all within it, and is no more than one flow may be."""
    adapter = kind(Access(key="k"))
    samples = {AssetClass.CRYPTO: crypto("BTC", "USD"), AssetClass.STOCK: stock("SPY")}
    for symbol in (samples[asset] for asset in adapter.assets):
        for interval in adapter.intervals:
            at_s = NOW_S - 1000 * interval.seconds - 3 * 365 * 86_400 * (interval is Interval.D1)
            while at_s <= NOW_S:
                from_s, to_s = adapter.piece(symbol, interval, at_s, NOW_S)
                assert from_s <= at_s < to_s
                for other_s in (from_s, (from_s + to_s) // 2, to_s - 1):
                    assert adapter.piece(symbol, interval, other_s, NOW_S) == (from_s, to_s)
                if kind.piece is Adapter.piece:
                    assert from_s % interval.seconds == to_s % interval.seconds == 0
                    assert to_s - from_s <= adapter.most_bars(interval) * interval.seconds
                at_s = to_s


@pytest.mark.parametrize("kind", EVERY)
def test_symbols_of_another_kind_are_refused(kind: type[Adapter]) -> None:
    """Before a request, as are lengths that it has not."""
    adapter = kind(Access(key="k"))
    samples = {AssetClass.CRYPTO: crypto("BTC", "USD"), AssetClass.STOCK: stock("SPY")}
    for asset in set(AssetClass) - adapter.assets:
        with pytest.raises(RestError):
            next(adapter.price(samples[asset], CLOCK_MS))
    span = Span(NOW_S - 86_400, NOW_S, 10)
    for interval in set(Interval) - adapter.intervals:
        for asset in adapter.assets:
            with pytest.raises(RestError):
                next(adapter.bars(samples[asset], interval, span, CLOCK_MS))
