"""What REST says when it says no: bodies as they were seen or documented (protocol notes, 11). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: HTTP status.
        body: As sent.
        content_type: None for none.
        headers: More headers.
    """

    status: int
    body: bytes
    content_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        answer: What to send.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"answered with {answer.status}")
        self.answer = answer


def answer(body: Any) -> Answer:
    """Return a good answer."""
    return Answer(200, orjson.dumps(body))


def _json(status: int, error: str, details: str) -> Answer:
    return Answer(status, orjson.dumps({"error": error, "error_details": details, "message": details}))


def invalid(details: str, error: str = "INVALID_ARGUMENT") -> Refusal:
    """A 400 for an argument that breaks a rule."""
    return Refusal(_json(400, error, details))


def not_found(details: str = "not found") -> Refusal:
    """A 404."""
    return Refusal(_json(404, "NOT_FOUND", details))


def unauthorized() -> Answer:
    """A 401: plain text, whatever is wrong with the token."""
    return Answer(401, b"Unauthorized", "text/plain")


def forbidden() -> Answer:
    """A 403: a good key that lacks a scope. The SDK looks for this very text."""
    return _json(403, "PERMISSION_DENIED", "Missing required scopes")


def method_not_allowed() -> Answer:
    """A 405: orders cannot be placed over REST here."""
    return Answer(405, b"Method Not Allowed", "text/plain")


GARBAGE = Answer(200, b"<html><body>Just a moment...</body></html>", "text/html")
"""A 200 whose body is not JSON, as a proxy's page."""

_BODIES_OF_429 = {
    "empty": (b"", None),
    "html": (b"<html><head><title>Coinbase</title></head><body></body></html>", "text/html"),
    "json": (b'{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}', JSON),
}
_BODIES = {
    500: (b'{"errors":[{"id":"internal_server_error","message":"Internal server error"}]}', JSON),
    502: (b"<html><body>502 Bad Gateway</body></html>", "text/html"),
    503: (b"upstream connect error or disconnect/reset before headers", "text/plain"),
    504: (b"<html><body>504 Gateway Time-out</body></html>", "text/html"),
}


class Errors:
    """Makes errors, and the three bodies of a 429 in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def of(self, status: int, body_of_429: str = "rotate", retry_after_s: int | None = None) -> Answer:
        """Return the answer for a status, 400 to 599.

        Args:
            status: The status.
            body_of_429: Which body a 429 has: "empty", "html", "json" or "rotate".
            retry_after_s: What `Retry-After` says, None for no such header.
        """
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        if status == 429:
            if body_of_429 == "rotate":
                body_of_429 = list(_BODIES_OF_429)[self._turn % len(_BODIES_OF_429)]
                self._turn += 1
            return Answer(status, *_BODIES_OF_429[body_of_429], headers)
        known = {400: invalid("invalid argument").answer, 401: unauthorized(), 403: forbidden()}
        known[404] = not_found("valid product_id is required").answer
        if status in known:
            return Answer(status, known[status].body, known[status].content_type, headers)
        body, content_type = _BODIES.get(status, (b"upstream error", "text/plain"))
        return Answer(status, body, content_type, headers)
