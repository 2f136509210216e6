"""Commands about API keys, the clock and products: what an exchange's staff could do to a client. Pure.

`{"revoke": key}` (with `"close": true` also its connections), `{"restore": key}`,
`{"permit": key, "view": false}` (also trade, transfer), `{"expires": key, "in_s": 30}`,
`{"clock_offset_s": -5}` and `{"product": "BTC-USD", "status": "offline", "message": "maintenance"}`.
A key is its name, or `true` where there is only one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamer.errors import ConfigError
from streamer.simulator import checks

SCOPES = ("view", "trade", "transfer")
"""What a key may be allowed to do."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Refuse every token of a key from now on.

    Attributes:
        key: Name of the key, None for the only one.
        close: Whether its connections are closed; if not, what they have subscribed to lives on.
    """

    key: str | None
    close: bool = False


@dataclass(frozen=True, slots=True)
class Restore:
    """Take a revocation or an expiry back."""

    key: str | None


@dataclass(frozen=True, slots=True)
class Permit:
    """Give a key scopes, or take them."""

    key: str | None
    scopes: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expire:
    """Let a key expire some seconds from now."""

    key: str | None
    in_s: float


@dataclass(frozen=True, slots=True)
class SetClock:
    """Set the exchange's clock so many seconds ahead of the true time."""

    offset_s: float


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Change the status of a product: online, offline, delisted or whatever the exchange may think of next."""

    product_id: str
    status: str
    message: str = ""


AdminCommand = Revoke | Restore | Permit | Expire | SetClock | SetStatus

VERBS = ("revoke", "restore", "permit", "expires", "clock_offset_s", "product")
"""The words by which these commands are known."""

_FLAG = checks.one_of(True, False)


def parse(verb: str, given: dict[str, Any], where: str) -> AdminCommand:
    """Return the command that a JSON object means.

    Args:
        verb: Which of `VERBS` it has.
        given: The object.
        where: What to call it in an error.

    Raises:
        ConfigError: An option breaks a rule.
    """
    match verb:
        case "revoke":
            checks.only(given, where, "revoke", "close")
            checks.check(where, "close", given.get("close", False), _FLAG)
            return Revoke(_key(given, verb, where), given.get("close", False))
        case "restore":
            checks.only(given, where, "restore")
            return Restore(_key(given, verb, where))
        case "permit":
            return _permit(given, where)
        case "expires":
            checks.only(given, where, "expires", "in_s")
            checks.check(where, "in_s", given.get("in_s"), checks.number(0))
            return Expire(_key(given, verb, where), given["in_s"])
        case "clock_offset_s":
            checks.only(given, where, "clock_offset_s")
            checks.check(where, "clock_offset_s", given["clock_offset_s"], checks.number(-1e9))
            return SetClock(given["clock_offset_s"])
        case _:
            return _status(given, where)


def _key(given: Mapping[str, Any], verb: str, where: str) -> str | None:
    key = given[verb]
    if key is True:
        return None
    if not isinstance(key, str) or not key:
        raise ConfigError(f"{where}: {verb}", key, "must be the name of a key, or true for the only one")
    return key


def _permit(given: Mapping[str, Any], where: str) -> Permit:
    checks.only(given, where, "permit", *SCOPES)
    scopes = {scope: given[scope] for scope in SCOPES if scope in given}
    for scope, value in scopes.items():
        checks.check(where, scope, value, _FLAG)
    if not scopes:
        raise ConfigError(where, "permit", f"needs at least one of {', '.join(SCOPES)}")
    return Permit(_key(given, "permit", where), scopes)


def _status(given: Mapping[str, Any], where: str) -> SetStatus:
    checks.only(given, where, "product", "status", "message")
    message = given.get("message", "")
    for option, value in (("product", given["product"]), ("status", given.get("status")), ("message", message)):
        checks.check(where, option, value, checks.text)
    return SetStatus(given["product"], given["status"], message)
