"""Serves the application. Hypercorn: of the servers tried it alone cuts who dribbles a header after 5 s."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import structlog
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from streamer.errors import ConfigError
from streamer.settings import Settings
from streamer.web.access import MAX_HEADER_BYTES, is_loopback
from streamer.web.app import create_app
from streamer.web.service import Service

log = structlog.get_logger(__name__)

_GOODBYE_S: Final = 0.5
_BACKLOG: Final = 1024
_UNTAKEN_S: Final = 10.0
"""A client that takes nothing of what it is sent for so long is cut off."""
_SEND_BUFFER_BYTES: Final = 256 << 10
_MOST_MESSAGE_BYTES: Final = 4 << 10


def check_access(settings: Settings) -> None:
    """Refuse to be reachable from elsewhere without a token.

    Raises:
        ConfigError: The address is not loopback, and no token is set.
    """
    if not is_loopback(settings.api_host) and settings.api_token is None:
        rule = "an address beyond loopback needs STREAMER_API_TOKEN (openssl rand -hex 24)"
        raise ConfigError("STREAMER_API_HOST", settings.api_host, rule)


def url_of(settings: Settings) -> str:
    """Return where the API is, for people to open."""
    host = settings.api_host.strip("[]")
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}/"


def bound(settings: Settings) -> socket.socket:
    """Return a socket bound to the address of the API.

    Raises:
        ConfigError: It cannot be bound; says why.
    """
    host = settings.api_host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bound_to_end(sock)
        sock.bind((host, settings.api_port))
    except (OSError, UnicodeError) as exc:  # a name that cannot be encoded is one that cannot be found
        sock.close()
        why = getattr(exc, "strerror", None) or "no such name"
        rule = f"{host} cannot be bound: {why}; choose another with --port, or --no-api"
        raise ConfigError("STREAMER_API_PORT", settings.api_port, rule) from exc
    sock.setblocking(False)
    return sock


def _bound_to_end(sock: socket.socket) -> None:
    """Have connections end whose client takes nothing; they inherit it from the socket that listens.

    Only the kernel can: a connection that is closed goes on until all that was written has been taken.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNTAKEN_S * 1000))


async def serve(redis_url: str, settings: Settings, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; whoever still listens then has half a second."""
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]  # the server closes it
    config.graceful_timeout = _GOODBYE_S
    config.shutdown_timeout = _GOODBYE_S
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.websocket_max_message_size = _MOST_MESSAGE_BYTES  # clients have nothing to say
    config.backlog = _BACKLOG
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    app: Any = create_app(Service.of(redis_url, settings))
    asyncio.get_running_loop().set_exception_handler(_but_cancelled)

    async def stopped() -> None:
        await stop.wait()
        app.state.hub.end()  # whoever listens would hold up the server else

    try:
        await hypercorn_serve(app, config, shutdown_trigger=stopped)
    finally:  # not a lifespan of the application: cut short, as start-stream may, it would be reported as a bug
        await app.state.hub.close()
        await app.state.service.close()


def _but_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of connections that are cut at the end: Python 3.11's streams report them as a bug."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)
