"""What Redis does not have the newest of, and since when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

K = TypeVar("K")


class Dirty(dict[K, float]):
    """Names of what waits to be written, longest waiting first, each with the Unix time since when.

    A set in nature: marking twice is marking once, so a slow sink costs freshness, never memory.

    Args:
        on_first: Called when something waits where nothing did.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._on_first = on_first

    def mark(self, name: K, since_s: float) -> None:
        """Note a change that came at `since_s`; what waits already keeps its place."""
        if name not in self:
            idle = not self
            self[name] = since_s
            if idle:
                self._on_first()

    def take(self, limit: int) -> list[tuple[K, float]]:
        """Hand over up to `limit` names."""
        taken = list(islice(self.items(), limit))
        for name, _ in taken:
            del self[name]
        return taken

    def put_back(self, taken: Iterable[tuple[K, float]]) -> None:
        """Take back what could not be written, to the front of the line."""
        later = dict(self)
        self.clear()
        self.update(taken)
        for name, since_s in later.items():
            self.setdefault(name, since_s)

    @property
    def oldest_s(self) -> float | None:
        """Since when the longest waiting one waits, None where nothing does."""
        return next(iter(self.values()), None)
