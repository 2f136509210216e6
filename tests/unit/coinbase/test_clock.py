"""The exchange's clock: learnt from what it tells, whatever the network and our own clock do."""

from __future__ import annotations

import math

import pytest

from streamer.coinbase.clock import ExchangeClock, parse_http_date

NOW = 1_795_187_000.0
HOUR_S = 3600.0


def told(clock: ExchangeClock, *, skew_s: float, from_s: int = 0, seconds: int = 5, delay_s: float = 0.05) -> None:
    """One exact time a second from a host whose clock is `skew_s` ahead."""
    for second in range(from_s, from_s + seconds):
        clock.saw(NOW + second, NOW + second + skew_s + delay_s)


# -- dates of HTTP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_every_form_of_an_http_date_is_read(text: str) -> None:
    """The three that RFC 9110 knows, section 5.6.7; all are GMT."""
    assert parse_http_date(text) == 784111777.0


@pytest.mark.parametrize(
    "text", ["", "soon", "0 0 0", "Sun, 06 Nov 10000 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT", "9" * 10_000]
)
def test_what_is_no_date_is_none(text: str) -> None:
    """A header may say anything."""
    assert parse_http_date(text) is None


# -- skew -------------------------------------------------------------------------------------------------------


def test_nothing_seen_is_no_knowledge() -> None:
    """Our clock serves until the exchange tells its own."""
    clock = ExchangeClock()
    assert clock.skew_s is None
    assert clock.now(NOW) == NOW


@pytest.mark.parametrize("skew_s", [HOUR_S, -HOUR_S, 5.0, -5.0])
def test_skew_is_learnt_from_exact_times(skew_s: float) -> None:
    """Ahead is positive; what `now` gives is the exchange's time, late by the delay."""
    clock = ExchangeClock()
    told(clock, skew_s=skew_s)
    assert clock.skew_s == pytest.approx(skew_s + 0.05)
    assert clock.now(NOW + 10 + skew_s) == pytest.approx(NOW + 10 - 0.05)


@pytest.mark.parametrize(
    ("offset_s", "resolution_s", "skew_s"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.0),  # all of it can be delay
        (1.01, 0.0, 1.01),
        (-0.01, 0.0, -0.01),  # no delay makes us look behind
        (2.0, 1.0, 0.0),  # a second of delay and a date that is about to change
        (2.01, 1.0, 2.01),
        (-1.0, 1.0, 0.0),  # a date that was rounded up
        (-1.01, 1.0, -1.01),
    ],
)
def test_what_resolution_and_delay_explain_is_no_skew(offset_s: float, resolution_s: float, skew_s: float) -> None:
    """A Date of whole seconds must not make a good clock look wrong."""
    clock = ExchangeClock()
    clock.saw(0.0 + 2**20, 2**20 + offset_s, resolution_s)
    assert clock.skew_s == pytest.approx(skew_s, abs=1e-9)


def test_delayed_frames_move_nothing() -> None:
    """Frames that waited 3 s in a queue, many of them, say nothing of the clock."""
    clock = ExchangeClock()
    told(clock, skew_s=0.0)
    for number in range(500):
        clock.saw(NOW + 5 + number / 100, NOW + 8 + number / 100)
    assert clock.skew_s == 0.0


def test_a_first_frame_that_was_late_is_corrected_by_the_next() -> None:
    """Believed only until something faster arrives."""
    clock = ExchangeClock()
    clock.saw(NOW, NOW + 3)
    assert clock.skew_s == 3.0
    clock.saw(NOW + 3.1, NOW + 3.15)
    assert clock.skew_s == 0.0


@pytest.mark.parametrize("step_s", [HOUR_S, 61.0, -30.0, -HOUR_S])
def test_a_step_of_our_clock_is_followed_at_once(step_s: float) -> None:
    """Backwards always, forwards where all of before is a minute old by then."""
    clock = ExchangeClock()
    told(clock, skew_s=0.0)
    told(clock, skew_s=step_s, from_s=5, seconds=1)
    assert clock.skew_s == pytest.approx(step_s + 0.05)


def test_a_small_step_forwards_is_followed_within_a_minute() -> None:
    """It cannot be told from a delay before; the least of the last minute decides."""
    clock = ExchangeClock()
    told(clock, skew_s=0.0)
    told(clock, skew_s=10.0, from_s=5, seconds=40)
    assert clock.skew_s == 0.0
    told(clock, skew_s=10.0, from_s=45, seconds=15)
    assert clock.skew_s == pytest.approx(10.05)


def test_forgetting_follows_a_step_at_once() -> None:
    """After a refused token the date of the refusal is all that counts."""
    clock = ExchangeClock()
    told(clock, skew_s=0.0)
    clock.forget()
    assert clock.skew_s is None
    clock.saw(NOW + 6, NOW + 16, 1.0)
    assert clock.skew_s == 10.0


def test_a_clock_set_right_again_is_followed() -> None:
    """A host an hour off that gets its time from NTP after we started has no skew any more."""
    for skew_s in (HOUR_S, -HOUR_S):
        clock = ExchangeClock()
        told(clock, skew_s=skew_s)
        told(clock, skew_s=0.0, from_s=5, seconds=1)
        assert clock.skew_s == 0.0


@pytest.mark.parametrize("told_s", [-62135596800.0, 0.0, math.nan, math.inf, 1e12])
def test_nonsense_teaches_nothing(told_s: float) -> None:
    """The zero time 0001-01-01 that frames of the exchange carry, and milliseconds taken for seconds."""
    clock = ExchangeClock()
    clock.saw(told_s, NOW)
    clock.saw(NOW, math.nan)
    assert clock.skew_s is None


def test_memory_is_bounded_however_many_frames() -> None:
    """One sample for each second of the last minute, no more."""
    clock = ExchangeClock()
    for number in range(20_000):
        clock.saw(NOW + number / 100, NOW + number / 100)
    assert len(clock._window) == 60


def test_knowledge_outlives_silence() -> None:
    """The last that was learnt serves until there is something newer."""
    clock = ExchangeClock()
    told(clock, skew_s=HOUR_S)
    assert clock.now(NOW + HOUR_S + 86400) == pytest.approx(NOW + 86400 - 0.05)


def test_repr_shows_the_skew() -> None:
    """For a debugger."""
    assert repr(ExchangeClock()) == "ExchangeClock(skew_s=None)"
