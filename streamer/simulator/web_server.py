"""How the simulator listens for HTTP: uvicorn as a guest in a loop that is not its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from streamer.errors import ConfigError

_KEEP_ALIVE_S = 75


def take_port(host: str, port: int, name: str) -> socket.socket:
    """Return a socket that listens; connections wait until a server accepts them.

    Args:
        host: Address to listen on.
        port: 0 for any free one.
        name: What the port is called where it is set.

    Raises:
        ConfigError: The port cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, not left to the default: asyncio sets TCP_NODELAY on no others, and answers would wait 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(256)
    except (OSError, OverflowError) as exc:
        taken.close()
        raise ConfigError(name, port, f"cannot be listened on: {exc}") from exc
    return taken


class WebServer(uvicorn.Server):
    """uvicorn without signal handlers, whose end is not polled for.

    Args:
        app: Answers the requests.
        ssl_context: For TLS.
    """

    def __init__(self, app: ASGIApp, ssl_context: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the app sets its own, by a clock of its own
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = ssl_context
        super().__init__(config)
        self.ends = asyncio.Event()
        """Set, it ends: no new connections, and a second for the requests in hand."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the program."""
        yield

    async def main_loop(self) -> None:
        """Last until `ends` is set."""
        await self.ends.wait()

    def abort(self) -> None:
        """Cut all connections, and accept no more."""
        for server in getattr(self, "servers", ()):
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
