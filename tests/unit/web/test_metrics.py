"""What a process counts of its own HTTP traffic."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.web.metrics import UNMATCHED, Counted, Traffic


def traffic() -> Traffic:
    """Without clients."""
    return Traffic(lambda: {"sse": 2, "websocket": 1})


def samples(counted: Traffic) -> dict[tuple[str, ...], float]:
    """All there is, by name and label values."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(counted.as_text().decode())
        for sample in family.samples
    }


def answering(status: int, template: str | None) -> ASGIApp:
    """An application that answers, by a route or by none."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if template is not None:
            scope["route"] = SimpleNamespace(path=template)
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": b""})

    return app


async def ask(app: ASGIApp, path: str = "/x", method: str = "GET", kind: str = "http") -> None:
    """Send a request that nobody reads the answer of."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    await app({"type": kind, "path": path, "method": method}, receive, send)


async def test_requests_are_counted_by_template_and_never_by_path() -> None:
    """A scanner that asks for a thousand paths, or by a thousand methods, makes no thousand series."""
    counted = traffic()
    for number in range(50):
        await ask(Counted(answering(200, "/ticker/{product_id}"), counted), f"/ticker/{number}")
        await ask(Counted(answering(404, None), counted), f"/wp-admin/{number}", f"FOO{number}")
    told = samples(counted)
    requests = {key[1:]: value for key, value in told.items() if key[0] == "streamer_http_requests_total"}
    assert requests == {("GET", "/ticker/{product_id}", "200"): 50, ("other", UNMATCHED, "404"): 50}
    assert told["streamer_http_request_duration_seconds_count", UNMATCHED] == 50


async def test_a_bug_counts_as_500_and_goes_on_to_be_one() -> None:
    """Its answer is made outside of all middleware; one that breaks off within its body has been counted."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    async def breaking_off(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(200, "/y")(scope, receive, send)
        raise RuntimeError

    counted = traffic()
    for app in (broken, breaking_off):
        with pytest.raises(RuntimeError):
            await ask(Counted(app, counted))
    told = samples(counted)
    assert {key[1:]: value for key, value in told.items() if key[0] == "streamer_http_requests_total"} == {
        ("GET", UNMATCHED, "500"): 1,
        ("GET", "/y", "200"): 1,
    }
    assert told["streamer_http_requests_in_flight",] == 0


async def test_what_is_being_answered_is_in_flight() -> None:
    """From the request until all is sent or the client is gone; WebSockets are clients, not requests."""
    began, go_on, counted = asyncio.Event(), asyncio.Event(), traffic()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        began.set()
        await go_on.wait()

    asking: list[asyncio.Task[Any]] = [asyncio.create_task(ask(Counted(slow, counted))) for _ in range(2)]
    asking.append(asyncio.create_task(ask(Counted(slow, counted), kind="websocket")))
    await began.wait()
    await asyncio.sleep(0)
    assert samples(counted)["streamer_http_requests_in_flight",] == 2
    asking[0].cancel()
    go_on.set()
    await asyncio.gather(*asking, return_exceptions=True)
    told = samples(counted)
    assert told["streamer_http_requests_in_flight",] == 0
    assert (told["streamer_http_stream_clients", "sse"], told["streamer_http_stream_clients", "websocket"]) == (
        2,
        1,
    )
