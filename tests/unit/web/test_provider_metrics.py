"""Metrics of other providers: what facts become, and how many series they can be at most."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from streamer.gateway.limits import Outcome
from streamer.web.provider_metrics import MOST_SYMBOLS, ProviderFacts, calls_of, provider_families


def row(name: str, **changed: Any) -> dict[str, Any]:
    """What the desk says of a provider that is well."""
    windows = [{"used": 3, "allowed": 10, "length_s": 1.0}, {"used": 40, "allowed": 500, "length_s": 86400.0}]
    return {"name": name, "held": None, "windows": windows, "scores": []} | changed


def scored(symbol: str, score: float | None) -> dict[str, Any]:
    """What it says of a symbol."""
    return {"symbol": symbol, "score": score, "parts": {}}


FULL = ProviderFacts(
    [
        row("binance", scores=[scored("BTC-USDT", 98.5), scored("ETH-USDT", None)]),
        row("polygon", held={"kind": "KeyRefused", "why": "no", "left_s": 3.0}),
    ],
    {("binance", "ok"): 12, ("polygon", "refused"): 1},
    {"disagrees": 2},
    {"low": 5, "high": 1},
)


def samples(facts: ProviderFacts) -> dict[str, float]:
    """Values by name and labels."""
    told = {}
    for family in provider_families(facts):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            told[f"{sample.name}{{{labels}}}"] = sample.value
    return told


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        ("streamer_data_calls_total{outcome=ok,provider=binance}", 12),
        ("streamer_data_calls_total{outcome=refused,provider=polygon}", 1),
        ("streamer_data_held{provider=binance}", 0),
        ("streamer_data_held{provider=polygon}", 1),
        ("streamer_data_budget_used{provider=binance,window=1s}", 3),
        ("streamer_data_budget_limit{provider=binance,window=86400s}", 500),
        ("streamer_data_score{provider=binance,symbol=BTC-USDT}", 98.5),
        ("streamer_data_alerts_total{code=disagrees}", 2),
        ("streamer_data_findings_total{severity=high}", 1),
    ],
)
def test_a_fact_becomes_a_sample(sample: str, value: float) -> None:
    """Under labels that say what it is of."""
    assert samples(FULL)[sample] == value


def test_what_is_not_known_is_not_told() -> None:
    """A score that is not known is no zero; without Redis only what this process has counted is left."""
    assert not any("ETH-USDT" in name for name in samples(FULL))
    assert samples(ProviderFacts()) == {}
    told = samples(ProviderFacts(calls=FULL.calls))
    assert {name.partition("{")[0] for name in told} == {"streamer_data_calls_total"}


def test_calls_are_told_by_outcome() -> None:
    """Whatever the route and the priority."""
    made = {
        ("binance price", "TRADING", Outcome.OK): 2,
        ("binance bars", "MARKET_DATA", Outcome.OK): 3,
        ("binance bars", "MARKET_DATA", Outcome.LIMITED): 1,
    }
    assert calls_of("binance", made) == Counter({("binance", "ok"): 5, ("binance", "limited"): 1})


def test_symbols_are_bounded_and_the_last_asked_for_stay() -> None:
    """However many names somebody makes up, and of all providers together."""
    names = [[f"{name}{number}-USD" for number in range(150)] for name in ("A", "B")]
    shared = scored("BTC-USD", 50.0)
    rows = [
        row("binance", scores=[shared, *(scored(symbol, 1.0) for symbol in names[0])]),
        row("coingecko", scores=[shared, *(scored(symbol, 1.0) for symbol in names[1])]),
    ]
    told = [name for name in samples(ProviderFacts(rows)) if name.startswith("streamer_data_score")]
    symbols = {name.partition("symbol=")[2] for name in told}
    assert len(symbols) == MOST_SYMBOLS
    assert sum("symbol=BTC-USD" in text for text in told) == 2
    assert {"A0-USD}", "B0-USD}"} <= symbols
    assert not {"A149-USD}", "B149-USD}"} & symbols
