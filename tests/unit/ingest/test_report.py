"""What the ingester says of itself."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from streamer.coinbase.feed import FeedFacts, FeedState
from streamer.coinbase.session import Products
from streamer.ingest.report import feed_entry, feed_status, open_ended, products_status, renewal_slice
from streamer.model import ProductId, Source
from streamer.reader.freshness import parse_feeds

BTC, ETH, SOL = ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("SOL-USD")


def facts(**changed: Any) -> FeedFacts:
    """A live feed with two products and no fault."""
    sound: dict[str, Any] = {
        "id": "default.market-0",
        "channel": "ticker",
        "state": FeedState.LIVE,
        "connection": 3,
        "proof_at": 100.0,
        "sequence": 42,
        "reconnects": 2,
        "gaps": 1,
        "why": None,
        "source": Source.SIMULATOR,
        "products": Products([], [], [], []),
        "wanted": 2,
    }
    return FeedFacts(**sound | changed)


def test_feed_entry_is_open_for_the_proof_of_life() -> None:
    """With the `alive_ms` that Redis adds it is the JSON object of the contract."""
    assert json.loads(feed_entry(facts(), epoch=7) + ',"alive_ms":1790000000000}') == {
        "state": "live",
        "connection": 3,
        "epoch": 7,
        "source": "simulator",
        "products": 2,
        "sequence": 42,
        "gaps": 1,
        "reconnects": 2,
        "alive_ms": 1790000000000,
    }


@pytest.mark.parametrize("state", list(FeedState))
def test_reader_understands_the_feed_entry(state: FeedState) -> None:
    """What the writing half reports is what the reading half judges by."""
    entry = feed_entry(facts(state=state, sequence=None), epoch=7) + ',"alive_ms":null}'
    life = parse_feeds({"default.market-0": entry})["default.market-0"]
    assert (life.state, life.connection, life.epoch, life.alive_ms) == (state.value, 3, 7, None)


def test_feed_status_says_why() -> None:
    """The status lists a feed with its last failure in words, as plain JSON values."""
    shown = feed_status(facts(state=FeedState.BACKOFF, why="closed with 1006", sequence=None), alive_ms=None)
    assert json.loads(json.dumps(shown)) == {
        "id": "default.market-0",
        "channel": "ticker",
        "state": "backoff",
        "alive_ms": None,
        "connection": 3,
        "products": 2,
        "sequence": None,
        "gaps": 1,
        "reconnects": 2,
        "why": "closed with 1006",
    }
    assert feed_status(facts(), alive_ms=5)["alive_ms"] == 5


def test_products_without_fault_are_live() -> None:
    """Nothing wrong anywhere: all wanted products are live and all lists empty."""
    assert products_status(2, [facts()]) == {
        "wanted": 2,
        "live": 2,
        "suspect": [],
        "suspect_count": 0,
        "silent": [],
        "silent_count": 0,
        "unconfirmed": [],
        "unconfirmed_count": 0,
        "waiting": [],
        "waiting_count": 0,
    }


def test_products_are_gathered_over_feeds() -> None:
    """Each list holds the products of all feeds, sorted; each product counts against `live` once."""
    one = facts(products=Products(waiting=[], unconfirmed=[SOL], silent=[], suspect=[SOL, ETH]))
    other = facts(products=Products(waiting=[], unconfirmed=[BTC], silent=[], suspect=[]))
    status = products_status(5, [one, other])
    assert (status["suspect"], status["suspect_count"]) == ([ETH, SOL], 2)
    assert (status["unconfirmed"], status["unconfirmed_count"]) == ([BTC, SOL], 2)
    assert (status["wanted"], status["live"]) == (5, 2)


def test_lists_are_short_and_counts_whole() -> None:
    """A thousand silent products do not make a status of a thousand names."""
    silent = [ProductId(f"P{number:04}-USD") for number in range(1000)]
    status = products_status(1000, [facts(products=Products([], [], silent, []))])
    assert status["silent"] == silent[:20]
    assert (status["silent_count"], status["live"]) == (1000, 0)


def test_live_is_never_negative() -> None:
    """A product dropped a moment ago, still listed by its feed, does not make less than none."""
    assert products_status(0, [facts(products=Products([BTC], [], [], []))])["live"] == 0


def test_nothing_wanted_is_nothing_live() -> None:
    """Without wishes and feeds there is nothing to gather."""
    assert products_status(0, [])["live"] == 0


@pytest.mark.parametrize("value", [{"a": 1}, {"a": None, "b": [1, {"c": "}"}]}, {"text": 'quo"te }'}])
def test_open_ended_takes_one_more_field(value: dict[str, Any]) -> None:
    """Closed with a last field, it is the object with that field."""
    assert json.loads(open_ended(value) + ',"written_ms":5}') == value | {"written_ms": 5}


@pytest.mark.parametrize("count", [0, 1, 7, 20, 21, 399])
@pytest.mark.parametrize("turns", [1, 2, 20])
@pytest.mark.parametrize("start", [0, 13, 10**9])
def test_renewal_covers_all_exactly_once(count: int, turns: int, start: int) -> None:
    """In any `turns` turns running each product is renewed once, and no turn has much more than its share."""
    products = [ProductId(f"P{number}-USD") for number in range(count)]
    slices = [renewal_slice(products, turn, turns) for turn in range(start, start + turns)]
    assert Counter(product_id for part in slices for product_id in part) == Counter(products)
    assert max(map(len, slices)) - min(map(len, slices)) <= 1
