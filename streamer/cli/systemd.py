"""What systemd is told (sd_notify(3)): ready, alive, how it stands. Says nothing where systemd does not ask."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from streamer.coinbase.feed import FeedState
from streamer.ingest.supervisor import Supervisor, Vitals

_LONGEST_BEAT_S: Final = 10.0
"""A supervisor that has not looked around for so long is stuck, though the event loop turns."""
_EVERY_S: Final = 1.0


class Systemd:
    """Tells the service manager how the ingester stands.

    Ready means that prices flow, or that a standby could take over: a start that waits for an absent exchange is
    still a start. Alive means that the event loop turns and the supervisor looks around.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watchdog_us = (
            environ.get("WATCHDOG_USEC", "") if environ.get("WATCHDOG_PID") in (None, str(os.getpid())) else ""
        )
        self._is_watched = watchdog_us.isdigit()
        self._is_ready = False

    async def keep(self, supervisor: Supervisor, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Tell once a second, until cancelled."""
        while self._address:
            self.tell(supervisor.vitals(), monotonic() - supervisor.beat_at)
            await asyncio.sleep(_EVERY_S)

    def tell(self, vitals: Vitals, beat_age_s: float) -> None:
        """Tell how it stands now."""
        live = sum(feed.state is FeedState.LIVE for feed in vitals.feeds)
        words = [f"STATUS={vitals.role}: {live} of {len(vitals.feeds)} feeds live, {vitals.wanted} products wanted"]
        if not self._is_ready and (live or vitals.role == "standby"):
            self._is_ready = True
            words.append("READY=1")
        if self._is_watched and beat_age_s < _LONGEST_BEAT_S:
            words.append("WATCHDOG=1")
        self._send("\n".join(words))

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:  # nobody hears: no harm
            sock.setblocking(False)
            sock.sendto(text.encode(), self._address)
