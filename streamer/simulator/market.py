"""Made-up prices that behave: a seeded random walk per product, that may keep to a market elsewhere. Pure.

All arithmetic is on integers (units of the smallest increment), so a price never meets a float.
"""

from __future__ import annotations

import hashlib
import random
import re
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

Ticker = dict[str, str]
"""The fields of one ticker as the exchange sends them, every value a string."""

POPULAR: dict[str, str] = {
    "BTC-USD": "84210.37", "ETH-USD": "2745.18", "SOL-USD": "142.36", "XRP-USD": "2.1384",
    "DOGE-USD": "0.16823", "ADA-USD": "0.7021", "AVAX-USD": "21.47", "LINK-USD": "14.892",
    "LTC-USD": "88.41", "DOT-USD": "4.3170", "BCH-USD": "341.25", "UNI-USD": "6.412",
    "AAVE-USD": "171.83", "ATOM-USD": "4.581", "ETC-USD": "16.92", "XLM-USD": "0.264371",
    "SHIB-USD": "0.00001234", "NEAR-USD": "2.613", "ICP-USD": "5.728", "FIL-USD": "2.873",
    "ETH-BTC": "0.03260", "SOL-BTC": "0.0016905", "BTC-EUR": "77802.14", "ETH-EUR": "2536.07",
    "BTC-GBP": "65130.88", "USDT-USD": "0.99971", "USDT-USDC": "0.9998", "EURC-USDC": "1.0831",
}  # fmt: skip
"""Starting prices; their number of decimals is the increment."""

OWN_BOOK = frozenset({"USDT-USDC", "EURC-USDC", "XSGD-USDC", "AUDD-USDC", "TGBP-USDC"})
"""Pairs quoted in USDC that are no alias of a USD pair (protocol notes, 5.9)."""

_PRICE = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
_SIZE_DECIMALS = 8
_PERCENT_DECIMALS = 14
_PERCENT_SCALE = 10 ** (_PERCENT_DECIMALS + 2)
_STEP_BITS = 60  # two digits of a Python int: larger numbers make every shift slower
# How a step leans back to the anchor: by 2^(bits - 20) of the way. A quarter keeps a walk within four of its widest
# steps, ten basis points; one alone has half a percent of room to wander in.
_LEAN_BITS, _LED_LEAN_BITS = 9, 18
_LEFT_BEHIND = 1_000  # a thousandth away from its guide, a product trades at once
_LEAST_DIGITS = 4  # of a price that is led: with fewer its smallest step would be too long a way
_DAY_S = 86_400


def canonical(product_id: str) -> str:
    """Return the id under which public channels label `product_id`: BTC-USDC shares the book of BTC-USD."""
    if product_id.endswith("-USDC") and product_id not in OWN_BOOK:
        return product_id[:-1]
    return product_id


def demo_products(n: int) -> list[str]:
    """Return `n` product ids: the popular ones first, then made-up ones (`SIM0001-USD`, ...)."""
    made_up = (f"SIM{i:04d}-USD" for i in range(1, n - len(POPULAR) + 1))
    return [*list(POPULAR)[:n], *made_up]


class Deal(NamedTuple):
    """The trade behind a ticker; `side` is the maker's."""

    price: str
    size: str
    side: str


def increment(decimals: int) -> str:
    """Return the smallest step of a number with so many decimals: "0.01" for 2."""
    return f"0.{'1'.zfill(decimals)}" if decimals else "1"


def size_unit(price: int, decimals: int) -> int:
    """Return the unit of made-up sizes at a price, in 10^-8 base: 65,535 of them are worth about 5,000 quote."""
    units: int = 5_000 * 10 ** (_SIZE_DECIMALS + decimals) // price >> 16
    return max(1, units)


def to_units(price: Decimal, decimals: int) -> int:
    """Return a price as a whole number of 10^-decimals, the nearest."""
    return int(price.scaleb(decimals).to_integral_value())


class Guide(Protocol):
    """A market elsewhere that others keep to."""

    def price(self, product_id: str, at_s: float) -> Decimal | None:
        """Return what a product costs there at a time in Unix seconds, None if it is not known there."""


class Market(Protocol):
    """Where an exchange gets its tickers from."""

    @property
    def products(self) -> Sequence[str]:
        """Every product the market knows."""

    def latest(self, product_id: str) -> Ticker | None:
        """Return the newest ticker, or None if there is none (yet)."""

    def latest_json(self, product_id: str) -> bytes | None:
        """Return the newest ticker as a JSON object."""

    def timestamp(self, product_id: str) -> bytes | None:
        """Return the envelope time the newest ticker must carry; None means the time of sending."""

    def last_deal(self, product_id: str) -> Deal | None:
        """Return the trade behind the newest ticker, or None if there was none or it has no price."""

    def opening(self, product_id: str) -> str | None:
        """Return the price at which a made-up past must end, None for a market whose past is not made up."""

    def increment(self, product_id: str) -> str:
        """Return the smallest step of the product's price."""


def _decimal(units: int, decimals: int) -> str:
    """Write `units` of 10^-decimals as the exchange does: no exponent, no trailing zeros."""
    if not decimals:
        return str(units)
    digits = str(units)
    if len(digits) <= decimals:
        digits = digits.zfill(decimals + 1)
    text = f"{digits[:-decimals]}.{digits[-decimals:]}"
    return text.rstrip("0").rstrip(".") if text[-1] == "0" else text


def _percent(price: int, opened: int) -> str:
    scaled = (price - opened) * _PERCENT_SCALE // opened
    return "-" + _decimal(-scaled, _PERCENT_DECIMALS) if scaled < 0 else _decimal(scaled, _PERCENT_DECIMALS)


def _start_price(product_id: str) -> str:
    """A price made from the id alone, so that every run and every process agrees on it."""
    known = POPULAR.get(product_id)
    if known is not None:
        return known
    digest = hashlib.sha256(product_id.encode()).digest()
    mantissa = 10_001 + int.from_bytes(digest[:4], "big") % 89_999
    decimals = 2 + digest[4] % 5  # 100.01 down to 0.010001
    text = str(mantissa).zfill(decimals + 1)
    return f"{text[:-decimals]}.{text[-decimals:]}"


class _Walk:
    """One product: integers inside, JSON outside."""

    __slots__ = (
        "anchor", "ask_size", "bid_size", "decimals", "high", "high_year", "lean_bits", "low", "low_year",
        "opened", "other", "price", "price_is_ask", "product_id", "range_text", "size_texts", "size_unit",
        "start", "traded", "volume",
    )  # fmt: skip

    def __init__(self, product_id: str, start: str, seed_bits: int, opened: int | None = None) -> None:
        self.product_id, self.start = product_id, start
        self.traded, self.lean_bits = 0, _LEAN_BITS
        self.decimals = len(start.partition(".")[2])
        self.price = self.anchor = int(start.replace(".", ""))
        # The day so far: opened up to 2 % away if nobody knows better, with a range around both ends.
        self.opened = opened or max(2, self.price * (9_800 + seed_bits % 400) // 10_000)
        self.low = max(1, min(self.price, self.opened) * 985 // 1000)
        self.high = max(self.price, self.opened) * 1015 // 1000
        self.low_year, self.high_year = max(1, self.low * 7 // 10), self.high * 3 // 2
        self.size_unit = size_unit(self.price, self.decimals)
        self.volume = self.size_unit * (2**33 + seed_bits * 2)
        self.other, self.price_is_ask = self.price - 1, True
        # Rendering is most of a tick's cost, so sizes come from a small table of ready texts.
        self.size_texts = [
            _decimal(self.size_unit * (1 + 977 * i * i % 65_535), _SIZE_DECIMALS) for i in range(128)
        ]
        self.bid_size, self.ask_size = self.size_texts[seed_bits & 127], self.size_texts[seed_bits >> 7 & 127]
        self._render_range()

    def _render_range(self) -> None:
        # These change rarely, so their text is kept: it is half of the work of a tick.
        d = self.decimals
        self.range_text = (
            f'"low_24_h":"{_decimal(self.low, d)}","high_24_h":"{_decimal(self.high, d)}",'
            f'"low_52_w":"{_decimal(self.low_year, d)}","high_52_w":"{_decimal(self.high_year, d)}"'
        )

    def step(self, bits: int) -> None:
        """Trade once. `bits` are 60 random bits; the price leans back to its anchor."""
        lean = ((self.price - self.anchor) << self.lean_bits) // self.anchor
        move = 2 * (bits & 0xFF) - 255 - lean
        # Adding random bits before the shift rounds fairly, so small prices do not drift.
        self._trade(self.price + ((move * self.anchor + (bits >> 8 & 0xFFFFF)) >> 20), bits)

    def jump(self, units: int, bits: int) -> None:
        """Trade once at a given price and stay around it from now on."""
        self.anchor, self.lean_bits = max(2, units), _LEAN_BITS
        self._trade(units, bits)

    def is_left_behind(self) -> bool:
        """Whether the price is further from its anchor than single steps take it."""
        return abs(self.price - self.anchor) * _LEFT_BEHIND > self.anchor

    def catch_up(self, bits: int) -> None:
        """Trade once at the anchor."""
        self._trade(self.anchor, bits)

    def _trade(self, price: int, bits: int) -> None:
        price = max(2, price)  # room for a bid below
        self.price = price
        spread = 1 + (self.anchor * (bits >> 28 & 7) >> 17)
        if bits >> 31 & 1:  # a buyer took the best ask
            self.other, self.price_is_ask = max(1, price - spread), True
        else:
            self.other, self.price_is_ask = price + spread, False
        self.traded = self.size_unit * (1 + (bits >> 32 & 0x3FF))
        self.volume += self.traded
        self.bid_size = self.size_texts[bits >> 42 & 127]
        self.ask_size = self.size_texts[bits >> 49 & 127]
        if price < self.low or price > self.high:
            self.low, self.high = min(price, self.low), max(price, self.high)
            self.low_year, self.high_year = min(price, self.low_year), max(price, self.high_year)
            self._render_range()

    def render(self) -> bytes:
        """The ticker as JSON, fields in the order of the exchange."""
        price, other = _decimal(self.price, self.decimals), _decimal(self.other, self.decimals)
        bid, ask = (other, price) if self.price_is_ask else (price, other)
        return (
            f'{{"type":"ticker","product_id":"{self.product_id}","price":"{price}",'
            f'"volume_24_h":"{_decimal(self.volume, 8)}",{self.range_text},'
            f'"price_percent_chg_24_h":"{_percent(self.price, self.opened)}",'
            f'"best_bid":"{bid}","best_ask":"{ask}",'
            f'"best_bid_quantity":"{self.bid_size}","best_ask_quantity":"{self.ask_size}"}}'
        ).encode()


class RandomWalkMarket:
    """Random walks for many products; the same seed and calls give the same prices.

    Args:
        products: Their ids. Ids not listed are unknown: nothing is ever sent for them.
        seed: Seed of the walk.
        quiet: Products that trade only when `tick` or `set_price` says so.
        start: Starting prices as decimal strings, in place of the built-in ones.
        guide: A market to keep to: its products start there, and walk within some ten basis points of it if
            `follow` is called every second. None for walks on their own.
        born_s: When the walks start, Unix seconds; a matter of the guide only.
    """

    def __init__(
        self,
        products: Iterable[str],
        seed: int = 0,
        *,
        quiet: Collection[str] = (),
        start: dict[str, str] | None = None,
        guide: Guide | None = None,
        born_s: float = 0,
    ) -> None:
        self.seed, self.guide = seed, guide
        self._random = random.Random(seed)
        given = start or {}
        self._led: dict[str, _Walk] = {}
        self._walks = {p: self._begun(p, given.get(p) or _start_price(p), born_s) for p in dict.fromkeys(products)}
        for product_id in quiet:
            if product_id not in self._walks:
                raise ConfigError("quiet", product_id, "must be one of the products")
        self._quiet = frozenset(quiet)
        self._active = [p for p in self._walks if p not in self._quiet]
        self._json: dict[str, bytes] = {}

    def _begun(self, product_id: str, start: str, born_s: float) -> _Walk:
        seed_bits = self._random.getrandbits(32)
        price, opened = self._guided(product_id, born_s), self._guided(product_id, born_s - _DAY_S)
        if price is None or opened is None:
            return _Walk(product_id, start, seed_bits)
        decimals = max(len(start.partition(".")[2]), _LEAST_DIGITS - 1 - price.adjusted())
        walk = _Walk(product_id, f"{price:.{decimals}f}", seed_bits, to_units(opened, decimals))
        walk.lean_bits = _LED_LEAN_BITS
        self._led[product_id] = walk
        return walk

    def _guided(self, product_id: str, at_s: float) -> Decimal | None:
        return self.guide.price(product_id, at_s) if self.guide is not None else None

    @property
    def products(self) -> Sequence[str]:
        """Every product, in the order given."""
        return list(self._walks)

    def latest(self, product_id: str) -> Ticker | None:
        """Return the newest ticker, or None for an unknown product."""
        body = self.latest_json(product_id)
        if body is None:
            return None
        ticker: Ticker = orjson.loads(body)
        return ticker

    def latest_json(self, product_id: str) -> bytes | None:
        """Return the newest ticker as a JSON object, or None for an unknown product."""
        body = self._json.get(product_id)
        if body is None:
            walk = self._walks.get(product_id)
            if walk is None:
                return None
            body = self._json[product_id] = walk.render()
        return body

    def timestamp(self, product_id: str) -> bytes | None:
        """Return None: a made-up ticker is stamped when it is sent."""
        return None

    def last_deal(self, product_id: str) -> Deal | None:
        """Return the trade behind the newest ticker, or None if there was none yet."""
        walk = self._walks.get(product_id)
        if walk is None or not walk.traded:
            return None
        price, size = _decimal(walk.price, walk.decimals), _decimal(walk.traded, _SIZE_DECIMALS)
        return Deal(price, size, "SELL" if walk.price_is_ask else "BUY")

    def opening(self, product_id: str) -> str | None:
        """Return the price the walk started from, or None for an unknown product."""
        walk = self._walks.get(product_id)
        return walk.start if walk is not None else None

    def increment(self, product_id: str) -> str:
        """Return the smallest step of the product's price."""
        return increment(self._known(product_id).decimals)

    def tick(self, product_id: str) -> bytes:
        """Let one product trade and return its new ticker as JSON.

        Raises:
            ConfigError: The product is unknown.
        """
        walk = self._known(product_id)
        walk.step(self._random.getrandbits(_STEP_BITS))
        body = self._json[product_id] = walk.render()
        return body

    def next_tick(self) -> str | None:
        """Let a random product that is not quiet trade; return its id, or None if all are quiet."""
        active = self._active
        if not active:
            return None
        product_id = active[int(self._random.random() * len(active))]
        walk = self._walks[product_id]
        walk.step(self._random.getrandbits(_STEP_BITS))
        self._json[product_id] = walk.render()
        return product_id

    def follow(self, now_s: float) -> list[str]:
        """Let the walks keep to the guide's prices of this time.

        Those that it has left behind, because they trade so rarely, trade at once, unless they are quiet.

        Args:
            now_s: Unix time.

        Returns:
            The ids of those that traded.
        """
        traded = []
        for product_id, walk in self._led.items():
            price = self._guided(product_id, now_s)
            assert price is not None, "what a guide knew it knows"
            walk.anchor = max(2, to_units(price, walk.decimals))
            if walk.is_left_behind() and product_id not in self._quiet:
                walk.catch_up(self._random.getrandbits(_STEP_BITS))
                self._json[product_id] = walk.render()
                traded.append(product_id)
        return traded

    def set_price(self, product_id: str, price: str) -> bytes:
        """Let one product trade at `price` and stay near it, guide or not; return its new ticker as JSON.

        Raises:
            ConfigError: Unknown product, or a price that is not a decimal this product can have.
        """
        walk = self._known(product_id)
        if _PRICE.fullmatch(price) is None:
            raise ConfigError("price", price, "must be a decimal such as 84210.37")
        whole, _, fraction = price.partition(".")
        if len(fraction.rstrip("0")) > walk.decimals:
            raise ConfigError("price", price, f"{product_id} has {walk.decimals} decimals")
        units = int(whole + fraction[: walk.decimals].ljust(walk.decimals, "0"))
        if units < 2:
            raise ConfigError("price", price, "must leave room for a bid below it")
        self._led.pop(product_id, None)
        walk.jump(units, self._random.getrandbits(_STEP_BITS))
        body = self._json[product_id] = walk.render()
        return body

    def _known(self, product_id: str) -> _Walk:
        walk = self._walks.get(product_id)
        if walk is None:
            raise ConfigError("product", product_id, "is not a product of this market")
        return walk
