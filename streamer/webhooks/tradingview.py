"""Alerts of TradingView: a token in the body, from the addresses that its documentation lists. Pure.

https://www.tradingview.com/support/solutions/43000529348: no signature, no id, no second try. Whoever writes the
alert chooses the message, so the token and the names of fields are a convention of ours: `token`, `symbol`,
`interval`, `time`, and if wanted `timenow`. Whoever sees one message can make others: low trust.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streamer.providers.decode import iso_ms
from streamer.webhooks.delivery import Delivery, Posted, Reason, Refused, check_window, document
from streamer.webhooks.hexadecimal import plain_key

RULE: Final = "expected a long random token, 16 to 256 characters: openssl rand -hex 24"
ADDRESSES: Final = frozenset({"52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7"})
"""Where alerts come from, by the page above."""
TYPE: Final = "alert"
"""The kind of event that all of them are."""
_PART: Final = re.compile(r"[!-~]{1,64}", re.ASCII)
_encode: Final = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def key(secret: str) -> bytes:
    """Return the bytes of a token.

    Raises:
        ValueError: It is none that is long enough; does not repeat it.
    """
    return plain_key(secret, RULE)


def verify(posted: Posted, keys: Sequence[bytes], now_s: float) -> Delivery:
    """Return what was delivered, without its token; its id is what it is an alert of.

    Raises:
        Refused: The token or the address is wrong, it is not of now, or no alert.
    """
    if posted.remote not in ADDRESSES:
        raise Refused(Reason.SOURCE_ADDRESS)
    told = _with_token(posted.body)
    given = told.pop("token").encode("utf-8", "replace")
    if not sum(hmac.compare_digest(given, token) for token in keys):
        raise Refused(Reason.TOKEN)
    id_ = " ".join(_part(told, name) for name in ("symbol", "interval", "time"))
    timestamp_s = int(now_s)
    if "timenow" in told:
        timestamp_s = _time(told["timenow"])
        check_window(timestamp_s, now_s)
    return Delivery(id_, timestamp_s, TYPE, told, _encode(told))


def _with_token(body: bytes) -> dict[str, Any]:
    try:
        told = document(body)
    except Refused as exc:  # who has not proved to be anybody is not told what is wrong
        raise Refused(Reason.NO_TOKEN) from exc
    if not isinstance(told.get("token"), str):
        raise Refused(Reason.NO_TOKEN)
    return told


def _part(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not _PART.fullmatch(value):
        raise Refused(Reason.MALFORMED, f"{name} is no text of 1 to 64 characters without spaces")
    return value


def _time(value: object) -> int:
    try:
        return iso_ms(value, "timenow") // 1000
    except ValueError as exc:
        raise Refused(Reason.MALFORMED, "timenow is no time such as 2026-11-20T15:00:00Z") from exc
