"""The rules of access that need no socket."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamer.errors import ConfigError
from streamer.settings import Settings, load
from streamer.web import access
from streamer.web.access import Meter
from streamer.web.address import bound, check_access, is_loopback, url_of
from streamer.web.problems import without_address
from tests.support import free_port

TOKEN = "a-token-of-some-length"


def settings(**given: object) -> Settings:
    """Settings of a test."""
    return load(**given)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_token(host: str) -> None:
    """Whoever is on this machine may ask."""
    assert is_loopback(host)
    check_access(settings(api_host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "box", "localhost.evil", "", "127.1", "2130706433"]
)
def test_all_else_needs_a_token(host: str) -> None:
    """Also names, which may come to mean another address."""
    with pytest.raises(ConfigError, match="STREAMER_API_TOKEN"):
        check_access(settings(api_host=host))
    check_access(settings(api_host=host, api_token=TOKEN))


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a..b", "x" * 300, "1.2.3.4.5"])
def test_an_address_that_cannot_be_bound_is_one_line(host: str) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(ConfigError, match="cannot be bound"):
        bound(settings(api_host=host, api_token=TOKEN))


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:8700/"), ("::1", "http://[::1]:8700/")])
def test_the_url_can_be_opened(host: str, url: str) -> None:
    """Addresses with colons stand in brackets."""
    assert url_of(settings(api_host=host)) == url


def test_two_cannot_have_one_port() -> None:
    """Begun together, the second finds out at once and not when it is to serve."""
    port = free_port()
    with bound(settings(api_port=port)), pytest.raises(ConfigError, match="cannot be bound"):
        bound(settings(api_port=port))


def test_with_closed_streams_the_socket_takes_the_place_of_none() -> None:
    """A child would have a pipe in that place."""
    code = (
        "import os; [os.close(n) for n in (0, 1)]\n"
        "from streamer.settings import load; from streamer.web.address import bound\n"
        f"import sys; sys.exit(bound(load(api_port={free_port()})).fileno())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode > 2


def test_a_meter_gives_so_many_at_once_and_as_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says after how long there is one again; each address has its own."""
    now = [100.0]
    monkeypatch.setattr("streamer.web.access.time.monotonic", lambda: now[0])
    meter = Meter(2)
    assert [meter.take("a"), meter.take("a")] == [0, 0]
    assert meter.take("a") == 0.5
    assert meter.take("b") == 0
    now[0] += 0.5
    assert meter.take("a") == 0
    now[0] += 1e6
    assert [meter.take("a") for _ in range(3)] == [0, 0, 0.5]


def test_a_meter_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses ask, its memory is bounded."""
    monkeypatch.setattr(access, "_MOST_REMOTES", 3)
    meter = Meter(1)
    for remote in "abcd":
        meter.take(remote)
    assert meter.take("b") > 0
    assert meter.take("a") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Redis at redis://u:***@10.0.0.7:6379/0 is unavailable: no answer", "Redis is unavailable: no answer"),
        ("Error 111 connecting to 10.0.0.7:6379. Failed ('10.0.0.7', 6379).", "Error 111 connecting Failed."),
        ("nothing of it", "nothing of it"),
    ],
)
def test_addresses_are_not_told(text: str, told: str) -> None:
    """That Redis is away is for clients to know, where it is not."""
    assert without_address(text) == told
