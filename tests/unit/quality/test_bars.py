"""Bars that cannot be: each rule finds what it names, and nothing in sound bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from streamer.providers.shape import AssetClass, Bar, Instrument, Interval, Series, Symbol
from streamer.quality.bars import check_bars
from streamer.quality.findings import Code, Report, Severity

BTC = Symbol("BTC", "USD", AssetClass.CRYPTO)
SPY = Symbol("SPY", "USD", AssetClass.STOCK)
START_S = 1_790_000_040
NEW_YORK = ZoneInfo("America/New_York")


def bar(start_s: int = START_S, /, **changed: str) -> Bar:
    """A sound bar, changed."""
    sound = Bar(start_s, Decimal("100.10"), Decimal("100.90"), Decimal("99.50"), Decimal("100.40"), Decimal("3.5"))
    values: dict[str, Any] = {name: Decimal(value) for name, value in changed.items()}
    return replace(sound, **values)


def minutes(*offsets: int) -> list[Bar]:
    """Sound bars so many minutes after the first."""
    return [bar(START_S + 60 * offset) for offset in offsets]


def checked(*bars: Bar, symbol: Symbol = BTC, interval: Interval = Interval.M1, now_s: int | None = None) -> Report:
    """What is found, a minute after the last bar has ended if not said otherwise."""
    at_s = max(one.start_s for one in bars) + 2 * interval.seconds if now_s is None else now_s
    return check_bars(Series(symbol, interval, Instrument.SPOT, bars), at_s * 1000)


def codes(report: Report) -> list[tuple[Code, Severity, int | None]]:
    """What was found, how grave it is, and where."""
    return [(found.code, found.severity, found.index) for found in report.findings]


def new_york(text: str) -> int:
    """Unix seconds of a time in New York."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp())


def test_nothing_is_found_in_sound_bars() -> None:
    """Whole, clean, and all of them looked at."""
    report = checked(*minutes(0, 1, 2, 3))
    assert (report.findings, report.bars, report.completeness) == ((), 4, 1.0)
    assert (report.worst, report.counts, report.cleanness) == (None, {}, 1.0)


def test_no_bars_are_not_complete() -> None:
    """Nothing is there, so nothing is wrong, and nothing complete."""
    report = check_bars(Series(BTC, Interval.M1, Instrument.SPOT, ()), START_S * 1000)
    assert (report.findings, report.bars, report.completeness, report.cleanness) == ((), 0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"high": "99.50", "low": "100.90"}, Code.OHLC),
        ({"high": "100.38"}, Code.OHLC),
        ({"low": "100.12"}, Code.OHLC),
        ({"close": "0"}, Code.NOT_POSITIVE),
        ({"low": "-1"}, Code.NOT_POSITIVE),
        ({"open": "NaN"}, Code.NOT_FINITE),
        ({"high": "Infinity"}, Code.NOT_FINITE),
        ({"close": "sNaN"}, Code.NOT_FINITE),
        ({"volume": "-0.1"}, Code.VOLUME),
        ({"volume": "NaN"}, Code.NOT_FINITE),
    ],
)
def test_impossible_values_are_grave(wrong: dict[str, str], code: Code) -> None:
    """Found in their bar, with the value in words; swapped high and low are wrong in both ways."""
    report = checked(bar(**wrong))
    assert set(codes(report)) == {(code, Severity.HIGH, 0)}
    assert any(value in report.findings[0].what for value in wrong.values())
    assert report.of(0) == report.findings


@pytest.mark.parametrize("wrong", [{"high": "100.39"}, {"low": "100.11"}, {"volume": "0"}])
def test_one_last_digit_is_no_fault(wrong: dict[str, str]) -> None:
    """A source that rounds each field by itself may round the close up and the high down."""
    assert checked(bar(**wrong)).findings == ()


def test_a_volume_may_be_unknown() -> None:
    """No volume is no negative one."""
    assert checked(replace(bar(), volume=None)).findings == ()


@pytest.mark.parametrize("start_s", [START_S * 1000, START_S * 10**9, 0, 10**8 - 1, -START_S])
def test_a_time_in_another_unit_is_none(start_s: int) -> None:
    """Milliseconds taken for seconds are far away, and say nothing of what is missing."""
    report = checked(bar(), bar(start_s), bar(START_S + 60), now_s=START_S + 200)
    assert codes(report) == [(Code.UNIT, Severity.HIGH, 1)]
    assert (report.bars, report.completeness) == (3, 1.0)


def test_equal_doubles_are_a_note_and_others_a_doubt() -> None:
    """100.4 and 100.40 are equal."""
    same = checked(bar(), bar(close="100.4"))
    assert codes(same) == [(Code.DUPLICATE, Severity.LOW, 1)]
    other = checked(bar(), bar(START_S + 60), bar(close="100.41"), now_s=START_S + 300)
    assert codes(other) == [(Code.ORDER, Severity.HIGH, 2), (Code.CONFLICT, Severity.MEDIUM, 2)]
    assert (same.completeness, other.completeness) == (1.0, 1.0)


def test_what_is_out_of_order_is_not_missing_as_well() -> None:
    """The bar is there, in the wrong place."""
    report = checked(*minutes(0, 2, 1, 3))
    assert codes(report) == [(Code.ORDER, Severity.HIGH, 2)]
    assert report.completeness == 1.0


def test_every_missing_bar_of_crypto_counts() -> None:
    """Also at night and at weekends; each gap is one finding."""
    report = checked(*minutes(0, 1, 4, 5, 7))
    assert codes(report) == [(Code.GAP, Severity.MEDIUM, 2), (Code.GAP, Severity.MEDIUM, 4)]
    assert "2 bars are missing" in report.findings[0].what
    assert report.completeness == 5 / 8


def test_bars_of_crypto_begin_at_multiples_of_their_length() -> None:
    """Nine seconds late is misaligned, and nothing is missing for it."""
    report = checked(bar(), bar(START_S + 69), now_s=START_S + 300)
    assert codes(report) == [(Code.MISALIGNED, Severity.MEDIUM, 1)]


def test_bars_of_stocks_begin_when_their_exchange_does() -> None:
    """Days at midnight in New York, hours at 09:30."""
    days = [bar(new_york(f"2026-11-{day}T00:00")) for day in (17, 18, 19)]
    assert checked(*days, symbol=SPY, interval=Interval.D1).findings == ()
    hours = [bar(new_york(f"2026-11-18T{hour}:30")) for hour in (10, 11, 12)]
    assert checked(*hours, symbol=SPY, interval=Interval.H1).findings == ()


def test_an_open_bar_is_a_note_at_the_end_and_a_doubt_elsewhere() -> None:
    """The last one may be open; one that is called closed before its end is doubted."""
    ended, running = minutes(0, 1)
    now_s = START_S + 90
    assert codes(checked(ended, replace(running, is_closed=False), now_s=now_s)) == [
        (Code.UNCLOSED, Severity.LOW, 1)
    ]
    assert codes(checked(replace(ended, is_closed=False), running, now_s=START_S + 180)) == [
        (Code.UNCLOSED, Severity.MEDIUM, 0)
    ]
    assert codes(checked(ended, running, now_s=now_s)) == [(Code.UNCLOSED, Severity.MEDIUM, 1)]


def test_a_bar_of_the_future_is_grave() -> None:
    """It cannot be known yet."""
    assert codes(checked(*minutes(0, 1), now_s=START_S + 30)) == [
        (Code.UNCLOSED, Severity.MEDIUM, 0),
        (Code.FUTURE, Severity.HIGH, 1),
    ]


# -- sessions of stocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "interval", "missing"),
    [
        pytest.param("2026-11-18T15:55", "2026-11-19T09:30", Interval.M5, 0, id="a night"),
        pytest.param("2026-11-20T15:59", "2026-11-23T09:30", Interval.M1, 0, id="a weekend"),
        pytest.param("2026-11-18T10:00", "2026-11-18T10:20", Interval.M5, 3, id="within a session"),
        pytest.param("2026-11-18T15:45", "2026-11-19T09:45", Interval.M5, 5, id="end and beginning"),
        pytest.param("2026-11-18T16:30", "2026-11-18T19:00", Interval.M5, 0, id="after hours"),
        pytest.param("2026-11-18T04:00", "2026-11-18T09:35", Interval.M5, 1, id="before hours"),
        pytest.param("2026-10-30T15:30", "2026-11-02T09:30", Interval.M30, 0, id="the clock goes back"),
        pytest.param("2026-03-06T15:30", "2026-03-09T10:30", Interval.M30, 2, id="the clock goes ahead"),
        pytest.param("2026-11-18T15:30", "2026-11-20T09:30", Interval.M30, 13, id="a lone day"),
        pytest.param("2026-11-16T15:30", "2026-11-19T09:30", Interval.M30, 26, id="two days"),
        pytest.param("2026-11-25T15:30", "2026-11-27T09:30", Interval.M30, 0, id="a holiday"),
        pytest.param("2026-11-27T12:30", "2026-11-30T09:30", Interval.M30, 0, id="half a day"),
        pytest.param("2026-11-27T12:00", "2026-11-30T10:00", Interval.M30, 2, id="half a day and an edge"),
        pytest.param("2026-11-25T15:30", "2026-11-30T09:30", Interval.M30, 7, id="a holiday, half a day missing"),
        pytest.param("2026-12-23T15:30", "2026-12-28T09:30", Interval.M30, 7, id="half a day, then a holiday"),
        pytest.param("2026-11-27T13:30", "2026-11-27T15:00", Interval.M30, 0, id="bars after half a day"),
        pytest.param("2026-11-26T10:00", "2026-11-26T12:00", Interval.M30, 0, id="bars on a holiday"),
        pytest.param("2026-11-26T10:00", "2026-11-27T10:00", Interval.M30, 1, id="on a holiday, then none"),
        pytest.param("2012-10-26T15:30", "2012-10-31T09:30", Interval.M30, 0, id="two days of storm"),
        pytest.param("2026-11-18T00:00", "2026-11-19T00:00", Interval.D1, 0, id="days"),
        pytest.param("2026-11-20T00:00", "2026-11-23T00:00", Interval.D1, 0, id="days over a weekend"),
        pytest.param("2026-11-25T00:00", "2026-11-27T00:00", Interval.D1, 0, id="days over a holiday"),
        pytest.param("2012-10-26T00:00", "2012-10-31T00:00", Interval.D1, 0, id="days over a storm"),
        pytest.param("2026-11-26T00:00", "2026-11-27T00:00", Interval.D1, 0, id="a day that is a holiday"),
        pytest.param("2026-11-18T00:00", "2026-11-20T00:00", Interval.D1, 1, id="a day that is missing"),
        pytest.param("2026-12-23T00:00", "2026-12-28T00:00", Interval.D1, 1, id="half a day that is missing"),
        pytest.param("2026-11-16T00:00", "2026-11-20T00:00", Interval.D1, 3, id="days that are missing"),
    ],
)
def test_stocks_miss_bars_within_sessions_only(before: str, after: str, interval: Interval, missing: int) -> None:
    """From 09:30 to 16:00 in New York, on half days to 13:00, never on holidays; others harm nothing."""
    report = checked(bar(new_york(before)), bar(new_york(after)), symbol=SPY, interval=interval)
    assert report.completeness == 2 / (2 + missing)
    assert codes(report) == ([(Code.GAP, Severity.MEDIUM, 1)] if missing else [])


def test_bars_of_a_century_apart_say_nothing_of_those_between() -> None:
    """Whoever sends one of 1973 and one of 2073 has no gap that could be counted."""
    apart = [bar(10**8), bar(10**8 + 36_526 * 86_400)]
    assert checked(*apart, symbol=SPY, interval=Interval.D1).completeness == 1.0
