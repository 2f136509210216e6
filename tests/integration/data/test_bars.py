"""Bars: the newest, and ranges longer than a provider gives at once, in pieces that are shared."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import pytest

from streamer.data.ask import Ask, Found
from streamer.data.manager import How
from streamer.data.requests import BarsRequest
from streamer.data.story import Fate
from streamer.errors import ConfigError, Unavailable, UnknownSymbol
from streamer.model import Tier
from streamer.providers.adapter import Access
from streamer.providers.base import Call
from streamer.providers.binance import Binance
from streamer.providers.polygon import Polygon
from streamer.providers.shape import Bar, Interval, Series
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import SPY, USDT, Party, fates, landed, totals
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


async def test_what_is_to_come_is_not_asked_for(party: Party) -> None:
    """In the last hour of a month in New York no piece of the next one is made, which would be an invalid call."""
    now_s = int(datetime(2026, 11, 1, 3, 30, tzinfo=UTC).timestamp())
    ask = Ask(SPY, Interval.H1, 500, now_s - 24 * HOUR_S, now_s + HOUR_S)
    (piece,) = party.desk.providers["alphavantage"].requests(ask, now_s)
    assert isinstance(piece, BarsRequest)
    assert piece.span.from_s < now_s < piece.span.to_s


async def test_a_range_that_begins_before_there_was_anything(
    party: Party, fake: ProviderFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some say then that they do not know the symbol: what has come of it by then is served."""
    binance = party.desk.providers["binance"]
    end_s = 1_790_000_000 // (MOST * HOUR_S) * MOST * HOUR_S
    fetched = binance._fetched

    async def before_listing(request: BarsRequest, call: Call, since: float | None = None) -> Found[Series]:
        if request.span.from_s < end_s - MOST * HOUR_S:
            raise UnknownSymbol("binance bars", "it has no BTC-USDT")
        return await fetched(request, call, since)

    monkeypatch.setattr(binance, "_fetched", before_listing)
    served = await party.desk.bars(
        USDT, Interval.H1, start_s=end_s - 2 * MOST * HOUR_S, end_s=end_s, limit=5000, how=How(provider="binance")
    )
    assert starts(tuple(served.found.value.bars)) == list(range(end_s - MOST * HOUR_S, end_s, HOUR_S))
    assert totals(fake) == {"binance": 1}


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


async def test_a_range_is_as_few_calls_as_its_provider_needs(party: Party, fake: ProviderFake) -> None:
    """A week of a stock's minutes is three calls at most where one brings 50,000 of them."""
    end_s = int(time.time()) // 60 * 60
    served = await party.desk.bars(
        SPY, Interval.M1, start_s=end_s - 7 * 24 * HOUR_S, end_s=end_s, limit=20_000, how=How(provider="polygon")
    )
    found = starts(tuple(served.found.value.bars))
    assert found == sorted(set(found))
    assert len(found) > 1500
    assert totals(fake)["polygon"] <= 3


@pytest.mark.parametrize(("interval", "count"), [(Interval.M1, 15_000), (Interval.H1, 300), (Interval.H4, 60)])
async def test_what_comes_by_the_month_is_a_call_a_month(
    party: Party, fake: ProviderFake, interval: Interval, count: int
) -> None:
    """Of a range over three calendar months each is asked for once."""
    begin_s, end_s = (int(datetime(2026, month, 5, tzinfo=UTC).timestamp()) for month in (8, 10))
    served = await party.desk.bars(
        SPY, interval, start_s=begin_s, end_s=end_s, limit=100_000, how=How(provider="alphavantage", timeout_s=30)
    )
    found = starts(tuple(served.found.value.bars))
    assert found == sorted(set(found))
    assert len(found) > count
    assert totals(fake) == {"alphavantage": 3}


async def test_the_days_of_a_coin_are_one_call(party: Party, fake: ProviderFake) -> None:
    """Where one answer has all of them, a range of years does not ask for it year by year."""
    start_s = int(time.time()) - 1000 * 24 * HOUR_S
    how = How(provider="alphavantage")
    await party.desk.bars(parse_symbol("BTC-USD"), Interval.D1, start_s=start_s, limit=5000, how=how)
    assert totals(fake) == {"alphavantage": 1}


async def test_a_piece_is_within_the_plan_where_the_range_is(party: Party, fake: ProviderFake) -> None:
    """What a plan refuses is not asked for beside what was: days of the last year come from a plan of two."""
    fake.command({"plan": "free", "provider": "polygon"})
    fake.command({"limits": "off"})
    start_s = int(time.time()) - 365 * 24 * HOUR_S
    how = How(provider="polygon")
    served = await party.desk.bars(SPY, Interval.D1, start_s=start_s, limit=5000, how=how)
    assert 240 <= len(served.found.value.bars) <= 262


async def test_a_range_in_steady_progress_is_not_raced(join: Join, fake: ProviderFake) -> None:
    """Pieces that keep coming are no silence: nobody else's budget is spent on the same range."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="binance,coingecko", STREAMER_DATA_PATIENCE_S="1")
    fake.fault("binance", "slow", delay_s=0.6)
    end_s = 1_790_000_000 // (MOST * HOUR_S) * MOST * HOUR_S
    served = await party.desk.bars(
        USDT, Interval.H4, start_s=end_s - 4 * 3 * MOST * HOUR_S, end_s=end_s, limit=5000
    )
    assert fates(served) == [("binance", Fate.SERVED)]
    assert set(totals(fake)) == {"binance"}


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
    most_s = Polygon(Access()).most_bars(Interval.H1) * HOUR_S
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
