"""Every fault the simulated exchange knows, against start-stream as a process.

While a fault lasts, a reader looks every 50 ms and compares what it is told with the exchange's own truth: nothing
outdated may pass for realtime. Afterwards Redis holds exactly what the exchange says, though nothing trades any
more. The tests run side by side, each with processes of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from streamer.errors import StoreUnavailable
from streamer.model import Answers, ProductId, Ticker, Tier
from streamer.reader.reader import AsyncReader
from streamer.settings import load
from streamer.simulator.garbage import GarbageKind
from tests.support import (
    PATIENCE,
    Lanes,
    RedisServer,
    Simulator,
    Stream,
    assert_mirrored,
    hold,
    is_healthy,
    level,
    run,
    stream_from,
    wait_until,
)

pytestmark = pytest.mark.faults

lanes = Lanes()

START_S = 20.0
STALE_AFTER_S = 5.0
OUTDATED_S = 5.5
NOTICED_S = 6.0
HEALTHY_S = 10.0
BOTH = ["websockets", "picows"]

Volumes = dict[str, Decimal]


class Sampler:
    """Reads every 50 ms in a thread of its own, as a bot would, and holds each reading against the truth.

    A product's 24-hour volume grows with each simulated trade, so it says how old a value is.
    """

    def __init__(self, redis_url: str, simulator: Simulator) -> None:
        self._url, self._simulator = redis_url, simulator
        self._products = [ProductId(p) for p in simulator.products]
        self._truths: deque[tuple[float, Volumes]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._wrong: list[str] = []
        self.realtime = self.other = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        if exc is None:
            assert not self._wrong, f"{len(self._wrong)} wrong readings: {self._wrong[:5]}"
            assert self.realtime

    def another_market(self) -> None:
        """Forget the truth so far: the exchange was restarted, and its volumes have nothing to do with before."""
        self._truths.clear()

    def _run(self) -> None:
        try:
            asyncio.run(self._sample())
        except Exception as exc:  # noqa: BLE001 - a sampler that has died must not look like one that found nothing
            self._wrong.append(f"the sampler died: {exc!r}")

    async def _sample(self) -> None:
        async with AsyncReader(self._url, rest=False, settings=load(demand=False)) as reader:
            while not self._stop.is_set():
                self._learn(await asyncio.to_thread(self._truth))
                at = time.monotonic()
                self._check(at, await reader.tickers(self._products))
                await asyncio.sleep(0.05)

    def _truth(self) -> Volumes | None:
        """Ask the exchange; frozen or dead it has nothing new to say."""
        try:
            with socket.create_connection(("127.0.0.1", self._simulator.where["control_port"]), 0.3) as sock:
                sock.sendall(b'{"query":"state"}\n')
                with sock.makefile("rb") as replies:
                    state: dict[str, Any] = json.loads(replies.readline())
        except (OSError, ValueError):
            return None
        return {product_id: Decimal(ticker["volume_24_h"]) for product_id, ticker in state["tickers"].items()}

    def _learn(self, volumes: Volumes | None) -> None:
        now = time.monotonic()
        if volumes is not None:
            self._truths.append((now, volumes))

    def _check(self, at: float, readings: Answers[ProductId, Ticker]) -> None:
        floor: Volumes = {}
        while self._truths and self._truths[0][0] <= at - OUTDATED_S:
            floor = self._truths.popleft()[1]
        if floor:
            self._truths.appendleft((at - OUTDATED_S, floor))
        for error in readings.missing.values():
            self.other += 1
            if isinstance(error.__cause__, StoreUnavailable):
                self._wrong.append(str(error))
        for product_id, reading in readings.items():
            if reading.tier is not Tier.REALTIME:
                self.other += 1
                continue
            self.realtime += 1
            if reading.age_s > STALE_AFTER_S:
                self._wrong.append(f"{product_id} is called realtime at an age of {reading.age_s:.2f} s")
            volume = reading.value.volume_24_h
            if volume is None:  # only garbage of the kind unknown_type, taken on purpose, has a price alone
                continue
            if product_id in floor and volume < floor[product_id]:
                self._wrong.append(f"{product_id} is called realtime, and changed over {OUTDATED_S} s ago")
            if reading.source != "simulator":
                self._wrong.append(f"{product_id} says it is from {reading.source}")


class Rig:
    """A stream from a simulator of ten products into a Redis, watched by a sampler."""

    def __init__(self, redis: RedisServer, simulator: Simulator, stream: Stream, sampler: Sampler) -> None:
        self.redis, self.simulator, self.stream, self.sampler = redis, simulator, stream, sampler

    def status(self) -> dict[str, Any]:
        """What the stream last reported."""
        status: dict[str, Any] = json.loads(self.redis.ask("GET", "stream:status"))
        return status

    def is_mirrored(self) -> bool:
        """Whether Redis holds the exchange's values; to be asked while the exchange is paused."""
        assert_mirrored(self.redis, self.simulator.truth())
        return True

    def notices(self, what: str) -> None:
        """Not healthy within 6 s."""
        wait_until(
            lambda: not is_healthy(self.redis.url), NOTICED_S, exactly=True, why=f"{what}: the stream stays healthy"
        )

    def stays_unhealthy(self, for_s: float, what: str) -> None:
        """A lasting fault is not forgotten between two attempts to connect."""
        hold(lambda: not is_healthy(self.redis.url), for_s, f"{what}: called healthy in the middle of it")

    def recovers(self, what: str) -> None:
        """Healthy within 10 s, and with all trading paused Redis comes to hold the exchange's final values."""
        began = time.monotonic()
        try:
            wait_until(lambda: is_healthy(self.redis.url) and self.is_mirrored(), HEALTHY_S)
        except AssertionError as exc:
            exc.add_note(f"after {what}; level {level(self.redis.url)}")
            raise
        assert time.monotonic() - began < HEALTHY_S * PATIENCE
        assert self.stream.code is None
        assert "Traceback" not in self.stream.log
        self.simulator.tell({"pause": False})

    def goes_on(self) -> None:
        """Prices flow, each product's."""
        before = {p: self.redis.ticker(p).get("sequence") for p in self.simulator.products}
        wait_until(
            lambda: all(self.redis.ticker(p).get("sequence") != s for p, s in before.items()),
            10,
            why="no new prices",
        )

    def suffers(self, kind: str, *, reset: bool = False, **options: Any) -> None:
        """A lasting fault from its beginning to a full recovery; `reset` makes the stream connect into it."""
        self.simulator.fault(kind, **options)
        if reset:
            self.simulator.fault("reset")
        self.notices(kind)
        self.stays_unhealthy(2.0, kind)
        self.simulator.heal_and_pause()
        self.recovers(kind)

    def takes(self, kind: str, noticed: Callable[[], bool], /, **options: Any) -> None:
        """A fault that is over at once: from then on nothing trades, so nothing but healing mends what was lost."""
        self.goes_on()
        self.simulator.fault(kind, **options)
        self.simulator.tell({"pause": True})
        wait_until(noticed, HEALTHY_S, why=f"{kind} is not noticed")
        self.recovers(kind)


@contextmanager
def streaming(folder: Path, transport: str) -> Iterator[Rig]:
    """A healthy stream, watched."""
    with (
        RedisServer(folder) as redis,
        Simulator(folder, rate=100) as simulator,
        stream_from(simulator, redis, folder, transport=transport) as stream,
    ):
        wait_until(lambda: is_healthy(redis.url), START_S, why="the stream does not become healthy")
        with Sampler(redis.url, simulator) as sampler:
            yield Rig(redis, simulator, stream, sampler)


# -- over at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BOTH)
@lanes.test
def test_lost_doubled_shuffled_and_garbled_frames(folder: Path, case: str) -> None:
    """On the same connection, without any reconnect, all is made good; and all of it is counted."""
    with streaming(folder, case) as rig:

        def gaps() -> int:
            return int(rig.status()["feeds"][0]["gaps"])

        rig.takes("skip", lambda: gaps() == 1, n=7)
        rig.simulator.fault("repeat", n=10)
        rig.goes_on()
        rig.goes_on()
        assert gaps() == 1
        rig.simulator.fault("reorder", n=20)
        rig.goes_on()
        # What is held back is sent when two are together, though nothing trades: heartbeats are frames too.
        wait_until(lambda: gaps() > 1, 3)
        before = gaps()
        rig.takes("reorder", lambda: gaps() > before, n=2)

        def bad() -> int:
            frames = rig.status()["frames"]
            return int(frames["malformed"] + frames["rejected_values"] + sum(frames["unknown"].values()))

        for kind in GarbageKind:
            # Unknown fields are looked for on every 1024th frame only, so their count may not rise.
            before = bad() if kind is not GarbageKind.UNKNOWN_FIELD else -1
            if kind is not GarbageKind.UNKNOWN_TYPE:
                rig.takes("garbage", lambda known=before: bad() > known, kind=kind)  # type: ignore[misc]
        # A sound ticker in an event of an unknown type is taken: news in the protocol shall cost no value.
        rig.simulator.fault("garbage", kind=GarbageKind.UNKNOWN_TYPE)
        rig.goes_on()
        rig.simulator.fault("fragment")
        rig.goes_on()
        rig.simulator.heal_and_pause()
        rig.recovers("fragment")
        status = rig.status()
        assert status["feeds"][0]["reconnects"] == 0
        assert status["frames"]["rejected_values"] >= 10
        assert "channel:weather" in status["frames"]["unknown"]


@pytest.mark.parametrize("case", BOTH)
@lanes.test
def test_a_frame_may_lose_the_last_tick_of_a_quiet_market(folder: Path, case: str) -> None:
    """The frame that is lost is the last for a while: the next heartbeat shows the gap, the snapshot heals it."""
    with streaming(folder, case) as rig:
        simulator = rig.simulator
        simulator.tell({"pause": True})
        wait_until(rig.is_mirrored, 5)
        simulator.tell({"fault": "silence", "products": ["BTC-USD"]}, {"tick": "BTC-USD", "price": "70000"})
        simulator.tell({"heal": True}, {"pause": True}, {"fault": "skip", "n": 1})
        wait_until(lambda: rig.redis.ticker("BTC-USD")["price"] == "70000", 4, why="the lost tick is not made good")
        rig.recovers("a lost tick")


# -- connections end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BOTH)
@lanes.test
def test_connections_that_end(folder: Path, case: str) -> None:
    """Close codes, a reset, a frame beyond all bounds and a sequence that starts over: each time it reconnects."""
    with streaming(folder, case) as rig:

        def reconnects() -> int:
            return int(rig.status()["feeds"][0]["reconnects"])

        rig.takes("close", lambda: reconnects() == 1, code=1000)
        rig.takes("close", lambda: reconnects() == 2, code=1013)
        rig.takes("reset", lambda: reconnects() == 3)
        rig.takes("oversized", lambda: reconnects() == 4, size_bytes=64 << 20)
        rig.takes("restart_sequence", lambda: reconnects() == 5)


# -- it lasts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BOTH)
@lanes.test
def test_an_open_socket_on_which_nothing_comes(folder: Path, case: str) -> None:
    """Pongs, and even floods of pings, are no proof of life."""
    with streaming(folder, case) as rig:
        rig.suffers("ping_flood", per_s=500)
        if case == "websockets":
            rig.suffers("silence")


@pytest.mark.parametrize("case", BOTH)
@lanes.test
def test_a_door_slammed_in_the_face(folder: Path, case: str) -> None:
    """Connections cut in the middle of the handshake: it goes on trying, and gets in when it can."""
    with streaming(folder, case) as rig:
        rig.suffers("drop_handshake", reset=True)


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_an_exchange_that_does_not_let_us_in(folder: Path, case: str) -> None:
    """Refused upgrades, and connections dropped as soon as we subscribe."""
    with streaming(folder, case) as rig:
        rig.suffers("refuse_upgrade", reset=True, status=503)
        rig.suffers("drop_after_subscribe", reset=True)


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_an_exchange_that_refuses_subscriptions(folder: Path, case: str) -> None:
    """Connected and told no: the feed is not live, and the status carries the exchange's words."""
    with streaming(folder, case) as rig:
        rig.simulator.fault("refuse_subscriptions")
        rig.simulator.fault("reset")
        rig.notices("refuse_subscriptions")
        wait_until(
            lambda: (
                "authentication failure"
                in run("stream-status", "--json", "--redis-url", rig.redis.url, folder=folder).stdout
            ),
            10,
        )
        rig.simulator.heal_and_pause()
        rig.recovers("refuse_subscriptions")


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_an_exchange_that_acknowledges_and_sends_no_data(folder: Path, case: str) -> None:
    """Heartbeats alone make no price current: old values are not realtime; with data again all is well."""
    with streaming(folder, case) as rig:
        rig.simulator.fault("ack_without_data")
        rig.simulator.fault("reset")
        rig.notices("ack_without_data")
        wait_until(lambda: level(rig.redis.url) == "degraded" and len(rig.status()["products"]["silent"]) == 10, 20)
        rig.simulator.tell({"heal": True})
        wait_until(lambda: is_healthy(rig.redis.url), HEALTHY_S, why="data flows again, and it is not healthy")
        rig.simulator.tell({"pause": True})
        rig.recovers("ack_without_data")


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_a_snapshot_that_never_came_is_asked_for_again(folder: Path, case: str) -> None:
    """A quiet product whose snapshot was lost without a gap gets its value, though it does not trade."""
    with streaming(folder, case) as rig:
        rig.simulator.fault("ack_without_data")
        rig.simulator.fault("reset")
        rig.notices("ack_without_data")
        wait_until(lambda: rig.status()["feeds"][0]["state"] == "live", HEALTHY_S)
        rig.simulator.heal_and_pause()
        wait_until(lambda: is_healthy(rig.redis.url) and rig.is_mirrored(), 25)


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_a_reconnect_without_data_is_not_healthy(folder: Path, case: str) -> None:
    """While readers are told that no price is current, the status is not healthy, however old the process is."""
    with streaming(folder, case) as rig:
        wait_until(lambda: age_s(rig) > 16, 30)
        rig.simulator.fault("ack_without_data")
        rig.simulator.fault("reset")
        rig.notices("ack_without_data")
        rig.stays_unhealthy(9, "ack_without_data")


def age_s(rig: Rig) -> float:
    """How long the stream says that it has been running."""
    status = rig.status()
    return float(status["written_ms"] - status["started_ms"]) / 1000


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_frames_that_come_byte_by_byte(folder: Path, case: str) -> None:
    """Slow is not wrong: everything arrives, nothing is reconnected."""
    with streaming(folder, case) as rig:
        rig.simulator.fault("slow_frames")
        rig.goes_on()
        rig.goes_on()
        rig.simulator.heal_and_pause()
        rig.recovers("slow_frames")
        assert rig.status()["feeds"][0]["reconnects"] == 0


# -- the process at the other end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BOTH)
@lanes.test
def test_an_exchange_killed_and_restarted(folder: Path, case: str) -> None:
    """Noticed within 6 s; back on the same address with other prices, those are shown and no older ones."""
    with streaming(folder, case) as rig:
        rig.simulator.kill()
        rig.notices("killed")
        rig.stays_unhealthy(2.0, "killed")
        rig.simulator.start(seed=1)
        rig.sampler.another_market()
        rig.goes_on()
        rig.simulator.tell({"pause": True})
        rig.recovers("a restart")


@pytest.mark.parametrize("case", ["websockets"])
@lanes.test
def test_an_exchange_frozen_for_twenty_seconds(folder: Path, case: str) -> None:
    """Its kernel still accepts connections; noticed within 6 s, never called healthy, and over within 10 s."""
    with streaming(folder, case) as rig:
        with rig.simulator.frozen():
            began = time.monotonic()
            rig.notices("frozen")
            rig.stays_unhealthy(20 - (time.monotonic() - began), "frozen")
        rig.simulator.tell({"pause": True})
        rig.recovers("a freeze")
        rig.goes_on()
