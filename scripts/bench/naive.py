"""What people write by hand: receive, decode, and await four commands a message."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import redis.asyncio as redis_asyncio
from websockets.asyncio.client import connect


async def naive_rate(ws_url: str, redis_url: str, products: Sequence[str], seconds: float) -> float:
    """Messages a second of the loop over the public API of both libraries, all defaults but the frame limits."""
    client = redis_asyncio.Redis.from_url(redis_url)
    count = 0
    async with connect(ws_url, compression=None, ping_interval=None, max_size=2**24) as connection:
        await connection.send(json.dumps({"type": "subscribe", "product_ids": list(products), "channel": "ticker"}))
        started = time.perf_counter()
        async for frame in connection:
            message = json.loads(frame)
            if message["channel"] != "ticker":
                continue
            for event in message["events"]:
                for ticker in event["tickers"]:
                    key = f"ticker_realtime:{ticker['product_id']}"
                    await client.hset(key, mapping=ticker)
                    await client.expire(key, 60)
                    await client.hset(f"{key}:stale", mapping=ticker)
                    await client.expire(f"{key}:stale", 86400)
            count += 1
            if time.perf_counter() - started > seconds:
                break
        connection.transport.abort()
    await client.aclose()
    return count / (time.perf_counter() - started)
