"""Days of stocks and coins, when stocks trade, and how far back so many bars reach."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from streamer.providers.sessions import Session, day_of, day_start_s, narrowed, session, settled_ms
from streamer.providers.shape import AssetClass, Bar, Interval, Span
from tests.unit.providers.samples import CLOCK_MS, ms

NOW_S = CLOCK_MS // 1000
DAY_S = 86_400
STOCK, CRYPTO = AssetClass.STOCK, AssetClass.CRYPTO
NEW_YORK = ZoneInfo("America/New_York")

# https://www.nyse.com/markets/hours-calendars, as published year by year.
HOLIDAYS = {
    2019: "01-01 01-21 02-18 04-19 05-27 07-04 09-02 11-28 12-25",
    2020: "01-01 01-20 02-17 04-10 05-25 07-03 09-07 11-26 12-25",
    2021: "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24",
    2022: "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26",
    2023: "01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25",
    2024: "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25",
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
}
HALF_DAYS = {
    2019: "07-03 11-29 12-24",
    2020: "11-27 12-24",
    2021: "11-26",
    2022: "11-25",
    2023: "07-03 11-24",
    2024: "07-03 11-29 12-24",
    2025: "07-03 11-28 12-24",
    2026: "11-27 12-24",
    2027: "11-26",
}


def days_of(year: int) -> list[date]:
    """Every day of a year."""
    first = date(year, 1, 1)
    return [first + timedelta(days=offset) for offset in range((date(year + 1, 1, 1) - first).days)]


def hours(found: Session | None) -> str:
    """Begin and end of a session by the clocks of New York."""
    if found is None:
        return "closed"
    times = (datetime.fromtimestamp(at_s, UTC).astimezone(NEW_YORK) for at_s in (found.opens_s, found.closes_s))
    return "-".join(f"{at:%H:%M}" for at in times)


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


# -- sessions of stocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", HOLIDAYS)
def test_stocks_trade_as_the_exchange_says(year: int) -> None:
    """Every day of the years whose lists are written down here: closed, half a day, or 09:30 to 16:00."""
    known = dict.fromkeys(HOLIDAYS[year].split(), "closed") | dict.fromkeys(HALF_DAYS[year].split(), "09:30-13:00")
    expected = {
        day: "closed" if day.weekday() >= 5 else known.get(f"{day:%m-%d}", "09:30-16:00") for day in days_of(year)
    }
    assert {day: hours(session(day)) for day in days_of(year)} == expected


@pytest.mark.parametrize(
    "day", ["1973-01-25", "2001-09-11", "2001-09-14", "2012-10-29", "2012-10-30", "2018-12-05", "2025-01-09"]
)
def test_a_special_closure_is_known(day: str) -> None:
    """Days of mourning, attacks and storms: no rule tells them."""
    assert session(date.fromisoformat(day)) is None


def test_the_last_day_of_a_year_is_no_holiday() -> None:
    """A New Year's Day on a Saturday is not made up for on the Friday before, unlike all others."""
    assert hours(session(date(2021, 12, 31))) == hours(session(date(2027, 12, 31))) == "09:30-16:00"


def test_who_deals_with_no_stock_loads_no_calendar() -> None:
    """It takes a tenth of a second: neither importing the rules nor a weekend needs it, a weekday does."""
    program = (
        "import sys; from datetime import date; from streamer.providers.sessions import session; "
        "weekend = session(date(2026, 11, 21)), 'holidays' in sys.modules; "
        "print(*weekend, session(date(2026, 11, 26)), 'holidays' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False", "None", "True"]
