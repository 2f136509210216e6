"""What all of CoinMarketCap's routes share: its envelope, its refusals, and how coins are looked up. Pure."""

from __future__ import annotations

from typing import Any, Final

from streamer.simulator.providers.assets import COINS, Asset
from streamer.simulator.providers.provider import refused
from streamer.simulator.providers.wire import Ask, Refusal, Reply, iso, json_reply

_BY_NUMBER: Final = {str(coin.number): coin for coin in COINS}
CONVERTS: Final = {"USD": 2781, "USDT": 825, "BTC": 1, "ETH": 1027}
"""Currencies a price is converted to, with their ids."""


def head(ask: Ask, code: int | str, why: str | None, credit: int) -> dict[str, Any]:
    """Return the head of an answer."""
    return {
        "timestamp": iso(ask.now_s),
        "error_code": code,
        "error_message": why,
        "elapsed": 14 if credit else 0,
        "credit_count": credit,
    }


def error(ask: Ask, status: int, code: int, why: str) -> Reply:
    """Return an error."""
    return json_reply({"status": head(ask, code, why, 0)}, status)


def bad(ask: Ask, why: str) -> Refusal:
    """Return a refusal of a request that breaks a rule."""
    return refused(error(ask, 400, 400, why))


def converts(ask: Ask) -> list[str]:
    """Return the currencies asked for."""
    names = ask.listed("convert") or ["USD"]
    for name in names:
        if name not in CONVERTS:
            raise bad(ask, f'Invalid value for "convert": "{name}"')
    return names


def cached_s(ask: Ask) -> int:
    """Return as of when prices are: answers are kept for a minute."""
    return int(ask.now_s) // 60 * 60


def found(ask: Ask) -> list[tuple[str, Asset]]:
    """Return the coins asked for by id or slug with the name they were asked by; unknown ones are left out."""
    for name, known in (("id", _BY_NUMBER), ("slug", {coin.slug: coin for coin in COINS})):
        wanted = ask.listed(name)
        unknown = [text for text in wanted if text not in known]
        if unknown and ask.params.get("skip_invalid") == "false":
            raise bad(ask, f'Invalid value for "{name}": "{unknown[0]}"')
        if wanted:
            return [(text, known[text]) for text in wanted if text in known]
    raise bad(ask, '"value" must contain at least one of [id, symbol, slug]')


def by_symbol(ask: Ask) -> list[tuple[str, Asset | None]]:
    """Return the coins asked for by symbol, None for an unknown one."""
    known = {coin.symbol: coin for coin in COINS}
    wanted = [text.upper() for text in ask.listed("symbol")]
    for text in wanted:
        if text not in known and ask.params.get("skip_invalid") == "false":
            raise bad(ask, f'Invalid value for "symbol": "{text}"')
    return [(text, known.get(text)) for text in wanted]
