"""A reader in FastAPI applications of others: one for all requests, closed at the end, replaced in tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from hypercorn.asyncio import serve
from hypercorn.config import Config
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamer import AsyncReader
from streamer.model import ProductId
from streamer.web import add_problem_handlers, lifespan, reader
from tests.integration.web.rig import NOWHERE, Full
from tests.integration.web.test_routes import refused
from tests.support import BIN, PATIENCE, Process, RedisServer, free_port, run, until, wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "fastapi_app"
Market = Annotated[AsyncReader, Depends(reader)]
MADE: list[AsyncReader] = []


def application(**how: Any) -> FastAPI:
    """An application of somebody who knows nothing of us but what is documented."""
    app = FastAPI(title="bots", **how)
    add_problem_handlers(app)

    @app.get("/price/{product_id}")
    async def price(product_id: str, market: Market) -> Decimal:
        MADE.append(market)
        return (await market.ticker(product_id, timeout_s=0.5)).value.price

    @app.websocket("/prices")
    async def prices(websocket: WebSocket, market: Market, product_id: str) -> None:
        MADE.append(market)
        if product_id == "later":
            await websocket.accept()
        await market.ticker(product_id, timeout_s=0.5)
        await websocket.accept()
        async for _, reading in market.watch([product_id]):
            await websocket.send_text(str(reading.value.price))

    return app


@pytest.fixture(autouse=True)
def environment(redis: RedisServer, world: Full, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings as their application finds them."""
    monkeypatch.setenv("REDIS_URL", redis.url)
    monkeypatch.setenv("STREAMER_REST_URL", NOWHERE)
    monkeypatch.setenv("STREAMER_DEMAND", "false")
    yield
    MADE.clear()


def connections(redis: RedisServer) -> int:
    """How many there are to Redis, beside the one that asks."""
    return len(redis.ask("CLIENT", "LIST").splitlines()) - 1


@asynccontextmanager
async def asking(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application in this loop, which is started and stopped as a server does."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Where the WebSocket of an application is, on a real socket."""
    config, stop = Config(), asyncio.Event()
    config.bind, config.errorlog = [f"127.0.0.1:{free_port()}"], None
    serving = asyncio.create_task(serve(cast(Any, app), config, shutdown_trigger=stop.wait))
    try:
        where = f"ws://{config.bind[0]}/prices"
        async with asyncio.timeout(10 * PATIENCE):
            while True:
                with suppress(OSError, InvalidStatus):
                    async with connect(f"{where}?product_id=BTC-USD"):
                        break
                await asyncio.sleep(0.01)
        yield where
    finally:
        stop.set()
        await serving
        asyncio.get_running_loop().set_exception_handler(None)


async def test_one_reader_for_all_requests_closed_at_the_end(redis: RedisServer) -> None:
    """However many ask at once, and not before the first does; it bears the title of the application."""
    before = connections(redis)
    app = application(lifespan=lifespan)
    async with asking(app) as client:
        assert connections(redis) == before
        answers = await asyncio.gather(*(client.get("/price/BTC-USD") for _ in range(20)))
        assert {answer.text for answer in answers} == {'"100"'}
        assert len({id(one) for one in MADE}) == 1
        assert MADE[0]._ask.ask().call.caller == "bots"
        assert connections(redis) > before
    await until(lambda: connections(redis) == before, 5)
    async with asking(app) as client:  # an application may be started again
        assert (await client.get("/price/BTC-USD")).text == '"100"'
    await until(lambda: connections(redis) == before, 5)


async def test_within_a_lifespan_of_their_own(redis: RedisServer) -> None:
    """Which goes on to be theirs."""
    before, seen = connections(redis), []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            seen.append("begun")
            yield
            seen.append("ended")

    async with asking(application(lifespan=own)) as client:
        assert (await client.get("/price/BTC-USD")).status_code == 200
    assert seen == ["begun", "ended"]
    await until(lambda: connections(redis) == before, 5)


def test_who_forgets_the_lifespan_loses_nothing(redis: RedisServer) -> None:
    """It closes itself when the loop ends; a loop after that has a reader of its own."""
    before, app = connections(redis), application()

    async def ask_twice() -> list[str]:
        async with asking(app) as client:
            answers = [(await client.get("/price/BTC-USD")).text for _ in range(2)]
            assert connections(redis) > before
            return answers

    for _ in range(3):
        assert asyncio.run(ask_twice()) == ['"100"', '"100"']
        wait_until(lambda: connections(redis) == before, 5)
    assert len({id(one) for one in MADE}) == 3
    assert len(app.state.streamer_readers) == 1


async def test_over_a_websocket(world: Full) -> None:
    """The same reader, with all that it can; errors deny it, or close what was accepted."""
    async with served(application(lifespan=lifespan)) as where:
        async with connect(f"{where}?product_id=BTC-USD") as socket:
            assert await socket.recv() == "100"
            world.push(ProductId("BTC-USD"), "101")
            assert await socket.recv() == "101"
        with pytest.raises(ConnectionClosed) as closed:
            async with connect(f"{where}?product_id=later") as socket:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        assert "expected base-quote" in closed.value.rcvd.reason
        with pytest.raises(InvalidStatus) as denied:
            await connect(f"{where}?product_id=bad")
        assert denied.value.response.status_code == 422
        assert denied.value.response.headers["content-type"] == "application/problem+json"
    assert len({id(one) for one in MADE}) == 1


async def test_errors_are_problems(redis: RedisServer) -> None:
    """Of ours, by one call; what is wrong is said, and nothing of where Redis is."""
    async with asking(application(lifespan=lifespan)) as client:
        assert refused(await client.get("/price/btc"), 422, "invalid")
        assert refused(await client.get("/price/ETH-USD"), 503, "unavailable")["tiers"]


async def test_wrong_settings_are_no_fault_of_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the log, not in the answer; with better ones the next request is served."""
    good = os.environ["REDIS_URL"]
    monkeypatch.setenv("REDIS_URL", "http://secret-host")
    async with asking(application(lifespan=lifespan)) as client:
        answer = await client.get("/price/BTC-USD")
        assert "secret-host" not in str(refused(answer, 503, "failed"))
        monkeypatch.setenv("REDIS_URL", good)
        assert (await client.get("/price/BTC-USD")).status_code == 200


async def test_it_can_be_replaced_in_tests(redis: RedisServer) -> None:
    """As any dependency: what is in its place is asked, and no reader is made."""

    class Fake:
        async def ticker(self, product_id: str, **how: object) -> Any:
            raise KeyError(product_id)

    before, app = connections(redis), application(lifespan=lifespan)
    app.dependency_overrides[reader] = Fake
    async with asking(app) as client:
        with pytest.raises(KeyError, match="BTC-USD"):
            await client.get("/price/BTC-USD")
    assert not app.state.streamer_readers
    assert connections(redis) == before


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_the_example_runs(redis: RedisServer, tmp_path: Path, server: str) -> None:
    """As its README says: what the account is worth while a stream runs, then what is stale, then why not."""
    redis.ask("FLUSHALL")
    port = free_port()
    where = ["--port", str(port)] if server == "uvicorn" else ["--bind", f"127.0.0.1:{port}"]
    stream = [str(BIN / "start-stream"), "BTC-USD", "ETH-USD", "SOL-USD", "--exchange", "simulator", "--no-api"]
    app = [sys.executable, "-m", server, "main:app", *where]
    env = {"REDIS_URL": redis.url, "PYTHONPATH": str(EXAMPLE), "STREAMER_REST_URL": NOWHERE}
    with (
        Process(stream, tmp_path, env={"REDIS_URL": redis.url}, name="stream") as streaming,
        Process(app, tmp_path, env=env, name="app") as application,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10 * PATIENCE) as client,
    ):
        status = partial(run, "stream-status", "--redis-url", redis.url, folder=tmp_path)
        wait_until(lambda: status().returncode == 0, 30)
        wait_until(partial(_answers, client), 10)
        told = wait_until(lambda: _of(client, "realtime"), 10)
        positions = {one["currency"]: one for one in told["positions"]}
        assert {"USD", "BTC", "ETH", "SOL"} <= positions.keys()
        assert told["age_s"] < 5
        assert Decimal(told["value"]) == sum(Decimal(one["value"]) for one in positions.values() if one["value"])
        btc = positions["BTC"]
        assert Decimal(btc["value"]) == Decimal(btc["total"]) * Decimal(btc["price"]) > 0
        streaming.signal(signal.SIGTERM)
        assert wait_until(lambda: _of(client, "stale"), 20)["value"]
        redis.ask("FLUSHALL")
        assert refused(client.get("/value"), 503, "unavailable")["tiers"]
        application.signal(signal.SIGTERM)
        assert application.wait(10) in (0, -15)
        assert "Traceback" not in application.log


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/docs").status_code == 200
    except httpx.TransportError:
        return False


def _of(client: httpx.Client, tier: str) -> Any:
    answer = client.get("/value")
    body = json.loads(answer.content)
    return body if body.get("tier") == tier else None
