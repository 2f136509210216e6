"""Bytes of the wire: WebSocket frames, time stamps and the envelope around events. Pure.

The simulator encodes its own frames so that thousands can go out in one write.
"""

from __future__ import annotations

import time

TEXT, CONTINUATION, PING = 0x1, 0x0, 0x9

_FIN = 0x80
_NS = 1_000_000_000


def header(length: int, *, opcode: int = TEXT, fin: bool = True) -> bytes:
    """Return the header of an unmasked frame (RFC 6455, 5.2) for a payload of `length` bytes."""
    first = (_FIN if fin else 0) | opcode
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def frame(payload: bytes, *, opcode: int = TEXT, fin: bool = True) -> bytes:
    """Return one unmasked frame, header and payload."""
    return header(len(payload), opcode=opcode, fin=fin) + payload


def fragments(payload: bytes) -> bytes:
    """Return `payload` as two fragments with a ping between them, which RFC 6455 (5.4) allows."""
    middle = len(payload) // 2
    return (
        frame(payload[:middle], fin=False)
        + frame(b"between", opcode=PING)
        + frame(payload[middle:], opcode=CONTINUATION)
    )


class Stamper:
    """RFC 3339 stamps as the exchange writes them: up to 9 fraction digits, trailing zeros trimmed."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second, self._prefix = -1, b""

    def stamp(self, ns: int) -> bytes:
        """Return the stamp of `ns` nanoseconds since 1970, UTC."""
        second, rest = divmod(ns, _NS)
        if second != self._second:  # strftime once a second, not once a frame
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        if not rest:
            return self._prefix + b"Z"
        return b"%b.%bZ" % (self._prefix, (b"%09d" % rest).rstrip(b"0"))


def go_time(ns: int, uptime_ns: int) -> str:
    """Return a Go `time.String()`, the form heartbeats carry: not RFC 3339, with a monotonic part."""
    second, rest = divmod(ns, _NS)
    up_second, up_rest = divmod(uptime_ns, _NS)
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{day}{fraction} +0000 UTC m=+{up_second}.{up_rest:09d}"


AFTER_STAMP = b'","sequence_num":'
"""What stands between the time stamp and the sequence number of an envelope."""


def before_stamp(channel: str, *, client_id: bool) -> bytes:
    """Return what stands before the time stamp.

    Captures have `client_id` (always ""), the AsyncAPI file has not: clients must bear both.
    """
    middle = b'","client_id":"' if client_id else b""
    return b'{"channel":"' + channel.encode() + middle + b'","timestamp":"'


def after_sequence(events: bytes) -> bytes:
    """Return what stands after the sequence number, around `events` (JSON objects joined by commas)."""
    return b',"events":[' + events + b"]}"
