"""`streamer serve`: the HTTP API by itself, in front of a Redis that an ingester elsewhere fills."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from streamer import logs, settings
from streamer.cli.common import add_redis_option, need_redis_url, run_async
from streamer.settings import Settings
from streamer.web.serve import bound, check_access, serve, url_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--host", help="address to bind (STREAMER_API_HOST, default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to bind (STREAMER_API_PORT, default 8700)")
    add_redis_option(parser)
    parser.epilog = "beyond loopback it needs STREAMER_API_TOKEN; stops on Ctrl-C and SIGTERM"


def execute(arguments: argparse.Namespace) -> int:
    """Run the command until it is stopped."""
    config = settings.load(api_host=arguments.host, api_port=arguments.port)
    check_access(config)
    logs.configure(config.log_level)
    return run_async(_serve(need_redis_url(arguments.redis_url), config))


async def _serve(redis_url: str, config: Settings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with bound(config) as sock:
        print(f"serving {url_of(config)}", file=sys.stderr, flush=True)
        await serve(redis_url, config, sock, stop)
    return 0
