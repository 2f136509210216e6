"""When to ask REST again: coalesced, spaced, and slower where it fails. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRules:
    """How often one kind of question may be asked, in seconds.

    Attributes:
        spacing_s: Least time between two questions.
        period_s: A question is asked at least this often.
        first_s: The first one is asked this long after the start, if nobody wants it sooner.
        slowest_s: Longest wait after failures, and between answers that settle nothing.
    """

    spacing_s: float = 5.0
    period_s: float = 600.0
    first_s: float = 3.0
    slowest_s: float = 60.0


class RefreshPlan:
    """Says when the next question is due.

    Whoever wants one says so; all who want before it is asked share it. An answer that settles nothing is followed
    by further ones ever more seldom, until there is news: then the next one may settle it.
    """

    def __init__(
        self,
        rules: RefreshRules,
        started_at: float,
        *,
        jitter: Callable[[float], float] = backoff.full_jitter,
    ) -> None:
        self._rules, self._jitter = rules, jitter
        self._wanted = False
        self._not_before = self._no_news_before = started_at
        self._periodic_at = started_at + rules.first_s
        self._tries = 0
        self._is_failing = False

    @property
    def due_at(self) -> float:
        """When the next question is to be asked."""
        return self._not_before if self._wanted else max(self._not_before, self._periodic_at)

    def want(self) -> None:
        """Something has happened that needs an answer to a question not asked yet.

        That earlier answers settled nothing is then no reason to wait; failures, and what the server asks for, are.
        """
        self._wanted, self._not_before = True, self._no_news_before
        if not self._is_failing:
            self._tries = 0

    def asked(self, now: float) -> None:
        """A question goes out."""
        self._wanted = False
        self._not_before = self._no_news_before = now + self._rules.spacing_s

    def answered(self, now: float, *, settled: bool) -> None:
        """An answer has come; `settled` says whether it leaves nothing to wait for."""
        self._periodic_at = now + self._rules.period_s
        self._is_failing = False
        if settled:
            self._tries = 0
        else:
            self._later()

    def failed(self, now: float, *, retry_after_s: float | None = None) -> None:
        """No answer has come. What the server asks for is never undercut, up to ten minutes."""
        self._later()
        self._not_before += self._jitter(self._rules.spacing_s / 2)
        self._not_before = max(self._not_before, now + min(retry_after_s or 0.0, 600.0))
        self._no_news_before, self._is_failing = self._not_before, True

    def put_off(self, now: float, *, retry_after_s: float | None = None) -> None:
        """The question was not sent. That says nothing of the server: it is asked again as soon as it can be."""
        wait_s = self._rules.spacing_s if retry_after_s is None else min(retry_after_s, 600.0)
        self._wanted = True
        self._not_before = self._no_news_before = max(self._not_before, now + wait_s)

    def _later(self) -> None:
        """Ask again, twice as late each time: the first time after the ordinary spacing."""
        self._wanted = True
        spacing_s = self._rules.spacing_s
        wait_s = min(self._rules.slowest_s, spacing_s * 2.0 ** min(self._tries, 30))
        self._not_before += max(0.0, wait_s - spacing_s)
        self._tries += 1
