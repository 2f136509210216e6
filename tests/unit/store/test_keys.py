"""Key names, literally as the Redis contract has them."""

from __future__ import annotations

import pytest

from streamer.model import Granularity, ProductId
from streamer.store.keys import STALE_TTL_S, STATUS_TTL_S, TICKER_TTL_S, Copy, Keys

BTC = ProductId("BTC-USD")
UUID = "8bfc20d7-f7c6-4422-bf07-8243ca4169fe"

NAMES = {
    "ticker": "ticker_realtime:BTC-USD",
    "ticker_stale": "ticker_realtime:BTC-USD:stale",
    "balance": "portfolio_realtime:BTC",
    "balance_stale": "portfolio_realtime:BTC:stale",
    "currencies": "portfolio_realtime",
    "candles": "candles_realtime:BTC-USD",
    "candles_meta": "candles_realtime:BTC-USD:meta",
    "ticker_copy": "ticker:BTC-USD",
    "candles_copy": "historical:BTC-USD:3600:350",
    "accounts_copy": "accounts:global",
    "breakdown_copy": f"portfolio_breakdown:{UUID}",
    "products_copy": "products:all",
    "data_copy": "data:binance:BTC-USDT:price",
    "listing_copy": "data:binance:listing",
    "score": "quality:binance:BTC-USDT",
    "scores": "quality:all",
    "alert": "quality:alert:binance:BTC-USDT:spike",
    "gateway": "gateway:api.coinbase.com:market",
    "hot": "gateway:hot",
    "counters": "counters:60:1795187040",
    "counters_total": "counters:total",
    "counters_summed": "counters:summed",
    "feeds": "stream:feeds",
    "wanted": "stream:wanted",
    "status": "stream:status",
    "flags": "migration:flags",
    "callers": "migration:callers",
    "comparison": "migration:comparison",
    "journal": "stream:errors",
    "lease": "stream:lease:default",
    "epoch": "stream:epoch:default",
    "ticker_updates": "stream:updates:ticker",
    "balance_updates": "stream:updates:portfolio",
    "webhook_events": "webhooks:events",
    "webhook_seen": "webhooks:seen:binance:0a1b",
    "webhook_updates": "webhooks:updates",
}
BRACED = NAMES | {
    "ticker": "ticker_realtime:{BTC-USD}",
    "ticker_stale": "ticker_realtime:{BTC-USD}:stale",
    "balance": "portfolio_realtime:{BTC}",
    "balance_stale": "portfolio_realtime:{BTC}:stale",
    "candles": "candles_realtime:{BTC-USD}",
    "candles_meta": "candles_realtime:{BTC-USD}:meta",
    "ticker_copy": "ticker:{BTC-USD}",
    "candles_copy": "historical:{BTC-USD}:3600:350",
    "accounts_copy": "accounts:{global}",
    "breakdown_copy": f"portfolio_breakdown:{{{UUID}}}",
    "products_copy": "products:{all}",
    "data_copy": "data:{binance:BTC-USDT:price}",
    "listing_copy": "data:{binance:listing}",
    "gateway": "gateway:{api.coinbase.com}:market",
    "hot": "gateway:{hot}",
    "lease": "stream:lease:{default}",
    "epoch": "stream:epoch:{default}",
    "webhook_events": "{webhooks}:events",
    "webhook_seen": "{webhooks}:seen:binance:0a1b",
    "webhook_updates": "{webhooks}:updates",
}


def copies(keys: Keys) -> dict[str, Copy]:
    """Every copy of a REST answer."""
    return {
        "ticker_copy": keys.ticker_copy(BTC),
        "candles_copy": keys.candles_copy(BTC, Granularity.ONE_HOUR, 350),
        "accounts_copy": keys.accounts_copy,
        "breakdown_copy": keys.breakdown_copy(UUID),
        "products_copy": keys.products_copy,
        "data_copy": keys.data_copy("binance", "BTC-USDT", "price"),
        "listing_copy": keys.listing_copy("binance"),
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
        **{name: copy.key for name, copy in copies(keys).items()},
        "gateway": keys.gateway("api.coinbase.com", "market"),
        "score": keys.score("binance", "BTC-USDT"),
        "scores": keys.scores,
        "alert": keys.alert("binance", "BTC-USDT", "spike"),
        "hot": keys.hot,
        "counters": keys.counters(60, 1795187040),
        "counters_total": keys.counters_total,
        "counters_summed": keys.counters_summed,
        "feeds": keys.feeds,
        "wanted": keys.wanted,
        "status": keys.status,
        "flags": keys.flags,
        "callers": keys.callers,
        "comparison": keys.comparison,
        "journal": keys.journal,
        "lease": keys.lease("default"),
        "epoch": keys.epoch("default"),
        "ticker_updates": keys.ticker_updates,
        "balance_updates": keys.balance_updates,
        "webhook_events": keys.webhook_events,
        "webhook_seen": keys.webhook_seen("binance", "0a1b"),
        "webhook_updates": keys.webhook_updates,
    }


def test_every_name_is_tested_here() -> None:
    """A key added to `Keys` is added to this table."""
    public = {name for name in vars(Keys) if not name.startswith("_")} - {"prefix", "cluster", "sums", "parts_of"}
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


@pytest.mark.parametrize("keys", [Keys(), Keys("p:", cluster=True)])
def test_copies_lie_beside_their_stale_ones(keys: Keys) -> None:
    """Two names, one slot, and the stale one lives longer."""
    for copy in copies(keys).values():
        assert copy.stale_key == f"{copy.key}:stale"
        assert copy.ttl_s < copy.stale_ttl_s


def test_copies_live_as_long_as_the_contract_says() -> None:
    """Fresh and stale, in seconds."""
    assert {name: (copy.ttl_s, copy.stale_ttl_s) for name, copy in copies(Keys()).items()} == {
        "ticker_copy": (30, 300),
        "candles_copy": (300, 3600),
        "accounts_copy": (120, 3600),
        "breakdown_copy": (30, 300),
        "products_copy": (3600, 86400),
        "data_copy": (300, 86400),
        "listing_copy": (86400, 604800),
    }


def test_candles_of_another_length_or_number_are_another_copy() -> None:
    """Neither may be taken for the other."""
    made = {Keys().candles_copy(BTC, granularity, limit).key for granularity in Granularity for limit in (1, 350)}
    assert len(made) == 2 * len(Granularity)


def test_what_callers_share_is_of_one_exchange_and_one_slot() -> None:
    """One script touches all of it; the budget of one exchange is none of another's."""
    keys = Keys(cluster=True)
    one = {keys.gateway("a", part) for part in ("market", "private", "breaker")}
    assert len(one) == 3
    assert {key[key.index("{") : key.index("}") + 1] for key in one} == {"{a}"}
    assert not one & {keys.gateway("b", part) for part in ("market", "private", "breaker")}


@pytest.mark.parametrize("keys", [Keys(), Keys("p:"), Keys("p:", cluster=True)])
def test_sums_are_filed_under_what_they_sum(keys: Keys) -> None:
    """By the names of the contract, and the prefix before them."""
    names = {
        ("429", 300): "api_429_errors:last_5min",
        ("429", 3600): "api_429_errors:last_hour",
        ("call", 3600): "api_calls:last_hour",
        ("hit", 300): "cache_hits:last_5min",
        ("miss", 300): "cache_misses:last_5min",
    }
    assert keys.sums() == {what: keys.prefix + name for what, name in names.items()}
