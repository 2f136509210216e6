"""How soon a copy of REST's answer is renewed: by how the market moves, how long it lives, and what is left. Pure.

A score says how busy a product is by its own standards, 0 to 1: the rank of its newest `RECENT` candles among all
runs of as many before them, ties counting half. `RECENT` ties are taken as seen beforehand: runs overlap, so that
is one run's worth of evidence. So a short history speaks softly (with none it is 0.5) and a long one clearly. A
steady trend is as busy as ever, 0.5. Where nothing moves at all the score is 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from streamer.coinbase.messages import CANDLES, STATUS, TICKER, USER
from streamer.errors import ConfigError
from streamer.gateway.admission import Snapshot
from streamer.gateway.requests import (
    AccountsRequest,
    BreakdownRequest,
    CandlesRequest,
    ProductsRequest,
    Request,
    Requests,
    TickerRequest,
)
from streamer.model import Candle, Granularity, ProductId, parse_product_id
from streamer.providers.base import Budget
from streamer.store.keys import Keys

FAST_S: Final = 15.0
"""Age at which what moves a lot is renewed."""
MEDIUM_S: Final = 30.0
SLOW_S: Final = 60.0
HOT_FOR_S: Final = 2 * SLOW_S
"""What has not been read for so long is not renewed."""
RECENT: Final = 12
"""So many candles are the present: an hour of those of five minutes."""
SCORED_BY: Final = Granularity.FIVE_MINUTE, 300
"""The candles that a product is scored by where nobody reads others of it: a day and an hour."""
_MOVES_A_LOT, _MOVES = 0.8, 0.5
_SAME: Final = 1e-9
"""Sums that differ by less, relatively, differ by rounding."""
_MOST: Final = 1e300
_GRANULARITIES: Final = {granularity.seconds: granularity for granularity in Granularity}


# -- how busy a product is ----------------------------------------------------------------------------------------


def volatility_score(candles: Sequence[Candle]) -> float:
    """Score the realized volatility: the sum of squared log returns from close to close.

    Args:
        candles: Of one product and length, oldest first; the last may be open.
    """
    closes = [close for candle in candles if 0 < (close := float(candle.close)) < math.inf]
    return _score([math.log(after / before) ** 2 for before, after in pairwise(closes)])


def volume_score(candles: Sequence[Candle]) -> float:
    """Score the volume; of closed candles only, since an open one does not have all of its volume yet."""
    return _score([min(max(0.0, float(candle.volume)), _MOST) for candle in candles if candle.closed])


def _score(moves: Sequence[float]) -> float:
    recent, earlier = math.fsum(moves[-RECENT:]), moves[:-RECENT]
    if recent == 0:
        return 0.0
    runs = [math.fsum(earlier[at : at + RECENT]) for at in range(len(earlier) - RECENT + 1)]
    less = sum(run < recent * (1 - _SAME) for run in runs)
    more = sum(run > recent * (1 + _SAME) for run in runs)
    return (less + (len(runs) - less - more + RECENT) / 2) / (len(runs) + RECENT)


def refresh_after_s(volatility: float, volume: float) -> float:
    """Return the age at which a copy is renewed: either score, the greater, is reason enough for haste."""
    score = max(volatility, volume)
    if score > _MOVES_A_LOT:
        return FAST_S
    return MEDIUM_S if score > _MOVES else SLOW_S


# -- when it is due -----------------------------------------------------------------------------------------------


def due_after_s(ttl_s: float, cost_s: float, *, beta: float, random: float) -> float:
    """Return the age at which a copy is renewed so as never to expire: earlier at random, most likely just in time.

    XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015), with one
    draw a copy instead of one a read, so that it is known when to look, and the time of the call itself kept free.
    Never before half the life of the copy: an exchange that answers slowly must not be asked the more.

    Args:
        cost_s: How long it takes to renew it.
        beta: How eager to be: 0 is at the last moment, 1 as in the paper.
        random: Uniform, above 0 and at most 1.
    """
    return max(ttl_s / 2, ttl_s - cost_s * (1 - beta * math.log(random)))


def room(snapshot: Snapshot, budget: Budget, *, expiring: bool) -> int:
    """Return how many calls may be made ahead of need: none while anybody waits or anything is amiss.

    Half of each window is left alone, so that whoever needs an answer now finds a place. For copies that are about
    to expire it is a quarter: readers would ask for each of them, and by asking keep us from sparing them that.
    """
    state = snapshot.budgets[budget]
    if snapshot.breaker != "closed" or state.queued or state.factor < 1 or state.blocked_s > 0:
        return 0
    quarters = 3 if expiring else 2
    return max(0, min(limit * quarters // 4 - used for used, limit in state.windows))


@dataclass(frozen=True, slots=True)
class Hot:
    """A copy that is read.

    Attributes:
        age_s: How long ago it was fetched; infinite where it has expired.
        pace_s: The age at which the market would have it renewed.
        expiring_s: The age at which it must be renewed so as not to expire.
    """

    request: Request[Any]
    age_s: float
    pace_s: float
    expiring_s: float

    @property
    def key(self) -> str:
        """The key of the copy."""
        return self.request.copy.key

    @property
    def due_s(self) -> float:
        """The age at which it is to be renewed."""
        return min(self.pace_s, self.expiring_s)

    @property
    def is_expiring(self) -> bool:
        """Whether readers are about to miss it, or do already."""
        return self.age_s >= self.expiring_s

    @property
    def left_s(self) -> float:
        """For how long it still counts as fresh."""
        return self.request.copy.ttl_s - self.age_s


def next_call(due: Collection[Hot], hot: Collection[Hot]) -> list[Hot]:
    """Return what the next call is to answer.

    What one call answers for many goes first, then what expires first. What has had half of its time goes along
    where that costs no call.
    """
    first = min(due, key=lambda one: (-one.request.batch, one.left_s))
    others = [
        one
        for one in hot
        if one is not first and type(one.request) is type(first.request) and one.age_s >= one.due_s / 2
    ]
    return [first, *sorted(others, key=lambda one: one.left_s)][: first.request.batch]


# -- what it is ---------------------------------------------------------------------------------------------------


def request_of(key: str, keys: Keys, requests: Requests) -> Request[Any] | None:
    """Return the request that the copy under a key answers; None where the key is none of ours."""
    found: Request[Any] | None = None
    with suppress(ConfigError, ValueError, KeyError):
        match keys.parts_of(key):
            case [TickerRequest.kind, product_id]:
                found = requests.ticker(parse_product_id(product_id))
            case [CandlesRequest.kind, product_id, seconds, limit]:
                granularity = _GRANULARITIES[int(seconds)]
                found = requests.candles(parse_product_id(product_id), granularity, int(limit))
            case [AccountsRequest.kind, _]:
                found = requests.accounts()
            case [BreakdownRequest.kind, uuid] if UUID(uuid):
                found = requests.breakdown(uuid)
            case [ProductsRequest.kind, _]:
                found = requests.products()
    return found if found is not None and found.copy.key == key else None


def product_of(request: Request[Any]) -> ProductId | None:
    """Return the product that a request is about, None where it is about no single one."""
    return request.product_id if isinstance(request, TickerRequest | CandlesRequest) else None


def is_private(request: Request[Any]) -> bool:
    """Whether only a key can ask for it."""
    return isinstance(request, AccountsRequest | BreakdownRequest)


def budget_of(request: Request[Any]) -> Budget:
    """Return whose limit the call counts against."""
    return Budget.PRIVATE if is_private(request) else Budget.MARKET


def is_streamed(request: Request[Any], wanted: Collection[ProductId], channels: Collection[str]) -> bool:
    """Whether the stream has it, so that its copy is not what is read.

    Args:
        wanted: The products that are streamed.
        channels: The channels that are.
    """
    match request:
        case TickerRequest():
            return TICKER in channels and request.product_id in wanted
        case CandlesRequest():
            is_made = request.granularity.is_made_of_streamed
            return CANDLES in channels and is_made and request.product_id in wanted
        case ProductsRequest():
            return STATUS in channels
        case AccountsRequest():
            return USER in channels
    return False  # a breakdown is read where the stream has no price of something held
