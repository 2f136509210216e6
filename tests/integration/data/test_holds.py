"""Who has said that it is not to be asked is left alone by all processes until that is over."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.data.manager import How
from streamer.data.story import Fate
from streamer.errors import Unavailable
from streamer.providers.base import Budget
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import BTC, USDT, forget, key_of, totals
from tests.support import RedisServer


@pytest.mark.parametrize(
    ("name", "kind", "words", "held"),
    [
        ("binance", "banned", {"ban_s": 600}, "Banned"),
        ("binance", "geo_blocked", {}, "GeoBlocked"),
        ("eodhd", "limited", {"style": "daily"}, "QuotaExhausted"),
        ("coinmarketcap", "limited", {"style": "1009"}, "QuotaExhausted"),
        ("alphavantage", "limited", {"style": "daily"}, "QuotaExhausted"),
        ("polygon", "key", {}, "KeyRefused"),
        ("coingecko", "key", {}, "KeyRefused"),
        ("eodhd", "key", {}, "KeyRefused"),
        ("coinmarketcap", "key", {}, "KeyRefused"),
    ],
)
async def test_left_alone(
    join: Join, fake: ProviderFake, redis: RedisServer, name: str, kind: str, words: dict[str, Any], held: str
) -> None:
    """One call finds out, and no process makes another; each story tells for how long and why."""
    spare = "polygon" if name != "polygon" else "coingecko"
    order = {"STREAMER_PROVIDERS_CRYPTO": f"{name},{spare}"}
    one, other = await join(**order), await join(**order)
    if kind == "key":
        fake.command({"keys": {"bad": [key_of(name)]}, "provider": name})
    else:
        fake.fault(name, kind, **words)
    symbol = USDT if name == "binance" else BTC
    if name == "binance":
        with pytest.raises(Unavailable):
            await one.desk.price(symbol, How(provider=name))
    else:
        assert (await one.desk.price(symbol)).found.provider == spare
    calls = fake.state(name)["total"]
    fake.heal()
    for party in (one, other):
        for base in ("ETH", "SOL", "DOGE"):
            served = await party.desk.price(parse_symbol(f"{base}-USD"))
            assert served.found.provider == spare
            first = served.story.steps[0]
            assert (first.provider, first.fate, first.error) == (name, Fate.LEFT_OUT, held)
            assert f"{name} comes first: not asked for" in (served.reason or "")
    assert fake.state(name)["total"] == calls
    assert calls <= 2
    forget(redis, "gateway:")  # and the pause that a limit brings
    fake.command({"keys": {"bad": []}, "provider": name})
    again = await other.desk.price(parse_symbol("XRP-USDT" if name == "binance" else "XRP-USD"))
    assert again.found.provider == name


async def test_another_key_is_another_budget(join: Join, fake: ProviderFake) -> None:
    """What is refused to one key is nothing to another: its holder asks, within a budget of its own."""
    order = {"STREAMER_PROVIDERS_CRYPTO": "polygon,coingecko"}
    one = await join(**order)
    other = await join(**order, STREAMER_POLYGON_KEY="another-key-entirely")
    fake.command({"keys": {"bad": [key_of("polygon")]}, "provider": "polygon"})
    assert (await one.desk.price(BTC)).found.provider == "coingecko"
    eth = parse_symbol("ETH-USD")
    assert (await other.desk.price(eth)).found.provider == "polygon"
    assert (await one.desk.price(parse_symbol("SOL-USD"))).found.provider == "coingecko"
    for party in (one, other):
        snapshot = await party.desk.providers["polygon"].snapshot()
        assert snapshot.budgets[Budget.MARKET].windows[0][0] == 1


async def test_a_limit_without_a_hold_is_no_call_either(join: Join, fake: ProviderFake) -> None:
    """After a 429 that names its time, nobody calls before: the next one answers at once."""
    order = {"STREAMER_PROVIDERS_CRYPTO": "coinmarketcap,polygon"}
    one, other = await join(**order), await join(**order)
    fake.fault("coinmarketcap", "limited")
    await one.desk.price(BTC)
    fake.heal()
    for party in (one, other):
        served = await party.desk.price(parse_symbol("ETH-USD"))
        assert served.found.provider == "polygon"
        assert served.story.steps[0].took_ms < 300
    assert totals(fake)["coinmarketcap"] == 1
