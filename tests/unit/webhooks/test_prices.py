"""Which event is taken for a price, and what must be in it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from streamer.providers.symbols import parse_symbol
from streamer.webhooks.delivery import Delivery, Reason, Refused
from streamer.webhooks.prices import PriceUpdate, price_of
from tests.unit.webhooks.rig import NOW_S, PRICE


def event(kind: str = "price.updated", **changed: Any) -> Delivery:
    """An event with a price."""
    return Delivery("1", NOW_S, kind, PRICE | changed, b"{}")


def test_a_price_is_read_exactly() -> None:
    """Symbol in its canonical form, the price to its last digit, the time in ms."""
    told = price_of(event(symbol="BTCUSDT", price="0.000000012340"), NOW_S)
    assert told == PriceUpdate(parse_symbol("BTC-USDT"), Decimal("0.000000012340"), 1_795_186_804_880, "relay")


def test_a_clock_that_is_ahead_makes_no_price_of_later() -> None:
    """Within the window it is of now: a copy from the future is never served, and would replace one that is."""
    told = price_of(event(as_of="2026-11-20T15:03:00Z"), NOW_S)
    assert told is not None and told.as_of_ms == NOW_S * 1000


@pytest.mark.parametrize("kind", ["cg.coin.price.moved", "price.updated.v2", "alert"])
def test_other_events_are_no_prices(kind: str) -> None:
    """Whatever they tell of: such an event says at most that it is time to ask."""
    assert price_of(event(kind), NOW_S) is None


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("symbol", "no symbol", "expected a pair"),
        ("symbol", None, "expected a pair"),
        ("price", "0", "not above 0"),
        ("price", "-1", "not above 0"),
        ("price", "NaN", "no number"),
        ("price", True, "no number"),
        ("price", None, "no number"),
        ("as_of", 1_795_186_804, "no time"),
        ("as_of", "soon", "no time"),
        ("as_of", "1969-01-01T00:00:00Z", "out of this world"),
        ("as_of", "2026-11-20T16:00:00Z", "in the future"),
        ("source", "", "data.source"),
        ("source", 7, "data.source"),
        ("source", "x" * 65, "data.source"),
    ],
)
def test_what_says_to_be_a_price_and_is_none_is_malformed(name: str, value: object, told: str) -> None:
    """Its sender, who is proved by then, learns which field it is."""
    with pytest.raises(Refused, match=told) as caught:
        price_of(Delivery("1", NOW_S, "price.updated", PRICE | {name: value}, b"{}"), NOW_S)
    assert caught.value.reason is Reason.MALFORMED
