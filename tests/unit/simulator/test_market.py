"""The made-up market is plausible, repeatable and speaks in decimal strings."""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.model import is_product_id
from streamer.simulator.market import RandomWalkMarket, canonical, demo_products

SAMPLE = Path(__file__).parents[2] / "data" / "ws_ticker_update.json"
DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")


def test_fields_are_those_of_the_documented_sample() -> None:
    """A ticker has the sample's fields in the sample's order, every one a plain decimal string."""
    sample = json.loads(SAMPLE.read_bytes())["events"][0]["tickers"][0]
    ticker = RandomWalkMarket(["BTC-USD"]).latest("BTC-USD")
    assert ticker is not None
    assert list(ticker) == list(sample)
    assert ticker["price"] == "84210.37"
    assert all(DECIMAL.fullmatch(v) for k, v in ticker.items() if k not in ("type", "product_id"))


def test_figures_stay_consistent_for_every_product() -> None:
    """low <= price <= high, bid <= price <= ask, volume grows, and no price runs away."""
    products = demo_products(60)
    market = RandomWalkMarket(products, seed=7)
    first = {p: Decimal((market.latest(p) or {})["price"]) for p in products}
    volume = dict.fromkeys(products, Decimal(0))
    for _ in range(20_000):
        product_id = market.next_tick()
        assert product_id is not None
        ticker = market.latest(product_id)
        assert ticker is not None
        n = {k: Decimal(v) for k, v in ticker.items() if k not in ("type", "product_id")}
        assert n["low_52_w"] <= n["low_24_h"] <= n["price"] <= n["high_24_h"] <= n["high_52_w"]
        assert 0 < n["best_bid"] <= n["price"] <= n["best_ask"]
        assert n["best_bid"] < n["best_ask"]
        assert n["best_bid_quantity"] > 0 < n["best_ask_quantity"]
        assert n["volume_24_h"] > volume[product_id]
        volume[product_id] = n["volume_24_h"]
        assert first[product_id] / 2 < n["price"] < first[product_id] * 2


def test_same_seed_same_prices() -> None:
    """Seed and calls decide everything; another seed gives another walk."""

    def walk(seed: int) -> list[tuple[str | None, bytes | None]]:
        market = RandomWalkMarket(demo_products(5), seed)
        ids = [market.next_tick() for _ in range(200)]
        return [(p, market.latest_json(p or "")) for p in ids]

    assert walk(1) == walk(1)
    assert walk(1) != walk(2)


def test_a_seed_gives_the_walk_it_always_gave() -> None:
    """To the last byte: what others found with a seed can be found again."""
    market, digest = RandomWalkMarket(demo_products(40), seed=7), hashlib.sha256()
    for _ in range(1000):
        digest.update(market.latest_json(market.next_tick() or "") or b"")
    assert digest.hexdigest()[:16] == "f2e28523ed0139af"


def test_a_quiet_product_trades_only_when_told() -> None:
    """Quiet products never tick by themselves, and a market of quiet ones not at all."""
    market = RandomWalkMarket(["BTC-USD", "ETH-USD"], quiet=["ETH-USD"])
    before = market.latest("ETH-USD")
    assert {market.next_tick() for _ in range(100)} == {"BTC-USD"}
    assert market.latest("ETH-USD") == before
    market.tick("ETH-USD")
    assert market.latest("ETH-USD") != before
    assert RandomWalkMarket(["ETH-USD"], quiet=["ETH-USD"]).next_tick() is None


def test_set_price_is_exact_and_stays() -> None:
    """A price set by hand is passed on to the digit, and the walk stays near it."""
    market = RandomWalkMarket(["BTC-USD"])
    market.set_price("BTC-USD", "4210.50")
    ticker = market.latest("BTC-USD")
    assert ticker is not None
    assert ticker["price"] == "4210.5"
    assert Decimal(ticker["low_24_h"]) <= Decimal("4210.5")
    for _ in range(1000):
        market.tick("BTC-USD")
    assert Decimal(4000) < Decimal((market.latest("BTC-USD") or {})["price"]) < Decimal(4400)


@pytest.mark.parametrize("price", ["", "NaN", "1e5", "-1", "0", "0.01", "84210.375", "\uff18", "1_000"])
def test_set_price_refuses_what_is_no_price(price: str) -> None:
    """Text that is no price of the product changes nothing."""
    market = RandomWalkMarket(["BTC-USD"])
    with pytest.raises(ConfigError, match="price"):
        market.set_price("BTC-USD", price)
    assert (market.latest("BTC-USD") or {})["price"] == "84210.37"


def test_unknown_products_have_nothing() -> None:
    """Nothing is known about a product that is not in the market."""
    market = RandomWalkMarket(["BTC-USD"])
    assert market.latest("NOPE-USD") is None
    assert market.latest_json("NOPE-USD") is None
    with pytest.raises(ConfigError, match="NOPE-USD"):
        market.tick("NOPE-USD")
    with pytest.raises(ConfigError, match="quiet"):
        RandomWalkMarket(["BTC-USD"], quiet=["ETH-USD"])


@pytest.mark.parametrize(
    ("asked", "labelled"),
    [("BTC-USDC", "BTC-USD"), ("BTC-USD", "BTC-USD"), ("USDT-USDC", "USDT-USDC"), ("EURC-USDC", "EURC-USDC")],
)
def test_usdc_pairs_share_the_book_of_usd(asked: str, labelled: str) -> None:
    """Public data of a USDC pair is labelled with its USD pair, except where it has its own book."""
    assert canonical(asked) == labelled


def test_demo_products_are_distinct_and_valid() -> None:
    """Any number of products can be had, all of them ids that Redis keys may hold."""
    products = demo_products(500)
    assert products[:2] == ["BTC-USD", "ETH-USD"]
    assert len(set(products)) == 500
    assert all(map(is_product_id, products))
    assert demo_products(3) == products[:3]
