"""What makes the market move: a random one at a rate or as fast as a core can, a recording in its own time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from streamer.simulator.desk import Desk
from streamer.simulator.market import Market, RandomWalkMarket
from streamer.simulator.recording import Recording

CLOCK_TICK_S = 0.02
"""How often the exchange looks at the clock."""

_SATURATED_BATCH = 512
_SAME_STAMP = 16  # ticks of one stamp: some 80 microseconds, and reading the clock is a tenth of a tick's cost
_MAX_DUE = 20_000
_NS = 1_000_000_000


class Ticking:
    """Moves a market and publishes what happens.

    Args:
        market: The market.
        desk: Who is told.
        ticks_per_s: Rate of a random market over all products, `math.inf` for as fast as can be.
        flush: Writes out what was published.
        drain: Waits until the clients have read most of it.
        clock_ns: The true time in nanoseconds since 1970, by which a random market follows its guide.
    """

    def __init__(
        self,
        market: Market,
        desk: Desk,
        ticks_per_s: float,
        flush: Callable[[], None],
        drain: Callable[[], Awaitable[None]],
        clock_ns: Callable[[], int],
    ) -> None:
        self._market, self._desk, self._rate = market, desk, ticks_per_s
        self._flush, self._drain, self._clock_ns = flush, drain, clock_ns
        self.is_paused = False
        self.ended = asyncio.Event()
        """Set when a recording has been replayed to its end."""
        self._replay_from_s: float | None = None
        self._replay_started = asyncio.Event()

    async def run(self) -> None:
        """Move the market for as long as it moves."""
        if isinstance(self._market, Recording):
            await self._replay(self._market)
        elif isinstance(self._market, RandomWalkMarket) and self._rate:
            moving = self._saturate if math.isinf(self._rate) else self._tick_on
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(moving(self._market), name="market-ticks")
                if self._market.guide is not None:
                    tasks.create_task(self._follow_on(self._market), name="market-guide")

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _tick_on(self, market: RandomWalkMarket) -> None:
        step_s = max(CLOCK_TICK_S / 4, 1 / self._rate)
        from_s, done = self._now_s(), 0
        while True:
            await asyncio.sleep(step_s)
            due = int((self._now_s() - from_s) * self._rate) - done
            done += due
            if self.is_paused:
                continue
            # After a freeze (SIGSTOP, a busy machine) the missed ticks are not made up without limit.
            for _ in range(min(due, _MAX_DUE)):
                product_id = market.next_tick()
                if product_id is not None:
                    self._desk.trade(product_id)
            self._flush()

    async def _saturate(self, market: RandomWalkMarket) -> None:
        next_tick, publish = market.next_tick, self._desk.publish
        while True:
            if self.is_paused or not self._desk.has_ticker_subscribers:
                await asyncio.sleep(CLOCK_TICK_S)
                continue
            for _ in range(_SATURATED_BATCH // _SAME_STAMP):
                stamp = self._desk.now_stamp()
                for _ in range(_SAME_STAMP):
                    product_id = next_tick()
                    if product_id is not None:
                        publish(product_id, stamp)
            self._flush()
            await self._drain()
            await asyncio.sleep(0)

    async def _follow_on(self, market: RandomWalkMarket) -> None:
        while True:
            if not self.is_paused:
                for product_id in market.follow(self._clock_ns() / _NS):
                    self._desk.trade(product_id)
                self._flush()
            await asyncio.sleep(1 - self._clock_ns() % _NS / _NS)  # a guide's price is that of a whole second

    def start_replay(self) -> None:
        """Let a recording run from now on, if it does not run yet."""
        if not isinstance(self._market, Recording):
            return
        if self._replay_from_s is None:
            self._replay_from_s = self._now_s()
            self._replay_started.set()
        # What is due has passed before the snapshot is taken, so no line is both missed and not sent.
        self._replay_due(self._market, self._replay_from_s)

    async def _replay(self, recording: Recording) -> None:
        await self._replay_started.wait()
        assert self._replay_from_s is not None
        while (wait_s := recording.due_in_s(self._now_s() - self._replay_from_s)) is not None:
            # Paused, what is due waits: look again soon, do not spin.
            await asyncio.sleep(max(wait_s, CLOCK_TICK_S) if self.is_paused else wait_s)
            self._replay_due(recording, self._replay_from_s)
        self.ended.set()

    def _replay_due(self, recording: Recording, from_s: float) -> None:
        if self.is_paused:
            return
        for line in recording.advance(self._now_s() - from_s):
            self._desk.publish_recorded(line)
        self._flush()
