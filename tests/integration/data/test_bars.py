"""Bars: the newest, and ranges longer than a provider gives at once, in pieces that are shared."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Final

import pytest

from streamer.data.manager import How
from streamer.errors import ConfigError, Unavailable
from streamer.model import Tier
from streamer.providers.binance import Binance
from streamer.providers.polygon import Polygon
from streamer.providers.shape import Bar, Interval
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import USDT, Party, landed, totals
from tests.support import RedisServer

MOST: Final = Binance.max_bars
HOUR_S: Final = 3600


def starts(bars: list[Bar] | tuple[Bar, ...]) -> list[int]:
    """When bars begin."""
    return [bar.start_s for bar in bars]


def is_unbroken(bars: list[Bar] | tuple[Bar, ...], interval: Interval) -> bool:
    """Whether there is each bar once, in order."""
    return all(after - before == interval.seconds for before, after in pairwise(starts(bars)))


@pytest.mark.parametrize("limit", [1, 100, 300])
async def test_the_newest(party: Party, fake: ProviderFake, redis: RedisServer, limit: int) -> None:
    """As many as were asked for, the last one open; other numbers of them come from the same copy."""
    served = await party.desk.bars(USDT, Interval.M1, limit=limit)
    bars = served.found.value.bars
    assert len(bars) == limit
    assert is_unbroken(tuple(bars), Interval.M1)
    assert [bar.is_closed for bar in bars[-2:]] == [True, False][-min(2, limit) :]
    assert 0 <= time.time() - bars[-1].start_s < 61
    await landed(redis, "binance", USDT, "1m")
    fewer = await party.desk.bars(USDT, Interval.M1, limit=7)
    assert fewer.found.tier is Tier.CACHE
    assert len(fewer.found.value.bars) == 7
    assert totals(fake) == {"binance": 1}


async def test_a_long_range(party: Party, fake: ProviderFake) -> None:
    """It comes in aligned pieces of what the provider gives at once, with progress, cut to what was asked for."""
    told: list[tuple[int, int]] = []
    end_s = 1_790_000_000 // HOUR_S * HOUR_S
    start_s = end_s - 1200 * HOUR_S
    how = How(provider="binance", progress=lambda at, of: told.append((at, of)))
    served = await party.desk.bars(USDT, Interval.H1, start_s=start_s, end_s=end_s, limit=5000, how=how)
    bars = served.found.value.bars
    assert starts(tuple(bars)) == list(range(start_s, end_s, HOUR_S))
    first, last = start_s // (MOST * HOUR_S), (end_s - 1) // (MOST * HOUR_S)
    pieces = last - first + 1
    assert pieces in (3, 4)
    assert told == [(at, pieces) for at in range(1, pieces + 1)]
    assert totals(fake) == {"binance": pieces}


async def test_a_limit_bounds_the_calls(party: Party, fake: ProviderFake) -> None:
    """Of a long range with a limit the newest pieces are asked for, and no more of them than it takes."""
    end_s = 1_790_000_000 // HOUR_S * HOUR_S
    how = How(provider="binance")
    served = await party.desk.bars(
        USDT, Interval.H1, start_s=end_s - 50_000 * HOUR_S, end_s=end_s, limit=3, how=how
    )
    assert starts(tuple(served.found.value.bars)) == [end_s - 3 * HOUR_S, end_s - 2 * HOUR_S, end_s - HOUR_S]
    assert totals(fake)["binance"] <= 2


async def test_what_the_plan_has_of_a_range(join: Join, fake: ProviderFake) -> None:
    """Where older bars are not in the plan, the newer ones come, and say so."""
    party = await join(STREAMER_PROVIDERS_STOCK="alphavantage")
    start_s = int(time.time()) - 90 * 24 * HOUR_S
    served = await party.desk.bars(parse_symbol("SPY"), Interval.D1, start_s=start_s, limit=5000)
    assert 50 <= len(served.found.value.bars) <= 66
    assert served.found.value.bars[0].start_s - start_s < 6 * 24 * HOUR_S or "plan" in (served.reason or "")


async def test_pieces_are_shared(join: Join, fake: ProviderFake, redis: RedisServer) -> None:
    """Who asks for another part of the same time gets the pieces that are there, also in another process."""
    one, other = await join(), await join()
    end_s = 1_790_000_000 // (MOST * HOUR_S) * MOST * HOUR_S
    start_s = end_s - 2 * MOST * HOUR_S
    await one.desk.bars(USDT, Interval.H1, start_s=start_s, end_s=end_s, limit=5000)
    assert totals(fake) == {"binance": 2}
    for begin_s in (start_s, start_s + MOST * HOUR_S):
        await landed(redis, "binance", USDT, f"1h:{begin_s}:{begin_s + MOST * HOUR_S}")
    within = await other.desk.bars(
        USDT, Interval.H1, start_s=start_s + 10 * HOUR_S, end_s=end_s - 10 * HOUR_S, limit=5000
    )
    assert within.found.tier is Tier.CACHE
    assert starts(tuple(within.found.value.bars)) == list(range(start_s + 10 * HOUR_S, end_s - 10 * HOUR_S, HOUR_S))
    further = await other.desk.bars(USDT, Interval.H1, start_s=start_s, end_s=end_s + MOST * HOUR_S, limit=5000)
    assert further.found.tier is Tier.REST
    assert len(further.found.value.bars) == 3 * MOST
    assert totals(fake) == {"binance": 3}


async def test_more_than_are_given_at_once(party: Party, fake: ProviderFake) -> None:
    """A number beyond the provider's limit is a range up to now, its last bar open."""
    served = await party.desk.bars(USDT, Interval.M5, limit=700)
    bars = served.found.value.bars
    assert len(bars) == 700
    assert is_unbroken(tuple(bars), Interval.M5)
    assert not bars[-1].is_closed
    assert totals(fake)["binance"] in (2, 3)


async def test_before_there_was_anything(party: Party, fake: ProviderFake) -> None:
    """Pieces without data are no failure of the range; a range of nothing else is."""
    end_s = 1_790_000_000 // (MOST * HOUR_S) * MOST * HOUR_S
    start_s = end_s - 2 * MOST * HOUR_S
    how = How(provider="binance")
    fake.fault("binance", "empty", count=1)
    served = await party.desk.bars(USDT, Interval.H1, start_s=start_s, end_s=end_s, limit=5000, how=how)
    # The newest piece is asked for first, and that was the empty one.
    assert starts(tuple(served.found.value.bars)) == list(range(start_s, start_s + MOST * HOUR_S, HOUR_S))
    fake.fault("binance", "empty")
    with pytest.raises(Unavailable, match="binance"):
        await party.desk.bars(
            USDT, Interval.H1, start_s=start_s - 4 * MOST * HOUR_S, end_s=end_s - 4 * MOST * HOUR_S, how=how
        )


async def test_one_provider_a_range(join: Join, fake: ProviderFake, redis: RedisServer) -> None:
    """Where a piece fails, the whole range is the next one's: pieces of two are never joined."""
    party, btc = await join(STREAMER_PROVIDERS_CRYPTO="polygon,eodhd"), parse_symbol("BTC-USD")
    most_s = Polygon.max_bars * HOUR_S
    start_s = 1_790_000_000 // most_s * most_s - most_s
    await party.desk.bars(btc, Interval.H1, start_s=start_s, end_s=start_s + most_s, limit=5000)
    await landed(redis, "polygon", btc, f"1h:{start_s}:{start_s + most_s}")
    fake.fault("polygon", "limited")
    served = await party.desk.bars(btc, Interval.H1, start_s=start_s, end_s=start_s + 2 * most_s, limit=5000)
    assert served.found.provider == "eodhd"
    assert starts(tuple(served.found.value.bars)) == list(range(start_s, start_s + 2 * most_s, HOUR_S))
    assert "polygon was asked first" in (served.reason or "")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ({"limit": 0}, "limit"),
        ({"start_s": 2_000, "end_s": 1_000}, "start"),
        ({"start_s": 0, "end_s": 1_790_000_000}, "ask in parts"),
        ({"start_s": 4_000_000_000}, "before now"),
    ],
)
async def test_what_makes_no_sense(party: Party, fake: ProviderFake, words: dict[str, int], rule: str) -> None:
    """A range that ends before it begins, or is for too many, is refused before anyone is asked."""
    with pytest.raises(ConfigError, match=rule):
        await party.desk.bars(USDT, Interval.M1, **words)  # type: ignore[arg-type]
    assert totals(fake) == {}


async def test_stocks_have_as_many_as_were_asked_for(party: Party) -> None:
    """Nights and weekends have no bars: so far back is asked that there are enough, day for day."""
    for interval, limit in ((Interval.D1, 250), (Interval.H1, 100)):
        served = await party.desk.bars(parse_symbol("SPY"), interval, limit=limit)
        assert (served.found.provider, len(served.found.value.bars)) == ("polygon", limit)
