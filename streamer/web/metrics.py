"""`/metrics` for Prometheus: stream and fleet as Redis has them, and this process as it is.

Whichever process is asked, it says the same of stream and fleet, since that comes out of Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.errors import StreamerError
from streamer.gateway.report import snapshot_json
from streamer.health.look import look
from streamer.health.metrics import Facts, families
from streamer.store.counters import Counters
from streamer.web.problems import documented
from streamer.web.provider_metrics import ProviderFacts, calls_of, provider_families
from streamer.web.service import Service, service_of

router = APIRouter(tags=["system"])

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when the first began, and nobody asks

WITHIN_S: Final = 1.5
"""What Redis has not told by then is left out: Prometheus must hear that it hangs, not hang with it."""
UNMATCHED: Final = "unmatched"
"""The route of what never reached one: refused before, or not found."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
_EXAMPLE: Final = (
    "# HELP streamer_redis_up Whether Redis answers\n# TYPE streamer_redis_up gauge\nstreamer_redis_up 1.0\n"
)
_VERSION: Final = version("coinbase-streamer")


class Traffic:
    """What this process has answered over HTTP, and how much it takes.

    Args:
        clients: Returns how many event streams are open, by transport.

    Attributes:
        in_flight: Requests that are being answered, event streams among them.
    """

    def __init__(self, clients: Callable[[], Mapping[str, int]]) -> None:
        self._registry, self._clients = CollectorRegistry(), clients
        self.in_flight = 0
        registry = self._registry
        labels = ("route", "method", "status")
        self._requests = Counter("streamer_http_requests", "Requests answered", labels, registry=registry)
        about = "From a request until its answer began"
        name = "streamer_http_request_duration_seconds"
        self._durations = Histogram(name, about, labels[:1], buckets=_SECONDS, registry=registry)
        about = "Webhooks received, by what became of them"
        self._webhooks = Counter("streamer_webhooks", about, ("provider", "outcome"), registry=registry)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        registry.register(self)
        for collector in (ProcessCollector, GCCollector, PlatformCollector):
            collector(registry=registry)

    def answered(self, scope: Scope, status: int, took_s: float) -> None:
        """Note one request; its route is known once it has been answered."""
        key = getattr(scope.get("route"), "path", UNMATCHED), scope["method"], status
        known = self._known.get(key)
        if known is None:
            known = self._learn(*key)
            if key[1] in _METHODS:  # anything can be sent as a method
                self._known[key] = known
        counter, durations = known
        counter.inc()
        durations.observe(took_s)

    def webhook(self, provider: str, outcome: str) -> None:
        """Note one delivery; neither name may be one that anybody could make up."""
        self._webhooks.labels(provider, outcome).inc()

    def _learn(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        """Find the metrics by their labels, which takes longer than counting."""
        method = method if method in _METHODS else "other"
        return self._requests.labels(route, method, str(status)), self._durations.labels(route)

    def collect(self) -> Iterable[Metric]:
        """Return what is looked up rather than counted, as a collector does."""
        about = "Requests that are being answered, event streams among them"
        yield GaugeMetricFamily("streamer_http_requests_in_flight", about, value=self.in_flight)
        about = "Clients that prices are pushed to"
        clients = GaugeMetricFamily("streamer_http_stream_clients", about, labels=("transport",))
        for transport, number in self._clients().items():
            clients.add_metric((transport,), number)
        yield clients

    def as_text(self) -> bytes:
        """Return all of it for Prometheus."""
        return generate_latest(self._registry)


class Counted:
    """ASGI middleware that counts requests and their answers, refused ones too."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note when and how the answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traffic, began, has_begun = self._traffic, time.perf_counter(), False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                traffic.answered(scope, message["status"], time.perf_counter() - began)
            await send(message)

        traffic.in_flight += 1
        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not has_begun:  # it becomes a 500 outside of all middleware
                traffic.answered(scope, 500, time.perf_counter() - began)
            raise
        finally:
            traffic.in_flight -= 1


@dataclass(frozen=True, slots=True)
class _Told:
    """A collector of what has been collected."""

    held: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.held


async def facts_of(service: Service) -> Facts:
    """Return what Redis tells of stream and fleet, as much as it does in time."""
    facts = Facts(_VERSION)
    with suppress(StreamerError, TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            seen = await look(service.store, service.keys)
            verdict = seen.verdict
            facts = replace(
                facts,
                now_ms=seen.now_ms,
                level=verdict.level,
                codes=[reason.code for reason in verdict.reasons],
                status=seen.status,
            )
            facts = replace(facts, totals=await Counters(service.store, service.keys).grand_totals())
            calls = service.reader.calls
            facts = replace(facts, gateway=snapshot_json(await calls.snapshot(), calls.budgets))
    return facts


async def provider_facts_of(service: Service) -> ProviderFacts:
    """Return what Redis and this process tell of other providers, as much as they do in time."""
    desk = service.data
    rows: Sequence[Mapping[str, Any]] = ()
    with suppress(StreamerError, TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            rows = (await desk.standing())["providers"]
    calls: dict[tuple[str, str], int] = {}
    for name, provider in desk.providers.items():
        calls |= calls_of(name, provider.admission.statistics.calls)
    return ProviderFacts(rows, calls, dict(desk.keeper.alerts), dict(desk.keeper.findings))


async def traffic_of(request: Request) -> Traffic:
    """Return the counts of the application."""
    traffic: Traffic = request.app.state.traffic
    return traffic


_OK: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "in the text format of Prometheus, version 0.0.4",
        "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses=_OK | documented(),
)
async def metrics(
    service: Annotated[Service, Depends(service_of)], traffic: Annotated[Traffic, Depends(traffic_of)]
) -> Response:
    """Return how stream, fleet and this process stand; while Redis is away, that it is, and this process."""
    facts, of_providers = await asyncio.gather(facts_of(service), provider_facts_of(service))
    told = generate_latest(_Told([*families(facts), *provider_families(of_providers)])) + traffic.as_text()
    return Response(told, 200, {"Cache-Control": "no-store"}, CONTENT_TYPE_PLAIN_0_0_4)
