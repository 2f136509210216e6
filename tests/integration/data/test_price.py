"""Prices: asked for once and then kept, labelled as what they are, and from each provider by its name."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from unittest.mock import AsyncMock

import pytest

from streamer.data.manager import How
from streamer.errors import Unavailable
from streamer.model import Reading, Tier
from streamer.providers.shape import AssetClass, Instrument
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from streamer.webhooks.prices import PriceUpdate
from tests.integration.data.conftest import Join
from tests.integration.data.rig import BTC, USDT, Party, landed, totals
from tests.support import RedisServer, until

NAMED = [
    *((symbol, name) for symbol in ("BTC-USD", "ETH-USD", "SOL-USD") for name in ("coingecko", "polygon")),
    *((symbol, name) for symbol in ("SPY", "AAPL") for name in ("polygon", "eodhd", "alphavantage")),
]


async def test_asked_once_and_kept(party: Party, fake: ProviderFake, redis: RedisServer) -> None:
    """The first answer comes by a call, the second from the copy: one request in all."""
    first = await party.desk.price(USDT)
    await landed(redis, "binance", USDT)
    again = await party.desk.price(USDT)
    assert (first.found.provider, first.found.tier, first.reason) == ("binance", Tier.REST, None)
    assert (again.found.provider, again.found.tier, again.reason) == ("binance", Tier.CACHE, None)
    assert again.found.value == first.found.value
    assert totals(fake) == {"binance": 1}


async def test_an_old_copy_is_not_served_where_a_young_one_is_wanted(
    party: Party, fake: ProviderFake, redis: RedisServer
) -> None:
    """`max_age_s` makes for a new call."""
    await party.desk.price(USDT)
    await landed(redis, "binance", USDT)
    await asyncio.sleep(0.3)
    served = await party.desk.price(USDT, How(max_age_s=0.25))
    assert served.found.age_s <= 0.25
    assert totals(fake) == {"binance": 2}


@pytest.mark.parametrize(("text", "name"), NAMED)
async def test_every_asset_of_two_providers(
    party: Party, fake: ProviderFake, redis: RedisServer, text: str, name: str
) -> None:
    """By name each answers itself, labelled as what it has; the second time from its copy."""
    symbol = parse_symbol(text)
    served = await party.desk.price(symbol, How(provider=name))
    price = served.found.value
    assert (served.found.provider, served.found.source, price.symbol) == (name, "simulator", symbol)
    is_stock = symbol.asset is AssetClass.STOCK
    assert price.instrument is (Instrument.STOCK if is_stock else Instrument.AGGREGATE)
    assert price.is_live is (not is_stock or name == "polygon")
    assert ("not live" in (served.reason or "")) is not price.is_live
    await landed(redis, name, symbol)
    again = await party.desk.price(symbol, How(provider=name))
    assert again.found.tier is Tier.CACHE
    assert totals(fake) == {name: 1}


@pytest.mark.parametrize("base", ["BTC", "ETH", "SOL"])
async def test_what_stands_in_says_so(party: Party, base: str) -> None:
    """Binance has no USD: asked by name for it, it answers with the perpetual in USDT, as such."""
    served = await party.desk.price(parse_symbol(f"{base}-USD"), How(provider="binance"))
    price = served.found.value
    assert (str(served.asked), str(price.symbol)) == (f"{base}-USD", f"{base}-USDT")
    assert price.instrument is Instrument.PERPETUAL
    assert f"{base}-USDT stands in for {base}-USD" in (served.reason or "")


async def test_what_stands_in_the_other_way(party: Party) -> None:
    """EODHD has nothing in USDT, which it says by a quote without a price: it answers in USD, as such."""
    served = await party.desk.price(USDT, How(provider="eodhd"))
    assert served.found.value.symbol == BTC
    assert "BTC-USD stands in for BTC-USDT" in (served.reason or "")


async def test_nobody_stands_in_unasked(party: Party) -> None:
    """Without a name the next provider answers the very symbol; that the first has it not is no failure."""
    served = await party.desk.price(BTC)
    assert (served.found.provider, served.found.value.symbol, served.reason) == ("coingecko", BTC, None)


async def test_what_stands_in_is_for_unknown_symbols_only(party: Party, fake: ProviderFake) -> None:
    """A provider that is broken is not asked for another symbol as well."""
    fake.fault("coingecko", "geo_blocked")
    with pytest.raises(Unavailable):
        await party.desk.price(BTC, How(provider="coingecko"))
    assert totals(fake) == {"coingecko": 1}


async def test_the_last_close_is_asked_for_once(join: Join, fake: ProviderFake, redis: RedisServer) -> None:
    """What is late by its plan is kept like the rest: the few calls of a day are not spent on asking again."""
    party = await join(STREAMER_PROVIDERS_STOCK="alphavantage,eodhd")
    first = await party.desk.price(parse_symbol("AAPL"))
    await landed(redis, first.found.provider, parse_symbol("AAPL"))
    spent = totals(fake)
    assert set(spent.values()) == {1}
    for _ in range(3):
        again = await party.desk.price(parse_symbol("AAPL"))
        assert (again.found.provider, again.found.tier) == (first.found.provider, Tier.CACHE)
    assert totals(fake) == spent


async def test_the_exchange_is_one_of_them(join: Join) -> None:
    """Coinbase answers by way of the reader, at the address that the settings name, as spot."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="coinbase,binance")
    served = await party.desk.price(BTC)
    price = served.found.value
    assert (served.found.provider, price.symbol, price.instrument) == ("coinbase", BTC, Instrument.SPOT)


def sent(price: str, age_s: float = 0.0) -> PriceUpdate:
    """A price of Bitcoin that somebody sends to us."""
    return PriceUpdate(BTC, Decimal(price), int((time.time() - age_s) * 1000), "a relay")


async def test_the_stream_comes_before_what_was_sent(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live stream is served whatever was sent to us, however young that is."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="coinbase")
    ticker = (await party.reader.ticker("BTC-USD")).value
    at = datetime.now(UTC) - timedelta(seconds=20)
    live = Reading(ticker, Tier.REALTIME, 0.1, 20.0, at, "simulator")
    monkeypatch.setattr(party.reader, "ticker", AsyncMock(return_value=live))
    await party.desk.take_price("coinbase", sent("1"))
    served = await party.desk.price(BTC)
    assert (served.found.tier, served.found.value.price) == (Tier.REALTIME, ticker.price)


async def test_what_was_sent_comes_where_the_exchange_has_nothing_newer(
    join: Join, fake: ProviderFake, redis: RedisServer
) -> None:
    """The exchange is asked first; of its kept answer and what was sent the newer one is served."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="coinbase")
    await party.desk.take_price("coinbase", sent("1", age_s=5))
    asked = await party.desk.price(BTC)
    assert (asked.found.tier, asked.found.value.price > 1) == (Tier.REST, True)
    await until(lambda: redis.ask("EXISTS", "ticker:BTC-USD"), 2, "its copy")
    kept = await party.desk.price(BTC)
    assert (kept.found.tier, kept.found.value.price) == (Tier.CACHE, asked.found.value.price)
    await party.desk.take_price("coinbase", sent("2"))
    newer = await party.desk.price(BTC)
    assert (newer.found.tier, newer.found.value.price, newer.found.provider) == (Tier.CACHE, Decimal(2), "coinbase")
    assert "sent by a relay" in (newer.reason or "")


async def test_what_was_sent_comes_where_the_exchange_is_down(join: Join, fake: ProviderFake) -> None:
    """Else it would be nothing at all."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="coinbase")
    fake.fault("coinbase", "geo_blocked")
    with pytest.raises(Unavailable):
        await party.desk.price(BTC)
    await party.desk.take_price("coinbase", sent("2", age_s=5))
    served = await party.desk.price(BTC)
    assert (served.found.tier, served.found.value.price) == (Tier.CACHE, Decimal(2))
    assert "coinbase price BTC-USD" in (served.reason or "")


async def test_what_it_cannot_have_is_not_asked(party: Party, fake: ProviderFake) -> None:
    """A kind of symbol that a provider does not have costs no call, and the error says whose fault it is."""
    with pytest.raises(Unavailable, match="binance: it has no symbols of this kind"):
        await party.desk.price(parse_symbol("SPY"), How(provider="binance"))
    assert totals(fake) == {}
