"""What all of Polygon's routes share: tickers, refusals and cursors. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

import orjson

from streamer.simulator.providers.assets import COINS, DAY_S, STOCKS, Asset, midnight_s
from streamer.simulator.providers.provider import refused
from streamer.simulator.providers.wire import Ask, Refusal, json_reply

TICKERS: Final = {f"X:{coin.symbol}USD": coin for coin in COINS} | {stock.symbol: stock for stock in STOCKS}
"""What there is, by ticker."""


def request_id(ask: Ask) -> str:
    """Return what nearly every answer carries."""
    return hashlib.md5(f"{ask.path}{ask.now_s}".encode(), usedforsecurity=False).hexdigest()


def not_found(ask: Ask) -> Refusal:
    """Return a 404."""
    body = {"status": "NOT_FOUND", "request_id": request_id(ask), "message": "Data not found."}
    return refused(json_reply(body, 404))


def not_authorized(ask: Ask, why: str) -> Refusal:
    """Return what a plan is refused with: the text is in `message`."""
    body = {"status": "NOT_AUTHORIZED", "request_id": request_id(ask), "message": why}
    return refused(json_reply(body, 403))


def bad(ask: Ask, why: str) -> Refusal:
    """Return a 400: the text is in `error`."""
    return refused(json_reply({"status": "ERROR", "request_id": request_id(ask), "error": why}, 400))


def decimals(asset: Asset) -> int:
    """Return with how many decimals prices are written."""
    return 2 if asset.start >= 50 else 4 if asset.start >= 1 else 6


def midnight_before_s(asset: Asset, at_s: float) -> int:
    """Return when the day that a moment lies in has begun."""
    day = int(at_s) // DAY_S
    return next(start for n in (day, day - 1) if (start := midnight_s(asset, n)) <= at_s)


def cursor(ask: Ask) -> dict[str, str]:
    """Return the parameters of a request, or of the one whose next page it asks for."""
    code = ask.params.get("cursor")
    if code is None:
        return dict(ask.params)
    try:
        found = orjson.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))
    except ValueError:
        raise bad(ask, "Could not parse the parameter: 'cursor'.") from None
    return found if isinstance(found, dict) else {}


def next_url(ask: Ask, path: str, params: Mapping[str, str]) -> str:
    """Return the address of the next page: with a cursor, without the key."""
    code = base64.urlsafe_b64encode(orjson.dumps(dict(params))).decode().rstrip("=")
    return f"{ask.base}{path}?cursor={code}"
