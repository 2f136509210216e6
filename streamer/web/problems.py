"""Errors over HTTP: problem details (RFC 9457): what is wrong and what to do, and nothing of our insides."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from streamer.errors import (
    ConfigError,
    RestRateLimited,
    StoreUnavailable,
    StreamerError,
    Unavailable,
    UnknownProduct,
    UnknownSymbol,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
"""What a client is told to wait where nothing better is known."""
_REASON_BYTES: Final = 123
"""The most that a closing frame can tell (RFC 6455, 5.5)."""
_ADDRESS: Final = re.compile(r"(Redis|connecting) (?:at|to) \S+")
_PEER: Final = re.compile(r" ?\('[^']*', \d+[^)]*\)")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=["urn:streamer:unknown-product"], description="kind of problem")
    title: str = Field(examples=["Unknown product"], description="the same for every problem of a kind")
    status: int = Field(examples=[404])
    detail: str = Field(examples=["the exchange has no product BTC-USDD; did you mean BTC-USD?"])
    nearest: list[str] | None = Field(default=None, description="ids that look like an unknown one")
    refused: list[dict[str, str]] | None = Field(default=None, description="all ids that were refused, and why")
    tiers: dict[str, str] | None = Field(
        default=None, description="what each tier said, where nothing can be served"
    )


_TOLD: Final = {
    401: (
        "token",
        "Token needed",
        "send Authorization: Bearer <STREAMER_API_TOKEN>",
        "the token is missing or wrong",
    ),
    403: ("foreign-origin", "Foreign origin", "pages of other sites may not ask this service", "of another site"),
    404: (
        "unknown-product",
        "Unknown product",
        "the exchange has no product BTC-USDD; did you mean BTC-USD?",
        "unknown product, with the nearest names",
    ),
    408: ("timeout", "Timeout", "the body did not come within 8 s", "the body did not come in time"),
    413: ("too-large", "Body too large", "a body of at most 65536 bytes is taken", "the body is too large"),
    421: ("foreign-host", "Foreign host", "this service does not answer to that name", "asked by another name"),
    422: ("invalid", "Invalid input", "limit: Input should be less than or equal to 350", "invalid input"),
    429: (
        "too-many-requests",
        "Too many requests",
        "too many requests from this address; try again in 1 s",
        "too many requests from this address; see Retry-After",
    ),
    431: (
        "huge-headers",
        "Headers too large",
        "headers of at most 16384 bytes are taken",
        "path, query and headers are too large together",
    ),
    503: (
        "unavailable",
        "Unavailable",
        "ticker BTC-USD is unavailable (realtime: nothing in Redis)",
        "nothing that may be served now; see Retry-After",
    ),
}
"""Kind, title and example of each problem, and when it comes."""
_ANYWHERE: Final = (403, 421, 429, 431)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return problems as the OpenAPI document is to have them: those named, and those of every route."""
    return {status: _documented(status) for status in sorted({*statuses, *_ANYWHERE})}


def either_503(shape: type[BaseModel], when: str) -> dict[int | str, dict[str, Any]]:
    """Return the same for a route that answers 503 in its own shape too."""
    ok = {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}}
    told = documented(503)
    told[503] |= {"description": when, "content": {"application/json": ok, **told[503]["content"]}}
    return told


def _documented(status: int) -> dict[str, Any]:
    kind, title, detail, when = _TOLD[status]
    example: dict[str, Any] = {"type": f"urn:streamer:{kind}", "title": title, "status": status, "detail": detail}
    if status == 404:
        example["nearest"] = ["BTC-USD"]
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    told: dict[str, Any] = {"description": when, "content": {MEDIA_TYPE: content}}
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return told


def problem(
    status: int, kind: str, title: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """Return a problem as a response; `more` are further members."""
    told = {"title": title, "status": status, "detail": without_address(detail)}
    body = {"type": f"urn:streamer:{kind}", **told, **more}
    return Response(orjson.dumps(body), status, {"Cache-Control": "no-store"} | (headers or {}), MEDIA_TYPE)


def without_address(text: str) -> str:
    """Return a sentence of ours without the address of Redis: clients may be told that it is away, not where."""
    return _PEER.sub("", _ADDRESS.sub(r"\1", text))


def of_error(exc: StreamerError, **more: Any) -> Response:
    """Return the problem that an error of ours is; `more` are further members."""
    if isinstance(exc, UnknownProduct):
        return problem(404, "unknown-product", "Unknown product", str(exc), nearest=list(exc.nearest), **more)
    if isinstance(exc, ConfigError):
        return problem(422, "invalid", "Invalid input", str(exc), **more)
    if isinstance(exc, Unavailable):
        tiers = {tier: without_address(why) for tier, why in exc.tiers.items()}
        return problem(503, "unavailable", "Unavailable", str(exc), headers=_later(None), tiers=tiers)
    if isinstance(exc, StoreUnavailable):
        why = exc.why or "no answer"
        return problem(503, "redis-unavailable", "Redis is unavailable", why, headers=_later(None))
    if isinstance(exc, UnknownSymbol):
        return problem(404, "unknown-symbol", "Unknown symbol", exc.why, **more)
    if isinstance(exc, RestRateLimited):
        return problem(503, "rate-limited", "The exchange limits us", str(exc), headers=_later(exc.retry_after_s))
    return problem(503, "failed", "Not possible now", str(exc), headers=_later(getattr(exc, "retry_after_s", None)))


def add_problem_handlers(app: Starlette) -> None:
    """Have an application answer every StreamerError that its routes let pass as the problem that it is.

    A WebSocket is denied with it, or closed with 1011 where it has been accepted.
    """
    app.add_exception_handler(StreamerError, _answer)


async def _answer(connection: Any, exc: Exception) -> Any:  # a request or a WebSocket; of the latter, no answer
    assert isinstance(exc, StreamerError)
    if not isinstance(connection, WebSocket):
        return of_error(exc)
    if connection.application_state is not WebSocketState.CONNECTING:
        await connection.close(1011, without_address(str(exc)).encode()[:_REASON_BYTES].decode(errors="ignore"))
    elif "websocket.http.response" in connection.scope.get("extensions", {}):
        await connection.send_denial_response(of_error(exc))
    else:
        await connection.close(1011)
    return None


def too_many(retry_after_s: float) -> Response:
    """Return the answer to a client that asks too often."""
    detail = f"too many requests from this address; try again in {math.ceil(retry_after_s)} s"
    return problem(429, "too-many-requests", "Too many requests", detail, headers=_later(retry_after_s))


def of_slowness() -> Response:
    """Return the answer to a request that took us too long."""
    return problem(503, "too-slow", "Not answered in time", "the answer took too long", headers=_later(None))


def _later(seconds: float | None) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds if seconds is not None else RETRY_AFTER_S)))}
