"""What became of one question: whom it went to, in which order, and why an answer is from where it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from streamer.errors import BadInterval, NoData, NotEntitled, RestError, StreamerError, UnknownSymbol

_HAS_NOT = (UnknownSymbol, BadInterval, NotEntitled, NoData)


class Fate(StrEnum):
    """What became of one provider's turn."""

    SERVED = "served"
    LEFT_OUT = "left out"
    """Not asked at all."""
    FAILED = "failed"
    REFUSED = "refused"
    """It answered, and has not what was asked for."""
    LATE = "late"
    """Somebody else was asked beside it, or instead."""
    PASSED_OVER = "passed over"
    """It had something; something better was served."""


_NO_FAILURE = (Fate.LEFT_OUT, Fate.REFUSED, Fate.SERVED)


@dataclass(frozen=True, slots=True)
class Step:
    """One provider's turn.

    Attributes:
        why: In words.
        took_ms: How long it took, 0.0 where nothing was waited for.
        error: Name of the error's kind, "" where there was none.
    """

    provider: str
    fate: Fate
    why: str
    took_ms: float = 0.0
    error: str = ""

    @property
    def is_held(self) -> bool:
        """Whether it would have been asked, had it not told all processes to stay away."""
        return self.fate is Fate.LEFT_OUT and bool(self.error)


@dataclass(slots=True)
class Story:
    """All turns, in the order in which they came to an end.

    Attributes:
        outage: Why Redis could not be asked for copies and holds, "" where it could.
        order: Who was to be asked, the first choice first: steps are in the order of their ends.
    """

    steps: list[Step] = field(default_factory=list)
    outage: str = ""
    order: tuple[str, ...] = ()

    def tell(self, provider: str, fate: Fate, why: str, took_s: float = 0.0, error: str = "") -> None:
        """Add a turn."""
        self.steps.append(Step(provider, fate, why, round(took_s * 1000, 1), error))

    def failed(self, provider: str, error: StreamerError, took_s: float) -> None:
        """Add a turn that brought an error."""
        why = error.why if isinstance(error, RestError) else str(error)
        fate = Fate.REFUSED if isinstance(error, _HAS_NOT) else Fate.FAILED
        self.tell(provider, fate, why, took_s, type(error).__name__)

    def forerunner(self, provider: str) -> Step | None:
        """Return the turn of the first one before a provider in order that should have answered; None: nobody."""
        before = self.order[: self.order.index(provider)] if provider in self.order else self.order
        turns = (step for name in before for step in self.steps if step.provider == name)
        return next((step for step in turns if step.fate not in _NO_FAILURE or step.is_held), None)

    @property
    def tiers(self) -> dict[str, str]:
        """What each provider said, the first word counts: a second question is about what stands in."""
        said: dict[str, str] = {}
        for step in self.steps:
            said.setdefault(step.provider, step.why)
        return said
