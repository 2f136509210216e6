"""Listens, while somebody of this process waits, for word that a place has become free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from streamer.errors import StoreUnavailable
from streamer.store.connect import FAILURES, Store

_LINGER_S: Final = 2.0
"""Subscribing costs a round trip and a connection: between two waits that follow each other we stay subscribed."""
_PAUSE_S: Final = 1.0


class Wake:
    """One subscription a process. A message that is lost costs no more than the sleep that was told.

    Args:
        heard: Called with the budget that something has changed for, "*" for all.
        is_needed: Whether somebody waits.
    """

    def __init__(
        self, store: Store, channel: str, *, heard: Callable[[str], None], is_needed: Callable[[], bool]
    ) -> None:
        self._store, self._channel = store, channel
        self._heard, self._is_needed = heard, is_needed
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Be subscribed for as long as somebody waits, and a little longer."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="gateway-wake")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._is_needed():
            try:
                await self._follow()
            except (StoreUnavailable, *FAILURES):
                await asyncio.sleep(_PAUSE_S)

    async def _follow(self) -> None:
        updates = self._store.client.pubsub()
        try:
            await self._store.answer(updates.subscribe(self._channel))
            while True:
                message: dict[str, Any] | None = await updates.get_message(timeout=_LINGER_S)
                if message is None:
                    if not self._is_needed():
                        return
                elif message["type"] == "message":
                    self._heard(message["data"].decode(errors="replace"))
                else:
                    self._heard("*")  # subscribed: what was published before, nobody has told us
        finally:
            with suppress(*FAILURES):
                await updates.aclose()  # type: ignore[no-untyped-call]
