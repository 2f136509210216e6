"""`streamer serve`: the HTTP API by itself, in front of a Redis that an ingester elsewhere fills."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys

from streamer import logs, settings
from streamer.cli.common import add_redis_option, need_redis_url, run_async
from streamer.errors import ConfigError
from streamer.settings import Settings
from streamer.web.address import bound, check_access, url_of
from streamer.web.serve import serve

_GIVES_WAY = 10
"""How much nicer the API of a stream is than the stream: prices come before pages."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--host", help="address to bind (STREAMER_API_HOST, default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to bind (STREAMER_API_PORT, default 8700)")
    add_redis_option(parser)
    # Of a stream whose API this is: a socket that is bound already; the end of stdin means the end of the stream.
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.epilog = "beyond loopback it needs STREAMER_API_TOKEN; stops on Ctrl-C and SIGTERM"


def execute(arguments: argparse.Namespace) -> int:
    """Run the command until it is stopped."""
    config = settings.load(api_host=arguments.host, api_port=arguments.port)
    check_access(config)
    logs.configure(config.log_level)
    return run_async(_serve(need_redis_url(arguments.redis_url), config, arguments.fd))


async def _serve(redis_url: str, config: Settings, fd: int | None) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with bound(config) if fd is None else _inherited(fd) as sock:
        if fd is None:
            print(f"serving {url_of(config)}", file=sys.stderr, flush=True)
        else:
            _end_with_stdin(loop, stop)
            os.nice(_GIVES_WAY)
        await serve(redis_url, config, sock, stop)
    return 0


def _inherited(fd: int) -> socket.socket:
    """Return the socket that a stream has bound for us.

    Raises:
        ConfigError: There is no such socket.
    """
    try:
        sock = socket.socket(fileno=fd)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise OSError("it does not listen")
    except (OSError, ValueError, OverflowError) as exc:  # not open or no socket; negative; beyond any number
        raise ConfigError("--fd", fd, "must be the number of a socket that listens") from exc
    return sock


def _end_with_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def ended() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    try:
        loop.add_reader(sys.stdin.fileno(), ended)
    except OSError as exc:  # a file, or /dev/null
        raise ConfigError("stdin", sys.stdin.name, "--fd needs a pipe there, whose end is the end") from exc
