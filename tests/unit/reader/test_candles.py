"""Candles as a reader hands them out: aggregated, complete, closed, judged."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.model import (
    CANDLE_S,
    Bucket,
    Candle,
    Granularity,
    ProductId,
    Reading,
    Source,
    Stamp,
    Tier,
    parse_granularity,
)
from streamer.reader.candles import aggregate, candles_reading, extended, reaches_back
from streamer.reader.freshness import FeedLife
from streamer.store.candle_records import PendingCandles, StoredCandles, candle_record, parse_candles

DAY = 1_795_132_800
"""Midnight of 2026-11-20 in UTC."""
FOREVER = DAY + 10 * 86_400
FEED = "default.candles-0"
NOW_S = DAY + 3600 + 100
NOW = NOW_S * 1000


def bucket(number: int, **changed: str) -> Bucket:
    """The bucket so many after midnight, with prices of its own."""
    values = {"open": f"{number}.1", "high": f"{number}.9", "low": f"{number}.0", "close": f"{number}.5"}
    return Bucket(DAY + number * CANDLE_S, **{**values, "volume": "0.1", **changed})


def closed(start_s: int, *values: str) -> Candle:
    """A candle that is over."""
    open_, high, low, close, volume = map(Decimal, values)
    return Candle(start_s, open_, high, low, close, volume, closed=True)


def made(
    buckets: Iterable[Bucket], granularity: Granularity, *, since_s: int = DAY, now_s: float = FOREVER
) -> list[Candle]:
    """Aggregate what is known since midnight and long closed."""
    return aggregate(buckets, granularity, since_s=since_s, now_s=now_s)


# -- granularities ----------------------------------------------------------------------------------------------


def test_granularities_have_the_names_and_lengths_of_the_exchange() -> None:
    """Nine of them, from a minute to a day."""
    assert {granularity.value: granularity.seconds for granularity in Granularity} == {
        "ONE_MINUTE": 60,
        "FIVE_MINUTE": 300,
        "FIFTEEN_MINUTE": 900,
        "THIRTY_MINUTE": 1800,
        "ONE_HOUR": 3600,
        "TWO_HOUR": 7200,
        "FOUR_HOUR": 14400,
        "SIX_HOUR": 21600,
        "ONE_DAY": 86400,
    }


@pytest.mark.parametrize("granularity", Granularity)
def test_granularity_is_read_by_its_name(granularity: Granularity) -> None:
    """As the exchange writes it."""
    assert parse_granularity(granularity.value) is granularity


@pytest.mark.parametrize("text", ["", "one_hour", "1h", "3600", "ONE_WEEK"])
def test_unknown_granularity_names_value_and_rule(text: str) -> None:
    """And every name that would do."""
    with pytest.raises(ConfigError, match=r"granularity: .*expected one of ONE_MINUTE, .*ONE_DAY") as caught:
        parse_granularity(text)
    assert caught.value.value == text


def test_finer_candles_cannot_be_made() -> None:
    """The error names the value and the rule."""
    with pytest.raises(ConfigError, match=r"granularity: 'ONE_MINUTE' .*multiple of 300 s"):
        made([], Granularity.ONE_MINUTE)


# -- aggregation ------------------------------------------------------------------------------------------------


def test_five_minutes_pass_through() -> None:
    """Digit for digit, oldest first."""
    assert made([bucket(1), bucket(0)], Granularity.FIVE_MINUTE) == [
        closed(DAY, "0.1", "0.9", "0.0", "0.5", "0.1"),
        closed(DAY + 300, "1.1", "1.9", "1.0", "1.5", "0.1"),
    ]


def test_open_of_the_first_close_of_the_last_extremes_and_sum() -> None:
    """Whatever order the buckets come in."""
    parts = [bucket(2, low="0.5", high="2.2"), bucket(0, volume="1.25"), bucket(1, high="77", volume="3")]
    [candle] = made(parts, Granularity.FIFTEEN_MINUTE)
    assert candle == closed(DAY, "0.1", "77", "0.0", "2.5", "4.35")


def test_prices_are_compared_as_numbers() -> None:
    """As text, 9 would be above 10."""
    [candle] = made([bucket(0, high="9", low="10"), bucket(1, high="10", low="9")], Granularity.ONE_HOUR)
    assert (candle.high, candle.low) == (Decimal(10), Decimal(9))


def test_volume_keeps_every_digit() -> None:
    """The sum is exact beyond the 28 digits that Decimal rounds to by itself."""
    parts = [bucket(0, volume="1" + "0" * 29), bucket(1, volume="0." + "0" * 29 + "1"), bucket(2, volume="0.1")]
    [candle] = made(parts, Granularity.ONE_HOUR)
    assert str(candle.volume) == "1" + "0" * 29 + ".1" + "0" * 28 + "1"


@pytest.mark.parametrize("granularity", list(Granularity)[1:])
def test_candles_are_aligned_to_unix_time(granularity: Granularity) -> None:
    """A day begins at midnight in UTC, whatever the first bucket is."""
    candles = made([bucket(number) for number in range(5, 700)], granularity, since_s=0)
    assert all(candle.start_s % granularity.seconds == 0 for candle in candles)
    assert candles[0].start_s == (DAY + 5 * CANDLE_S) // granularity.seconds * granularity.seconds
    apart_s = {later.start_s - candle.start_s for candle, later in pairwise(candles)}
    assert apart_s == {granularity.seconds}


def test_no_trades_no_candle() -> None:
    """As the exchange does it; a candle with a single bucket is that bucket."""
    candles = made([bucket(0), bucket(40)], Granularity.ONE_HOUR)
    assert [candle.start_s for candle in candles] == [DAY, DAY + 3 * 3600]
    assert candles[1].open == Decimal("40.1")
    assert made([], Granularity.ONE_DAY) == []


@pytest.mark.parametrize(
    ("granularity", "first"),
    [(Granularity.FIVE_MINUTE, 1), (Granularity.FIFTEEN_MINUTE, 3), (Granularity.ONE_HOUR, 12)],
)
def test_what_begins_before_coverage_is_left_out(granularity: Granularity, first: int) -> None:
    """It would be incomplete, and nobody could tell."""
    candles = made([bucket(number) for number in range(24)], granularity, since_s=DAY + 300)
    assert candles[0].start_s == DAY + first * CANDLE_S


def test_candle_that_begins_with_coverage_is_there() -> None:
    """Also where its own first bucket had no trades."""
    [candle] = made([bucket(5)], Granularity.ONE_HOUR, since_s=DAY)
    assert candle.start_s == DAY


@pytest.mark.parametrize(
    ("late_s", "closed"), [(-300.0, False), (0.0, False), (1.9, False), (2.0, True), (9.0, True)]
)
@pytest.mark.parametrize("granularity", [Granularity.FIVE_MINUTE, Granularity.ONE_HOUR])
def test_candle_is_closed_two_seconds_after_its_end(granularity: Granularity, late_s: float, closed: bool) -> None:
    """The exchange sends the last values of a bucket up to about a second late."""
    [candle] = made([bucket(0)], granularity, now_s=DAY + granularity.seconds + late_s)
    assert candle.closed is closed


def test_only_the_last_candle_is_open() -> None:
    """Those before it are over."""
    candles = made([bucket(number) for number in range(5)], Granularity.FIFTEEN_MINUTE, now_s=DAY + 1300)
    assert [candle.closed for candle in candles] == [True, False]


# -- judgement --------------------------------------------------------------------------------------------------


def stored(*, received_s: float = NOW_S - 0.3, suspect: bool = False, since_s: int = DAY) -> StoredCandles:
    """Thirteen buckets, the last an open one, of connection 3 and epoch 7."""
    pending = PendingCandles(
        product_id=ProductId("BTC-USD"),
        buckets=tuple(bucket(number) for number in range(13)),
        is_whole=True,
        evicted=(),
        size=13,
        since_s=since_s,
        newest_s=DAY + 12 * CANDLE_S,
        stamp=Stamp(FEED, 3, Source.SIMULATOR),
        sequence=42,
        time=f"{datetime.fromtimestamp(received_s - 0.1, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
        received_s=received_s,
        suspect=suspect,
        waiting_since_s=received_s,
    )
    record = candle_record(pending, epoch=7)
    fields = record["set"]
    raw = dict(zip(fields[::2], fields[1::2], strict=True))
    return parse_candles(raw, record["meta"] | {"written_ms": str(int(received_s * 1000))})


def life(**changed: Any) -> FeedLife:
    """The feed of those candles, alive 0.2 s ago, changed."""
    sound: dict[str, Any] = {"state": "live", "connection": 3, "epoch": 7, "alive_ms": NOW - 200}
    return FeedLife(**sound | changed)


def test_candles_of_a_live_connection_are_realtime() -> None:
    """With the ages of the stream, the exchange's stamp and the source."""
    answer = candles_reading(stored(), life(), NOW, Granularity.FIVE_MINUTE)
    assert (answer.tier, answer.reason, answer.source) == (Tier.REALTIME, None, "simulator")
    assert answer.age_s == pytest.approx(0.2)
    assert answer.value_age_s == pytest.approx(0.4)
    assert answer.as_of.timestamp() == pytest.approx(NOW_S - 0.4)
    assert [candle.closed for candle in answer.value] == [True] * 12 + [False]


@pytest.mark.parametrize(
    ("held", "feed", "words"),
    [
        pytest.param(stored(), None, "no longer reports", id="feed missing"),
        pytest.param(stored(), life(state="backoff"), "is backoff", id="feed down"),
        pytest.param(stored(), life(connection=4), "has reconnected", id="another connection"),
        pytest.param(stored(), life(epoch=8), "has reconnected", id="another epoch"),
        pytest.param(stored(), life(alive_ms=NOW - 5001), "has shown no life", id="no life"),
        pytest.param(stored(suspect=True), life(), "suspect", id="suspect"),
    ],
)
def test_candles_are_judged_as_tickers_are(held: StoredCandles, feed: FeedLife | None, words: str) -> None:
    """Each reason for doubt makes them stale and is said in words."""
    answer = candles_reading(held, feed, NOW, Granularity.ONE_HOUR)
    assert answer.tier is Tier.STALE
    assert words in str(answer.reason)


def test_candle_of_a_dead_feed_stays_open() -> None:
    """It ended after we stopped seeing it: what it holds is not all there was."""
    held = stored(received_s=NOW_S - 600)
    fresh = candles_reading(held, life(), NOW, Granularity.FIVE_MINUTE)
    assert [candle.closed for candle in fresh.value[-3:]] == [True, True, False]
    for feed in (None, life(connection=4), life(alive_ms=NOW - 600_000)):
        answer = candles_reading(held, feed, NOW, Granularity.FIVE_MINUTE)
        assert [candle.closed for candle in answer.value[-3:]] == [False, False, False]
        assert answer.age_s == pytest.approx(600)


def test_proof_of_life_ahead_of_our_clock_closes_nothing() -> None:
    """Only time that has passed can."""
    answer = candles_reading(stored(), life(alive_ms=NOW + 400_000), NOW, Granularity.FIVE_MINUTE)
    assert not answer.value[-1].closed


def test_limit_takes_the_newest() -> None:
    """Oldest first among them; None takes all that are complete."""
    held = stored(since_s=DAY + 300)
    for limit, count in ((1, 1), (3, 3), (500, 12), (None, 12)):
        answer = candles_reading(held, life(), NOW, Granularity.FIVE_MINUTE, limit=limit)
        assert len(answer.value) == count
        assert answer.value[-1].start_s == DAY + 3600
    hours = candles_reading(held, life(), NOW, Granularity.ONE_HOUR, limit=5)
    assert [candle.start_s for candle in hours.value] == [DAY + 3600]


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit: int) -> None:
    """It would silently mean something else."""
    with pytest.raises(ConfigError, match=r"limit: .*1 or more"):
        candles_reading(stored(), life(), NOW, Granularity.FIVE_MINUTE, limit=limit)


# -- the past before the stream ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granularity", "limit", "since_s", "whole"),
    [
        pytest.param(Granularity.FIVE_MINUTE, 13, DAY, True, id="all of them"),
        pytest.param(Granularity.FIVE_MINUTE, 14, DAY, False, id="one more than there is"),
        pytest.param(Granularity.FIVE_MINUTE, 14, DAY - 300, True, id="one more, without trades"),
        pytest.param(Granularity.FIVE_MINUTE, 12, DAY + 300, True, id="just what is covered"),
        pytest.param(Granularity.FIVE_MINUTE, 13, DAY + 300, False, id="one is not covered"),
        pytest.param(Granularity.ONE_HOUR, 2, DAY, True, id="hours"),
        pytest.param(Granularity.ONE_HOUR, 2, DAY + 300, False, id="half an hour too few"),
        pytest.param(Granularity.ONE_DAY, 1, DAY, True, id="the day so far"),
    ],
)
def test_whether_the_stream_reaches_back(granularity: Granularity, limit: int, since_s: int, whole: bool) -> None:
    """So many candles, or coverage from the first of them on: what was not traded has none."""
    held = stored(since_s=since_s)
    candles = candles_reading(held, life(), NOW, granularity).value
    assert reaches_back(held, candles, granularity, limit, NOW) is whole


FIRST = DAY + 10 * CANDLE_S
"""Where the stream begins, in what follows."""


def candles_from(first: int, count: int, mark: str, *, closed: bool = True) -> tuple[Candle, ...]:
    """So many five-minute candles."""
    value = Decimal(mark)
    return tuple(
        Candle(first + i * CANDLE_S, value, value, value, value, value, closed=closed or i < count - 1)
        for i in range(count)
    )


def told(candles: tuple[Candle, ...], tier: Tier, source: str = "coinbase") -> Reading[tuple[Candle, ...]]:
    """A reading of candles."""
    at = datetime.fromtimestamp(NOW_S, UTC)
    return Reading(candles, tier, 0.2 if tier is Tier.REALTIME else 900.0, 1.0, at, source)


STREAM = told(candles_from(FIRST, 3, "1"), Tier.REALTIME)
COPY = told(candles_from(FIRST - 5 * CANDLE_S, 6, "2", closed=False), Tier.STALE)
"""Fetched while the stream's first candle was the open one."""
THEN = (FIRST + 100) * 1000


def test_a_copy_goes_before_the_stream() -> None:
    """What both have is the stream's, and so are tier and ages: closed candles do not change."""
    whole = extended(STREAM, COPY, Granularity.FIVE_MINUTE, 8, THEN)
    assert whole is not None
    assert [candle.start_s for candle in whole.value] == [FIRST + i * CANDLE_S for i in range(-5, 3)]
    assert [str(candle.open) for candle in whole.value] == ["2"] * 5 + ["1"] * 3
    assert (whole.tier, whole.age_s, whole.source) == (Tier.REALTIME, 0.2, "coinbase")


def test_no_more_than_were_asked_for() -> None:
    """The newest."""
    whole = extended(STREAM, COPY, Granularity.FIVE_MINUTE, 4, THEN)
    assert whole is not None
    assert [str(candle.open) for candle in whole.value] == ["2", "1", "1", "1"]


def test_buckets_without_trades_are_no_holes() -> None:
    """The copy was fetched after the stream began: what it leaves out had none."""
    sparse = told(COPY.value[:2], Tier.STALE)
    whole = extended(STREAM, sparse, Granularity.FIVE_MINUTE, 8, THEN)
    assert whole is not None and len(whole.value) == 5


@pytest.mark.parametrize(
    ("stream", "copy", "fetched_ms"),
    [
        pytest.param(STREAM, COPY, (FIRST - 100) * 1000, id="fetched before the stream begins"),
        pytest.param(STREAM, COPY, (FIRST + 1) * 1000, id="fetched as the candle before was closing"),
        pytest.param(STREAM, told(COPY.value, Tier.CACHE, "simulator"), THEN, id="of another source"),
        pytest.param(
            STREAM, told(candles_from(FIRST - 300, 1, "2", closed=False), Tier.CACHE), THEN, id="an open candle"
        ),
        pytest.param(told((), Tier.REALTIME), COPY, THEN, id="nothing is streamed"),
    ],
)
def test_what_may_have_a_hole_is_refused(stream: Any, copy: Any, fetched_ms: int) -> None:
    """An open candle of a copy is not the last word, and prices of two makers do not mix."""
    assert extended(stream, copy, Granularity.FIVE_MINUTE, 8, fetched_ms) is None
