"""How busy a product is, when its copy is renewed, and what one call takes along."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.coinbase.messages import CANDLES, STATUS, TICKER, USER
from streamer.gateway.admission import BudgetState, Snapshot
from streamer.gateway.refresh import (
    FAST_S,
    MEDIUM_S,
    RECENT,
    SLOW_S,
    Hot,
    budget_of,
    due_after_s,
    is_streamed,
    next_call,
    refresh_after_s,
    request_of,
    room,
    volatility_score,
    volume_score,
)
from streamer.gateway.requests import Requests
from streamer.model import Candle, Granularity, ProductId
from streamer.providers.base import Budget
from streamer.store.keys import Keys

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
KEYS = Keys()
REQUESTS = Requests(KEYS)
UUID = "8bfc20d7-f7c6-4422-bf07-8243ca4169fe"
LONG = 300
SCORES: list[Callable[[Sequence[Candle]], float]] = [volatility_score, volume_score]

prices = st.lists(st.integers(1, 10**9).map(Decimal), max_size=120)


def series(closes: Sequence[Decimal | float], volumes: Sequence[Decimal | float] | None = None) -> list[Candle]:
    """Candles that close and trade so, all of them closed."""
    moved = [1] * len(closes) if volumes is None else volumes
    return [
        Candle(300 * i, Decimal(1), Decimal(1), Decimal(1), Decimal(close), Decimal(volume), closed=True)
        for i, (close, volume) in enumerate(zip(closes, moved, strict=True))
    ]


def wave(*sizes: float) -> list[float]:
    """Closes that go up and down by so much."""
    closes = [100.0]
    for i, size in enumerate(sizes):
        closes.append(closes[-1] * (1 + size) if i % 2 else closes[-1] / (1 + size))
    return closes


def restless(count: int) -> list[float]:
    """Sizes of moves that swell and fade, over and over."""
    return [0.002 + 0.001 * math.sin(i / 7) for i in range(count)]


# -- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_without_a_movement_nothing_is_busy(score: Callable[[Sequence[Candle]], float]) -> None:
    """Also where there is no candle, or a single one: 0, and no error."""
    for count in (0, 1, 2, RECENT, LONG):
        assert score(series([100] * count, [0] * count)) == 0


def test_a_steady_trend_is_as_busy_as_ever() -> None:
    """All its moves are alike: they are ties, whatever rounding makes of them."""
    assert volatility_score(series([1.01**i for i in range(LONG)])) == pytest.approx(0.5)


def test_a_burst_is_volatile_and_a_lull_is_not() -> None:
    """The same moves, told apart by what is usual for the product."""
    usual = restless(LONG)
    burst, lull = [0.02] * RECENT, [0.0001] * RECENT
    assert volatility_score(series(wave(*usual, *burst))) > 0.95
    assert volatility_score(series(wave(*usual, *lull))) < 0.05
    assert refresh_after_s(volatility_score(series(wave(*usual, *burst))), 0) == FAST_S


def test_what_is_always_wild_is_not_volatile() -> None:
    """Relative to the product's own history: moves of ten percent are nothing there."""
    assert volatility_score(series(wave(*[0.1] * LONG))) == pytest.approx(0.5, abs=0.02)


def test_a_run_on_a_product_shows_in_its_volume() -> None:
    """While the price stands still."""
    assert volume_score(series([1] * 112, [5] * 100 + [50] * 12)) > 0.9
    assert volume_score(series([1] * 112, [5] * 100 + [0] * 12)) == 0


def test_an_open_candle_has_no_volume_to_speak_of() -> None:
    """It is left out: at its beginning every product would look forsaken."""
    closed = series([1] * 100, [5 + i % 3 for i in range(100)])
    is_open = replace(closed[-1], start_s=30_000, volume=Decimal("0.1"), closed=False)
    assert volume_score([*closed, is_open]) == volume_score(closed)


@pytest.mark.parametrize(("usual", "most"), [(0, 0.5), (RECENT, 0.55), (2 * RECENT, 0.78), (10 * RECENT, 0.96)])
def test_a_short_history_speaks_softly(usual: int, most: float) -> None:
    """However wild the present: what a product is used to must be known before it can be called unusual."""
    score = volatility_score(series(wave(*[0.001] * usual, *[0.1] * RECENT)))
    assert 0.5 <= score <= most


@given(prices)
def test_a_score_is_between_0_and_1(closes: list[Decimal]) -> None:
    """Whatever the candles."""
    for score in SCORES:
        assert 0 <= score(series(closes, closes)) <= 1


@given(prices, st.integers(-40, 40))
def test_the_unit_of_price_and_volume_does_not_matter(closes: list[Decimal], power: int) -> None:
    """A score knows no scale; powers of two, which floats multiply by exactly."""
    scaled = [close * Decimal(2) ** power for close in closes]
    for score in SCORES:
        assert score(series(scaled, scaled)) == score(series(closes, closes))


@given(
    st.lists(st.floats(1e-4, 0.1), min_size=RECENT, max_size=100),
    st.lists(st.floats(1e-4, 0.1), min_size=RECENT, max_size=RECENT),
    st.floats(1, 10),
)
def test_more_movement_is_never_less_volatile(usual: list[float], present: list[float], times: float) -> None:
    """Monotone in what the present does, as long as the past is the same."""
    calmer, wilder = (
        volatility_score(series(wave(*usual, *(size * factor for size in present)))) for factor in (1, times)
    )
    assert calmer <= wilder


@pytest.mark.parametrize("foreign", [Decimal(0), Decimal(-1), Decimal("1e400"), Decimal("1e308")])
def test_values_beyond_sense_do_no_harm(foreign: Decimal) -> None:
    """No price is 0, and a float holds no 1e400."""
    closes = [foreign, Decimal(100), Decimal(101), foreign] * RECENT * 4
    candles = series(closes, [foreign] * len(closes))
    assert all(0 <= score(candles) <= 1 for score in SCORES)


@pytest.mark.parametrize(
    ("volatility", "volume", "after_s"),
    [
        (0, 0, SLOW_S),
        (0.5, 0.5, SLOW_S),
        (0.51, 0, MEDIUM_S),
        (0, 0.51, MEDIUM_S),
        (0.8, 0.8, MEDIUM_S),
        (0.81, 0, FAST_S),
        (0, 0.81, FAST_S),
        (1, 1, FAST_S),
    ],
)
def test_the_busier_score_sets_the_pace(volatility: float, volume: float, after_s: float) -> None:
    """Above 0.8 every 15 s, above 0.5 every 30 s, else every 60 s."""
    assert refresh_after_s(volatility, volume) == after_s


# -- ahead of expiry ----------------------------------------------------------------------------------------------

draws = st.floats(0, 1, exclude_min=True)


@given(st.floats(1, 1e5), st.floats(0, 1e3), st.floats(0, 100), draws)
def test_a_copy_is_renewed_before_it_expires(ttl_s: float, cost_s: float, beta: float, random: float) -> None:
    """With time for the call, and never before half of its life, however eager and slow."""
    due_s = due_after_s(ttl_s, cost_s, beta=beta, random=random)
    assert ttl_s / 2 <= due_s <= max(ttl_s / 2, ttl_s - cost_s)


def test_copies_are_renewed_ahead_by_the_law_of_xfetch() -> None:
    """One cost to be in time, and one more on the average; twice as much where twice as eager."""
    every = [(i + 0.5) / 10_000 for i in range(10_000)]
    for beta in (0, 1, 2):
        ahead = mean(300 - due_after_s(300, 2.0, beta=beta, random=random) for random in every)
        assert ahead == pytest.approx(2.0 * (1 + beta), rel=0.01)


def standing(
    used: int = 0, *, factor: float = 1.0, blocked_s: float = 0.0, queued: int = 0, breaker: str = "closed"
) -> Snapshot:
    """A budget of 10 a minute, of which some are used."""
    state = BudgetState(((used, 10), (0, 10)), factor, blocked_s, queued, {})
    return Snapshot({Budget.MARKET: state}, breaker, retry_s=0.0, failures=0, processes=1)


@pytest.mark.parametrize(("used", "early", "expiring"), [(0, 5, 7), (3, 2, 4), (5, 0, 2), (7, 0, 0), (9, 0, 0)])
def test_half_of_the_budget_is_left_to_those_who_need_it(used: int, early: int, expiring: int) -> None:
    """What others have used counts in full; for what is about to expire a quarter is left."""
    rooms = [room(standing(used), Budget.MARKET, expiring=is_expiring) for is_expiring in (False, True)]
    assert rooms == [early, expiring]


@pytest.mark.parametrize(
    "pressed",
    [
        standing(queued=1),
        standing(factor=0.9),
        standing(blocked_s=0.1),
        standing(breaker="open"),
        standing(breaker="half-open"),
    ],
)
def test_under_pressure_there_is_no_room(pressed: Snapshot) -> None:
    """Somebody waits, the exchange has complained, or calls fail."""
    assert room(pressed, Budget.MARKET, expiring=True) == 0


# -- what one call takes along ------------------------------------------------------------------------------------


def ticker(name: str, age_s: float, due_s: float = 28) -> Hot:
    """The copy of a price."""
    return Hot(REQUESTS.ticker(ProductId(name)), age_s, 60, due_s)


def candles(limit: int, age_s: float, due_s: float = 60) -> Hot:
    """The copy of candles."""
    return Hot(REQUESTS.candles(BTC, Granularity.ONE_HOUR, limit), age_s, due_s, 298)


def test_what_one_call_answers_for_many_goes_first() -> None:
    """One call for all prices; with those that are due go those that have had half of their time."""
    due, half, young = ticker("A", 28), ticker("B", 14), ticker("C", 13)
    hot = [young, half, candles(10, math.inf), due]
    assert next_call([hot[2], due], hot) == [due, half]


def test_what_expires_first_is_renewed_first() -> None:
    """Of what needs a call of its own each; what has expired before all."""
    gone, soon, later = candles(3, math.inf), candles(2, 290), candles(1, 100)
    assert next_call([later, soon, gone], [later, soon, gone]) == [gone]
    assert next_call([later, soon], [later, soon]) == [soon]


def test_a_call_takes_no_more_than_it_can() -> None:
    """The one that is most urgent is always among them."""
    hot = [ticker(f"P{i}", 20 + i / 100) for i in range(150)]
    chosen = next_call([hot[-1]], hot)
    assert len(chosen) == 100
    assert chosen[0] is hot[-1]
    assert min(one.age_s for one in chosen) > max(one.age_s for one in hot if one not in chosen)


# -- which copy it is ---------------------------------------------------------------------------------------------

EVERY = [
    lambda r: r.ticker(BTC),
    lambda r: r.candles(BTC, Granularity.ONE_MINUTE, 350),
    lambda r: r.accounts(),
    lambda r: r.breakdown(UUID),
    lambda r: r.products(),
]


@pytest.mark.parametrize("keys", [Keys(), Keys("p:"), Keys(cluster=True), Keys("a:b:", cluster=True)])
@pytest.mark.parametrize("make", EVERY)
def test_a_key_tells_what_was_asked(keys: Keys, make: Callable[[Requests], object]) -> None:
    """Whatever the prefix."""
    request = make(Requests(keys))
    assert request_of(request.copy.key, keys, Requests(keys)) == request  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ticker",
        "ticker:",
        "ticker:btc-usd",
        "ticker:BTC-USD:stale",
        "ticker:{BTC-USD}",
        "p:ticker:BTC-USD",
        "historical:BTC-USD:61:10",
        "historical:BTC-USD:60:0",
        "historical:BTC-USD:60:351",
        "historical:BTC-USD:60:010",
        "historical:BTC-USD:60:x",
        "historical:BTC-USD",
        "accounts:other",
        "products:some",
        "portfolio_breakdown:u",
        "ticker_realtime:BTC-USD",
    ],
)
def test_what_is_no_key_of_a_copy_is_passed_over(key: str) -> None:
    """Anybody may have written it there."""
    assert request_of(key, KEYS, REQUESTS) is None


CHANNELS = (TICKER, CANDLES, STATUS, USER)


@pytest.mark.parametrize(
    ("key", "channel"),
    [
        ("ticker:BTC-USD", TICKER),
        ("historical:BTC-USD:3600:350", CANDLES),
        ("accounts:global", USER),
        ("products:all", STATUS),
    ],
)
def test_what_is_streamed_is_left_alone(key: str, channel: str) -> None:
    """By a channel of its own, and only for what is wanted."""
    request = request_of(key, KEYS, REQUESTS)
    assert request is not None
    assert is_streamed(request, {BTC}, CHANNELS)
    assert not is_streamed(request, {BTC}, [one for one in CHANNELS if one != channel])
    assert is_streamed(request, {ETH}, CHANNELS) is (channel in (USER, STATUS))


@pytest.mark.parametrize("key", ["historical:BTC-USD:60:10", f"portfolio_breakdown:{UUID}"])
def test_what_no_channel_brings_is_not_streamed(key: str) -> None:
    """Candles finer than those of five minutes, and what a portfolio is worth where something has no price."""
    request = request_of(key, KEYS, REQUESTS)
    assert request is not None
    assert not is_streamed(request, {BTC}, CHANNELS)


def test_the_account_has_a_budget_of_its_own() -> None:
    """The exchange counts by user there."""
    budgets = [budget_of(make(REQUESTS)) for make in EVERY]  # type: ignore[no-untyped-call]
    assert budgets == [Budget.MARKET, Budget.MARKET, Budget.PRIVATE, Budget.PRIVATE, Budget.MARKET]
