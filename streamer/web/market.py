"""Market data and accounts, read through the tiers; every answer says its tier, age and source, in headers too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from streamer.errors import ConfigError, StreamerError, UnknownProduct
from streamer.model import Answers, Granularity, Reading, Tier
from streamer.reader import shown
from streamer.reader.questions import LIMIT
from streamer.reader.reader import AsyncReader
from streamer.web import shapes
from streamer.web.problems import documented, without_address
from streamer.web.service import Service
from streamer.web.wishes import DESCRIBED, how_of

router = APIRouter(prefix="/api/v1/market", tags=["market"])

_FRESH: Final = {
    "Age": {"schema": {"type": "integer"}, "description": "seconds since the value was known to be current"},
    "X-Tier": {"schema": {"type": "string"}, "description": "realtime, cache, rest or stale"},
    "Warning": {"schema": {"type": "string"}, "description": "110 where something of it is stale"},
}
_OK: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "with its tier and ages", "headers": _FRESH}}
_OF_PRODUCT: Final = _OK | documented(404, 422, 503)
_OF_ALL: Final = _OK | documented(422, 503)
_PRIVATE: Final = _OK | documented(401, 422, 503)

ProductPath = Annotated[str, Path(json_schema_extra={"pattern": f"^{shapes.PRODUCT_ID}$"})]
_LISTED: Final = f" *({shapes.PRODUCT_ID})? *"
IDS: Final[dict[str, Any]] = {
    "items": {"type": "string", "pattern": f"^{_LISTED}(,{_LISTED})*$"},
    "contains": {"type": "string", "pattern": f"(^|,) *{shapes.PRODUCT_ID}"},
}
"""What a list of ids in a query may look like, for the document."""


def reader_of(request: Request) -> AsyncReader:
    """Return what market routes read with."""
    service: Service = request.app.state.service
    return service.reader


@router.get(
    "/ticker/{product_id}",
    response_model=shapes.Ticker,
    responses=_OF_PRODUCT,
    summary="Newest ticker",
    openapi_extra=DESCRIBED,
)
async def ticker(product_id: ProductPath, request: Request) -> Response:
    """Return the newest ticker of a product, from the best tier that has it."""
    reading = await reader_of(request).ticker(product_id, **how_of(request))
    return answer(shown.ticker_json(reading), reading)


@router.get(
    "/tickers", response_model=shapes.Tickers, responses=_OF_ALL, summary="Newest tickers", openapi_extra=DESCRIBED
)
async def tickers(
    request: Request,
    product_ids: Annotated[
        list[str],
        Query(min_length=1, max_length=500, description="repeated, or with commas", json_schema_extra=IDS),
    ],
) -> Response:
    """Return the newest ticker of several products; what cannot be served is listed with its reason."""
    wanted = ids_of(product_ids)
    if not 1 <= len(wanted) <= 500:
        raise ConfigError("product_ids", f"{len(wanted)} ids", "expected 1 to 500 ids")
    answers = await reader_of(request).tickers(wanted, **how_of(request))
    body = {
        "tickers": {product_id: told(shown.ticker_json(reading)) for product_id, reading in answers.items()},
        "missing": missing_of(answers),
    }
    return answer(body, *answers.values())


@router.get(
    "/accounts", response_model=shapes.Accounts, responses=_PRIVATE, summary="All wallets", openapi_extra=DESCRIBED
)
async def accounts(request: Request) -> Response:
    """Return all wallets of the key's portfolio. Needs the token where one is set."""
    reading = await reader_of(request).accounts(**how_of(request))
    return answer(shown.accounts_json(reading), reading)


@router.get(
    "/candles/{product_id}",
    response_model=shapes.Candles,
    responses=_OF_PRODUCT,
    summary="Newest candles",
    openapi_extra=DESCRIBED,
)
async def candles(
    product_id: ProductPath,
    request: Request,
    granularity: Granularity = Granularity.FIVE_MINUTE,
    limit: Annotated[int, Query(ge=1, le=350)] = LIMIT,
) -> Response:
    """Return the newest candles of a product, oldest first; the last may still be open."""
    reading = await reader_of(request).candles(product_id, granularity, limit, **how_of(request))
    return answer(shown.candles_json(reading), reading)


@router.get(
    "/products", response_model=shapes.Products, responses=_OF_ALL, summary="All products", openapi_extra=DESCRIBED
)
async def products(request: Request) -> Response:
    """Return the rules of every product of the exchange."""
    reading = await reader_of(request).products(**how_of(request))
    return answer(shown.products_json(reading), reading)


def ids_of(texts: Iterable[str]) -> list[str]:
    """Return the ids of a query, which come repeated or with commas between them."""
    return [part.strip(" ") for text in texts for part in text.split(",") if part.strip(" ")]


def answer(body: dict[str, Any], *readings: Reading[Any]) -> Response:
    """Return a body with headers that say how old it is, as caches and proxies understand it."""
    headers = {"Cache-Control": "no-store"}
    if readings:
        oldest = max(readings, key=lambda one: one.age_s)
        headers["Age"] = str(int(oldest.age_s))
        headers["X-Tier"] = ",".join(dict.fromkeys(one.tier.value for one in readings))
        if any(one.tier is Tier.STALE for one in readings):
            headers["Warning"] = '110 - "Response is Stale"'
    return Response(orjson.dumps(told(body)), 200, headers, "application/json")


def told(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what is nobody's business: where Redis is."""
    if body.get("reason"):
        body["reason"] = without_address(body["reason"])
    return body


def missing_of(answers: Answers[Any, Any]) -> list[dict[str, str]]:
    """Return what could not be served, each with its reason."""
    return [
        {"product_id": product_id, "type": _kind(error), "detail": without_address(str(error))}
        for product_id, error in answers.missing.items()
    ]


def _kind(error: StreamerError) -> str:
    return "unknown-product" if isinstance(error, UnknownProduct) else "unavailable"
