"""What the API is held against: one FastAPI route that awaits one HGETALL, on the same server as ours."""

from __future__ import annotations

import asyncio
import os
import sys

import redis.asyncio as redis
from fastapi import FastAPI
from hypercorn.asyncio import serve
from hypercorn.config import Config

app = FastAPI()
# As many as there are clients at once: redis-py's own default raises for the 101st.
client = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True, max_connections=1000)


@app.get("/ticker/{product_id}")
async def ticker(product_id: str) -> dict[str, str]:
    """Return what the hash holds."""
    found: dict[str, str] = await client.hgetall(f"ticker_realtime:{product_id}")
    return found


def main() -> None:
    """Serve, on uvloop where there is one, as ours is."""
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    work = serve(app, config)  # type: ignore[arg-type]
    try:
        import uvloop

        uvloop.run(work)
    except ImportError:
        asyncio.run(work)


if __name__ == "__main__":
    main()
