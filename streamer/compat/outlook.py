"""What Redis says of the whole: who is coordinated, and whose data it holds. Looked at anew every 2 s."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import msgspec

from streamer.errors import ConfigError, StoreUnavailable
from streamer.gateway.caller import scope_of
from streamer.model import Source
from streamer.reader.facts import as_text
from streamer.reader.steps import Plan
from streamer.reader.sync import Reader
from streamer.reader.wire import Lookup
from streamer.settings import REST_URL, WS_URL, Settings
from streamer.store.flags import Flags, flags_of
from streamer.store.keys import Keys
from streamer.store.records import parse_json

LOOK_EVERY_S = 2.0


class Status(msgspec.Struct):
    """What the report of the stream says of the exchange."""

    source: str = ""
    rest_url: str | None = None


class Outlook:
    """Flags and exchange as they were last seen.

    While Redis is away what it said last holds, and before it has said anything, what the settings say.
    """

    def __init__(self, reader: Reader, keys: Keys, settings: Settings) -> None:
        self._reader, self._settings = reader, settings
        self._lookup = Lookup([("HGETALL", keys.flags), ("GET", keys.status)])
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._flags = settings.flags
        self._scope = scope_of_data(settings, None)

    def flags(self) -> Flags:
        """Return who is coordinated."""
        self._look()
        return self._flags

    def scope(self) -> str | None:
        """Return the name of the exchange whose data Redis holds, None where that has no REST."""
        self._look()
        return self._scope

    def _look(self) -> None:
        if time.monotonic() < self._look_at:
            return
        with self._lock:
            if time.monotonic() < self._look_at:
                return
            with suppress(StoreUnavailable):
                self._flags, self._scope = self._reader.run(self._plan())
            self._look_at = time.monotonic() + LOOK_EVERY_S

    def _plan(self) -> Plan[tuple[Flags, str | None]]:
        flags, raw = yield self._lookup
        texts = {name.encode(): text.encode() for name, text in as_text(flags, errors="replace").items()}
        status = parse_json(raw, Status) if isinstance(raw, bytes) else None
        return flags_of(texts, self._settings.flags), scope_of_data(self._settings, status)


def scope_of_data(settings: Settings, status: Status | None) -> str | None:
    """Return the exchange whose data Redis holds: what is not of the exchange that is asked is no answer."""
    if "rest_url" in settings.model_fields_set:
        return scope_of(settings.rest_url)
    if status is not None and status.source == Source.SIMULATOR:
        try:
            return scope_of(status.rest_url) if status.rest_url else None
        except ConfigError:
            return None
    return scope_of(REST_URL) if settings.ws_url == WS_URL else None
