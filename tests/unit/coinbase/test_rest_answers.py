"""What REST answers becomes values of ours, or is refused as a whole."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streamer.coinbase.rest_answers import (
    accounts_page,
    breakdown,
    candles,
    one_a_currency,
    products,
)
from streamer.model import Granularity, ProductId

DATA = Path(__file__).parents[2] / "data"
BTC = ProductId("BTC-USD")


def sample(name: str) -> bytes:
    """A sample of the wire."""
    return (DATA / f"rest_{name}.json").read_bytes()


def numbers(value: Any) -> list[Any]:
    """Every value in decoded JSON that is neither text, truth nor nothing."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return [number for item in inside for number in numbers(item)]
    return [] if isinstance(value, str | bool | None) else [value]


def candle(start: int | str, **more: str) -> dict[str, str]:
    """A candle as it is sent."""
    return {"start": str(start), "open": "1", "high": "2", "low": "1", "close": "2", "volume": "3"} | more


def listed(*found: dict[str, str]) -> bytes:
    """An answer with these candles."""
    return json.dumps({"candles": found}).encode()


def test_samples_are_understood() -> None:
    """Bodies as the documentation and live captures have them."""
    page = accounts_page(sample("accounts_page1"))
    assert page.has_next and page.cursor
    assert len(one_a_currency(page.accounts)) == len({wallet.currency for wallet in page.accounts})
    assert not accounts_page(sample("accounts_page2")).has_next
    found = candles(sample("candles"), BTC, Granularity.FIVE_MINUTE)
    assert [bucket.start_s for bucket in found] == sorted(bucket.start_s for bucket in found)
    assert len(found) == len(json.loads(sample("candles"))["candles"])
    assert {product["product_id"] for product in products(sample("products"))} >= {"BTC-USD"}
    assert breakdown(sample("portfolio_breakdown"))["portfolio"]["uuid"]


def test_every_number_of_a_breakdown_is_a_decimal() -> None:
    """Digit for digit as it was sent, where a float would have been another number; truth stays truth."""
    found = numbers(breakdown(sample("portfolio_breakdown")))
    assert found
    assert {type(number) for number in found} == {Decimal}
    told = breakdown(b'{"breakdown": {"a": [0.1, 1e2, 12, -0.10], "b": {"c": 12345678901234567.89}, "d": true}}')
    assert [str(number) for number in told["a"]] == ["0.1", "1E+2", "12", "-0.10"]
    assert str(told["b"]["c"]) == "12345678901234567.89"
    assert told["d"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"breakdown": null}',
        b'{"breakdown": []}',
        b'{"breakdown": {"a": NaN}}',
        b'{"breakdown": {"a": 1e999999}}',
        b'{"breakdown": {"a": 1e-999999}}',
        b'{"breakdown": {"a": 1e99999999999999999999}}',
        b'{"breakdown": {"a": ' + b"1" * 5000 + b"}}",
    ],
)
def test_a_breakdown_without_sense_is_refused(body: bytes) -> None:
    """Also numbers that a few bytes describe and no memory could hold."""
    with pytest.raises(ValueError, match=r"."):
        breakdown(body)


def test_nesting_without_end_is_refused() -> None:
    """It must not end the process."""
    with pytest.raises((ValueError, RecursionError)):
        breakdown(b'{"breakdown": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}")


@pytest.mark.parametrize("granularity", list(Granularity))
def test_candles_begin_where_those_of_their_length_do(granularity: Granularity) -> None:
    """One that does not is of another length, or of nothing."""
    width_s = granularity.seconds
    starts = [3 * width_s * 86_400, 3 * width_s * 86_400 + width_s]
    found = candles(listed(*(candle(start_s) for start_s in reversed(starts))), BTC, granularity)
    assert [bucket.start_s for bucket in found] == starts
    for wrong in (starts[0] + 1, starts[0] + width_s // 2, starts[0] - 30):
        with pytest.raises(ValueError, match=granularity.value):
            candles(listed(candle(starts[0]), candle(wrong)), BTC, granularity)


@pytest.mark.parametrize("bad", [{"open": "NaN"}, {"volume": "-1"}, {"high": "x"}, {"close": ""}, {"low": "1e9"}])
def test_one_candle_that_cannot_be_spoils_all(bad: dict[str, str]) -> None:
    """Without it the others would have a hole, and a hole means that there was no trade."""
    with pytest.raises(ValueError, match="cannot be"):
        candles(listed(candle(300), candle(600, **bad)), BTC, Granularity.FIVE_MINUTE)
    assert len(candles(listed(candle(300), candle(600)), BTC, Granularity.FIVE_MINUTE)) == 2
