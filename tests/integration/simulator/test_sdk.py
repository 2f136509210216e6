"""The official SDK's WebSocket clients work against the simulator as they do against the real exchange."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from coinbase.websocket import WSClient, WSUserClient

from streamer.simulator.exchange_ws import ExchangeServer
from streamer.simulator.keys import load_public_key, make_key_file
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.settings import ExchangeSettings
from tests.integration.simulator.helpers import read_key, wait_until

# The SDK (1.8.4) is written for the legacy client of websockets, which warns that it is deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*websockets.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*websockets.*legacy.*:DeprecationWarning"),
]


class Listener:
    """Collects what the SDK hands out on its own thread."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def __call__(self, message: str) -> None:
        self.messages.append(json.loads(message))

    def channels(self) -> set[str]:
        return {m.get("channel", m.get("type", "")) for m in list(self.messages)}


def exchange(**more: Any) -> ExchangeServer:
    settings = ExchangeSettings(ticks_per_s=200, heartbeat_s=0.1)
    return ExchangeServer(RandomWalkMarket(["BTC-USD", "ETH-USD"]), settings, **more)


async def test_ticker_and_heartbeats() -> None:
    """Prices and heartbeats arrive in sequence; a wrong channel is an authentication failure."""
    async with exchange() as server:
        heard = Listener()
        client = WSClient(base_url=server.url, on_message=heard)
        # Its calls block and wait for its own thread, so they run beside our loop.
        await asyncio.to_thread(client.open)
        try:
            await asyncio.to_thread(client.ticker, ["BTC-USD", "ETH-USD"])
            await asyncio.to_thread(client.heartbeats)
            await wait_until(lambda: {"ticker", "heartbeats", "subscriptions"} <= heard.channels())
            numbers = [m["sequence_num"] for m in list(heard.messages)]
            assert numbers == list(range(len(numbers)))
            await asyncio.to_thread(client.subscribe, [], ["heartbeat"])
            await wait_until(lambda: {"type": "error", "message": "authentication failure"} in heard.messages)
        finally:
            await asyncio.to_thread(client.close)


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
async def test_user_channel(tmp_path: Path, kind: Any) -> None:
    """The SDK's own token opens the user channel."""
    file = tmp_path / "key.json"
    make_key_file(file, kind)
    name, secret = read_key(file)
    async with exchange(keys=dict([load_public_key(file)])) as server:
        heard = Listener()
        client = WSUserClient(api_key=name, api_secret=secret, base_url=server.user_url, on_message=heard)
        await asyncio.to_thread(client.open)
        try:
            await asyncio.to_thread(client.user, [])
            await wait_until(lambda: "subscriptions" in heard.channels())
            assert [m["channel"] for m in heard.messages] == ["user", "subscriptions"]
        finally:
            await asyncio.to_thread(client.close)
