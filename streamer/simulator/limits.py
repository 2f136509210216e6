"""How many requests may be made, and how many were: the limits of REST and its books. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamer.simulator.counters import RateMeter

_WINDOW_S = 1.0
_MINUTE_S = 60.0


class Verdict(NamedTuple):
    """What a limit says about one request.

    Attributes:
        is_allowed: Whether it may pass.
        limit: Requests a window.
        remaining: How many more may pass now.
        reset_s: Seconds until another one may; whole, at least 1.
    """

    is_allowed: bool
    limit: int
    remaining: int
    reset_s: int = 1


class Limit:
    """So many requests in any one second, of each key or address. Refused ones do not count.

    Args:
        per_s: The limit.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._passed: dict[str, deque[float]] = {}

    def ask(self, who: str, now_s: float) -> Verdict:
        """Let a request pass if the limit allows it.

        Args:
            who: The key or the address it counts for.
            now_s: Time on a steady clock.
        """
        passed = self._passed.setdefault(who, deque())
        while passed and passed[0] <= now_s - _WINDOW_S:
            passed.popleft()
        if len(passed) >= self._per_s:
            return Verdict(False, self._per_s, 0)
        passed.append(now_s)
        return Verdict(True, self._per_s, self._per_s - len(passed))


@dataclass(slots=True)
class Request:
    """One request in the books.

    Attributes:
        at_s: When it came, on a steady clock, to the microsecond.
        time: When it came, as the exchange writes times.
        route: Method and route, such as "GET /accounts".
        remote: Address it came from.
        who: Key name, or "" where none was shown to be good.
        status: HTTP status of the answer, 0 for none (yet).
        is_over: Whether it exceeded a limit.
    """

    at_s: float
    time: str
    route: str
    remote: str = ""
    who: str = ""
    status: int = 0
    is_over: bool = False

    def shown(self) -> dict[str, Any]:
        """Return the request for the control port."""
        return {
            "at_s": round(self.at_s, 6),
            "time": self.time,
            "route": self.route,
            "remote": self.remote,
            "key": self.who,
            "status": self.status,
        }


class RestBooks:
    """Every request, counted by route, status and address; the last ones with their times.

    Args:
        history: How many are listed.
    """

    def __init__(self, history: int = 2000) -> None:
        self._meter = RateMeter()
        self._routes: dict[str, Counter[str]] = {}
        self._remotes: Counter[str] = Counter()
        self._recent: deque[Request] = deque(maxlen=history)
        self._minute: deque[tuple[float, str]] = deque()
        self._over = 0

    def arrived(self, route: str, now_s: float, time: str, remote: str = "") -> Request:
        """Count a request that came then; it has no status until `answered`."""
        request = Request(now_s, time, route, remote)
        self._remotes[remote] += 1
        self._meter.add(now_s)
        self._recent.append(request)
        self._minute.append((now_s, route))
        self._drop_old(now_s)
        self._routes.setdefault(route, Counter())["0"] += 1
        return request

    def answered(self, request: Request, status: int) -> None:
        """Note the status of the answer."""
        counted = self._routes[request.route]
        counted[str(request.status)] -= 1
        counted[str(status)] += 1
        request.status = status

    def exceeded(self, request: Request) -> None:
        """Note that a request exceeded a limit."""
        request.is_over = True
        self._over += 1

    def _drop_old(self, now_s: float) -> None:
        while self._minute and self._minute[0][0] <= now_s - _MINUTE_S:
            self._minute.popleft()

    def described(self, now_s: float) -> dict[str, Any]:
        """Return the figures for the control port; status "0" is a request without an answer (yet)."""
        self._drop_old(now_s)
        routes = {route: {s: n for s, n in counted.items() if n} for route, counted in self._routes.items()}
        statuses: Counter[str] = Counter()
        for counted in routes.values():
            statuses.update(counted)
        return {
            **self._meter.described(),
            "routes": {route: sum(counted.values()) for route, counted in routes.items()},
            "routes_by_status": routes,
            "statuses": dict(statuses),
            "remotes": dict(self._remotes),
            "last_minute": {
                "total": len(self._minute),
                "routes": dict(Counter(route for _, route in self._minute)),
            },
            "limit_exceeded": self._over > 0,
            "exceeded": self._over,
            "recent": [request.shown() for request in self._recent],
        }
