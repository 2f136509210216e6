"""The ingester: turns the wanted set into feeds, owns the shard, and says once a second how it stands."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import structlog

from streamer.coinbase.feed import FeedFacts
from streamer.errors import StoreUnavailable
from streamer.ingest.lease import Lease
from streamer.ingest.report import feed_entry, feed_status, open_ended, products_status
from streamer.ingest.sink import Sink
from streamer.ingest.status import process_status, upstream_status
from streamer.ingest.streams import Streams
from streamer.ingest.upstream import Upstream
from streamer.model import ProductId
from streamer.settings import Settings, owner_name
from streamer.store.connect import Script, Store, explain
from streamer.store.keys import STATUS_TTL_S, Keys
from streamer.store.wanted import Want, WantedSet, parse_wanted

log = structlog.get_logger(__name__)

BEAT_S = 1.0
SHARD = "default"
"""All products are one shard so far: one owner, any number of standbys."""
_SOONEST_BEAT_S = 0.1
_REMIND_EVERY_S = 30.0
_FAREWELL_S = 0.7
_EVICT_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """How the ingester stands, for whoever shows it (a terminal table, the HTTP API)."""

    role: str
    feeds: tuple[FeedFacts, ...]
    wanted: int
    frames: int
    writes: int
    lag_s: float
    redis_why: str | None


class Supervisor:
    """Runs feeds and sink for one shard.

    Args:
        products: What this command asks for; put into the wanted set as soon as Redis is there, and streamed
            at once where it is not.
        defaults: Asked for where neither this command nor the wanted set names anything.
        gateway: Returns how REST stands for all processes, to be reported with the rest.
        provider_urls: Where a simulator plays other providers, by name; whoever reads this Redis asks there.

    Attributes:
        beat_at: When the last look around began (monotonic): about once a second, whatever state Redis is in.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        upstream: Upstream,
        *,
        products: Collection[ProductId] = (),
        defaults: Collection[ProductId] = (),
        gateway: Callable[[], dict[str, Any] | None] = lambda: None,
        provider_urls: Mapping[str, str] | None = None,
    ) -> None:
        self._settings, self._store, self._upstream = settings, store, upstream
        self._gateway, self._provider_urls = gateway, dict(provider_urls or {})
        self.keys = Keys(settings.key_prefix)
        self.lease = Lease(store, self.keys, SHARD, name=owner_name(), ttl_s=settings.lease_s)
        self.sink = Sink(store, self.keys, self.lease, user_feed=Streams.user_stamp(SHARD, upstream))
        self._wanted_set = WantedSet(store, self.keys)
        self._report_script = Script(store, "report_life")
        self._news = asyncio.Event()
        self.streams = Streams(
            settings, upstream, self.sink, store, self.keys, shard=SHARD, on_state=self._news.set
        )
        self.beat_at = time.monotonic()
        self._renewed_at = -BEAT_S
        self._evicted_at = time.monotonic()
        self._asked = list(dict.fromkeys(products))
        self._defaults = list(defaults)
        self._wanted: set[ProductId] = set(self._asked or self._defaults)
        self._wants: dict[ProductId, Want] = {}
        self._run_id: str | None = None
        self._clock: tuple[int, float] | None = None
        self._redis_why: str | None = None
        self._reminded_at = 0.0
        self._started_at = time.time()
        self._rate = (0, time.monotonic(), 0.0)
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until `stop` is set, then write what is in hand, say goodbye and give the shard up.

        A bug in any task ends the whole, loudly.
        """
        async with asyncio.TaskGroup() as tasks:
            children = [
                tasks.create_task(self.sink.run(), name="sink"),
                tasks.create_task(self._beat_forever(tasks), name="beat"),
            ]
            await stop.wait()
            self._stopping = True
            for child in children:
                child.cancel()
            self.streams.cancel()
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(_FAREWELL_S):
                await self._farewell()

    @property
    def wanted(self) -> frozenset[ProductId]:
        """The products to stream."""
        return frozenset(self._wanted)

    def vitals(self) -> Vitals:
        """Return how the ingester stands now."""
        now = time.monotonic()
        return Vitals(
            role=self._role(now),
            feeds=tuple(self.streams.facts(now)),
            wanted=len(self._wanted),
            frames=self.streams.frames,
            writes=self.sink.writes,
            lag_s=self.sink.lag_s(),
            redis_why=self._redis_why,
        )

    # -- once a second -----------------------------------------------------------------------------------------

    async def _beat_forever(self, tasks: asyncio.TaskGroup) -> None:
        self._converge(tasks)  # feeds connect whether or not Redis is there
        while True:
            self._news.clear()
            began = self.beat_at = time.monotonic()
            try:
                await self._beat(tasks)
                self._redis_is(None)
            except StoreUnavailable as exc:
                self._redis_is(exc.why)
            await asyncio.sleep(_SOONEST_BEAT_S)
            with suppress(TimeoutError):
                # A feed that comes or goes is reported at once: until then readers know nothing of its values.
                async with asyncio.timeout(max(0.0, began + BEAT_S - time.monotonic())):
                    await self._news.wait()

    async def _beat(self, tasks: asyncio.TaskGroup) -> None:
        if await self.lease.hold(time.monotonic()):
            log.info("lease.taken", epoch=self.lease.epoch)
            self.streams.rewrite()
        await self._look_around()
        self._converge(tasks)
        if self.lease.is_ours(time.monotonic()):
            await self.sink.retire()
            await self._evict()
            if (
                time.monotonic() - self._renewed_at >= BEAT_S * 0.9
            ):  # beats may come early, renewals keep their pace
                self._renewed_at = time.monotonic()
                self.streams.renew()
            await self._report()

    async def _evict(self) -> None:
        """Stop streaming what reads have asked for and nobody has read for long."""
        if time.monotonic() - self._evicted_at >= _EVICT_EVERY_S:
            self._evicted_at = time.monotonic()
            if gone := await self._wanted_set.evict_idle(self._settings.demand_idle_s):
                log.info("wanted.unread", products=",".join(gone))

    async def _look_around(self) -> None:
        """Learn what is wanted, what time it is in Redis, and whether it is still the same Redis."""
        if self._run_id is None:
            await self._wanted_set.mend()
            asked = self._asked or ([] if await self._wanted_set.all() else self._defaults)
            added = await self._wanted_set.add(asked, by="cli")
            log.info("wanted.asked", products=len(asked), new=len(added))
        pipeline = self._store.client.pipeline(transaction=False)
        pipeline.info("server")
        pipeline.time()
        pipeline.hgetall(self.keys.wanted)
        pipeline.exists(self.keys.epoch(SHARD))  # after the wanted set: if this is there, that was not lost
        info, time_reply, raw, kept = await self._store.answer(pipeline.execute(raise_on_error=False))
        for reply in (info, time_reply, kept):
            if isinstance(reply, Exception):
                raise StoreUnavailable(self._store.shown_url, explain(reply)) from reply
        seconds, micros = time_reply
        self._clock = (seconds * 1000 + micros // 1000, time.monotonic())
        run_id = str(info.get("run_id"))
        if isinstance(raw, Exception) and not await self._wanted_set.mend():
            raise StoreUnavailable(self._store.shown_url, explain(raw)) from raw
        lost = self.lease.data_lost or not kept or isinstance(raw, Exception)
        if lost or self._run_id not in (None, run_id):
            # Another server answers, or this one was restarted or flushed: empty, old or foreign, we cannot know.
            log.warning("redis.changed", url=self._store.shown_url)
            await self._restore_wanted()
            self.streams.rewrite()
        else:
            self._wants = parse_wanted(raw)
            self._wanted = set(self._wants)
        self._run_id = run_id

    async def _restore_wanted(self) -> None:
        """Ask again for what is wanted, on behalf of who has asked: what only reads asked for may leave again."""
        by_reads = {p for p, want in self._wants.items() if not want.pinned} & self._wanted
        await self._wanted_set.add(self._wanted - by_reads, by="cli")
        await self._wanted_set.add(by_reads, by="reader", pinned=False)

    def _converge(self, tasks: asyncio.TaskGroup) -> None:
        """Make the feeds carry what is wanted."""
        if not self._stopping:
            self.streams.converge(self._wanted, is_owner=self.lease.was_ours, tasks=tasks)

    async def _report(self) -> None:
        now = time.monotonic()
        facts = self.streams.facts(now)
        epoch = self.lease.epoch
        arguments: list[str | int | bytes] = [epoch, SHARD, STATUS_TTL_S * 1000]
        arguments.append(open_ended(self._status(facts, now)))
        for one in facts:
            age_ms = "" if one.proof_at is None else str(int((now - one.proof_at) * 1000))
            arguments += (one.id, feed_entry(one, epoch=epoch), age_ms)
        reply = await self._report_script([self.keys.feeds, self.keys.status], arguments)
        if newer := int(reply[1]):
            log.warning("lease.fenced", epoch=epoch, newer=newer)
            self.lease.lost(newer)

    def _status(self, facts: list[FeedFacts], now: float) -> dict[str, Any]:
        sink, streams = self.sink, self.streams
        return {
            "epoch": self.lease.epoch,
            "owner": self.lease.owner,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "process": process_status(),
            "version": version("coinbase-streamer"),
            "started_ms": int(self._started_at * 1000),
            "source": (facts[0].source if facts else self._upstream.source).value,
            "role": self._role(now),
            "feeds": [feed_status(one, alive_ms=self._on_redis_clock(one.proof_at)) for one in facts],
            "products": products_status(len(self._wanted), facts),
            "rest_url": None if self._upstream.rest is None else self._settings.rest_url,
            "provider_urls": self._provider_urls,
            "stale_after_ms": int(self._settings.stale_after_s * 1000),
            "sink": sink.status(),
            "frames": {
                "received": streams.frames,
                "malformed": streams.malformed,
                "rejected_values": streams.decoder.rejected_tickers + streams.decoder.rejected,
                "unasked": streams.unasked,
                "unknown": dict(streams.decoder.unknown.most_common(10)),
                "per_s": self._frame_rate(streams.frames, now),
            },
            "gateway": self._gateway(),
            **upstream_status(
                self._upstream, streams, sink, self._wanted, on_redis_clock=self._on_redis_clock, now=now
            ),
        }

    def _on_redis_clock(self, at: float | None) -> int | None:
        """Return a monotonic time on the clock of Redis, as well as a round trip lets us know it."""
        if at is None or self._clock is None:
            return None
        redis_ms, known_at = self._clock
        return redis_ms + int((at - known_at) * 1000)

    def _frame_rate(self, frames: int, now: float) -> float:
        before, at, rate = self._rate
        if now - at >= BEAT_S / 2:
            rate = round(max(0, frames - before) / (now - at), 1)
            self._rate = (frames, now, rate)
        return rate

    def _role(self, now: float) -> str:
        if self._stopping:
            return "stopping"
        if self._run_id is None:
            return "starting"
        return "owner" if self.lease.is_ours(now) else "standby"

    def _redis_is(self, why: str | None) -> None:
        """Say at once that Redis is away, remind every 30 s, and say when it is back."""
        now = time.monotonic()
        if why is None:
            if self._redis_why is not None:
                log.info("redis.back", url=self._store.shown_url)
        elif self._redis_why is None or now - self._reminded_at >= _REMIND_EVERY_S:
            self._reminded_at = now
            log.warning("redis.unavailable", url=self._store.shown_url, why=why, feeds=self._feed_states())
        self._redis_why = why

    def _feed_states(self) -> str:
        now = time.monotonic()
        return ",".join(f"{feed.id}={feed.state.value}" for feed in self.streams.facts(now)) or "none"

    async def _farewell(self) -> None:
        """Write what is in hand, report every feed as stopped, release the shard."""
        while self.sink.dirty and self.lease.is_ours(time.monotonic()):
            if not await self.sink.flush():
                break
        if self.lease.is_ours(time.monotonic()):
            await self._report()
        await self.lease.release()
