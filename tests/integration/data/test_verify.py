"""Several asked for one price: who is off is named, and not believed where it is clear who that is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from streamer.data.story import Fate
from streamer.errors import Unavailable
from streamer.model import Tier
from streamer.providers.symbols import parse_symbol
from streamer.quality.agreement import Verdict
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import BTC, fates

THREE = ("coingecko", "polygon", "coinmarketcap")


async def test_three_agree(join: Join, fake: ProviderFake) -> None:
    """Sources that agree are said to, with median and deviations; the first in order is served."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=",".join(THREE))
    served, checked = await party.desk.verified_price(BTC)
    (agreement,) = checked.comparison.agreements
    assert (served.found.provider, agreement.verdict, set(agreement.prices)) == (
        THREE[0],
        Verdict.AGREE,
        set(THREE),
    )
    assert agreement.median == sorted(agreement.prices.values())[1]
    assert all(abs(bp) < 50 for bp in agreement.deviation_bp.values())


@pytest.mark.parametrize("liar", THREE)
@pytest.mark.parametrize("factor", [1.02, 0.98])
async def test_one_of_three_lies(join: Join, fake: ProviderFake, liar: str, factor: float) -> None:
    """Who is off by 2 % while two agree is named, not believed, and not served even as the first."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=",".join(THREE))
    fake.fault(liar, "lie", factor=factor)
    served, checked = await party.desk.verified_price(BTC)
    (agreement,) = checked.comparison.agreements
    assert (agreement.dissenters, agreement.is_clear) == ((liar,), True)
    assert abs(abs(agreement.deviation_bp[liar]) - Decimal(200)) < 10
    honest = [name for name in THREE if name != liar]
    assert served.found.provider == honest[0]
    assert (liar, Fate.PASSED_OVER) in fates(served)
    assert any("not believed" in step.why for step in served.story.steps if step.provider == liar)


async def test_of_two_nobody_knows(join: Join, fake: ProviderFake) -> None:
    """Two that disagree are flagged, both; the first in order is served all the same."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="coingecko,polygon")
    fake.fault("coingecko", "lie", factor=1.02)
    served, checked = await party.desk.verified_price(BTC)
    (agreement,) = checked.comparison.agreements
    assert (agreement.verdict, agreement.is_clear) == (Verdict.DISAGREE, False)
    assert set(agreement.dissenters) == {"coingecko", "polygon"}
    assert served.found.provider == "coingecko"


async def test_like_with_like(join: Join, fake: ProviderFake) -> None:
    """A perpetual in USDT is never held against spot in USD, nor served for it."""
    party = await join(STREAMER_PROVIDERS_CRYPTO="binance,coingecko,polygon")
    fake.fault("binance", "lie", factor=1.5)
    served, checked = await party.desk.verified_price(BTC)
    groups = {str(agreement.group): set(agreement.prices) for agreement in checked.comparison.agreements}
    assert groups == {"BTC-USD spot": {"coingecko", "polygon"}, "BTC-USDT perpetual": {"binance"}}
    assert served.found.value.symbol == BTC
    assert not any(agreement.dissenters for agreement in checked.comparison.agreements)


async def test_what_is_stale_proves_nobody_wrong(join: Join, fake: ProviderFake) -> None:
    """A live price that was stamped long ago is passed over, neither compared nor served."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=",".join(THREE))
    fake.fault(THREE[0], "stale", age_s=900)
    served, checked = await party.desk.verified_price(BTC)
    assert served.found.provider == THREE[1]
    assert THREE[0] not in checked.found
    assert any("stale data" in step.why for step in served.story.steps if step.provider == THREE[0])
    for name in THREE[1:]:
        fake.fault(name, "stale", age_s=1200)
    old, _ = await party.desk.verified_price(parse_symbol("ETH-USD"))  # of which there is no copy yet
    assert old.found.tier is Tier.STALE


async def test_stocks_of_the_last_close(join: Join, fake: ProviderFake) -> None:
    """What is late by its plan is compared with what is late, and the lie among three found."""
    party = await join(STREAMER_PROVIDERS_STOCK="polygon,eodhd,alphavantage")
    fake.command({"plan": "free", "provider": "polygon"})
    fake.command({"limits": "off", "provider": "polygon"})
    fake.fault("alphavantage", "lie", factor=1.02)
    _, checked = await party.desk.verified_price(parse_symbol("SPY"))
    (agreement,) = checked.comparison.agreements
    assert agreement.dissenters == ("alphavantage",)


async def test_failures_leave_the_others(join: Join, fake: ProviderFake) -> None:
    """Who fails is told of and missing in the comparison; where all do, each is named."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=",".join(THREE))
    fake.fault(THREE[1], "limited")
    served, checked = await party.desk.verified_price(BTC)
    assert set(checked.found) == {THREE[0], THREE[2]}
    assert (THREE[1], Fate.FAILED) in fates(served)
    for name in THREE:
        fake.fault(name, "banned")
    with pytest.raises(Unavailable) as failed:
        await party.desk.verified_price(parse_symbol("ETH-USD"))
    assert set(failed.value.tiers) == set(THREE)
