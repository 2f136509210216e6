"""CoinGecko's webhooks (beta). Pure.

https://docs.coingecko.com/webhooks: hexadecimal HMAC-SHA256 over `{timestamp}:{event id}:{body}`. The key is the
secret as it is written: it looks like one of Standard Webhooks, and is not decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from streamer.webhooks.hexadecimal import candidate, plain_key

RULE: Final = "expected the secret of the endpoint as CoinGecko shows it, with whsec_"


def key(secret: str) -> bytes:
    """Return the bytes that a secret stands for.

    Raises:
        ValueError: It is no secret of this scheme; does not repeat it.
    """
    if not secret.startswith("whsec_"):
        raise ValueError(RULE)
    return plain_key(secret, RULE)


def verify(posted: Posted, keys: Sequence[bytes], now_s: float) -> Delivery:
    """Return what was delivered.

    Raises:
        Refused: It is not proved, not of now, or no event.
    """
    id_ = check_id(posted.one("x-cg-event-id"))
    stamp = posted.one("x-cg-timestamp")
    timestamp_s = seconds(stamp)
    signature = candidate(posted.one("x-cg-signature"))
    check_signature(keys, f"{stamp}:{id_}:".encode() + posted.body, signature)
    check_window(timestamp_s, now_s)
    told = document(posted.body)
    data = mapping(told.get("data"), "data")
    return Delivery(id_, timestamp_s, event_type(told.get("event_type"), "event_type"), data, posted.body)
