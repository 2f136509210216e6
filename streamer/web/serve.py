"""Serves the application. Hypercorn: of the servers tried it alone cuts who dribbles a header after 5 s."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any, Final

import structlog
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol

from streamer.errors import StreamerError
from streamer.settings import Settings
from streamer.web.access import MAX_HEADER_BYTES
from streamer.web.address import BACKLOG
from streamer.web.app import create_app
from streamer.web.service import Service

log = structlog.get_logger(__name__)

_GOODBYE_S: Final = 0.5
_MOST_MESSAGE_BYTES: Final = 4 << 10
_FILES: Final = 1 << 14


async def _stay_with_http1(protocol: H11Protocol, request: object) -> None:
    """Take the preface of HTTP/2, or a call for it, for the request of HTTP/1 that it looks like."""


# Hypercorn 0.18 has no deadline for what comes over HTTP/2 before a first request, and no setting to be without it:
# whoever says its preface and no more would be held for ever. Nobody needs it here.
H11Protocol._check_protocol = _stay_with_http1  # type: ignore[assignment,method-assign]


async def serve(redis_url: str, settings: Settings, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; whoever still listens then has half a second. Closes the socket.

    Raises:
        StreamerError: It cannot be served, or no longer.
    """
    _make_room()
    app: Any = create_app(Service.of(redis_url, settings))
    asyncio.get_running_loop().set_exception_handler(_but_cancelled)

    async def stopped() -> None:
        await stop.wait()
        app.state.hub.end()  # whoever listens would hold up the server else

    try:
        await hypercorn_serve(app, _config(sock), shutdown_trigger=stopped)
    except Exception as exc:
        raise StreamerError(f"the HTTP API has failed: {_cause(exc)}") from exc
    finally:  # not a lifespan of the application: cut short, as start-stream may, it would be reported as a bug
        await app.state.hub.close()
        await app.state.service.close()
    if not stop.is_set():
        raise StreamerError("the HTTP API has ended by itself")


def _make_room() -> None:
    """Allow ourselves as many open files as we may: a usual limit of 1024 is less than the clients we take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _config(sock: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]  # the server closes it
    config.graceful_timeout = _GOODBYE_S
    config.shutdown_timeout = _GOODBYE_S
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.websocket_max_message_size = _MOST_MESSAGE_BYTES  # clients have nothing to say
    config.backlog = BACKLOG
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    return config


def _cause(exc: BaseException) -> str:
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return str(exc) or type(exc).__name__


def _but_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of connections that are cut at the end: Python 3.11's streams report them as a bug."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)
