"""What can go wrong, and when: fault commands, fault scripts and the board of faults in force. Pure.

A command is a JSON object: `{"fault": "silence", "for_s": 10}`, `{"query": "state"}`,
`{"tick": "BTC-USD", "price": "84000"}`, `{"pause": true}` or `{"heal": true}`, or one of those in `admin`
and `trading`.
In a script each also has `at_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from streamer.errors import ConfigError
from streamer.simulator import admin, trading
from streamer.simulator.admin import AdminCommand
from streamer.simulator.checks import check as _check
from streamer.simulator.checks import ids as _ids
from streamer.simulator.checks import number as _number
from streamer.simulator.checks import one_of as _one_of
from streamer.simulator.checks import only as _only
from streamer.simulator.checks import path as _path
from streamer.simulator.checks import shown as _shown
from streamer.simulator.checks import whole as _whole
from streamer.simulator.garbage import GarbageKind


class FaultKind(StrEnum):
    """Every fault the exchange can have."""

    CLOSE = "close"
    RESET = "reset"
    DROP_HANDSHAKE = "drop_handshake"
    REFUSE_UPGRADE = "refuse_upgrade"
    DROP_AFTER_SUBSCRIBE = "drop_after_subscribe"
    SILENCE = "silence"
    SKIP = "skip"
    REPEAT = "repeat"
    REORDER = "reorder"
    RESTART_SEQUENCE = "restart_sequence"
    GARBAGE = "garbage"
    OVERSIZED = "oversized"
    SLOW_FRAMES = "slow_frames"
    REFUSE_SUBSCRIPTIONS = "refuse_subscriptions"
    ACK_WITHOUT_DATA = "ack_without_data"
    PING_FLOOD = "ping_flood"
    FRAGMENT = "fragment"
    REST_STATUS = "rest_status"
    REST_SLOW = "rest_slow"
    REST_HANG = "rest_hang"
    REST_DRIBBLE = "rest_dribble"
    REST_RESET = "rest_reset"
    REST_UNAUTHORIZED = "rest_unauthorized"
    REST_GARBAGE = "rest_garbage"
    REST_TRUNCATED = "rest_truncated"
    REST_REPEAT_CURSOR = "rest_repeat_cursor"


CLOSE_CODES = (1000, 1001, 1008, 1011, 1012, 1013)
"""Close codes the fault `close` may use; 1006 is the fault `reset`."""

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: What happens.
        for_s: How long a lasting fault lasts, None until healed.
        connection: Number of the connection it is for (the first attempt is 1), None for all.
        options: The options of its kind, all of them, with defaults filled in.
    """

    kind: FaultKind
    for_s: float | None = None
    connection: int | None = None
    options: Options = field(default_factory=dict)

    @property
    def is_lasting(self) -> bool:
        """Whether the fault stays in force, rather than happening once."""
        return self.kind in _LASTING

    def shown(self) -> dict[str, Any]:
        """Return the fault as a JSON object of its command."""
        return {"fault": self.kind, "for_s": self.for_s, "connection": self.connection, **self.options}


@dataclass(frozen=True, slots=True)
class Tick:
    """Let one product trade, at a price or where its walk leads."""

    product_id: str
    price: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop (or go on) ticking."""

    paused: bool


@dataclass(frozen=True, slots=True)
class Heal:
    """End every fault and the pause."""


@dataclass(frozen=True, slots=True)
class Query:
    """Ask for the state, or for what REST was asked."""

    what: str = "state"


Command = Fault | Tick | Pause | Heal | Query | AdminCommand | trading.Trade
_VERBS = ("fault", "tick", "pause", "heal", "query", *admin.VERBS, *trading.VERBS)


class Timed(NamedTuple):
    """A command of a script and its time, in seconds after the script's start."""

    at_s: float
    command: Command


class _Option(NamedTuple):
    default: Any
    check: Callable[[object], str | None]


_KINDS = _one_of("all", *(str(kind) for kind in GarbageKind))
_COUNT = _whole(1, 2**31)
_BUFFERED = _whole(1, 10_000)
BODIES_OF_429 = ("rotate", "empty", "html", "json")
"""The bodies seen with a 429; `rotate` takes them in turn."""

# Which requests: those whose path (below the prefix) starts so, and only the next n of them.
_REST_PREFIX = "/api/v3/brokerage"
_WHICH = {"path": _Option(None, _path), "n": _Option(None, _COUNT)}

_OPTIONS: dict[FaultKind, dict[str, _Option]] = {
    FaultKind.CLOSE: {"code": _Option(1001, _one_of(*CLOSE_CODES))},
    FaultKind.REFUSE_UPGRADE: {
        "status": _Option(503, _whole(400, 599)),
        "retry_after_s": _Option(None, _whole(0, 86_400)),
    },
    FaultKind.SILENCE: {"products": _Option(None, _ids)},
    FaultKind.SKIP: {"n": _Option(1, _COUNT)},
    FaultKind.REPEAT: {"n": _Option(1, _BUFFERED)},
    FaultKind.REORDER: {"n": _Option(2, _whole(2, 10_000))},
    FaultKind.GARBAGE: {"kind": _Option("all", _KINDS)},
    FaultKind.OVERSIZED: {"size_bytes": _Option(64 << 20, _whole(1, 1 << 30))},
    FaultKind.SLOW_FRAMES: {"delay_s": _Option(0.0, _number(0))},
    FaultKind.PING_FLOOD: {"per_s": _Option(1000, _whole(1, 100_000))},
    FaultKind.REST_STATUS: {
        "status": _Option(503, _whole(400, 599)),
        "body": _Option("rotate", _one_of(*BODIES_OF_429)),
        "retry_after_s": _Option(None, _whole(0, 86_400)),
        **_WHICH,
    },
    FaultKind.REST_SLOW: {"delay_s": _Option(1.0, _number(0)), **_WHICH},
    FaultKind.REST_HANG: _WHICH,
    FaultKind.REST_DRIBBLE: {"delay_s": _Option(0.05, _number(0)), **_WHICH},
    FaultKind.REST_RESET: _WHICH,
    FaultKind.REST_UNAUTHORIZED: {**_WHICH, "n": _Option(1, _COUNT)},
    FaultKind.REST_GARBAGE: _WHICH,
    FaultKind.REST_TRUNCATED: _WHICH,
    FaultKind.REST_REPEAT_CURSOR: _WHICH,
}

_LASTING = frozenset(
    {
        FaultKind.DROP_HANDSHAKE,
        FaultKind.REFUSE_UPGRADE,
        FaultKind.DROP_AFTER_SUBSCRIBE,
        FaultKind.SILENCE,
        FaultKind.SLOW_FRAMES,
        FaultKind.REFUSE_SUBSCRIPTIONS,
        FaultKind.ACK_WITHOUT_DATA,
        FaultKind.PING_FLOOD,
        FaultKind.FRAGMENT,
        FaultKind.REST_STATUS,
        FaultKind.REST_SLOW,
        FaultKind.REST_HANG,
        FaultKind.REST_DRIBBLE,
        FaultKind.REST_RESET,
        FaultKind.REST_UNAUTHORIZED,
        FaultKind.REST_GARBAGE,
        FaultKind.REST_TRUNCATED,
        FaultKind.REST_REPEAT_CURSOR,
    }
)


def parse_command(value: object, where: str = "command") -> Command:
    """Return the command that a JSON object means.

    Args:
        value: The parsed JSON.
        where: What to call it in an error, such as file and line.

    Raises:
        ConfigError: It is no command, or an option breaks a rule.
    """
    if not isinstance(value, dict):
        raise ConfigError(where, value, "must be an object")
    verbs = [v for v in _VERBS if v in value]
    for also_option in ("status", "product"):  # verbs that are options of other commands
        if len(verbs) > 1 and also_option in verbs:
            verbs.remove(also_option)
    if len(verbs) != 1:
        raise ConfigError(where, _shown(value), f"must have exactly one of {', '.join(_VERBS)}")
    if trading.is_trade(verbs[0], value):
        return trading.parse_trade(value, where)
    given = dict(value)
    match verbs[0]:
        case "fault":
            return _fault(given, where)
        case "tick":
            _only(given, where, "tick", "price")
            if not isinstance(given["tick"], str) or not isinstance(given.get("price"), str | None):
                raise ConfigError(where, _shown(value), "tick is a product id and price a decimal, both text")
            return Tick(given["tick"], given.get("price"))
        case "pause":
            _only(given, where, "pause")
            _check(where, "pause", given["pause"], _one_of(True, False))
            return Pause(given["pause"])
        case "heal":
            _only(given, where, "heal")
            _check(where, "heal", given["heal"], _one_of(True))
            return Heal()
        case "query":
            _only(given, where, "query")
            _check(where, "query", given["query"], _one_of("state", "rest", *trading.QUERIES))
            return Query(given["query"])
        case verb:
            return admin.parse(verb, given, where)


def _fault(given: dict[str, Any], where: str) -> Fault:
    name = given.pop("fault")
    if name not in list(FaultKind):
        raise ConfigError(where, name, f"fault must be one of {', '.join(FaultKind)}")
    kind = FaultKind(name)
    for_s, connection = given.pop("for_s", None), given.pop("connection", None)
    if for_s is not None:
        if kind not in _LASTING:
            raise ConfigError(where, for_s, f"{kind} happens once and takes no for_s")
        _check(where, "for_s", for_s, _number(0, above=True))
    if connection is not None:
        _check(where, "connection", connection, _whole(1, 2**31))
    known = _OPTIONS.get(kind, {})
    _only(given, where, *known)
    options: dict[str, Any] = {}
    for option, (default, check) in known.items():
        options[option] = given.get(option, default)
        # A default may be None ("not set"); a given value must pass, an explicit null too.
        if option in given:
            _check(where, option, given[option], check)
    if kind.startswith("rest_"):
        if connection is not None:
            raise ConfigError(where, connection, f"{kind} is for requests and takes no connection")
        options["path"] = options["path"] and (options["path"].removeprefix(_REST_PREFIX) or "/")
    return Fault(kind, for_s, connection, options)


def parse_script(text: str, name: str = "faults") -> list[Timed]:
    """Return the commands of a script in the order of their times.

    Args:
        text: JSON lines (empty lines and lines that start with # are skipped) or one JSON list.
        name: What to call the script in an error; the line or item number is added.

    Raises:
        ConfigError: Names the line (or item) and the rule it breaks.
    """
    timed: list[Timed] = []
    for where, value in _rows(text, name):
        if not isinstance(value, dict):
            raise ConfigError(where, _shown(value), "must be an object")
        rest = dict(value)
        at_s = rest.pop("at_s", None)
        _check(where, "at_s", at_s, _number(0))
        timed.append(Timed(float(at_s), parse_command(rest, where)))
    return sorted(timed, key=lambda entry: entry.at_s)


def _rows(text: str, name: str) -> list[tuple[str, object]]:
    if text.lstrip().startswith("["):
        return [(f"{name}[{i}]", row) for i, row in enumerate(_json(text, name))]
    lines = ((f"{name}:{i}", line) for i, line in enumerate(text.splitlines(), start=1))
    return [(w, _json(line, w)) for w, line in lines if line.strip() and not line.lstrip().startswith("#")]


def _json(text: str, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ConfigError(where, _shown(text), f"must be JSON ({exc})") from exc


class FaultBoard:
    """The lasting faults in force. Time comes in as an argument, in seconds of any steady clock."""

    def __init__(self) -> None:
        self._active: list[tuple[float, Fault]] = []
        self._taken: dict[int, int] = {}

    def start(self, fault: Fault, now_s: float) -> None:
        """Put a lasting fault in force."""
        assert fault.is_lasting, fault.kind
        ends = math.inf if fault.for_s is None else now_s + fault.for_s
        self._active.append((ends, fault))

    def heal(self) -> None:
        """End every fault."""
        self._active.clear()
        self._taken.clear()

    def expire(self, now_s: float) -> bool:
        """Drop the faults whose time is over; say whether there were any."""
        left = [entry for entry in self._active if entry[0] > now_s]
        changed = len(left) != len(self._active)
        self._active = left
        self._taken = {i: n for i, n in self._taken.items() if any(i == id(fault) for _, fault in left)}
        return changed

    def active(self) -> list[Fault]:
        """Return the faults in force, oldest first."""
        return [fault for _, fault in self._active if not self._is_spent(fault)]

    def find(self, kind: FaultKind, connection: int) -> Fault | None:
        """Return the newest fault of a kind in force for a connection, or None."""
        for _, fault in reversed(self._active):
            if fault.kind is kind and fault.connection in (None, connection):
                return fault
        return None

    def applies(self, kind: FaultKind, path: str) -> Fault | None:
        """Return the newest fault of a kind for REST requests to a path (below the prefix), or None."""
        for _, fault in reversed(self._active):
            if fault.kind is kind and path.startswith(fault.options["path"] or "/") and not self._is_spent(fault):
                return fault
        return None

    def _is_spent(self, fault: Fault) -> bool:
        wanted = fault.options.get("n") if fault.is_lasting else None
        return wanted is not None and self._taken.get(id(fault), 0) >= wanted

    def is_in_force(self, fault: Fault) -> bool:
        """Whether a fault has neither been healed nor run out of time; one for n requests may have had them."""
        return any(entry[1] is fault for entry in self._active)

    def take(self, kind: FaultKind, path: str) -> Fault | None:
        """As `applies`, and count the request: a fault for the next n of them is for no more."""
        fault = self.applies(kind, path)
        if fault is not None and fault.options["n"] is not None:
            self._taken[id(fault)] = self._taken.get(id(fault), 0) + 1
        return fault

    def effects(self, connection: int) -> Effects:
        """Return what the faults in force do to the frames of a connection."""
        mine = [f for _, f in self._active if f.connection in (None, connection)]
        kinds = {f.kind for f in mine}
        silences = [f.options["products"] for f in mine if f.kind is FaultKind.SILENCE]
        floods = [f.options["per_s"] for f in mine if f.kind is FaultKind.PING_FLOOD]
        slow = [f.options["delay_s"] for f in mine if f.kind is FaultKind.SLOW_FRAMES]
        return Effects(
            is_silent=None in silences or bool(floods),
            muted=frozenset(p for products in silences if products for p in products),
            has_no_data=FaultKind.ACK_WITHOUT_DATA in kinds,
            is_fragmented=FaultKind.FRAGMENT in kinds,
            byte_delay_s=max(slow, default=None),
            pings_per_s=max(floods, default=0),
        )


class Effects(NamedTuple):
    """What lasting faults do to the frames of one connection; the defaults are a healthy one."""

    is_silent: bool = False
    muted: frozenset[str] = frozenset()
    has_no_data: bool = False
    is_fragmented: bool = False
    byte_delay_s: float | None = None
    pings_per_s: int = 0
