"""How fast to knock: what the exchange allows per address, and how long to wait after a failure. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import backoff


class Pace:
    """At most `limit` events in any window of `window_s`, counted exactly.

    The window is a little longer than the exchange's second: two messages sent a second apart may arrive closer.
    """

    def __init__(self, limit: int = 8, window_s: float = 1.1) -> None:
        self._times: deque[float] = deque(maxlen=limit)
        self._window_s = window_s

    def reserve(self, now: float) -> float:
        """Take the next free place and return how many seconds from `now` it lies."""
        times = self._times
        at = now
        if len(times) == times.maxlen:
            at = max(now, times[0] + self._window_s)
        times.append(at)
        return at - now


class ReconnectDelay:
    """How long to wait before the next connect: exponential with full jitter.

    Network trouble is capped at `network_cap_s`. Where the exchange itself refuses, knocking fast makes it
    worse, so the cap is `refused_cap_s`. Where it refuses our key, only a person can mend it, so every wait is
    at least half of `token_s`. Only `steady_s` of valid data starts it over: an exchange that accepts
    and then drops us would otherwise be hammered.
    """

    def __init__(
        self,
        *,
        network_cap_s: float = 5.0,
        refused_cap_s: float = 60.0,
        token_s: float = 30.0,
        steady_s: float = 10.0,
        jitter: Callable[[float], float] = backoff.full_jitter,
    ) -> None:
        self._caps = {False: network_cap_s, True: refused_cap_s}
        self._token_s = token_s
        self._steady_s = steady_s
        self._jitter = jitter
        self._attempt = 0

    def after(
        self,
        *,
        refused: bool,
        unauthenticated: bool = False,
        valid_s: float = 0.0,
        retry_after_s: float | None = None,
    ) -> float:
        """Return the seconds to wait after a connect or connection has failed.

        Args:
            refused: The exchange said no (4xx on the upgrade).
            unauthenticated: It refused our token, twice.
            valid_s: How long the connection carried valid data.
            retry_after_s: What the exchange asked for; never undercut, up to ten minutes.
        """
        if valid_s >= self._steady_s:
            self._attempt = 0
        if unauthenticated:
            return self._token_s / 2 + self._jitter(self._token_s / 2)
        ceiling = min(self._caps[refused], 0.5 * 2.0 ** min(self._attempt, 30))
        self._attempt += 1
        return max(self._jitter(ceiling), min(retry_after_s or 0.0, 600.0))


@dataclass(slots=True)
class Paces:
    """What the exchange allows per address, over all connections: 8 connects and 8 messages a second.

    Advanced Trade WebSocket Rate Limits page, June 2026; an older copy says 750 connects. Built to the lower.
    """

    connects: Pace = field(default_factory=Pace)
    messages: Pace = field(default_factory=Pace)
