"""Recorded market data through the whole stream: what Redis holds at the end is what was recorded last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import META, RedisServer, Simulator, Stream, is_healthy, values, wait_until

CAPTURE = Path(__file__).resolve().parents[3] / "shared" / "captures" / "coinbase-2021-04-17.jsonl"

Last = dict[str, tuple[dict[str, str], str]]


def last_of(recording: Path) -> Last:
    """Return each product's newest ticker and the time of the envelope it came in."""
    frames: list[dict[str, Any]] = [json.loads(line)["frame"] for line in recording.read_text().splitlines()]
    return {t["product_id"]: (t, f["timestamp"]) for f in frames for e in f["events"] for t in e["tickers"]}


def replayed(recording: Path, speed: float, transport: str, redis: RedisServer, folder: Path) -> None:
    """Stream a recording to its end and compare, field by field."""
    last = last_of(recording)
    with Simulator(folder, "--replay", str(recording), "--speed", str(speed)) as exchange:
        arguments = (*last, "--ws-url", exchange.url, "--redis-url", redis.url)
        with Stream(folder, *arguments, transport=transport) as stream:
            wait_until(lambda: exchange.state()["ended"], 40, why="the recording does not end")

            def is_complete() -> bool:
                for product_id, (ticker, timestamp) in last.items():
                    held = redis.ticker(product_id)
                    assert {n: v for n, v in held.items() if n not in META} == values(ticker), product_id
                    assert (held["time"], held["source"]) == (timestamp, "simulator"), product_id
                    assert redis.shadow(product_id) == held, product_id
                return True

            wait_until(is_complete, 10)
            wait_until(lambda: is_healthy(redis.url), 5, why="not healthy at the end")
            status = json.loads(redis.ask("GET", "stream:status"))
            assert status["frames"]["malformed"] == status["frames"]["rejected_values"] == 0
            assert status["feeds"][0]["gaps"] == 0
            assert '"level":"warning"' not in stream.log


@pytest.mark.skipif(not CAPTURE.exists(), reason=f"the capture {CAPTURE} is not on this machine")
@pytest.mark.parametrize("transport", ["websockets", "picows"])
def test_a_captured_market_arrives_verbatim(redis: RedisServer, tmp_path: Path, transport: str) -> None:
    """Ten products of 2021-04-17: every value as Coinbase sent it, times included, hash and shadow."""
    assert len(last_of(CAPTURE)) == 10
    replayed(CAPTURE, 10, transport, redis, tmp_path)


def line(at_s: float, stamp: str, *tickers: dict[str, str]) -> str:
    """A line of a recording."""
    event = {"type": "update", "tickers": [{"type": "ticker", **ticker} for ticker in tickers]}
    frame = {"channel": "ticker", "timestamp": stamp, "sequence_num": 0, "events": [event]}
    return json.dumps({"at_s": at_s, "frame": frame})


def test_a_small_recording_arrives_verbatim(redis: RedisServer, tmp_path: Path) -> None:
    """Trailing zeros, many digits, empty values, two tickers in a frame, stamps without and with a fraction."""
    recording = tmp_path / "small.jsonl"
    btc = {"product_id": "BTC-USD", "price": "84210.3700", "best_bid": "84210.36", "best_ask": "84210.37"}
    tiny = {"product_id": "SHIB-USD", "price": "0.000012340000000000", "volume_24_h": "98765432109876.54321"}
    down = {"price_percent_chg_24_h": "-12.74010192", "low_52_w": "", "high_52_w": "0"}
    lines = [
        line(0, "2026-11-20T15:04:06Z", btc | {"low_52_w": "1", "best_bid_quantity": "0"}, tiny),
        line(0.4, "2026-11-20T15:04:06.1Z", tiny | {"price": "0.00001235"}),
        line(0.6, "2026-11-20T15:04:07.123456789Z", btc | down, tiny | down),
        line(0.8, "2026-11-20T15:04:08Z", btc | down | {"price": "84211"}),
    ]
    recording.write_text("\n".join(lines) + "\n")
    replayed(recording, 1, "websockets", redis, tmp_path)
    assert redis.ticker("SHIB-USD")["price"] == "0.000012340000000000"
    assert "low_52_w" not in redis.ticker("BTC-USD")
