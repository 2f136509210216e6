"""`streamer serve`: what it refuses before anything is served."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.support import BIN, run

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("command", [("streamer", "serve"), ("start-stream",)])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_without_a_token_is_refused(tmp_path: Path, command: tuple[str, ...], host: str) -> None:
    """Exit code 2, one line, and the name of what is missing."""
    done = run(command[0], *command[1:], "--host", host, "--redis-url", "redis://127.0.0.1:9", folder=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "STREAMER_API_TOKEN" in done.stderr


def test_a_short_token_is_refused_and_not_shown(tmp_path: Path) -> None:
    """One that can be guessed is none."""
    env = {"STREAMER_API_TOKEN": "hush"}
    done = run("streamer", "serve", "--redis-url", "redis://127.0.0.1:9", folder=tmp_path, env=env)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "16 to 256" in done.stderr
    assert "hush" not in done.stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """And what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("streamer", "serve", "--port", port, "--redis-url", "redis://127.0.0.1:9", folder=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--port" in done.stderr


@pytest.mark.parametrize("number", ["99", "0", "-1", str(1 << 70)])
def test_a_number_that_is_no_socket_is_refused(tmp_path: Path, number: str) -> None:
    """Closed, of another kind, or of nothing at all: one line that names it."""
    done = run("streamer", "serve", f"--fd={number}", "--redis-url", "redis://127.0.0.1:9", folder=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"--fd: {number} is not valid: " in done.stderr and "socket that listens" in done.stderr


def test_what_is_no_number_is_no_socket(tmp_path: Path) -> None:
    """As any argument of the wrong type."""
    done = run("streamer", "serve", "--fd", "many", "--redis-url", "redis://127.0.0.1:9", folder=tmp_path)
    assert done.returncode == 2
    assert "argument --fd: invalid int value: 'many'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["datagrams", "connected", "unbound", "without a pipe"])
def test_a_socket_that_cannot_be_served_is_refused(tmp_path: Path, kind: str) -> None:
    """One that nobody can connect to, or that comes without a pipe whose end would end it."""
    near, far = socket.socketpair()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening, unbound = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with near, far, udp, unbound, listening:
        given = {"datagrams": udp, "connected": near, "unbound": unbound, "without a pipe": listening}[kind]
        command = [
            str(BIN / "streamer"),
            "serve",
            "--fd",
            str(given.fileno()),
            "--redis-url",
            "redis://127.0.0.1:9",
        ]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            pass_fds=[given.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--fd" in done.stderr
