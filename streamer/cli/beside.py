"""The HTTP API beside a stream, in a process of its own.

Within the process of the stream, 500 listeners made every price several times as late: each message to each of
them is a turn of the same event loop. A child shares nothing with the stream but Redis, as readers do, and gives
way to it where the processor is short.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Final

import structlog

from streamer.settings import Settings, as_environment

log = structlog.get_logger("streamer")

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_GOODBYE_S: Final = 1.0


async def serve_beside(redis_url: str, settings: Settings, sock: socket.socket, stop: asyncio.Event) -> None:
    """Have a child serve until `stop` is set, and another one where it ends by itself: the stream matters more.

    Whoever connects meanwhile is kept waiting, not refused: the socket stays open.
    """
    loop, pause_s = asyncio.get_running_loop(), _FIRST_PAUSE_S
    while not stop.is_set():
        began = loop.time()
        try:
            code: int | str = await _one_child(redis_url, settings, sock, stop)
        except OSError as exc:  # no memory, no process: that passes
            code = exc.strerror or type(exc).__name__
        if stop.is_set():
            return
        if loop.time() - began > _LONGEST_PAUSE_S:
            pause_s = _FIRST_PAUSE_S
        log.error("api.ended", code=code, again_in_s=pause_s)
        await _either(stop, pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _one_child(redis_url: str, settings: Settings, sock: socket.socket, stop: asyncio.Event) -> int:
    """Run one child to its end, or to ours; return how it ended."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "streamer.cli.main", "serve", "--fd", str(sock.fileno())),
        stdin=PIPE,  # its end tells the child of ours, however we end
        env=environment | as_environment(settings) | {"REDIS_URL": redis_url},
        start_new_session=True,  # Ctrl-C is for us to pass on
        pass_fds=(sock.fileno(),),
    )
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(child.wait())
    try:
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        await asyncio.shield(_ended(child, ended))
    return ended.result()


async def _ended(child: Process, ended: asyncio.Task[int]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE_S):
            await asyncio.shield(ended)
            return
    with suppress(ProcessLookupError):
        child.kill()
    await ended


async def _either(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
