"""How long the way to a provider and back takes, where nothing is wrong. Pure."""

from __future__ import annotations

import math
import random
from typing import Final

from streamer.errors import ConfigError

TYPICAL_MS: Final = 80.0
"""The default of commands: about what a provider takes to answer over the internet."""
SPREAD: Final = 0.25
"""The shortest and the longest are this share of the mean away from it."""


class Latency:
    """Draws latencies evenly from 0.75 to 1.25 times their mean.

    Args:
        mean_ms: 0 for none.
        seed: The same seed draws the same ones, in the same order.

    Raises:
        ConfigError: The mean is negative, or no number.
    """

    def __init__(self, mean_ms: float, seed: str) -> None:
        if not 0 <= mean_ms < math.inf:
            raise ConfigError("latency_ms", mean_ms, "must be 0 or more")
        self._mean_s, self._chance = mean_ms / 1000, random.Random(seed)

    def draw_s(self) -> float:
        """Return the next one in seconds."""
        return self._mean_s * self._chance.uniform(1 - SPREAD, 1 + SPREAD)
