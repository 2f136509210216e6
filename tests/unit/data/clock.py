"""An event loop whose time passes only while nobody has anything to do, so that seconds cost nothing."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everybody waits for nothing"
        self.now += max(0.0, timeout)
        found: list[Any] = super().select(0)
        return found


def run(play: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run on such a loop, from time 0; `time.monotonic` tells the same."""
    selector = _Selector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        with patch.object(time, "monotonic", lambda: selector.now):
            return loop.run_until_complete(play())
    finally:
        loop.close()
