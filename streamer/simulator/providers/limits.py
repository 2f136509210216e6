"""How often a provider may be asked, counted exactly: seconds and minutes slide, days are of the calendar. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streamer.simulator.providers.wire import iso

BAN: Final = "ban"
"""The name of a verdict that bans."""
_SLIDING_S: Final = {"second": 1.0, "minute": 60.0}
_STAMP: Final = {"day": 10, "month": 7}  # so much of an ISO date names the window
_LONGEST_BAN_S: Final = 3 * 86_400.0


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so much within a window.

    Attributes:
        name: Such as "per_minute".
        most: None for no limit.
        window: "second" and "minute" slide; "day" and "month" are of the calendar in UTC.
        counts_cost: Whether a request counts as its cost instead of as 1.
    """

    name: str
    most: int | None
    window: str
    counts_cost: bool = False


class Verdict(NamedTuple):
    """Why a request may not pass.

    Attributes:
        name: The quota that is used up, or BAN.
        until_s: When a request may pass again, in Unix seconds.
        most: The quota's limit.
    """

    name: str
    until_s: float
    most: int = 0


@dataclass(slots=True)
class _Account:
    """What one key or address has used: (time, cost) within sliding windows, and totals of calendar ones."""

    passed: deque[tuple[float, int]] = field(default_factory=deque)
    totals: dict[tuple[str, str], int] = field(default_factory=dict)
    strikes: deque[float] = field(default_factory=deque)
    bans: int = 0
    banned_until_s: float = 0.0


class Ledger:
    """The quotas of one provider. A refused request uses nothing up, but may lead to a ban.

    Args:
        quotas: Each holds for each key or address by itself.
        ban_after: So many refused requests within a minute lead to a ban; None for no ban.
        ban_s: How long the first one is; each is twice as long as the one before.
    """

    def __init__(self, quotas: Sequence[Quota], ban_after: int | None = None, ban_s: float = 120.0) -> None:
        self._quotas, self.ban_after, self.ban_s = {quota.name: quota for quota in quotas}, ban_after, ban_s
        self._accounts: dict[str, _Account] = {}

    @property
    def limits(self) -> dict[str, int | None]:
        """The limits by name."""
        return {name: quota.most for name, quota in self._quotas.items()}

    def change(self, limits: Mapping[str, int | None]) -> None:
        """Set limits by name, None for off. What was counted stays.

        Raises:
            KeyError: No such quota.
        """
        changed = {name: (self._quotas[name], most) for name, most in limits.items()}
        for name, (old, most) in changed.items():
            self._quotas[name] = Quota(name, most, old.window, old.counts_cost)

    def forget(self) -> None:
        """Begin anew: nothing is used, nobody is banned."""
        self._accounts.clear()

    def ask(self, who: str, cost: int, now_s: float) -> Verdict | None:
        """Let a request pass and count it, or say why it may not."""
        account = self._accounts.setdefault(who, _Account())
        if now_s < account.banned_until_s:
            return Verdict(BAN, account.banned_until_s)
        _drop_old(account, now_s)
        for quota in self._quotas.values():
            most, amount = quota.most, cost if quota.counts_cost else 1
            if most is not None and _used(account, quota, now_s) + amount > most:
                return self._struck(
                    account, now_s, Verdict(quota.name, _free_s(account, quota, amount, now_s), most)
                )
        account.passed.append((now_s, cost))
        for quota in self._quotas.values():
            if quota.window in _STAMP:
                key = _calendar(quota, now_s)
                account.totals[key] = account.totals.get(key, 0) + (cost if quota.counts_cost else 1)
        return None

    def take_back(self, who: str, cost: int, now_s: float) -> None:
        """Let a request that failed count nothing in days and months."""
        account = self._accounts.setdefault(who, _Account())
        for quota in self._quotas.values():
            key = _calendar(quota, now_s) if quota.window in _STAMP else None
            if key in account.totals:
                account.totals[key] -= cost if quota.counts_cost else 1

    def used(self, who: str, now_s: float) -> dict[str, int]:
        """Return how much is used of each quota."""
        account = self._accounts.get(who, _Account())
        _drop_old(account, now_s)
        return {name: _used(account, quota, now_s) for name, quota in self._quotas.items()}

    def _struck(self, account: _Account, now_s: float, verdict: Verdict) -> Verdict:
        if self.ban_after is None:
            return verdict
        strikes = account.strikes
        strikes.append(now_s)
        while strikes[0] <= now_s - _SLIDING_S["minute"]:
            strikes.popleft()
        if len(strikes) <= self.ban_after:
            return verdict
        account.banned_until_s = now_s + min(self.ban_s * 2**account.bans, _LONGEST_BAN_S)
        account.bans += 1
        strikes.clear()
        return Verdict(BAN, account.banned_until_s)


def _drop_old(account: _Account, now_s: float) -> None:
    while account.passed and account.passed[0][0] <= now_s - _SLIDING_S["minute"]:
        account.passed.popleft()


def _calendar(quota: Quota, now_s: float) -> tuple[str, str]:
    return quota.name, iso(now_s)[: _STAMP[quota.window]]


def _used(account: _Account, quota: Quota, now_s: float) -> int:
    if quota.window in _STAMP:
        return account.totals.get(_calendar(quota, now_s), 0)
    since_s = now_s - _SLIDING_S[quota.window]
    return sum(cost if quota.counts_cost else 1 for at_s, cost in account.passed if at_s > since_s)


def _free_s(account: _Account, quota: Quota, amount: int, now_s: float) -> float:
    """Return when so much fits into the quota again."""
    if quota.window in _STAMP:
        return (now_s // 86_400 + 1) * 86_400  # of a month too: a guess that is asked again
    length_s, most = _SLIDING_S[quota.window], quota.most or 0
    over = _used(account, quota, now_s) + amount - most
    for at_s, cost in account.passed:
        if at_s > now_s - length_s:
            over -= cost if quota.counts_cost else 1
            if over <= 0:
                return at_s + length_s
    return now_s + length_s
