"""Whatever goes wrong with one, the next answers in time and says so, and the first comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from streamer.data.ask import Served
from streamer.data.manager import How
from streamer.data.provider import scope_of
from streamer.data.story import Fate
from streamer.errors import Unavailable
from streamer.model import Priority, Tier
from streamer.providers.shape import Interval
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import BTC, Party, breaker_is, copy_of, fates, forget, landed
from tests.support import PATIENCE, RedisServer, until

CRYPTO: Final = ("coingecko", "polygon", "coinmarketcap")
STOCK: Final = ("polygon", "eodhd", "alphavantage")
SPY = parse_symbol("SPY")
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "down": {},
    "slow": {"delay_s": 1.0},
    "limited": {},
    "banned": {},
    "geo_blocked": {},
    "error500": {},
    "html": {},
    "truncated": {},
    "empty": {},
    "stale": {"age_s": 900},
    "key_echo": {},
}
PATIENCE_S: Final = 0.3
IN_TIME_S: Final = 1.5
"""Failing over takes that patience at most, and what the next one needs."""


@pytest.fixture
async def party(join: Join) -> Party:
    """A desk that has no Binance: all have the very symbol."""
    order = {"STREAMER_PROVIDERS_CRYPTO": ",".join(CRYPTO), "STREAMER_PROVIDERS_STOCK": ",".join(STOCK)}
    return await join(**order, STREAMER_DATA_PATIENCE_S=str(PATIENCE_S))


async def comes_back(ask: Callable[[], Awaitable[Served[Any]]], name: str) -> Served[Any]:
    """Ask until a provider answers again."""
    async with asyncio.timeout(IN_TIME_S * PATIENCE):
        while (served := await ask()).found.provider != name:
            await asyncio.sleep(0.05)
    return served


def mended(fake: ProviderFake, redis: RedisServer) -> None:
    """End all faults, and what they have left behind: pauses, holds, and copies."""
    fake.heal()
    forget(redis, "gateway:", "data:")


@pytest.mark.parametrize("kind", FAULTS)
async def test_the_next_one_answers(party: Party, fake: ProviderFake, redis: RedisServer, kind: str) -> None:
    """With the first in trouble the second answers in time and says why; healed, the first answers again."""
    fake.fault(CRYPTO[0], kind, **FAULTS[kind])
    began = time.monotonic()
    served = await party.desk.price(BTC)
    took_s = time.monotonic() - began
    assert served.found.provider == CRYPTO[1], served
    assert served.found.tier is Tier.REST
    assert took_s < IN_TIME_S * PATIENCE
    first = next(step for step in served.story.steps if step.provider == CRYPTO[0])
    assert first.fate is not Fate.SERVED
    assert first.why
    if kind != "empty":  # to have nothing is no failure
        assert f"{CRYPTO[0]} was asked first: {first.why}" in (served.reason or "")
    mended(fake, redis)
    again = await comes_back(lambda: party.desk.price(parse_symbol("ETH-USD")), CRYPTO[0])
    assert again.reason is None


@pytest.mark.parametrize("kind", ["down", "slow", "limited", "html", "empty"])
async def test_stocks_too(party: Party, fake: ProviderFake, redis: RedisServer, kind: str) -> None:
    """Bars of a stock fail over as prices of coins do."""
    fake.fault(STOCK[0], kind, **FAULTS[kind])
    began = time.monotonic()
    served = await party.desk.bars(SPY, Interval.D1, limit=5)
    assert served.found.provider == STOCK[1], served
    assert time.monotonic() - began < IN_TIME_S * PATIENCE
    assert len(served.found.value.bars) == 5
    mended(fake, redis)
    await comes_back(lambda: party.desk.bars(parse_symbol("AAPL"), Interval.D1, limit=5), STOCK[0])


@pytest.mark.parametrize(
    "kinds", [("down", "limited"), ("slow", "html"), ("banned", "error500"), ("stale", "empty")]
)
async def test_two_in_trouble(party: Party, fake: ProviderFake, kinds: tuple[str, str]) -> None:
    """The third answers when the first and the second cannot, and the story names both."""
    for name, kind in zip(CRYPTO, kinds, strict=False):
        fake.fault(name, kind, **(FAULTS | {"slow": {"delay_s": 4}})[kind])
    began = time.monotonic()
    served = await party.desk.price(BTC)
    assert served.found.provider == CRYPTO[2]
    assert time.monotonic() - began < 2 * IN_TIME_S * PATIENCE
    assert {name for name, fate in fates(served) if fate is not Fate.SERVED} == set(CRYPTO[:2])


@pytest.mark.parametrize("kind", ["limited", "banned", "truncated"])
async def test_all_in_trouble(party: Party, fake: ProviderFake, redis: RedisServer, kind: str) -> None:
    """With a copy of before it is served as what it is, stale; without one each provider is named with its why."""
    await party.desk.price(BTC)
    key = await landed(redis, CRYPTO[0], BTC)
    for name in CRYPTO:
        fake.fault(name, kind)
    redis.ask("DEL", key)
    served = await party.desk.price(BTC, How(timeout_s=0.8))
    assert (served.found.provider, served.found.tier) == (CRYPTO[0], Tier.STALE)
    assert "stale" in (served.reason or "")
    redis.ask("DEL", copy_of(CRYPTO[0], BTC).stale_key)
    with pytest.raises(Unavailable) as failed:
        await party.desk.price(BTC, How(timeout_s=1.5))
    assert set(failed.value.tiers) == set(CRYPTO)
    assert all(failed.value.tiers.values())


async def test_a_stale_price_is_better_than_none(party: Party, fake: ProviderFake) -> None:
    """When all are late, the least late is served, as stale."""
    for name, age_s in zip(CRYPTO, (2000, 1000, 3000), strict=True):
        fake.fault(name, "stale", age_s=age_s)
    served = await party.desk.price(BTC)
    assert (served.found.provider, served.found.tier) == (CRYPTO[1], Tier.STALE)
    assert served.value_age_s is not None
    assert 900 < served.value_age_s < 1200


async def test_a_wrong_label_is_no_failure(party: Party, fake: ProviderFake) -> None:
    """Sound JSON that is said to be a page is an answer; only what it is counts."""
    fake.fault(CRYPTO[0], "wrong_type")
    assert (await party.desk.price(BTC)).found.provider == CRYPTO[0]


async def test_the_breaker_lets_it_back(party: Party, fake: ProviderFake, redis: RedisServer) -> None:
    """A provider that keeps failing is not called while its breaker is open; then it goes first again."""
    fake.fault(CRYPTO[0], "truncated")
    symbols = [parse_symbol(f"{base}-USD") for base in ("BTC", "ETH", "SOL")]
    await asyncio.gather(*(party.desk.price(symbol) for symbol in symbols))
    await until(lambda: fake.state(CRYPTO[0])["total"] >= 5, 5, "retries")
    calls = fake.state(CRYPTO[0])["total"]
    served = await party.desk.price(parse_symbol("DOGE-USD"))
    assert served.found.provider == CRYPTO[1]
    assert "CircuitOpen" in {step.error for step in served.story.steps}
    assert fake.state(CRYPTO[0])["total"] == calls
    fake.heal()
    redis.ask("HSET", f"gateway:{scope(party, CRYPTO[0])}:state", "until", 1)  # its pause is over
    await comes_back(lambda: party.desk.price(parse_symbol("LTC-USD")), CRYPTO[0])


async def test_one_that_costs_several_calls_can_be_the_probe(
    party: Party, fake: ProviderFake, redis: RedisServer
) -> None:
    """Intraday bars of EODHD count five calls: they open the breaker by failing, and close it as its one probe."""
    how = How(provider="eodhd", timeout_s=6)
    fake.fault("eodhd", "error500")
    for interval in (Interval.M1, Interval.M5, Interval.H1):
        with pytest.raises(Unavailable):
            await party.desk.bars(SPY, interval, how=how)
    await breaker_is(party, "eodhd", "open")
    fake.heal()
    calls = fake.state("eodhd")["total"]
    redis.ask("HSET", f"gateway:{scope(party, 'eodhd')}:state", "until", 1)
    forget(redis, ":failed:")
    served = await party.desk.bars(SPY, Interval.H1, how=how)
    assert served.found.tier is Tier.REST
    assert fake.state("eodhd")["total"] == calls + 1
    await breaker_is(party, "eodhd", "closed")


def scope(party: Party, name: str) -> str:
    """Under which name the processes share what they know of a provider."""
    return scope_of(party.desk.providers[name].adapter)


async def test_a_trading_call_hedges(join: Join, fake: ProviderFake) -> None:
    """Who trades has the second asked beside the first after `data_hedge_s`; others wait `data_patience_s`."""
    words = {"STREAMER_DATA_HEDGE_S": "0.1", "STREAMER_DATA_PATIENCE_S": "5", "STREAMER_DATA_TIMEOUT_S": "8"}
    party = await join(STREAMER_PROVIDERS_CRYPTO=",".join(CRYPTO), **words)
    fake.fault(CRYPTO[0], "slow", delay_s=0.6)
    before = asyncio.all_tasks()
    began = time.monotonic()
    served = await party.desk.price(BTC, How(priority=Priority.TRADING))
    assert served.found.provider == CRYPTO[1]
    assert 0.1 <= time.monotonic() - began < 0.55 * PATIENCE
    assert (CRYPTO[0], Fate.LATE) in fates(served)
    left = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not {name for name in left if "find" in name}
    patient = await party.desk.price(parse_symbol("ETH-USD"))
    assert fates(patient) == [(CRYPTO[0], Fate.SERVED)]
    assert fake.state(CRYPTO[1])["total"] == 1
