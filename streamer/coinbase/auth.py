"""Coinbase API keys: reading the key file that Coinbase lets its users download."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from streamer.errors import ConfigError

SETTING = "COINBASE_KEY_FILE"
_MAX_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as downloaded: its name (or id) and its private key, which no log or repr may show."""

    name: str
    secret: str = field(repr=False)


def read_key_file(path: Path) -> ApiKey:
    """Return the key in a JSON file with `name` (or `id`) and `privateKey`, readable by its owner alone.

    Raises:
        ConfigError: Naming the file and what to do; the content is never shown.
    """
    try:
        info = path.stat()
        content = path.read_bytes()[:_MAX_BYTES]
    except OSError as exc:
        raise ConfigError(SETTING, str(path), f"cannot be read: {exc.strerror}") from exc
    if info.st_uid != os.getuid():
        raise ConfigError(SETTING, str(path), f"belongs to someone else; run: chown {os.getuid()} {path}")
    if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(SETTING, str(path), f"can be read by others; run: chmod 600 {path}")
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None  # and no cause: the error of a JSON parser quotes what it read
    if isinstance(fields, dict):
        name, secret = fields.get("name") or fields.get("id"), fields.get("privateKey")
        if isinstance(name, str) and isinstance(secret, str) and name and secret:
            return ApiKey(name, secret)
    rule = "not a Coinbase key file: expected JSON with name (or id) and privateKey; download it again"
    raise ConfigError(SETTING, str(path), rule)
