"""What is posted, what a sound delivery is, and the checks that all schemes share. Pure.

A scheme reads nothing of a body before it is proved, and every way in which something can be wrong is a `Refused`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec

from streamer.errors import StreamerError

TOLERANCE_S: Final = 300
"""How far a signed timestamp may be from our clock, either way: what Standard Webhooks, Hook0 and CoinGecko use."""

# Neither may hold what begins a body: signed texts are joined with "." or ":", and a byte that could belong to the
# one part or to the other would let a captured delivery be cut anew, with another id under the same signature.
_ID: Final = re.compile(r"[A-Za-z0-9_.:~+/=-]{1,128}", re.ASCII)
_TYPE: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class Reason(StrEnum):
    """Why a delivery is refused: for logs and counters. Senders are told of `MALFORMED` only."""

    MISSING_HEADER = "missing header"
    REPEATED_HEADER = "repeated header"
    ID = "id"
    TIMESTAMP = "timestamp"
    TOO_OLD = "timestamp too old"
    TOO_NEW = "timestamp too new"
    SIGNATURE = "signature"
    V1_REQUIRED = "v1 required"
    COVERED_HEADERS = "covered headers"
    SOURCE_ADDRESS = "source address"
    NO_TOKEN = "no token, not JSON"  # noqa: S105 - words
    TOKEN = "token"  # noqa: S105
    MALFORMED = "malformed"


class Refused(StreamerError):
    """A delivery that is not taken.

    Attributes:
        reason: For us.
        detail: In words; of a malformed delivery these are for its sender, who has proved to be who it is.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"the delivery is refused: {reason}{f' ({detail})' if detail else ''}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Posted:
    """A request as it came.

    Attributes:
        headers: All of them in order, repeated ones too; names in lower case, values as Latin-1.
        body: The raw bytes.
        remote: The address of the sender.
    """

    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    remote: str = ""

    def one(self, name: str) -> str:
        """Return the value of a header that must be there once.

        Raises:
            Refused: It is missing, or there twice: others on the way may have read the other one.
        """
        found = [value for held, value in self.headers if held == name]
        if not found:
            raise Refused(Reason.MISSING_HEADER, name)
        if len(found) > 1:
            raise Refused(Reason.REPEATED_HEADER, name)
        return found[0]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that was proved to be from its sender, just now.

    Attributes:
        id: The sender's own; the same where it sends again.
        timestamp_s: When it was signed; of a scheme without signatures, when it came.
        type: What kind of event, such as "price.updated".
        data: What the event says; numbers with a point are `Decimal`.
        payload: The JSON object to keep, without secrets: the body as it came wherever it is signed.
    """

    id: str
    timestamp_s: int
    type: str
    data: Mapping[str, Any]
    payload: bytes


def seconds(text: str) -> int:
    """Return a timestamp: digits only, since "1795186805.9" and "1795186805" must not be the same to anybody.

    Raises:
        Refused: It is something else.
    """
    if not _DIGITS.fullmatch(text):
        raise Refused(Reason.TIMESTAMP, "expected Unix seconds in digits")
    return int(text)


def check_window(timestamp_s: int, now_s: float) -> None:
    """Refuse a timestamp that is out of the window, by which side of it."""
    age_s = now_s - timestamp_s
    if age_s > TOLERANCE_S:
        raise Refused(Reason.TOO_OLD, f"{age_s:.0f} s old")
    if age_s < -TOLERANCE_S:
        raise Refused(Reason.TOO_NEW, f"{-age_s:.0f} s ahead")


def check_signature(keys: Sequence[bytes], signed: bytes, candidates: Collection[bytes]) -> None:
    """Refuse unless one candidate is the HMAC-SHA256 of `signed` by one key.

    All are compared, each in constant time: how long it takes tells nothing about which would have been right.
    """
    matches = 0
    for key in keys:
        right = hmac.digest(key, signed, sha256)
        for candidate in candidates:
            matches += hmac.compare_digest(right, candidate)
    if not matches:
        raise Refused(Reason.SIGNATURE)


def check_id(text: str) -> str:
    """Return an id that can be one.

    Raises:
        Refused: It is empty, too long, or has letters that no id needs.
    """
    if not _ID.fullmatch(text):
        raise Refused(Reason.ID, "expected 1 to 128 letters, digits and marks")
    return text


def is_type(value: object) -> bool:
    """Whether a value can be the name of a kind of event."""
    return isinstance(value, str) and _TYPE.fullmatch(value) is not None


def event_type(value: object, name: str) -> str:
    """Return the kind of event that a proved delivery names.

    Raises:
        Refused: It is none, and is called by `name`.
    """
    if not isinstance(value, str) or not is_type(value):
        raise Refused(Reason.MALFORMED, f"{name} is no kind of event such as price.updated")
    return value


def document(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        Refused: It is none.
    """
    try:
        found = _decode(body)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as exc:
        raise Refused(Reason.MALFORMED, "the body is no JSON") from exc
    return mapping(found, "the body")


def mapping(value: object, name: str) -> dict[str, Any]:
    """Return a value that must be an object.

    Raises:
        Refused: It is none, and is called by `name`.
    """
    if not isinstance(value, dict):
        raise Refused(Reason.MALFORMED, f"{name} is no object")
    return value
