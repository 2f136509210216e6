"""Candles, trades and product states over the WebSocket, and that REST says the same."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from tests.integration.simulator.helpers import Message, peer
from tests.integration.simulator.visitor import visit


def items(message: Message, name: str) -> list[dict[str, str]]:
    """What the first event of a message carries."""
    found: list[dict[str, str]] = message["events"][0][name]
    return found


async def test_candles_of_the_channel_are_those_of_rest(tmp_path: Path) -> None:
    """A snapshot of many, newest first; an update has the current one as REST has it."""
    async with visit(tmp_path, candles_snapshot=20) as visitor, peer(visitor.server.url) as client:
        await client.ask("candles", "BTC-USDC")
        snapshot, _ = await client.take(2)
        told = items(snapshot, "candles")
        starts = [int(candle["start"]) for candle in told]
        assert len(starts) == 20
        assert starts == sorted(starts, reverse=True)
        assert {candle["product_id"] for candle in told} == {"BTC-USD"}
        for price in ("84300", "84100.5"):
            visitor.tell(tick="BTC-USD", price=price)
        update = await client.next()
        assert update["events"][0]["type"] == "update"
        current = items(update, "candles")[0]
        assert current["close"] == "84100.5"
        params = {"start": starts[-1], "end": current["start"], "granularity": "FIVE_MINUTE"}
        candles = (await visitor.get("/products/BTC-USD/candles", **params))["candles"]
        assert {k: v for k, v in current.items() if k != "product_id"} == candles[0]
        assert all(candle in candles for candle in [{k: c[k] for k in candles[0]} for c in told[1:]])


async def test_every_trade_is_told_once_and_newest_first(tmp_path: Path) -> None:
    """After the snapshot no number is missing or comes twice, and REST has the same trades."""
    async with visit(tmp_path, ticks_per_s=400, trades_snapshot=30) as visitor, peer(visitor.server.url) as client:
        await client.ask("market_trades", "BTC-USD")
        snapshot, _ = await client.take(2)
        told = items(snapshot, "trades")[::-1]
        assert len(told) == 30
        for _ in range(3):
            update = await client.next()
            assert update["events"][0]["type"] == "update"
            told += items(update, "trades")[::-1]
        visitor.tell(pause=True)
        numbers = [int(trade["trade_id"]) for trade in told]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(told) > 60
        assert {trade["side"] for trade in told} == {"BUY", "SELL"}
        body = await visitor.get("/products/BTC-USD/ticker", limit=1000)
        held = {trade["trade_id"]: trade for trade in body["trades"]}
        assert all({k: held[t["trade_id"]][k] for k in t} == t for t in told)


async def test_the_ticker_and_the_tape_agree(tmp_path: Path) -> None:
    """One trade for each tick, at its price."""
    async with visit(tmp_path) as visitor, peer(visitor.server.url) as client:
        await client.subscribed("ticker", "ETH-USD")
        prices = ["2700.01", "2699.5", "2701"]
        for price in prices:
            visitor.tell(tick="ETH-USD", price=price)
        assert [items(m, "tickers")[0]["price"] for m in await client.take(3)] == prices
        trades = (await visitor.get("/products/ETH-USD/ticker", limit=3))["trades"]
        assert [trade["price"] for trade in trades] == prices[::-1]


async def test_a_saturated_market_has_a_sampled_tape(tmp_path: Path) -> None:
    """Some trades a second, so that candles and trades go on there too."""
    async with visit(tmp_path, ticks_per_s=math.inf) as visitor, peer(visitor.server.url) as client:
        await client.ask("market_trades", "BTC-USD")
        await client.ask("ticker", "BTC-USD")
        async with asyncio.timeout(10):
            while not any(t["type"] == "update" for t in (await client.next_of("market_trades"))["events"]):
                pass


async def test_all_products_are_told_again_and_again(tmp_path: Path) -> None:
    """With their own increments and with their aliases, as a snapshot and then as updates."""
    async with (
        visit(tmp_path, ("BTC-USD", "SHIB-USD"), status_s=0.05) as visitor,
        peer(visitor.server.url) as client,
    ):
        await client.ask("status")
        snapshot, _, update = await client.take(3)
        assert (snapshot["events"][0]["type"], update["events"][0]["type"]) == ("snapshot", "update")
        products = {product["id"]: product for product in items(snapshot, "products")}
        assert list(products) == ["BTC-USD", "BTC-USDC", "SHIB-USD", "SHIB-USDC"]
        assert products["SHIB-USDC"]["quote_increment"] == "0.00000001"
        assert items(update, "products") == list(products.values())


async def test_a_change_of_status_is_told_at_once(tmp_path: Path) -> None:
    """On the status channel and over REST, and nothing else is told of it."""
    async with visit(tmp_path, status_s=60) as visitor, peer(visitor.server.url) as client:
        await client.subscribed("status")

        async def after(**command: Any) -> tuple[list[tuple[str, str, str]], dict[str, Any]]:
            visitor.tell(**command)
            told = items(await client.next(), "products")
            return [(p["id"], p["status"], p["status_message"]) for p in told], await visitor.get(
                "/products/BTC-USD"
            )

        told, product = await after(product="BTC-USD", status="offline", message="maintenance")
        assert told == [("BTC-USD", "offline", "maintenance")]
        assert (product["status"], product["is_disabled"], product["trading_disabled"]) == ("offline", True, True)
        told, product = await after(product="BTC-USD", status="online")
        assert told == [("BTC-USD", "online", "")]
        assert not product["trading_disabled"]
