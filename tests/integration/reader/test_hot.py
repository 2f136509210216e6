"""What is read from copies is noted, so that somebody renews it; what the stream has is not."""

from __future__ import annotations

import pytest

from streamer.errors import Unavailable
from streamer.model import Granularity, Tier
from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader
from streamer.store.connect import Store
from streamer.store.hot import HotSet
from tests.integration.reader.rig import BTC, ETH, KEYS, UUID, World, ask, candle_entries

MINUTES = KEYS.candles_copy(BTC, Granularity.ONE_MINUTE, 3)


async def closed(reader: AsyncReader | Reader) -> None:
    """End it: it then tells all there is; a synchronous one if it has ever had anything to do behind the scenes."""
    if isinstance(reader, AsyncReader):
        await reader.close()
    else:
        reader.behind()
        reader.close()


async def test_copies_that_are_read_are_noted(world: World, reader: AsyncReader | Reader, store: Store) -> None:
    """Fresh and stale ones alike, each with when it was read."""
    world.copy(KEYS.ticker_copy(ETH), {"product_id": ETH, "price": "5"})
    start_s = world.now_ms // 60_000 * 60
    world.copy(MINUTES, candle_entries(start_s - 120, 3, Granularity.ONE_MINUTE), to="stale")
    assert (await ask(reader, "ticker", ETH)).tier is Tier.CACHE
    assert (await ask(reader, "candles", BTC, Granularity.ONE_MINUTE, 3)).tier is Tier.STALE
    await closed(reader)
    idle_s = await HotSet(store, KEYS).read()
    assert idle_s.keys() == {KEYS.ticker_copy(ETH).key, MINUTES.key}
    assert all(idle < 5 for idle in idle_s.values())


async def test_what_is_realtime_or_missing_is_not_noted(
    world: World, reader: AsyncReader | Reader, store: Store
) -> None:
    """Nobody is to renew what the stream keeps, nor what nobody could be served."""
    world.ticker(BTC)
    assert (await ask(reader, "ticker", BTC)).tier is Tier.REALTIME
    for method, *args in (("ticker", ETH), ("portfolio_breakdown", UUID)):
        with pytest.raises(Unavailable):
            await ask(reader, method, *args)
    await closed(reader)
    assert await HotSet(store, KEYS).read() == {}
