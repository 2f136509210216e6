"""Facts to tier and age, as a table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamer.model import ProductId, Source, Stamp, Tick, TickerFields, Tier
from streamer.reader.freshness import STALE_AFTER_S, FeedLife, parse_feeds, reading, why_not_realtime
from streamer.store.records import StoredTicker, ticker_record

NOW = 1_795_187_100_000
FEED = "default.market-0"


def stored(
    *,
    written_ago_ms: int = 300,
    value_ago_ms: int = 400,
    suspect: bool = False,
    source: Source = Source.COINBASE,
    status: str | None = None,
    outlier: str | None = None,
) -> StoredTicker:
    """A ticker of connection 3, epoch 7, written so long before NOW."""
    stamped = datetime.fromtimestamp((NOW - value_ago_ms) / 1000, UTC)
    fields = TickerFields(product_id="BTC-USD", price="84210.37")
    time = f"{stamped:%Y-%m-%dT%H:%M:%S.%f}Z"
    tick = Tick(fields, Stamp(FEED, 3, source), 42, time, (NOW - written_ago_ms) / 1000)
    record = ticker_record(ProductId("BTC-USD"), tick, suspect=suspect, epoch=7, status=status, outlier=outlier)
    return StoredTicker(record | {"written_ms": str(NOW - written_ago_ms)})


def life(**changed: Any) -> FeedLife:
    """The feed of that ticker, alive 0.2 s ago, changed."""
    sound: dict[str, Any] = {"state": "live", "connection": 3, "epoch": 7, "alive_ms": NOW - 200}
    return FeedLife(**sound | changed)


DOUBTS = [
    pytest.param(stored(), None, "no longer reports", id="feed missing"),
    *(
        pytest.param(stored(), life(state=state), f"is {state}", id=f"feed {state}")
        for state in ("connecting", "backoff", "refused", "unauthenticated", "stopped", "", "LIVE", "unheard-of")
    ),
    pytest.param(stored(), life(connection=4), "has reconnected", id="newer connection"),
    pytest.param(stored(), life(connection=2), "has reconnected", id="older connection"),
    pytest.param(stored(), life(epoch=8), "has reconnected", id="newer epoch"),
    pytest.param(stored(), life(epoch=6), "has reconnected", id="older epoch"),
    pytest.param(stored(), life(alive_ms=NOW - 5001), "has shown no life for 5.0 s", id="alive too old"),
    pytest.param(stored(), life(alive_ms=NOW - 3_600_000), "no life for 3600.0 s", id="alive an hour old"),
    pytest.param(stored(), life(alive_ms=0), "has shown no life", id="alive at the epoch of Unix"),
    pytest.param(stored(), life(alive_ms=None), "has shown no life", id="alive null"),
    pytest.param(stored(suspect=True), life(), "suspect", id="suspect"),
    pytest.param(stored(written_ago_ms=0), None, "no longer reports", id="just written, feed missing"),
]
CERTAINTIES = [
    pytest.param(stored(), life(), id="live"),
    pytest.param(stored(), life(alive_ms=NOW - 5000), id="alive just young enough"),
    pytest.param(stored(), life(alive_ms=NOW), id="alive now"),
    pytest.param(stored(value_ago_ms=86_400_000, written_ago_ms=86_400_000), life(), id="quiet for a day"),
    pytest.param(stored(value_ago_ms=86_400_000, written_ago_ms=20_000), life(), id="quiet, renewed"),
    pytest.param(stored(), life(alive_ms=NOW + 50), id="alive a moment ahead of our clock"),
    pytest.param(stored(source=Source.SIMULATOR), life(), id="simulated"),
]


@pytest.mark.parametrize(("held", "feed", "words"), DOUBTS)
def test_what_is_not_known_to_be_current_is_stale(held: StoredTicker, feed: FeedLife | None, words: str) -> None:
    """Each reason for doubt makes the value stale and is said in words, with the feed's name."""
    reason = why_not_realtime(held, feed, NOW)
    assert reason is not None
    assert words in reason
    assert FEED in reason or held.suspect
    answer = reading(held, feed, NOW)
    assert (answer.tier, answer.reason, answer.value) == (Tier.STALE, reason, held.ticker)


@pytest.mark.parametrize(("held", "feed"), CERTAINTIES)
def test_value_on_a_live_connection_is_realtime(held: StoredTicker, feed: FeedLife) -> None:
    """However old its last trade: the connection that wrote it is alive, so nothing newer exists."""
    assert why_not_realtime(held, feed, NOW) is None
    answer = reading(held, feed, NOW)
    assert (answer.tier, answer.reason, answer.value) == (Tier.REALTIME, None, held.ticker)


@pytest.mark.parametrize(
    ("status", "outlier", "reason"),
    [
        (None, "price jumped 3.1 % in one tick", "price jumped 3.1 % in one tick"),
        ("offline", None, "the exchange says that the product is offline"),
        ("offline", "price jumped", "the exchange says that the product is offline; price jumped"),
    ],
)
def test_what_there_is_to_mind_about_a_realtime_value_is_said(
    status: str | None, outlier: str | None, reason: str
) -> None:
    """The tier stays, since the price is the newest there is; where it is stale, that is what is said."""
    held = stored(status=status, outlier=outlier)
    answer = reading(held, life(), NOW)
    assert (answer.tier, answer.reason) == (Tier.REALTIME, reason)
    stale = reading(held, None, NOW)
    assert stale.tier is Tier.STALE and "no longer reports" in str(stale.reason)


@pytest.mark.parametrize(
    ("stale_after_s", "silent_ms", "realtime"),
    [(1.0, 1000, True), (1.0, 1001, False), (0.5, 501, False), (60.0, 60_000, True), (STALE_AFTER_S, 5000, True)],
)
def test_patience_is_a_setting(stale_after_s: float, silent_ms: int, realtime: bool) -> None:
    """`stale_after_s` is the oldest proof of life that still counts."""
    feed = life(alive_ms=NOW - silent_ms)
    assert (why_not_realtime(stored(), feed, NOW, stale_after_s) is None) is realtime
    assert (reading(stored(), feed, NOW, stale_after_s).tier is Tier.REALTIME) is realtime


@pytest.mark.parametrize(
    ("held", "feed", "age_s"),
    [
        pytest.param(stored(written_ago_ms=300), life(alive_ms=NOW - 200), 0.2, id="proof after the write"),
        pytest.param(stored(written_ago_ms=100), life(alive_ms=NOW - 900), 0.1, id="write after the proof"),
        pytest.param(stored(written_ago_ms=86_400_000), life(), 0.2, id="quiet product"),
        pytest.param(stored(written_ago_ms=9000), None, 9.0, id="feed missing"),
        pytest.param(stored(written_ago_ms=9000), life(connection=4), 9.0, id="proof of another connection"),
        pytest.param(stored(written_ago_ms=9000), life(epoch=8), 9.0, id="proof of another epoch"),
        pytest.param(stored(written_ago_ms=9000), life(alive_ms=None), 9.0, id="no proof"),
        pytest.param(stored(written_ago_ms=9000, suspect=True), life(), 9.0, id="proof does not cover a suspect"),
        pytest.param(stored(written_ago_ms=9000), life(alive_ms=NOW - 7000), 7.0, id="dead feed"),
        pytest.param(stored(written_ago_ms=9000), life(state="backoff"), 0.2, id="alive until a moment ago"),
        pytest.param(stored(written_ago_ms=-50), life(), 0.0, id="written ahead of our clock"),
        pytest.param(stored(), life(alive_ms=NOW + 50), 0.0, id="proof ahead of our clock"),
    ],
)
def test_age_counts_from_the_last_certainty(held: StoredTicker, feed: FeedLife | None, age_s: float) -> None:
    """The write is a certainty, and so is each later proof of life of the same connection; of no other."""
    assert reading(held, feed, NOW).age_s == pytest.approx(age_s)


@pytest.mark.parametrize("written_ago_ms", [-1000, 0, 300, 9000, 86_400_000])
@pytest.mark.parametrize("alive_ago_ms", [None, -1000, 0, 200, 9000, 86_400_000])
@pytest.mark.parametrize("suspect", [True, False])
@pytest.mark.parametrize("connection", [3, 4])
def test_age_stays_between_nothing_and_the_write(
    written_ago_ms: int, alive_ago_ms: int | None, suspect: bool, connection: int
) -> None:
    """No age is negative or older than the write; without proof of its own connection none is younger either."""
    feed = life(connection=connection, alive_ms=None if alive_ago_ms is None else NOW - alive_ago_ms)
    age_s = reading(stored(written_ago_ms=written_ago_ms, suspect=suspect), feed, NOW).age_s
    since_write_s = max(0.0, written_ago_ms / 1000)
    assert 0 <= age_s <= since_write_s
    if suspect or connection != 3 or alive_ago_ms is None:
        assert age_s == since_write_s


@pytest.mark.parametrize(("value_ago_ms", "value_age_s"), [(400, 0.4), (86_400_000, 86400.0), (-2000, 0.0)])
def test_value_age_counts_from_the_stamp_of_the_exchange(value_ago_ms: int, value_age_s: float) -> None:
    """A quiet market has a large value age and a small age; a clock that is ahead makes nothing negative."""
    answer = reading(stored(value_ago_ms=value_ago_ms), life(), NOW)
    assert answer.value_age_s == pytest.approx(value_age_s)
    assert answer.age_s == pytest.approx(0.2)
    assert answer.as_of == datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(milliseconds=value_ago_ms)


@pytest.mark.parametrize("source", list(Source))
def test_source_goes_along(source: Source) -> None:
    """A simulated value says so to the last reader."""
    assert reading(stored(source=source), life(), NOW).source == source.value


# -- stream:feeds -----------------------------------------------------------------------------------------------


def test_feeds_are_read_with_whatever_else_they_say() -> None:
    """The fields we judge by are taken, all others passed over."""
    entry = {"state": "live", "connection": 3, "epoch": 7, "alive_ms": NOW, "products": 2, "source": "coinbase"}
    assert parse_feeds({FEED: json.dumps(entry)}) == {FEED: FeedLife("live", 3, 7, NOW)}
    assert parse_feeds({}) == {}


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        "[" * 10**5,
        '{"state":"live","connection":3,"epoch":7}',
        '{"state":"live","connection":"3","epoch":7,"alive_ms":5}',
        '{"state":"live","connection":3,"epoch":7,"alive_ms":"5"}',
        '{"state":"live","connection":3,"epoch":7,"alive_ms":5.5}',
        '{"state":null,"connection":3,"epoch":7,"alive_ms":5}',
        '{"state":"live","connection":3,"epoch":7,"alive_ms":5',
        '{"state":"live","connection":3,"epoch":7,"alive_ms":' + "9" * 5000 + "}",
    ],
    ids=lambda entry: entry[:60],
)
def test_damaged_feed_proves_no_life(entry: str) -> None:
    """It is left out, and the sound one beside it is read."""
    sound = '{"state":"live","connection":1,"epoch":1,"alive_ms":5}'
    assert parse_feeds({"bad": entry, "good": sound}).keys() == {"good"}


def test_endlessly_nested_feed_entry_proves_no_life() -> None:
    """It raises another error than bad JSON does, and may not reach the caller."""
    assert parse_feeds({"f": '{"x":' + "[" * 10**5 + "]" * 10**5 + "}"}) == {}


@pytest.mark.parametrize("ahead_ms", [3_600_000, 10**25])
def test_proof_of_life_from_the_future_is_none(ahead_ms: int) -> None:
    """After a failover to a slower clock a dead feed must not stay realtime until that clock catches up."""
    now_ms = 1_795_187_100_000
    fields = {"product_id": "BTC-USD", "price": "1", "time": "2026-11-20T15:04:06Z", "source": "coinbase"}
    stamps = {
        "feed": "f",
        "connection": "1",
        "sequence": "1",
        "epoch": "1",
        "received_ms": str(now_ms),
        "written_ms": str(now_ms),
    }
    stored = StoredTicker(fields | stamps)
    assert why_not_realtime(stored, FeedLife("live", 1, 1, now_ms + ahead_ms), now_ms) is not None


def test_rewriting_a_value_of_a_dead_feed_does_not_make_it_younger() -> None:
    """A value is also written into a Redis that came back empty; its age counts from when it was last known."""
    now_ms = 1_795_187_100_000
    fields = {"product_id": "BTC-USD", "price": "1", "time": "2026-11-20T15:04:06Z", "source": "coinbase"}
    stamps = {"feed": "f", "connection": "1", "sequence": "1", "epoch": "1"}
    times = {"received_ms": str(now_ms - 60_000), "written_ms": str(now_ms)}
    stored = StoredTicker(fields | stamps | times)
    assert reading(stored, None, now_ms).age_s == 60.0
    assert reading(stored, FeedLife("backoff", 1, 1, now_ms - 30_000), now_ms).age_s == 30.0


def test_a_shadow_is_never_realtime() -> None:
    """The hash of every streamed product is renewed; where only the shadow is left, nobody streams it any more."""
    now_ms = 1_795_187_100_000
    fields = {"product_id": "BTC-USD", "price": "1", "time": "2026-11-20T15:04:06Z", "source": "coinbase"}
    stamps = {"feed": "f", "connection": "1", "sequence": "1", "epoch": "1"}
    times = {"received_ms": str(now_ms), "written_ms": str(now_ms)}
    life = FeedLife("live", 1, 1, now_ms)
    found = reading(StoredTicker(fields | stamps | times), life, now_ms, is_shadow=True)
    assert found.tier is Tier.STALE
    assert "no longer streamed" in str(found.reason)


@pytest.mark.parametrize("feed", [None, life(connection=4), life(state="backoff", alive_ms=NOW + 3_600_000)])
def test_a_value_from_the_future_is_not_the_youngest_of_all(feed: FeedLife | None) -> None:
    """After a failover to a slower clock a dead value had no age until that clock had caught up."""
    held = stored(written_ago_ms=-3_600_000)
    assert reading(held, feed, NOW).age_s == 86_400.0
    assert reading(held, feed, NOW, is_shadow=True).age_s == 86_400.0
    assert reading(held, life(), NOW).age_s == 0.0  # its connection lives: it is current, whatever the clocks say
