"""Replies of Redis to stored values: both protocols, and nothing that is not what the schema says."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ResponseError

from streamer.model import ProductId
from streamer.reader.facts import Parser, as_text, names
from streamer.reader.wire import Lookup
from tests.unit.reader.test_plans import BTC, ETH, FEED, NOW, clock, feeds, ticker

WRONG_TYPE = ResponseError("WRONGTYPE")


def test_both_protocols_mean_the_same() -> None:
    """RESP3 replies a dict, RESP2 a list."""
    assert as_text({b"a": b"1", b"b": b"2"}) == as_text([b"a", b"1", b"b", b"2"]) == {"a": "1", "b": "2"}
    assert names({b"BTC", b"ETH"}) == names([b"BTC", b"ETH"]) == {"BTC", "ETH"}
    parser = Parser()
    flat = [word for pair in ticker().items() for word in pair]
    by_list, by_dict = parser.ticker(flat, BTC), parser.ticker(ticker(), BTC)
    assert by_list is not None and by_dict is not None and by_list.ticker == by_dict.ticker


@pytest.mark.parametrize(
    "reply", [None, 5, b"x", "x", WRONG_TYPE, {b"\xff": b"1"}, {b"a": b"\xff"}, [b"\xff", b"1"]]
)
def test_what_is_no_hash_of_text_is_empty(reply: Any) -> None:
    """Whatever somebody has put there."""
    assert as_text(reply) == {}


@pytest.mark.parametrize("reply", [None, 5, WRONG_TYPE, {b"\xff"}, {b"../x"}, {b""}, {b"x" * 33}, {b"a b"}])
def test_what_can_be_no_part_of_a_key_is_no_name(reply: Any) -> None:
    """Names become keys."""
    assert names(reply) == frozenset()


def test_the_clock_is_that_of_redis() -> None:
    """In milliseconds."""
    assert Parser().facts(clock(NOW + 7), {}).now_ms == NOW + 7


def test_feeds_are_read_again_when_they_change() -> None:
    """And only then."""
    parser = Parser()
    first = parser.facts(clock(), feeds()).lives
    assert parser.facts(clock(), feeds()).lives is first
    assert parser.facts(clock(), feeds(state="backoff")).lives[FEED].state == "backoff"
    assert parser.facts(clock(), {}).lives == {}


def test_one_damaged_feed_takes_no_other_with_it() -> None:
    """Bytes that are no text spoil their own entry."""
    lives = Parser().facts(clock(), feeds() | {b"\xff": b"\xfe", b"other": b"{"}).lives
    assert lives.keys() == {FEED}


def test_a_ticker_is_read_once_as_long_as_it_is_the_same() -> None:
    """And anew as soon as one byte of it has changed."""
    parser = Parser()
    first = parser.ticker(ticker(), BTC)
    assert parser.ticker(ticker(), BTC) is first
    changed = parser.ticker(ticker(price="101"), BTC)
    assert changed is not None and str(changed.ticker.price) == "101"
    assert parser.ticker({}, BTC) is None
    assert parser.ticker(ticker(ETH), BTC) is None
    assert parser.damaged == 1


def test_memory_is_bounded() -> None:
    """However many products are read one after the other."""
    parser = Parser()
    for i in range(5000):
        assert parser.ticker(ticker(ProductId(f"P{i}-USD")), ProductId(f"P{i}-USD")) is not None
    assert len(parser._tickers) <= 2000


@pytest.mark.parametrize(
    ("reply", "damaged"),
    [
        (None, 0),
        (WRONG_TYPE, 0),
        ([{}, {}], 0),
        ([{b"1": b"x"}, {}], 0),
        ([{b"1": b"x"}, {b"feed": b"x"}], 1),
        ([WRONG_TYPE, WRONG_TYPE], 1),
        ([{b"\xff": b"\xff"}, {b"\xff": b"\xff"}], 1),
    ],
)
def test_candles_that_are_none(reply: Any, damaged: int) -> None:
    """Nothing there is no damage; anything else is."""
    parser = Parser()
    assert parser.candles(reply) is None
    assert parser.damaged == damaged


def test_commands_are_packed_as_redis_reads_them() -> None:
    """Length before content, in bytes; several become one piece."""
    one, two = Lookup([("GET", "ü", 5, b"\xff\r\n")]), Lookup([("TIME",), ("PING",)])
    assert one.packed == b"*4\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n$1\r\n5\r\n$3\r\n\xff\r\n\r\n"
    both = Lookup.joined([one, two])
    assert (both.packed, both.size) == (one.packed + two.packed, 3)
