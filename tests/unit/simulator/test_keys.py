"""Key files in every form, and the exchange's check of the tokens made with them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from coinbase import jwt_generator

from streamer.errors import ConfigError
from streamer.simulator.admin import Expire, Permit, Restore, Revoke, SetClock, SetStatus
from streamer.simulator.catalogue import Catalogue
from streamer.simulator.clock import Clock
from streamer.simulator.faults import parse_command
from streamer.simulator.keys import JwtChecker, load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.staff import Staff

NOW_S = 1_795_187_045
URI = "GET 127.0.0.1:1234/api/v3/brokerage/accounts"


def token(file: Path, **changes: Any) -> str:
    """A token of a key with claims changed; None leaves one out."""
    content = json.loads(file.read_bytes())
    claims = {"sub": content["name"], "iss": "cdp", "nbf": NOW_S, "exp": NOW_S + 120, **changes}
    claims = {k: v for k, v in claims.items() if v is not None}
    return jwt.encode(claims, content["privateKey"], algorithm="ES256", headers={"kid": content["name"]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key file."""
    make_key_file(tmp_path / "key.json")
    return tmp_path / "key.json"


@pytest.mark.parametrize(("kind", "seed_only"), [("ES256", False), ("EdDSA", False), ("EdDSA", True)])
@pytest.mark.parametrize("by_id", [False, True])
def test_every_form_of_key_file_logs_in(tmp_path: Path, kind: Any, seed_only: bool, by_id: bool) -> None:
    """Name or id, PEM, 64 or 32 bytes: the SDK's token of it is good for what it was made for."""
    path = tmp_path / "key.json"
    name = make_key_file(path, kind, by_id=by_id, seed_only=seed_only)
    content = json.loads(path.read_bytes())
    assert content["id" if by_id else "name"] == name
    if kind == "EdDSA":
        assert len(base64.b64decode(content["privateKey"])) == (32 if seed_only else 64)
    checker = JwtChecker(dict([load_public_key(path)]))
    for_rest = jwt_generator.build_rest_jwt(URI, name, content["privateKey"])
    now_s = jwt.decode(for_rest, options={"verify_signature": False})["nbf"]
    assert checker.key_name(for_rest, now_s, URI) == name
    assert checker.key_name(jwt_generator.build_ws_jwt(name, content["privateKey"]), now_s + 1) == name


def test_a_token_is_for_one_request(file: Path) -> None:
    """Another method, host or path, a query, or a token for the other surface is refused."""
    checker = JwtChecker(dict([load_public_key(file)]))
    good = token(file, uri=URI)
    assert checker.key_name(good, NOW_S, URI) is not None
    for other in (
        URI.replace("GET", "POST"),
        URI.replace("1234", "1235"),
        URI.replace("127.0.0.1:1234", "api.coinbase.com"),
        URI + "?limit=1",
        URI + "/1",
        None,
    ):
        assert checker.key_name(good, NOW_S, other) is None
    assert checker.key_name(token(file), NOW_S, URI) is None
    assert checker.key_name(token(file), NOW_S) is not None


@pytest.mark.parametrize("age_s", [-1, 120, 500])
def test_a_token_is_good_for_its_time_only(file: Path, age_s: int) -> None:
    """Not a second early, not at its end or after."""
    checker = JwtChecker(dict([load_public_key(file)]))
    assert checker.key_name(token(file, uri=URI), NOW_S + 119, URI) is not None
    assert checker.key_name(token(file, uri=URI), NOW_S + age_s, URI) is None


def test_keys_are_revoked_restored_and_expire(file: Path) -> None:
    """The staff's commands decide about the next token; restoring takes both back."""
    clock = Clock(lambda: NOW_S * 10**9)
    checker = JwtChecker(dict([load_public_key(file)]))
    staff = Staff(checker, clock, Catalogue(RandomWalkMarket(["BTC-USD"])))
    name = checker.key(None).name

    def is_good(at_s: int = NOW_S) -> bool:
        return checker.key_name(token(file), at_s) == name

    assert staff.carry_out(Revoke(None)) is None
    assert not is_good()
    assert staff.carry_out(Revoke(name, close=True)) == name
    staff.carry_out(Restore(name))
    assert is_good()
    staff.carry_out(Expire(None, 10))
    assert is_good(NOW_S + 9) and not is_good(NOW_S + 10)
    staff.carry_out(Restore(None))
    assert is_good(NOW_S + 10)
    assert checker.may(name, "view") and checker.may(name, "trade") and not checker.may(name, "transfer")
    staff.carry_out(Permit(None, {"view": False, "transfer": True}))
    assert not checker.may(name, "view") and checker.may(name, "trade") and checker.may(name, "transfer")
    with pytest.raises(ConfigError, match="not a key"):
        staff.carry_out(Revoke("nobody"))


def test_a_key_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    """`true` means the only one."""
    for number in range(2):
        make_key_file(tmp_path / f"{number}.json")
    checker = JwtChecker(dict(load_public_key(tmp_path / f"{number}.json") for number in range(2)))
    with pytest.raises(ConfigError, match="must be named"):
        checker.key(None)


def test_the_clock_can_be_set_wrong() -> None:
    """The exchange's time runs ahead or behind; the true time stays."""
    clock = Clock(lambda: NOW_S * 10**9)
    assert (clock.now_s(), clock.offset_s) == (NOW_S, 0)
    clock.set_offset(-2.5)
    assert (clock.now_s(), clock.offset_s, clock.true_ns()) == (NOW_S - 2.5, -2.5, NOW_S * 10**9)


@pytest.mark.parametrize(
    ("command", "meaning"),
    [
        ({"revoke": True}, Revoke(None)),
        ({"revoke": "k", "close": True}, Revoke("k", close=True)),
        ({"restore": "k"}, Restore("k")),
        ({"permit": True, "view": False}, Permit(None, {"view": False})),
        ({"expires": "k", "in_s": 0}, Expire("k", 0)),
        ({"clock_offset_s": -1.5}, SetClock(-1.5)),
        ({"product": "BTC-USD", "status": "offline"}, SetStatus("BTC-USD", "offline")),
        ({"product": "X", "status": "online", "message": "m"}, SetStatus("X", "online", "m")),
    ],
)
def test_commands_of_the_staff(command: dict[str, Any], meaning: object) -> None:
    """Each command parses to its value."""
    assert parse_command(command) == meaning


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ({"revoke": False}, "name of a key"),
        ({"revoke": ""}, "name of a key"),
        ({"revoke": "k", "close": 1}, "must be one of"),
        ({"restore": "k", "close": True}, "not an option"),
        ({"permit": "k"}, "at least one of view"),
        ({"permit": "k", "view": "yes"}, "must be one of"),
        ({"expires": "k"}, "number"),
        ({"expires": "k", "in_s": -1}, "number"),
        ({"clock_offset_s": "1"}, "number"),
        ({"product": "BTC-USD", "status": 7}, "text"),
    ],
)
def test_bad_commands_of_the_staff_are_refused(command: dict[str, Any], rule: str) -> None:
    """The error names the rule that is broken."""
    with pytest.raises(ConfigError, match=rule):
        parse_command(command)
