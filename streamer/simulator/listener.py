"""How the exchange listens: the library's server, set up like the real host."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from websockets.asyncio.server import Server, ServerConnection, serve

if TYPE_CHECKING:
    import ssl

    from websockets.http11 import Request, Response

SERVER_HEADER = "streamer-simulator"
"""The `Server` header of every answer, by which a client can tell that prices are not real."""

Handler = Callable[[ServerConnection], Awaitable[None]]
Upgrade = Callable[[ServerConnection, "Request"], Awaitable["Response | None"]]

# The library logs each client that leaves badly; here that is the purpose, and only logs.py configures logging.
_QUIET = logging.Logger("streamer.simulator", logging.CRITICAL + 1)


class Connection(ServerConnection):
    """A connection that knows the number of its attempt."""

    number = 0


async def listen(
    handler: Handler,
    upgrade: Upgrade,
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None,
    now_s: Callable[[], float] = time.time,
) -> Server:
    """Listen on host and port.

    Args:
        handler: Serves an open connection.
        upgrade: Decides about an upgrade request: a response refuses it.
        host: Address to listen on.
        port: Port, 0 for any free one.
        ssl_context: For TLS.
        now_s: What time it is on the exchange, for the Date of its answers.

    Raises:
        OSError: The address cannot be listened on.
    """

    def date(connection: ServerConnection, request: Request, response: Response) -> None:
        del response.headers["Date"]
        response.headers["Date"] = formatdate(now_s(), usegmt=True)

    return await serve(
        handler,
        host,
        port,
        create_connection=Connection,
        ssl=ssl_context,
        process_request=upgrade,
        process_response=date,
        server_header=SERVER_HEADER,
        compression=None,  # real feeds offer it, clients of ours do not take it
        ping_interval=None,  # silence must be silent; clients have their own keepalive
        close_timeout=1,
        max_size=1 << 20,
        write_limit=1 << 20,  # large, so that a saturated loop pauses rarely
        logger=_QUIET,
    )
