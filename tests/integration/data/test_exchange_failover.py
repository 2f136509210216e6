"""Coinbase in trouble, asked by way of the reader and over TLS: the next answers in time, and it comes back.

The exchange is a process of its own, so that it can be frozen; what REST saw is counted by itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from streamer.data.ask import Served
from streamer.data.desk import DataDesk
from streamer.data.manager import How
from streamer.data.story import Fate, Step
from streamer.errors import StreamerError, Unavailable
from streamer.model import Tier
from streamer.providers.shape import Interval, Symbol
from streamer.providers.symbols import parse_symbol
from streamer.simulator.providers.server import ProviderFake
from tests.integration.data.conftest import Join
from tests.integration.data.rig import BTC, Party, environment, fates, forget, joined
from tests.support import PATIENCE, RedisServer, Simulator, until

ORDER: Final = ("coinbase", "polygon", "coinmarketcap")
ETH, SOL, XRP = (parse_symbol(f"{base}-USD") for base in ("ETH", "SOL", "XRP"))
PRODUCTS: Final = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD", "LTC-USD")
CALLS_PER_S: Final = 20
"""Of Coinbase's REST, by its own count and by ours; a new log grants half."""
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "limited": {"fault": "rest_status", "status": 429},
    "error503": {"fault": "rest_status", "status": 503},
    "slow": {"fault": "rest_slow", "delay_s": 2},
    "hangs": {"fault": "rest_hang"},
    "truncated": {"fault": "rest_truncated"},
    "reset": {"fault": "rest_reset"},
    "frozen": {},
}
PATIENCE_S: Final = 0.3
IN_TIME_S: Final = 1.5
"""Failing over takes that patience at most, and what the next one needs."""
BACK_S: Final = 2.0
"""A first 429 stops all calls for a second, and a failure is the answer to the same question for as long."""

Question = Callable[[DataDesk, Symbol], Awaitable[Served[Any]]]


async def _price(desk: DataDesk, symbol: Symbol) -> Served[Any]:
    return await desk.price(symbol)


async def _bars(desk: DataDesk, symbol: Symbol) -> Served[Any]:
    return await desk.bars(symbol, Interval.H1, limit=5)


async def _range(desk: DataDesk, symbol: Symbol) -> Served[Any]:
    now_s = int(time.time())
    return await desk.bars(symbol, Interval.H1, start_s=now_s - 400 * 3600, end_s=now_s - 3600, limit=400)


QUESTIONS: Final[dict[str, Question]] = {"price": _price, "bars": _bars, "range": _range}
"""What the reader asks REST for, in two ways, and what only a provider is asked for."""
CASES: Final = [
    *((kind, question) for kind in FAULTS for question in ("price", "range")),
    *((kind, "bars") for kind in ("limited", "truncated", "frozen")),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """The exchange, over TLS; nothing is traded unless it is told to."""
    folder = tmp_path_factory.mktemp("exchange")
    flags = ("--tls-dir", str(folder / "tls"), "--rest-port", "0", "--public-rate", str(CALLS_PER_S))
    with Simulator(folder, *flags, products=",".join(PRODUCTS), rate=0) as made:
        yield made


@pytest.fixture
def exchange(running: Simulator) -> Iterator[Simulator]:
    """That one, sound; afterwards no second may have seen more calls than its limit allows."""
    running.tell({"heal": True})
    yield running
    running.thaw()
    books = rest(running)
    assert books["max_per_s"] <= CALLS_PER_S
    assert not books["limit_exceeded"], books["statuses"]


@pytest.fixture
async def party(join: Join, exchange: Simulator) -> Party:
    """A desk that has Coinbase first, and knows its products."""
    made = await join(**settings(exchange))
    await comes_back(lambda: made.desk.price(BTC))
    return made


def settings(exchange: Simulator, **changed: str) -> dict[str, str]:
    """What leads to that exchange, with room to call."""
    words = {"STREAMER_PROVIDERS_CRYPTO": ",".join(ORDER), "STREAMER_DATA_PATIENCE_S": str(PATIENCE_S)}
    words |= {"STREAMER_REST_URL": exchange.rest_url, "STREAMER_COINBASE_URL": exchange.rest_url}
    words |= {"STREAMER_CA_FILE": exchange.where["ca"], "STREAMER_PUBLIC_CALLS_PER_S": str(CALLS_PER_S)}
    return words | {"STREAMER_MARKET_CALLS_PER_MINUTE": "400"} | changed


def rest(exchange: Simulator) -> dict[str, Any]:
    """What its REST was asked."""
    return exchange.tell({"query": "rest"})


def breaks(exchange: Simulator, kind: str) -> None:
    """Start a fault of REST."""
    exchange.freeze() if kind == "frozen" else exchange.tell(FAULTS[kind])


def heals(exchange: Simulator, kind: str) -> None:
    """End it."""
    exchange.thaw() if kind == "frozen" else exchange.tell({"heal": True})


def step_of(served: Served[Any], name: str) -> Step:
    """What became of one provider."""
    return next(step for step in served.story.steps if step.provider == name)


async def quiet(exchange: Simulator) -> int:
    """Wait until calls of before have all arrived; return how many there were."""
    total = -1
    async with asyncio.timeout(10 * PATIENCE):
        while total != (total := rest(exchange)["total"]):
            await asyncio.sleep(0.3)
    return total


async def outdated(redis: RedisServer) -> None:
    """Make the copy of Coinbase's price one of half a minute ago: too old to be served before REST is asked."""
    await until(lambda: redis.ask("EXISTS", "ticker:BTC-USD:stale"), 2, "no copy")
    copy = json.loads(redis.ask("GET", "ticker:BTC-USD:stale"))
    copy["fetched_ms"] -= 31_000
    redis.ask("SET", "ticker:BTC-USD:stale", json.dumps(copy), "KEEPTTL")
    redis.ask("DEL", "ticker:BTC-USD")


async def comes_back(ask: Callable[[], Awaitable[Served[Any]]]) -> Served[Any]:
    """Ask until Coinbase answers again."""
    async with asyncio.timeout(BACK_S * PATIENCE):
        while (served := await ask()).found.provider != "coinbase":
            await asyncio.sleep(0.02)
    return served


# -- one fault ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "question"), CASES)
async def test_the_next_one_answers(party: Party, exchange: Simulator, kind: str, question: str) -> None:
    """In time, with the reason; and as soon as REST is sound, whatever the fault has left behind, Coinbase does."""
    ask, desk = QUESTIONS[question], party.desk
    breaks(exchange, kind)
    began = time.monotonic()
    served = await ask(desk, ETH)
    assert time.monotonic() - began < IN_TIME_S * PATIENCE
    assert (served.found.provider, served.found.tier) == (ORDER[1], Tier.REST), served
    first = step_of(served, "coinbase")
    assert first.fate in (Fate.FAILED, Fate.LATE)
    assert f"coinbase was asked first: {first.why}" in (served.reason or "")
    if kind == "limited":
        assert "HTTP 429" in first.why
    if kind in ("slow", "hangs", "frozen"):
        assert "no answer in time" in first.why
    heals(exchange, kind)
    again = await comes_back(lambda: ask(desk, SOL))
    assert again.found.tier in (Tier.REST, Tier.CACHE)


async def test_the_breaker_lets_it_back(party: Party, exchange: Simulator, redis: RedisServer) -> None:
    """Where it keeps failing it is not called, and costs no patience; after the breaker's time it is first."""
    breaks(exchange, "error503")
    await asyncio.gather(*(party.desk.price(symbol) for symbol in (ETH, SOL)), party.desk.bars(XRP, Interval.H1))
    coinbase = party.desk.providers["coinbase"]
    async with asyncio.timeout(10 * PATIENCE):
        while (await coinbase.snapshot()).breaker != "open":
            await asyncio.sleep(0.02)
    calls, began = rest(exchange)["total"], time.monotonic()
    for question in QUESTIONS.values():
        served = await question(party.desk, parse_symbol("DOGE-USD"))
        assert served.found.provider == ORDER[1]
        assert "too many calls have failed" in (served.reason or "")
    assert time.monotonic() - began < 3 * PATIENCE_S * PATIENCE
    assert rest(exchange)["total"] - calls <= 2  # that had leave before it opened
    heals(exchange, "error503")
    redis.ask("HSET", coinbase.held_key.removesuffix("held") + "state", "until", 1)  # its time is over
    await comes_back(lambda: party.desk.price(parse_symbol("LTC-USD")))
    assert (await coinbase.snapshot()).breaker == "closed"


# -- several at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "other"), [("hangs", "limited"), ("limited", "down"), ("truncated", "banned"), ("frozen", "html")]
)
async def test_the_third_answers(
    party: Party, exchange: Simulator, fake: ProviderFake, kind: str, other: str
) -> None:
    """With Coinbase and the next in trouble, and the story names both; sound again, Coinbase is first."""
    breaks(exchange, kind)
    fake.fault(ORDER[1], other)
    began = time.monotonic()
    served = await party.desk.price(ETH)
    assert time.monotonic() - began < 2 * IN_TIME_S * PATIENCE
    assert served.found.provider == ORDER[2]
    assert {name for name, fate in fates(served) if fate is not Fate.SERVED} == set(ORDER[:2])
    assert all(step_of(served, name).why for name in ORDER[:2])
    heals(exchange, kind)
    fake.heal()
    await comes_back(lambda: party.desk.price(SOL))


@pytest.mark.parametrize(("kind", "words"), [("limited", "HTTP 429"), ("hangs", "no answer in the time")])
async def test_all_in_trouble(
    party: Party, exchange: Simulator, fake: ProviderFake, redis: RedisServer, kind: str, words: str
) -> None:
    """What Coinbase said before is served as what it is, stale; without it each provider is named with its why."""
    await outdated(redis)
    breaks(exchange, kind)
    for name in ORDER[1:]:
        fake.fault(name, "banned")
    served = await party.desk.price(BTC, How(timeout_s=2.0))
    assert (served.found.provider, served.found.tier) == ("coinbase", Tier.STALE)
    assert "not streamed" in (served.reason or "")
    assert "not live" not in (served.reason or "")
    assert words in (served.reason or "")
    forget(redis, "ticker:BTC-USD")
    with pytest.raises(Unavailable) as failed:
        await party.desk.price(BTC, How(timeout_s=2.0))
    assert set(failed.value.tiers) == set(ORDER)
    assert all(failed.value.tiers.values())


async def test_to_have_no_bars_is_no_failure(join: Join, fake: ProviderFake) -> None:
    """Coinbase answers that nothing was traded: the next is asked, and nobody says that Coinbase failed."""
    party = await join(STREAMER_PROVIDERS_CRYPTO=",".join(ORDER[:2]))
    await party.desk.price(BTC)
    fake.fault("coinbase", "empty")
    served = await party.desk.bars(ETH, Interval.H1, limit=5)
    assert fates(served) == [("coinbase", Fate.REFUSED), (ORDER[1], Fate.SERVED)]
    assert "coinbase" not in (served.reason or "")


# -- lies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", ["1.02", "0.98"])
async def test_it_lies(party: Party, exchange: Simulator, redis: RedisServer, factor: str) -> None:
    """Off by 2 % while two others agree, it is named and not believed; when it is right again it is served."""
    honest = await party.desk.price(ETH, How(provider=ORDER[1]))
    value = honest.found.value.price
    exchange.tell({"tick": "ETH-USD", "price": f"{value * Decimal(factor):.2f}"})
    served, checked = await party.desk.verified_price(ETH)
    (agreement,) = checked.comparison.agreements
    assert set(agreement.prices) == set(ORDER)
    assert (agreement.dissenters, agreement.is_clear) == (("coinbase",), True)
    assert abs(abs(agreement.deviation_bp["coinbase"]) - Decimal(200)) < 20
    assert served.found.provider == ORDER[1]
    lie = step_of(served, "coinbase")
    assert lie.fate is Fate.PASSED_OVER and "not believed" in lie.why
    assert f"coinbase was asked first: {lie.why}" in (served.reason or "")
    exchange.tell({"tick": "ETH-USD", "price": f"{value:.2f}"})
    await until(lambda: redis.ask("EXISTS", "ticker:ETH-USD"), 2, "no copy of the lie")
    forget(redis, "ticker:ETH-USD")
    served, checked = await party.desk.verified_price(ETH)
    assert served.found.provider == "coinbase"
    assert checked.comparison.agreements[0].dissenters == ()


# -- the budget --------------------------------------------------------------------------------------------------


async def test_its_budget_is_kept(join: Join, exchange: Simulator) -> None:
    """Two processes ask all they can, through faults and recovery: no window of REST sees more than was allowed."""
    per_s, per_minute = 4, 30
    words = {"STREAMER_PUBLIC_CALLS_PER_S": str(per_s), "STREAMER_MARKET_CALLS_PER_MINUTE": str(per_minute)}
    parties = [await join(**settings(exchange, **words)) for _ in range(2)]
    before, ends = await quiet(exchange), time.monotonic() + 2.5
    answered: Counter[str] = Counter()

    async def bot(desk: DataDesk, question: Question, symbol: Symbol) -> None:
        while time.monotonic() < ends:
            try:
                answered[(await question(desk, symbol)).found.provider] += 1
            except StreamerError:
                answered["nobody"] += 1
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as bots:
        for party in parties:
            for name in PRODUCTS:
                for question in QUESTIONS.values():
                    bots.create_task(bot(party.desk, question, parse_symbol(name)))
        for kind in ("slow", "limited", "error503"):
            await asyncio.sleep(0.5)
            breaks(exchange, kind)
            await asyncio.sleep(0.3)
            heals(exchange, kind)
    books = rest(exchange)
    at = sorted(call["at_s"] for call in books["recent"][before - books["total"] :])
    assert at
    assert len(at) <= per_minute
    assert max(sum(one <= other < one + 1 for other in at) for one in at) <= per_s, at
    assert answered["nobody"] == 0
    assert answered[ORDER[1]] > 0


async def test_its_budget_is_kept_without_redis(
    fake: ProviderFake, exchange: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the reader asks of REST and what is asked for ranges are one process's calls: one share, not two."""
    for name, value in environment(fake, **settings(exchange)).items():
        monkeypatch.setenv(name, value)
    counter = count(1)
    ends = time.monotonic() + 8.0
    with RedisServer(tmp_path) as redis:
        async with joined(redis.url) as party:
            await comes_back(lambda: party.desk.price(BTC))
            redis.kill()

            async def bot(symbol: Symbol, *, is_range: bool) -> None:
                while time.monotonic() < ends:
                    number = next(counter)
                    end_s = int(time.time()) - 300 * 3600 * number
                    span = {"start_s": end_s - 3600, "end_s": end_s} if is_range else {}
                    with suppress(StreamerError):
                        how = How(provider="coinbase", timeout_s=1.0)
                        await party.desk.bars(symbol, Interval.H1, limit=number % 300 + 1, how=how, **span)

            async with asyncio.TaskGroup() as bots:
                for name in PRODUCTS:
                    for is_range in (False, True):
                        for _ in range(3):
                            bots.create_task(bot(parse_symbol(name), is_range=is_range))
    books = rest(exchange)
    assert not books["limit_exceeded"], books["statuses"]
    assert books["max_per_s"] <= CALLS_PER_S
