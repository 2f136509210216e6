"""Days of stocks and coins, and how far back so many bars reach."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from streamer.providers.sessions import day_of, day_start_s, narrowed, settled_ms
from streamer.providers.shape import AssetClass, Bar, Interval, Span
from tests.unit.providers.samples import CLOCK_MS, ms

NOW_S = CLOCK_MS // 1000
DAY_S = 86_400
STOCK, CRYPTO = AssetClass.STOCK, AssetClass.CRYPTO


@pytest.mark.parametrize(
    ("day", "asset", "start"),
    [
        (date(2026, 11, 20), CRYPTO, "2026-11-20T00:00"),
        (date(2026, 11, 20), STOCK, "2026-11-20T05:00"),
        (date(2026, 7, 1), STOCK, "2026-07-01T04:00"),
        (date(2026, 11, 1), STOCK, "2026-11-01T04:00"),  # the clock goes back on this day
    ],
)
def test_a_day_begins_where_it_is_counted(day: date, asset: AssetClass, start: str) -> None:
    """Coins in UTC, stocks in New York, in summer and winter; and back again."""
    start_s = ms(start) // 1000
    assert day_start_s(day, asset) == start_s
    assert (day_of(start_s - 1, asset) < day, day_of(start_s, asset)) == (True, day)


def test_a_long_span_is_narrowed_to_its_newest_bars() -> None:
    """Of coins to just as many, of stocks with room for nights and days off."""
    coins = narrowed(Span(0, NOW_S, 100), Interval.H1, CRYPTO, CLOCK_MS)
    stocks = narrowed(Span(0, NOW_S, 100), Interval.H1, STOCK, CLOCK_MS)
    days = narrowed(Span(0, NOW_S, 252), Interval.D1, STOCK, CLOCK_MS)
    assert (coins.from_s, coins.to_s) == (NOW_S - 100 * 3600, NOW_S)
    assert stocks.from_s == NOW_S - 600 * 3600 - 5 * DAY_S
    assert 365 < (days.to_s - days.from_s) / DAY_S < 400


def test_a_short_span_stays() -> None:
    """What is shorter than the limit is taken as it is."""
    span = Span(NOW_S - 7200, NOW_S - 3600, 100)
    assert narrowed(span, Interval.M5, CRYPTO, CLOCK_MS) == span


def test_a_span_ends_now_and_is_never_empty() -> None:
    """The future has no bars; a span in it asks for one second."""
    assert narrowed(Span(NOW_S - 60, NOW_S + 999, 9), Interval.M1, CRYPTO, CLOCK_MS).to_s == NOW_S + 1
    future = narrowed(Span(NOW_S + 500, NOW_S + 999, 9), Interval.M1, CRYPTO, CLOCK_MS)
    assert (future.from_s, future.to_s) == (NOW_S + 500, NOW_S + 501)


@pytest.mark.parametrize(
    ("last_age_s", "settled_age_s"),
    [(3600, 0), (5400, 1800), (6 * 3600, 3 * 3600), (0, 0)],
)
def test_all_is_there_until_the_last_bar_ends(last_age_s: int, settled_age_s: int) -> None:
    """Three hours after it at the latest, and never later than now."""
    one = Decimal(1)
    bars = [Bar(NOW_S - last_age_s, one, one, one, one)]
    assert settled_ms(bars, Interval.H1, NOW_S * 1000) == (NOW_S - settled_age_s) * 1000
