"""Verdicts in, troubles out: what has begun, what is over, and what is too short to speak of. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from streamer.health.verdict import Reason, Verdict
from streamer.store.journal import Trouble

SETTLED_MS: Final = 3_000
"""A reason must hold for so long to be a trouble, and be away for so long to be over: a reconnect is neither."""
MOST_UNTOLD: Final = 500
NO_TROUBLE: Final = frozenset({"no_products", "product_offline", "stopping", "standby", "product_waiting"})
"""Reasons that are a state somebody has chosen or that passes by itself, and no error."""
_TYPES: Final = {
    "key_refused": "portfolio",
    "balances_suspect": "portfolio",
    "balances_unconfirmed": "portfolio",
    "write_lag": "store",
    "clock_back": "store",
    "unreadable": "store",
    "redis_away": "store",
    "clock_skew": "system",
    "no_report": "system",
    "report_old": "system",
}


@dataclass(slots=True)
class _Seen:
    first_ms: int
    last_ms: int
    told: Trouble | None = None


class Troubles:
    """Follows the reasons of one verdict after another.

    Attributes:
        untold: Troubles that have begun or ended and are yet to be written; the oldest give way.
        dropped: How many have.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}
        self.untold: deque[Trouble] = deque()
        self.dropped = 0

    def adopt(self, troubles: Iterable[Trouble], now_ms: int) -> None:
        """Take over what others have written and not ended: it goes on, or is over soon."""
        for trouble in troubles:
            if trouble.ended_ms is None and trouble.key not in self._seen:
                self._seen[trouble.key] = _Seen(trouble.began_ms, now_ms, told=trouble)

    def follow(self, verdict: Verdict, now_ms: int) -> None:
        """Take in a verdict; `now_ms` is the clock of Redis."""
        for reason in verdict.reasons:
            if reason.code in NO_TROUBLE:
                continue
            seen = self._seen.setdefault((reason.code, reason.subject), _Seen(now_ms, now_ms))
            seen.last_ms = now_ms
            if seen.told is None and now_ms - seen.first_ms >= SETTLED_MS:
                seen.told = _begun(reason, seen.first_ms)
                self._tell(seen.told)
        for key, seen in list(self._seen.items()):
            if now_ms - seen.last_ms >= SETTLED_MS or now_ms < seen.first_ms:  # or the clock went back
                del self._seen[key]
                if seen.told is not None:
                    self._tell(replace(seen.told, ended_ms=max(seen.last_ms, seen.told.began_ms)))

    def _tell(self, trouble: Trouble) -> None:
        self.untold.append(trouble)
        if len(self.untold) > MOST_UNTOLD:
            self.untold.popleft()
            self.dropped += 1


def _begun(reason: Reason, began_ms: int) -> Trouble:
    error_type = _TYPES.get(reason.code, "market_data")
    name = "-".join(filter(None, (f"{began_ms}", reason.code, reason.subject)))
    return Trouble(name, error_type, reason.code, reason.subject, str(reason), began_ms)
