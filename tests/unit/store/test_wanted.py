"""What is taken for a wish in `stream:wanted`."""

from __future__ import annotations

import json

import msgspec
import pytest

from streamer.store.wanted import Want, parse_wanted

SOUND = {"by": "cli", "pinned": True, "asked_ms": 1790000000000}


def test_nothing_wanted() -> None:
    """A missing hash is an empty set."""
    assert parse_wanted({}) == {}


@pytest.mark.parametrize("as_bytes", [True, False])
def test_wishes_are_read_from_bytes_and_text(as_bytes: bool) -> None:
    """Whether or not the client decodes answers makes no difference."""
    value = json.dumps(SOUND | {"read_ms": 1790000000500})
    raw: dict[bytes | str, bytes | str] = {b"BTC-USD": value.encode()} if as_bytes else {"BTC-USD": value}
    assert parse_wanted(raw) == {"BTC-USD": Want("cli", True, 1790000000000, 1790000000500)}


def test_read_time_may_be_missing() -> None:
    """Nobody has noted a read yet: None."""
    assert parse_wanted({"BTC-USD": json.dumps(SOUND)})["BTC-USD"].read_ms is None  # type: ignore[index]


def test_what_we_write_we_read() -> None:
    """A wish survives its way through JSON."""
    want = Want("reader", False, 5, 6)
    assert parse_wanted({"BTC-USD": msgspec.json.encode(want)}) == {"BTC-USD": want}


def test_unknown_fields_are_passed_over() -> None:
    """A newer version may note more."""
    assert parse_wanted({"BTC-USD": json.dumps(SOUND | {"mood": [1]})}) == {
        "BTC-USD": Want("cli", True, 1790000000000)
    }


@pytest.mark.parametrize(
    "name",
    ["", "btc-usd", "BTC USD", "BTC-USD\n", "*", "-BTC", "BTC-USD:stale", "B" * 33, b"\xff", b"BTC-USD\x00"],
    ids=ascii,
)
def test_what_is_no_product_id_is_left_out(name: str | bytes) -> None:
    """No key is ever built from it; the sound entry beside it stays."""
    assert parse_wanted({name: json.dumps(SOUND), "ETH-USD": json.dumps(SOUND)}).keys() == {"ETH-USD"}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1",
        b"null",
        b"[]",
        b"{}",
        b"not json",
        b"\xff\xfe",
        b"[" * 10**5,
        json.dumps(SOUND | {"by": None}),
        json.dumps(SOUND | {"pinned": "yes"}),
        json.dumps(SOUND | {"asked_ms": "1790000000000"}),
        json.dumps(SOUND | {"asked_ms": 1.5}),
        json.dumps(SOUND | {"read_ms": "now"}),
        json.dumps({"by": "cli", "pinned": True}),
        json.dumps(SOUND)[:-1],
        json.dumps(SOUND).replace("1790000000000", "9" * 5000),
    ],
    ids=lambda value: ascii(value)[:32],
)
def test_what_is_not_our_json_is_left_out(value: str | bytes) -> None:
    """A foreign or damaged entry costs itself and nothing else."""
    assert parse_wanted({"BTC-USD": value, "ETH-USD": json.dumps(SOUND)}).keys() == {"ETH-USD"}


_NESTED = b'{"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}"


@pytest.mark.parametrize(
    "value", [b'{"by":"\xff","pinned":true,"asked_ms":1}', _NESTED], ids=["not text", "nested"]
)
def test_a_field_that_no_json_reader_takes_is_left_out(value: bytes) -> None:
    """Bad text and endless nesting raise other errors than bad JSON does; neither may end the ingester."""
    sound = b'{"by":"cli","pinned":true,"asked_ms":1}'
    assert parse_wanted({b"BTC-USD": value, b"ETH-USD": sound}).keys() == {"ETH-USD"}
