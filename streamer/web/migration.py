"""Moving callers over to coordinated calls, and back: how far it is, and the switches."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from starlette.responses import Response

from streamer.gateway.migration import flags_json, migration_report
from streamer.store.flags import BOTS, USE, FlagStore
from streamer.web import shapes
from streamer.web.problems import documented
from streamer.web.service import Service, service_of

router = APIRouter(prefix="/api/v1/migration", tags=["migration"])

Given = Annotated[Service, Depends(service_of)]


@router.get(
    "/stats", summary="How far callers have moved", response_model=shapes.Migration, responses=documented(503)
)
async def stats(service: Given) -> Response:
    """Return who is coordinated, which way requests go, how answers compare with REST, and what REST costs."""
    fallback = service.settings.flags
    return _json(await migration_report(service.reader.calls, service.store, service.keys, fallback))


@router.post(
    "/flags",
    summary="Move callers over, or back",
    response_model=shapes.Flags,
    responses=documented(401, 408, 413, 422, 503),
)
async def flags(change: shapes.FlagChange, service: Given) -> Response:
    """Set flags; what is left out stays. Every client heeds them within seconds, without a restart."""
    texts = {}
    if change.use_coordinated_api_calls is not None:
        texts[USE] = "true" if change.use_coordinated_api_calls else "false"
    if change.coordinated_bot_ids is not None:
        texts[BOTS] = change.coordinated_bot_ids
    store = FlagStore(service.store, service.keys, service.settings.flags)
    return _json(flags_json(await store.change(**texts)))


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), 200, {"Cache-Control": "no-store"}, "application/json")
