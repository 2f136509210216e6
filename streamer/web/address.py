"""Where the API is, and the socket it is served from. Light: who only binds it need not load the application."""

from __future__ import annotations

import fcntl
import socket
from ipaddress import ip_address
from typing import Final

from streamer.errors import ConfigError
from streamer.settings import Settings

BACKLOG: Final = 1024
"""So many may wait to be accepted."""
_UNTAKEN_S: Final = 10.0
"""A client that takes nothing of what it is sent for so long is cut off."""
_SEND_BUFFER_BYTES: Final = 256 << 10
_STANDARD: Final = 2


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
    """Return a socket that listens on the address of the API.

    Raises:
        ConfigError: It cannot be bound; says why.
    """
    host = settings.api_host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = _beyond_standard(socket.socket(family, socket.SOCK_STREAM))
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bound_to_end(sock)
        sock.bind((host, settings.api_port))
        sock.listen(BACKLOG)  # bound alone, a second one could bind it too
    except (OSError, UnicodeError) as exc:  # a name that cannot be encoded is one that cannot be found
        sock.close()
        why = getattr(exc, "strerror", None) or "no such name"
        rule = f"{host} cannot be bound: {why}; choose another with --port, or --no-api"
        raise ConfigError("STREAMER_API_PORT", settings.api_port, rule) from exc
    sock.setblocking(False)
    return sock


def _beyond_standard(sock: socket.socket) -> socket.socket:
    """Return a socket whose number is none of the standard streams', as it would be where those are closed.

    A child that inherits it has a stream of its own in that place.
    """
    if sock.fileno() > _STANDARD:
        return sock
    with sock:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _STANDARD + 1))


def _bound_to_end(sock: socket.socket) -> None:
    """Have connections end whose client takes nothing; they inherit it from the socket that listens.

    Only the kernel can: a connection that is closed goes on until all that was written has been taken.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNTAKEN_S * 1000))


def is_address(host: str) -> bool:
    """Whether a host is given by its number."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    return host == "localhost" or (is_address(host) and ip_address(host.strip("[]")).is_loopback)


def loopback_names() -> set[str]:
    """Return the names of this machine to itself."""
    return {"127.0.0.1", "localhost", "[::1]"}
