"""A redis-server of our own: a child process on 127.0.0.1, for machines where nobody runs one.

It is a real server with a real port and a password, so every other process of this user finds it through the
state file (`address.py`) and nothing about it is special to its clients.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from streamer.errors import EmbeddedRedisError
from streamer.store import address, redis_server

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

START_DEADLINE_S = 10.0
LOCK_FILE = "redis.lock"
_ORPHAN_DEADLINE_S = 3.0  # a server whose parent was killed saves its data before it lets go of the lock
_MAX_LOG_BYTES = 1 << 20
_BACKOFF_CAP_S = 5.0
_STEADY_AFTER_S = 10.0
_PORT_TAKEN = "already in use"
# What the log says, in all versions since 6.2, of a dump that is damaged or of a newer format.
_DUMP_UNREADABLE = (
    "Fatal error loading the DB",
    "RDB format version",
    "Short read or OOM loading DB",
    "Wrong signature trying to load DB",
    "rdb file reading failure",
)


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """What `supervise` reports: the server died, runs again, or could not be started again yet.

    Attributes:
        what: "died", "restarted" or "failed".
        pid: Of the server it is about; None where there is none.
        why: In words.
    """

    what: Literal["died", "restarted", "failed"]
    pid: int | None
    why: str


class EmbeddedRedis:
    """A redis-server that lives as long as the `async with` block, and dies with this process if killed.

    Attributes:
        url: With the password; "" until started.
        port: On 127.0.0.1; 0 until started.
        version: As the server reports it.
        warning: What the user should know about this build, or None.
    """

    def __init__(self, state_dir: str | Path, *, binary: str | None = None) -> None:
        """Prepare; nothing is started.

        Args:
            state_dir: Folder of the data, the log, the lock and the state file; made if need be.
            binary: The server to run; None looks for one.
        """
        self.url, self.port, self.version = "", 0, ""
        self.warning: str | None = None
        self._folder = Path(state_dir).absolute()
        self._binary = binary or ""
        self._password = ""
        self._process: Process | None = None
        self._lock_fd = -1
        self._stopping = False
        self._dump_warning = ""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None before the start."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            EmbeddedRedisError: No binary, the folder is in use, or the server does not come up.
        """
        try:
            self._binary = self._binary or redis_server.find_redis_server()
            address.ensure_private_folder(str(self._folder))
            self._lock_fd = await self._take_lock()
            await self._start()
        except OSError as exc:
            await self.stop()
            raise EmbeddedRedisError(f"the embedded Redis cannot use {self._folder}: {exc}") from exc
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server; see `stop`."""
        await self.stop()

    async def stop(self) -> None:
        """Let the server save its data and end, and give the folder free. Harmless twice.

        It is killed where it has not ended after 2 s, or, frozen, answers nothing for 0.5 s.
        """
        self._stopping = True
        try:
            if self._process is not None and self._process.returncode is None:
                await redis_server.end(self._process, self.port)
            if self._lock_fd >= 0:
                address.retire_state(str(self._folder))
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()  # stop itself was cancelled
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1

    async def supervise(self, report: Callable[[ChildEvent], None]) -> None:
        """Start the server again whenever it dies, on the same port with the same password, until `stop`.

        Args:
            report: Called with each `ChildEvent`; must not block.
        """
        delay_s = 0.0
        while self._process is not None:
            process, since = self._process, time.monotonic()
            code = await process.wait()
            if self._stopping:
                return
            report(ChildEvent("died", process.pid, redis_server.ending(code)))
            # The first restart is at once; a server that dies again and again must not eat the machine.
            delay_s = 0.0 if time.monotonic() - since > _STEADY_AFTER_S else delay_s
            while not self._stopping:
                await asyncio.sleep(delay_s)
                delay_s = min(max(delay_s * 2, 0.1), _BACKOFF_CAP_S)
                try:
                    await self._launch(self.port)
                except (EmbeddedRedisError, OSError) as exc:
                    report(ChildEvent("failed", None, str(exc)))
                    if isinstance(exc, _NotStarted):
                        self._mend(exc.log, report)
                    continue
                report(ChildEvent("restarted", self.pid, f"answers again on port {self.port}"))
                break

    def _mend(self, log: str, report: Callable[[ChildEvent], None]) -> None:
        try:
            self._mended(log)
        except OSError as exc:  # a full or read-only disk: it may have room at the next try
            report(ChildEvent("failed", None, f"the unreadable data cannot be put aside: {exc}"))

    async def _take_lock(self) -> int:
        """Lock the folder for this process and, by inheritance, for its server: one server per data file."""
        path = self._folder / LOCK_FILE
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline, asked = time.monotonic() + _ORPHAN_DEADLINE_S, False
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    holder = _holder(fd)
                    if time.monotonic() > deadline or (holder and address.process_alive(holder)):
                        raise EmbeddedRedisError(self._in_use(holder)) from None
                if holder and not asked:
                    asked = await self._end_orphan()
                await asyncio.sleep(0.01)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    async def _end_orphan(self) -> bool:
        """Where there is no parent-death signal (macOS), end the server a killed parent left behind."""
        state = address.live_state(str(self._folder), within_s=0.2)
        if state is None:
            return False
        password = address.check_redis_url(state.url).password or ""
        await redis_server.converse(state.port, f"AUTH {password}", "SHUTDOWN SAVE")
        return True

    def _in_use(self, holder: int | None) -> str:
        state = address.read_state(str(self._folder))
        if holder and address.process_alive(holder):
            who = f"process {holder}"
        else:
            who = f"redis-server {state.redis_pid}, whose parent was killed," if state else "another process"
        return (
            f"{who} already runs the embedded Redis of {self._folder}. To add products to it:"
            " streamer wanted add PRODUCT_ID. To run a second one: set STREAMER_STATE_DIR to another folder,"
            " or REDIS_URL to a Redis of your own"
        )

    async def _start(self) -> None:
        # Same port and password as last time: readers in other processes find the way back by themselves.
        folder = str(self._folder)
        last = address.read_state(folder) or address.read_state(folder, address.LAST_STATE_FILE)
        known = (last and address.check_redis_url(last.url).password) or ""
        # Only what we generate ourselves: the password becomes a line of the server's configuration.
        self._password = known if known.isascii() and known.isalnum() else secrets.token_hex(24)
        port = last.port if last and redis_server.port_free(last.port) else redis_server.free_port()
        for attempt in range(4):
            try:
                await self._launch(port)
            except _NotStarted as exc:
                if attempt == 3 or not self._mended(exc.log):
                    raise
                port = redis_server.free_port()
            else:
                return

    def _mended(self, log: str) -> bool:
        """Whether what the log complains of was taken out of the way, so that another try makes sense."""
        if _PORT_TAKEN in log:
            return True  # between our look and its bind somebody else took the port
        dump = self._folder / redis_server.DUMP_FILE
        if dump.exists() and any(words in log for words in _DUMP_UNREADABLE):
            # The ingester writes all of its state anyway: starting empty beats not starting.
            aside = dump.rename(dump.with_suffix(".unreadable"))
            self._dump_warning = f"the saved data could not be read: moved to {aside}, started empty"
            return True
        return False

    async def _launch(self, port: int) -> None:
        log = self._folder / redis_server.LOG_FILE
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.write_bytes(b"")
        log_starts = log.stat().st_size if log.exists() else 0
        process = self._process = await redis_server.spawn(
            self._binary, self._folder, port, self._password, self._lock_fd
        )
        try:
            info = await self._until_it_answers(process, port)
        except BaseException as exc:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if not isinstance(exc, (EmbeddedRedisError, TimeoutError)):
                raise
            why = str(exc) or f"no answer within {START_DEADLINE_S:g} s"
            raise _NotStarted(self._binary, why, redis_server.log_tail(log, log_starts)) from exc
        self.port, self.url = port, f"redis://:{self._password}@{redis_server.HOST}:{port}/0"
        self._describe(info)
        state = address.RedisState(
            url=self.url,
            redis_pid=process.pid,
            parent_pid=os.getpid(),
            port=port,
            version=self.version,
            started_ms=time.time_ns() // 1_000_000,
        )
        address.write_state(str(self._folder), state)

    def _describe(self, info: dict[str, str]) -> None:
        # Valkey reports a Redis version it is compatible with beside its own.
        project: Literal["redis", "valkey"] = "valkey" if "valkey_version" in info else "redis"
        self.version = info.get(f"{project}_version", "unknown")
        bundled = self._binary == redis_server.bundled_redis_server()
        warnings = (self._dump_warning, redis_server.lua_warning(project, self.version, bundled=bundled))
        self.warning = "; ".join(warning for warning in warnings if warning) or None

    async def _until_it_answers(self, process: Process, port: int) -> dict[str, str]:
        pause_s = 0.002
        async with asyncio.timeout(START_DEADLINE_S):
            while True:
                if process.returncode is not None:
                    raise EmbeddedRedisError(redis_server.ending(process.returncode))
                if self._stopping:
                    raise EmbeddedRedisError("it was told to stop")
                info = await redis_server.server_info(port, self._password)
                # Another program may have taken the port first: only our own child's answer counts.
                if info and info.get("process_id") == str(process.pid):
                    return info
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, 0.05)  # soon after the start, seldom while it loads


class _NotStarted(EmbeddedRedisError):
    """The server ended or did not answer; `log` is the end of what it wrote."""

    def __init__(self, binary: str, why: str, log: str) -> None:
        super().__init__(f"{binary} did not start: {why}. Its log ends with: {log}")
        self.log = log


def _holder(lock_fd: int) -> int | None:
    text = os.pread(lock_fd, 32, 0)
    return int(text) if text.isdigit() else None
