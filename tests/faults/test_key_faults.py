"""What can happen to a key, to REST and to the clocks, against start-stream as a process.

Prices never suffer: all the while a reader finds them realtime and current. Balances are right or marked, the
status names one reason, and the exchange is not stormed; the simulator counts what it is asked. The tests run side
by side, each with processes of its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from streamer.errors import StoreError, StoreUnavailable
from streamer.health.probe import probe
from streamer.health.verdict import judge
from streamer.model import Tier
from streamer.reader.reader import AsyncReader
from streamer.settings import load
from streamer.simulator.keys import make_key_file
from tests.faults.test_exchange_faults import Sampler
from tests.support import (
    PATIENCE,
    Lanes,
    RedisServer,
    Simulator,
    Stream,
    hold,
    run,
    wait_until,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

lanes = Lanes()

START_S = 30.0
OF_THE_GATEWAY = frozenset({"breaker_open", "rate_limited"})
"""Told beside what an absent REST costs the ingester, and by design for longer: `tests/browser/test_reasons.py`."""
NOTICED_S = 20.0
HEALED_S = 100.0
"""A refused key is tried again every 15 to 30 s, REST at least once a minute; both may have just been."""
SETTLED_S = 3.0
"""After which a balance that has changed must be right or marked."""

ORDER = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}


class Watch:
    """Looks at status and balances all the while, in a thread of its own.

    Attributes:
        said: Each change of the reasons, with its time.
    """

    def __init__(self, redis_url: str, simulator: Simulator) -> None:
        self._url, self._simulator = redis_url, simulator
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._unchanged: tuple[Any, float] = (None, 0.0)
        self._wrong: list[str] = []
        self.said: list[tuple[float, tuple[str, ...]]] = []
        self.right = self.marked = self.blind = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        if exc is not None:
            exc.add_note("said: " + "; ".join(f"{at:.1f} {reasons}" for at, reasons in self.said[-10:]))
        else:
            assert not self._wrong, f"{len(self._wrong)} wrong: {self._wrong[:5]}"

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception as exc:  # noqa: BLE001 - a watch that has died must not look like one that found nothing
            self._wrong.append(f"the watch died: {exc!r}")

    async def _watch(self) -> None:
        async with AsyncReader(self._url, rest=False, settings=load(demand=False)) as reader:
            while not self._stop.is_set():
                try:
                    status, now_ms = await asyncio.to_thread(probe, self._url)
                except StoreError:  # nothing here harms Redis: this machine is busy
                    self.blind += 1
                    assert self.blind < 5
                    continue
                reasons = judge(status, now_ms).reasons
                if not self.said or self.said[-1][1] != reasons:
                    self.said.append((time.monotonic(), reasons))
                await self._look(reader)
                await asyncio.sleep(0.1)

    async def _look(self, reader: AsyncReader) -> None:
        """Hold what is called realtime against the truth, once that has not changed for a while."""
        truth = await asyncio.to_thread(self._truth)
        readings = await reader.balances()
        if truth != self._unchanged[0]:
            self._unchanged = (truth, time.monotonic())
        settled = time.monotonic() - self._unchanged[1] > SETTLED_S * PATIENCE
        for error in readings.missing.values():
            if isinstance(error.__cause__, StoreUnavailable):
                raise error.__cause__
            self.marked += 1
        for currency, reading in readings.items():
            if reading.tier is not Tier.REALTIME:
                self.marked += 1
            elif settled and truth is not None and await asyncio.to_thread(self._truth) == truth:
                told = {"available": reading.value.available, "hold": reading.value.hold}
                if told == (real := {name: Decimal(truth[currency][name]) for name in told}):
                    self.right += 1
                else:
                    self._wrong.append(f"{currency} is called realtime as {told} and is {real}")

    def _truth(self) -> dict[str, dict[str, str]]:
        accounts: dict[str, dict[str, str]] = self._simulator.tell({"query": "accounts"})["accounts"]
        return accounts


class Rig:
    """A stream with a key from a simulator of two products, watched."""

    def __init__(self, folder: Path, redis: RedisServer, simulator: Simulator, stream: Stream) -> None:
        self.folder, self.redis, self.simulator, self.stream = folder, redis, simulator, stream
        self.watch = Watch(redis.url, simulator)
        self.sampler = Sampler(redis.url, simulator)
        self._calls = self._connects = 0
        self._counted_at = 0.0

    def reasons(self) -> tuple[str, ...]:
        """What stream-status would name, but for what the gateway says of REST for all processes."""
        try:
            status, now_ms = probe(self.redis.url)
        except StoreError:
            return ("cannot tell",)
        return tuple(reason for reason in judge(status, now_ms).reasons if reason.code not in OF_THE_GATEWAY)

    def is_healthy(self) -> bool:
        """Whether stream-status would say so."""
        return not self.reasons()

    def names(self, *words: str) -> float:
        """One reason with these words within 20 s, by the command too; return after how long."""
        began = time.monotonic()
        wait_until(lambda: self._is_named(words), NOTICED_S, why=f"not named: {words}")
        took_s = time.monotonic() - began
        done = run("stream-status", "--json", "--redis-url", self.redis.url, folder=self.folder)
        answer = json.loads(done.stdout)
        named = zip(answer["reasons"], answer["codes"], strict=True)
        own = [reason for reason, code in named if code not in OF_THE_GATEWAY]
        assert (done.returncode, answer["level"], len(own)) == (1, "degraded", 1), answer["reasons"]
        assert all(word in own[0] for word in words), answer["reasons"]
        return took_s

    def _is_named(self, words: tuple[str, ...]) -> bool:
        reasons = self.reasons()
        return len(reasons) == 1 and all(word in reasons[0] for word in words)

    def goes_on_naming(self, for_s: float, *words: str) -> None:
        """Nothing else is said while it lasts."""
        hold(lambda: self._is_named(words), for_s, f"no longer named: {words}")

    def heals(self) -> float:
        """Healthy in a bounded time, with every balance confirmed or right; return after how long."""
        began = time.monotonic()
        try:
            wait_until(self.is_healthy, HEALED_S)
            took_s = time.monotonic() - began
            wait_until(self.is_settled, 15)
        except AssertionError as exc:
            exc.add_note(f"reasons: {self.reasons()}")
            raise
        assert self.stream.code is None
        assert "Traceback" not in self.stream.log
        return took_s

    def is_settled(self) -> bool:
        """Whether every balance is confirmed and right."""
        status, _ = probe(self.redis.url)
        portfolio = (status or {}).get("portfolio") or {}
        told = [portfolio.get(name) for name in ("currencies", "derived", "suspect")]
        return told == [5, 0, 0] and self.balances_are_right()

    def balances_are_right(self) -> bool:
        """Whether Redis holds the exchange's truth of every wallet."""
        for currency, real in self.simulator.tell({"query": "accounts"})["accounts"].items():
            held = self.redis.hash(f"portfolio_realtime:{currency}")
            assert held, f"no {currency}"
            for name in ("available", "hold"):
                assert Decimal(held[name]) == Decimal(real[name]), (currency, held, real)
        return True

    def loses_the_user_channel(self) -> None:
        """Its connection is closed, and no other."""
        connections = self.simulator.state()["connections"]
        (number,) = [one["connection"] for one in connections if "user" in one["subscriptions"]]
        self.simulator.fault("close", connection=number)

    def trades(self) -> None:
        """An order is placed and filled: its end is something that only REST can confirm."""
        order_id = self.simulator.tell({"order": ORDER})["order_id"]
        self.simulator.tell({"fill": order_id})

    def counting(self) -> None:
        """Count connects and REST calls from here on."""
        self._calls, self._connects = self._made()
        self._counted_at = time.monotonic()

    def calls(self, route: str) -> int:
        """How often REST was asked on routes with this word in them."""
        routes = self.simulator.tell({"query": "rest"})["routes"]
        return sum(n for name, n in routes.items() if route in name)

    def _made(self) -> tuple[int, int]:
        books, state = self.simulator.tell({"query": "rest"}), self.simulator.state()
        return int(books["total"]), int(state["counters"]["connects"]["total"])

    def counted(self, what: str) -> tuple[int, int]:
        """Return calls and connects since `counting`, and note them for whoever wants to know."""
        calls, connects = self._made()
        for_s = time.monotonic() - self._counted_at
        made = calls - self._calls, connects - self._connects
        print(f"FIGURES {what}: {made[0]} REST calls and {made[1]} connects in {for_s:.0f} s")
        return made


@contextmanager
def exchange_and_stream(
    folder: Path, *before: dict[str, Any], key: Path | None = None, flags: tuple[str, ...] = ()
) -> Iterator[Rig]:
    """Start an exchange, do something to it, start a stream with its key (or another), and watch from then on.

    Prices are watched from when they have come: from then on, they never stop being realtime.
    """
    own = folder / "key.json"
    with (
        RedisServer(folder) as redis,
        Simulator(folder, "--make-key", str(own), *flags, products=2, rate=40) as simulator,
    ):
        if before:
            simulator.tell(*before)
        urls = ("--ws-url", simulator.url, "--rest-url", simulator.rest_url, "--redis-url", redis.url)
        with Stream(folder, *simulator.products, *urls, env={"COINBASE_KEY_FILE": str(key or own)}) as stream:
            rig = Rig(folder, redis, simulator, stream)
            rig.counting()
            wait_until(lambda: all(redis.ticker(p) for p in simulator.products), START_S, why="no prices come")
            wait_until(lambda: redis.ask("GET", "stream:status"), 5)
            with rig.sampler, rig.watch:
                yield rig
                assert stream.code is None
            # A few readings may precede the first report of the feed, none may follow a fault.
            assert rig.sampler.other <= 4, f"{rig.sampler.other} prices were not realtime"


@contextmanager
def streaming(folder: Path, **more: Any) -> Iterator[Rig]:
    """A healthy stream with true balances."""
    with exchange_and_stream(folder, **more) as rig:
        wait_until(lambda: rig.is_healthy() and rig.is_settled(), START_S + 30)
        # The candles from before the stream: until they are there, REST has more to say.
        wait_until(lambda: rig.calls("candles") >= 2, 60)
        rig.counting()
        yield rig
        assert rig.watch.right, "no balance was looked at"


@lanes.test
def test_the_watch_finds_a_wrong_balance(folder: Path) -> None:
    """Else the tests below could not fail: an order of which the exchange says nothing is nothing we can know."""

    def keep_quiet() -> None:
        with streaming(folder) as rig:
            rig.simulator.tell({"hush": True})
            rig.trades()
            wait_until(lambda: rig.watch._wrong, 30)

    with pytest.raises(AssertionError, match="is called realtime"):
        keep_quiet()


# -- the key ------------------------------------------------------------------------------------------------------


@lanes.test
def test_a_wrong_key(folder: Path) -> None:
    """Prices flow without it; said once and clearly; asked for seldom: only a person can mend it."""
    stranger = folder / "stranger.json"
    make_key_file(stranger)
    with exchange_and_stream(folder, key=stranger) as rig:
        rig.names("refuses the API key", "401")
        rig.goes_on_naming(30, "refuses the API key", "401")
        calls, connects = rig.counted("wrong key, from the start")
        assert rig.redis.ask("KEYS", "portfolio_realtime:*") == []
        # Products and candles are asked for besides: 1 and 2 calls.
        assert calls <= 3 + 6
        assert connects <= 3 + 4


@lanes.test
def test_an_expired_key_that_is_renewed(folder: Path) -> None:
    """Expired before the start, and good again later: it finds out by itself."""
    with exchange_and_stream(folder, {"expires": True, "in_s": 0}) as rig:
        rig.names("refuses the API key", "401")
        rig.goes_on_naming(15, "refuses the API key")
        rig.simulator.tell({"restore": True})
        took_s = rig.heals()
        rig.counted(f"expired key, healed after {took_s:.0f} s")


@lanes.test
def test_a_key_that_expires_while_running(folder: Path) -> None:
    """What was accepted lives on; the next question shows it, and balances stay right meanwhile."""
    with streaming(folder) as rig:
        rig.simulator.tell({"expires": True, "in_s": 0})
        hold(rig.is_healthy, 5, "nothing is lost yet")
        rig.trades()
        took_s = rig.names("refuses the API key", "401")
        rig.goes_on_naming(15, "refuses the API key")
        rig.counted(f"key expires while running, named after {took_s:.0f} s")
        assert rig.balances_are_right()
        assert rig.watch.right
        rig.simulator.tell({"restore": True})
        took_s = rig.heals()
        calls, connects = rig.counted(f"key expires while running, healed after {took_s:.0f} s")
        assert connects == 0
        assert calls <= 12


@lanes.test
def test_a_key_without_permission(folder: Path) -> None:
    """Heartbeats are accepted and the user channel is not: that is not live, and the permission is named."""
    with exchange_and_stream(folder, {"permit": True, "view": False}) as rig:
        took_s = rig.names("permission", "403")
        rig.goes_on_naming(30, "permission", "403")
        calls, connects = rig.counted(f"permission missing, named after {took_s:.0f} s")
        assert calls <= 3 + 5
        assert connects <= 3 + 4
        rig.simulator.tell({"permit": True, "view": True})
        took_s = rig.heals()
        rig.counted(f"permission missing, healed after {took_s:.0f} s")


@lanes.test
def test_a_key_revoked_in_the_middle(folder: Path) -> None:
    """Its connections live on, and so do balances; nothing is said before something is lost."""
    with streaming(folder) as rig:
        rig.simulator.tell({"revoke": True})
        hold(rig.is_healthy, 10, "nothing is lost yet")
        rig.trades()
        took_s = rig.names("refuses the API key", "401")
        rig.counted(f"revoked, named after {took_s:.0f} s")
        assert rig.balances_are_right()
        rig.simulator.tell({"restore": True})
        took_s = rig.heals()
        calls, connects = rig.counted(f"revoked, healed after {took_s:.0f} s")
        assert (connects, calls <= 10) == (0, True)


@lanes.test
def test_a_key_revoked_and_thrown_out(folder: Path) -> None:
    """The user connection is closed and no other accepted: balances are marked until the key is good again."""
    with streaming(folder) as rig:
        rig.simulator.tell({"revoke": True, "close": True})
        took_s = rig.names("refuses")
        rig.counted(f"revoked and closed, named after {took_s:.0f} s")
        rig.trades()  # which nobody tells us of
        marked = rig.watch.marked
        rig.goes_on_naming(35, "refuses")
        assert rig.watch.marked > marked
        calls, connects = rig.counted("revoked and closed")
        assert connects <= 5
        assert calls <= 8
        rig.simulator.tell({"restore": True})
        took_s = rig.heals()
        rig.counted(f"revoked and closed, healed after {took_s:.0f} s")


# -- the clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [-1, 1])
@lanes.test
def test_clocks_a_second_apart(folder: Path, case: int) -> None:
    """Which is common, and costs nothing: at the start, while running, or when a connection is lost."""
    with exchange_and_stream(folder, {"clock_offset_s": case}) as rig:
        wait_until(lambda: rig.is_healthy() and rig.is_settled(), START_S + 30)
        for offset_s in (0, case):
            rig.simulator.tell({"clock_offset_s": offset_s})
            rig.loses_the_user_channel()
            wait_until(lambda: not rig.is_healthy(), 6)
            rig.heals()
            rig.trades()
            hold(lambda: "refuses" not in str(rig.reasons()), 8)
        rig.counted(f"clock {case:+} s")
        assert "refuses" not in str(rig.watch.said)


@pytest.mark.parametrize("case", [-3600, -30, 30, 3600])
@lanes.test
def test_clocks_far_apart_from_the_start(folder: Path, case: int) -> None:
    """The exchange says what time it is: balances are right, and the clock to be set is the one thing said."""
    with exchange_and_stream(folder, {"clock_offset_s": case}) as rig:
        words = ("the clock of this host is", "behind" if case > 0 else "ahead of", str(abs(case))[:1])
        # A few seconds of doubt at the start are as ever: balances have not been confirmed then.
        wait_until(rig.is_settled, START_S)
        took_s = rig.names(*words)
        rig.goes_on_naming(12, *words)
        rig.trades()
        wait_until(rig.balances_are_right, 15)
        # An order soon after the first answers may leave its currencies in doubt for some seconds, with any clock.
        wait_until(lambda: rig._is_named(words), 30)
        rig.counted(f"clock {case:+} s from the start, named after {took_s:.0f} s")
        assert "refuses" not in str(rig.watch.said)
        rig.simulator.tell({"clock_offset_s": 0})
        took_s = rig.heals()
        rig.counted(f"clock {case:+} s from the start, healed after {took_s:.0f} s")


@pytest.mark.parametrize("case", [-3600, -30, 30, 3600])
@lanes.test
def test_clocks_that_come_apart(folder: Path, case: int) -> None:
    """A step while running, then the user channel is lost and an order is filled: in time all is right again."""
    with streaming(folder) as rig:
        rig.simulator.tell({"clock_offset_s": case})
        rig.loses_the_user_channel()
        rig.trades()
        words = ("the clock of this host is", "behind" if case > 0 else "ahead of")
        began = time.monotonic()
        named_s = rig.names(*words)
        wait_until(lambda: rig._is_named(words) and rig.balances_are_right(), 60)
        wait_until(lambda: "refuses" not in str(rig.reasons()), 60)
        took_s = time.monotonic() - began
        rig.goes_on_naming(10, *words)
        calls, connects = rig.counted(
            f"clock steps {case:+} s, named after {named_s:.0f} s, all right after {took_s:.0f} s"
        )
        assert calls <= 12
        assert connects <= 8
        rig.simulator.tell({"clock_offset_s": 0})
        took_s = rig.heals()
        rig.counted(f"clock steps {case:+} s, healed after {took_s:.0f} s")


# -- REST ---------------------------------------------------------------------------------------------------------

REST_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "503": ({"fault": "rest_status", "status": 503}, "HTTP 503"),
    "429": ({"fault": "rest_status", "status": 429}, "too many calls"),
    "429 with Retry-After": ({"fault": "rest_status", "status": 429, "retry_after_s": 30}, "too many calls"),
    "hangs": ({"fault": "rest_hang"}, "no answer"),
    "garbage": ({"fault": "rest_garbage"}, "sense"),
}


@pytest.mark.parametrize("case", list(REST_FAULTS))
@lanes.test
def test_rest_goes_away(folder: Path, case: str) -> None:
    """Balances go on by what the exchange pushes; that they are not confirmed is the one thing said."""
    fault, words = REST_FAULTS[case]
    with streaming(folder) as rig:
        rig.simulator.tell(fault)
        hold(rig.is_healthy, 5, "nobody has asked")
        rig.trades()
        took_s = rig.names("balances cannot be confirmed", words)
        rig.goes_on_naming(20, "balances cannot be confirmed", words)
        calls, connects = rig.counted(f"REST {case}, named after {took_s:.0f} s")
        assert rig.balances_are_right()
        assert (connects, calls <= 8) == (0, True)
        rig.simulator.tell({"heal": True})
        took_s = rig.heals()
        rig.counted(f"REST {case}, healed after {took_s:.0f} s")


@pytest.mark.parametrize("case", ["503", "429", "hangs"])
@lanes.test
def test_rest_is_away_from_the_start(folder: Path, case: str) -> None:
    """Prices and the user channel do without; one reason says what is missing."""
    fault, words = REST_FAULTS[case]
    with exchange_and_stream(folder, fault) as rig:
        took_s = rig.names("REST", words)
        rig.goes_on_naming(20, "REST", words)
        calls, _ = rig.counted(f"REST {case} from the start, named after {took_s:.0f} s")
        assert calls <= 14
        rig.simulator.tell({"heal": True})
        took_s = rig.heals()
        rig.counted(f"REST {case} from the start, healed after {took_s:.0f} s")
