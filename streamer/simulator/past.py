"""A made-up past: the trades a product is said to have had before the exchange was started. Pure.

Sparse, as of a quiet market: one trade each half minute or so, and now and then no trade for over five minutes.
It ends at the price the live market starts from, and stays in the 24-hour range its first ticker shows.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import NamedTuple

from streamer.simulator.market import size_unit

REACH_S = 31 * 3600
"""How far the past goes back."""
SIZE_DECIMALS = 8
"""Sizes are whole numbers of 10^-8 base."""

_MEAN_GAP_US = 33_000_000
_SHORTEST_LONG_GAP_US = 320_000_000
_LONG_GAP_SHARE = 12 / 1024
_SWING = 14  # thousandths; the first ticker's range leaves 15 on either side
_STEP = 6  # ten-thousandths


class Past(NamedTuple):
    """One trade of the past, in whole numbers: microseconds since 1970, units of the smallest price and size."""

    time_us: int
    price: int
    size: int
    is_sell: bool


def decimals_of(price: str) -> int:
    """Return how many decimals a price is written with."""
    return len(price.partition(".")[2])


def made_up(product_id: str, opening: str, seed: int, end_us: int) -> list[Past]:
    """Return the past of a product, newest trade first; the same arguments give the same past.

    Args:
        product_id: The product.
        opening: The price the past must lead to, a decimal; its decimals are the product's.
        seed: Seed of the market.
        end_us: When it ends, microseconds since 1970.
    """
    chance = random.Random(f"{seed}/{product_id}")
    any_float, any_bits, gap = chance.random, chance.getrandbits, chance.expovariate
    anchor = int(opening.replace(".", ""))
    unit, swing = size_unit(anchor, decimals_of(opening)), anchor * _SWING // 1000
    step = max(1, anchor * _STEP // 10_000)
    found: list[Past] = []
    away, time_us, first_us = 0, end_us, end_us - REACH_S * 1_000_000
    while True:
        time_us -= int(gap(1 / _MEAN_GAP_US))
        bits = any_bits(52)
        if any_float() < _LONG_GAP_SHARE:
            time_us -= _SHORTEST_LONG_GAP_US
        if time_us < first_us:
            return found
        # Twenty bits a step, rounded fairly by the shift, and a lean back to the anchor.
        away += ((bits & 0xFFFFF) * (2 * step + 1) >> 20) - step - away // 200
        away = max(-swing, min(swing, away))
        found.append(Past(time_us, max(2, anchor + away), unit * (1 + (bits >> 20 & 0x3FF)), bool(bits >> 51)))


def number(units: int, decimals: int) -> Decimal:
    """Return whole units of 10^-decimals as a decimal."""
    return Decimal(units).scaleb(-decimals)


def plain(value: Decimal) -> str:
    """Return a number as the exchange writes it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
