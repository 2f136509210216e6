"""When serving itself fails, it ends with a word and a status; whoever has started it sees to the rest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.web import address
from streamer.web import serve as serving
from tests.integration.web.rig import settings
from tests.support import PATIENCE, RedisServer, free_port

BROKEN = """
import asyncio, sys
from streamer.cli.main import main
from streamer.web import serve

async def broken(*args, **how):
    raise ExceptionGroup("several", [OSError("the port is gone")])

serve.hypercorn_serve = broken
sys.argv = ["streamer", "serve", "--redis-url", sys.argv[1], "--port", sys.argv[2]]
main()
"""


def test_alone_it_ends_with_a_word(redis: RedisServer, tmp_path: Path) -> None:
    """`streamer serve` has nothing else to do: one line that says why, and no status of success."""
    command = [sys.executable, "-c", BROKEN, redis.url, str(free_port())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20 * PATIENCE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["error: the HTTP API has failed: the port is gone"]


async def test_an_end_that_nobody_asked_for_is_a_failure(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server does not say why; an end that was asked for is none."""

    async def brief(*args: object, **how: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(serving, "hypercorn_serve", brief)
    stop = asyncio.Event()
    with pytest.raises(StreamerError, match="ended by itself"):
        await serving.serve(redis.url, settings(), address.bound(settings()), stop)
    stop.set()
    await serving.serve(redis.url, settings(), address.bound(settings()), stop)
