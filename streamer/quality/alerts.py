"""Which findings become alerts: the gravest, and of a storm of the same one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from streamer.quality.findings import Code, Finding, Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """A grave finding, and how often it has come back.

    Attributes:
        what: The first of them, in words.
        since_s: Unix time of the first.
        last_s: Of the newest.
        count: How many there were.
    """

    provider: str
    symbol: str
    code: Code
    what: str
    since_s: float
    last_s: float
    count: int = 1


class Alerts:
    """Alerts that are not over. One for each provider, symbol and code, until that has been quiet.

    Args:
        quiet_s: How long nothing of the kind must have come for an alert to be over.
        most: How many are kept; where there are more, those that were quiet the longest are over early.

    Attributes:
        open: By provider, symbol and code; the one that came last is the last.
    """

    def __init__(self, *, quiet_s: float = 900.0, most: int = 1000) -> None:
        self._quiet_s, self._most = quiet_s, most
        self.open: dict[tuple[str, str, Code], Alert] = {}

    def take(self, provider: str, symbol: str, findings: Iterable[Finding], now_s: float) -> list[Alert]:
        """Take what was found and return what is to be raised; call `over` before, or old alerts hide new ones."""
        raised: list[Alert] = []
        for finding in findings:
            if finding.severity is not Severity.HIGH:
                continue
            name = provider, symbol, finding.code
            held = self.open.pop(name, None)
            if held is None:
                self.open[name] = alert = Alert(provider, symbol, finding.code, finding.what, now_s, now_s)
                raised.append(alert)
            else:
                self.open[name] = replace(held, last_s=max(held.last_s, now_s), count=held.count + 1)
        return raised

    def over(self, now_s: float) -> list[Alert]:
        """Return alerts that are over, with their counts, and forget them."""
        quiet = [name for name, alert in self.open.items() if now_s - alert.last_s >= self._quiet_s]
        kept = len(self.open) - len(quiet)
        if kept > self._most:
            loud = [name for name in self.open if name not in set(quiet)]
            quiet += loud[: kept - self._most]
        return [self.open.pop(name) for name in quiet]
