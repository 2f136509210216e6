"""Fault scripts are read strictly, and faults are in force for as long as they say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from streamer.errors import ConfigError
from streamer.simulator.faults import (
    Effects,
    Fault,
    FaultBoard,
    FaultKind,
    Heal,
    Pause,
    Query,
    Tick,
    parse_command,
    parse_script,
)
from streamer.simulator.garbage import GarbageKind, garbage


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_has_defaults(kind: FaultKind) -> None:
    """A bare `{"fault": kind}` is a valid command."""
    fault = parse_command({"fault": str(kind)})
    assert isinstance(fault, Fault)
    assert fault.kind is kind
    assert fault.for_s is None
    assert fault.connection is None


def test_commands_mean_what_they_say() -> None:
    """Each command parses to its value."""
    assert parse_command({"query": "state"}) == Query()
    assert parse_command({"tick": "BTC-USD"}) == Tick("BTC-USD")
    assert parse_command({"tick": "BTC-USD", "price": "1.5"}) == Tick("BTC-USD", "1.5")
    assert parse_command({"pause": True}) == Pause(True)
    assert parse_command({"heal": True}) == Heal()
    close = parse_command({"fault": "close", "code": 1012, "connection": 3})
    assert close == Fault(FaultKind.CLOSE, None, 3, {"code": 1012})


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (7, "must be an object"),
        ({}, "exactly one of"),
        ({"fault": "close", "heal": True}, "exactly one of"),
        ({"fault": "explode"}, "must be one of"),
        ({"fault": ["close"]}, "must be one of"),
        ({"fault": "close", "code": 1006}, "must be one of"),
        ({"fault": "close", "code": 1000.0}, "must be one of"),
        ({"fault": "close", "for_s": 3}, "happens once"),
        ({"fault": "close", "cod": 1000}, "not an option"),
        ({"fault": "silence", "for_s": 0}, "above 0"),
        ({"fault": "silence", "for_s": True}, "above 0"),
        ({"fault": "silence", "for_s": "3"}, "above 0"),
        ({"fault": "silence", "products": []}, "list of product ids"),
        ({"fault": "silence", "products": "BTC-USD"}, "list of product ids"),
        ({"fault": "skip", "n": 0}, "whole number"),
        ({"fault": "reorder", "n": 1}, "whole number"),
        ({"fault": "garbage", "kind": "spam"}, "must be one of"),
        ({"fault": "refuse_upgrade", "status": 200}, "whole number"),
        ({"fault": "silence", "connection": 0}, "whole number"),
        ({"fault": "rest_status", "status": 200}, "whole number"),
        ({"fault": "rest_status", "body": "xml"}, "must be one of"),
        ({"fault": "rest_hang", "path": "accounts"}, "must be a path"),
        ({"fault": "rest_hang", "n": 0}, "whole number"),
        ({"fault": "rest_slow", "connection": 1}, "takes no connection"),
        ({"pause": 1}, "must be one of"),
        ({"heal": False}, "must be one of"),
        ({"query": "weather"}, "must be one of"),
        ({"tick": 1}, "text"),
        ({"tick": "BTC-USD", "price": 5}, "text"),
    ],
)
def test_bad_commands_are_refused(command: object, rule: str) -> None:
    """The error names the rule that is broken."""
    with pytest.raises(ConfigError, match=rule):
        parse_command(command)


def test_a_script_may_be_lines_or_a_list() -> None:
    """Both forms give the same commands, in the order of their times."""
    rows: list[dict[str, Any]] = [
        {"at_s": 9, "heal": True},
        {"at_s": 3, "fault": "silence", "for_s": 10},
        {"at_s": 3.5, "tick": "BTC-USD"},
    ]
    lines = "# a comment\n\n" + "\n".join(orjson.dumps(row).decode() for row in rows)
    script = parse_script(lines)
    assert script == parse_script(orjson.dumps(rows).decode())
    assert [entry.at_s for entry in script] == [3, 3.5, 9]
    assert script[0].command == Fault(FaultKind.SILENCE, 10, None, {"products": None})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"at_s": 1, "heal": true}\n{', "faults:2"),
        ('{"heal": true}', "faults:1: at_s"),
        ('[{"at_s": -1, "heal": true}]', r"faults\[0\]: at_s"),
        ("[7]", r"faults\[0\]"),
        ('{"at_s": 1, "fault": "spin"}', "faults:1"),
    ],
)
def test_a_bad_script_names_the_place(text: str, where: str) -> None:
    """The error says which line or item is wrong."""
    with pytest.raises(ConfigError, match=where):
        parse_script(text)


def fault(**command: Any) -> Fault:
    parsed = parse_command(command)
    assert isinstance(parsed, Fault)
    return parsed


def test_a_fault_lasts_as_long_as_it_says() -> None:
    """`for_s` ends it, without `for_s` only healing does."""
    board = FaultBoard()
    board.start(fault(fault="silence", for_s=10), 100)
    board.start(fault(fault="fragment"), 100)
    assert not board.expire(109.9)
    assert board.effects(1) == Effects(is_silent=True, is_fragmented=True)
    assert board.expire(110)
    assert board.effects(1) == Effects(is_fragmented=True)
    assert not board.expire(1e9)
    board.heal()
    assert board.effects(1) == Effects()


def test_a_fault_may_be_for_one_connection() -> None:
    """Others feel nothing."""
    board = FaultBoard()
    board.start(fault(fault="silence", connection=2), 0)
    board.start(fault(fault="refuse_upgrade", status=429, retry_after_s=7, connection=4), 0)
    assert board.effects(1) == Effects()
    assert board.effects(2).is_silent
    assert board.find(FaultKind.REFUSE_UPGRADE, 3) is None
    found = board.find(FaultKind.REFUSE_UPGRADE, 4)
    assert found is not None
    assert found.options == {"status": 429, "retry_after_s": 7}


def test_effects_add_up() -> None:
    """Muted products are joined, the slowest pace and the fastest flood win, a flood silences the rest."""
    board = FaultBoard()
    board.start(fault(fault="silence", products=["A-USD"]), 0)
    board.start(fault(fault="silence", products=["B-USD"]), 0)
    board.start(fault(fault="slow_frames", delay_s=0.5), 0)
    board.start(fault(fault="slow_frames"), 0)
    effects = board.effects(1)
    assert effects.muted == {"A-USD", "B-USD"}
    assert not effects.is_silent
    assert effects.byte_delay_s == 0.5
    board.start(fault(fault="ping_flood", per_s=7), 0)
    assert board.effects(1).is_silent
    assert board.effects(1).pings_per_s == 7


def test_garbage_uses_a_number_only_where_one_can_be_read() -> None:
    """Frames with a readable sequence number take the next one each; the others take none."""
    taken: list[int] = []

    def number() -> bytes:
        taken.append(len(taken))
        return b"%d" % taken[-1]

    read = []
    for payload in garbage("all", number, "BTC-USD"):
        try:
            frame = orjson.loads(payload)
        except orjson.JSONDecodeError:
            continue
        if isinstance(frame, dict) and type(frame.get("sequence_num")) is int and frame["sequence_num"] >= 0:
            read.append(frame["sequence_num"])
    assert set(read) <= set(taken)
    assert read == sorted(read)
    assert all(garbage(kind, number, "BTC-USD") for kind in GarbageKind)


def test_a_rest_fault_is_for_paths_and_for_so_many_requests() -> None:
    """`path` and `n` choose; what is spent is no longer shown, and healing ends it for those that wait."""
    board = FaultBoard()
    slow, status = fault(fault="rest_slow", path="/accounts", n=2), fault(fault="rest_status")
    board.start(slow, 0)
    board.start(status, 0)
    assert board.take(FaultKind.REST_SLOW, "/products") is None
    assert [board.take(FaultKind.REST_SLOW, "/accounts/1") for _ in range(3)] == [slow, slow, None]
    assert [board.take(FaultKind.REST_STATUS, "/time") for _ in range(3)] == [status] * 3
    assert board.active() == [status]
    assert board.is_in_force(slow)
    board.heal()
    assert not board.is_in_force(slow)
    assert board.take(FaultKind.REST_STATUS, "/time") is None


def test_a_path_may_be_written_in_full() -> None:
    """With the prefix or without, the same requests are meant."""
    for path in ("/accounts", "/api/v3/brokerage/accounts"):
        assert fault(fault="rest_hang", path=path).options["path"] == "/accounts"
