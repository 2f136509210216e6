"""What may go wrong at a provider, to order, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from streamer.errors import ConfigError


class FaultKind(StrEnum):
    """What goes wrong."""

    DOWN = "down"
    """The connection is cut without an answer."""
    SLOW = "slow"
    """The answer comes `delay_s` later."""
    LIMITED = "limited"
    """More requests than allowed, whatever was counted; `style` picks a form the provider has for it."""
    BANNED = "banned"
    """The address is banned for `ban_s`."""
    GEO_BLOCKED = "geo_blocked"
    """The provider serves nobody here (Binance's 451; others refuse with a page)."""
    ERROR500 = "error500"
    HTML = "html"
    """A page in place of data, with `status`."""
    TRUNCATED = "truncated"
    """Half of the answer's text."""
    WRONG_TYPE = "wrong_type"
    """The answer is said to be HTML."""
    GZIP = "gzip"
    """The answer is packed, asked for or not."""
    STALE = "stale"
    """Everything is as it was `age_s` ago."""
    LIE = "lie"
    """All prices are off by `factor`."""
    SPIKE = "spike"
    """The price and the newest finished bar are off by `factor`."""
    EMPTY = "empty"
    """There is no data, in the provider's own form."""
    KEY_ECHO = "key_echo"
    """An error whose text repeats the key."""


_DEFAULTS: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.SLOW: {"delay_s": 5.0},
    FaultKind.LIMITED: {"style": ""},
    FaultKind.BANNED: {"ban_s": 120.0},
    FaultKind.HTML: {"status": 503},
    FaultKind.STALE: {"age_s": 600.0},
    FaultKind.LIE: {"factor": 1.02},
    FaultKind.SPIKE: {"factor": 1.5},
}
_COMMON: Final = {"for_s", "count", "path"}


@dataclass(slots=True)
class Fault:
    """One fault in force.

    Attributes:
        options: Of its kind, complete.
        until_s: When it ends by itself, None for never.
        left: How many more requests it befalls, None for all.
        path: Befalls only requests whose path holds this.
    """

    kind: FaultKind
    options: Mapping[str, Any] = field(default_factory=dict)
    until_s: float | None = None
    left: int | None = None
    path: str = ""


class FaultBoard:
    """The faults of one provider, at most one of each kind."""

    def __init__(self) -> None:
        self._faults: dict[FaultKind, Fault] = {}

    def put(self, fault: Fault) -> None:
        """Let a fault begin; it takes the place of one of its kind."""
        self._faults[fault.kind] = fault

    def heal(self, kind: FaultKind | None = None) -> None:
        """End a fault, None for all."""
        if kind is None:
            self._faults.clear()
        else:
            self._faults.pop(kind, None)

    def take(self, path: str, now_s: float) -> dict[FaultKind, Fault]:
        """Return what befalls a request, and count that it does."""
        found = {}
        for kind, fault in list(self._faults.items()):
            if fault.until_s is not None and now_s >= fault.until_s:
                del self._faults[kind]
            elif fault.path in path:
                found[kind] = fault
                if fault.left is not None:
                    fault.left -= 1
                    if fault.left <= 0:
                        del self._faults[kind]
        return found

    def described(self, now_s: float) -> list[str]:
        """Return the names of faults in force."""
        return [f.kind.value for f in self._faults.values() if f.until_s is None or now_s < f.until_s]


def parse_fault(command: Mapping[str, Any], now_s: float) -> Fault:
    """Return the fault that `{"fault": "slow", "delay_s": 2, "for_s": 10, "count": 3, "path": "klines"}` orders.

    Raises:
        ConfigError: It is none, or an option is not one of its own.
    """
    try:
        kind = FaultKind(command["fault"])
    except ValueError:
        raise ConfigError("fault", command["fault"], f"expected one of {', '.join(FaultKind)}") from None
    options = dict(_DEFAULTS.get(kind, {}))
    given = {name: value for name, value in command.items() if name not in ("fault", "provider")}
    for name, value in given.items():
        if name not in options and name not in _COMMON:
            raise ConfigError(name, value, f"{kind} has the options {', '.join(sorted(_COMMON | set(options)))}")
        is_text = name in ("path", "style")
        is_fine = isinstance(value, str) if is_text else _is_positive(value)
        if not is_fine:
            raise ConfigError(name, value, "must be text" if is_text else "must be a positive number")
        if name in options:
            options[name] = value
    for_s, count = given.get("for_s"), given.get("count")
    until_s = None if for_s is None else now_s + for_s
    return Fault(kind, options, until_s, None if count is None else int(count), str(given.get("path", "")))


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
