"""The child that serves the API, where there is none to be had."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from streamer.cli import beside
from streamer.settings import load
from streamer.web.address import bound
from tests.support import free_port, until


async def test_a_child_that_cannot_be_made_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory or a free process the stream goes on without its API."""
    tried = 0

    async def refuse(*_: Any, **__: Any) -> Any:
        nonlocal tried
        tried += 1
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr(beside, "_FIRST_PAUSE_S", 0.01)
    stop, config = asyncio.Event(), load(api_port=free_port())
    with bound(config) as sock:
        task = asyncio.create_task(beside.serve_beside("redis://127.0.0.1:9", config, sock, stop))
        await until(lambda: tried >= 3, 5)
        assert not task.done()
        stop.set()
        async with asyncio.timeout(5):
            await task
