"""What is streamed: start, stop, and how the stream stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from streamer.errors import InvalidProductId, StreamerError, UnknownProduct
from streamer.gateway.names import nearest_of
from streamer.health.look import look
from streamer.model import ProductId, parse_product_id
from streamer.web import shapes
from streamer.web.problems import documented, either_503, of_error
from streamer.web.service import Service, service_of

router = APIRouter(prefix="/api/v1/ws", tags=["stream"])

Given = Annotated[Service, Depends(service_of)]
_CHANGES: Final = documented(401, 404, 408, 413, 422, 503)
_STOPS: Final = documented(401, 408, 413, 422, 503)
_STATUS_CODES: Final = {"healthy": 200, "degraded": 200, "down": 503}


@router.post("/start-stream", response_model=shapes.Changed, responses=_CHANGES, summary="Stream products")
@router.post("/start-portfolio-stream", response_model=shapes.Changed, include_in_schema=False)
async def start_stream(change: shapes.Change, service: Given) -> Response:
    """Add products to what is streamed; they stay until they are stopped. Takes effect within a second."""
    sound, refused = _sound(change.product_ids)
    known, unknown = await _known(service, sound)
    refused += [{"product_id": error.product_id, "why": str(error)} for error in unknown]
    if not known:
        error = unknown[0] if unknown else InvalidProductId(change.product_ids[0])
        return of_error(error, refused=refused)
    added = await service.wanted.add(known, by="api")
    return await _changed(service, f"streaming started for {_count(known)}", added, refused)


@router.post("/stop-stream", response_model=shapes.Changed, responses=_STOPS, summary="Stop streaming products")
async def stop_stream(change: shapes.Change, service: Given) -> Response:
    """Take products out of what is streamed, whoever asked for them."""
    sound, refused = _sound(change.product_ids)
    if not sound:
        return of_error(InvalidProductId(change.product_ids[0]), refused=refused)
    held = await service.wanted.all()
    gone = [product_id for product_id in sound if product_id in held]
    refused += [{"product_id": p, "why": "it is not streamed"} for p in sound if p not in held]
    await service.wanted.remove(gone)
    return await _changed(service, f"streaming stopped for {_count(gone)}", gone, refused)


@router.get(
    "/stream-status",
    summary="How the stream stands",
    response_model=shapes.StreamStatus,
    responses=documented(422) | either_503(shapes.StreamStatus, "the stream is down, or Redis does not answer"),
)
@router.get("/portfolio-stream-status", include_in_schema=False)
async def stream_status(
    service: Given,
    quiet: Annotated[bool, Query(description="answer 200 also while the stream is down")] = False,
) -> Response:
    """Return what `stream-status --json` prints: the level, the reasons, and all the ingester reports."""
    body = await status_of(service)
    # A page that asks every second: browsers note each 503 as an error of the page's own.
    status = 200 if quiet else _STATUS_CODES[body["level"]]
    return Response(orjson.dumps(body), status, {"Cache-Control": "no-store"}, "application/json")


async def status_of(service: Service) -> dict[str, Any]:
    """Return the verdict on the ingester's last report, and that report.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    seen = await look(service.store, service.keys)
    return {
        "level": seen.verdict.level,
        "reasons": list(seen.verdict.reasons),
        "codes": [reason.code for reason in seen.verdict.reasons],
        "summary": seen.summary,
        "now_ms": seen.now_ms,
        "status": None if seen.status is None else _without_amounts(seen.status),
    }


def _without_amounts(status: dict[str, Any]) -> dict[str, Any]:
    """Return a report without what is in the account: that takes the token, and this does not."""
    portfolio = status.get("portfolio")
    if not isinstance(portfolio, dict):
        return status
    return status | {"portfolio": {name: part for name, part in portfolio.items() if name != "last_difference"}}


def _sound(product_ids: Iterable[str]) -> tuple[list[ProductId], list[dict[str, str]]]:
    sound: dict[ProductId, None] = {}
    refused = []
    for text in product_ids:
        try:
            sound[parse_product_id(text)] = None
        except InvalidProductId as exc:
            shown = text[:60].encode(errors="replace").decode()  # JSON can bring what is no text
            refused.append({"product_id": shown, "why": str(exc)})
    return list(sound), refused


async def _known(service: Service, product_ids: list[ProductId]) -> tuple[list[ProductId], list[UnknownProduct]]:
    """Split ids into those that the exchange has and has not; where its list is not to be had, all pass."""
    if not product_ids:
        return [], []
    try:
        reading = await service.reader.products(timeout_s=2.0)
    except StreamerError:
        return product_ids, []
    names = {product.product_id for product in reading.value}
    unknown = [UnknownProduct(p, nearest_of(p, names)) for p in product_ids if p not in names]
    return [product_id for product_id in product_ids if product_id in names], unknown


async def _changed(
    service: Service, message: str, changed: Iterable[str], refused: list[dict[str, str]]
) -> Response:
    body = {
        "message": message,
        "changed": list(changed),
        "refused": refused,
        "products": sorted(await service.wanted.all()),
    }
    return Response(orjson.dumps(body), 200, {"Cache-Control": "no-store"}, "application/json")


def _count(products: list[ProductId]) -> str:
    return f"{len(products)} product{'' if len(products) == 1 else 's'}"
