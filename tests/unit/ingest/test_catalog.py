"""What is known of the products, from two sources that may disagree."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.coinbase.messages import ProductFields
from streamer.ingest.catalog import Catalog
from streamer.model import ProductId

BTC, BTC_USDC, ETH = ProductId("BTC-USD"), ProductId("BTC-USDC"), ProductId("ETH-USD")


def fact(product_id: str, **more: Any) -> dict[str, Any]:
    """A product as REST describes it."""
    return {"product_id": product_id, "status": "online", "alias": ""} | more


def test_before_rest_has_told_the_rule_tells_aliases() -> None:
    """Afterwards REST does, where it knows the product."""
    catalog = Catalog()
    assert catalog.canonical("BTC-USDC") == "BTC-USD"
    assert catalog.learn([fact("BTC-USDC"), fact("WIF-USDC", alias="WIF-USD")])
    assert catalog.canonical("BTC-USDC") == "BTC-USDC"
    assert catalog.canonical("WIF-USDC") == "WIF-USD"
    assert catalog.canonical("SOL-USDC") == "SOL-USD"


def test_only_a_change_of_aliases_is_news() -> None:
    """Feeds find out anew which label belongs to whom: not for nothing."""
    catalog = Catalog()
    assert not catalog.learn([fact("BTC-USD")])
    assert catalog.learn([fact("BTC-USD"), fact("BTC-USDC", alias="BTC-USD")])
    assert not catalog.learn([fact("BTC-USDC", alias="BTC-USD"), fact("ETH-USD")])
    assert catalog.learn([fact("BTC-USDC")])
    assert set(catalog.facts) == {"BTC-USDC"}


@pytest.mark.parametrize("damaged", [{}, {"product_id": None}, {"product_id": 7}, {"product_id": ["BTC-USD"]}])
def test_a_product_without_an_id_is_passed_over(damaged: dict[str, Any]) -> None:
    """Its siblings are taken; an alias that is no text is none."""
    catalog = Catalog()
    catalog.learn([damaged, fact("BTC-USD", alias=None), fact("ETH-USD", alias=5)])
    assert set(catalog.facts) == {"BTC-USD", "ETH-USD"}
    assert catalog.canonical("ETH-USD") == "ETH-USD"


def test_what_rest_has_said_is_not_changed_under_its_feet() -> None:
    """The facts are ours: a state that changes later changes nothing of the answer."""
    answer = [fact("BTC-USD")]
    catalog = Catalog()
    catalog.learn(answer)
    catalog.tell([ProductFields("BTC-USD", "offline")])
    assert answer == [fact("BTC-USD")]
    assert catalog.facts["BTC-USD"]["status"] == "offline"


def test_the_status_channel_knows_better_than_rest() -> None:
    """It is the newer one, also for a product that REST tells of only later."""
    catalog = Catalog()
    assert catalog.tell([ProductFields("BTC-USD", "offline")])
    assert not catalog.tell([ProductFields("BTC-USD", "offline")])
    catalog.learn([fact("BTC-USD"), fact("ETH-USD", status="delisted")])
    assert catalog.offline([BTC, ETH]) == {BTC: "offline", ETH: "delisted"}
    assert catalog.facts["BTC-USD"]["status"] == "offline"
    assert catalog.tell([ProductFields("BTC-USD", "online"), ProductFields("ETH-USD", "online")])
    assert catalog.offline([BTC, ETH]) == {}


def test_an_alias_is_offline_where_its_product_is() -> None:
    """Unless the exchange tells of the alias by itself."""
    catalog = Catalog()
    catalog.tell([ProductFields("BTC-USD", "offline")])
    assert catalog.offline([BTC_USDC]) == {BTC_USDC: "offline"}
    catalog.tell([ProductFields("BTC-USDC", "online")])
    assert catalog.offline([BTC_USDC]) == {}


@pytest.mark.parametrize(("status", "trades"), [("online", True), ("", True), ("delisted", False), ("new", False)])
def test_words_of_the_exchange(status: str, trades: bool) -> None:
    """Futures have an empty state; what we do not know is not trading."""
    catalog = Catalog()
    catalog.tell([ProductFields("BTC-USD", status)])
    assert catalog.offline([BTC]) == ({} if trades else {BTC: status})


def test_what_nobody_has_spoken_of_is_not_offline() -> None:
    """Nothing is known against it."""
    assert Catalog().offline([BTC, BTC_USDC]) == {}


def test_rest_corrects_itself_where_the_channel_is_silent() -> None:
    """The status channel speaks of what is wanted; of the rest the newest answer of REST is the newest there is."""
    catalog = Catalog()
    catalog.learn([fact("BTC-USD", status="online")])
    catalog.learn([fact("BTC-USD", status="delisted")])
    assert catalog.facts["BTC-USD"]["status"] == "delisted"
    assert catalog.offline([BTC]) == {BTC: "delisted"}


def test_an_alias_follows_its_product_whatever_rest_said_of_it() -> None:
    """BTC-USDC trades in the book of BTC-USD: when that goes offline, so has it."""
    catalog = Catalog()
    catalog.learn([fact("BTC-USD"), fact("BTC-USDC", alias="BTC-USD")])
    catalog.tell([ProductFields("BTC-USD", "offline")])
    assert catalog.offline([BTC_USDC, ETH]) == {BTC_USDC: "offline"}
