"""The probe and `stream-status`: real servers, frozen servers, servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from redis import Redis

from streamer.health.probe import ProbeFailed, probe
from streamer.store.embedded import EmbeddedRedis
from tests.unit.health.test_verdict import feed
from tests.unit.health.test_verdict import status as report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

COMMAND = str(Path(sys.executable).parent / "stream-status")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    """A real redis-server with a password."""
    async with EmbeddedRedis(tmp_path / "state") as running:
        yield running


def run(*options: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, with nothing of our environment but PATH."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(cwd)} | environ
    return subprocess.run(
        [COMMAND, *options], cwd=cwd, env=clean, capture_output=True, text=True, timeout=10, check=False
    )


def put_report(url: str, **facts: Any) -> None:
    """Write a report made now, by the clock of Redis."""
    with Redis.from_url(url) as redis:
        seconds, micros = redis.time()
        now_ms = seconds * 1000 + micros // 1000
        value = report(written_ms=now_ms, started_ms=now_ms - 60_000, feeds=[feed(alive_ms=now_ms)]) | facts
        redis.set("stream:status", json.dumps(value))


class Fake:
    """A socket server that is no Redis; runs `talk` in a thread for each connection."""

    def __init__(self, talk: Callable[[Any], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._talk = talk
        self.url = f"redis://:hush@127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Fake:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        self._listener.settimeout(5)
        connection, _ = self._listener.accept()
        with connection:
            self._talk(connection)
            self._over.wait(5)

    def dribble(self, connection: Any) -> None:
        """Send one byte of a valid answer every 50 ms."""
        while not self._over.wait(0.05):
            try:
                connection.sendall(b"+")
            except OSError:
                return


def fails(url: str, within_s: float = 1.3) -> str:
    """Return why the probe fails; it does so in time and without the password."""
    began = time.monotonic()
    with pytest.raises(ProbeFailed) as caught:
        probe(url)
    assert time.monotonic() - began < within_s
    assert "hush" not in str(caught.value)
    assert "\n" not in caught.value.why
    return caught.value.why


async def test_it_reads_report_and_clock(server: EmbeddedRedis) -> None:
    """No report is None; a report comes back whole, with the time of Redis."""
    status, now_ms = probe(server.url)
    assert status is None
    assert abs(now_ms - time.time() * 1000) < 5_000
    put_report(server.url)
    status, now_ms = probe(server.url)
    assert status is not None
    assert 0 <= now_ms - status["written_ms"] < 5_000


async def test_prefix_and_database(server: EmbeddedRedis) -> None:
    """The key's prefix and the database number are honoured."""
    url = server.url.removesuffix("0") + "3"
    with Redis.from_url(url) as redis:
        redis.set("p:stream:status", '{"a": 1}')
    assert probe(url, "p:")[0] == {"a": 1}
    assert probe(server.url, "p:")[0] is None
    assert "has no database 99" in fails(server.url.removesuffix("0") + "99")


async def test_acl_user(server: EmbeddedRedis) -> None:
    """A user of its own, which may do only this, is enough."""
    with Redis.from_url(server.url) as redis:
        redis.acl_setuser(
            "eye", enabled=True, passwords=["+hush"], keys=["stream:status"], commands=["+get", "+time"]
        )
        redis.acl_setuser("blind", enabled=True, passwords=["+hush"], keys=["other"], commands=["+get", "+time"])
    place = f"127.0.0.1:{server.port}"
    assert probe(f"redis://eye:hush@{place}")[0] is None
    assert "does not let this user read" in fails(f"redis://blind:hush@{place}")


async def test_passwords(server: EmbeddedRedis) -> None:
    """A wrong password and a missing one each have their sentence."""
    assert fails(f"redis://:hush@127.0.0.1:{server.port}").endswith("does not accept the password")
    assert "the URL has none" in fails(f"redis://127.0.0.1:{server.port}")


async def test_a_value_that_is_no_report(server: EmbeddedRedis) -> None:
    """Another program's value, or another type, is said to be that."""
    with Redis.from_url(server.url) as redis:
        for value in ("[1]", "{", "\x00"):
            redis.set("stream:status", value)
            assert "not a JSON object" in fails(server.url)
        redis.delete("stream:status")
        redis.lpush("stream:status", "x")
        assert "WRONGTYPE" in fails(server.url)


def test_nobody_listens() -> None:
    """Refused at once, unknown hosts and sockets likewise."""
    assert "refuses the connection" in fails("redis://:hush@127.0.0.1:1")
    assert "no such file" in fails("unix://:hush@/nowhere/redis.sock")
    assert "host name is unknown" in fails("redis://:hush@host.invalid")


@pytest.mark.parametrize(
    "banner", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"hush\r\n", b"220 no line end"]
)
def test_something_else_listens(banner: bytes) -> None:
    """Another protocol is told at once, not after the deadline."""
    with Fake(lambda connection: connection.sendall(banner)) as fake:
        assert "is not a Redis" in fails(fake.url, within_s=0.9)


def test_a_server_that_quotes_our_password() -> None:
    """Some servers repeat the command they do not know; we do not."""
    with Fake(lambda c: c.sendall(b"-ERR unknown command 'AUTH', with args beginning with: 'hush'\r\n")) as fake:
        assert "***" in fails(fake.url)


def test_a_loading_server() -> None:
    """Loading is said to be that."""
    with Fake(lambda c: c.sendall(b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n")) as fake:
        assert "still loading" in fails(fake.url)


def test_a_cluster_node_names_another() -> None:
    """In a Redis Cluster the report may live on another node: one redirect is followed."""
    clock = b"+OK\r\n*2\r\n$10\r\n1790000000\r\n$4\r\n5000\r\n"
    with Fake(lambda c: c.sendall(clock + b"$2\r\n{}\r\n")) as owner:
        place = owner.url.partition("@")[2].removesuffix("/0").encode()
        with Fake(lambda c: c.sendall(clock + b"-MOVED 42 " + place + b"\r\n")) as first:
            assert probe(first.url) == ({}, 1_790_000_000_005)


def test_dribbling_and_silent_servers() -> None:
    """One deadline for everything: a byte now and then does not extend it."""
    with Fake(lambda connection: fake.dribble(connection)) as fake:
        assert "did not answer within 1 s" in fails(fake.url)
    with Fake(lambda connection: None) as silent:
        assert "did not answer within 1 s" in fails(silent.url)


def test_a_server_that_hangs_up() -> None:
    """A connection closed without a word may be a TLS port."""
    with Fake(lambda connection: connection.shutdown(2)) as fake:
        assert fails(fake.url)


def test_a_slow_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name lookup is within the deadline too."""
    released = threading.Event()
    monkeypatch.setattr("streamer.health.probe.socket.getaddrinfo", lambda *_, **__: released.wait(5) and [])
    try:
        assert "did not answer within 1 s" in fails("redis://:hush@slow.example")
    finally:
        released.set()


def test_tls_is_verified(tmp_path: Path) -> None:
    """rediss:// works with a CA we name, and never without trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def talk(connection: Any) -> None:
        # What a Redis answers to AUTH, TIME and GET of a key that is absent.
        with (
            contextlib.suppress(OSError),
            contextlib.closing(context.wrap_socket(connection, server_side=True)) as tls,
        ):
            tls.recv(65536)
            tls.sendall(b"+OK\r\n*2\r\n$10\r\n1790000000\r\n$4\r\n5000\r\n$-1\r\n")

    with Fake(talk) as fake:
        answer = probe(f"{fake.url.replace('redis:', 'rediss:')}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        assert answer == (None, 1_790_000_000_005)
    with Fake(talk) as fake:
        assert "not trusted" in fails(fake.url.replace("redis:", "rediss:"))


async def test_a_server_without_tls(server: EmbeddedRedis) -> None:
    """rediss:// to a Redis without TLS is told in time, with the likely cause."""
    assert "without TLS" in fails(server.url.replace("redis:", "rediss:"))


@pytest.mark.parametrize(
    ("facts", "code", "level"),
    [
        ({}, 0, "healthy"),
        ({"role": "stopping"}, 1, "degraded"),
        ({"feeds": []}, 2, "down"),
        ({"feeds": 7}, 3, "unknown"),
    ],
)
async def test_exit_codes(
    server: EmbeddedRedis, tmp_path: Path, facts: dict[str, Any], code: int, level: str
) -> None:
    """0 healthy, 1 degraded, 2 down, 3 cannot tell; as text and as JSON, found through the state file."""
    put_report(server.url, **facts)
    found = {"STREAMER_STATE_DIR": str(tmp_path / "state")}
    answer = await asyncio.to_thread(run, "--json", cwd=tmp_path, **found)
    assert answer.returncode == code, answer.stderr
    told = json.loads(answer.stdout)
    assert told["level"] == level
    assert set(told) == {"level", "reasons", "codes", "age_ms", "status"}
    text = await asyncio.to_thread(run, cwd=tmp_path, **found)
    assert text.returncode == code
    assert text.stdout.startswith(level if code < 3 else "cannot tell")
    assert "\x1b" not in text.stdout
    assert text.stderr == ""


async def test_words_from_outside_do_not_steer_the_terminal(server: EmbeddedRedis, tmp_path: Path) -> None:
    """An escape sequence in a failure is shown, not obeyed."""
    put_report(server.url, feeds=[feed(state="backoff", why="\x1b[2Jgone\nfeed fine live")])
    text = await asyncio.to_thread(run, "--redis-url", server.url, cwd=tmp_path)
    assert text.returncode == 2
    assert "?[2Jgone?feed" in text.stdout


def test_bad_arguments_and_no_redis_are_3(tmp_path: Path) -> None:
    """2 means down, so argparse's 2 must not come out."""
    assert run("--nonsense", cwd=tmp_path).returncode == 3
    assert run("--redis-url", cwd=tmp_path).returncode == 3
    assert run("--redis-url", "ftp://:hush@h", cwd=tmp_path).returncode == 3
    assert run("--redis-url", "redis://127.0.0.1:1", cwd=tmp_path).returncode == 3
    nowhere = run(cwd=tmp_path)
    assert nowhere.returncode == 3
    assert "set REDIS_URL, or run start-stream" in nowhere.stdout
    helped = run("--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert "exit codes" in helped.stdout


async def test_a_frozen_redis_is_told_in_time(server: EmbeddedRedis, tmp_path: Path) -> None:
    """SIGSTOP: exit 3 within 1.3 s, by URL and through the state file."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for environ in ({"REDIS_URL": server.url}, {"STREAMER_STATE_DIR": str(tmp_path / "state")}):
            began = time.monotonic()
            answer = await asyncio.to_thread(run, cwd=tmp_path, **environ)
            assert time.monotonic() - began < 1.3
            assert answer.returncode == 3
            assert "answer" in answer.stdout
    finally:
        os.kill(server.pid, signal.SIGCONT)
