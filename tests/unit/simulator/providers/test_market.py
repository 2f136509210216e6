"""The one market behind the simulated providers: made by time alone, and consistent in itself."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.simulator.providers.assets import (
    ASSETS,
    DAY_S,
    date_of,
    day_of,
    eastern_offset_s,
    midnight_s,
    session,
)
from streamer.simulator.providers.market import Bar, Market, joined
from tests.unit.simulator.providers.asking import NOW_S

MIDNIGHT_S = int(NOW_S) // DAY_S * DAY_S
INTERVALS_S = (60, 300, 900, 1800, 3600, 14_400, DAY_S)
moments = st.integers(1_262_304_000, 1_893_456_000)  # 2010 to 2030
symbols = st.sampled_from(sorted(ASSETS))


def sound(bar: Bar) -> bool:
    """Whether high and low hold the others and the volume is not negative."""
    return bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high and bar.volume >= 0


def test_the_same_seed_gives_the_same_market() -> None:
    """Prices and bars are a function of seed, symbol and time."""
    first, again, other = Market(7), Market(7), Market(8)
    assert first.last("BTC", NOW_S) == again.last("BTC", NOW_S) != other.last("BTC", NOW_S)
    week = ("ETH", 3600, NOW_S - 7 * DAY_S, NOW_S, NOW_S)
    assert first.bars(*week) == again.bars(*week)
    # What was asked before makes no difference: the past of a later moment is that of an earlier one.
    assert first.bars("ETH", 60, NOW_S - 600, NOW_S - 60, NOW_S) == first.bars(
        "ETH", 60, NOW_S - 600, NOW_S - 60, NOW_S + DAY_S
    )


@settings(max_examples=60)
@given(symbols, moments, st.sampled_from(INTERVALS_S))
def test_every_bar_is_sound(symbol: str, at_s: int, interval_s: int) -> None:
    """Also the open one."""
    bars = Market().bars(symbol, interval_s, at_s - 5 * interval_s, at_s + 1, at_s)
    assert all(sound(bar) for bar in bars)
    assert all(before.end_s <= after.start_s for before, after in pairwise(bars))


@pytest.mark.parametrize("symbol", ["BTC", "DOGE", "SPY"])
@pytest.mark.parametrize(("short_s", "long_s"), list(pairwise(INTERVALS_S)))
def test_short_bars_make_the_long_ones(symbol: str, short_s: int, long_s: int) -> None:
    """Open, high, low, close and volume of a bar are those of its parts, to the last digit."""
    market, from_s = Market(), midnight_s(ASSETS[symbol], MIDNIGHT_S // DAY_S - 1)
    day = (from_s, from_s + DAY_S, NOW_S)
    wholes = market.bars(symbol, long_s, *day)
    parts = market.bars(symbol, short_s, *day)
    assert wholes
    for whole in wholes:
        made = joined([part for part in parts if whole.start_s <= part.start_s < whole.end_s])
        assert (made.open, made.high, made.low, made.close, made.volume) == (
            whole.open,
            whole.high,
            whole.low,
            whole.close,
            whole.volume,
        )


@settings(max_examples=60)
@given(symbols, moments)
def test_prices_lie_in_the_open_bar(symbol: str, at_s: int) -> None:
    """The last price is the close of the minute that is open, or of the last one there was."""
    market = Market()
    price, time_s = market.last(symbol, at_s)
    [bar] = market.bars(symbol, 60, (time_s - 1) // 60 * 60, time_s, at_s)
    assert bar.close == price
    assert at_s - 7 * DAY_S < time_s <= at_s


def test_coins_go_on_where_they_were() -> None:
    """A bar opens at the close of the one before, also from day to day."""
    bars = Market().bars("SOL", 3600, NOW_S - 3 * DAY_S, NOW_S, NOW_S)
    assert len(bars) == 72
    assert all(before.close == after.open for before, after in pairwise(bars))


def test_prices_stay_near_their_start() -> None:
    """Within a twentieth, for most of a year, and they do move: a market that stands still would test nothing."""
    market = Market()
    for symbol, asset in ASSETS.items():
        closes = [bar.close for bar in market.bars(symbol, DAY_S, NOW_S - 300 * DAY_S, NOW_S, NOW_S)]
        assert all(abs(close / asset.start - 1) < Decimal("0.05") for close in closes)
        assert len(set(closes)) > 200


def test_tether_is_worth_a_dollar() -> None:
    """To within ten basis points."""
    price, _ = Market().last("USDT", NOW_S)
    assert abs(price - 1) < Decimal("0.001")


def test_stocks_trade_in_sessions() -> None:
    """From half past nine to four in New York, in winter and in summer, and not at weekends."""
    spy, winter, summer = ASSETS["SPY"], day_of(date_of(MIDNIGHT_S // DAY_S)), MIDNIGHT_S // DAY_S - 120
    times = session(spy, winter)
    assert (
        times is not None
        and times.start_s - MIDNIGHT_S == 14 * 3600 + 1800
        and times.end_s - times.start_s == 23_400
    )
    assert eastern_offset_s(winter) - eastern_offset_s(summer) == 3600
    assert session(spy, winter + 1) is None and session(spy, winter + 2) is None
    saturday_s = MIDNIGHT_S + DAY_S + 3600 * 20
    assert Market().bars("SPY", 60, saturday_s - 3600, saturday_s, saturday_s) == []
    assert Market().last("SPY", saturday_s) == Market().last("SPY", times.end_s)


@pytest.mark.parametrize(
    ("date", "hours"),
    [
        ("2026-03-07", 5),
        ("2026-03-08", 4),
        ("2026-10-31", 4),
        ("2026-11-01", 5),
        ("2025-11-02", 5),
        ("2025-11-01", 4),
    ],
)
def test_summer_time_is_that_of_new_york(date: str, hours: int) -> None:
    """From the second Sunday of March to the first of November."""
    year, month, day = map(int, date.split("-"))
    assert eastern_offset_s(day_of(type(date_of(0))(year, month, day))) == hours * 3600
