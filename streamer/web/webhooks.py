"""`POST /webhooks/{provider}`: what others deliver, answered as soon as Redis has it and not before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

import orjson
import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from streamer.errors import StreamerError
from streamer.settings import Settings
from streamer.web.access import Meter
from streamer.web.problems import MEDIA_TYPE, documented, of_error, problem, too_many
from streamer.webhooks.delivery import Delivery, Posted, Reason, Refused
from streamer.webhooks.prices import PriceUpdate, price_of
from streamer.webhooks.store import Inbox, Outcome

log = structlog.get_logger(__name__)
router = APIRouter(tags=["webhooks"])

EVENT_S: Final = 0.5
"""What is done about an event beyond keeping it may take so long: its sender waits, and TradingView only 3 s."""
_UNKNOWN: Final = "unknown"
_JSON: Final = "application/json"
_TOLD: Final = {
    400: (
        "malformed",
        "Malformed delivery",
        "data.price is no number: 'high'",
        "proved, and then not what it should be",
    ),
    401: (
        "not-proved",
        "Not proved",
        "check secret, signature, timestamp and headers; the log of the service says more",
        "signature, timestamp, header, token or address is wrong; which of them is not told",
    ),
    404: ("not-found", "Not Found", "no webhooks are taken under that name", "nobody of that name is let in"),
    409: (
        "webhook-conflict",
        "Id in use",
        "another delivery has been taken under this id",
        "the id was that of another delivery; a new event needs a new id",
    ),
    415: (
        "media-type",
        "Unsupported media type",
        f"send JSON, with Content-Type: {_JSON}",
        "it is not sent as JSON",
    ),
}
"""Kind, title and detail of each problem, and when it comes. Only of 400 is the detail another each time."""

OnEvent = Callable[[str, Delivery, PriceUpdate | None], Awaitable[None]]
"""What is told of each delivery once it is stored: its provider, itself, and the price where it is one."""


async def nothing(provider: str, delivery: Delivery, price: PriceUpdate | None) -> None:
    """Do nothing about an event."""


class Receiver:
    """Takes deliveries, in this process; other processes may take others at the same time.

    Args:
        on_event: Told of what has been stored, once for each; if it fails, that is logged, and the event is kept.
    """

    def __init__(
        self, settings: Settings, inbox: Inbox, count: Callable[[str, str], None], on_event: OnEvent = nothing
    ) -> None:
        self._senders, self._proxies = settings.webhook_senders, frozenset(settings.webhook_proxies)
        self._inbox, self._count, self._on_event = inbox, count, on_event
        self._calls = Meter(settings.webhook_calls_per_s)
        self._lines = Meter(1)

    async def take(self, provider: str, posted: Posted) -> Response:
        """Return the answer to a delivery."""
        sender = self._senders.get(provider)
        if sender is None:
            return self._answer(_UNKNOWN, "unknown", _refusal(404))
        if (wait_s := self._calls.take(f"{provider} {posted.remote}")) > 0:
            return self._answer(provider, "limited", too_many(wait_s))
        if _media_type(posted) != _JSON:
            return self._answer(provider, "media-type", _refusal(415))
        now_s = time.time()
        try:
            delivery = sender.verify(posted, now_s)
            price = price_of(delivery, now_s)
        except Refused as exc:
            return self._refused(provider, posted, exc)
        try:
            outcome = await self._inbox.put(provider, delivery, int(now_s * 1000))
        except StreamerError as exc:
            self._say("webhook.unstored", provider, str(exc))
            return self._answer(provider, "unstored", of_error(exc))
        if outcome is Outcome.STORED:
            await self._tell(provider, delivery, price)
        if outcome is Outcome.CONFLICT:
            self._say("webhook.conflict", provider, delivery.id)
            return self._answer(provider, outcome, _refusal(409))
        return self._answer(provider, outcome, _taken(outcome))

    def remote_of(self, request: Request) -> str:
        """Return where a request came from: the last address that no proxy of ours has."""
        remote = request.client.host if request.client is not None else ""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        for address in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
            if remote not in self._proxies:
                break
            remote = address
        return remote

    async def _tell(self, provider: str, delivery: Delivery, price: PriceUpdate | None) -> None:
        try:
            async with asyncio.timeout(EVENT_S):
                await self._on_event(provider, delivery, price)
        except (StreamerError, TimeoutError) as exc:
            log.warning("webhook.event", provider=provider, id=delivery.id, why=str(exc) or "took too long")

    def _refused(self, provider: str, posted: Posted, exc: Refused) -> Response:
        self._say("webhook.refused", provider, exc.reason, remote=posted.remote, detail=exc.detail)
        if exc.reason is Reason.MALFORMED:
            return self._answer(provider, "malformed", _refusal(400, exc.detail))
        return self._answer(provider, "refused", _refusal(401))

    def _say(self, event: str, provider: str, why: str, **more: str) -> None:
        """Write a line, though not more than one a second of a kind: anybody can make us write these."""
        if self._lines.take(f"{event} {provider}") == 0:
            log.warning(event, provider=provider, why=why, **more)

    def _answer(self, provider: str, outcome: str, answer: Response) -> Response:
        self._count(provider, outcome)
        return answer


def _media_type(posted: Posted) -> str:
    values = [value for name, value in posted.headers if name == "content-type"]
    return values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""


def _refusal(status: int, detail: str | None = None) -> Response:
    kind, title, usual, _ = _TOLD[status]
    return problem(status, kind, title, usual if detail is None else detail)


def _taken(outcome: Outcome) -> Response:
    return Response(orjson.dumps({"status": outcome.value}), 200, {"Cache-Control": "no-store"}, _JSON)


class Taken(BaseModel):
    """What became of a delivery."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["stored", "duplicate"]


def _answers() -> dict[int | str, dict[str, Any]]:
    """Return the problems of the route as the OpenAPI document is to have them."""
    told = documented(408, 413, 503)
    for status, (kind, title, detail, when) in _TOLD.items():
        example = {"type": f"urn:streamer:{kind}", "title": title, "status": status, "detail": detail}
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
        told[status] = {"description": when, "content": {MEDIA_TYPE: content}}
    return told


_EXAMPLE: Final = {
    "type": "price.updated",
    "data": {"symbol": "BTC-USD", "price": "91320.01", "as_of": "2026-11-20T15:00:04.880Z", "source": "relay"},
}
# Described by hand: FastAPI would answer 422, and before anything is proved.
_ASKED: Final[dict[str, Any]] = {
    "parameters": [{"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}}],
    "requestBody": {
        "required": True,
        "content": {_JSON: {"schema": {"type": "object"}, "example": _EXAMPLE}},
    },
}


async def receiver_of(request: Request) -> Receiver:
    """Return what takes deliveries: a dependency."""
    receiver: Receiver = request.app.state.webhooks
    return receiver


@router.post(
    "/webhooks/{provider}",
    summary="Deliver an event",
    response_model=Taken,
    responses=_answers(),
    openapi_extra=_ASKED,
)
async def deliver(request: Request, receiver: Annotated[Receiver, Depends(receiver_of)]) -> Response:
    """Take an event that is proved by the scheme of its provider (docs/webhooks.md); 200 says that it is stored."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    posted = Posted(headers, await request.body(), receiver.remote_of(request))
    return await receiver.take(request.path_params["provider"], posted)
