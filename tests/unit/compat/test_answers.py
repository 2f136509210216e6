"""Readings in the exchange's own words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streamer.compat import answers
from streamer.compat.questions import CandlesQuestion
from streamer.model import Balance, Basis, Candle, Granularity, ProductId, Reading, Ticker, Tier

DATA = Path(__file__).parents[2] / "data"
BTC = ProductId("BTC-USD")
AT = datetime(2026, 11, 20, 15, 4, 5, 662_000, UTC)


def sample(name: str) -> dict[str, Any]:
    """A sample of the wire."""
    found: dict[str, Any] = json.loads((DATA / f"rest_{name}.json").read_bytes())
    return found


def reading(value: Any, tier: Tier = Tier.REALTIME, age_s: float = 0.5, at: datetime = AT) -> Reading[Any]:
    """A reading."""
    return Reading(value, tier, age_s, age_s, at, "coinbase", None)


def ticker(**values: Any) -> Ticker:
    """A ticker as the stream has it."""
    numbers = {
        "best_bid": "84000",
        "best_bid_quantity": "0.5",
        "best_ask": "84001",
        "best_ask_quantity": "0.25",
        "volume_24_h": "2",
        "price_percent_chg_24_h": "-0.9",
    }
    known: dict[str, Any] = {name: Decimal(text) for name, text in numbers.items()}
    return Ticker(**{"product_id": BTC, "price": Decimal("84000.50"), "time": AT, **known, **values})


# -- products -----------------------------------------------------------------------------------------------------


def test_a_product_keeps_all_its_fields() -> None:
    """Four of them move with the ticker; what the exchange leaves empty stays empty."""
    facts = sample("product")
    found = answers.product(facts, reading(ticker()))
    assert found is not None
    assert list(found) == list(facts)
    moved = {name: found[name] for name in found if found[name] != facts[name]}
    assert moved == {
        "price": "84000.50",
        "volume_24h": "2",
        "price_percentage_change_24h": "-0.9",
        "approximate_quote_24h_volume": "168001",
    }


@pytest.mark.parametrize(
    ("price", "volume", "expected"),
    [("68923.67", "11005.02587005", "758506771.41"), ("2745.18", "182340.77120914", "500558238.31")],
)
def test_the_turnover_is_what_the_exchange_makes_it(price: str, volume: str, expected: str) -> None:
    """Price times volume, in cents; of a live capture (nautilus_trader, http_product.json) and of our sample."""
    found = answers.product(sample("product"), reading(ticker(price=Decimal(price), volume_24_h=Decimal(volume))))
    assert found is not None
    assert found["approximate_quote_24h_volume"] == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"product_type": "FUTURE"},
        {"status": "offline"},
        {"status": ""},
        {"price": ""},
        {"mid_market_price": "84000.55"},
        *({name: True} for name in ("is_disabled", "cancel_only", "limit_only", "post_only", "trading_disabled")),
        {"auction_mode": True},
        {"view_only": True},
    ],
)
def test_what_does_not_trade_as_usual_is_the_exchanges_to_tell(changed: dict[str, Any]) -> None:
    """Its state is more than the stream knows."""
    assert answers.product(sample("product") | changed, reading(ticker())) is None


@pytest.mark.parametrize(
    "changed", [{"status": "offline"}, {"volume_24_h": None}, {"price_percent_chg_24_h": None}]
)
def test_a_ticker_that_does_not_tell_all_is_no_answer(changed: dict[str, Any]) -> None:
    """What moved a day ago is not mixed with what moves now."""
    assert answers.product(sample("product"), reading(ticker(**changed))) is None
    assert answers.products([sample("product"), None]) is None


def test_a_list_has_the_exchanges_frame() -> None:
    """Products, their number, and no further page."""
    whole = sample("products")
    assert answers.products(whole["products"]) == whole


# -- best bid and ask ---------------------------------------------------------------------------------------------


def test_quotes() -> None:
    """One level a side, as in the sample."""
    body = answers.quotes([reading(ticker())])
    assert body is not None
    (book,), (like, _) = body["pricebooks"], sample("best_bid_ask")["pricebooks"]
    assert list(book) == list(like)
    assert book["bids"] == [{"price": "84000", "size": "0.5"}]
    assert book["asks"] == [{"price": "84001", "size": "0.25"}]
    assert book["time"] == "2026-11-20T15:04:05.662Z"


@pytest.mark.parametrize("missing", ["best_bid", "best_ask", "best_bid_quantity", "best_ask_quantity"])
def test_half_a_quote_is_none(missing: str) -> None:
    """A copy of REST's tells no bid, and the wire may send an empty one."""
    assert answers.quotes([reading(ticker()), reading(ticker(**{missing: None}))]) is None


# -- candles ------------------------------------------------------------------------------------------------------


def candle(start_s: int, volume: str = "1.50") -> Candle:
    """A candle."""
    return Candle(start_s, Decimal(4), Decimal(6), Decimal(3), Decimal(5), Decimal(volume), closed=True)


def window(start_s: int, end_s: int, limit: int = 350) -> CandlesQuestion:
    """A question."""
    return CandlesQuestion(BTC, Granularity.FIVE_MINUTE, start_s, end_s, limit)


def test_candles_of_a_window() -> None:
    """Newest first, both ends included, in the exchange's order of fields."""
    found = reading(tuple(candle(start_s) for start_s in range(0, 3000, 300)))
    body = answers.candles(window(600, 1500), found, 3000.0)
    assert body is not None
    assert [entry["start"] for entry in body["candles"]] == ["1500", "1200", "900", "600"]
    assert list(body["candles"][0]) == list(sample("candles")["candles"][0])
    assert list(body["candles"][0].values()) == ["1500", "3", "6", "4", "5", "1.50"]
    newest = answers.candles(window(600, 1500, 2), found, 3000.0)
    assert newest == {"candles": body["candles"][:2]}


@pytest.mark.parametrize(
    ("start_s", "now_s", "expected"),
    [(600, 1200.0, 4), (601, 1200.0, 3), (600, 1499.9, 4), (600, 1500.0, 5), (0, 348 * 300.0, 350)],
)
def test_so_many_candles_reach_back(start_s: int, now_s: float, expected: int) -> None:
    """One more than our clock asks for: that of Redis may be ahead."""
    assert answers.candles_needed(window(start_s, 10_000), now_s) == expected


@pytest.mark.parametrize("start_s", [-300, 360_000])
def test_a_window_out_of_reach_is_none(start_s: int) -> None:
    """Too long ago, or all of it to come."""
    assert answers.candles_needed(window(start_s, 400_000), 348 * 300.0) is None


def test_a_copy_that_lacks_the_newest_bucket_is_no_answer() -> None:
    """It was fetched before that began; what ends before will do."""
    copy = reading((candle(900), candle(1200)), Tier.CACHE, age_s=100.0)
    assert answers.candles(window(900, 9000), copy, 1550.0) is None
    assert answers.candles(window(900, 1499), copy, 1550.0) is not None
    assert answers.candles(window(900, 9000), copy, 1350.0) is not None


# -- wallets ------------------------------------------------------------------------------------------------------


def balance(wallet: dict[str, Any], available: str, hold: str) -> Reading[Balance]:
    """What the stream has of a wallet."""
    amounts = Decimal(available), Decimal(hold), Decimal(available) + Decimal(hold)
    return reading(Balance(wallet["currency"], *amounts, Basis.DERIVED, AT, wallet["uuid"]))


def test_wallets_that_have_not_moved_are_as_the_exchange_wrote_them() -> None:
    """Spelling and time included."""
    page = sample("accounts_page1")
    btc, eth = page["accounts"]
    held = {"BTC": balance(btc, "0.250", "0"), "ETH": balance(eth, "1.50", "0.50")}
    found = answers.wallets(page, held)
    assert found is not None
    assert found[0] == page


def test_a_wallet_that_has_moved_says_when() -> None:
    """Amounts and time; nothing else."""
    page = sample("account")
    found = answers.wallets(page, {"USD": balance(page["account"], "1E+3", "0")})
    assert found is not None
    told = found[0]["account"]
    assert (told["available_balance"], told["hold"]["value"]) == ({"value": "1000", "currency": "USD"}, "0")
    assert told["updated_at"] == "2026-11-20T15:04:05.662Z"
    assert {n for n in told if told[n] != page["account"][n]} == {"available_balance", "hold", "updated_at"}


def test_wallets_of_others_are_none() -> None:
    """Another id is another portfolio; an unknown currency is no zero; nothing is no page."""
    page = sample("account")
    held = balance(page["account"], "1", "0")
    assert answers.wallets({"account": page["account"] | {"uuid": "another"}}, {"USD": held}) is None
    assert answers.wallets(page, {}) is None
    assert answers.wallets({"accounts": []}, {"USD": held}) is None


@pytest.mark.parametrize("page", [{}, {"accounts": None}, {"accounts": [{}]}, {"account": {"currency": "USD"}}])
def test_what_is_no_page_is_no_answer(page: dict[str, Any]) -> None:
    """Whatever was kept."""
    assert answers.wallets(page, {"USD": balance(sample("account")["account"], "1", "0")}) is None


# -- the marker ---------------------------------------------------------------------------------------------------


def test_the_marker_is_of_the_worst() -> None:
    """Its tier, the largest age, the oldest time."""
    earlier = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    found = answers.served({"a": 1}, [reading(1), reading(2, Tier.CACHE, 20.0), reading(3, at=earlier)])
    assert found.body["a"] == 1
    assert found.body["streamer"]["tier"] == "cache"
    assert found.body["streamer"]["age_s"] == 20.0
    assert found.body["streamer"]["as_of"] == "2026-11-20T15:00:00+00:00"
    assert not found.is_last_resort


@pytest.mark.parametrize(
    ("tier", "age_s", "expected"),
    [(Tier.STALE, 4.0, False), (Tier.STALE, 6.0, True), (Tier.CACHE, 100.0, False), (Tier.REALTIME, 6.0, False)],
)
def test_what_is_stale_is_a_last_resort(tier: Tier, age_s: float, expected: bool) -> None:
    """Not what was current a moment ago: a gap is over sooner than a call."""
    assert answers.served({}, [reading(1, tier, age_s)]).is_last_resort is expected


@pytest.mark.parametrize(
    ("micros", "expected"), [(0, "15:04:05Z"), (500_000, "15:04:05.5Z"), (1, "15:04:05.000001Z")]
)
def test_times_have_no_zeros_at_their_end(micros: int, expected: str) -> None:
    """As on the wire."""
    assert answers.stamp(AT.replace(microsecond=micros)) == f"2026-11-20T{expected}"
