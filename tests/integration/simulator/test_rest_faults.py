"""Everything that can go wrong with REST goes wrong on command, and is over when it is healed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import requests

from tests.integration.simulator.helpers import wait_until
from tests.integration.simulator.visitor import visit


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, "Unauthorized"),
        (500, '{"errors":[{"id":"internal_server_error","message":"Internal server error"}]}'),
        (502, "<html><body>502 Bad Gateway</body></html>"),
        (503, "upstream connect error or disconnect/reset before headers"),
        (599, "upstream error"),
    ],
)
async def test_any_status_can_be_ordered(tmp_path: Path, status: int, body: str) -> None:
    """For some paths, for some requests, and with Retry-After; then all is well again."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_status", status=status, path="/accounts", n=2, retry_after_s=7)
        assert (await visitor.ask("/products")).status_code == 200
        for _ in range(2):
            broken = await visitor.ask("/accounts")
            assert (broken.status_code, broken.text, broken.headers["Retry-After"]) == (status, body, "7")
        assert (await visitor.ask("/accounts")).status_code == 200
        assert visitor.tell(query="state")["faults"] == []


async def test_a_storm_of_429_ends_by_itself(tmp_path: Path) -> None:
    """`for_s` ends it; the three bodies come in turn, or one of them that was chosen."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_status", status=429, for_s=1.5)
        bodies = [(await visitor.ask("/time", token=None)).text[:6] for _ in range(4)]
        assert bodies == ["", "<html>", '{"erro', ""]
        async with asyncio.timeout(5):
            while (await visitor.ask("/time", token=None)).status_code == 429:
                pass
        visitor.tell(fault="rest_status", status=429, body="json")
        assert [(await visitor.ask("/time")).text[:6] for _ in range(2)] == ['{"erro'] * 2
        visitor.tell(heal=True)
        assert (await visitor.ask("/time")).status_code == 200


async def test_isolated_401s(tmp_path: Path) -> None:
    """One request is refused, with a good token, and the next is not."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_unauthorized")
        assert [(await visitor.ask("/accounts")).status_code for _ in range(3)] == [401, 200, 200]


async def test_slow_answers(tmp_path: Path) -> None:
    """The answer waits, as long as the fault is in force."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_slow", delay_s=0.3, n=1)
        started = time.monotonic()
        assert (await visitor.ask("/time")).status_code == 200
        assert 0.3 <= time.monotonic() - started < 3
        visitor.tell(fault="rest_slow", delay_s=60)
        with pytest.raises(requests.ReadTimeout):
            await visitor.ask("/time", timeout_s=0.2)


async def test_a_hung_request_is_answered_when_healed(tmp_path: Path) -> None:
    """Nothing comes until then; others are not held up; the books show that it came."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_hang", path="/accounts", n=1)
        hung = asyncio.create_task(visitor.ask("/accounts"))
        await wait_until(lambda: visitor.tell(query="rest")["routes"].get("GET /accounts") == 1)
        async with asyncio.timeout(5):
            assert (await asyncio.to_thread(requests.get, f"{visitor.url}/nope", timeout=5)).status_code == 404
        assert visitor.tell(query="rest")["routes_by_status"]["GET /accounts"] == {"0": 1}
        assert not hung.done()
        visitor.tell(heal=True)
        assert (await hung).status_code == 200


async def test_a_hung_request_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """The client's time-out ends it on both sides."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_hang")
        with pytest.raises(requests.ReadTimeout):
            await visitor.ask("/time", timeout_s=0.2)
        await wait_until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "rest-gone"])


async def test_the_exchange_stops_promptly_with_requests_hanging(tmp_path: Path) -> None:
    """A second is enough, whatever is being waited for."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_hang", path="/accounts")
        visitor.tell(fault="rest_dribble", path="/products", delay_s=60)
        asked = [asyncio.create_task(visitor.ask(path)) for path in ("/accounts", "/products")]
        await wait_until(lambda: visitor.tell(query="rest")["total"] == 2)
        started = time.monotonic()
    assert time.monotonic() - started < 1.5
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, requests.RequestException)


async def test_a_body_that_dribbles(tmp_path: Path) -> None:
    """It is whole in the end, byte by byte; healed, the rest comes at once."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_dribble", delay_s=0.001)
        started = time.monotonic()
        body = (await visitor.ask("/time")).text
        assert time.monotonic() - started > len(body) * 0.001
        assert body.startswith('{"iso"')
        visitor.tell(heal=True)
        visitor.tell(fault="rest_dribble", delay_s=60)
        slow = asyncio.create_task(visitor.ask("/time"))
        await wait_until(lambda: visitor.tell(query="rest")["total"] == 2)
        visitor.tell(heal=True)
        assert (await slow).json()["iso"]


async def test_a_connection_that_is_reset(tmp_path: Path) -> None:
    """It breaks in the middle of the body; the next request is answered."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_reset", n=1)
        with pytest.raises(requests.RequestException):
            await visitor.ask("/products")
        assert (await visitor.ask("/products")).status_code == 200


async def test_a_good_answer_that_is_not_json(tmp_path: Path) -> None:
    """200, and a page."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_garbage")
        answer = await visitor.ask("/accounts")
        assert (answer.status_code, answer.text[:6]) == (200, "<html>")
        with pytest.raises(requests.JSONDecodeError):
            answer.json()


async def test_a_good_answer_that_is_cut_short(tmp_path: Path) -> None:
    """200 and half of the body, as if that were all of it."""
    async with visit(tmp_path) as visitor:
        whole = await visitor.ask("/products/BTC-USD")
        visitor.tell(fault="rest_truncated", n=1)
        half = await visitor.ask("/products/BTC-USD")
        assert (half.status_code, half.text[:12]) == (200, whole.text[:12])
        with pytest.raises(requests.JSONDecodeError):
            half.json()
        assert (await visitor.ask("/products/BTC-USD")).json() == whole.json()


async def test_paging_that_never_ends(tmp_path: Path) -> None:
    """The same page with the same cursor, for ever."""
    async with visit(tmp_path) as visitor:
        visitor.tell(fault="rest_repeat_cursor")
        first = await visitor.get("/accounts", limit=2)
        again = await visitor.get("/accounts", limit=2, cursor=first["cursor"])
        assert again == first
        assert first["has_next"] and first["cursor"]
