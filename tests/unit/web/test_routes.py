"""What every route keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import iscoroutinefunction

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIRouter

from streamer.web import document, live, market, metrics, pages, streams, system

MODULES = (market, streams, system, metrics, live, pages, document)


def needed(dependant: Dependant) -> Iterator[object]:
    """Yield a route's function and everything it depends on."""
    yield dependant.call
    for one in dependant.dependencies:
        yield from needed(one)


def test_nothing_on_the_way_of_a_request_takes_a_thread() -> None:
    """A plain function would: FastAPI sends it to a thread and back, which costs more than the ticker itself."""
    routers: list[APIRouter] = [module.router for module in MODULES]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 15
    assert [call for route in routes for call in needed(route.dependant) if not iscoroutinefunction(call)] == []
