"""`streamer doctor`: finds fault with everything, and falls over nothing."""

from __future__ import annotations

import http.client
from typing import Any

import orjson
import pytest

from streamer import settings
from streamer.cli import doctor
from streamer.cli.doctor import Finding


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


def test_findings_are_printed_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """What a server says is no markup, steers no terminal and can be encoded."""
    finding = Finding("problem", "exchange", "it says [/nonsense] \x1b[2J\udcff", "ask [red]it[/]")
    doctor._print([finding])
    assert capsys.readouterr().out == (f"problem exchange    it says [/nonsense] ?[2J?\n{'':<20}→ ask [red]it[/]\n")
    orjson.dumps(finding.text)
