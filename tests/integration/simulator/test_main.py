"""`python -m streamer.simulator` as a process: one line of addresses, clean stop, clear refusals."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from coinbase import jwt_generator

from streamer.simulator.control import send_command
from tests.integration.simulator.helpers import good_jwt, peer, price, read_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CAPTURE = Path("/work/shared/captures/coinbase-2021-04-17.jsonl")


@asynccontextmanager
async def simulator(*flags: str) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """A simulator process and what it announced."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamer.simulator", *flags, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line, (await process.communicate())[1]
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_announces_serves_and_stops(tmp_path: Path) -> None:
    """TLS with a new CA, a new key that logs in, prices, and an end within a second of SIGTERM."""
    key = tmp_path / "key.json"
    flags = ("--tls-dir", str(tmp_path / "tls"), "--make-key", str(key), "--products", "3", "--rate", "500")
    parent = ("--die-with-parent",) if sys.platform == "linux" else ()
    async with simulator(*flags, *parent) as (process, where):
        assert where["products"] == ["BTC-USD", "ETH-USD", "SOL-USD"]
        trust = ssl.create_default_context(cafile=where["ca"])
        async with peer(where["url"], trust) as client, peer(where["user_url"], trust) as user:
            await client.subscribed("ticker", "SOL-USD")
            assert price(await client.next_of("ticker"))
            await user.ask("user", jwt=good_jwt(key))
            assert (await user.next())["channel"] == "user"
            reading = [asyncio.create_task(each.read_on()) for each in (client, user)]
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert time.monotonic() - started < 2
            await asyncio.wait_for(asyncio.gather(*reading), 10)


@pytest.mark.skipif(not CAPTURE.exists(), reason=f"the capture {CAPTURE} is not on this machine")
async def test_it_replays_a_capture() -> None:
    """Every subscriber ends with the last recorded frame of every product, verbatim."""
    frames = [json.loads(line)["frame"] for line in CAPTURE.read_text().splitlines()]
    last = {t["product_id"]: (t, f["timestamp"]) for f in frames for e in f["events"] for t in e["tickers"]}
    async with simulator("--replay", str(CAPTURE), "--speed", "100") as (_, where), peer(where["url"]) as client:
        await client.ask("ticker", *last)
        seen: dict[str, Any] = {}
        number = 0
        while seen != last:
            message = await client.next()
            assert message["sequence_num"] == number
            number += 1
            for event in message["events"]:
                seen |= {t["product_id"]: (t, message["timestamp"]) for t in event.get("tickers", ())}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--quiet", "NOPE-USD"), b"quiet"),
        (("--faults", "/nowhere/at/all"), b"faults"),
        (("--replay", "/nowhere/at/all"), b"recording"),
        (("--rate", "-1"), b"--rate"),
    ],
)
async def test_bad_arguments_end_with_status_2(flags: tuple[str, ...], said: bytes) -> None:
    """One line says what is wrong; nothing is announced."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamer.simulator", *flags, stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert out == b""
    assert said in err
    assert b"Traceback" not in err


async def test_rest_is_announced_and_its_flags_hold(tmp_path: Path) -> None:
    """The URL answers with the key that was made; limits are as asked for; hung requests hold nothing up."""
    key = tmp_path / "key.json"
    flags = ("--tls-dir", str(tmp_path), "--make-key", str(key), "--key-kind", "EdDSA", "--key-seed-only")
    more = ("--private-rate", "2", "--public-rate", "0", "--no-rate-headers", "--fill-candles", "--rate", "0")
    newer = ("--unknown-products", "404", "--rest-history", "7")
    async with simulator(*flags, *more, *newer) as (process, where):
        assert where["rest_url"] == f"https://127.0.0.1:{where['rest_port']}"

        def ask(path: str, **params: Any) -> requests.Response:
            uri = f"GET 127.0.0.1:{where['rest_port']}/api/v3/brokerage{path}"
            headers = {"Authorization": f"Bearer {jwt_generator.build_rest_jwt(uri, *read_key(key))}"}
            with requests.Session() as session:
                session.trust_env, session.verify = False, where["ca"]
                url = f"{where['rest_url']}/api/v3/brokerage{path}"
                return session.get(url, params=params, headers=headers, timeout=10)

        answers = [await asyncio.to_thread(ask, "/accounts") for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert not any(name.lower().startswith("x-ratelimit") for name in answers[0].headers)
        assert {(await asyncio.to_thread(ask, "/time")).status_code for _ in range(15)} == {200}
        now_s = int(time.time())
        span = {"start": now_s - 99 * 300, "end": now_s, "granularity": "FIVE_MINUTE"}
        candles = (await asyncio.to_thread(ask, "/market/products/BTC-USD/candles", **span)).json()["candles"]
        assert len(candles) == 99
        assert (await asyncio.to_thread(ask, "/market/products", product_ids="NOPE-USD")).status_code == 404
        assert len((await send_command("127.0.0.1", where["control_port"], {"query": "rest"}))["recent"]) == 7
        await send_command("127.0.0.1", where["control_port"], {"fault": "rest_hang"})
        hung = asyncio.create_task(asyncio.to_thread(ask, "/time"))
        async with asyncio.timeout(10):
            while (await send_command("127.0.0.1", where["control_port"], {"query": "rest"}))["total"] < 21:
                pass
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert time.monotonic() - started < 2
        with pytest.raises(requests.RequestException):
            await hung
