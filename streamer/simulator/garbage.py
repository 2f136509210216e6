"""Frames that no exchange should send, and one day does. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

Numbered = Callable[[], bytes]
"""Takes the connection's next sequence number, as text."""

_STAMP = b"2026-11-20T15:04:06.284455913Z"
_DEPTH = 100_000


class GarbageKind(StrEnum):
    """Kinds of bad frame."""

    NOT_JSON = "not_json"
    TRUNCATED = "truncated"
    WRONG_TYPES = "wrong_types"
    BAD_PRICE = "bad_price"
    NESTED = "nested"
    UNKNOWN_CHANNEL = "unknown_channel"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_FIELD = "unknown_field"


# "84210.37" in full-width digits, which Python's own int() and float() would take.
_FULL_WIDTH = '"84210.37"'.translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"}).encode()

# "84210.37" in full-width digits, which Python's own int() and float() would take.
_FULL_WIDTH = '"84210.37"'.translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"}).encode()

# As JSON source: NaN, Infinity and 1_000 are no JSON at all, the rest is JSON that is no price.
_BAD_PRICES = (
    b"NaN", b"Infinity", b"1_000", b"1e999999999999999999", b'"NaN"', b'"Infinity"',
    b'"1e999999999999999999"', _FULL_WIDTH, b'"1_000"', b'"-1"', b'"0"', b'" 84210.37"', b'"0x10"',
    b"84210.37", b"null", b"true", b"[]", b"{}",
)  # fmt: skip


def garbage(kind: str, next_number: Numbered, product_id: str) -> list[bytes]:
    """Return the payloads of one kind of garbage, or of every kind for "all".

    Args:
        kind: A `GarbageKind` or "all".
        next_number: Called once for each frame that carries a sequence number a client can read (as JSON
            or with some tolerance); a frame without one uses none up, so that it alone causes no gap.
        product_id: The product that bad tickers are about.
    """
    kinds = list(GarbageKind) if kind == "all" else [GarbageKind(kind)]
    return [payload for k in kinds for payload in _of_kind(k, next_number, product_id.encode())]


def _of_kind(kind: GarbageKind, number: Numbered, product: bytes) -> list[bytes]:
    match kind:
        case GarbageKind.NOT_JSON:
            return [b"", b"hello", b"<html><body>502 Bad Gateway</body></html>", b"\x00"]
        case GarbageKind.TRUNCATED:
            whole = _envelope(b"ticker", b"0", _event(product, b'"84210.37"'))
            return [whole[:1], whole[: len(whole) // 2], whole[:-1]]
        case GarbageKind.WRONG_TYPES:
            return _wrong_types()
        case GarbageKind.BAD_PRICE:
            return [_envelope(b"ticker", number(), _event(product, price)) for price in _BAD_PRICES]
        case GarbageKind.NESTED:
            return [b"[" * _DEPTH + b"]" * _DEPTH, b'{"channel":' * _DEPTH + b"0" + b"}" * _DEPTH]
        case GarbageKind.UNKNOWN_CHANNEL:
            return [_envelope(b"weather", number(), b'{"type":"update","sunshine":["1"]}')]
        case GarbageKind.UNKNOWN_TYPE:
            event = _event(product, b'"84210.37"').replace(b'"update"', b'"revision"', 1)
            return [_envelope(b"ticker", number(), event), b'{"type":"notice","message":"hello"}']
        case GarbageKind.UNKNOWN_FIELD:
            body = _envelope(b"ticker", number(), b'{"type":"update","tickers":[],"colour":"red"}')
            return [body[:-1] + b',"weather":{"sun":[1,2,3]}}']


def _wrong_types() -> list[bytes]:
    return [
        b"[]", b"null", b"42", b'"text"', b"{}",
        b'{"channel":7,"sequence_num":"x"}',
        b'{"channel":"ticker","timestamp":7,"sequence_num":"7","events":[]}',
        b'{"channel":"ticker","timestamp":"%b","sequence_num":-1,"events":{}}' % _STAMP,
        b'{"channel":"ticker","timestamp":"%b","sequence_num":1.5,"events":[7]}' % _STAMP,
        b'{"channel":"ticker","timestamp":"%b","sequence_num":null,"events":"x"}' % _STAMP,
    ]  # fmt: skip


def _event(product: bytes, price: bytes) -> bytes:
    return b'{"type":"update","tickers":[{"type":"ticker","product_id":"%b","price":%b}]}' % (product, price)


def _envelope(channel: bytes, number: bytes, event: bytes) -> bytes:
    middle = b'","client_id":"","timestamp":"' + _STAMP
    return b'{"channel":"' + channel + middle + b'","sequence_num":' + number + b',"events":[' + event + b"]}"
