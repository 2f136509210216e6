"""What is remembered of providers: scores, the order by them, and alerts that are raised once."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from unittest.mock import AsyncMock

import aiohttp.web
import pytest

from streamer.data import alarm
from streamer.data.ask import Ask
from streamer.data.manager import How
from streamer.errors import ConfigError, RestUnavailable, Unavailable
from streamer.model import Tier
from streamer.providers.shape import Interval
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from streamer.store.journal import Journal
from streamer.store.keys import Keys
from streamer.webhooks.delivery import Posted
from streamer.webhooks.prices import PriceUpdate
from streamer.webhooks.standard import key, verify
from tests.integration.data.conftest import Join
from tests.integration.data.rig import BTC, USDT, Party, landed, totals
from tests.support import RedisServer, until

TWO = "coingecko,polygon"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
TOKEN = "a-token-in-the-path-0123456789"


async def scores(party: Party) -> dict[tuple[str, str], float | None]:
    """What all processes know, as one of them reads it."""
    return {(one.provider, one.symbol): one.score.value for one in await party.desk.keeper.scores()}


async def test_scores_are_shared(join: Join, fake: ProviderFake) -> None:
    """An answer is good for the score, a failure bad; another process reads both."""
    one, other = await join(STREAMER_PROVIDERS_CRYPTO=TWO), await join(STREAMER_PROVIDERS_CRYPTO=TWO)
    await one.desk.price(BTC, How(provider="polygon"))
    await one.desk.keeper.write()
    before = (await scores(other))["polygon", "BTC-USD"]
    assert before is not None
    assert before > 90
    fake.fault("polygon", "limited")
    with pytest.raises(Unavailable, match="polygon"):
        await one.desk.bars(BTC, Interval.H1, how=How(provider="polygon"))
    await one.desk.keeper.write()
    after = (await scores(other))["polygon", "BTC-USD"]
    assert after is not None
    assert after < before


async def test_nothing_is_lost_between_processes(join: Join, redis: RedisServer) -> None:
    """What several enter at once about the same provider and symbol all counts, and none of it is dropped."""
    parties = [await join() for _ in range(6)]
    await parties[0].desk.price(BTC, How(provider="polygon"))
    await parties[0].desk.keeper.write()
    for party in parties:
        party.desk.keeper.heard("polygon", Ask(BTC), RestUnavailable("polygon price", "HTTP 500"))
    await asyncio.gather(*(party.desk.keeper.write() for party in parties))
    kept = json.loads(redis.ask("GET", Keys().score("polygon", "BTC-USD")))
    # Each counts for a tenth where it follows the last one at once.
    assert kept["availability"] == pytest.approx(0.9 ** len(parties), rel=0.01)
    assert [party.desk.keeper.dropped for party in parties] == [0] * len(parties)


async def test_what_cannot_be_entered_is_counted(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others are always quicker it is let go after some tries, and said to be."""
    party = await join()
    monkeypatch.setattr(party.desk.keeper, "_enter", AsyncMock(return_value=[0]))
    party.desk.keeper.heard("polygon", Ask(BTC), RestUnavailable("polygon price", "HTTP 500"))
    await party.desk.keeper.write()
    assert party.desk.keeper.dropped == 1


async def test_the_order_follows_the_scores(join: Join) -> None:
    """With `providers_by_score` whoever has been clearly better is asked first, whatever the settings' order."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=TWO, STREAMER_PROVIDERS_BY_SCORE="true")
    eth = Ask(parse_symbol("ETH-USD"))
    for _ in range(3):
        party.desk.keeper.heard("coingecko", eth, RestUnavailable("coingecko price", "HTTP 500"))
    await party.desk.keeper.write()
    served = await party.desk.price(eth.symbol)
    assert (served.found.provider, served.story.steps[0].provider, served.reason) == ("polygon", "polygon", None)
    other = await party.desk.price(BTC)  # nothing is known of that one
    assert other.found.provider == "coingecko"


# -- alerts ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def receiver(statuses: list[int]) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Somebody who gets alerts and answers with these, then with 200; yields its URL and what came."""
    came: list[tuple[dict[str, str], bytes]] = []

    async def take(request: aiohttp.web.Request) -> aiohttp.web.Response:
        came.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return aiohttp.web.Response(status=statuses.pop(0) if statuses else 200)

    app = aiohttp.web.Application()
    app.router.add_post("/{tail:.*}", take)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/{TOKEN}", came
    finally:
        await runner.cleanup()


async def test_one_alert_and_no_storm(join: Join, fake: ProviderFake, redis: RedisServer) -> None:
    """A value that cannot be is one alert in the journal, however often and by however many it is seen."""
    parties = [await join(STREAMER_PROVIDERS_CRYPTO="binance"), await join(STREAMER_PROVIDERS_CRYPTO="binance")]
    fake.fault("binance", "spike", factor=3)
    for at in range(3):
        for party in parties:
            redis.ask("DEL", Keys().data_copy("binance", "BTC-USDT", "1h").key)
            await party.desk.bars(USDT, Interval.H1, limit=50 + at)
    for party in parties:
        await party.desk.keeper.write()
    troubles = await Journal(parties[0].store, Keys()).troubles()
    assert len(troubles) == 1, troubles
    assert troubles[0].subject == "binance BTC-USDT 1h"
    assert sum(sum(party.desk.keeper.alerts.values()) for party in parties) == 1
    assert totals(fake)["binance"] >= 4


async def test_who_ends_leaves_nothing_open(join: Join, fake: ProviderFake) -> None:
    """A process that has raised an alert and ends says that it is over: nobody else watches it."""
    party, other = await join(STREAMER_PROVIDERS_CRYPTO="binance"), await join()
    fake.fault("binance", "spike", factor=3)
    await party.desk.bars(USDT, Interval.H1, limit=50)
    await party.desk.keeper.write()
    journal = Journal(other.store, Keys())
    assert [trouble.ended_ms for trouble in await journal.troubles()] == [None]
    await party.desk.close()
    (trouble,) = await journal.troubles()
    assert trouble.ended_ms is not None


async def test_an_alert_of_the_last_moment_is_sent(join: Join, fake: ProviderFake) -> None:
    """What a command finds as it ends still reaches whoever is to know."""
    async with receiver([]) as (url, came):
        party = await join(
            STREAMER_PROVIDERS_CRYPTO="binance", STREAMER_ALERT_URL=url, STREAMER_ALERT_SECRET=SECRET
        )
        fake.fault("binance", "spike", factor=3)
        await party.desk.bars(USDT, Interval.H1, limit=50)
        await party.desk.close()
    assert len(came) == 1


async def test_it_is_sent_on_and_signed(join: Join, fake: ProviderFake) -> None:
    """The alert is posted as a Standard Webhook that verifies with the secret."""
    async with receiver([]) as (url, came):
        words = {"STREAMER_ALERT_URL": url, "STREAMER_ALERT_SECRET": SECRET}
        party = await join(STREAMER_PROVIDERS_CRYPTO="binance", **words)
        fake.fault("binance", "spike", factor=3)
        await party.desk.bars(USDT, Interval.H1, limit=50)
        await party.desk.keeper.write()
        await until(lambda: party.desk.alarm.sent, 3)
    ((headers, body),) = came
    posted = Posted(list(headers.items()), body)
    delivery = verify(posted, [key(SECRET)], time.time())
    assert delivery.type == "data.alert"
    assert json.loads(body)["data"]["provider"] == "binance"
    with pytest.raises(Exception, match="signature"):
        verify(posted, [b"another key of some length...."], time.time())


@pytest.mark.parametrize(("statuses", "sent", "dropped"), [([500], 1, 0), ([500, 503], 1, 0), ([500] * 3, 0, 1)])
async def test_it_is_tried_three_times(
    join: Join,
    fake: ProviderFake,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    statuses: list[int],
    sent: int,
    dropped: int,
) -> None:
    """A receiver in trouble gets it again under the same id; after the third time it is dropped and counted."""
    monkeypatch.setattr(alarm, "_PAUSES_S", (0.0, 0.01, 0.01))
    tries = min(3, len(statuses) + 1)
    async with receiver(statuses) as (url, came):
        words = {"STREAMER_ALERT_URL": url, "STREAMER_ALERT_SECRET": SECRET}
        party = await join(STREAMER_PROVIDERS_CRYPTO="binance", **words)
        fake.fault("binance", "spike", factor=3)
        await party.desk.bars(USDT, Interval.H1, limit=50)
        await party.desk.keeper.write()
        await until(lambda: party.desk.alarm.sent + party.desk.alarm.dropped, 3)
    assert (party.desk.alarm.sent, party.desk.alarm.dropped, len(came)) == (sent, dropped, tries)
    assert len({headers["webhook-id"] for headers, _ in came}) == 1
    said = caplog.text + "".join(capsys.readouterr())
    assert TOKEN not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "words",
    [
        {"STREAMER_ALERT_URL": f"ftp://example.com/{TOKEN}", "STREAMER_ALERT_SECRET": SECRET},
        {"STREAMER_ALERT_URL": "https://example.com/x", "STREAMER_ALERT_SECRET": TOKEN},
        {"STREAMER_ALERT_URL": "https://example.com/x"},
    ],
)
async def test_what_cannot_be_signed_or_reached(join: Join, words: dict[str, str]) -> None:
    """An alert URL that is none, or a secret that signs nothing, is refused at start, without being repeated."""
    with pytest.raises(ConfigError, match="STREAMER_ALERT") as refused:
        await join(**words)
    assert TOKEN not in str(refused.value)


# -- what is sent to us ------------------------------------------------------------------------------------------


async def test_a_price_that_was_sent(join: Join, fake: ProviderFake) -> None:
    """A newer price replaces the provider's kept one, an older does not; asked for next, it costs no call."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=TWO)
    now_ms = int(time.time() * 1000)
    for at_ms, price in ((now_ms, "70001"), (now_ms - 5000, "60000"), (now_ms + 5, "70002")):
        await party.desk.take_price("coingecko", PriceUpdate(BTC, Decimal(price), at_ms, "a relay"))
    served = await party.desk.price(BTC)
    assert (served.found.provider, served.found.tier, served.found.value.price) == (
        "coingecko",
        Tier.CACHE,
        Decimal(70002),
    )
    assert "sent by a relay" in (served.reason or "")
    assert totals(fake) == {}


async def test_an_older_one_is_let_go(join: Join, redis: RedisServer) -> None:
    """What we have asked for since is newer than what was sent before."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=TWO)
    asked = await party.desk.price(BTC)
    await landed(redis, "coingecko", BTC)
    before_ms = int(time.time() * 1000) - 60_000
    await party.desk.take_price("coingecko", PriceUpdate(BTC, Decimal(1), before_ms, "a relay"))
    assert (await party.desk.price(BTC)).found.value == asked.found.value
