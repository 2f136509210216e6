"""Laws of serving: whatever Redis and REST say, nothing served is too old, and nothing is falsely realtime."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import RestUnavailable, StoreUnavailable, StreamerError, Unavailable
from streamer.gateway.gateway import Answer
from streamer.gateway.requests import Requests
from streamer.model import ProductId, Reading, Source, Stamp, Tick, TickerFields, Tier
from streamer.reader.freshness import Bounds, FeedLife, choose, reading
from streamer.reader.plans import Plans
from streamer.reader.steps import Ask
from streamer.reader.wire import Lookup
from streamer.store.copies import parse_copy
from streamer.store.keys import Keys
from streamer.store.records import StoredTicker, ticker_record

BTC = ProductId("BTC-USD")
NOW = 1_795_187_100_000
FEED = "default.market-0"
STALE_AFTER_S = 5.0
REQUEST = Requests(Keys()).ticker(BTC)
AT = datetime.fromtimestamp(NOW / 1000, UTC)

ages_ms = st.one_of(st.integers(-10_000, 10_000), st.integers(0, 200_000), st.just(10**9))
bounds = st.builds(
    Bounds,
    max_age_s=st.none() | st.floats(0, 300),
    max_value_age_s=st.none() | st.floats(0, 300),
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, str]:
    """A ticker hash of some connection, written and stamped at some time, perhaps suspect."""
    value_ms, received_ms, written_ms = (NOW - draw(ages_ms) for _ in range(3))
    stamp = Stamp(FEED, draw(st.integers(1, 3)), draw(st.sampled_from(Source)))
    stamped = datetime.fromtimestamp(value_ms / 1000, UTC)
    tick = Tick(TickerFields(BTC, "100"), stamp, 42, f"{stamped:%Y-%m-%dT%H:%M:%S.%f}Z", received_ms / 1000)
    record = ticker_record(BTC, tick, suspect=draw(st.booleans()), epoch=draw(st.integers(6, 8)))
    return record | {"written_ms": str(written_ms)}


@st.composite
def lives(draw: st.DrawFn) -> dict[str, Any]:
    """What the feed reports."""
    alive_ms = draw(st.none() | ages_ms.map(lambda age_ms: NOW - age_ms))
    state = draw(st.sampled_from(["live", "live", "live", "backoff", "connecting"]))
    entry = {"state": state, "connection": draw(st.integers(1, 3)), "epoch": draw(st.integers(6, 8))}
    return entry | {"alive_ms": alive_ms}


readings = st.builds(
    Reading,
    value=st.integers(),
    tier=st.sampled_from(Tier),
    age_s=st.floats(0, 400),
    value_age_s=st.floats(0, 400),
    as_of=st.just(AT),
    source=st.just("coinbase"),
    reason=st.none(),
)


# -- choose -----------------------------------------------------------------------------------------------------


@given(st.lists(readings, max_size=6), bounds, st.booleans())
def test_what_is_chosen_is_within_the_bounds(found: list[Reading[int]], asked: Bounds, at_last: bool) -> None:
    """It is one of those that were found, and neither of its ages is above what was asked for."""
    chosen = choose(found, asked, at_last=at_last)
    if chosen is not None:
        assert any(chosen is one for one in found)
        assert asked.max_age_s is None or chosen.age_s <= asked.max_age_s
        assert asked.max_value_age_s is None or chosen.value_age_s <= asked.max_value_age_s


@given(st.lists(readings, max_size=6), bounds, st.booleans())
def test_realtime_wins_over_all(found: list[Reading[int]], asked: Bounds, at_last: bool) -> None:
    """Where a realtime reading is young enough a realtime one is chosen, and after it what REST has just said."""
    fit = {one.tier for one in found if asked.why_not(one) is None}
    chosen = choose(found, asked, at_last=at_last)
    if Tier.REALTIME in fit:
        assert chosen is not None and chosen.tier is Tier.REALTIME
    elif Tier.REST in fit:
        assert chosen is not None and chosen.tier is Tier.REST


@given(st.lists(readings, max_size=6), bounds)
def test_at_last_there_is_an_answer_if_there_is_any(found: list[Reading[int]], asked: Bounds) -> None:
    """Nothing that is within the bounds is withheld; and asking REST first takes no answer away."""
    at_last = choose(found, asked, at_last=True)
    assert (at_last is not None) is any(asked.why_not(one) is None for one in found)
    first = choose(found, asked)
    assert first is None or first is at_last


@given(st.lists(readings, max_size=6), bounds)
def test_no_copy_goes_back_behind_the_stream(found: list[Reading[int]], asked: Bounds) -> None:
    """A copy that is older than a value that is at hand is not served."""
    chosen = choose(found, asked, at_last=True)
    if chosen is not None and chosen.tier in (Tier.CACHE, Tier.STALE):
        others = [one for one in found if one.tier is Tier.STALE and asked.why_not(one) is None]
        assert chosen.tier is Tier.STALE or all(chosen.age_s <= one.age_s for one in others)


# -- the stream's values ----------------------------------------------------------------------------------------


@given(records(), lives() | st.none(), st.booleans())
def test_realtime_is_only_what_a_live_connection_vouches_for(
    record: dict[str, str], life: dict[str, Any] | None, is_shadow: bool
) -> None:
    """A shadow or a suspect value never is; else its own connection must be live, and have proved it lately."""
    feed = None if life is None else FeedLife(**life)
    found = reading(StoredTicker(record), feed, NOW, STALE_AFTER_S, is_shadow=is_shadow)
    if found.tier is Tier.REALTIME:
        assert feed is not None and feed.state == "live" and not is_shadow and "suspect" not in record
        assert (str(feed.connection), str(feed.epoch)) == (record["connection"], record["epoch"])
        assert feed.alive_ms is not None and abs(NOW - feed.alive_ms) <= STALE_AFTER_S * 1000
        assert found.age_s <= STALE_AFTER_S
    else:
        assert found.tier is Tier.STALE and found.reason
    assert found.age_s >= 0 and found.value_age_s >= 0


# -- a whole read -----------------------------------------------------------------------------------------------


def raw(fields: dict[str, str]) -> dict[bytes, bytes]:
    """A hash as Redis replies it."""
    return {name.encode(): value.encode() for name, value in fields.items()}


@st.composite
def copies(draw: st.DrawFn) -> bytes | None:
    """What is kept of REST, if anything, sound or not."""
    if draw(st.booleans()):
        return None
    values: list[Any] = [{"product_id": BTC, "price": "99"}, {"product_id": BTC}, [], None]
    value = draw(st.sampled_from(values))
    return json.dumps({"source": "coinbase", "fetched_ms": NOW - draw(ages_ms), "value": value}).encode()


@st.composite
def answers(draw: st.DrawFn) -> Answer[Any] | StreamerError:
    """What REST says."""
    if draw(st.booleans()):
        return RestUnavailable("products", "down")
    copy = parse_copy(
        json.dumps({"source": "coinbase", "fetched_ms": NOW, "value": {"product_id": BTC, "price": "98"}}).encode()
    )
    assert copy is not None
    return Answer(REQUEST.parse(bytes(copy.value), AT), copy, draw(st.floats(0, 5)))


junk = st.dictionaries(st.binary(max_size=4), st.binary(max_size=4), max_size=2)
hashes: st.SearchStrategy[Any] = st.one_of(records().map(raw), junk, st.none(), st.binary(max_size=3), st.just([]))


@given(
    hashed=hashes,
    shadow=hashes,
    fresh=copies(),
    stale=copies(),
    life=lives() | st.none(),
    answer=answers(),
    asked=bounds,
    rest=st.booleans(),
    away=st.sets(st.integers(0, 1)),
)
def test_whatever_is_there_a_read_keeps_its_promises(
    hashed: Any,
    shadow: Any,
    fresh: bytes | None,
    stale: bytes | None,
    life: dict[str, Any] | None,
    answer: Any,
    asked: Bounds,
    rest: bool,
    away: set[int],
) -> None:
    """Never too old, never falsely realtime, at most two lookups and one call, and no error but Unavailable."""
    clock = [str(NOW // 1000).encode(), str(NOW % 1000 * 1000).encode()]
    feeds = {} if life is None else raw({FEED: json.dumps(life)})
    replies = [[clock, feeds, hashed], [clock, feeds, shadow, fresh, stale]]
    plan = Plans(Keys(), stale_after_s=STALE_AFTER_S).ticker(BTC, Ask(since=0.0, bounds=asked, rest=rest))
    looks = calls = 0
    served: Reading[Any] | None = None
    with suppress(Unavailable):
        try:
            step = plan.send(None)
            while True:
                if isinstance(step, Lookup):
                    looks += 1
                    if looks - 1 in away:
                        step = plan.throw(StoreUnavailable("redis://h", "gone"))
                    else:
                        step = plan.send(replies[looks - 1])
                else:
                    calls += 1
                    step = plan.send([answer])
        except StopIteration as done:
            served = done.value
    assert looks <= 2 and calls <= int(rest)
    if served is not None:
        assert asked.why_not(served) is None
        assert served.value.product_id == BTC
        if served.tier is Tier.REALTIME:
            assert (
                0 not in away and (looks, calls) == (1, 0) and isinstance(hashed, dict) and b"suspect" not in hashed
            )
        else:
            assert served.reason
