"""Which host gets what: neither key nor question goes where nobody has pointed to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from streamer import settings
from streamer.coinbase.rest import CoinbaseRest
from streamer.errors import ConfigError
from streamer.ingest.upstream import Upstream, upstream
from streamer.model import Source
from streamer.providers.base import OpenGate
from streamer.settings import REST_URL, WS_URL, WS_USER_URL
from streamer.simulator.keys import make_key_file

OWN, OWN_USER, OWN_REST = "ws://127.0.0.1:7800", "ws://127.0.0.1:7801", "https://127.0.0.1:7802"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the tester's own."""
    for name in [name for name in os.environ if name.startswith(("COINBASE", "STREAMER"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def of(tmp_path: Path, *, key: bool = True, **given: Any) -> Upstream:
    """The exchange that these settings name."""
    if key:
        make_key_file(tmp_path / "key.json")
        given["key_file"] = str(tmp_path / "key.json")
    return upstream(settings.load(**given), Source.COINBASE)


def hosts(there: Upstream) -> tuple[list[str], list[str], str | None]:
    """Market, user and REST hosts."""
    rest = there.rest
    assert rest is None or isinstance(rest, CoinbaseRest)
    base_url = None if rest is None else rest._base_url
    return [e.url for e in there.market], [e.url for e in there.user], base_url


@pytest.mark.parametrize(
    ("given", "market", "user", "rest"),
    [
        ({}, [WS_URL], [WS_USER_URL, WS_URL], REST_URL),
        ({"ws_url": OWN}, [OWN], [], None),
        ({"ws_url": OWN, "rest_url": OWN_REST}, [OWN], [OWN], OWN_REST),
        ({"ws_url": OWN, "ws_user_url": OWN_USER}, [OWN], [], None),
        ({"ws_url": OWN, "ws_user_url": OWN_USER, "rest_url": OWN_REST}, [OWN], [OWN_USER, OWN], OWN_REST),
        ({"ws_user_url": OWN_USER}, [WS_URL], [OWN_USER], REST_URL),
        ({"rest_url": OWN_REST}, [WS_URL], [WS_USER_URL, WS_URL], OWN_REST),
    ],
    ids=["Coinbase", "own", "own with REST", "own with user", "own whole", "own user alone", "own REST alone"],
)
def test_who_is_asked_for_what(
    tmp_path: Path, given: dict[str, Any], market: list[str], user: list[str], rest: str | None
) -> None:
    """A market URL of one's own is another exchange as a whole; where nothing is named, it is Coinbase."""
    there = of(tmp_path, **given)
    assert hosts(there) == (market, user, rest)
    if "ws_url" in given:
        everything = [*market, *user, rest or ""]
        assert not any("coinbase.com" in url for url in everything)
    assert bool(there.notes) == (rest is None)


@pytest.mark.parametrize("given", [{}, {"ws_url": OWN}, {"ws_url": OWN, "rest_url": OWN_REST}])
def test_without_a_key_there_is_no_user_channel(tmp_path: Path, given: dict[str, str]) -> None:
    """Public data only, and a note that says what to set."""
    there = of(tmp_path, key=False, **given)
    assert (there.user, there.signer) == ([], None)
    assert any("COINBASE_KEY_FILE" in note for note in there.notes)


def test_a_key_is_not_looked_at_where_nobody_wants_balances(tmp_path: Path) -> None:
    """Not even a bad one: prices need none."""
    there = upstream(settings.load(channels="ticker,candles", key_file="/nowhere.json"), Source.COINBASE)
    assert (there.user, there.signer, there.notes) == ([], None, [])
    with pytest.raises(ConfigError, match="nowhere"):
        upstream(settings.load(channels="ticker,user", key_file="/nowhere.json"), Source.COINBASE)


def test_wss_is_verified_and_ws_is_not(tmp_path: Path) -> None:
    """Each endpoint has the trust that its URL needs."""
    there = of(tmp_path, ws_user_url=OWN_USER)
    assert [e.tls is not None for e in (*there.market, *there.user)] == [True, False]
    assert all(e.tls is None or e.tls.check_hostname for e in there.market)


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """Where it is allowed at all."""
    make_key_file(tmp_path / "open.json")
    (tmp_path / "open.json").chmod(0o644)
    given = {"key_file": str(tmp_path / "open.json")}
    with pytest.raises(ConfigError, match="chmod 600"):
        of(tmp_path, key=False, **given)
    assert "chmod 600" in of(tmp_path, key=False, allow_open_key_file=True, **given).warning
    assert of(tmp_path).warning == ""


def test_one_clock_for_all(tmp_path: Path) -> None:
    """What one learns of the exchange's time, all know."""
    there = of(tmp_path)
    assert isinstance(there.rest, CoinbaseRest)
    assert there.rest._clock is there.clock
    assert there.rest._signer is there.signer


def test_a_host_that_is_named_counts_as_named(tmp_path: Path) -> None:
    """Also where it is the default: `--rest-url` of Coinbase beside a market URL of one's own is a choice."""
    there = of(tmp_path, ws_url=OWN, rest_url=REST_URL, ws_user_url=WS_USER_URL)
    assert hosts(there) == ([OWN], [WS_USER_URL, OWN], REST_URL)


def test_balances_need_rest(tmp_path: Path) -> None:
    """Where it cannot be asked, a note says that there are none: half a truth is not streamed."""
    notes = of(tmp_path, ws_url=OWN).notes
    assert any("no REST" in note for note in notes)
    assert any("no balances" in note for note in notes)


def test_nothing_to_stream_is_told_at_the_start(tmp_path: Path) -> None:
    """The user channel alone, without a key: a process that runs on for nothing would look well."""
    with pytest.raises(ConfigError, match="COINBASE_KEY_FILE"):
        of(tmp_path, key=False, channels="user")


def test_the_gate_is_handed_on(tmp_path: Path) -> None:
    """All that is asked of REST passes it; without one nothing is held up."""
    gate = OpenGate()
    there = upstream(settings.load(channels="ticker"), Source.COINBASE, gate)
    assert isinstance(there.rest, CoinbaseRest)
    assert there.rest._gate is gate
    assert not there.rest.has_key
    private = of(tmp_path).rest
    assert isinstance(private, CoinbaseRest)
    assert private.has_key
