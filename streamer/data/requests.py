"""What is asked of a provider, and the JSON that its answer is kept as in Redis.

    price   {"symbol", "price", "instrument", "as_of_ms", "is_live", "note"}
    bars    {"symbol", "interval", "instrument", "is_live", "note", "bars": [[start_s, o, h, l, c, v, closed], ...]}

Numbers are strings with the provider's own digits; a volume is null where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TypeAlias, TypeVar

import msgspec

from streamer.data.origin import ProviderOrigin
from streamer.errors import NoData
from streamer.gateway.requests import Fetched, Request
from streamer.providers.base import Call
from streamer.providers.shape import Bar, Instrument, Interval, Listed, Price, Series, Span, Symbol
from streamer.providers.symbols import parse_symbol
from streamer.store.copies import encode_value
from streamer.store.keys import Copy
from streamer.store.records import parse_decimal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PriceRequest(Request[Price]):
    """A provider's price of a symbol."""

    kind: ClassVar[str] = "data_price"

    provider: str
    symbol: Symbol
    copy: Copy

    @property
    def what(self) -> str:
        """Name it."""
        return f"{self.provider} price {self.symbol}"

    def parse(self, value: bytes, fetched: datetime) -> Price:
        """Return the price."""
        kept = _decoded(value, _Price)
        price = Price(
            parse_symbol(kept.symbol),
            parse_decimal(kept.price),
            Instrument(kept.instrument),
            kept.as_of_ms,
            kept.is_live,
            kept.note,
        )
        if price.symbol != self.symbol or price.price <= 0:
            raise ValueError(f"it is {price.price} of {price.symbol}")
        return price

    @classmethod
    async def fetch(
        cls, requests: Sequence[PriceRequest], rest: ProviderOrigin, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for one."""
        (request,) = requests
        flow = rest.adapter.price(request.symbol, int(fetched_s * 1000))
        return [encode_price(await rest.run(flow, "price", call, fetched_s))]


def encode_price(price: Price) -> bytes:
    """Return a price as it is kept."""
    return encode_value(
        _Price(
            str(price.symbol), f"{price.price:f}", price.instrument.value, price.as_of_ms, price.is_live, price.note
        )
    )


@dataclass(frozen=True, slots=True)
class BarsRequest(Request[Series]):
    """A provider's bars of a symbol within a span; with `span` None the newest `NEWEST`."""

    kind: ClassVar[str] = "data_bars"

    provider: str
    symbol: Symbol
    interval: Interval
    span: Span
    copy: Copy

    @property
    def what(self) -> str:
        """Name them."""
        return f"{self.provider} bars {self.symbol} {self.interval}"

    def known_until_s(self, asked_s: float) -> float:
        """Return the end of the bar that was open: what is asked later has another."""
        if self.span.to_s <= asked_s:
            return float("inf")
        return (asked_s // self.interval.seconds + 1) * self.interval.seconds

    def parse(self, value: bytes, fetched: datetime) -> Series:
        """Return the bars, oldest first."""
        kept = _decoded(value, _Series)
        bars = tuple(_bar(*entry) for entry in kept.bars)
        symbol = parse_symbol(kept.symbol)
        if symbol != self.symbol or kept.interval != self.interval:
            raise ValueError(f"they are of {symbol}, {kept.interval}")
        return Series(symbol, self.interval, Instrument(kept.instrument), bars, kept.is_live, kept.note)

    @classmethod
    async def fetch(
        cls, requests: Sequence[BarsRequest], rest: ProviderOrigin, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for one span."""
        (request,) = requests
        flow = rest.adapter.bars(request.symbol, request.interval, request.span, int(fetched_s * 1000))
        series = await rest.run(flow, "bars", call, fetched_s)
        if not series.bars:
            raise NoData(request.what, "it has none in that time")
        return [encode_series(series)]


def encode_series(series: Series) -> bytes:
    """Return bars as they are kept."""
    facts = (str(series.symbol), series.interval.value, series.instrument.value, series.is_live, series.note)
    return encode_value(_Series(*facts, [_entry(bar) for bar in series.bars]))


def _entry(bar: Bar) -> _Entry:
    volume = f"{bar.volume:f}" if bar.volume is not None else None
    return (bar.start_s, f"{bar.open:f}", f"{bar.high:f}", f"{bar.low:f}", f"{bar.close:f}", volume, bar.is_closed)


def _bar(start_s: int, opened: str, high: str, low: str, close: str, volume: str | None, closed: bool) -> Bar:
    prices = (parse_decimal(opened), parse_decimal(high), parse_decimal(low), parse_decimal(close))
    return Bar(start_s, *prices, parse_decimal(volume) if volume is not None else None, closed)


_Entry: TypeAlias = tuple[int, str, str, str, str, str | None, bool]


@dataclass(frozen=True, slots=True)
class ListingRequest(Request[tuple[Listed, ...]]):
    """A provider's own list of what it has."""

    kind: ClassVar[str] = "data_listing"

    provider: str
    copy: Copy

    @property
    def what(self) -> str:
        """Name it."""
        return f"{self.provider} list"

    def parse(self, value: bytes, fetched: datetime) -> tuple[Listed, ...]:
        """Return the list."""
        return tuple(
            Listed(name, base, quote, Instrument(market) if market else None, active)
            for name, base, quote, market, active in _decoded(value, list[_Named])
        )

    @classmethod
    async def fetch(
        cls, requests: Sequence[ListingRequest], rest: ProviderOrigin, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for it."""
        (request,) = requests
        flow = rest.adapter.listing()
        if flow is None:
            raise NoData(request.what, "it has none")
        listed = await rest.run(flow, "list", call, fetched_s)
        return [encode_value([(e.id, e.base, e.quote, e.instrument or "", e.is_active) for e in listed])]


_Named: TypeAlias = tuple[str, str, str, str, bool]


class _Price(msgspec.Struct):
    symbol: str
    price: str
    instrument: str
    as_of_ms: int | None
    is_live: bool
    note: str


class _Series(msgspec.Struct):
    symbol: str
    interval: str
    instrument: str
    is_live: bool
    note: str
    bars: list[_Entry]


def _decoded(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise ValueError(f"not what is kept of a provider: {str(exc)[:200]}") from exc
