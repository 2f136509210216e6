"""Standard Webhooks 1.0.0, signatures `v1`: the scheme of our own relays, and of everybody who has no other. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Final

from streamer.webhooks.delivery import (
    Delivery,
    Posted,
    check_id,
    check_signature,
    check_window,
    document,
    event_type,
    mapping,
    seconds,
)

_PREFIX: Final = "whsec_"
RULE: Final = "expected whsec_ and base64 of 24 to 64 bytes: echo whsec_$(openssl rand -base64 32)"


def key(secret: str) -> bytes:
    """Return the bytes that a secret stands for.

    Raises:
        ValueError: It is no secret of this scheme; does not repeat it.
    """
    found = _decoded(secret.removeprefix(_PREFIX)) if secret.startswith(_PREFIX) else None
    if found is None or not 24 <= len(found) <= 64:
        raise ValueError(RULE)
    return found


def verify(posted: Posted, keys: Sequence[bytes], now_s: float) -> Delivery:
    """Return what was delivered.

    Raises:
        Refused: It is not proved, not of now, or no event.
    """
    id_ = check_id(posted.one("webhook-id"))
    stamp = posted.one("webhook-timestamp")
    timestamp_s = seconds(stamp)
    candidates = list(_candidates(posted.one("webhook-signature")))
    check_signature(keys, f"{id_}.{stamp}.".encode() + posted.body, candidates)
    check_window(timestamp_s, now_s)
    told = document(posted.body)
    data = mapping(told.get("data"), "data")
    return Delivery(id_, timestamp_s, event_type(told.get("type"), "type"), data, posted.body)


def _candidates(header: str) -> Iterator[bytes]:
    """Yield the signatures of a header that can be one; those of other versions are for other receivers."""
    for entry in header.split(" "):
        version, _, text = entry.partition(",")
        signature = _decoded(text) if version == "v1" else None
        if signature is not None:
            yield signature


def _decoded(text: str) -> bytes | None:
    """Return what base64 stands for, None where it is none, or is not written in the one right way."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Several last letters stand for the same bytes where padding follows.
    return found if base64.b64encode(found).decode() == text else None
