"""Holds readings of balances against the history of a simulated exchange. Pure: no clock, no socket.

What is called realtime and confirmed must be a balance that REST has told and that the exchange had within the last
moment. How long a moment is depends on what has gone wrong on the wire, and each allowance has a reason and an end:

- nothing: the time an update takes to Redis and a reader (`PROPAGATION_S`);
- a lost frame shows with the next one on the connection, at the latest a heartbeat (`GAP_S`);
- a silent connection is given up after 3.5 s, looked at every 0.25 s (`SILENCE_S`);
- what nobody tells (a deposit, or an order while the exchange hushes its updates up) may be missing until a REST
  answer has been able to show it, or an update of that order has come.

An allowance never lasts longer than its reason: from the moment at which the trouble must have been noticed, what
is confirmed must be true again without any allowance. Everything that is not realtime or not confirmed says so
itself, and is only counted.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

PROPAGATION_S = 0.25
"""Update to reader: some milliseconds, and what a shared, busy machine adds."""
GAP_S = 1.1
"""A heartbeat a second, sent by a clock that ticks every 20 ms."""
SILENCE_S = 3.8
"""3.5 s without a frame in order, looked at every 0.25 s."""

_ANSWER_S = 0.3
"""REST looks the accounts up some time after the question has come, and so has its lag some tolerance."""
_FIRST = 10


class Money(NamedTuple):
    """What can be spent, and what is held back."""

    available: Decimal
    hold: Decimal

    def minus(self, other: Money) -> Money:
        """Return the difference."""
        return Money(self.available - other.available, self.hold - other.hold)


NOTHING = Money(Decimal(0), Decimal(0))
Truth = Mapping[str, Mapping[str, str]]
"""Currency to available, hold and total, as the simulator tells them."""


def money(told: Mapping[str, str] | None) -> Money:
    """Return what the simulator tells of a wallet; one it leaves out was always empty."""
    return Money(Decimal(told["available"]), Decimal(told["hold"])) if told else NOTHING


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of one currency.

    Attributes:
        asked_at: Unix time just before Redis was asked.
        at: Unix time of its answer.
        reason: Why it is not realtime, None where it is.
    """

    currency: str
    asked_at: float
    at: float
    money: Money
    total: Decimal
    is_confirmed: bool
    reason: str | None
    as_of: datetime


@dataclass(slots=True)
class Hidden:
    """A change that the wire does not tell.

    Attributes:
        at: When it happened.
        told_at: When a REST answer or an update of its order first could tell; None until then.
    """

    at: float
    changes: Mapping[str, Money]
    order: str | None = None
    told_at: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something is wrong with the wire from `at` on, and must have been noticed `noticed_s` later."""

    at: float
    noticed_s: float


@dataclass(slots=True)
class Tally:
    """What has been found."""

    samples: int = 0
    readings: int = 0
    right: int = 0
    unknowable: int = 0
    derived: int = 0
    derived_right: int = 0
    stale: int = 0
    suspect: int = 0
    violations: int = 0
    first: list[str] = field(default_factory=list)
    why_stale: Counter[str] = field(default_factory=Counter)
    late_s: list[float] = field(default_factory=list)
    in_trouble_s: list[float] = field(default_factory=list)


class Judge:
    """Knows what was true when, and what went wrong when; judges samples somewhat older than `known_until`.

    Args:
        propagation_s: As PROPAGATION_S.
        context: Says what was done shortly before a time, for the report of a violation.
    """

    def __init__(self, propagation_s: float, context: Callable[[float], str] = lambda at: "") -> None:
        self._propagation_s, self._context = propagation_s, context
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._values: defaultdict[str, list[Money]] = defaultdict(list)
        self._newest: dict[str, datetime] = {}
        self._shown: defaultdict[str, set[Money]] = defaultdict(set)
        self.hidden: list[Hidden] = []
        self.troubles: list[Trouble] = []
        self.known_until = 0.0
        self.tally = Tally()

    # -- what happened -------------------------------------------------------------------------------------------

    def learn(self, history: Iterable[Sequence[Any]], until: float) -> None:
        """Take the exchange's history, which is whole until `until`; what is known already is passed over."""
        for at, wallets in history:
            for currency in wallets.keys() | self._times.keys():
                value = money(wallets.get(currency))
                times, values = self._times[currency], self._values[currency]
                if (times and at < times[-1]) or (values and values[-1] == value):
                    continue
                times.append(at)
                values.append(value)
        self.known_until = until

    def told(self, order: str, at: float) -> None:
        """An update of an order went out, which tells also what of it was hidden."""
        for change in self.hidden:
            if change.order == order and change.told_at is None:
                change.told_at = at

    def asked(self, at: float, lag_s: float) -> None:
        """REST was asked for accounts, and showed what had been true `lag_s` before. May be said again."""
        for currency in self._times:
            spans = self._spans(currency, at - lag_s - _ANSWER_S, at - lag_s + _ANSWER_S)
            self._shown[currency] |= {value for _, _, value in spans}
        for change in self.hidden:
            if change.at <= at - lag_s and (change.told_at is None or change.told_at > at):
                change.told_at = at

    # -- what was read -------------------------------------------------------------------------------------------

    def judge(self, sample: Sample) -> None:
        """Judge one reading."""
        tally = self.tally
        tally.readings += 1
        if sample.total != sample.money.available + sample.money.hold:
            self._violation(sample, f"the total {sample.total} is not what is available and held")
        if sample.reason is not None:
            if sample.reason.startswith("suspect"):
                tally.suspect += 1
            else:
                tally.stale += 1
            tally.why_stale[_kind(sample.reason)] += 1
            return
        newest = self._newest.setdefault(sample.currency, sample.as_of)
        if sample.as_of < newest:
            self._violation(sample, f"the time went back from {newest} to {sample.as_of}")
        self._newest[sample.currency] = max(newest, sample.as_of)
        earliest = self._earliest(sample)
        late_s = self._late_s(sample, earliest)
        if not sample.is_confirmed:
            tally.derived += 1
            tally.derived_right += late_s is not None
        elif sample.money not in self._shown[sample.currency]:
            self._violation(sample, f"{_text(sample.money)} is called confirmed, and REST has never told it")
        elif late_s == 0:
            tally.right += 1
        elif self._is_unknowable(sample, earliest):
            tally.unknowable += 1
        elif late_s is not None:
            tally.right += 1
            is_trouble = earliest < sample.asked_at - self._propagation_s
            (tally.in_trouble_s if is_trouble else tally.late_s).append(late_s)
        else:
            self._violation(sample, self._told_wrong(sample))

    def _earliest(self, sample: Sample) -> float:
        """Return since when a value must have been true once."""
        since = sample.asked_at
        for trouble in self.troubles:
            if trouble.at <= sample.asked_at <= trouble.at + trouble.noticed_s + self._propagation_s:
                since = min(since, trouble.at)
        return since - self._propagation_s

    def _spans(self, currency: str, earliest: float, latest: float) -> Iterator[tuple[float, float, Money]]:
        """Yield from, to and value of every balance there was in a time, newest first."""
        times, values = self._times[currency], self._values[currency]
        index, ended = bisect.bisect_right(times, latest) - 1, latest
        if index + 1 < len(times):
            ended = times[index + 1]
        while index >= 0:
            yield times[index], ended, values[index]
            ended = times[index]
            index -= 1
            if ended < earliest:
                return

    def _late_s(self, sample: Sample, earliest: float) -> float | None:
        """Return how long the value had not been true any more, None where it was not in the time allowed."""
        for _, ended, value in self._spans(sample.currency, earliest, sample.at):
            if value == sample.money and ended >= earliest:
                return max(0.0, sample.asked_at - ended)
        return None

    def _is_unknowable(self, sample: Sample, earliest: float) -> bool:
        """Whether the value is right but for what nobody could have told."""
        mine = [c for c in self.hidden if sample.currency in c.changes and c.at <= sample.at]
        still = [c for c in mine if c.told_at is None or c.told_at > earliest]
        cuts = {earliest, *(c.told_at for c in still if c.told_at is not None and c.told_at <= sample.at)}
        for cut in cuts if still else ():
            untold = [c for c in still if c.told_at is None or c.told_at > cut]
            for began, _, value in self._spans(sample.currency, earliest, sample.at):
                for change in untold:
                    if change.at <= began:
                        value = value.minus(change.changes[sample.currency])
                if value == sample.money:
                    return True
        return False

    def _told_wrong(self, sample: Sample) -> str:
        times, values = self._times[sample.currency], self._values[sample.currency]
        now = values[max(0, bisect.bisect_right(times, sample.at) - 1)]
        said = f"confirmed {_text(sample.money)}, the exchange has {_text(now)}"
        for index in range(len(values) - 1, -1, -1):
            if values[index] == sample.money and times[index] <= sample.at:
                ended = times[index + 1] if index + 1 < len(times) else sample.at
                return f"{said}; was true until {sample.asked_at - ended:.3f} s before"
        return f"{said}; was never true; off by {_text(sample.money.minus(now))}"

    def _violation(self, sample: Sample, what: str) -> None:
        self.tally.violations += 1
        if len(self.tally.first) < _FIRST:
            context = self._context(sample.at)
            self.tally.first.append(f"{sample.at:.3f} {sample.currency}: {what}{context and chr(10)}{context}")

    def final(self, samples: Mapping[str, Sample], truth: Truth) -> list[str]:
        """Return what differs at the end, when all is quiet, to the last digit."""
        wrong = []
        for currency in sorted(samples.keys() | truth.keys()):
            sample, told = samples.get(currency), truth.get(currency)
            if sample is None or told is None:
                if told is None or money(told) != NOTHING:
                    wrong.append(f"{currency}: {'not streamed' if sample is None else 'not an account'}")
                continue
            if (sample.money, sample.total) != (money(told), Decimal(told["total"])):
                wrong.append(f"{currency}: streamed {_text(sample.money)}, the exchange has {_text(money(told))}")
        return wrong


def _kind(reason: str) -> str:
    """Return a reason without what is particular to it."""
    return " ".join(word for word in reason.split() if not word[0].isdigit() and "." not in word)


def _text(value: Money) -> str:
    return f"{value.available:f}+{value.hold:f}"
