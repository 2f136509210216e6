"""Sources compared: like with like, and blame only where it can be told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from streamer.providers.shape import AssetClass, Instrument, Price, Symbol
from streamer.quality.agreement import Agreement, Verdict, compare
from streamer.quality.findings import Code, Severity

USD, USDT = (Symbol("BTC", quote, AssetClass.CRYPTO) for quote in ("USD", "USDT"))


def price(
    text: str, symbol: Symbol = USD, instrument: Instrument = Instrument.SPOT, *, is_live: bool = True
) -> Price:
    """A price of BTC."""
    return Price(symbol, Decimal(text), instrument, is_live=is_live)


def agreement(*texts: str) -> Agreement:
    """What comes of spot prices, named a, b, c ..."""
    [only] = compare({chr(ord("a") + i): price(text) for i, text in enumerate(texts)}).agreements
    return only


def test_sources_agree_within_the_tolerance() -> None:
    """Half a percent; deviations are told all the same."""
    found = agreement("100.00", "100.50", "99.50")
    assert (found.verdict, found.median, found.dissenters) == (Verdict.AGREE, Decimal(100), ())
    assert found.deviation_bp == {"a": 0, "b": 50, "c": -50}
    assert found.finding("b") is None


def test_who_disagrees_is_named() -> None:
    """With two others that agree, the third is wrong."""
    found = agreement("100.00", "102.00", "100.10")
    assert (found.verdict, found.dissenters, found.is_clear) == (Verdict.DISAGREE, ("b",), True)
    finding = found.finding("b")
    assert finding is not None
    assert (finding.code, finding.severity) == (Code.DISAGREES, Severity.MEDIUM)
    assert finding.what == "BTC-USD spot: 102.00 is +189.8 bp from the median of 3 sources"


def test_of_two_nobody_knows_who_is_wrong() -> None:
    """They are 2 % from each other, each 1 % from the middle."""
    found = agreement("99", "101")
    assert (found.verdict, found.median, found.dissenters, found.is_clear) == (
        Verdict.DISAGREE,
        Decimal(100),
        ("a", "b"),
        False,
    )
    for name in ("a", "b"):
        finding = found.finding(name)
        assert finding is not None and "cannot be told" in finding.what
        assert finding.severity is Severity.MEDIUM
    assert agreement("100.00", "100.50").verdict is Verdict.AGREE
    assert agreement("100.00", "100.51").verdict is Verdict.DISAGREE


def test_two_against_two_blame_nobody() -> None:
    """The middle between them is nobody's price."""
    found = agreement("100", "100.1", "110", "110.1")
    assert (found.dissenters, found.is_clear) == (("a", "b", "c", "d"), False)


def test_one_source_has_nothing_to_agree_with() -> None:
    """Not the same as agreement."""
    assert agreement("100").verdict is Verdict.ALONE


@pytest.mark.parametrize("wrong", ["1000", "10", "1", "201", "49"])
def test_a_factor_is_always_grave(wrong: str) -> None:
    """With three the one that is off; with two both, since it is certain that one is wrong."""
    three, two = agreement("100", "100", wrong), agreement("100", wrong)
    finding = three.finding("c")
    assert finding is not None and (finding.code, finding.severity) == (Code.FACTOR, Severity.HIGH)
    assert three.finding("a") is None
    for name in ("a", "b"):
        either = two.finding(name)
        assert either is not None and (either.code, either.severity) == (Code.FACTOR, Severity.HIGH)


def test_like_is_compared_with_like() -> None:
    """Quotes, futures and delayed prices stand apart; aggregates and derived prices are spot."""
    comparison = compare(
        {
            "coinbase": price("100"),
            "coingecko": price("100.2", instrument=Instrument.AGGREGATE),
            "eodhd": price("97", is_live=False),
            "binance": price("99", USDT, Instrument.PERPETUAL),
            "other": price("99.9", USDT, Instrument.DERIVED),
        }
    )
    assert [(str(one.group), one.verdict) for one in comparison.agreements] == [
        ("BTC-USD spot", Verdict.AGREE),
        ("BTC-USD spot, delayed", Verdict.ALONE),
        ("BTC-USDT perpetual", Verdict.ALONE),
        ("BTC-USDT spot", Verdict.ALONE),
    ]


def test_no_price_takes_no_part() -> None:
    """It is named, and moves no median."""
    comparison = compare({"a": price("100"), "b": price("0"), "c": price("NaN"), "d": price("100")})
    assert comparison.unusable == ("b", "c")
    assert [(one.median, one.verdict) for one in comparison.agreements] == [(Decimal(100), Verdict.AGREE)]
    assert compare({}).agreements == ()
