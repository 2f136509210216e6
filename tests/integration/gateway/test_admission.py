"""Admission over a real Redis: priorities, ageing, deadlines, cancellation, wake-ups, 429s, breaker, no Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

import pytest

from streamer.errors import (
    CallNotMade,
    CircuitOpen,
    QueueTimeout,
    RestRateLimited,
    RestRefused,
    RestUnauthorized,
    RestUnavailable,
)
from streamer.gateway.admission import Admission, budgets
from streamer.gateway.decision import Grant
from streamer.gateway.gate import CallGate
from streamer.gateway.limits import Outcome, Window
from streamer.model import Priority
from streamer.providers.base import Budget, Call
from streamer.settings import Settings
from streamer.store.connect import Store
from streamer.store.keys import Keys
from tests.support import RedisServer, until

pytestmark = pytest.mark.timed

M = Budget.MARKET
WIDE: Mapping[Budget, Sequence[Window]] = {M: (Window(1000, 1.0),), Budget.PRIVATE: (Window(1000, 1.0),)}
ONE_A_SECOND: Mapping[Budget, Sequence[Window]] = {M: (Window(1, 1.0),)}
TRADING, EVALUATION = Call(Priority.TRADING), Call(Priority.BOT_EVALUATION)
BACKGROUND = Call(Priority.BACKGROUND)
LOG, LINE = "gateway:coinbase:log:market", "gateway:coinbase:line:market"

Make = Callable[..., Admission]


@pytest.fixture
async def make(redis: RedisServer) -> AsyncIterator[Make]:
    """Makes admissions as of several processes, each with connections of its own."""
    async with AsyncExitStack() as stack:

        def made(limits: Mapping[Budget, Sequence[Window]] = WIDE, name: str | None = None) -> Admission:
            store = Store(redis.url)
            admission = Admission(store, Keys(), limits, name=name)
            stack.push_async_callback(store.close)
            stack.push_async_callback(admission.close)
            return admission

        yield made


def within(seconds: float, priority: Priority = Priority.TRADING) -> Call:
    """A call that somebody waits so long for."""
    return Call(priority, time.monotonic() + seconds)


async def queued(redis: RedisServer, count: int) -> None:
    """Wait until so many processes stand in line."""
    await until(lambda: redis.ask("HLEN", LINE) == count, 2, f"not {count} in line")


async def take(admission: Admission, call: Call = TRADING, outcome: Outcome = Outcome.OK) -> float:
    """Make a call that ends at once; return the time."""
    grant = await admission.admit(M, call)
    await admission.settle(grant, outcome)
    return time.monotonic()


# -- limits and the line -------------------------------------------------------------------------------------------


async def test_all_processes_together_keep_to_the_limit(make: Make, redis: RedisServer) -> None:
    """Of three processes that want more than there is, no second sees more than its limit, and none is left out."""
    limits = {M: (Window(6, 1.0),)}
    admissions = [make(limits) for _ in range(3)]
    redis.ask("ZADD", LOG, -1, "born")  # long ago: a new budget begins at half
    began = time.monotonic()
    calls = [take(admission) for admission in admissions for _ in range(6)]
    times = sorted(await asyncio.gather(*calls))
    assert len(times) == 18
    for early, late in zip(times, times[6:], strict=False):
        assert late - early >= 0.99
    assert times[-1] - began < 4.5


async def test_the_urgent_overtake_across_processes(make: Make, redis: RedisServer) -> None:
    """The trading call of another process goes before a background call that came first."""
    one, two = make(ONE_A_SECOND), make(ONE_A_SECOND)
    await take(one)
    later = asyncio.create_task(take(one, BACKGROUND))
    await queued(redis, 1)
    sooner = asyncio.create_task(take(two, TRADING))
    await queued(redis, 2)
    assert await sooner < await later


async def test_the_urgent_overtake_within_a_process(make: Make, redis: RedisServer) -> None:
    """So it does in the same process, and the order of coming decides between equals."""
    one = make(ONE_A_SECOND)
    await take(one)
    calls = [BACKGROUND, TRADING, EVALUATION, TRADING]
    tasks = [asyncio.create_task(take(one, call)) for call in calls]
    background, first, evaluation, second = await asyncio.gather(*tasks)
    assert first < second < evaluation < background


async def test_waiting_makes_urgent(make: Make, redis: RedisServer) -> None:
    """A background call that has waited 30 s longer goes before a trading call."""
    one, two = make(ONE_A_SECOND), make(ONE_A_SECOND)
    await take(one)
    line = one._lines[M]
    from streamer.gateway.line import Waiter

    aged = Waiter("x", "x|x", Priority.BACKGROUND, None, time.monotonic() - 31)
    old = asyncio.create_task(line.join(aged))
    await queued(redis, 1)
    new = asyncio.create_task(two.admit(M, TRADING))
    await queued(redis, 2)
    await one.settle(await old, Outcome.OK)
    assert not new.done()
    await two.settle(await new, Outcome.OK)


async def test_a_place_that_becomes_free_is_known_at_once(make: Make, redis: RedisServer) -> None:
    """The end of a call wakes another process long before the sleep it was told."""
    one, two = make({M: (Window(1, 0.05),)}), make({M: (Window(1, 0.05),)})
    grant = await one.admit(M, TRADING)
    waiting = asyncio.create_task(two.admit(M, TRADING))
    await until(lambda: redis.ask("PUBSUB", "NUMSUB", "gateway:coinbase:wake")[1] == 1, 2)
    assert not waiting.done()
    began = time.monotonic()
    await one.settle(grant, Outcome.OK)
    await two.settle(await waiting, Outcome.OK)
    assert time.monotonic() - began < 0.3


async def test_a_call_given_back_unused_frees_its_place(make: Make, redis: RedisServer) -> None:
    """What was never sent counts for nobody."""
    one, two = make({M: (Window(1, 60.0),)}), make({M: (Window(1, 60.0),)})
    grant = await one.admit(M)
    waiting = asyncio.create_task(two.admit(M))
    await queued(redis, 1)
    await one.settle(grant, Outcome.UNUSED)
    assert isinstance(await asyncio.wait_for(waiting, 1), Grant)


async def test_nobody_listens_when_nobody_waits(make: Make, redis: RedisServer) -> None:
    """The subscription ends a little after the last wait."""
    one = make({M: (Window(1, 0.3),)})
    await take(one)
    await take(one)
    assert redis.ask("PUBSUB", "NUMSUB", "gateway:coinbase:wake")[1] == 1
    await until(lambda: redis.ask("PUBSUB", "NUMSUB", "gateway:coinbase:wake")[1] == 0, 6)


# -- deadlines and cancellation ------------------------------------------------------------------------------------


async def test_what_cannot_come_in_time_is_not_waited_for(make: Make) -> None:
    """The next place is in a minute: a caller with five seconds is told so now."""
    one = make({M: (Window(1, 60.0),)})
    await take(one)
    began = time.monotonic()
    with pytest.raises(QueueTimeout) as caught:
        await one.admit(M, within(5), "candles")
    assert time.monotonic() - began < 0.2
    assert caught.value.retry_after_s == pytest.approx(60, abs=1)
    assert caught.value.route == "candles"


async def test_a_deadline_is_kept(make: Make, redis: RedisServer) -> None:
    """A waiter whose call might have come leaves when its time is up, and leaves no trace."""
    one = make({M: (Window(1, 0.1),)})
    held = await one.admit(M)
    began = time.monotonic()
    with pytest.raises(QueueTimeout):
        await one.admit(M, within(0.4))
    assert 0.35 < time.monotonic() - began < 0.6
    await queued(redis, 0)
    await one.settle(held, Outcome.OK)
    with pytest.raises(QueueTimeout):
        await one.admit(M, within(-1))


@pytest.mark.parametrize("steps", range(14))
async def test_a_cancelled_call_leaves_no_trace(make: Make, redis: RedisServer, steps: int) -> None:
    """Cancelled at whichever await: no place stays taken, nobody stays in line, others go on."""
    one = make({M: (Window(1, 60.0),)})
    task = asyncio.create_task(one.admit(M))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    granted = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(granted, Grant):
        await one.settle(granted, Outcome.UNUSED)
    await until(lambda: redis.ask("ZCOUNT", LOG, 0, "+inf") == 0, 2, "a place stays taken")
    assert redis.ask("EXISTS", LINE) == 0
    assert isinstance(await asyncio.wait_for(one.admit(M), 1), Grant)


async def test_a_cancelled_waiter_leaves_no_trace(make: Make, redis: RedisServer) -> None:
    """The head of the line hangs up: those behind it, here and elsewhere, do not wait for it."""
    limits = {M: (Window(1, 0.5),)}
    one, two = make(limits), make(limits)
    await take(one)
    head = asyncio.create_task(one.admit(M, TRADING))
    await queued(redis, 1)
    behind = [asyncio.create_task(take(two, BACKGROUND)), asyncio.create_task(take(one, BACKGROUND))]
    await queued(redis, 2)
    head.cancel()
    began = time.monotonic()
    await asyncio.gather(*behind)
    assert time.monotonic() - began < 1.9  # two turns of half a second; a dead head would cost a second more
    assert head.cancelled()
    await until(lambda: redis.ask("EXISTS", LINE) == 0, 2)


async def test_a_crowd_that_hangs_up_wedges_nobody(make: Make, redis: RedisServer) -> None:
    """Of a hundred waiters in two processes all but two are cancelled at random moments; these two are served."""
    limits = {M: (Window(20, 0.2),)}
    one, two = make(limits), make(limits)
    held = [await one.admit(M) for _ in range(10)]
    crowd = [asyncio.create_task(admission.admit(M)) for admission in (one, two) for _ in range(50)]
    kept = [asyncio.create_task(admission.admit(M)) for admission in (one, two)]
    for number, task in enumerate(crowd):
        if number % 7 == 0:
            await asyncio.sleep(0.003)
        task.cancel()
    results = await asyncio.gather(*crowd, return_exceptions=True)
    for grant in [*held, *(result for result in results if isinstance(result, Grant))]:
        await one.settle(grant, Outcome.OK)
    for grant in await asyncio.wait_for(asyncio.gather(*kept), 3):
        await one.settle(grant, Outcome.OK)
    await until(lambda: redis.ask("EXISTS", LINE) == 0, 2)
    now_ms = int(redis.ask("TIME")[0]) * 1000
    assert redis.ask("ZCOUNT", LOG, now_ms + 2000, "+inf") == 0


async def test_closing_sends_the_waiters_away(make: Make, redis: RedisServer) -> None:
    """Whoever waits is told, the line is left, and nothing more is admitted."""
    one = make(ONE_A_SECOND)
    await take(one)
    waiting = asyncio.create_task(one.admit(M))
    await queued(redis, 1)
    await one.close()
    with pytest.raises(CallNotMade):
        await waiting
    with pytest.raises(CallNotMade):
        await one.admit(M)
    assert redis.ask("EXISTS", LINE) == 0


# -- 429 and the breaker -------------------------------------------------------------------------------------------


async def test_a_429_stops_all_processes(make: Make) -> None:
    """One is told to come back in a second: the other, waiting or coming, is held back too, then both go on."""
    one, two = make(), make()
    grant = await one.admit(M)
    await one.settle(grant, Outcome.LIMITED, 1.0)
    began = time.monotonic()
    with pytest.raises(QueueTimeout):
        await two.admit(M, within(0.5))
    assert time.monotonic() - began < 0.2
    await two.settle(await two.admit(M, within(5)), Outcome.OK)
    assert 0.9 < time.monotonic() - began < 1.5
    state = (await two.snapshot()).budgets[M]
    assert state.factor == 0.5
    assert state.windows[0][1] <= 500
    assert (await two.snapshot()).budgets[Budget.PRIVATE].factor == 1


async def test_the_breaker_is_shared_and_lets_one_probe_through(make: Make, redis: RedisServer) -> None:
    """Five failures anywhere stop all at once, also who waits; then one of all asks, and its answer counts."""
    one, two = make(), make({**WIDE, Budget.PRIVATE: (Window(1, 60.0),)})
    await two.settle(await two.admit(Budget.PRIVATE), Outcome.OK)
    waiting = asyncio.create_task(two.admit(Budget.PRIVATE))
    await until(lambda: redis.ask("PUBSUB", "NUMSUB", "gateway:coinbase:wake")[1] == 1, 2)
    for _ in range(5):
        await take(one, outcome=Outcome.FAILED)
    for refused in (waiting, two.admit(M), one.admit(Budget.PRIVATE)):
        with pytest.raises(CircuitOpen) as caught:
            await asyncio.wait_for(refused, 0.5)
        assert caught.value.retry_after_s == pytest.approx(5, abs=0.5)
    assert (await one.snapshot()).breaker == "open"

    redis.ask("HSET", "gateway:coinbase:state", "until", 1)
    assert (await one.snapshot()).breaker == "half-open"
    tries = await asyncio.gather(*(a.admit(M) for a in (one, two) * 5), return_exceptions=True)
    (probe,) = [grant for grant in tries if isinstance(grant, Grant)]
    assert sum(isinstance(refusal, CircuitOpen) for refusal in tries) == 9
    await two.settle(probe, Outcome.ABANDONED)
    probe = await one.admit(M)
    with pytest.raises(CircuitOpen):
        await two.admit(M)
    await one.settle(probe, Outcome.REFUSED)
    assert (await one.snapshot()).breaker == "closed"
    await take(two)


async def test_the_snapshot_tells_what_there_is_to_tell(make: Make, redis: RedisServer) -> None:
    """Windows, queue, processes and who has spent what, over all processes."""
    limits = budgets(Settings())
    one, two = make(limits), make(limits)
    for _ in range(3):
        await one.settle(await one.admit(M, Call(Priority.TRADING, caller="bot-7"), "candles"), Outcome.OK)
    for _ in range(2):
        await two.settle(await two.admit(M, BACKGROUND, "candles"), Outcome.OK)
    waiting = [asyncio.create_task(two.admit(M)) for _ in range(3)]
    await queued(redis, 1)
    snapshot = await one.snapshot()
    state = snapshot.budgets[M]
    assert state.windows == ((5, 5), (5, 5))
    assert state.queued in (1, 3)
    assert state.spent == {"bot-7|TRADING": 3, "candles|BACKGROUND": 2}
    assert snapshot.processes == 2
    assert (snapshot.breaker, snapshot.failures) == ("closed", 0)
    assert snapshot.budgets[Budget.PRIVATE].windows == ((0, 15),)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


# -- without Redis -------------------------------------------------------------------------------------------------


async def test_redis_frozen(make: Make, redis: RedisServer, redis_server: RedisServer) -> None:
    """Within 1.1 s calls go on, on a share and without what can wait; thawed, all agree again without a burst."""
    limits = {M: (Window(8, 1.0),)}
    one, two = make(limits), make(limits)
    await take(two)
    await take(one)
    assert one._judge.processes == 2
    with redis_server.frozen():
        began = time.monotonic()
        grant = await one.admit(M, TRADING)
        assert time.monotonic() - began < 1.1
        assert grant.is_local and one.is_alone
        with pytest.raises(CallNotMade):
            await one.admit(M, BACKGROUND)
        calls = (one.admit(M, within(0.9)) for _ in range(8))
        tries = await asyncio.gather(*calls, return_exceptions=True)
        granted = [grant, *(answer for answer in tries if isinstance(answer, Grant))]
        assert len(granted) == 2  # half of 8 / 2 processes
        began = time.monotonic()
        for held in granted:
            await one.settle(held, Outcome.OK)
        assert time.monotonic() - began < 0.1
    await until(lambda: not one.is_alone, 5)
    tries = await asyncio.gather(*(one.admit(M, within(0.2)) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(answer, Grant) for answer in tries) <= 4
    assert one.statistics.local == 2


async def test_redis_dies_while_many_wait_and_comes_back_empty(
    make: Make, redis: RedisServer, redis_server: RedisServer
) -> None:
    """Waiters move to the process's own limits and back, in order, and each is served once."""
    one = make({M: (Window(4, 0.5),)})
    await take(one)
    tasks = [asyncio.create_task(take(one)) for _ in range(12)]
    await until(lambda: any(task.done() for task in tasks), 5)
    redis_server.kill()
    try:
        await until(lambda: one.is_alone and sum(task.done() for task in tasks) >= 6, 10)
    finally:
        redis_server.start()
    times = sorted(await asyncio.wait_for(asyncio.gather(*tasks), 20))
    assert len(times) == 12
    await until(lambda: not one.is_alone, 5)
    assert max(sum(at <= other < at + 0.5 for other in times) for at in times) <= 6


async def test_a_ban_outlives_redis(make: Make, redis: RedisServer, redis_server: RedisServer) -> None:
    """Who was told to wait, by a 429 or an open breaker, waits on when Redis is away."""
    one, two, three = make(), make(), make()
    await one.settle(await one.admit(M), Outcome.LIMITED, 60.0)
    with pytest.raises(QueueTimeout):
        await two.admit(M, within(1))
    for _ in range(5):
        await three.settle(await three.admit(Budget.PRIVATE), Outcome.FAILED)
    with pytest.raises(CircuitOpen):
        await three.admit(Budget.PRIVATE)
    with redis_server.frozen():
        for admission in (one, two):
            with pytest.raises(QueueTimeout):
                await admission.admit(M, within(1.5))
            assert admission.is_alone
        with pytest.raises(CircuitOpen):
            await three.admit(Budget.PRIVATE)
    await until(lambda: not (one.is_alone or two.is_alone or three.is_alone), 5)


async def test_a_short_absence_in_which_nothing_was_called_costs_nothing(
    make: Make, redis: RedisServer, redis_server: RedisServer
) -> None:
    """Only what has been spent unseen halves a budget on return."""
    one = make({M: (Window(20, 0.5),)})
    redis.ask("ZADD", LOG, -1, "born")
    await take(one)
    with redis_server.frozen(), pytest.raises(CallNotMade):
        await one.admit(M, BACKGROUND)
    await until(lambda: not one.is_alone, 5)
    assert (await one.snapshot()).budgets[M].windows[0][1] == 20


async def test_redis_never_there(tmp_path: object) -> None:
    """Without any Redis a quarter of the budget is used, half of that at first; nothing hangs."""
    store = Store("redis://127.0.0.1:1/0")
    one = Admission(store, Keys(), {M: (Window(16, 60.0),)})
    try:
        for _ in range(2):
            assert (await asyncio.wait_for(one.admit(M), 1.1)).is_local
        with pytest.raises(QueueTimeout):
            await asyncio.wait_for(one.admit(M, within(1)), 1.1)
    finally:
        await one.close()
        await store.close()


# -- the gate over it ----------------------------------------------------------------------------------------------


def answers(*script: object) -> Callable[[], Awaitable[object]]:
    """A `send` that raises or returns what it is given, one after the other."""
    left = list(script)

    async def send() -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send


async def test_the_gate_settles_whatever_happens(make: Make, redis: RedisServer) -> None:
    """Success, refusal, failure, 429 and cancellation each leave nothing in flight, and the right verdict."""
    one = make()
    gate = CallGate(one, jitter=lambda longest_s: 0.0)

    async def idle() -> None:
        now_ms = int(redis.ask("TIME")[0]) * 1000
        await until(lambda: redis.ask("ZCOUNT", LOG, now_ms + 5000, "+inf") == 0, 2, "a call stays in flight")

    assert await gate.run(M, "x", TRADING, answers(RestUnavailable("x", "503"), 7)) == 7
    await idle()
    for _ in range(6):
        with pytest.raises(RestRefused):
            await gate.run(M, "x", TRADING, answers(RestRefused("x", "404", status=404)))
    await idle()
    unauthorized = RestUnauthorized("x", "401", status=401)
    assert await gate.run(M, "x", TRADING, answers(unauthorized, 8)) == 8
    started = asyncio.Event()

    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(gate.run(M, "x", TRADING, endless))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await idle()
    assert (await one.snapshot()).breaker == "closed"
    with pytest.raises(RestRateLimited):
        await gate.run(M, "x", TRADING, answers(RestRateLimited("x", "429", status=429, retry_after_s=9.0)))
    assert (await one.snapshot()).budgets[M].blocked_s == pytest.approx(9, abs=0.5)
    await idle()
