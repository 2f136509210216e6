"""Products are written as in the samples, with their aliases and their status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.simulator.catalogue import Catalogue, Status
from streamer.simulator.market import RandomWalkMarket
from streamer.simulator.recording import Recorded, Recording

DATA = Path(__file__).parents[2] / "data"


def sample(name: str) -> Any:
    """A sample of the wire."""
    return json.loads((DATA / f"{name}.json").read_bytes())


def catalogue(*products: str) -> Catalogue:
    return Catalogue(RandomWalkMarket(products))


def test_every_usd_pair_has_an_alias() -> None:
    """Right behind it, but for pairs with a book of their own; an id that is only an alias is no product."""
    listed = catalogue("BTC-USD", "USDT-USD", "USDT-USDC", "BTC-EUR", "USDC-USD", "WIF-USDC").ids()
    assert listed == ["BTC-USD", "BTC-USDC", "USDT-USD", "USDT-USDC", "BTC-EUR", "USDC-USD"]


@pytest.mark.parametrize(("product_id", "name"), [("BTC-USD", "rest_product"), ("BTC-USDC", "rest_product_alias")])
def test_products_are_written_as_in_the_samples(product_id: str, name: str) -> None:
    """The same fields in the same order, of the same types, with the same alias."""
    made, wire = catalogue("BTC-USD").rest_product(product_id), sample(name)
    assert list(made) == list(wire)
    assert {k: type(v) for k, v in made.items()} == {k: type(v) for k, v in wire.items()}
    same = ("product_id", "alias", "alias_to", "base_name", "quote_name", "quote_increment", "display_name")
    assert {k: made[k] for k in same} == {k: wire[k] for k in same}
    assert made["quote_display_symbol"] == wire["quote_display_symbol"]


def test_increments_are_those_of_the_prices() -> None:
    """On both surfaces, for a product and its alias."""
    made = catalogue("SHIB-USD", "XRP-USD")
    for product_id, step in (("SHIB-USD", "0.00000001"), ("XRP-USD", "0.0001"), ("XRP-USDC", "0.0001")):
        assert made.rest_product(product_id)["quote_increment"] == step
        assert made.ws_product(product_id)["quote_increment"] == step


def test_a_status_is_of_one_product() -> None:
    """It shows on both surfaces; what is not online does not trade."""
    made = catalogue("BTC-USD")
    made.set_status("BTC-USD", Status("offline", "maintenance"))
    rest = made.rest_product("BTC-USD")
    assert (rest["status"], rest["is_disabled"], rest["trading_disabled"]) == ("offline", True, True)
    assert made.ws_product("BTC-USD")["status_message"] == "maintenance"
    assert made.rest_product("BTC-USDC")["status"] == "online"
    with pytest.raises(ConfigError, match="not a product"):
        made.set_status("NOPE-USD", Status())


def test_a_recorded_product_without_a_price_is_still_a_product() -> None:
    """Before its first line has passed its prices are empty."""
    line = Recorded(1, "2021-04-17T16:43:30Z", (("A-USD", {"product_id": "A-USD", "price": "1.1"}),))
    recording = Recording([line])
    assert Catalogue(recording).rest_product("A-USD")["price"] == ""
    recording.advance(1)
    product = Catalogue(recording).rest_product("A-USD")
    assert (product["price"], product["quote_increment"]) == ("1.1", "0.01")
