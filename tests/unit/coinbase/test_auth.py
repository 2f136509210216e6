"""The key file: read only where it is safe and sound, and never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamer.coinbase.auth import read_key_file
from streamer.errors import ConfigError

CANARY = "canary-of-a-private-key"


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file with the text and the mode."""
    path = folder / "key.json"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("field", ["name", "id"])
def test_key_is_read_under_either_name(tmp_path: Path, field: str) -> None:
    """Newer keys show an id where older ones have a name."""
    key = read_key_file(key_file(tmp_path, json.dumps({field: "key-1", "privateKey": CANARY})))
    assert (key.name, key.secret) == ("key-1", CANARY)
    assert CANARY not in repr(key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    path = key_file(tmp_path, json.dumps({"name": "key-1", "privateKey": CANARY}), mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        read_key_file(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", CANARY, json.dumps({"name": "key-1"}), json.dumps({"privateKey": CANARY}), '{"name":1,"id":2}'],
)
def test_what_is_no_key_file_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    """The error names the file and the rule, never the content."""
    with pytest.raises(ConfigError, match="not a Coinbase key file") as caught:
        read_key_file(key_file(tmp_path, text))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    """As is why it cannot be read."""
    with pytest.raises(ConfigError, match="No such file"):
        read_key_file(tmp_path / "none.json")
