"""All balances as one answer, and one answer as balances. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from streamer.errors import StreamerError
from streamer.gateway.breakdown import compute_breakdown
from streamer.model import Account, Balance, PortfolioBreakdown, Reading, Source, Ticker, Tier


def accounts_of(streamed: Mapping[str, Reading[Balance] | None]) -> Reading[tuple[Account, ...]] | None:
    """Return all balances as one reading, as good as the worst of them; None where one is not there at all."""
    found = [one for one in streamed.values() if one is not None]
    if not found or len(found) < len(streamed):
        return None
    worst = max(found, key=lambda one: (one.tier is not Tier.REALTIME, one.age_s))
    oldest = min(found, key=lambda one: one.as_of)
    accounts = tuple(
        Account(b.value.account_uuid or "", b.value.currency, b.value.available, b.value.hold) for b in found
    )
    return Reading(
        value=accounts,
        tier=worst.tier,
        age_s=max(one.age_s for one in found),
        value_age_s=oldest.value_age_s,
        as_of=oldest.as_of,
        source=_source_of(found),
        reason=None if worst.reason is None else f"{worst.value.currency}: {worst.reason}",
    )


def balances_of(
    accounts: Reading[tuple[Account, ...]],
    held: Mapping[str, Reading[Balance]],
    fit: Mapping[str, Reading[Balance]],
) -> dict[str, Reading[Balance]]:
    """Return a reading a currency: the stream's where it is realtime, else that of the accounts.

    Args:
        held: What the stream has that is young enough; where all is stale, the younger one is taken.
        fit: What of it is realtime.
    """
    balances = dict(fit)
    for account in accounts.value:
        if account.currency in balances:
            continue
        streamed = held.get(account.currency)
        if accounts.tier is Tier.STALE and streamed is not None and streamed.age_s <= accounts.age_s:
            balances[account.currency] = streamed
            continue
        balance = Balance.confirmed(account, accounts.as_of)
        balances[account.currency] = Reading(
            balance,
            accounts.tier,
            accounts.age_s,
            accounts.value_age_s,
            accounts.as_of,
            accounts.source,
            accounts.reason,
        )
    return dict(sorted(balances.items()))


def each_missing(
    streamed: Mapping[str, Reading[Balance] | None], fit: Collection[str], error: StreamerError
) -> dict[str, StreamerError]:
    """Return the error for each currency that cannot be served; under "" where not even their names are known."""
    return {currency: error for currency in streamed if currency not in fit} or {"": error}


def worth(
    accounts: Reading[tuple[Account, ...]], prices: Mapping[str, Reading[Ticker]], uuid: str
) -> Reading[PortfolioBreakdown]:
    """Return what the accounts are worth: as good as the worst of the balances and prices it is made of."""
    parts: list[Reading[Any]] = [accounts, *prices.values()]
    worst = max(parts, key=lambda one: (one.tier is not Tier.REALTIME, one.age_s))
    known = {asset: found.value.price for asset, found in prices.items()}
    oldest = min(parts, key=lambda one: one.as_of)
    return Reading(
        value=compute_breakdown(accounts.value, known, uuid=uuid),
        tier=worst.tier,
        age_s=max(one.age_s for one in parts),
        value_age_s=oldest.value_age_s,
        as_of=oldest.as_of,
        source=_source_of(parts),
        reason=worst.reason or "computed from realtime balances and prices",
    )


def _source_of(parts: Iterable[Reading[Any]]) -> str:
    """Return who has made a whole: what is simulated in part may not pass for real."""
    return next((one.source for one in parts if one.source != Source.COINBASE.value), Source.COINBASE.value)
