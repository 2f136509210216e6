"""What leave for a REST call costs: one admission against a bare GET, on the same server: `limiter.py [redis-url]`.

Without a URL it starts a redis-server of its own. The measures take turns, so that a slow moment meets all of them.
Admitted is what is admitted at once, with nobody waiting; the limits are far away, so that each call is granted.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import redis.asyncio as redis_asyncio

sys.path.insert(0, str(Path(__file__).parents[2]))

from streamer.gateway.admission import Admission
from streamer.gateway.decision import Grant
from streamer.gateway.limits import Outcome, Window
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.store.connect import Store
from streamer.store.keys import Keys
from tests.support import RedisServer

ROUNDS, EACH = 60, 50
CALL = Call(Priority.TRADING, caller="bench")
LIMITS = {Budget.MARKET: (Window(100_000, 60.0), Window(10_000, 1.0)), Budget.PRIVATE: (Window(10_000, 1.0),)}


async def timed(work: Callable[[], Awaitable[object]], took_us: list[float]) -> None:
    """Do it a number of times in a row."""
    for _ in range(EACH):
        began = time.perf_counter_ns()
        await work()
        took_us.append((time.perf_counter_ns() - began) / 1000)


async def measure(url: str) -> dict[str, list[float]]:
    """Return µs of every round trip by what it did."""
    store, bare = Store(url), redis_asyncio.Redis.from_url(url)
    admission = Admission(store, Keys("bench:"), LIMITS)
    grants: list[Grant] = []
    # Half of a new budget would be measured otherwise, which takes two look-ups more.
    for budget in LIMITS:
        await bare.zadd(Keys("bench:").gateway("coinbase", f"log:{budget}"), {"born": -1})

    async def admit() -> None:
        grants.append(await admission.admit(Budget.MARKET, CALL, "candles"))

    async def settle() -> None:
        await admission.settle(grants.pop(), Outcome.OK)

    await bare.set("bench:value", "x" * 20)
    work: dict[str, Callable[[], Awaitable[object]]] = {
        "GET, bare client": lambda: bare.get("bench:value"),
        "GET through Store": lambda: store.answer(store.client.get("bench:value")),
        "admit": admit,
        "settle": settle,
    }
    took: dict[str, list[float]] = {name: [] for name in work}
    try:
        for number in range(ROUNDS + 3):
            for name, one in work.items():
                await timed(one, took[name] if number >= 3 else [])
    finally:
        await admission.close()
        await store.close()
        await bare.aclose()
    assert not admission.is_alone, "Redis was away"
    return took


def main() -> None:
    """Print p50 and p99, and the ratio of the medians to that of a bare GET."""
    with ExitStack() as stack:
        if len(sys.argv) > 1:
            url = sys.argv[1]
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = stack.enter_context(RedisServer(Path(folder))).url
        took = asyncio.run(measure(url))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("redis", "hiredis"))
    print(f"Python {platform.python_version()}, {libraries}, n = {ROUNDS * EACH} each")
    base = statistics.median(took["GET, bare client"])
    for name, values in took.items():
        cuts = statistics.quantiles(values, n=100)
        ratio = statistics.median(values) / base
        print(f"{name:<18} p50 {cuts[49]:7.1f} µs   p99 {cuts[98]:7.1f} µs   {ratio:4.2f} x GET")


if __name__ == "__main__":
    main()
