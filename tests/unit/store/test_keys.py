"""Key names, literally as the Redis contract has them."""

from __future__ import annotations

import pytest

from streamer.model import ProductId
from streamer.store.keys import STALE_TTL_S, STATUS_TTL_S, TICKER_TTL_S, Keys

BTC = ProductId("BTC-USD")

NAMES = {
    "ticker": "ticker_realtime:BTC-USD",
    "ticker_stale": "ticker_realtime:BTC-USD:stale",
    "balance": "portfolio_realtime:BTC",
    "balance_stale": "portfolio_realtime:BTC:stale",
    "currencies": "portfolio_realtime",
    "candles": "candles_realtime:BTC-USD",
    "candles_meta": "candles_realtime:BTC-USD:meta",
    "products": "products:all",
    "products_stale": "products:all:stale",
    "feeds": "stream:feeds",
    "wanted": "stream:wanted",
    "status": "stream:status",
    "lease": "stream:lease:default",
    "epoch": "stream:epoch:default",
    "ticker_updates": "stream:updates:ticker",
    "balance_updates": "stream:updates:portfolio",
}
BRACED = NAMES | {
    "ticker": "ticker_realtime:{BTC-USD}",
    "ticker_stale": "ticker_realtime:{BTC-USD}:stale",
    "balance": "portfolio_realtime:{BTC}",
    "balance_stale": "portfolio_realtime:{BTC}:stale",
    "candles": "candles_realtime:{BTC-USD}",
    "candles_meta": "candles_realtime:{BTC-USD}:meta",
    "lease": "stream:lease:{default}",
    "epoch": "stream:epoch:{default}",
}


def names(keys: Keys) -> dict[str, str]:
    """Every name that `keys` builds."""
    return {
        "ticker": keys.ticker(BTC),
        "ticker_stale": keys.ticker_stale(BTC),
        "balance": keys.balance("BTC"),
        "balance_stale": keys.balance_stale("BTC"),
        "currencies": keys.currencies,
        "candles": keys.candles(BTC),
        "candles_meta": keys.candles_meta(BTC),
        "products": keys.products,
        "products_stale": keys.products_stale,
        "feeds": keys.feeds,
        "wanted": keys.wanted,
        "status": keys.status,
        "lease": keys.lease("default"),
        "epoch": keys.epoch("default"),
        "ticker_updates": keys.ticker_updates,
        "balance_updates": keys.balance_updates,
    }


def test_every_name_is_tested_here() -> None:
    """A key added to `Keys` is added to this table."""
    public = {name for name in vars(Keys) if not name.startswith("_")} - {"prefix", "cluster"}
    assert public == NAMES.keys()


def test_names_are_those_of_the_contract() -> None:
    """Consumers in other languages rely on these strings."""
    assert names(Keys()) == NAMES


def test_cluster_names_share_a_slot_by_braces() -> None:
    """In Redis Cluster the part that must share a slot is braced, and nothing else changes."""
    assert names(Keys(cluster=True)) == BRACED


@pytest.mark.parametrize("prefix", ["test:", "a-b_c.", "x"])
@pytest.mark.parametrize(("cluster", "expected"), [(False, NAMES), (True, BRACED)])
def test_prefix_goes_before_every_name(prefix: str, cluster: bool, expected: dict[str, str]) -> None:
    """Keys and channels alike; the hash tag stays what it is."""
    assert names(Keys(prefix, cluster)) == {name: prefix + key for name, key in expected.items()}


def test_value_and_shadow_share_a_hash_tag() -> None:
    """One script call touches both, so Redis Cluster must keep them together."""
    keys = Keys("p:", cluster=True)
    tags = {key[key.index("{") : key.index("}") + 1] for key in (keys.ticker(BTC), keys.ticker_stale(BTC))}
    assert tags == {"{BTC-USD}"}


def test_lives_are_those_of_the_contract() -> None:
    """A minute for a ticker, a day for its shadow, 15 s for the status."""
    assert (TICKER_TTL_S, STALE_TTL_S, STATUS_TTL_S) == (60, 86400, 15)
