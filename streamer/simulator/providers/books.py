"""What a provider has counted: every request, and the most of them within a second and a minute. Pure."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

_MINUTE_S: Final = 60.0
_SECOND_S: Final = 1.0
_TIME: Final = re.compile(r"/(\d{4}-\d\d-\d\d|\d{9,})(?=/|$)")
_MOST_LABELS: Final = 1000


@dataclass(slots=True)
class _Windows:
    """Requests and their cost within any one second and minute, and the most there ever were."""

    total: int = 0
    most_per_second: int = 0
    most_per_minute: int = 0
    most_cost_per_minute: int = 0
    second: deque[float] = field(default_factory=deque)
    minute: deque[tuple[float, int]] = field(default_factory=deque)
    minute_cost: int = 0

    def add(self, cost: int, now_s: float) -> None:
        self.total += 1
        self.second.append(now_s)
        while self.second[0] <= now_s - _SECOND_S:
            self.second.popleft()
        self.minute.append((now_s, cost))
        self.minute_cost += cost
        while self.minute[0][0] <= now_s - _MINUTE_S:
            self.minute_cost -= self.minute.popleft()[1]
        self.most_per_second = max(self.most_per_second, len(self.second))
        self.most_per_minute = max(self.most_per_minute, len(self.minute))
        self.most_cost_per_minute = max(self.most_cost_per_minute, self.minute_cost)

    def described(self) -> dict[str, int]:
        return {
            "total": self.total,
            "most_per_second": self.most_per_second,
            "most_per_minute": self.most_per_minute,
            "most_cost_per_minute": self.most_cost_per_minute,
        }


class Books:
    """The counts of one provider. Requests count whether they are answered, refused or cut off."""

    def __init__(self) -> None:
        self._all = _Windows()
        self._keys: dict[str, _Windows] = {}
        self._paths: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._at_once = self._most_at_once = 0

    def arrived(self, path: str, key: str, cost: int, now_s: float) -> None:
        """Count a request."""
        self._all.add(cost, now_s)
        self._keys.setdefault(_label(key or "(none)", self._keys), _Windows()).add(cost, now_s)
        # Times within paths are left out, or each request of a poller would be a path of its own.
        self._paths[_label(_TIME.sub("/*", path), self._paths)] += 1
        self._at_once += 1
        self._most_at_once = max(self._most_at_once, self._at_once)

    def refused(self, why: str) -> None:
        """Count a refusal by the name of a quota, "ban" or "key"."""
        self._refused[why] += 1

    def left(self, status: int | None) -> None:
        """Count an answer; None for a connection that was cut."""
        self._at_once -= 1
        self._statuses[str(status or "cut")] += 1

    def described(self) -> dict[str, Any]:
        """Return the counts; keys are told by name, for they are made up."""
        return {
            **self._all.described(),
            "paths": dict(self._paths),
            "statuses": dict(self._statuses),
            "refused": dict(self._refused),
            "refused_total": sum(self._refused.values()),
            "at_once": self._at_once,
            "most_at_once": self._most_at_once,
            "keys": {key: windows.described() for key, windows in self._keys.items()},
        }


def _label(text: str, known: Collection[str]) -> str:
    """Return under which name something is counted: those that come late share one."""
    return text if text in known or len(known) < _MOST_LABELS else "(other)"
