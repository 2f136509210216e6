"""`streamer wanted list`: shows what Redis holds, whoever wrote it."""

from __future__ import annotations

import json
from typing import cast

import pytest

from streamer.cli.wanted import _list
from streamer.model import ProductId
from streamer.store.wanted import Want, WantedSet

BTC = ProductId("BTC-USD")


class Held:
    """A wanted set with one entry."""

    def __init__(self, want: Want) -> None:
        self._want = want

    async def all(self) -> dict[ProductId, Want]:
        """Return it."""
        return {BTC: self._want}


async def listed(want: Want, *, as_json: bool = False) -> None:
    """List one entry."""
    await _list(cast("WantedSet", Held(want)), as_json)


@pytest.mark.parametrize("asked_ms", [10**18, -(10**18), 10**30, 10**400])
async def test_no_number_is_too_large(asked_ms: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A time beyond every calendar is said to be one, in JSON it is passed on."""
    await listed(Want("cli", True, asked_ms))
    assert capsys.readouterr().out == "BTC-USD          pinned     by cli, at no time a calendar has\n"
    await listed(Want("cli", True, asked_ms), as_json=True)
    assert json.loads(capsys.readouterr().out)["BTC-USD"]["asked_ms"] == asked_ms


async def test_an_entry_is_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asked is shown as written, but for what would steer the terminal."""
    await listed(Want("[red]me\x1b[2J\n", False, 1_795_187_046_000))
    assert capsys.readouterr().out == "BTC-USD          on demand  by [red]me?[2J?, 2026-11-20 15:04:06 UTC\n"
