"""All providers at one desk: who is asked, what goes wrong, what is counted, what is said. Pure; time comes in."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from streamer.errors import ConfigError
from streamer.simulator.providers.books import Books
from streamer.simulator.providers.faults import Fault, FaultBoard, FaultKind, parse_fault
from streamer.simulator.providers.latency import Latency
from streamer.simulator.providers.limits import BAN, Ledger, Verdict
from streamer.simulator.providers.market import Market
from streamer.simulator.providers.provider import Provider
from streamer.simulator.providers.roster import ROSTER
from streamer.simulator.providers.view import View
from streamer.simulator.providers.wire import FREE, HTML, PAID, Ask, Refusal, Reply, page

_LIMITED_S: Final = 60.0
_PLANS: Final = (FREE, PAID)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request on its way through.

    Attributes:
        at_s: When it came.
        address: Whom it came from.
        faults: What befalls it.
        latency_s: How long its answer takes where no fault slows it.
    """

    desk: Desk
    ask: Ask
    at_s: float
    address: str
    faults: Mapping[FaultKind, Fault]
    latency_s: float

    @property
    def is_cut(self) -> bool:
        """Whether it gets no answer."""
        return FaultKind.DOWN in self.faults

    @property
    def delay_s(self) -> float:
        """How long the answer takes."""
        slow = self.faults.get(FaultKind.SLOW)
        return self.latency_s + (float(slow.options["delay_s"]) if slow else 0.0)


@dataclass(slots=True)
class Desk:
    """One provider with what it remembers.

    Attributes:
        good: The keys that are good, None for all.
        bad: Keys that are not, beside those that begin with "bad".
    """

    provider: Provider
    plan: str
    ledger: Ledger
    latency: Latency
    books: Books = field(default_factory=Books)
    board: FaultBoard = field(default_factory=FaultBoard)
    good: frozenset[str] | None = None
    bad: frozenset[str] = frozenset()

    def is_good(self, key: str) -> bool:
        """Whether a key is accepted."""
        is_bad = not key or key in self.bad or key.startswith("bad")
        return not is_bad and (self.good is None or key in self.good)


class Fake:
    """The providers.

    Args:
        seed: Of their market, and of latencies.
        plan: Of everyone who asks, FREE or PAID, until told otherwise.
        latency_ms: How long each of them takes to answer, on average (`Latency`); 0 for at once.

    Raises:
        ConfigError: There is no such latency.
    """

    def __init__(self, seed: int = 0, plan: str = FREE, latency_ms: float = 0) -> None:
        self.market = Market(seed)
        self._desks = {
            # A seed for each: how long one takes does not hang on how often others are asked.
            each.name: Desk(each, plan, _ledger(each, plan), Latency(latency_ms, f"{seed} {each.name}"))
            for each in ROSTER
        }

    @property
    def names(self) -> list[str]:
        """The providers' names, which are their prefixes too."""
        return list(self._desks)

    def arrived(
        self,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        origin: str,
        address: str,
        now_s: float,
    ) -> Visit | None:
        """Take a request in and count it; None if its path is of no provider.

        Args:
            path: Begins with the provider's prefix.
            params: Of the query.
            headers: Names in lower case.
            origin: How the server was addressed: "http://127.0.0.1:8080".
            address: Whom it came from.
            now_s: Unix time.
        """
        name, _, below = path.lstrip("/").partition("/")
        desk = self._desks.get(name)
        if desk is None:
            return None
        faults = desk.board.take(f"/{below}", now_s)
        provider = desk.provider
        lie, spike = (_factor(faults.get(kind)) for kind in (FaultKind.LIE, FaultKind.SPIKE))
        view = View(self.market, provider.bias, provider.share, lie, spike)
        stale = faults.get(FaultKind.STALE)
        seen_s = now_s - float(stale.options["age_s"]) if stale else now_s
        limits = desk.ledger.limits
        ask = Ask(f"/{below}", params, headers, f"{origin}/{name}", seen_s, view, desk.plan, limits=limits)
        ask = replace(ask, key=provider.key(ask))
        desk.books.arrived(ask.path, ask.key, provider.cost(ask), now_s)
        return Visit(desk, ask, now_s, address, faults, desk.latency.draw_s())

    def answer(self, visit: Visit) -> Reply:
        """Return what a request is answered with."""
        desk, provider = visit.desk, visit.desk.provider
        who, cost = provider.bucket(visit.ask, visit.address), provider.cost(visit.ask)
        reply = self._out_of_order(visit)
        if reply is None:
            reply = self._checked(visit, who, cost)
        ask = replace(visit.ask, used=desk.ledger.used(who, visit.at_s))
        if reply is None:
            try:
                reply = self._bent(visit, provider.answer(ask))
            except Refusal as refusal:
                reply = refusal.reply
            if reply.status >= 400:
                desk.ledger.take_back(who, cost, visit.at_s)
        return self._mangled(visit, provider.decorated(ask, reply))

    def left(self, visit: Visit, status: int | None) -> None:
        """Count the answer of a request, None for a connection that was cut."""
        visit.desk.books.left(status)

    def _out_of_order(self, visit: Visit) -> Reply | None:
        """Return what a fault says in place of an answer."""
        provider, ask, faults = visit.desk.provider, visit.ask, visit.faults
        if FaultKind.GEO_BLOCKED in faults:
            return provider.geo_blocked()
        if FaultKind.BANNED in faults:
            visit.desk.books.refused(BAN)
            until_s = visit.at_s + float(faults[FaultKind.BANNED].options["ban_s"])
            return provider.banned(ask, Verdict(BAN, until_s))
        if FaultKind.LIMITED in faults:
            visit.desk.books.refused("limited")
            style = str(faults[FaultKind.LIMITED].options["style"]) or provider.styles[0]
            return provider.limited(ask, Verdict("", visit.at_s + _LIMITED_S), style)
        if FaultKind.ERROR500 in faults:
            return provider.broken(ask)
        if FaultKind.HTML in faults:
            return page(int(faults[FaultKind.HTML].options["status"]), "Down for maintenance")
        if FaultKind.KEY_ECHO in faults:
            return provider.key_echo(ask)
        return None

    def _checked(self, visit: Visit, who: str, cost: int) -> Reply | None:
        """Check key and quotas; return how the request is refused, None if it may pass."""
        desk, ask = visit.desk, visit.ask
        try:
            desk.provider.check_key(ask, is_good=desk.is_good(ask.key))
        except Refusal as refusal:
            desk.books.refused("key")
            return refusal.reply
        verdict = desk.ledger.ask(who, cost, visit.at_s)
        if verdict is None:
            return None
        desk.books.refused(verdict.name)
        if verdict.name == BAN:
            return desk.provider.banned(ask, verdict)
        return desk.provider.limited(ask, verdict, desk.provider.styles[0])

    def _bent(self, visit: Visit, reply: Reply) -> Reply:
        return visit.desk.provider.empty(reply) if FaultKind.EMPTY in visit.faults else reply

    def _mangled(self, visit: Visit, reply: Reply) -> Reply:
        if FaultKind.TRUNCATED in visit.faults:
            reply = replace(reply, body=reply.body[: len(reply.body) // 2])
        if FaultKind.WRONG_TYPE in visit.faults:
            reply = replace(reply, content_type=HTML)
        if FaultKind.GZIP in visit.faults:
            packed = gzip.compress(reply.body, mtime=0)
            reply = replace(reply, body=packed).with_headers({"content-encoding": "gzip"})
        return reply

    # Control

    def command(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        """Do what a command says, for `provider` or for all: one of

            {"fault": "slow", "delay_s": 2, "for_s": 10, "count": 3, "path": "klines"}   (see FaultKind)
            {"heal": true} or {"heal": "slow"}
            {"limits": {"per_minute": 3, "per_day": null}} or {"limits": "off"}
            {"ban_after": 3, "ban_s": 60} (null for never)
            {"plan": "free"} or {"plan": "paid"}: sets the limits of that plan, too
            {"keys": {"good": ["a"], "bad": ["b"]}} (good: null for all)
            {"reset": true}: nothing was counted, nobody is banned, no fault is in force

        Returns:
            The state of the providers meant.

        Raises:
            ConfigError: It is none of these.
        """
        desks = self._meant(command.get("provider"))
        kinds = [kind for kind in _COMMANDS if kind in command]
        if len(kinds) != 1:
            raise ConfigError("command", dict(command), f"expected exactly one of {', '.join(_COMMANDS)}")
        if len(desks) > 1 and ("style" in command or isinstance(command.get("limits"), Mapping)):
            raise ConfigError("provider", None, "must be told: each has limits and styles of its own")
        for desk in desks:
            _COMMANDS[kinds[0]](desk, command, now_s)
        return {desk.provider.name: _described(desk, now_s) for desk in desks}

    def state(self, now_s: float) -> dict[str, Any]:
        """Return the counts of all providers, by name."""
        return {name: _described(desk, now_s) for name, desk in self._desks.items()}

    def _meant(self, name: Any) -> Sequence[Desk]:
        if name is None:
            return list(self._desks.values())
        if name not in self._desks:
            raise ConfigError("provider", name, f"expected one of {', '.join(self._desks)}")
        return [self._desks[name]]


def _ledger(provider: Provider, plan: str) -> Ledger:
    quotas = (provider.paid_quotas if plan == PAID else ()) or provider.quotas
    return Ledger(quotas, provider.ban_after)


def _factor(fault: Fault | None) -> Decimal:
    return Decimal(str(fault.options["factor"])) if fault else Decimal(1)


def _described(desk: Desk, now_s: float) -> dict[str, Any]:
    settings = {"plan": desk.plan, "limits": desk.ledger.limits, "faults": desk.board.described(now_s)}
    return {**desk.books.described(), **settings}


def _put_fault(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    fault = parse_fault(command, now_s)
    style = fault.options.get("style")
    if style and style not in desk.provider.styles:
        raise ConfigError("style", style, f"{desk.provider.name} has {', '.join(desk.provider.styles)}")
    desk.board.put(fault)


def _heal(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    kind = command["heal"]
    if kind is not True and kind not in list(FaultKind):
        raise ConfigError("heal", kind, f"expected true or one of {', '.join(FaultKind)}")
    desk.board.heal(None if kind is True else FaultKind(kind))


def _set_limits(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    known = desk.ledger.limits
    limits = dict.fromkeys(known) if command["limits"] == "off" else command["limits"]
    if not isinstance(limits, Mapping) or not limits.keys() <= known.keys():
        raise ConfigError("limits", limits, f"{desk.provider.name} has {', '.join(known)}")
    for name, most in limits.items():
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 0):
            raise ConfigError(name, most, "must be a whole number, or null for no limit")
    desk.ledger.change(limits)
    if command["limits"] == "off":
        desk.ledger.ban_after = None


def _set_ban(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    after, ban_s = command["ban_after"], command.get("ban_s", desk.ledger.ban_s)
    if (after is not None and not isinstance(after, int)) or not isinstance(ban_s, int | float):
        raise ConfigError("ban_after", after, "must be a whole number, or null for never")
    desk.ledger.ban_after, desk.ledger.ban_s = after, float(ban_s)


def _set_plan(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    if command["plan"] not in _PLANS:
        raise ConfigError("plan", command["plan"], f"expected one of {', '.join(_PLANS)}")
    desk.plan = command["plan"]
    desk.ledger = _ledger(desk.provider, desk.plan)


def _set_keys(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    keys = command["keys"]
    if (
        not isinstance(keys, Mapping)
        or not keys.keys() <= {"good", "bad"}
        or not all(map(_are_names, keys.values()))
    ):
        raise ConfigError("keys", keys, 'expected {"good": [...], "bad": [...]} of texts, or null')
    if "good" in keys:
        desk.good = None if keys["good"] is None else frozenset(keys["good"])
    if "bad" in keys:
        desk.bad = frozenset(keys["bad"] or ())


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _reset(desk: Desk, command: Mapping[str, Any], now_s: float) -> None:
    desk.books, desk.board = Books(), FaultBoard()
    desk.ledger.forget()


_COMMANDS: Final = {
    "fault": _put_fault,
    "heal": _heal,
    "limits": _set_limits,
    "ban_after": _set_ban,
    "plan": _set_plan,
    "keys": _set_keys,
    "reset": _reset,
}
