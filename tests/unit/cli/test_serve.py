"""`streamer serve`: what it refuses before anything is served."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support import run

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
