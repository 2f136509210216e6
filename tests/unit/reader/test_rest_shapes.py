"""What a reader makes of REST's shapes: samples of the documentation and of live captures (tests/data)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streamer.gateway.requests import Request, Requests, encode_candles
from streamer.model import Granularity, ProductId
from streamer.store.keys import Keys

DATA = Path(__file__).parents[2] / "data"
BTC = ProductId("BTC-USD")
FETCHED = datetime.fromtimestamp(1_795_187_045, UTC)
UUID = "5c1e8f2a-7b34-5d0e-9a61-2f0c3d4e5b6a"
ASK = Requests(Keys())
CANDLES = ASK.candles(BTC, Granularity.FIVE_MINUTE, 2)


def sample(name: str) -> Any:
    """A sample as JSON."""
    return json.loads((DATA / name).read_text())


def parsed(request: Request[Any], value: Any) -> Any:
    """A copy of it as a value."""
    return request.parse(value if isinstance(value, bytes) else json.dumps(value).encode(), FETCHED)


def test_products() -> None:
    """All of the list, with their rules; an alias names its book."""
    products = {p.product_id: p for p in parsed(ASK.products(), sample("rest_products.json"))}
    assert products[BTC].price == Decimal("84210.37")
    assert (products[BTC].status, products[BTC].base, products[BTC].quote) == ("online", "BTC", "USD")
    assert products[BTC].base_min_size == Decimal("0.00000001") and products[BTC].alias_of is None
    assert products[ProductId("BTC-USDC")].alias_of == BTC
    assert products[BTC].facts["display_name"] == "BTC-USD"


def test_a_ticker_from_a_product() -> None:
    """Price and day; bid and ask are not told. Its time is when it was fetched."""
    ticker = parsed(ASK.ticker(BTC), sample("rest_product.json"))
    assert (ticker.price, ticker.volume_24_h, ticker.time) == (
        Decimal("84210.37"),
        Decimal("11482.30517221"),
        FETCHED,
    )
    assert ticker.price_percent_chg_24_h == Decimal("-0.84213377190458")
    assert ticker.best_bid is ticker.best_ask is ticker.status is None
    alias = parsed(ASK.ticker(ProductId("BTC-USDC")), sample("rest_product_alias.json"))
    assert alias.alias_of == BTC


def test_candles() -> None:
    """Oldest first; one is closed if it was when they were fetched."""
    first, last = parsed(CANDLES, sample("rest_candles.json"))
    assert (first.start_s, str(first.open), str(first.volume), first.closed) == (
        1_795_186_500,
        "84288",
        "30.11852913",
        True,
    )
    assert (last.start_s, last.closed) == (1_795_186_800, False)
    assert parsed(CANDLES, {"candles": []}) == ()


def test_candles_there_and_back() -> None:
    """As they are kept they have REST's shape: newest first, strings."""
    candles = parsed(CANDLES, sample("rest_candles.json"))
    assert json.loads(encode_candles(candles)) == {
        "candles": [
            {name: entry[name] for name in ("start", "open", "high", "low", "close", "volume")}
            for entry in sample("rest_candles.json")["candles"]
        ]
    }


def test_accounts() -> None:
    """A page; what can be spent and what is held back."""
    found = {account.currency: account for account in parsed(ASK.accounts(), sample("rest_accounts_page1.json"))}
    assert (found["ETH"].available, found["ETH"].hold) == (Decimal("1.5"), Decimal("0.5"))
    assert found["BTC"].uuid == "3d0c7a52-64a1-5b0f-9d39-0b6a2e9c11f4"


def test_breakdown() -> None:
    """Totals as strings, positions as numbers: digit for digit, through no float."""
    found = parsed(ASK.breakdown(UUID), (DATA / "rest_portfolio_breakdown.json").read_bytes())
    assert (found.uuid, found.currency, str(found.total_balance)) == (UUID, "USD", "39042.95")
    assert {p.asset: str(p.available_to_trade_fiat) for p in found.spot_positions}["ETH"] == "4117.77"
    assert str(found.spot_positions[0].allocation) == "0.5392162"


def with_product(**changed: Any) -> Any:
    """A product that is not sound."""
    return sample("rest_product.json") | changed


def with_candle(**changed: Any) -> Any:
    """A candle that is not sound."""
    entry = sample("rest_candles.json")["candles"][0]
    return {"candles": [{name: value for name, value in (entry | changed).items() if value is not None}]}


def with_account(**changed: Any) -> Any:
    """An account that is not sound."""
    entry = sample("rest_accounts_page1.json")["accounts"][0]
    return {"accounts": [entry | changed]}


def with_breakdown(change: Callable[[dict[str, Any]], Any]) -> Any:
    """A breakdown that is not sound."""
    body = sample("rest_portfolio_breakdown.json")
    change(body["breakdown"])
    return body


EVERY: list[Request[Any]] = [ASK.ticker(BTC), CANDLES, ASK.accounts(), ASK.breakdown(UUID), ASK.products()]
NONSENSE: list[Any] = [
    *(
        pytest.param(request, value, id=f"{request.kind} {value[:12]!r}")
        for request in EVERY
        for value in (b"", b"\xff\xfe", b"null", b"[]", b"5", b"{}", b"{", b"[" * 100_000, b'{"products":5}')
    ),
    pytest.param(ASK.ticker(BTC), with_product(product_id="ETH-USD"), id="another product"),
    pytest.param(ASK.ticker(BTC), with_product(price=""), id="no price"),
    pytest.param(ASK.ticker(BTC), with_product(price="NaN"), id="NaN"),
    pytest.param(ASK.ticker(BTC), with_product(price=5), id="a number"),
    pytest.param(ASK.ticker(BTC), with_product(volume_24h="1e9"), id="an exponent"),
    pytest.param(CANDLES, with_candle(start="1795186801"), id="between two buckets"),
    pytest.param(CANDLES, with_candle(start="-300"), id="before time"),
    pytest.param(CANDLES, with_candle(start=1_795_186_800), id="a start that is a number"),
    pytest.param(CANDLES, with_candle(open="Infinity"), id="without end"),
    pytest.param(CANDLES, with_candle(volume=None), id="no volume"),
    pytest.param(ASK.accounts(), with_account(hold={"value": "x"}), id="no amount"),
    pytest.param(ASK.accounts(), with_account(available_balance="5"), id="no money"),
    pytest.param(ASK.accounts(), with_account(currency=5), id="no currency"),
    pytest.param(ASK.breakdown(UUID), with_breakdown(lambda b: b.pop("portfolio")), id="no portfolio"),
    pytest.param(
        ASK.breakdown(UUID),
        with_breakdown(lambda b: b["portfolio"].update(uuid=UUID.replace("5", "6"))),
        id="another portfolio",
    ),
    pytest.param(ASK.breakdown(UUID), with_breakdown(lambda b: b.update(spot_positions=5)), id="no positions"),
    pytest.param(
        ASK.breakdown(UUID), with_breakdown(lambda b: b["spot_positions"][0].update(allocation="x")), id="no share"
    ),
    pytest.param(
        ASK.breakdown(UUID),
        with_breakdown(lambda b: b["spot_positions"][0].update(total_balance_fiat=None)),
        id="no worth",
    ),
]


@pytest.mark.parametrize(("request_", "value"), NONSENSE)
def test_what_makes_no_sense_is_refused(request_: Request[Any], value: Any) -> None:
    """By a ValueError and nothing else: anyone may have written it."""
    with pytest.raises(ValueError, match=r".") as caught:
        parsed(request_, value)
    assert type(caught.value) in (ValueError, json.JSONDecodeError, UnicodeDecodeError)
