"""What a simulated provider is asked and what it replies, and numbers as providers write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from streamer.simulator.providers.view import View

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=UTF-8"
FREE: Final = "free"
PAID: Final = "paid"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as a provider sees it.

    Attributes:
        path: Below the provider's prefix; begins with a slash.
        params: Of the query; the last of those given twice.
        headers: Names in lower case.
        base: The provider's own address, for links.
        now_s: What time it is there.
        view: What it knows of the market.
        plan: FREE or PAID, of whoever asks.
        key: The key that came along, "" for none.
        used: How much of each quota is used, this request included where it has passed.
        limits: The quotas themselves; None for one that is off.
    """

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    base: str
    now_s: float
    view: View
    plan: str = FREE
    key: str = field(default="", repr=False)
    used: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def now_ms(self) -> int:
        """The time in milliseconds."""
        return int(self.now_s * 1000)

    def listed(self, name: str) -> list[str]:
        """Return a parameter that is a list joined by commas."""
        return [part for part in self.params.get(name, "").split(",") if part]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, headers: Mapping[str, str]) -> Reply:
        """Return the same with more headers."""
        return replace(self, headers={**self.headers, **headers})


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"answered with {reply.status}")
        self.reply = reply


def json_reply(body: Any, status: int = 200) -> Reply:
    """Return an answer in JSON; numbers in it are made by `number`."""
    return Reply(status, orjson.dumps(body))


def page(status: int, title: str) -> Reply:
    """Return a page of HTML, as a proxy in front of a provider sends it."""
    text = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    return Reply(status, f"{text}</body>\r\n</html>\r\n".encode(), HTML)


def fixed(value: Decimal, decimals: int) -> str:
    """Return a number with exactly so many decimals."""
    return f"{value:.{decimals}f}"


def number(value: Decimal, decimals: int) -> orjson.Fragment:
    """Return a number for JSON with at most so many decimals; a whole one ends in ".0" unless none are wanted."""
    text = fixed(value, decimals)
    if decimals:
        text = text.rstrip("0")
        text += "0" if text.endswith(".") else ""
    return orjson.Fragment(text)


def iso(at_s: float) -> str:
    """Return a moment as "2026-11-20T15:00:07.123Z"."""
    return datetime.fromtimestamp(int(at_s * 1000) / 1000, UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def day_text(at_s: float) -> str:
    """Return the date of a moment in UTC."""
    return iso(at_s)[:10]


def clock_text(at_s: float) -> str:
    """Return a moment in UTC as "2026-11-20 15:00:07"."""
    return iso(at_s)[:19].replace("T", " ")


def parsed_day(text: str) -> int | None:
    """Return the Unix second at which a date begins in UTC, None if it is none."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def whole(text: str | None) -> int | None:
    """Return a whole number of digits, None if it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
