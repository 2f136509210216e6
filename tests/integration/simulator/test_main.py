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

from tests.integration.simulator.helpers import good_jwt, peer, price

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
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert time.monotonic() - started < 2


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
