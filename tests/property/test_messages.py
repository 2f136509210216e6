"""Laws of the decoder: whatever arrives is a message or malformed, and what is let through is sound."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from streamer.coinbase.messages import Decoder, Message
from streamer.errors import MalformedFrame
from streamer.model import TickerFields, is_product_id
from streamer.store.records import TICKER_VALUES, parse_decimal

DATA = Path(__file__).parents[1] / "data"
SAMPLES = [path.read_bytes() for path in sorted(DATA.glob("ws_*.json"))]
NAMES = ["channel", "timestamp", "sequence_num", "events", "type", "message", "client_id"]
NAMES += ["tickers", "subscriptions", "heartbeat_counter", "current_time", *TickerFields.__struct_fields__]
CHANNEL_NAMES = ["ticker", "heartbeats", "subscriptions", "user", "l2_data", ""]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=30,
)

numbers = st.from_regex(r"-?[0-9]{0,32}(\.[0-9]{0,32})?", fullmatch=True, alphabet=st.characters(codec="ascii"))
oddities = st.sampled_from(
    ["", "NaN", "Infinity", "1e5", "1_0", " 1", "1\n2", "1\0", "\uff11", "\u0663", "+1", "0"]
)
sound = st.decimals(min_value=0, max_value=10**9, places=4).map(str)
# Mostly sound, so that a ticker whose twelve values all are is no rarity.
values = st.one_of(sound, sound, sound, sound, st.just(""), numbers, oddities, st.text(max_size=6))
tickers = st.fixed_dictionaries(
    {"product_id": st.sampled_from(["BTC-USD", "BTC-USD", "ETH-EUR", "btc", "", "A" * 33])},
    optional=dict.fromkeys(TICKER_VALUES, values),
)
times = st.one_of(
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.just("2026-11-20T15:04:06Z"),
    st.text(max_size=8),
)


def decoded(payload: bytes) -> tuple[Message, list[TickerFields]] | None:
    """The message and its sound tickers, None where the frame is malformed; any other error fails the test."""
    decoder = Decoder()
    try:
        message = decoder.decode(payload)
    except MalformedFrame:
        return None
    offered = sum(len(event.tickers) for event in message.events)
    let_through = decoder.tickers(message)
    assert len(let_through) + decoder.empty_tickers + decoder.rejected_tickers >= offered
    assert message.sequence_num is None or type(message.sequence_num) is int
    assert len(decoder.unknown) <= 100
    return message, let_through


def check(fields: TickerFields) -> None:
    """Fail unless everything about a ticker can be believed and stored."""
    assert is_product_id(fields.product_id)
    assert Decimal(fields.price) > 0
    for name in TICKER_VALUES:
        if text := getattr(fields, name):
            value = Decimal(text)
            assert value.is_finite()
            assert value >= 0 or name == "price_percent_chg_24_h"
            # The reader is stricter than Decimal: what it refuses must not get as far as Redis.
            assert parse_decimal(text) == value


@given(st.binary(max_size=300))
@example(b"")
@example(b"{}")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
def test_any_bytes_are_a_message_or_malformed(payload: bytes) -> None:
    """No bytes raise anything but MalformedFrame, and none makes a ticker out of nothing."""
    result = decoded(payload)
    assert result is None or not result[1]


@given(st.sampled_from(SAMPLES), st.data())
def test_any_damage_to_a_frame_is_survived(payload: bytes, data: st.DataObject) -> None:
    """A frame with bytes changed, cut out or put in is a message or malformed, its tickers sound."""
    start = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(start, min(len(payload), start + 8)))
    result = decoded(payload[:start] + data.draw(st.binary(max_size=8)) + payload[end:])
    for fields in result[1] if result is not None else ():
        check(fields)


@given(anything)
def test_any_json_is_a_message_or_malformed(value: Any) -> None:
    """An object is a message whatever it holds; a number too large for any machine may make it malformed."""
    result = decoded(json.dumps(value).encode())
    if not isinstance(value, dict):
        assert result is None
    for fields in result[1] if result is not None else ():
        check(fields)


@given(
    st.fixed_dictionaries(
        {"channel": st.sampled_from(CHANNEL_NAMES)},
        optional={
            "timestamp": times | scalars,
            "sequence_num": st.integers() | scalars,
            "type": st.text(max_size=5),
            "events": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "type": st.sampled_from(["snapshot", "update", "other"]) | scalars,
                        "tickers": st.lists(tickers | anything, max_size=3) | anything,
                        "subscriptions": st.dictionaries(st.text(), st.lists(st.text())) | anything,
                        "heartbeat_counter": scalars,
                    },
                )
                | anything,
                max_size=3,
            ),
        },
    )
)
def test_any_envelope_is_a_message_or_malformed(value: dict[str, Any]) -> None:
    """Right names with wrong values everywhere: still nothing but MalformedFrame, and only sound tickers."""
    result = decoded(json.dumps(value).encode())
    for fields in result[1] if result is not None else ():
        check(fields)


@given(st.lists(tickers, min_size=1, max_size=5), times)
def test_what_is_let_through_is_sound(offered: list[dict[str, str]], timestamp: str) -> None:
    """Every ticker is let through, empty or rejected, and those let through have finite values and a price."""
    payload = json.dumps(
        {"channel": "ticker", "timestamp": timestamp, "sequence_num": 1, "events": [{"tickers": offered}]}
    )
    decoder = Decoder()
    let_through = decoder.tickers(decoder.decode(payload.encode()))
    assert len(let_through) + decoder.empty_tickers + decoder.rejected_tickers == len(offered)
    for fields in let_through:
        check(fields)


@given(st.lists(tickers, min_size=1, max_size=4), tickers)
def test_siblings_do_not_influence_each_other(siblings: list[dict[str, str]], one: dict[str, str]) -> None:
    """Whether a ticker is let through depends on itself alone, wherever in the frame it stands."""

    def verdict(*offered: dict[str, str]) -> list[TickerFields]:
        frame = {"channel": "ticker", "timestamp": "2026-11-20T15:04:06Z", "events": [{"tickers": offered}]}
        decoder = Decoder()
        return decoder.tickers(decoder.decode(json.dumps(frame).encode()))

    assert verdict(*siblings, one) == verdict(*siblings) + verdict(one)
    assert verdict(one, *siblings) == verdict(one) + verdict(*siblings)


@given(values)
def test_plain_positive_digits_are_exactly_what_passes_as_a_price(text: str) -> None:
    """The rule in other words than the decoder's: 1 to 30 digits, perhaps a point and 1 to 30 more, not all 0."""
    frame = {
        "channel": "ticker",
        "timestamp": "2026-11-20T15:04:06Z",
        "events": [{"type": "update", "tickers": [{"product_id": "BTC-USD", "price": text}]}],
    }
    decoder = Decoder()
    passes = bool(decoder.tickers(decoder.decode(json.dumps(frame).encode())))
    plain = re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", text) is not None
    assert passes is (plain and Decimal(text) > 0)
