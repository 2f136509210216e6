"""Where we may connect, with what, and what a refusal means; connections are tested against the simulator."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import orjson
import pytest

from streamer.coinbase.transport import check_ws_url, choose, connect_websockets, explain, refused, tls_context
from streamer.errors import ConfigError, ConnectRefused

GOOD = [
    "wss://advanced-trade-ws.coinbase.com",
    "wss://example.com:8443/path?x=1",
    "wss://10.0.0.1",
    "wss://[2001:db8::1]:443",
    "ws://localhost",
    "ws://LOCALHOST:8080",
    "ws://localhost:8080/ws",
    "ws://127.0.0.1:1",
    "ws://127.9.8.7",
    "ws://[::1]",
    "ws://[::1]:65535/",
    f"wss://{'a' * 63}.example.com",
    "wss://xn--bcher-kva.example",
]
BAD = [
    ("", "expected wss://"),
    ("example.com", "expected wss://"),
    ("wss://", "expected wss://"),
    ("wss:///path", "expected wss://"),
    ("wss://:8443", "expected wss://"),
    ("http://example.com", "expected wss://"),
    ("https://localhost", "expected wss://"),
    ("redis://localhost", "expected wss://"),
    ("ws://example.com", "loopback only"),
    ("ws://10.0.0.1", "loopback only"),
    ("ws://0.0.0.0", "loopback only"),
    ("ws://128.0.0.1", "loopback only"),
    ("ws://127.0.0.1.example.com", "loopback only"),
    ("ws://localhost.example.com", "loopback only"),
    ("ws://[fe80::1]", "loopback only"),
    ("ws://[2001:db8::1]:80", "loopback only"),
    ("wss://example.com:65536", "not a URL"),
    ("wss://example.com:-1", "not a URL"),
    ("wss://example.com:http", "not a URL"),
    ("wss://[::1", "not a URL"),
    ("wss://[::g]", "not a URL"),
    ("wss://user@example.com", "leave it out"),
    ("wss://user:hush@example.com", "leave it out"),
    ("wss://:hush@example.com", "leave it out"),
    ("ws://user:hush@localhost", "leave it out"),
    ("ws://user:hush@example.com", "leave it out"),
    ("wss://bad host", "no blanks"),
    (" wss://example.com", "no blanks"),
    ("wss://example.com/a b", "no blanks"),
    ("wss://exam\nple.com", "control characters"),
    ("wss://example.com/\x1b[2J", "control characters"),
    ("wss://example.com/\udcff", "control characters"),
    ("wss://h/#x", "fragment"),
    ("wss://h#", "fragment"),
    ("wss://a..b", "1 to 63 between the dots"),
    ("wss://.a", "1 to 63 between the dots"),
    ("wss://a.", "1 to 63 between the dots"),
    (f"wss://{'a' * 64}.example.com", "1 to 63 between the dots"),
    (f"wss://{'a.' * 126}ab", "1 to 63 between the dots"),
    ("wss://under_score.example.com", "letters, digits"),
    ("wss://b\u00fccher.example", "letters, digits"),
    ("wss://a%20b", "letters, digits"),
    ("wss://a\\b", "letters, digits"),
    ("wss://a,b", "letters, digits"),
]


@pytest.mark.parametrize("url", GOOD)
def test_wss_anywhere_and_ws_on_loopback(url: str) -> None:
    """A good URL is returned as it was given."""
    assert check_ws_url("STREAMER_WS_URL", url) == url


@pytest.mark.parametrize(("url", "rule"), BAD)
def test_bad_url_names_setting_and_rule(url: str, rule: str) -> None:
    """Every other URL is refused at start, in words a person can act on."""
    with pytest.raises(ConfigError) as caught:
        check_ws_url("STREAMER_WS_URL", url)
    assert caught.value.name == "STREAMER_WS_URL"
    assert rule in caught.value.rule


@pytest.mark.parametrize("url", ["wss://user:hush@example.com", "ws://user:hush@localhost:1", "wss://:hush@h"])
def test_password_in_a_url_is_not_shown(url: str) -> None:
    """The complaint about a password does not repeat it."""
    with pytest.raises(ConfigError) as caught:
        check_ws_url("STREAMER_WS_URL", url)
    assert "hush" not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize("name", ["", "WEBSOCKETS", "aiohttp", "picows "])
def test_unknown_transport_is_refused(name: str) -> None:
    """A name nobody knows is an error at start, naming the choices."""
    with pytest.raises(ConfigError, match="expected auto, websockets or picows") as caught:
        choose(name)
    assert (caught.value.name, caught.value.value) == ("STREAMER_TRANSPORT", name)


def test_websockets_is_chosen_by_name() -> None:
    """The default library is always there."""
    assert choose("websockets") is connect_websockets


def test_auto_falls_back_where_picows_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, `auto` means websockets."""
    monkeypatch.setattr("streamer.coinbase.transport.find_spec", lambda name: None)
    assert choose("auto") is connect_websockets


def test_missing_picows_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name but not installed: an error with the remedy."""
    monkeypatch.setitem(sys.modules, "streamer.coinbase.transport_picows", None)
    with pytest.raises(ConfigError, match=r"pip install 'coinbase-streamer\[fast\]'"):
        choose("picows")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("5", 5.0), ("0.5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None), ("soon", None)],
)
def test_refusal_carries_status_and_retry_after(header: str | None, seconds: float | None) -> None:
    """The facts of an HTTP answer are attributes; a date in Retry-After is left to our own delay."""
    error = refused("wss://example.com", 429, header)
    assert isinstance(error, ConnectRefused)
    assert (error.url, error.status, error.retry_after_s) == ("wss://example.com", 429, seconds)
    assert str(error) == "wss://example.com refused the connection with HTTP 429"


@pytest.mark.parametrize(
    "url",
    ["wss://u:hush@h:99999", "wss://u:hush@h:x", "http://u:hush@h", "wss://u:hush@", "https://u:hush@h"],
)
def test_password_in_a_broken_url_is_not_shown(url: str) -> None:
    """Whatever else is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        check_ws_url("N", url)
    assert "hush" not in str(caught.value)


def test_upper_case_scheme_gets_tls() -> None:
    """Schemes know no case; without a context TLS would fail late, or not be ours."""
    assert tls_context(check_ws_url("N", "WSS://example.com")) is not None


def test_an_own_certificate_is_trusted_beside_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMER_CA_FILE adds to what is trusted: with it, the exchange itself can still be reached."""
    given: list[object] = []

    def system(*args: object, **options: object) -> Context:
        given.append((args, options))
        return Context()

    class Context:
        def load_verify_locations(self, cafile: str) -> None:
            given.append(cafile)

    monkeypatch.setattr(ssl, "create_default_context", system)
    tls_context("wss://example.com", "/etc/ca.pem")
    assert given == [((), {}), "/etc/ca.pem"]


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    """Missing or not PEM: an error at start, with the variable and the file."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (str(empty), str(tmp_path / "missing.pem")):
        with pytest.raises(ConfigError, match="not a readable PEM file") as caught:
            tls_context("wss://example.com", path)
        assert (caught.value.name, caught.value.value) == ("STREAMER_CA_FILE", path)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain words", "plain words"),
        ("", "ValueError"),
        ("bad header b\u00fc", "bad header b\u00fc"),
        ("bad header \udcff\udc80", "bad header \\udcff\\udc80"),
        ("a\r\nb\x1b[31m\x00\x9b", "a??b?[31m??"),
        ("x" * 1000, "x" * 300),
        ("\udcff" * 1000, "\\udcff" * 50),
    ],
)
def test_a_reason_can_always_be_shown_and_stored(said: str, shown: str) -> None:
    """Whatever bytes a peer put into its answer: one line of text that every encoder takes, and not endless."""
    assert explain(ValueError(said)) == shown
    assert orjson.loads(orjson.dumps(shown)) == shown
