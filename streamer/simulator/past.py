"""A made-up past: the trades a product is said to have had before the exchange was started. Pure.

Sparse, as of a quiet market: one trade each half minute or so, and now and then no trade for over five minutes.
It ends at the price the live market starts from, and stays in the 24-hour range its first ticker shows. Where that
market keeps to a guide, so does its past.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import NamedTuple

from streamer.simulator.market import Guide, size_unit, to_units

REACH_S = 31 * 3600
"""How far the past goes back."""
SIZE_DECIMALS = 8
"""Sizes are whole numbers of 10^-8 base."""

_MEAN_GAP_US = 33_000_000
_SHORTEST_LONG_GAP_US = 320_000_000
_LONG_GAP_SHARE = 12 / 1024
_SWING = 14  # thousandths; the first ticker's range leaves 15 on either side
_LED_SWING = 5  # around a guide, which moves too
_STEP = 6  # ten-thousandths
_HOUR_S = 3600
_HOUR_US = _HOUR_S * 1_000_000
_LEVELS = REACH_S // _HOUR_S + 2  # one at each end of every hour


class Past(NamedTuple):
    """One trade of the past, in whole numbers: microseconds since 1970, units of the smallest price and size."""

    time_us: int
    price: int
    size: int
    is_sell: bool


def decimals_of(price: str) -> int:
    """Return how many decimals a price is written with."""
    return len(price.partition(".")[2])


def made_up(product_id: str, opening: str, seed: int, end_us: int, guide: Guide | None = None) -> list[Past]:
    """Return the past of a product, newest trade first; the same arguments give the same past.

    Args:
        product_id: The product.
        opening: The price the past must lead to, a decimal; its decimals are the product's.
        seed: Seed of the market.
        end_us: When it ends, microseconds since 1970.
        guide: The market that the past keeps to, if it knows the product: within a percent.
    """
    chance = random.Random(f"{seed}/{product_id}")
    any_float, any_bits, gap = chance.random, chance.getrandbits, chance.expovariate
    anchor = int(opening.replace(".", ""))
    led = _led(product_id, decimals_of(opening), end_us, guide)
    levels = led or [anchor] * _LEVELS
    unit, swing = size_unit(anchor, decimals_of(opening)), anchor * (_LED_SWING if led else _SWING) // 1000
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
        hours, part_us = divmod(end_us - time_us, _HOUR_US)
        level = levels[hours] + (levels[hours + 1] - levels[hours]) * part_us // _HOUR_US
        found.append(Past(time_us, max(2, level + away), unit * (1 + (bits >> 20 & 0x3FF)), bool(bits >> 51)))


def _led(product_id: str, decimals: int, end_us: int, guide: Guide | None) -> list[int] | None:
    """The guide's prices at the end and every hour before it, None if it knows none."""
    if guide is None:
        return None
    prices = [guide.price(product_id, end_us / 1_000_000 - hours * _HOUR_S) for hours in range(_LEVELS)]
    known = [to_units(price, decimals) for price in prices if price is not None]
    return known if len(known) == _LEVELS else None


def number(units: int, decimals: int) -> Decimal:
    """Return whole units of 10^-decimals as a decimal."""
    return Decimal(units).scaleb(-decimals)


def plain(value: Decimal) -> str:
    """Return a number as the exchange writes it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
