"""A price that jumps, from the ingester's book to whoever reads it."""

from __future__ import annotations

from streamer.model import Tier
from streamer.reader.reader import AsyncReader
from streamer.reader.shown import ticker_json
from tests.integration.reader.rig import BTC, KEYS, Writer
from tests.support import RedisServer


async def test_a_jump_is_told_with_the_price_and_over_with_the_next(
    redis: RedisServer, areader: AsyncReader, writer: Writer
) -> None:
    """Realtime all the while, and as it was sent; the reason says that it jumped, in JSON too."""
    for number in range(30):
        await writer.write(BTC, f"100.0{number % 3}")
    assert (await areader.ticker(BTC)).reason is None
    await writer.write(BTC, "112.00")
    jumped = await areader.ticker(BTC)
    assert (str(jumped.value.price), jumped.tier) == ("112.00", Tier.REALTIME)
    assert jumped.reason is not None and jumped.reason.startswith("price jumped 12 % in one tick, ")
    assert ticker_json(jumped)["reason"] == jumped.reason
    assert redis.ask("HGET", KEYS.ticker(BTC), "outlier") == "1"
    assert writer.sink.status()["jumps"] == 1
    await writer.write(BTC, "100.01")
    assert (await areader.ticker(BTC)).reason is None
    assert redis.ask("HEXISTS", KEYS.ticker(BTC), "outlier") == 0
