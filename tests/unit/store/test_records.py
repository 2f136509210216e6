"""How a ticker looks in Redis, and what a reader takes from there."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from streamer.model import ProductId, Source, Stamp, Tick, Ticker, TickerFields
from streamer.store.records import TICKER_VALUES, StoredTicker, parse_decimal, parse_time, ticker_record

BTC, BTC_USDC = ProductId("BTC-USD"), ProductId("BTC-USDC")
FULL = TickerFields(
    product_id="BTC-USD",
    price="84212.05",
    best_bid="84211.98",
    best_bid_quantity="0.017",
    best_ask="84212.05",
    best_ask_quantity="0.31070021",
    volume_24_h="11482.31232221",
    low_24_h="82901.12",
    high_24_h="85377.4",
    low_52_w="61320",
    high_52_w="126200",
    price_percent_chg_24_h="-0.84015542033617",
)


def tick(fields: TickerFields = FULL, **changed: Any) -> Tick:
    """A tick of the third connection of a simulated feed."""
    given: dict[str, Any] = {
        "stamp": Stamp("default.market-0", 3, Source.SIMULATOR),
        "sequence": 42,
        "time": "2026-11-20T15:04:06.284455913Z",
        "received_s": 1795187046.3,
        "alias_of": None,
    }
    return Tick(fields, **given | changed)


def stored(**changed: str | None) -> dict[str, str]:
    """A sound hash as the script leaves it, changed; None removes a field."""
    sound = ticker_record(BTC, tick(), suspect=False, epoch=7) | {"written_ms": "1795187046400"}
    return {name: value for name, value in (sound | changed).items() if value is not None}


# -- writing ----------------------------------------------------------------------------------------------------


def test_record_has_the_fields_of_the_contract() -> None:
    """Every field by its literal name, every value a string; `written_ms` is left to the script."""
    assert ticker_record(BTC, tick(), suspect=False, epoch=7) == {
        "product_id": "BTC-USD",
        "price": "84212.05",
        "best_bid": "84211.98",
        "best_bid_quantity": "0.017",
        "best_ask": "84212.05",
        "best_ask_quantity": "0.31070021",
        "volume_24_h": "11482.31232221",
        "low_24_h": "82901.12",
        "high_24_h": "85377.4",
        "low_52_w": "61320",
        "high_52_w": "126200",
        "price_percent_chg_24_h": "-0.84015542033617",
        "time": "2026-11-20T15:04:06.284455913Z",
        "received_ms": "1795187046300",
        "feed": "default.market-0",
        "connection": "3",
        "sequence": "42",
        "epoch": "7",
        "source": "simulator",
    }


def test_empty_values_are_absent() -> None:
    """A value the exchange left empty is not written as an empty string."""
    record = ticker_record(BTC, tick(TickerFields(product_id="BTC-USD", price="1")), suspect=False, epoch=7)
    assert record.keys() & set(TICKER_VALUES) == {"price"}
    assert "" not in record.values()


def test_zero_is_a_value() -> None:
    """A volume of 0 is written; only the empty string is no value."""
    record = ticker_record(BTC, tick(TickerFields(price="1", volume_24_h="0")), suspect=False, epoch=7)
    assert record["volume_24_h"] == "0"


def test_suspect_and_alias_are_there_only_where_true() -> None:
    """`suspect` is "1" or absent; `alias_of` names the canonical product of an alias."""
    record = ticker_record(BTC_USDC, tick(alias_of="BTC-USD"), suspect=True, epoch=7)
    assert (record["product_id"], record["alias_of"], record["suspect"]) == ("BTC-USDC", "BTC-USD", "1")
    assert not ticker_record(BTC, tick(), suspect=False, epoch=7).keys() & {"alias_of", "suspect"}


# -- round trip -------------------------------------------------------------------------------------------------


def test_full_record_comes_back() -> None:
    """What was written is what is read: same digits, same stamp."""
    held = StoredTicker(stored())
    assert held.ticker == Ticker(
        product_id=BTC,
        price=Decimal("84212.05"),
        time=datetime(2026, 11, 20, 15, 4, 6, 284455, tzinfo=UTC),
        best_bid=Decimal("84211.98"),
        best_bid_quantity=Decimal("0.017"),
        best_ask=Decimal("84212.05"),
        best_ask_quantity=Decimal("0.31070021"),
        volume_24_h=Decimal("11482.31232221"),
        low_24_h=Decimal("82901.12"),
        high_24_h=Decimal("85377.4"),
        low_52_w=Decimal("61320"),
        high_52_w=Decimal("126200"),
        price_percent_chg_24_h=Decimal("-0.84015542033617"),
        alias_of=None,
    )
    assert (held.feed, held.connection, held.epoch) == ("default.market-0", 3, 7)
    assert (held.written_ms, held.source, held.suspect) == (1795187046400, Source.SIMULATOR, False)


@pytest.mark.parametrize("name", TICKER_VALUES)
def test_every_value_keeps_its_digits(name: str) -> None:
    """No value passes through a float on its way."""
    digits = "123456789012345678901234567890.123456789012345678901234567890"
    fields = TickerFields(**{"product_id": "BTC-USD", "price": "1"} | {name: digits})
    record = ticker_record(BTC, tick(fields), suspect=False, epoch=7) | {"written_ms": "1"}
    assert str(getattr(StoredTicker(record).ticker, name)) == digits


def test_sparse_record_comes_back_with_none() -> None:
    """A value that was never there is None, not zero."""
    fields = TickerFields(product_id="BTC-USD", price="1")
    held = StoredTicker(ticker_record(BTC, tick(fields), suspect=False, epoch=7) | {"written_ms": "1"})
    values = {name: getattr(held.ticker, name) for name in TICKER_VALUES}
    assert values == dict.fromkeys(TICKER_VALUES) | {"price": Decimal(1)}


def test_suspect_alias_comes_back() -> None:
    """The doubt and the canonical id survive the way."""
    record = ticker_record(BTC_USDC, tick(alias_of="BTC-USD"), suspect=True, epoch=7) | {"written_ms": "1"}
    held = StoredTicker(record)
    assert (held.ticker.product_id, held.ticker.alias_of, held.suspect) == (BTC_USDC, BTC, True)


@pytest.mark.parametrize(("value", "suspect"), [("1", True), ("0", False), ("", False), (None, False)])
def test_suspect_is_one_or_nothing(value: str | None, suspect: bool) -> None:
    """Only the "1" of the contract casts doubt."""
    assert StoredTicker(stored(suspect=value)).suspect is suspect


def test_an_outlier_comes_back_in_words() -> None:
    """Marked with "1" and why; the price is what was sent."""
    record = ticker_record(BTC, tick(), suspect=False, epoch=7, outlier="price jumped 3 %") | {"written_ms": "1"}
    assert (record["outlier"], record["outlier_why"]) == ("1", "price jumped 3 %")
    held = StoredTicker(record)
    assert (held.outlier, held.suspect) == ("price jumped 3 %", False)
    assert held.ticker == StoredTicker(stored()).ticker
    assert not ticker_record(BTC, tick(), suspect=False, epoch=7).keys() & {"outlier", "outlier_why"}


@pytest.mark.parametrize(
    ("value", "outlier"), [("1", "the price is an outlier"), ("0", None), ("", None), (None, None)]
)
def test_outlier_is_one_or_nothing(value: str | None, outlier: str | None) -> None:
    """Only the "1" of the contract marks a price, also where no words come with it."""
    assert StoredTicker(stored(outlier=value)).outlier == outlier


def test_unknown_fields_are_passed_over() -> None:
    """A newer writer may add fields."""
    assert StoredTicker(stored(mood="good")).ticker == StoredTicker(stored()).ticker


# -- damaged hashes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["product_id", "price", "time", "feed", "connection", "epoch", "written_ms", "source"]
)
def test_hash_without_a_needed_field_is_damaged(name: str) -> None:
    """The error names what is missing."""
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        StoredTicker(stored(**{name: None}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("product_id", ""),
        ("product_id", "btc-usd"),
        ("product_id", "BTC-USD:stale"),
        ("alias_of", "btc"),
        ("alias_of", "*"),
        ("price", ""),
        ("price", "NaN"),
        ("price", "1e999999999999999999"),
        ("volume_24_h", "Infinity"),
        ("best_bid", ""),
        ("time", ""),
        ("time", "yesterday"),
        ("time", "2026-11-20T15:04:06"),
        ("connection", ""),
        ("connection", "one"),
        ("epoch", "1.5"),
        ("written_ms", "9" * 5000),
        ("source", ""),
        ("source", "binance"),
        ("source", "Coinbase"),
    ],
)
def test_foreign_hash_is_damaged(name: str, value: str) -> None:
    """What the schema does not allow is a ValueError, never a value and never another error."""
    with pytest.raises(ValueError, match=r".+"):
        StoredTicker(stored(**{name: value}))


# -- numbers and times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "1", "-1", "007", "84210.37", "-0.84213377190458", "0.00000001", "1" * 64])
def test_plain_digits_are_a_decimal(text: str) -> None:
    """Digits, one point, a minus: the same number, digit for digit."""
    assert parse_decimal(text) == Decimal(text)
    assert parse_decimal(text).is_finite()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        ".",
        "-.",
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        "1e5",
        "1E+5",
        "1e999999999999999999",
        "1_000",
        "1,000",
        "+1",
        "--1",
        "1-",
        "1.2.3",
        " 1",
        "1 ",
        "1\n",
        "1\0",
        "0x1",
        "\uff11\uff12",
        "\u0663",
        "\xb2",
        "1" * 65,
        "9" * 5000,
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_anything_else_is_no_decimal(text: str) -> None:
    """What `Decimal` would take, or choke on, is a ValueError; a long text is not quoted whole."""
    with pytest.raises(ValueError, match="is not a decimal number") as caught:
        parse_decimal(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-11-20T15:04:06Z", 0),
        ("2026-11-20T15:04:06.1Z", 100000),
        ("2026-11-20T15:04:06.01Z", 10000),
        ("2026-11-20T15:04:06.284Z", 284000),
        ("2026-11-20T15:04:06.284455Z", 284455),
        ("2026-11-20T15:04:06.2844559Z", 284455),
        ("2026-11-20T15:04:06.284455913Z", 284455),
        ("2026-11-20T15:04:06.999999999Z", 999999),
    ],
)
def test_times_keep_microseconds(text: str, microsecond: int) -> None:
    """0 to 9 decimals are read; beyond the sixth they are cut, never rounded up."""
    assert parse_time(text) == datetime(2026, 11, 20, 15, 4, 6, microsecond, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "yesterday",
        "2026-11-20T15:04:06",
        "2026-11-20T15:04:06.284",
        "2026-11-20T15:04:06+00:00",
        "2026-11-20T15:04:06+05:00Z",
        "2026-11-20T15:04:06z",
        "2026-11-20T15:04:06.xZ",
        "2026-11-20T15:04:06.-1Z",
        "2026-11-20T15:04:06.1.2Z",
        "2026-11-20T25:04:06Z",
        "2026-11-20T15:04:60Z",
        "2026-02-30T15:04:06Z",
        "2026-13-20T15:04:06Z",
        "0000-01-01T00:00:00Z",
        "\uff12026-11-20T15:04:06Z",
        "2026-11-20T15:04:06.\uff11Z",
        "1795186800",
    ],
    ids=ascii,
)
def test_other_times_are_refused(text: str) -> None:
    """No zone, no date, no time of day: a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)


@pytest.mark.parametrize("name", ["connection", "epoch", "received_ms", "written_ms"])
@pytest.mark.parametrize("value", ["9" * 400, "-1", "1.5", "", " 1", "１", "1_0"])
def test_damaged_whole_number_is_a_value_error(name: str, value: str) -> None:
    """Also one so large that it would overflow only when somebody computes with it."""
    fields = {
        "product_id": "BTC-USD",
        "price": "1",
        "time": "2026-11-20T15:04:06Z",
        "source": "coinbase",
        "feed": "f",
    }
    numbers = dict.fromkeys(("connection", "epoch", "received_ms", "written_ms"), "1")
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise
        StoredTicker(fields | numbers | {name: value})


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20Z",
        "2026-11-20T15:04Z",
        "2026-11-20 15:04:06Z",
        "20261120T150406Z",
        "2026-W47-5T15:04:06Z",
        "2026-11-20T15:04:06.Z",
        "2026-11-20T15:04:06.123456xyzZ",
        "2026-11-20T15:04:06.123456+05:00Z",
    ],
)
def test_parse_time_takes_rfc_3339_only(text: str) -> None:
    """Python's own parser takes more, and some of it hours off."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse_time(text)
