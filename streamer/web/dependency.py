"""A reader for FastAPI applications of others: `Annotated[AsyncReader, Depends(reader)]`, and no more to set up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from streamer.errors import ConfigError, StreamerError
from streamer.reader.reader import AsyncReader

log = structlog.get_logger(__name__)

_HELD: Final = "streamer_readers"


@dataclass(frozen=True, slots=True)
class _Held:
    """A reader, and the task that closes it when it is cancelled: by `lifespan`, or by the end of the loop."""

    reader: AsyncReader
    keeper: asyncio.Task[None]


async def reader(connection: HTTPConnection) -> AsyncReader:
    """Return the application's reader: a dependency for routes of HTTP and of WebSockets.

    It is made by the first request, with settings from the environment and the application's title as its name in
    the statistics of REST calls, and shared by all that follow in this event loop. It closes itself when the loop
    ends; with `lifespan` it does so when the application does. In tests, `app.dependency_overrides[reader]`
    replaces it, as any dependency.

    Raises:
        StreamerError: The settings do not tell of a Redis that could be read.
    """
    app = connection.app
    held = _held_by(app)
    loop = asyncio.get_running_loop()
    if loop not in held:  # nothing is awaited between here and there, so there is one however many ask at once
        for ended in [one for one in held if one.is_closed()]:
            del held[ended]
        made = _made(getattr(app, "title", ""))
        held[loop] = _Held(made, loop.create_task(_keep(made), name="streamer-reader"))
    return held[loop].reader


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Close the application's reader at its end: `FastAPI(lifespan=lifespan)`, or within a lifespan of your own."""
    try:
        yield
    finally:
        held = _held_by(app).pop(asyncio.get_running_loop(), None)
        if held is not None:
            held.keeper.cancel()
            await asyncio.wait({held.keeper})


def _held_by(app: Any) -> dict[asyncio.AbstractEventLoop, _Held]:
    """Return the readers of an application by their loop: connections belong to the loop that they were made in."""
    if not hasattr(app.state, _HELD):
        setattr(app.state, _HELD, {})
    held: dict[asyncio.AbstractEventLoop, _Held] = getattr(app.state, _HELD)
    return held


def _made(caller: str) -> AsyncReader:
    try:
        return AsyncReader(caller=caller)
    except ConfigError as exc:  # of whoever runs the application, not of whoever asks it
        log.error("reader.not_made", why=str(exc))
        raise StreamerError("market data is not set up here; the log of the service says why") from exc


async def _keep(made: AsyncReader) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await made.close()
