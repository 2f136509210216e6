"""The words everyone uses: ids, sources and the values that travel between rooms. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NewType

from streamer.errors import InvalidProductId

ProductId = NewType("ProductId", str)
"""Exchange form, base then quote: "BTC-USD". Only `parse_product_id` makes one from outside text."""

_PRODUCT_ID = re.compile(r"[A-Z0-9][A-Z0-9.-]{0,31}", re.ASCII)


def is_product_id(text: str) -> bool:
    """Whether `text` may become part of a Redis key (the rule of the Redis contract)."""
    return _PRODUCT_ID.fullmatch(text) is not None


def parse_product_id(text: str) -> ProductId:
    """Return `text` as a product id.

    Raises:
        InvalidProductId: The text breaks the rule `[A-Z0-9][A-Z0-9.-]{0,31}`.
    """
    if not isinstance(text, str) or not is_product_id(text):
        raise InvalidProductId(text)
    return ProductId(text)


class Source(StrEnum):
    """Where a value was made. A simulated value says so wherever it goes."""

    COINBASE = "coinbase"
    SIMULATOR = "simulator"
