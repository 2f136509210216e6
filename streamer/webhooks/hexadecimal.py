"""Signatures in hexadecimal, and secrets that are keys as they are written. Pure."""

from __future__ import annotations

import re
from typing import Final

_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SECRET: Final = re.compile(r"[!-~]{16,256}", re.ASCII)


def candidate(text: str) -> list[bytes]:
    """Return the signature that a text stands for, none where it is no digest in small letters."""
    return [bytes.fromhex(text)] if _SHA256.fullmatch(text) else []


def plain_key(secret: str, rule: str) -> bytes:
    """Return a secret as bytes.

    Raises:
        ValueError: It is not 16 to 256 letters, digits and marks; says `rule` and does not repeat it.
    """
    if not _SECRET.fullmatch(secret):
        raise ValueError(rule)
    return secret.encode()
