"""The image's command line, as the image's user and with its environment, against a Redis with users."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.integration.deploy.rig import (
    COMPOSE,
    PROBES,
    TOKEN,
    UsersRedis,
    as_in_container,
    can_become_nobody,
    image_command,
)
from tests.support import Process, free_port, wait_until
from tests.unit.deploy.rig import image_user

pytestmark = pytest.mark.skipif(not can_become_nobody(), reason="this root may not become the image's user")
KUBELET = {"User-Agent": "kube-probe/1.33", "Accept": "*/*", "Connection": "close"}


@pytest.mark.parametrize("home", [{"HOME": "/"}, {}], ids=["home-of-root", "no-home"])
def test_it_streams_is_probed_and_ends(tmp_path: Path, home: dict[str, str]) -> None:
    """It becomes healthy and ready without a file of its own, answers every probe, and ends by SIGTERM with 0."""
    cwd, scratch = tmp_path / "root", tmp_path / "tmp"  # a read-only root, and the tmpfs
    for folder, mode in ((cwd, 0o555), (scratch, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    port = free_port()
    with UsersRedis(tmp_path) as redis:
        environment = {
            "REDIS_URL": redis.url_of("streamer"),
            "STREAMER_API_HOST": COMPOSE["environment"]["STREAMER_API_HOST"],
            "STREAMER_API_HOSTS": COMPOSE["environment"]["STREAMER_API_HOSTS"],
            "STREAMER_API_TOKEN": TOKEN,
            "STREAMER_API_PORT": str(port),
            "STREAMER_EXCHANGE": "simulator",
            "TMPDIR": str(scratch),
            **home,
        }
        command = as_in_container(image_command("ENTRYPOINT"), environment, cwd)
        with Process(command, tmp_path, name="image") as stream:
            check = as_in_container(image_command("HEALTHCHECK"), environment, cwd)
            wait_until(partial(_succeeds, check), 30, why="the health check does not pass")
            for path in sorted(PROBES):
                assert _status(port, path, f"10.244.1.7:{port}") == 200
            assert _status(port, "/metrics", f"streamer:{port}") == 200
            assert _status(port, "/livez", "streamer.example:8700") == 421
            assert _status(port, "/api/v1/market/accounts", f"127.0.0.1:{port}") == 401
            if os.geteuid() == 0:
                assert Path(f"/proc/{stream.pid}").stat().st_uid == image_user()[0]
            every_kind = ("portfolio_realtime", "products:all", "candles_realtime:BTC-USD")
            wait_until(lambda: redis.ask("EXISTS", *every_kind) == len(every_kind), 20)
            stream.signal(signal.SIGTERM)
            assert stream.wait(5) == 0
            assert "Traceback" not in stream.log
        assert redis.refused("streamer") == []
        assert [*cwd.iterdir(), *scratch.iterdir()] == []


def test_it_is_not_reached_from_elsewhere_without_a_token(tmp_path: Path) -> None:
    """Bound beyond loopback without a token it does not start, and says why."""
    environment = {
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "STREAMER_API_HOST": COMPOSE["environment"]["STREAMER_API_HOST"],
        "STREAMER_API_PORT": str(free_port()),
    }
    command = as_in_container(image_command("ENTRYPOINT"), environment, tmp_path)
    with Process(command, tmp_path, name="image") as stream:
        assert stream.wait(20) == 2
    assert "STREAMER_API_TOKEN" in stream.log


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def _status(port: int, path: str, host: str) -> int:
    url = f"http://127.0.0.1:{port}{path}"
    return httpx.get(url, headers={**KUBELET, "Host": host}, trust_env=False, timeout=10).status_code
