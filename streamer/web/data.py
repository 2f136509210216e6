"""Prices and bars of any provider, in one shape; each says who was asked, who answered, and what to mind."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from streamer.data import shown
from streamer.data.ask import parse_interval, seconds_of
from streamer.data.desk import LIMIT, DataDesk
from streamer.data.manager import How
from streamer.model import Priority
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import Interval
from streamer.providers.symbols import parse_symbol
from streamer.quality.validation import validate as validated
from streamer.web import data_shapes as shapes
from streamer.web.problems import documented, without_address

router = APIRouter(prefix="/api/v1/data", tags=["data"])

_OK: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "with its provider, tier and ages",
        "headers": {
            "Age": {"schema": {"type": "integer"}, "description": "seconds since the value was known to be so"},
            "X-Tier": {"schema": {"type": "string"}, "description": "realtime, cache, rest or stale"},
            "X-Provider": {"schema": {"type": "string"}, "description": "who answered"},
        },
    }
}
_ANSWERS: Final = _OK | documented(404, 422, 503)

_NAMES: Final[dict[str, Any]] = {"anyOf": [{"type": "string", "enum": list(ADAPTERS)}, {"type": "null"}]}
_LENGTHS: Final[dict[str, Any]] = {"enum": [interval.value for interval in Interval]}

SymbolQuery = Annotated[
    str,
    Query(
        max_length=44,
        description="BTC-USD, BTCUSDT, BTC/USD, X:BTCUSD, SPY",
        examples=["BTC-USD"],
        json_schema_extra={"pattern": "^[A-Za-z0-9:/._-]{1,44}$"},
    ),
]
ProviderQuery = Annotated[
    str | None,
    Query(
        max_length=20,
        description="only this one; by default in the order of the settings",
        json_schema_extra=_NAMES,
    ),
]
AgeQuery = Annotated[float | None, Query(ge=0, le=1e9, description="oldest acceptable age in seconds")]
TimeoutQuery = Annotated[float | None, Query(gt=0, le=30, description="seconds to wait for all providers")]
TimeQuery = Annotated[
    str | None, Query(max_length=40, description="ISO 8601, in UTC where no zone is named, or Unix seconds")
]
PriorityQuery = Annotated[
    Literal["TRADING", "BOT_EVALUATION", "MARKET_DATA", "BACKGROUND"],
    Query(description="how urgent; with TRADING a second provider is asked soon"),
]


def desk_of(request: Request) -> DataDesk:
    """Return what these routes ask."""
    desk: DataDesk = request.app.state.service.data
    return desk


@router.get("/price", response_model=shapes.DataPrice, responses=_ANSWERS, summary="Price from any provider")
async def price(
    request: Request,
    symbol: SymbolQuery,
    provider: ProviderQuery = None,
    verify: Annotated[bool, Query(description="ask several providers and compare them")] = False,
    max_age_s: AgeQuery = None,
    timeout_s: TimeoutQuery = None,
    priority: PriorityQuery = "MARKET_DATA",
) -> Response:
    """Return the newest price of a symbol from the first provider that has it."""
    desk, wanted = desk_of(request), parse_symbol(symbol)
    how = How(provider, max_age_s, timeout_s, Priority[priority], "api")
    if verify:
        served, checked = await desk.verified_price(wanted, how)
        body = shown.price_json(served, desk.score(served), checked)
    else:
        served = await desk.price(wanted, how)
        body = shown.price_json(served, desk.score(served))
    return answer(body)


@router.get("/ohlcv", response_model=shapes.DataBars, responses=_ANSWERS, summary="Bars from any provider")
async def ohlcv(
    request: Request,
    symbol: SymbolQuery,
    interval: Annotated[str, Query(max_length=8, description="length of a bar", json_schema_extra=_LENGTHS)] = "1h",
    start: TimeQuery = None,
    end: TimeQuery = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="most bars; the newest of them")] = LIMIT,
    validate: Annotated[bool, Query(description="say what is wrong or unusual; nothing is changed")] = False,
    provider: ProviderQuery = None,
    max_age_s: AgeQuery = None,
    timeout_s: TimeoutQuery = None,
    priority: PriorityQuery = "MARKET_DATA",
) -> Response:
    """Return bars of a symbol, oldest first, all of one provider; the last may still be open."""
    desk = desk_of(request)
    how = How(provider, max_age_s, timeout_s, Priority[priority], "api")
    served = await desk.bars(
        parse_symbol(symbol),
        parse_interval(interval),
        start_s=seconds_of("start", start),
        end_s=seconds_of("end", end),
        limit=limit,
        how=how,
    )
    now_ms = int(time.time() * 1000)
    # Ten thousand bars take a quarter of a second, in which nobody else would be answered.
    report = await asyncio.to_thread(validated, served.found.value, now_ms) if validate else None
    return answer(shown.series_json(served, desk.score(served), report))


@router.get(
    "/providers", response_model=shapes.Providers, responses=_ANSWERS, summary="Providers and their quality"
)
async def providers(request: Request) -> Response:
    """Return all providers: whether they can be asked, their budgets over all processes, their quality."""
    return answer(await desk_of(request).standing())


def answer(body: dict[str, Any]) -> Response:
    """Return a body, with headers that say how old it is."""
    headers = {"Cache-Control": "no-store"}
    if "tier" in body:
        headers |= {"Age": str(int(body["age_s"])), "X-Tier": body["tier"], "X-Provider": body["provider"]}
        if body["tier"] == "stale":
            headers["Warning"] = '110 - "Response is Stale"'
        body["reason"] = without_address(body["reason"]) if body["reason"] else None
        for step in body["story"]:
            step["why"] = without_address(step["why"])
    return Response(orjson.dumps(body), 200, headers, "application/json")
