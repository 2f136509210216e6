"""A REST request as the routes see it: its arguments, read strictly, and paging. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamer.simulator.rest_errors import invalid


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        query: Every argument with all its values.
        params: The parts of the path.
        key_name: Whose key it came with, "" for none.
        repeats_cursor: Whether paging must not get on (a fault).
    """

    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    key_name: str = ""
    repeats_cursor: bool = False

    def many(self, name: str) -> list[str]:
        """Return all values of an argument."""
        return list(self.query.get(name, ()))

    def one(self, name: str) -> str | None:
        """Return an argument, None if it is not there or empty; the last one counts."""
        values = self.query.get(name)
        return values[-1] or None if values else None

    def whole(self, name: str, low: int = 0, high: int = 2**53) -> int | None:
        """Return a whole number, None if it is not there.

        Raises:
            Refusal: It is no whole number within the bounds.
        """
        text = self.one(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise invalid(f"{name} argument is invalid")
        return int(text)


class Page(NamedTuple):
    """A part of a list; `cursor` is "" at its end."""

    items: list[dict[str, Any]]
    cursor: str


STUCK = "4217"
"""The cursor of a paging that never ends."""


def page(items: Sequence[dict[str, Any]], name: str, limit: int, ask: Ask) -> Page:
    """Return the page an ask is for. A cursor is the id of the last item seen, so that new ones shift nothing.

    Args:
        items: The whole list.
        name: The field that holds an item's id.
        limit: Items a page.
        ask: The request, with its `cursor`.

    Raises:
        Refusal: The cursor is none of ours.
    """
    if ask.repeats_cursor:
        return Page(list(items[:limit]), STUCK)
    start, cursor = 0, ask.one("cursor")
    if cursor is not None:
        start = next((i + 1 for i, item in enumerate(items) if item[name] == cursor), 0)
        if not start:
            raise invalid("invalid cursor", "unknown")
    found = list(items[start : start + limit])
    return Page(found, str(found[-1][name]) if start + limit < len(items) else "")
