"""The users of Redis may run what the scripts of the project run, also in branches that few tests come by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.deploy.rig import DEPLOY, ROOT

LUA = ROOT / "streamer" / "store" / "lua"
BOTS = ("flight_*", "gateway_*", "store_copy", "wanted_note", "note_callers", "add_up", "enter_scores")
"""Scripts that a process with a reader runs."""


def commands_of(user: str) -> set[str]:
    """Return the commands that a line of the file names, those of selectors left out."""
    lines = (DEPLOY / "redis" / "users.acl").read_text("utf-8").splitlines()
    (words,) = (line.split(" (")[0].split() for line in lines if line.startswith(f"user {user} "))
    return {word[1:] for word in words if word.startswith("+")}


def scripts_of(user: str) -> list[Path]:
    """Return the scripts that a user calls."""
    every = sorted(LUA.glob("*.lua"))
    return [path for path in every if user == "streamer" or any(path.match(f"{name}.lua") for name in BOTS)]


@pytest.mark.parametrize(
    ("user", "script"), [(user, script.stem) for user in ("streamer", "bot") for script in scripts_of(user)]
)
def test_scripts_are_held_up_nowhere(user: str, script: str) -> None:
    """Each command in a script is one that who calls it may run."""
    text = (LUA / f"{script}.lua").read_text("utf-8")
    used = {word.lower() for word in re.findall(r"\b(?:p?call_?|on)\(\s*'([A-Z]+)'", text)}
    selected = {"publish"} if user == "bot" else set()  # to one channel only, so by a selector
    assert used <= commands_of(user) | selected


def test_scripts_are_called_by_their_digest() -> None:
    """No user may EVAL: a script that lies elsewhere than with the others would be refused."""
    calls = re.compile(r"\.eval\(|register_script|[\"']EVAL[\"']")
    assert [str(path) for path in (ROOT / "streamer").rglob("*.py") if calls.search(path.read_text("utf-8"))] == []
