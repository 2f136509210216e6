"""How the whole stands: liveness, readiness, health, and what REST has cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from streamer.errors import CallNotMade, StreamerError
from streamer.gateway.report import call_report
from streamer.health.look import look
from streamer.store.journal import Journal, Trouble
from streamer.web import shapes
from streamer.web.problems import documented, either_503, without_address
from streamer.web.service import Service, service_of
from streamer.web.streams import status_of

router = APIRouter(tags=["system"])

_UNKEPT = frozenset({"no_report", "report_old", "unreadable"})
"""Reasons for which nobody keeps the journal: it is the ingester's."""
_MOST_ERRORS = 500

Given = Annotated[Service, Depends(service_of)]


@router.get("/livez", summary="Whether the process lives", response_model=shapes.Live, responses=documented())
async def livez() -> Response:
    """Answer: nothing else is touched, so that no dependency can have the process restarted."""
    return _json({"status": "pass"})


@router.get(
    "/readyz",
    summary="Whether it may take traffic",
    response_model=shapes.Ready,
    responses=either_503(shapes.Ready, "data is not fresh"),
)
async def readyz(service: Given) -> Response:
    """Say whether what would be served is fresh: Redis answers, and the stream is not down."""
    try:
        body = await status_of(service)
    except StreamerError as exc:
        return _json({"status": "fail", "reasons": [without_address(str(exc))]}, 503)
    is_ready = body["level"] != "down"
    return _json({"status": "pass" if is_ready else "fail", "reasons": body["reasons"]}, 200 if is_ready else 503)


@router.get(
    "/api/v1/system/calls", summary="What REST has cost", response_model=shapes.Calls, responses=documented(503)
)
async def calls(service: Given) -> Response:
    """Return the REST budget, who spent it, the breaker and what the cache has saved, as `streamer calls` does."""
    return _json(await call_report(service.reader.calls, service.store, service.keys))


@router.get(
    "/api/v1/system/health",
    summary="How it stands, and what to do",
    response_model=shapes.Health,
    responses=documented(503),
)
async def health(service: Given) -> Response:
    """Return the verdict with the figures that matter, and a recommendation."""
    status = await status_of(service)
    try:
        report = await call_report(service.reader.calls, service.store, service.keys)
    except CallNotMade:  # there is no REST to call; the verdict stands without
        report = {}
    return _json(
        {
            "status": status["level"],
            "reasons": status["reasons"],
            "recommendation": status["reasons"][0].advice if status["reasons"] else "nothing to do",
            "429_errors_last_5min": report.get("errors_429_last_5min"),
            "429_errors_last_hour": report.get("errors_429_last_hour"),
            "cache_hit_rate": report.get("hit_rate_last_5min"),
            "circuit_breaker": report.get("breaker"),
            "budgets": report.get("budgets"),
        }
    )


@router.get(
    "/api/v1/system/errors",
    summary="What has gone wrong",
    response_model=shapes.Errors,
    responses=documented(422, 503),
)
async def errors(
    service: Given,
    limit: Annotated[int, Query(ge=1, le=_MOST_ERRORS, description="so many, the newest")] = 100,
    resolved: Annotated[
        bool | None, Query(description="only what is over, or only what is not; all if left out")
    ] = None,
) -> Response:
    """Return rate limiting, trouble with feeds, balances, Redis and clocks: what lasts, and what is over."""
    seen = await look(service.store, service.keys)
    troubles = await Journal(service.store, service.keys).troubles()
    began_ms = seen.now_ms if seen.status is None else seen.status["written_ms"]
    open_now = [
        Trouble(f"now-{reason.code}", "system", reason.code, reason.subject, str(reason), began_ms)
        for reason in seen.verdict.reasons
        if reason.code in _UNKEPT
    ]
    shown = [one for one in open_now + troubles if resolved is None or resolved == (one.ended_ms is not None)]
    unresolved = sum(one.ended_ms is None for one in open_now + troubles)
    return _json({"errors": [_error(one) for one in shown[:limit]], "unresolved": unresolved})


def _error(trouble: Trouble) -> dict[str, Any]:
    return {
        "id": trouble.id,
        "error_type": trouble.error_type,
        "code": trouble.code,
        "subject": trouble.subject,
        "message": trouble.message,
        "timestamp": _time(trouble.began_ms),
        "resolved": trouble.ended_ms is not None,
        "resolved_at": None if trouble.ended_ms is None else _time(trouble.ended_ms),
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, {"Cache-Control": "no-store"}, "application/json")
