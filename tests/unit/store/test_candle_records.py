"""How candles look in Redis, and what a reader takes from there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from streamer.model import Bucket, ProductId, Source, Stamp
from streamer.store.candle_records import PendingCandles, bucket_json, candle_record, parse_candles

NEWEST = 1_795_186_800
BUCKETS = (
    Bucket(NEWEST - 900, "84250", "84301.2", "84240.00", "84288", "12"),
    Bucket(NEWEST - 300, "84288", "84302.7", "84201.05", "84233.5", "30.11852913"),
    Bucket(NEWEST, "84233.51", "84260.12", "84180", "84211.4", "21.70269406"),
)


def pending(**changed: Any) -> PendingCandles:
    """Three buckets on their way to Redis, changed."""
    given: dict[str, Any] = {
        "product_id": ProductId("BTC-USD"),
        "buckets": BUCKETS,
        "is_whole": True,
        "evicted": (),
        "size": 3,
        "since_s": NEWEST - 900,
        "newest_s": NEWEST,
        "stamp": Stamp("default.candles-0", 3, Source.SIMULATOR),
        "sequence": 42,
        "time": "2026-11-20T15:04:07.39625135Z",
        "received_s": 1795187047.5,
        "suspect": False,
        "waiting_since_s": 1795187047.5,
    }
    return PendingCandles(**given | changed)


META = candle_record(pending(), epoch=7)["meta"] | {"written_ms": "1795187047600"}
RAW = {str(bucket.start_s): bucket_json(bucket) for bucket in BUCKETS}


def without(fields: dict[str, str], name: str) -> dict[str, str]:
    """All fields but one."""
    return {field: value for field, value in fields.items() if field != name}


# -- writing ----------------------------------------------------------------------------------------------------


def test_bucket_is_a_list_of_strings_in_the_order_of_the_contract() -> None:
    """Open, high, low, close, volume, digit for digit as sent."""
    assert bucket_json(BUCKETS[0]) == '["84250","84301.2","84240.00","84288","12"]'


def test_record_of_the_whole() -> None:
    """Fields and values side by side, and the meta fields but `written_ms`, all strings."""
    assert candle_record(pending(), epoch=7) == {
        "whole": True,
        "set": [part for item in RAW.items() for part in item],
        "drop": [],
        "size": 3,
        "meta": {
            "feed": "default.candles-0",
            "connection": "3",
            "sequence": "42",
            "epoch": "7",
            "source": "simulator",
            "time": "2026-11-20T15:04:07.39625135Z",
            "received_ms": "1795187047500",
            "since_s": str(NEWEST - 900),
            "newest_s": str(NEWEST),
        },
    }


def test_record_of_a_change() -> None:
    """What goes is named by its start; the doubt is "1" or absent."""
    record = candle_record(
        pending(buckets=BUCKETS[2:], is_whole=False, evicted=(NEWEST - 1800,), suspect=True), epoch=7
    )
    assert (record["whole"], record["drop"], record["meta"]["suspect"]) == (False, [str(NEWEST - 1800)], "1")
    assert record["set"] == [str(NEWEST), RAW[str(NEWEST)]]


# -- round trip -------------------------------------------------------------------------------------------------


def test_candles_come_back() -> None:
    """Oldest first whatever the order of the hash, same digits, same stamp."""
    held = parse_candles(dict(reversed(RAW.items())), META)
    assert (held.buckets, held.damaged) == (BUCKETS, 0)
    assert (held.feed, held.connection, held.sequence, held.epoch) == ("default.candles-0", 3, 42, 7)
    assert (held.received_ms, held.written_ms) == (1795187047500, 1795187047600)
    assert (held.source, held.suspect) == (Source.SIMULATOR, False)
    assert (held.since_s, held.newest_s) == (NEWEST - 900, NEWEST)
    assert held.time == datetime(2026, 11, 20, 15, 4, 7, 396251, tzinfo=UTC)


def test_suspect_comes_back() -> None:
    """Only the "1" of the contract casts doubt."""
    assert parse_candles(RAW, META | {"suspect": "1"}).suspect
    assert not parse_candles(RAW, META | {"suspect": "yes"}).suspect


def test_unknown_meta_fields_are_passed_over() -> None:
    """A newer writer may add fields."""
    assert parse_candles(RAW, META | {"mood": "good"}).buckets == BUCKETS


# -- damaged buckets --------------------------------------------------------------------------------------------

DAMAGE = [
    "",
    "null",
    "{}",
    "[]",
    "[" * 10**5,
    '["1","2","3","4"]',
    '["1","2","3","4","5","6"]',
    "[1,2,3,4,5]",
    '["1","2","3","4",null]',
    '["1","2","3","4",""]',
    '["1","2","3","4","-5"]',
    '["NaN","2","3","4","5"]',
    '["1","1e5","3","4","5"]',
    '["1","2","3","4","' + "9" * 65 + '"]',
    '["1","2","3","4","5"',
    '["1","2","3","4","\ud800"]',
]


@pytest.mark.parametrize("value", DAMAGE, ids=lambda value: ascii(value)[:30])
def test_damaged_bucket_is_skipped_and_counted(value: str) -> None:
    """And what is complete begins after it: it must not pass for five minutes without trades."""
    held = parse_candles(RAW | {str(NEWEST - 300): value}, META)
    assert (held.buckets, held.damaged, held.since_s) == ((BUCKETS[0], BUCKETS[2]), 1, NEWEST)


def test_damaged_bucket_before_coverage_changes_nothing_of_it() -> None:
    """Nothing is known of that time anyway."""
    held = parse_candles(RAW | {str(NEWEST - 3000): "x"}, META)
    assert (held.damaged, held.since_s) == (1, NEWEST - 900)


def test_damaged_newest_bucket_leaves_nothing_complete() -> None:
    """Coverage begins after it."""
    held = parse_candles(RAW | {str(NEWEST): "x"}, META)
    assert (held.damaged, held.since_s) == (1, NEWEST + 300)


@pytest.mark.parametrize("field", ["", "price", "-300", "1.5", str(NEWEST + 1), f"0{NEWEST}", "9" * 400, "\uff13"])
def test_field_that_is_no_bucket_is_skipped_and_counted(field: str) -> None:
    """A foreign field says nothing of ours."""
    held = parse_candles(RAW | {field: RAW[str(NEWEST)]}, META)
    assert (held.buckets, held.damaged, held.since_s) == (BUCKETS, 1, NEWEST - 900)


# -- damaged meta -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(META))
def test_meta_without_a_field_is_damaged(name: str) -> None:
    """The error names what is missing."""
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        parse_candles(RAW, without(META, name))


@pytest.mark.parametrize("name", sorted(META.keys() - {"feed"}))
@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 400, "\uff11", "\x00"])
def test_foreign_meta_is_damaged(name: str, value: str) -> None:
    """A ValueError, never a value and never another error."""
    with pytest.raises(ValueError, match=r".+"):
        parse_candles(RAW, META | {name: value})


@pytest.mark.parametrize("raw", [{}, without(RAW, str(NEWEST)), {"price": "1"}])
def test_candles_that_the_meta_does_not_speak_of_are_damaged(raw: dict[str, str]) -> None:
    """A hash that is gone must not read as a market without trades."""
    with pytest.raises(ValueError, match="newest bucket"):
        parse_candles(raw, META)


def test_json_of_other_writers_is_read() -> None:
    """Spaces between the values are no damage."""
    raw = {field: json.dumps(json.loads(value), indent=1) for field, value in RAW.items()}
    assert parse_candles(raw, META).buckets == BUCKETS
