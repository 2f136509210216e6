"""Many who ask for the same are one request, within a process and across; unknown symbols cost none."""

from __future__ import annotations

import asyncio

import pytest

from streamer.data.ask import Ask
from streamer.data.manager import How
from streamer.errors import Unavailable, UnknownSymbol
from streamer.model import Source, Tier
from streamer.providers import coingecko_answers
from streamer.providers.shape import Interval
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import USDT, Party, copy_of, landed, totals
from tests.support import RedisServer

MANY = 200


async def test_two_hundred_are_one(party: Party, fake: ProviderFake) -> None:
    """Asked at once for the same price, or the same bars, the provider sees one request."""
    prices = await asyncio.gather(*(party.desk.price(USDT) for _ in range(MANY)))
    assert len({served.found.value for served in prices}) == 1
    assert totals(fake) == {"binance": 1}
    await asyncio.gather(*(party.desk.bars(USDT, Interval.H1, limit=1 + at) for at in range(MANY)))
    assert totals(fake) == {"binance": 2}


async def test_of_two_processes_too(join: Join, fake: ProviderFake) -> None:
    """Two processes with a hundred each make one request."""
    parties = [await join(), await join()]
    fake.fault("binance", "slow", delay_s=0.2)
    asked = [party.desk.price(USDT) for party in parties for _ in range(MANY // 2)]
    prices = await asyncio.gather(*asked)
    assert len({served.found.value for served in prices}) == 1
    assert totals(fake) == {"binance": 1}


async def test_one_hanging_up_harms_nobody(party: Party, fake: ProviderFake) -> None:
    """Whoever leaves early takes nobody's answer along."""
    fake.fault("binance", "slow", delay_s=0.3)
    leaving, staying = (asyncio.create_task(party.desk.price(USDT)) for _ in range(2))
    await asyncio.sleep(0.1)
    leaving.cancel()
    assert (await staying).found.provider == "binance"
    assert totals(fake) == {"binance": 1}


# -- what is not known -------------------------------------------------------------------------------------------


async def test_the_list_is_read_once_for_all(
    join: Join, fake: ProviderFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a coin that it does not know a provider's list is read once, by one of all who ask, and then shared."""
    read = coingecko_answers.read_listing
    # The fake has a namesake before each coin; which of them is meant is not tested here.
    monkeypatch.setattr(
        coingecko_answers, "read_listing", lambda body: [e for e in read(body) if "bridged" not in e.id]
    )
    for base in ("LTC", "DOT"):
        monkeypatch.delitem(coingecko_answers.KNOWN, base)
    one, other = await join(), await join()
    how, symbol = How(provider="coingecko"), parse_symbol("LTC-USD")
    served = await asyncio.gather(*(party.desk.price(symbol, how) for party in (one, other) for _ in range(20)))
    assert {one_served.found.value.symbol for one_served in served} == {symbol}
    assert fake.state("coingecko")["paths"] == {"/coins/list": 1, "/simple/price": 1}
    late = await join()
    await late.desk.price(parse_symbol("DOT-USD"), how)
    assert fake.state("coingecko")["paths"] == {"/coins/list": 1, "/simple/price": 2}


async def test_what_nobody_has(join: Join, fake: ProviderFake) -> None:
    """A symbol that is in no list costs the lists, once a day, and no more calls."""
    one, other = await join(), await join()
    symbol = parse_symbol("NOSUCHCOIN-USD")
    for party in (one, other, one):
        with pytest.raises(UnknownSymbol, match="NOSUCHCOIN-USD"):
            await party.desk.price(symbol)
    spent = totals(fake)
    paths = {path: calls for name in spent for path, calls in fake.state(name)["paths"].items()}
    assert set(paths.values()) == {1}


async def test_no_call_for_what_an_adapter_knows_it_has_not(party: Party, fake: ProviderFake) -> None:
    """Once its list is read, a provider is not asked for what is not in it."""
    how = How(provider="binance")
    symbol = parse_symbol("NOSUCHCOIN-EUR")
    for _ in range(3):
        with pytest.raises(UnknownSymbol, match="NOSUCHCOIN-EUR"):
            await party.desk.price(symbol, how)
    assert set(fake.state("binance")["paths"]) <= {"/fapi/v1/exchangeInfo", "/fapi/v2/ticker/price"}
    assert fake.state("binance")["total"] <= 2


# -- whose answer it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["key", "stale_key"])
async def test_a_simulated_copy_is_no_real_one(
    join: Join, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A price of the simulator's is nothing to a provider that is asked at its own address."""
    party = await join()
    await party.desk.price(USDT)
    await landed(redis, "binance", USDT)
    where = getattr(copy_of("binance", USDT), key)
    raw = redis.ask("GET", where).encode()
    assert b'"simulator"' in raw
    real = await unplayed(join, monkeypatch)
    (request,) = real.desk.providers["binance"].requests(Ask(USDT), 0)
    provider, now_ms = real.desk.providers["binance"], int(redis.ask("TIME")[0]) * 1000
    assert provider.kept(request, raw, now_ms, Tier.CACHE) is None
    own = raw.replace(b'"simulator"', b'"binance"')
    assert provider.kept(request, own, now_ms, Tier.CACHE) is not None


async def unplayed(join: Join, monkeypatch: pytest.MonkeyPatch) -> Party:
    """A process whose Binance is the real one; nothing may be asked of it."""
    party = await join()
    adapter = party.desk.providers["binance"].adapter
    monkeypatch.setattr(adapter, "access", type(adapter.access)(None))
    return party


async def test_a_flight_of_the_simulator_is_no_real_one(
    join: Join, fake: ProviderFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is an answer that another process has just had from a simulator."""
    simulated, real = await join(), await unplayed(join, monkeypatch)
    fake.fault("binance", "slow", delay_s=0.3)
    flying = asyncio.create_task(simulated.desk.price(USDT, How(provider="binance")))
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable, match="others have simulator answer in its place"):
        await real.desk.price(USDT, How(provider="binance"))
    assert (await flying).found.source == Source.SIMULATOR
