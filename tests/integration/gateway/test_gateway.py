"""The gateway over a real Redis: one call for all who ask, whatever becomes of each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from streamer.errors import (
    CallNotMade,
    QueueTimeout,
    RestRateLimited,
    RestUnavailable,
    StoreUnavailable,
    UnknownProduct,
)
from streamer.gateway import names
from streamer.gateway.caller import Caller, scope_of
from streamer.gateway.flight import FAILURE_S, LEASE_S, FlightBoard
from streamer.gateway.gateway import Answer
from streamer.gateway.requests import Requests
from streamer.gateway.warming import WarmingSource
from streamer.model import Account, Granularity, Priority, ProductId, Source
from streamer.providers.base import ANY, Call
from streamer.settings import REST_URL, load
from streamer.store.connect import Store
from streamer.store.keys import Keys
from tests.integration.gateway.conftest import FakeRest, GateThatWaits, Join
from tests.support import PATIENCE, RedisServer, until

BTC, ETH, NOPE = ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("NOPE-USD")
HOUR = Granularity.ONE_HOUR


def lasting(seconds: float, priority: Priority = Priority.MARKET_DATA) -> Call:
    """A call that somebody waits so long for."""
    return Call(priority, time.monotonic() + seconds)


# -- single flight ------------------------------------------------------------------------------------------------


async def test_a_crowd_in_one_process_asks_once(join: Join, rest: FakeRest) -> None:
    """A hundred callers at once: one call, the same answer for all."""
    party, rest.delay_s = join(), 0.05
    request = party.requests.candles(BTC, HOUR, 5)
    answers = await asyncio.gather(*(party.gateway.fetch(request) for _ in range(100)))
    assert rest.routes() == ["candles"]
    assert len({answer.copy.fetched_ms for answer in answers}) == 1
    assert len(answers[0].value) == 5
    assert party.gateway.counts.shared == 99


async def test_a_crowd_of_processes_asks_once(join: Join, rest: FakeRest) -> None:
    """Eight processes with twenty callers each: one call, and nobody waits long after its answer."""
    parties, rest.delay_s = [join() for _ in range(8)], 0.2
    began = time.monotonic()
    await asyncio.gather(*(p.gateway.fetch(p.requests.candles(BTC, HOUR, 5)) for p in parties for _ in range(20)))
    assert rest.routes() == ["candles"]
    assert time.monotonic() - began < rest.delay_s + 1.0 < LEASE_S


async def test_who_comes_after_the_answer_asks_anew(join: Join, rest: FakeRest) -> None:
    """A flight answers those who wait for it; who asks later wants something newer."""
    party = join()
    request = party.requests.accounts()
    first = await party.gateway.fetch(request)
    await until(lambda: not party.gateway._flights, 1)  # landed: others find the answer where it is kept
    await asyncio.sleep(0.01)
    second = await party.gateway.fetch(request)
    assert rest.routes() == ["accounts"] * 2
    assert second.copy.fetched_ms > first.copy.fetched_ms


async def test_what_arrived_since_it_was_looked_for_will_do(join: Join, rest: FakeRest) -> None:
    """Who looked for a copy just before another process stored it does not call again."""
    first, second = join(), join()
    looked_at = time.monotonic()
    await first.gateway.fetch(first.requests.accounts())
    await until(lambda: not first.gateway._flights, 1)
    answer = await second.gateway.fetch(second.requests.accounts(), since=looked_at)
    assert rest.routes() == ["accounts"]
    assert answer.value[0].currency == "USD"


async def test_answers_are_kept_twice(join: Join, redis: RedisServer) -> None:
    """A fresh copy and a stale one, with their lives, as the schema says."""
    party = join()
    await party.gateway.fetch(party.requests.ticker(BTC))
    await until(lambda: redis.ask("EXISTS", "ticker:BTC-USD") == 1, 1)
    assert redis.ask("GET", "ticker:BTC-USD") == redis.ask("GET", "ticker:BTC-USD:stale")
    assert 25 < redis.ask("TTL", "ticker:BTC-USD") <= 30
    assert 295 < redis.ask("TTL", "ticker:BTC-USD:stale") <= 300


async def test_an_older_answer_does_not_replace_a_newer_one(join: Join, redis: RedisServer) -> None:
    """A leader that was held up and took-over long ago must not turn the clock back."""
    party = join()
    newer = b'{"source":"simulator","fetched_ms":%d,"value":{}}' % (time.time() * 1000 + 2000)
    redis.ask("SET", "accounts:global:stale", newer)
    await party.gateway.fetch(party.requests.accounts())
    await until(lambda: not party.gateway._flights, 1)
    assert redis.ask("GET", "accounts:global:stale") == newer.decode()


async def test_a_copy_from_the_future_is_no_answer_and_in_no_answers_way(join: Join, redis: RedisServer) -> None:
    """After a failover to a slower clock, an old copy once counted as just fetched, and none took its place."""
    party = join()
    old = b'{"source":"coinbase","fetched_ms":%d,"value":{"product_id":"BTC-USD","price":"1"}}'
    for key in ("ticker:BTC-USD", "ticker:BTC-USD:stale"):
        redis.ask("SET", key, old % (time.time() * 1000 + 40_000), "EX", 300)
    assert (await party.gateway.fetch(party.requests.ticker(BTC))).value.price == 100
    await until(lambda: not party.gateway._flights, 1)
    for key in ("ticker:BTC-USD", "ticker:BTC-USD:stale"):
        assert '"price":"100"' in redis.ask("GET", key)


async def test_a_slow_redis_makes_no_answer_younger(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of Redis is as old as its reading took to come."""
    first, second = join(), join()
    since = time.monotonic()
    await first.gateway.fetch(first.requests.ticker(BTC))
    await until(lambda: not first.gateway._flights, 1)
    arrived, board = time.monotonic(), second.gateway._board.board

    async def slow(wanted: Any) -> Any:
        reply = await board(wanted)
        await asyncio.sleep(0.5)
        return reply

    monkeypatch.setattr(second.gateway._board, "board", slow)
    answer = await second.gateway.fetch(second.requests.ticker(BTC), since=since)
    assert answer.age_s >= 0.5
    assert answer.age_s < time.monotonic() - arrived + 0.6 * PATIENCE


# -- errors -------------------------------------------------------------------------------------------------------


async def test_errors_are_shared_and_kept_for_a_moment(join: Join, rest: FakeRest) -> None:
    """All who wait get the error; for a second it answers others as well; then it is tried again."""
    first, second, rest.error = join(), join(), RestUnavailable("accounts", "HTTP 503", status=503)
    request = first.requests.accounts()
    found = await asyncio.gather(*(first.gateway.fetch(request) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in found] == [RestUnavailable] * 5
    await until(lambda: not first.gateway._flights, 1)
    with pytest.raises(RestUnavailable, match="503") as caught:
        await second.gateway.fetch(request)
    assert caught.value.status == 503
    assert rest.routes() == ["accounts"]
    rest.error = None

    async def works() -> bool:
        try:
            return bool(await second.gateway.fetch(request))
        except RestUnavailable:
            return False

    deadline = time.monotonic() + FAILURE_S + 1
    while not await works():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert rest.routes() == ["accounts"] * 2


async def test_a_429_tells_others_when_to_come_back(join: Join, rest: FakeRest) -> None:
    """What the exchange asked for travels with the error."""
    first, second = join(), join()
    rest.error = RestRateLimited("accounts", "HTTP 429", status=429, retry_after_s=7.0)
    with pytest.raises(RestRateLimited):
        await first.gateway.fetch(first.requests.accounts())
    await until(lambda: not first.gateway._flights, 1)
    with pytest.raises(RestRateLimited) as caught:
        await second.gateway.fetch(second.requests.accounts())
    assert caught.value.retry_after_s == 7.0
    assert len(rest.asked) == 1


@pytest.mark.parametrize("refuses", [False, True])
async def test_an_unknown_product_is_named_and_remembered(join: Join, rest: FakeRest, refuses: bool) -> None:
    """Its siblings are served, whichever way the exchange answers; nobody asks for it again for a minute."""
    party, other, rest.refuses = join(), join(), refuses
    btc, nope = await party.gateway.fetch_all([party.requests.ticker(p) for p in (BTC, NOPE)])
    assert isinstance(btc, Answer)
    assert btc.value.price == 100
    assert isinstance(nope, UnknownProduct)
    await until(lambda: not party.gateway._flights, 1)
    calls = len(rest.asked)
    assert calls == (2 if refuses else 1)
    with pytest.raises(UnknownProduct):
        await other.gateway.fetch(other.requests.ticker(NOPE))
    assert len(rest.asked) == calls


async def test_the_nearest_names_are_looked_for_once(
    join: Join, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd that asks for a wrong id once held up the loop for 10 ms each."""
    party, looked = join(), []

    def nearest(product_id: str, names: Iterable[str]) -> list[str]:
        looked.append(product_id)
        return list(names)

    monkeypatch.setattr(names, "nearest_of", nearest)
    value = '{"products":[{"product_id":"NOTE-USD"}]}'
    redis.ask("SET", "products:all:stale", '{"source":"coinbase","fetched_ms":1,"value":%s}' % value)  # noqa: UP031
    asking = (party.gateway.fetch(party.requests.ticker(NOPE)) for _ in range(50))
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert {error.nearest for error in errors if isinstance(error, UnknownProduct)} == {("NOTE-USD",)}
    assert looked == [NOPE]


@pytest.mark.parametrize("url", [REST_URL, REST_URL.upper().replace("HTTPS", "https"), f"{REST_URL}:443"])
def test_one_exchange_has_one_budget(url: str) -> None:
    """However its address is written."""
    assert scope_of(url) == "coinbase"
    assert scope_of("https://localhost:1234") == "localhost_1234"


async def test_an_unknown_product_gets_the_nearest_names(join: Join) -> None:
    """Who has mistyped is told what there is."""
    party = join()
    await party.gateway.fetch(party.requests.products())
    await until(lambda: not party.gateway._flights, 1)
    with pytest.raises(UnknownProduct) as caught:
        await party.gateway.fetch(party.requests.ticker(ProductId("BTC-USDD")))
    assert caught.value.nearest[0] == "BTC-USD"


# -- batches ------------------------------------------------------------------------------------------------------


async def test_misses_of_many_products_are_one_call(join: Join, rest: FakeRest) -> None:
    """Tickers asked for within a few milliseconds by different callers share a call."""
    party = join()
    answers = await asyncio.gather(*(party.gateway.fetch(party.requests.ticker(p)) for p in (BTC, ETH, BTC)))
    assert [answer.value.product_id for answer in answers] == [BTC, ETH, BTC]
    assert [what for _, what, _ in rest.asked] == [(BTC, ETH)]


async def test_a_shared_call_is_as_urgent_as_its_most_urgent_part(join: Join, rest: FakeRest) -> None:
    """Nobody waits longer because of whom they share a call with."""
    party = join()
    await asyncio.gather(
        party.gateway.fetch(party.requests.ticker(BTC), lasting(5, Priority.BACKGROUND)),
        party.gateway.fetch(party.requests.ticker(ETH), lasting(9, Priority.TRADING)),
    )
    ((_, _, call),) = rest.asked
    assert call.priority is Priority.TRADING
    assert call.deadline is not None
    assert call.deadline > time.monotonic() + 5


# -- urgency ------------------------------------------------------------------------------------------------------


async def test_joining_makes_a_waiting_call_more_urgent(
    join: Join, rest: FakeRest, closed_gate: GateThatWaits
) -> None:
    """A trade that wants what a background task already waits for goes first."""
    party = join()
    request = party.requests.accounts()
    background = asyncio.create_task(party.gateway.fetch(request, lasting(9, Priority.BACKGROUND)))
    await until(lambda: len(closed_gate.waiting) == 1, 2)
    trading = asyncio.create_task(party.gateway.fetch(request, lasting(9, Priority.TRADING)))
    await until(lambda: len(closed_gate.waiting) == 2, 2)
    assert [call.priority for call in closed_gate.waiting] == [Priority.BACKGROUND, Priority.TRADING]
    assert len(closed_gate.left) == 1
    closed_gate.open.set()
    await asyncio.gather(background, trading)
    assert rest.routes() == ["accounts"]


async def test_joining_from_another_process_makes_it_more_urgent_too(
    join: Join, rest: FakeRest, closed_gate: GateThatWaits
) -> None:
    """The leader hears of it with its next renewal."""
    leader, other = join(), join()
    first = asyncio.create_task(leader.gateway.fetch(leader.requests.accounts(), lasting(9, Priority.BACKGROUND)))
    await until(lambda: len(closed_gate.waiting) == 1, 2)
    second = asyncio.create_task(other.gateway.fetch(other.requests.accounts(), lasting(9, Priority.TRADING)))
    await until(lambda: len(closed_gate.waiting) == 2, LEASE_S)
    assert closed_gate.waiting[-1].priority is Priority.TRADING
    closed_gate.open.set()
    await asyncio.gather(first, second)
    assert rest.routes() == ["accounts"]


async def test_a_call_that_was_sent_is_not_disturbed(join: Join, rest: FakeRest) -> None:
    """Once it has had its turn, urgency changes nothing."""
    party, rest.delay_s = join(), 0.2
    gate = GateThatWaits()
    gate.open.set()
    from streamer.gateway.group import MarkingGate

    rest.gate = MarkingGate(gate)
    request = party.requests.accounts()
    background = asyncio.create_task(party.gateway.fetch(request, lasting(9, Priority.BACKGROUND)))
    await until(lambda: rest.asked, 2)
    await asyncio.gather(background, party.gateway.fetch(request, lasting(9, Priority.TRADING)))
    assert rest.routes() == ["accounts"]
    assert not gate.left


# -- leaving, cancelling, dying -----------------------------------------------------------------------------------


async def test_a_cancelled_caller_harms_nobody(join: Join, rest: FakeRest) -> None:
    """Whoever asked first and leaves: the others get their answer, from one call."""
    party, rest.delay_s = join(), 0.2
    request = party.requests.accounts()
    first = asyncio.create_task(party.gateway.fetch(request))
    await until(lambda: rest.asked, 2)
    others = [asyncio.create_task(party.gateway.fetch(request)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert len(answers) == 3
    assert first.cancelled()
    assert rest.routes() == ["accounts"]


@pytest.mark.parametrize("ticks", range(12))
async def test_cancelled_at_any_await_nothing_is_left(
    join: Join, rest: FakeRest, redis: RedisServer, ticks: int
) -> None:
    """However far a fetch has come when its caller leaves: the next one is answered, and no lease stays."""
    party, rest.delay_s = join(), 0.01
    request = party.requests.accounts()
    caller = asyncio.create_task(party.gateway.fetch(request))
    for _ in range(ticks):
        await asyncio.sleep(0.001)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    async with asyncio.timeout(2):
        assert (await party.gateway.fetch(request)).value
    await until(lambda: not party.gateway._led and not party.gateway._flights, 2)
    assert redis.ask("KEYS", "gateway:*flight*") == []


async def test_a_deadline_of_one_is_not_that_of_another(
    join: Join, rest: FakeRest, closed_gate: GateThatWaits
) -> None:
    """A caller in a hurry leaves in time; one with patience who shared its flight is still answered."""
    party = join()
    request = party.requests.accounts()
    hasty = asyncio.create_task(party.gateway.fetch(request, lasting(0.2)))
    await until(lambda: closed_gate.waiting, 2)
    patient = asyncio.create_task(party.gateway.fetch(request, lasting(5)))
    began = time.monotonic()
    with pytest.raises(QueueTimeout):
        await hasty
    assert time.monotonic() - began < 0.5
    closed_gate.open.set()
    assert (await patient).value


async def test_who_outlives_a_flight_waits_quietly_for_the_next(
    join: Join, rest: FakeRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the flight of one whose time was up was being landed, the others once kept the loop busy."""
    party = join()
    land, fetch = party.gateway._board.land, rest.accounts

    async def slow(outcomes: Any) -> None:
        await asyncio.sleep(0.3)
        await land(outcomes)

    async def too_late(call: Call = ANY) -> list[Account]:
        rest.accounts = fetch  # type: ignore[method-assign]
        await asyncio.sleep(0.1)
        raise QueueTimeout("accounts", "no call was free")

    rest.accounts = too_late  # type: ignore[method-assign]
    monkeypatch.setattr(party.gateway._board, "land", slow)
    request = party.requests.accounts()
    hasty = asyncio.create_task(party.gateway.fetch(request, lasting(0.1)))
    patient = asyncio.create_task(party.gateway.fetch(request, lasting(5)))
    assert (await patient).value
    with pytest.raises(QueueTimeout):
        await hasty
    assert party.gateway.counts.asked["accounts"] <= 5


async def test_a_leader_that_is_gone_is_replaced(join: Join, rest: FakeRest, redis: RedisServer) -> None:
    """A lease that nobody renews ends, and one of those who wait makes the call."""
    party = join()
    where = Keys().gateway("coinbase", "flight:accounts:global")
    redis.ask("SET", where, "somebody:dead", "PX", "700")
    began = time.monotonic()
    answer = await party.gateway.fetch(party.requests.accounts(), lasting(5))
    assert answer.value
    assert 0.5 < time.monotonic() - began < 2
    assert rest.routes() == ["accounts"]


async def test_a_closing_gateway_tells_who_waits(join: Join, closed_gate: GateThatWaits) -> None:
    """Nobody hangs when a process ends."""
    party = join()
    caller = asyncio.create_task(party.gateway.fetch(party.requests.accounts()))
    await until(lambda: closed_gate.waiting, 2)
    await party.gateway.close()
    async with asyncio.timeout(1):
        with pytest.raises(QueueTimeout, match="closed"):
            await caller


# -- Redis --------------------------------------------------------------------------------------------------------


async def test_foreign_keys_are_in_nobodys_way(join: Join, redis: RedisServer) -> None:
    """Junk of any type where a flight is kept: the call is made all the same."""
    party, name = join(), "accounts:global"
    for part in ("flight", "failed", "urge"):
        redis.ask("RPUSH", Keys().gateway("coinbase", f"{part}:{name}"), "junk")
    redis.ask("RPUSH", name, "junk")
    async with asyncio.timeout(2):
        assert (await party.gateway.fetch(party.requests.accounts())).value


async def test_a_failure_that_never_ends_is_none_of_ours(join: Join, redis: RedisServer) -> None:
    """Without an expiry it would answer for ever that the call has just failed."""
    party = join()
    redis.ask("SET", Keys().gateway("coinbase", "failed:accounts:global"), "junk")
    assert (await party.gateway.fetch(party.requests.accounts())).value


async def test_a_product_without_sense_harms_no_other(join: Join, rest: FakeRest) -> None:
    """An id that is a list once was a TypeError, to readers and to the ingester, which it ended."""
    party = join()
    facts: list[dict[str, Any]] = [{"product_id": [], "price": "1"}, {"product_id": "BTC-USD", "price": "5"}]

    async def products(product_ids: Sequence[ProductId] = (), call: Call = ANY) -> Sequence[Mapping[str, Any]]:
        return facts

    rest.products = products  # type: ignore[method-assign]
    assert (await party.gateway.fetch(party.requests.ticker(BTC))).value.price == 5
    warming = WarmingSource(rest, party.store, Keys(), lambda: [BTC])
    assert await warming.products() == facts


async def test_what_could_not_board_is_not_waited_for() -> None:
    """Each name that was asked for while Redis was away once stayed for ever."""
    board = FlightBoard(Store("redis://127.0.0.1:1"), Keys(), "coinbase")
    with pytest.raises(StoreUnavailable):
        await board.board([(Requests(Keys()).ticker(BTC), Priority.MARKET_DATA)])
    assert not board._landings._waiting


async def test_rest_is_that_of_the_exchange_whose_data_redis_holds(join: Join, redis: RedisServer) -> None:
    """A simulator that came later, or elsewhere, once went unnoticed for as long as the process lived."""
    caller, status = Caller(join().store, Keys(), load()), '{"source":"simulator","rest_url":"http://127.0.0.1:%d"}'

    async def asked() -> tuple[Any, Any]:
        caller._looked_at -= 60
        gateway = await caller.gateway()
        return gateway.rest.source, gateway.rest._base_url  # type: ignore[attr-defined]

    first = await asked()
    assert first == (Source.COINBASE, REST_URL)
    for port in (1001, 1002):
        redis.ask("SET", Keys().status, status % port)
        assert await asked() == (Source.SIMULATOR, f"http://127.0.0.1:{port}")
    redis.ask("DEL", Keys().status)
    assert (await asked())[0] is Source.SIMULATOR  # nobody says otherwise
    redis.ask("SET", Keys().status, '{"source":"simulator"}')
    with pytest.raises(CallNotMade):
        await asked()
    redis.ask("SET", Keys().status, '{"source":"coinbase"}')
    assert await asked() == first
    await caller.close()


async def test_without_redis_a_process_asks_for_itself(
    tmp_path_factory: pytest.TempPathFactory, rest: FakeRest
) -> None:
    """Redis away: one call a process for all its callers, remembered as long as a copy would live."""
    from streamer.gateway.gateway import Gateway
    from streamer.gateway.requests import Requests
    from streamer.store.connect import Store

    store = Store("redis://127.0.0.1:1")
    gateway, requests = Gateway(rest, store, Keys(), scope="coinbase"), Requests(Keys())
    answers = await asyncio.gather(*(gateway.fetch(requests.accounts()) for _ in range(10)))
    again = await gateway.fetch(requests.accounts())
    assert rest.routes() == ["accounts"]
    assert len({answer.copy.fetched_ms for answer in [*answers, again]}) == 1
    assert again.age_s >= 0
    await gateway.close()


async def test_candles_asked_for_before_a_bucket_ended_are_not_newer(
    join: Join, rest: FakeRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that waited over the end of a bucket lacks the next: its answer is no younger than that end."""
    party, now_s = join(), [1_795_000_199.0]
    monkeypatch.setattr(party.gateway._copies, "clock_is", lambda *_: None)
    monkeypatch.setattr(party.gateway._copies, "now_ms", lambda: int(now_s[0] * 1000))
    gate = GateThatWaits()
    rest.gate = gate
    asking = asyncio.create_task(party.gateway.fetch(party.requests.candles(BTC, Granularity.ONE_MINUTE, 5)))
    await until(lambda: gate.waiting, 2)
    now_s[0] += 20
    gate.open.set()
    answer = await asking
    assert answer.copy.fetched_ms == 1_795_000_200_000
    assert answer.age_s == 19.0
