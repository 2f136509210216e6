"""The band of a product: what jumps out of it, what comes back, and what stays."""

from __future__ import annotations

import math
from random import Random

import pytest

from streamer.quality.ticks import Band, Jump


class Ticker:
    """Writes ticks of a product into its band, ten a second."""

    def __init__(self, price: float = 84_000.0, *, sigma: float = 2e-4, digits: int = 2, seed: int = 1) -> None:
        self.band, self.at_s, self.price = Band(), 1000.0, price
        self._sigma, self._digits, self._random = sigma, digits, Random(seed)

    def write(self, times: float = 1.0, *, after_s: float = 0.1) -> Jump | None:
        """One tick at the price times a factor, which stays for none but this tick."""
        self.at_s += after_s
        return self.band.judge(f"{self.price * times:.{self._digits}f}", self.at_s)

    def wander(self, ticks: int) -> list[Jump]:
        """Ticks of a random walk; return those that jumped."""
        jumps = []
        for _ in range(ticks):
            self.price *= 1 + self._random.gauss(0, self._sigma)
            jumps.append(self.write())
        return [jump for jump in jumps if jump is not None]


def warm(**how: float) -> Ticker:
    """A product that has been watched for a while."""
    ticker = Ticker(**how)  # type: ignore[arg-type]
    assert ticker.wander(300) == []
    return ticker


@pytest.mark.parametrize("times", [1.03, 0.97])
def test_a_jump_is_told_with_its_size(times: float) -> None:
    """In words for whoever reads the price: how far, and how many times the usual."""
    jump = warm().write(times)
    assert jump is not None
    assert jump.move == pytest.approx(math.log(times), abs=2e-3)
    assert 100 < jump.factor < 300
    assert str(Jump(math.log(1.031), 14.2)) == "price jumped 3.1 % in one tick, 14 times the usual move"


def test_the_tick_that_comes_back_is_fine() -> None:
    """A lone wild tick leaves the level where it was."""
    ticker = warm()
    assert ticker.write(1.03) is not None
    assert ticker.write() is None
    assert ticker.wander(100) == []


def test_a_jump_that_ticks_confirm_becomes_the_level() -> None:
    """The third tick at the new price is fine; going back to the old one is then a jump."""
    ticker = warm()
    assert [ticker.write(1.03) is None for _ in range(4)] == [False, False, True, True]
    assert ticker.write() is not None


def test_wild_ticks_in_different_places_confirm_nothing() -> None:
    """Only ticks near each other do."""
    ticker = warm()
    assert all(ticker.write(times) is not None for times in (1.03, 0.97, 1.06, 0.94, 1.03, 0.97))
    assert ticker.write() is None


def test_wild_ticks_do_not_widen_the_band() -> None:
    """A hundred of them among good ones, and the next is still found."""
    ticker = warm()
    for _ in range(100):
        assert ticker.write(1.03) is not None
        assert ticker.wander(5) == []


def test_the_first_ticks_are_unknown_but_for_factors() -> None:
    """With nothing to compare with, a move of 3 % is let pass; a price times ten is none."""
    ticker = Ticker()
    assert ticker.write() is None
    assert ticker.write(1.03) is None
    assert ticker.write(10) is not None
    assert ticker.write() is None


@pytest.mark.parametrize("sigma", [5e-3, 1e-3, 1e-4])
def test_what_is_usual_is_learned(sigma: float) -> None:
    """Thirty usual moves are a jump, six are none, whatever is usual."""
    assert warm(sigma=sigma).write(1 + 30 * sigma) is not None
    assert warm(sigma=sigma).write(1 + 6 * sigma) is None


def test_a_market_that_wakes_up_is_followed() -> None:
    """Moves twenty times the usual ones are the usual ones before long."""
    ticker = warm()
    ticker._sigma = 4e-3
    assert ticker.wander(300) != []
    assert len(ticker.wander(1000)) < 5


def test_quiet_hours_make_no_trade_a_jump() -> None:
    """After a thousand equal prices a tenth of a percent is nothing, two percent are something."""
    ticker = Ticker(sigma=0.0)
    assert ticker.wander(1000) == []
    assert ticker.write(1.001) is None
    assert ticker.write(1.02) is not None


def test_coarse_prices_move_by_their_last_digit() -> None:
    """One last digit of 0.00000512 is 0.2 %: after a quiet time it is no jump, twenty are."""
    band = Band()
    for i in range(500):
        assert band.judge("0.00000512", i / 10) is None
    assert band.judge("0.00000513", 50.1) is None
    assert band.judge("0.00000535", 50.2) is not None


def test_after_a_pause_prices_may_have_moved() -> None:
    """In a hundred times the usual pause, by ten times the usual move: 1.5 % are a jump only at once."""
    assert warm().write(1.015) is not None
    assert warm().write(1.015, after_s=60.0) is None
    assert warm().write(10, after_s=60.0) is not None


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "x"])
def test_what_is_no_price_has_no_verdict_and_leaves_no_trace(text: str) -> None:
    """Others refuse it; here it must do no harm."""
    ticker = warm()
    assert ticker.band.judge(text, ticker.at_s) is None
    assert ticker.write(1.03) is not None


def test_a_clock_that_goes_back_does_no_harm() -> None:
    """Times are only compared."""
    ticker = warm()
    ticker.at_s -= 3600
    assert ticker.wander(100) == []
    assert ticker.write(1.03) is not None
