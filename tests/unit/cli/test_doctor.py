"""`streamer doctor`: finds fault with everything, and falls over nothing."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamer import settings
from streamer.cli import doctor
from streamer.cli.doctor import Finding
from streamer.simulator.keys import make_key_file


@pytest.mark.parametrize(
    "answer", [http.client.BadStatusLine("SSH-2.0"), b'{"epochMillis": 1e999}', b"[]", b"\xff"]
)
async def test_a_strange_clock_is_a_finding(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """What answers may be no exchange, and no HTTP server either."""

    def get(url: str, ca_file: str | None) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer)

    monkeypatch.setattr(doctor, "_get", get)
    findings = await doctor._rest_clock(settings.load())
    assert [finding.level for finding in findings] == ["problem"]


@pytest.mark.parametrize(
    ("given", "level", "text", "todo"),
    [
        ({}, "note", "none set", "set COINBASE_KEY_FILE"),
        ({"api_key": "key-1"}, "problem", "COINBASE_API_SECRET (not set)", "set both, or neither"),
        ({"api_key": "key-1", "api_secret": "hush-hush"}, "problem", "COINBASE_API_SECRET (hidden)", "paste all"),
        ({"key_file": "/none.json"}, "problem", "COINBASE_KEY_FILE /none.json: cannot be read", "check the path"),
    ],
)
async def test_a_bad_key_is_a_finding(given: dict[str, str], level: str, text: str, todo: str) -> None:
    """With what to do about it, and nothing of the key."""
    (finding,) = await doctor._key(settings.load(**{"api_key": "", "api_secret": "", "key_file": ""} | given))
    assert finding.level == level
    assert text in finding.text
    assert todo in finding.todo
    assert "hush" not in repr(finding)


async def test_a_good_key_in_an_open_file_is_two_findings(tmp_path: Path) -> None:
    """It works, and the command that mends it is told."""
    path = tmp_path / "key.json"
    name = make_key_file(path)
    path.chmod(0o644)
    (refused,) = await doctor._key(settings.load(key_file=str(path)))
    assert (refused.level, refused.todo) == ("problem", f"chmod 600 {path}")
    good, warned = await doctor._key(settings.load(key_file=str(path), allow_open_key_file=True))
    assert (good.level, good.text) == ("ok", f"{name} (ES256), from COINBASE_KEY_FILE {path}")
    assert (warned.level, warned.todo) == ("note", f"chmod 600 {path}")


def test_findings_are_printed_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """What a server says is no markup, steers no terminal and can be encoded."""
    finding = Finding("problem", "exchange", "it says [/nonsense] \x1b[2J\udcff", "ask [red]it[/]")
    doctor._print([finding])
    assert capsys.readouterr().out == (f"problem exchange    it says [/nonsense] ?[2J?\n{'':<20}→ ask [red]it[/]\n")
    orjson.dumps(finding.text)
