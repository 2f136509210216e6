"""The one event with a price in it that we take for a price. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from streamer.providers.decode import iso_ms, price_number, sound_ms
from streamer.providers.shape import Symbol
from streamer.providers.symbols import parse_symbol
from streamer.webhooks.delivery import TOLERANCE_S, Delivery, Reason, Refused

TYPE: Final = "price.updated"
_SOURCE_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """A price that a relay has sent. They arrive in any order: an older one never replaces a newer one.

    Attributes:
        as_of_ms: When it was the price, by the sender's word; no later than it came.
        source: Where the sender has it from.
    """

    symbol: Symbol
    price: Decimal
    as_of_ms: int
    source: str


def price_of(delivery: Delivery, now_s: float) -> PriceUpdate | None:
    """Return the price of a `price.updated` whose data is `{symbol, price, as_of, source}`; None of other events.

    Others may tell of prices too, as CoinGecko's `cg.coin.price.moved` does: these say that it is time to ask.

    Raises:
        Refused: It says to be one, and is not; in words for its sender.
    """
    if delivery.type != TYPE:
        return None
    data = delivery.data
    try:
        symbol = parse_symbol(data.get("symbol", ""))
        price = price_number(data.get("price"), "data.price")
        now_ms = int(now_s * 1000)
        as_of_ms = sound_ms(iso_ms(data.get("as_of"), "data.as_of"), now_ms, "data.as_of")
        if as_of_ms > now_ms + TOLERANCE_S * 1000:
            raise ValueError("data.as_of is in the future")
    except ValueError as exc:
        raise Refused(Reason.MALFORMED, str(exc)) from exc
    source = data.get("source")
    # Of a sender whose clock is ahead: what is of later than now is none of the copies that are served.
    as_of_ms = min(as_of_ms, now_ms)
    if not isinstance(source, str) or not 0 < len(source) <= _SOURCE_CHARS:
        raise Refused(Reason.MALFORMED, f"data.source is no text of 1 to {_SOURCE_CHARS} characters")
    return PriceUpdate(symbol, price, as_of_ms, source)
