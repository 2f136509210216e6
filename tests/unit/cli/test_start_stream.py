"""`start-stream`: what runs beside the stream is watched with it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from streamer.cli import start_stream
from streamer.cli.display import Progress
from streamer.ingest.supervisor import Supervisor


class Endless:
    """A supervisor and a progress that run until they are stopped."""

    async def run(self, stop: asyncio.Event) -> None:
        """Wait."""
        await stop.wait()

    async def log_forever(self) -> None:
        """Wait."""
        await asyncio.Event().wait()

    def show_forever(self, console: Any) -> Any:
        """Wait."""
        return self.log_forever()


async def until_stopped(redis: start_stream._Redis, stop: asyncio.Event) -> None:
    """Run the stream's body around nothing."""
    nothing = Endless()
    supervisor, progress = cast("Supervisor", nothing), cast("Progress", nothing)
    await start_stream._until_stopped(supervisor, progress, [nothing.log_forever()], redis, stop)


async def test_a_bug_in_the_watch_over_the_embedded_redis_is_loud() -> None:
    """It ends the command with its traceback; unseen, the next death of Redis would be for ever."""

    async def crash() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(5):
            await until_stopped(start_stream._Redis("redis://h", "h", crash), asyncio.Event())
    assert caught.group_contains(RuntimeError, match="a bug")


@pytest.mark.parametrize("embedded", [True, False])
async def test_the_watch_ends_with_the_stream(*, embedded: bool) -> None:
    """A signal ends it too, and nothing is left running."""
    ended = asyncio.Event()

    async def watch() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    async with asyncio.timeout(5):
        await until_stopped(start_stream._Redis("redis://h", "h", watch if embedded else None), stop)
    assert ended.is_set() is embedded
