"""Whatever happens, in whatever order: what a reading says was true as long ago as its age says, and no longer."""

from __future__ import annotations

import json
from bisect import bisect_right
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import Unavailable
from streamer.gateway.gateway import Answer
from streamer.model import ProductId, Reading, Source, Ticker, Tier
from streamer.reader.freshness import STALE_AFTER_S, Bounds
from streamer.reader.plans import Plans
from streamer.reader.steps import Ask, Fetch
from streamer.store.copies import StoredCopy, encode_value, parse_copy
from streamer.store.keys import Keys

BTC = ProductId("BTC-USD")
FEED = "default.market-0"
START_MS = 1_795_000_000_000

EVENTS = st.sampled_from(
    [
        "change",
        "change",
        "beat",
        "beat",
        "beat",
        "stall",
        "reconnect",
        "gap",
        "renew",
        "copy",
        "expire",
        "read",
        "read",
    ]
)


class Market:
    """An exchange, a feed, an ingester and REST, on one clock; and Redis as they leave it."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.changes: list[tuple[int, str]] = [(START_MS, "100")]
        self.connection = 1
        self.is_alive = True
        self.alive_ms: int | None = START_MS
        self.hash: dict[str, str] = {}
        self.shadow: dict[str, str] = {}
        self.copy: bytes | None = None
        self.stale_copy: bytes | None = None
        self._write()

    @property
    def price(self) -> str:
        """The truth."""
        return self.changes[-1][1]

    def truth_at(self, ms: float) -> set[str]:
        """What was true then, give or take the millisecond that the clock of Redis is told in."""
        before = bisect_right([at for at, _ in self.changes], ms - 1.5) - 1
        return {self.changes[max(0, before)][1]} | {price for at, price in self.changes if abs(at - ms) <= 1}

    def change(self) -> None:
        """The price changes; a feed that lives brings it at once."""
        self.changes.append((self.now_ms, str(len(self.changes) + 100)))
        if self.is_alive:
            self._write()

    def beat(self) -> None:
        """The ingester reports the feed's proof of life."""
        if self.is_alive:
            self.alive_ms = self.now_ms

    def stall(self) -> None:
        """The feed goes silent, and nobody knows yet."""
        self.is_alive = False

    def reconnect(self) -> None:
        """Another connection; its snapshot brings the price with the next change or renewal."""
        self.connection += 1
        self.is_alive, self.alive_ms = True, None

    def gap(self) -> None:
        """A change is lost, and the loss is seen."""
        self.changes.append((self.now_ms, str(len(self.changes) + 100)))
        if self.is_alive:
            for held in filter(None, (self.hash, self.shadow)):
                held["suspect"] = "1"

    def renew(self) -> None:
        """The ingester writes what it has again, as into a Redis that came back empty."""
        if self.hash or self.shadow:
            self.hash = dict(self.shadow, written_ms=str(self.now_ms))
            self.shadow = dict(self.hash)

    def copy_(self) -> None:
        """Somebody asks REST and keeps the answer."""
        self.copy = self.stale_copy = self.answer().encode()

    def expire(self) -> None:
        """Lives run out."""
        self.hash, self.copy = {}, None

    def answer(self) -> StoredCopy:
        """What REST says now."""
        facts = {"product_id": BTC, "price": self.price, "status": "online"}
        copy = parse_copy(json.dumps({"source": "simulator", "fetched_ms": self.now_ms, "value": facts}).encode())
        assert copy is not None
        assert encode_value(facts)
        return copy

    def _write(self) -> None:
        stamp = datetime.fromtimestamp(self.now_ms / 1000, UTC).isoformat(timespec="milliseconds")
        self.hash = {
            "product_id": BTC,
            "price": self.price,
            "time": stamp.replace("+00:00", "Z"),
            "received_ms": str(self.now_ms),
            "written_ms": str(self.now_ms),
            "feed": FEED,
            "connection": str(self.connection),
            "sequence": str(len(self.changes)),
            "epoch": "1",
            "source": Source.SIMULATOR.value,
        }
        self.shadow = dict(self.hash)

    def feeds(self) -> dict[bytes, bytes]:
        """The reply of HGETALL stream:feeds."""
        life = {"state": "live", "connection": self.connection, "epoch": 1, "alive_ms": self.alive_ms}
        return {FEED.encode(): json.dumps(life).encode()}


def encoded(fields: dict[str, str]) -> dict[bytes, bytes]:
    """As Redis replies."""
    return {name.encode(): value.encode() for name, value in fields.items()}


def read(plans: Plans, market: Market, bounds: Bounds, *, rest_works: bool) -> Reading[Ticker] | None:
    """Run a plan against the market; None where nothing may be served."""
    clock = [market.now_ms // 1000, market.now_ms % 1000 * 1000]
    ask = Ask(0.0, bounds, rest=rest_works)
    plan = plans.ticker(BTC, ask)
    replies: list[Any] = [
        [clock, market.feeds(), encoded(market.hash)],
        [clock, market.feeds(), encoded(market.shadow), market.copy, market.stale_copy],
    ]
    try:
        step = next(plan)
        while True:
            if isinstance(step, Fetch):
                copy = market.answer()
                as_of = datetime.fromtimestamp(copy.fetched_ms / 1000, UTC)
                value = step.requests[0].parse(bytes(copy.value), as_of)
                step = plan.send([Answer(value, copy, 0.0)])
            else:
                step = plan.send(replies.pop(0))
    except StopIteration as done:
        found: Reading[Ticker] = done.value
        return found
    except Unavailable:
        return None


@given(
    events=st.lists(st.tuples(st.integers(0, 4000), EVENTS), min_size=5, max_size=60),
    max_age_s=st.sampled_from([None, 0.5, 3.0, 20.0]),
    max_value_age_s=st.sampled_from([None, 2.0]),
    rest_works=st.booleans(),
)
@settings(max_examples=300)
def test_a_reading_is_as_old_as_it_says(
    events: list[tuple[int, str]], max_age_s: float | None, max_value_age_s: float | None, rest_works: bool
) -> None:
    """Its value was true `age_s` ago; realtime is never over 5 s old; and no bound is ever broken."""
    market, plans = Market(), Plans(Keys(), stale_after_s=STALE_AFTER_S)
    bounds = Bounds(max_age_s, max_value_age_s)
    for wait_ms, event in events:
        market.now_ms += wait_ms
        if event != "read":
            getattr(market, "copy_" if event == "copy" else event)()
            continue
        found = read(plans, market, bounds, rest_works=rest_works)
        if found is None:
            continue
        assert str(found.value.price) in market.truth_at(market.now_ms - found.age_s * 1000)
        assert max_age_s is None or found.age_s <= max_age_s
        assert max_value_age_s is None or found.value_age_s <= max_value_age_s
        if found.tier is Tier.REALTIME:
            assert found.age_s <= STALE_AFTER_S
        else:
            assert found.reason
