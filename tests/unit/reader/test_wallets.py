"""Balances put together and taken apart, and what they are worth."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import Unavailable
from streamer.gateway.breakdown import compute_breakdown, parse_breakdown
from streamer.model import Account, Balance, Basis, ProductId, Reading, Ticker, Tier
from streamer.reader.wallets import accounts_of, balances_of, each_missing, worth

AT = datetime(2026, 11, 20, 15, 4, 6, tzinfo=UTC)
SAMPLE = json.loads((Path(__file__).parents[2] / "data" / "rest_portfolio_breakdown.json").read_text())
UUID = SAMPLE["breakdown"]["portfolio"]["uuid"]


def held(
    currency: str, amount: str, *, tier: Tier = Tier.REALTIME, age_s: float = 0.1, hold: str = "0", **changed: Any
) -> Reading[Balance]:
    """The reading of a balance."""
    value = Balance(
        currency=currency,
        available=Decimal(amount),
        hold=Decimal(hold),
        total=Decimal(amount) + Decimal(hold),
        basis=Basis.CONFIRMED,
        time=AT,
        account_uuid=f"uuid-{currency}",
    )
    reason = None if tier is Tier.REALTIME else "suspect"
    made: dict[str, Any] = {"value": value, "tier": tier, "age_s": age_s, "value_age_s": age_s, "as_of": AT}
    return Reading(**made | {"source": "coinbase", "reason": reason} | changed)


def accounts(
    *amounts: tuple[str, str], tier: Tier = Tier.CACHE, age_s: float = 10.0
) -> Reading[tuple[Account, ...]]:
    """The reading of all wallets."""
    wallets = tuple(Account(f"u-{c}", c, Decimal(amount), Decimal(0)) for c, amount in amounts)
    return Reading(wallets, tier, age_s, age_s, AT, "coinbase", "BTC: suspect")


def price(product_id: str, amount: str, *, tier: Tier = Tier.REALTIME, age_s: float = 0.1) -> Reading[Ticker]:
    """The reading of a price."""
    ticker = Ticker(ProductId(product_id), Decimal(amount), AT)
    reason = None if tier is Tier.REALTIME else "dead"
    return Reading(ticker, tier, age_s, age_s, AT, "coinbase", reason)


# -- all as one -------------------------------------------------------------------------------------------------


def test_all_are_as_good_as_the_worst() -> None:
    """Its tier and reason, the largest age, the oldest stamp."""
    found = accounts_of(
        {
            "BTC": held("BTC", "1", age_s=0.1),
            "ETH": held("ETH", "2", tier=Tier.STALE, age_s=9.0),
            "SOL": held("SOL", "3", age_s=30.0, as_of=AT - timedelta(hours=1), value_age_s=3600.0),
        }
    )
    assert found is not None
    assert (found.tier, found.reason, found.age_s) == (Tier.STALE, "ETH: suspect", 30.0)
    assert (found.as_of, found.value_age_s) == (AT - timedelta(hours=1), 3600.0)
    assert [(a.currency, a.uuid) for a in found.value] == [(c, f"uuid-{c}") for c in ("BTC", "ETH", "SOL")]


def test_a_simulated_balance_makes_the_whole_simulated() -> None:
    """A mixture may not pass for real."""
    mixed = {"A": held("A", "1"), "B": held("B", "1", source="simulator", as_of=AT - timedelta(hours=1))}
    for streamed in (mixed, dict(reversed(mixed.items()))):
        found = accounts_of(streamed)
        assert found is not None and found.source == "simulator"
    simulated = replace(price("BTC-USD", "1"), source="simulator")
    assert worth(accounts(("BTC", "2"), tier=Tier.REALTIME), {"BTC": simulated}, UUID).source == "simulator"


@pytest.mark.parametrize("streamed", [{}, {"BTC": None}, {"BTC": held("BTC", "1"), "ETH": None}])
def test_all_without_one_of_them_is_none(streamed: dict[str, Any]) -> None:
    """Who asks for all wallets must not get some of them."""
    assert accounts_of(streamed) is None


# -- one by one -------------------------------------------------------------------------------------------------


def test_what_is_realtime_stays_that_of_the_stream() -> None:
    """The others come from the accounts, with their tier, ages and reason; sorted by name."""
    fit = {"BTC": held("BTC", "1")}
    found = balances_of(accounts(("ETH", "5"), ("BTC", "7")), {}, fit)
    assert {c: (r.tier, str(r.value.total)) for c, r in found.items()} == {
        "BTC": (Tier.REALTIME, "1"),
        "ETH": (Tier.CACHE, "5"),
    }
    assert (found["ETH"].age_s, found["ETH"].reason, found["ETH"].value.basis) == (
        10.0,
        "BTC: suspect",
        Basis.CONFIRMED,
    )


@pytest.mark.parametrize(
    ("tier", "held_age_s", "amount"),
    [
        (Tier.STALE, 5.0, "2"),
        (Tier.STALE, 10.0, "2"),
        (Tier.STALE, 11.0, "5"),
        (Tier.CACHE, 5.0, "5"),
        (Tier.REST, 5.0, "5"),
    ],
)
def test_of_two_that_are_stale_the_younger_is_taken(tier: Tier, held_age_s: float, amount: str) -> None:
    """What REST has told is taken where it was chosen; where all is stale, the stream's may be younger."""
    mine = {"ETH": held("ETH", "2", tier=Tier.STALE, age_s=held_age_s)}
    found = balances_of(accounts(("ETH", "5"), tier=tier), mine, {})
    assert str(found["ETH"].value.total) == amount


def test_what_is_missing_is_named() -> None:
    """Each currency that is known, or all of them under no name."""
    error = Unavailable("accounts", {})
    assert each_missing({"BTC": None, "ETH": held("ETH", "1")}, ["ETH"], error) == {"BTC": error}
    assert each_missing({}, [], error) == {"": error}


# -- worth ------------------------------------------------------------------------------------------------------


def test_worth_is_as_good_as_its_worst_part() -> None:
    """A stale price makes it stale, and says why."""
    mine = accounts(("BTC", "2"), ("USD", "50"), ("USDC", "3"), tier=Tier.REALTIME, age_s=0.2)
    found = worth(mine, {"BTC": price("BTC-USD", "100", tier=Tier.STALE, age_s=9.0)}, UUID)
    assert (found.tier, found.reason, found.age_s) == (Tier.STALE, "dead", 9.0)
    assert found.value.total_balance == 253
    assert found.value.total_cash_equivalent_balance == 53


def test_a_dollar_coin_is_a_dollar() -> None:
    """It needs no price: Coinbase redeems it."""
    mine = accounts(("USDC", "3"), ("USD", "4"), tier=Tier.REALTIME)
    assert worth(mine, {}, UUID).value.total_balance == 7


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "1e9", "", None, 5])
def test_a_breakdown_with_a_number_that_is_none_is_none(bad: object) -> None:
    """Foreign data in a copy is refused, not served."""
    body = json.loads(json.dumps(SAMPLE))
    body["breakdown"]["portfolio_balances"]["total_balance"]["value"] = bad
    with pytest.raises(ValueError, match=r"number|breakdown"):
        parse_breakdown(json.dumps(body).encode())


def test_what_has_no_price_has_no_worth() -> None:
    """The whole has none either, and says of what; an empty wallet needs none."""
    wallets = accounts(("BTC", "2"), ("ODD", "1"), ("NONE", "0")).value
    found = compute_breakdown(wallets, {"BTC": Decimal(100)}, uuid=UUID)
    assert (found.total_balance, found.total_crypto_balance, found.unpriced) == (None, None, ("ODD",))
    assert {p.asset: (p.total_balance_fiat, p.allocation) for p in found.spot_positions} == {
        "BTC": (Decimal(200), None),
        "ODD": (None, None),
    }


def test_nothing_is_worth_nothing() -> None:
    """And has no shares."""
    found = compute_breakdown((), {}, uuid=UUID)
    assert (found.total_balance, found.spot_positions, found.unpriced) == (Decimal(0), (), ())


def test_a_computed_breakdown_is_that_of_rest() -> None:
    """The same accounts at the same prices, in the same fields: to the cent, as far as REST tells its figures."""
    told = parse_breakdown(json.dumps(SAMPLE).encode())
    wallets, prices = [], {}
    for position in told.spot_positions:
        units, free = position.total_balance_crypto, position.available_to_trade_crypto
        wallets.append(Account(position.account_uuid or "", position.asset, free, units - free))
        assert position.total_balance_fiat is not None
        prices[position.asset] = position.total_balance_fiat / units
    mine = compute_breakdown(wallets, prices, uuid=told.uuid)
    cent = Decimal("0.01")
    for name in ("total_balance", "total_cash_equivalent_balance", "total_crypto_balance"):
        assert getattr(mine, name).quantize(cent) == getattr(told, name), name
    assert (mine.uuid, mine.currency, mine.unpriced) == (told.uuid, told.currency, ())
    for computed, position in zip(mine.spot_positions, told.spot_positions, strict=True):
        for name in ("asset", "account_uuid", "is_cash", "total_balance_crypto", "available_to_trade_crypto"):
            assert getattr(computed, name) == getattr(position, name), name
        for name in ("total_balance_fiat", "available_to_trade_fiat"):
            assert abs(getattr(computed, name) - getattr(position, name)) <= cent, name
        assert computed.allocation is not None and position.allocation is not None
        assert abs(computed.allocation - position.allocation) < Decimal("0.001")
