"""The application: routes, access rules and error shapes put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from streamer.settings import Settings
from streamer.web import data, document, live, market, metrics, migration, pages, streams, system, webhooks
from streamer.web.access import HEADERS, Access, Rules
from streamer.web.address import is_loopback, loopback_names
from streamer.web.problems import add_problem_handlers, problem
from streamer.web.service import Service
from streamer.webhooks.prices import PriceUpdate
from streamer.webhooks.store import Inbox

log = structlog.get_logger(__name__)


def create_app(service: Service) -> FastAPI:
    """Return the application over a service; whoever serves it closes hub and service, its `state`."""
    app = FastAPI(
        title="streamer",
        version=version("coinbase-streamer"),
        description="Market data by way of Redis. Every answer says its tier, its age and its source.",
        redirect_slashes=False,  # a redirect would say where we think we are
        docs_url=None,  # these load scripts from elsewhere; `document` has a page of its own
        redoc_url=None,
        generate_unique_id_function=document.operation_id,
    )
    document.describe(app)
    app.state.service, app.state.hub = service, live.Hub(service)
    app.state.traffic = metrics.Traffic(lambda: app.state.hub.listeners)
    app.state.webhooks = webhooks.Receiver(
        service.settings,
        Inbox(service.store, service.keys),
        app.state.traffic.webhook,
        lambda provider, delivery, price: _kept(service, provider, price),
    )
    for module in (market, data, streams, system, migration, webhooks, metrics, live, pages, document):
        app.include_router(module.router)
    add_problem_handlers(app)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(Access, rules=_rules(service.settings))
    app.add_middleware(metrics.Counted, traffic=app.state.traffic)  # the outermost: what is refused counts too
    return app


async def _kept(service: Service, provider: str, price: PriceUpdate | None) -> None:
    """Keep a price that a webhook has brought."""
    if price is not None:
        await service.data.take_price(provider, price)


def _rules(settings: Settings) -> Rules:
    token = settings.api_token.get_secret_value() if settings.api_token is not None else None
    own = settings.api_host.lower().strip("[]")
    hosts = {f"[{own}]" if ":" in own else own, *(host.lower() for host in settings.api_hosts)}
    return Rules(
        token=token,
        hosts=loopback_names() | hosts,
        any_address=not is_loopback(own),
        calls_per_s=settings.api_calls_per_s,
    )


async def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    faults = [_fault(error) for error in exc.errors()]
    return problem(422, "invalid", "Invalid input", "; ".join(faults))


def _fault(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"] if part not in ("query", "path", "body"))
    return f"{where or 'body'}: {error['msg']}"


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 400:  # how FastAPI calls a body that is not even text, or nested beyond measure
        return problem(422, "invalid", "Invalid input", "the body is no JSON that can be read")
    kind = {404: "not-found", 405: "method-not-allowed"}.get(exc.status_code, "http")
    return problem(exc.status_code, kind, str(exc.detail), str(exc.detail), headers=dict(exc.headers or {}))


async def _bug(request: Request, exc: Exception) -> Response:
    log.error("api.bug", path=request.url.path, exc_info=exc)
    # Outside of all middleware, so it brings the headers itself.
    headers = {name.decode(): value.decode() for name, value in HEADERS}
    detail = "the request met a bug; the log of the service has it"
    return problem(500, "bug", "Internal error", detail, headers=headers)
