"""How answers of providers are read: JSON without floats, numbers and times as each provider writes them. Pure.

Everything here raises ValueError for what is not there; adapters let it pass, and whoever runs them calls it a
malformed answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from streamer.errors import Maintenance, MalformedAnswer
from streamer.providers.adapter import Answer

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MOST_DIGITS: Final = 60
_EARLIEST_MS: Final = 10**11
"""March 1973. Stocks have bars of decades; an earlier time is a wrong unit, such as seconds taken for ms."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS: Final = 24 * 3600 * 1000


def document(answer: Answer, what: str) -> Any:
    """Return the JSON of an answer, numbers with a point as `Decimal`.

    Raises:
        Maintenance: It is a page for people.
        MalformedAnswer: It is no JSON, or only the beginning of it.
    """
    try:
        return _decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidOperation) as exc:
        if is_page(answer):
            raise Maintenance(what, "a page for people instead of data", status=answer.status) from exc
        why = f"no JSON: {str(exc)[:120]}"
        raise MalformedAnswer(what, why, status=answer.status) from exc


def is_page(answer: Answer) -> bool:
    """Whether an answer is a page for people."""
    start = answer.body[:200].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (
        "text/html" in answer.headers.get("content-type", "") and not start.startswith((b"{", b"["))
    )


def mapping(value: object, name: str = "answer") -> Mapping[str, Any]:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value


def rows(value: object, name: str = "answer") -> list[Any]:
    """Return a value that must be an array."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is no array")
    return value


def text(value: object, name: str = "text") -> str:
    """Return a value that must be a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def number(value: object, name: str = "number") -> Decimal:
    """Return a number, written as one or as a string; no infinity, no "NA", no null, no truth value."""
    if isinstance(value, str) and (len(value) > _MOST_DIGITS or not _NUMBER.fullmatch(value)):
        raise ValueError(f"{name} is no number: {value[:40]!r}")
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"{name} is no number: {str(value)[:40]!r}")
    found = Decimal(value)
    if not found.is_finite() or abs(found.adjusted()) > _MOST_DIGITS:
        raise ValueError(f"{name} is no number that could be: {str(value)[:40]!r}")
    return found


def price_number(value: object, name: str = "price") -> Decimal:
    """Return a number above 0."""
    found = number(value, name)
    if found <= 0:
        raise ValueError(f"{name} is not above 0: {found}")
    return found


def epoch_ms(value: object, now_ms: int, name: str = "time") -> int:
    """Return a Unix time in ms, whatever its unit, by its size: s, ms, µs or ns.

    The sizes do not overlap for times since 1973; one more than a day ahead of `now_ms` is none.
    """
    found = int(number(value, name))
    for most, scale in ((10**11, 1000), (10**14, 1)):
        if found < most:
            return sound_ms(found * scale, now_ms, name)
    return sound_ms(found // (1000 if found < 10**17 else 1_000_000), now_ms, name)


def sound_ms(ms: int, now_ms: int, name: str = "time") -> int:
    """Return a time in ms that can be one."""
    if not _EARLIEST_MS <= ms <= now_ms + _DAY_MS:
        raise ValueError(f"{name} is out of this world: {ms} ms")
    return ms


def iso_ms(value: object, name: str = "time") -> int:
    """Return a time written as in ISO 8601, with a zone or else in UTC, or a date, in ms."""
    try:
        found = datetime.fromisoformat(text(value, name))
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"{name} is no time: {str(value)[:40]!r}") from exc
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return (found - _EPOCH) // timedelta(milliseconds=1)


def retry_after_s(answer: Answer, now_ms: int) -> float | None:
    """Return what a Retry-After header asks for, as seconds or as a date; None where there is none."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    try:
        at = datetime.strptime(value, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now_ms / 1000)
