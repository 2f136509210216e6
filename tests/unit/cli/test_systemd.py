"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.cli.systemd import Systemd
from streamer.coinbase.feed import FeedFacts, FeedState
from streamer.coinbase.session import Products
from streamer.ingest.supervisor import Vitals
from streamer.model import Source


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(2)
        yield sock


def systemd(manager: socket.socket, **more: str) -> Systemd:
    """As run by a unit of Type=notify."""
    return Systemd({"NOTIFY_SOCKET": manager.getsockname()} | more)


def heard(manager: socket.socket) -> list[str]:
    """Return the next message, line by line."""
    return manager.recv(4096).decode().splitlines()


def vitals(*states: FeedState, role: str = "owner") -> Vitals:
    """An ingester with feeds in these states."""
    feeds = tuple(
        FeedFacts(
            id=f"m-{n}", channel="ticker", state=state, source=Source.SIMULATOR, connection=1, wanted=2, sequence=1,
            gaps=0, reconnects=0, why=None, proof_at=None, products=Products([], [], [], []),
        )
        for n, state in enumerate(states)
    )  # fmt: skip
    return Vitals(role, feeds, 2, 0, 0, 0.0, None)


def test_ready_is_said_once_when_prices_flow(manager: socket.socket) -> None:
    """A start that waits for the exchange is not ready, and says how it stands meanwhile."""
    told = systemd(manager)
    for state in (FeedState.CONNECTING, FeedState.LIVE, FeedState.LIVE):
        told.tell(vitals(state), 0.1)
    assert heard(manager) == ["STATUS=owner: 0 of 1 feeds live, 2 products wanted"]
    assert heard(manager) == ["STATUS=owner: 1 of 1 feeds live, 2 products wanted", "READY=1"]
    assert heard(manager) == ["STATUS=owner: 1 of 1 feeds live, 2 products wanted"]


def test_a_standby_is_ready(manager: socket.socket) -> None:
    """It could take over."""
    systemd(manager).tell(vitals(role="standby"), 0.1)
    assert "READY=1" in heard(manager)


@pytest.mark.parametrize(
    ("more", "beat_age_s", "is_fed"),
    [
        ({}, 0.1, False),
        ({"WATCHDOG_USEC": "30000000"}, 0.1, True),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 0.1, True),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.1, False),
        ({"WATCHDOG_USEC": "30000000"}, 60.0, False),
    ],
)
def test_the_watchdog_is_fed_while_the_supervisor_looks_around(
    manager: socket.socket, more: dict[str, str], beat_age_s: float, is_fed: bool
) -> None:
    """An event loop that turns around a stuck supervisor is no sign of life."""
    systemd(manager, **more).tell(vitals(FeedState.LIVE), beat_age_s)
    assert ("WATCHDOG=1" in heard(manager)) == is_fed


def test_the_end_is_announced(manager: socket.socket) -> None:
    """So that a slow goodbye is not taken for a crash."""
    systemd(manager).stopping()
    assert heard(manager) == ["STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens"])
def test_nobody_who_listens_is_no_harm(address: str) -> None:
    """Outside systemd nothing is said, and nothing raised."""
    told = Systemd({"NOTIFY_SOCKET": address})
    told.tell(vitals(FeedState.LIVE), 0.1)
    told.stopping()


def test_an_abstract_address_is_understood() -> None:
    """systemd may name a socket outside the file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"streamer-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(2)
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert heard(sock) == ["STOPPING=1"]
