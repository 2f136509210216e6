"""Hook0 signatures `v1`, as Coinbase's developer platform (CDP) sends them. Pure.

https://docs.cdp.coinbase.com/webhooks/verify-signatures and `clients/rust/src/signature.rs` of hook0/hook0. Header
`X-Hook0-Signature: t=<Unix s>,v0=<hex>,h=<names>,v1=<hex>`; `v1` covers the headers named in `h`. The clients fall
back on `v0`, which covers none: here it is refused, or whoever has captured a delivery could change its id.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from streamer.webhooks.delivery import (
    Delivery,
    Posted,
    Reason,
    Refused,
    check_id,
    check_signature,
    check_window,
    document,
    is_type,
    seconds,
)
from streamer.webhooks.hexadecimal import candidate, plain_key

RULE: Final = "expected the secret of the subscription, 16 to 256 characters"
COVERED: Final = frozenset({"content-type", "x-event-id", "x-event-type"})
"""What `v1` must cover at least: what CDP covers."""
_TYPE: Final = "x-event-type"
_NAMES: Final = re.compile(r"[a-z0-9-]{1,64}( [a-z0-9-]{1,64}){0,15}", re.ASCII)


def key(secret: str) -> bytes:
    """Return the bytes that a secret stands for.

    Raises:
        ValueError: It is no secret of this scheme; does not repeat it.
    """
    return plain_key(secret, RULE)


def verify(posted: Posted, keys: Sequence[bytes], now_s: float) -> Delivery:
    """Return what was delivered; its data is the whole body, of which only the signature is documented.

    Raises:
        Refused: It is not proved, not of now, or no event.
    """
    timestamp_s, covered = check_v1(posted, keys, COVERED)
    # Values are joined with ".": were it allowed in two of them, one could give a part of itself to the other. Ids
    # are UUIDs, and types have points.
    if any("." in value for name, value in covered.items() if name != _TYPE) or not is_type(covered[_TYPE]):
        raise Refused(
            Reason.COVERED_HEADERS, f"a value other than of {_TYPE} has a point, or that is no kind of event"
        )
    id_ = check_id(covered["x-event-id"])
    check_window(timestamp_s, now_s)
    return Delivery(id_, timestamp_s, covered[_TYPE], document(posted.body), posted.body)


def check_v1(posted: Posted, keys: Sequence[bytes], least: Collection[str]) -> tuple[int, dict[str, str]]:
    """Return the timestamp that `v1` covers, whenever that was, and the headers, at least those of `least`.

    Raises:
        Refused: It is not there, does not cover these, or is wrong.
    """
    parts = _parts(posted.one("x-hook0-signature"))
    if "v1" not in parts:
        raise Refused(Reason.V1_REQUIRED)
    stamp, names = parts.get("t", ""), parts.get("h", "")
    timestamp_s = seconds(stamp)
    listed = names.split(" ")
    if not _NAMES.fullmatch(names) or len(set(listed)) < len(listed) or not set(least) <= set(listed):
        raise Refused(Reason.COVERED_HEADERS, f"expected at least {' '.join(sorted(least))}, each once")
    covered = {name: posted.one(name) for name in listed}
    signed = f"{stamp}.{names}.{'.'.join(covered.values())}.".encode("latin-1", "replace") + posted.body
    check_signature(keys, signed, candidate(parts["v1"]))
    return timestamp_s, covered


def _parts(header: str) -> dict[str, str]:
    """Return the parts of the header by their names.

    Raises:
        Refused: One is there twice.
    """
    parts: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = part.partition("=")
        if name in parts:
            raise Refused(Reason.SIGNATURE, "a part of the header is there twice")
        parts[name] = value
    return parts
