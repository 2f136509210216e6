"""A band around the price of one product that moves with its ticks: which of them jump out of it. Pure, and cheap.

Floats throughout: a verdict points at a price, and never replaces it. One verdict costs about a microsecond, so it
is made of ticks that are written, not of each frame: what a newer tick has replaced before was nobody's reading.

The usual move is a running mean of |ln(p / level)| in which no tick counts as more than `_CLAMP` times what it was;
over a longer time than usual it grows with the square root of that time.
"""

from __future__ import annotations

from math import expm1, inf, log, sqrt
from typing import Final, NamedTuple

JUMP_FACTOR: Final = 12.0
"""Times the usual move. About ten standard deviations, as the mean of |x| is 0.8 of one."""
_ALWAYS: Final = log(2)
"""A move that is outside of any band: prices halve in no tick."""
_LEAST_MOVE: Final = 1e-4
"""The least usual move, one basis point: or after quiet hours any trade would be a jump."""
_ALPHA: Final = 1 / 64
_CLAMP: Final = 3.0
_WARM: Final = 20
"""Moves to learn from before there is a verdict on any but wild ones."""
_CONFIRMED: Final = 3
"""Ticks in a row at a new level, the jump included, that make it the level."""


class Jump(NamedTuple):
    """A tick outside of the band.

    Attributes:
        move: Natural logarithm of its price by the level before.
        factor: How many times the usual move that is.
    """

    move: float
    factor: float

    def __str__(self) -> str:
        """Say it to whoever reads the price."""
        percent = abs(expm1(min(self.move, 100.0))) * 100
        return f"price jumped {percent:.2g} % in one tick, {self.factor:.0f} times the usual move"


class Band:
    """The band of one product.

    A jump leaves the level where it was, so the tick that comes back is fine again. Ticks that stay near the jump
    confirm it: the third of them is fine, and its price the level.
    """

    __slots__ = ("_at_s", "_count", "_level", "_new", "_new_count", "_pace_s", "_usual")

    def __init__(self) -> None:
        self._level = self._new = self._usual = self._pace_s = self._at_s = 0.0
        self._count = self._new_count = 0

    def judge(self, text: str, at_s: float) -> Jump | None:
        """Take the next tick; return how far it jumps, None where it is within the band or none can be known yet.

        Args:
            text: The price as the exchange wrote it, plain digits.
            at_s: Unix time at which it came.
        """
        try:
            price = float(text)
        except ValueError:
            price = 0.0
        level = self._level
        if not 0.0 < price < inf:
            return None  # no price to learn from: whoever checks ticks has let it pass, and must not fall over it
        if level == 0.0:
            self._level, self._at_s = price, at_s
            return None
        move = log(price / level)
        size = move if move >= 0.0 else -move
        usual = self._usual if self._usual > _LEAST_MOVE else _LEAST_MOVE
        elapsed_s = at_s - self._at_s
        if elapsed_s > self._pace_s > 0.0:
            usual *= sqrt(elapsed_s / self._pace_s)
        is_out = size > _ALWAYS or (
            size > JUMP_FACTOR * usual
            and self._count >= _WARM
            # Last, since it is dear: coarse prices move by their last digit or not at all.
            and size > JUMP_FACTOR * (usual := max(usual, _digit(text) / price))
        )
        self._learn(size, elapsed_s, at_s)
        if not is_out:
            self._level, self._new_count = price, 0
            return None
        is_near = self._new_count and abs(log(price / self._new)) <= JUMP_FACTOR * usual
        self._new, self._new_count = price, self._new_count + 1 if is_near else 1
        if self._new_count >= _CONFIRMED:
            self._level, self._new_count = price, 0
            return None
        return Jump(move, size / usual)

    def _learn(self, size: float, elapsed_s: float, at_s: float) -> None:
        self._count = count = self._count + 1
        alpha = 1 / count if count < 64 else _ALPHA
        usual = self._usual
        most = _CLAMP * (usual if usual > _LEAST_MOVE else _LEAST_MOVE)
        self._usual = usual + alpha * ((size if size < most else most) - usual)
        if elapsed_s > 0.0:
            pace_s = self._pace_s
            longest_s = _CLAMP * pace_s if pace_s > 0.0 else elapsed_s
            self._pace_s = pace_s + alpha * ((elapsed_s if elapsed_s < longest_s else longest_s) - pace_s)
        self._at_s = at_s


def _digit(text: str) -> float:
    """Return the worth of the last digit of plain digits."""
    return 10.0 ** -len(text.partition(".")[2])
