"""How far our wall clock is from the exchange's, learnt from what the exchange says. Pure.

A token dated in the exchange's future is refused, so tokens are dated by the exchange's clock, not by ours.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_WINDOW_S = 60
_DELAY_S = 1.0
_MAX_EXCHANGE_S = 1e10
_MAX_DATE_CHARS = 64


def parse_http_date(text: str) -> float | None:
    """Return the Unix time of an HTTP Date header in any of its three forms, or None if it is no date."""
    if len(text) > _MAX_DATE_CHARS:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class _Sample(NamedTuple):
    """The one of least offset (our time less the exchange's) in one second of our clock."""

    second: int
    offset_s: float
    resolution_s: float


class ExchangeClock:
    """What the exchange's clock shows, by the times it tells and when these arrive.

    Delay on the way only ever makes us look ahead, so the least offset of the last minute is believed: one frame
    that waited in a queue moves nothing. A step of our clock backwards is followed by the next sample, as is one
    forwards by a minute or more. One forwards by less is followed when the samples of before are a minute old by
    our clock, or after `forget`. While our clock is not stepped, `now` is ahead of the exchange by no more than
    resolution and a second, which backdating a token covers.
    """

    __slots__ = ("_window",)

    def __init__(self) -> None:
        self._window: deque[_Sample] = deque()

    def __repr__(self) -> str:
        return f"ExchangeClock(skew_s={self.skew_s})"

    def saw(self, exchange_s: float, local_s: float, resolution_s: float = 0.0) -> None:
        """Learn from one time the exchange told. Cheap enough for every frame.

        Args:
            exchange_s: Unix time as told; the zero times that some frames carry, and nonsense, are passed over.
            local_s: Our Unix time when it arrived.
            resolution_s: What the exchange rounds to: 1 for a Date header, 0 for the stamp of an envelope.
        """
        if not 0 < exchange_s < _MAX_EXCHANGE_S or not math.isfinite(local_s):
            return
        window, second = self._window, math.floor(local_s)
        if window and second < window[-1].second - 1:  # a second less is only two arrivals told in the wrong order
            window.clear()
        while window and window[0].second <= second - _WINDOW_S:
            window.popleft()
        offset_s = local_s - exchange_s
        if not window or second > window[-1].second:
            window.append(_Sample(second, offset_s, resolution_s))
        elif offset_s < window[-1].offset_s:
            window[-1] = _Sample(window[-1].second, offset_s, resolution_s)

    def forget(self) -> None:
        """Unlearn everything: a refused token says that what we believed is wrong, and the refusal has a date."""
        self._window.clear()

    def now(self, local_s: float) -> float:
        """Return the exchange's Unix time at our `local_s`, as best known; while nothing is known, `local_s`."""
        return local_s - (self.skew_s or 0.0)

    @property
    def skew_s(self) -> float | None:
        """How far we are ahead (negative: behind), in seconds; None while nothing is known.

        0.0 where what was seen is explained by resolution and a second of delay.
        """
        if not self._window:
            return None
        best = min(self._window, key=lambda sample: sample.offset_s)
        explained = -best.resolution_s <= best.offset_s <= best.resolution_s + _DELAY_S
        return 0.0 if explained else best.offset_s
