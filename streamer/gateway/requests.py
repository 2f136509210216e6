"""What can be fetched over REST: for each kind the copy it is kept in, how it is asked, and what it means.

Values travel as JSON in the shape that the exchange's REST API gives them, so that any consumer of Redis can read a
copy; only here, and only when a reader wants it, does one become a value of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from streamer.errors import ConfigError, RestRefused, RestUnavailable, StreamerError, UnknownProduct
from streamer.gateway.breakdown import parse_breakdown
from streamer.gateway.products import parse_product, ticker_of
from streamer.model import (
    CLOSING_S,
    Account,
    Bucket,
    Candle,
    Granularity,
    PortfolioBreakdown,
    Product,
    ProductId,
    Ticker,
)
from streamer.providers.base import Call, RestSource
from streamer.store.copies import encode_value
from streamer.store.keys import Copy, Keys
from streamer.store.records import parse_count, parse_decimal

T = TypeVar("T")

MAX_CANDLES = 350
"""Most candles of one request (documentation of List Product Candles, June 2026)."""
Fetched = bytes | StreamerError
"""The value as JSON, or why there is none."""


class Request(ABC, Generic[T]):
    """One thing to fetch. Two requests with the same key are the same request.

    Attributes:
        kind: The schema's name for this type of data.
        copy: Where the answer is kept.
        batch: Most requests of this kind that one call can answer.
        is_kept_by_stream: Whether the ingester keeps the copy true, so that it does not age by itself.
    """

    kind: ClassVar[str]
    batch: ClassVar[int] = 1
    is_kept_by_stream: ClassVar[bool] = False
    copy: Copy

    @property
    @abstractmethod
    def what(self) -> str:
        """For messages, such as "ticker BTC-USD"."""

    def known_until_s(self, asked_s: float) -> float:
        """Return until when, in Unix seconds, an answer to the question as put at `asked_s` can be current."""
        return float("inf")

    @abstractmethod
    def parse(self, value: bytes, fetched: datetime) -> T:
        """Return a kept value as one of ours, true at `fetched`.

        Raises:
            ValueError: It is not what the exchange sends: foreign or damaged data.
        """

    @classmethod
    @abstractmethod
    async def fetch(cls, requests: Sequence[Any], rest: Any, call: Call, fetched_s: float) -> Sequence[Fetched]:
        """Ask; return an answer a request, in order.

        Args:
            rest: Whom to ask: for these of the exchange a `RestSource`.
            fetched_s: What time it is, in Unix seconds on the clock of Redis.

        Raises:
            RestError: No usable answer to any of them.
        """


@dataclass(frozen=True, slots=True)
class TickerRequest(Request[Ticker]):
    """The price of a product: what `GET /products` says of it. Bid and ask it does not tell."""

    kind: ClassVar[str] = "ticker"
    batch: ClassVar[int] = 100

    product_id: ProductId
    copy: Copy

    @property
    def what(self) -> str:
        """Name it."""
        return f"ticker {self.product_id}"

    def parse(self, value: bytes, fetched: datetime) -> Ticker:
        """Return the ticker."""
        ticker = ticker_of(parse_product(_json(value, dict[str, Any])), fetched)
        if ticker.product_id != self.product_id:
            raise ValueError(f"it is of {ticker.product_id}")
        return ticker

    @classmethod
    async def fetch(
        cls, requests: Sequence[TickerRequest], rest: RestSource, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for all of them in one call, two where the exchange refuses the whole for one id unknown to it."""
        ids = [request.product_id for request in requests]
        try:
            products = await rest.products(ids, call)
        except RestRefused as exc:
            if exc.status not in (400, 404):
                raise
            products = [] if len(ids) == 1 else await rest.products((), call)
        by_id = {name: facts for facts in products if isinstance(name := facts.get("product_id"), str)}
        return [_product_or_error(product_id, by_id.get(product_id)) for product_id in ids]


def _product_or_error(product_id: ProductId, facts: Mapping[str, Any] | None) -> Fetched:
    if facts is None:
        return UnknownProduct(product_id)
    try:
        parse_product(facts)
    except ValueError as exc:
        return RestUnavailable("products", f"an answer without sense: {exc}")
    if not facts.get("price"):
        return RestUnavailable("products", f"the exchange has no price of {product_id}")
    return encode_value(facts)


@dataclass(frozen=True, slots=True)
class CandlesRequest(Request[tuple[Candle, ...]]):
    """The newest candles of a product, the open one included."""

    kind: ClassVar[str] = "historical"

    product_id: ProductId
    granularity: Granularity
    limit: int
    copy: Copy

    @property
    def what(self) -> str:
        """Name them."""
        return f"candles {self.product_id} {self.granularity} {self.limit}"

    def known_until_s(self, asked_s: float) -> float:
        """Return the end of the bucket that was open: a question that waited longer does not ask for the next."""
        return (asked_s // self.granularity.seconds + 1) * self.granularity.seconds

    def parse(self, value: bytes, fetched: datetime) -> tuple[Candle, ...]:
        """Return the candles, oldest first; one is closed if it was when they were fetched."""
        at = fetched.timestamp()
        candles = [self._candle(entry, at) for entry in _json(value, _Candles).candles]
        return tuple(sorted(candles, key=lambda candle: candle.start_s))

    def _candle(self, entry: _CandleEntry, at: float) -> Candle:
        start_s, length_s = parse_count(entry.start), self.granularity.seconds
        if start_s % length_s:
            raise ValueError(f"a candle begins at {start_s}")
        numbers = {name: parse_decimal(getattr(entry, name)) for name in _CANDLE_VALUES}
        return Candle(start_s, **numbers, closed=start_s + length_s + CLOSING_S <= at)

    @classmethod
    async def fetch(
        cls, requests: Sequence[CandlesRequest], rest: RestSource, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for one."""
        (request,) = requests
        length_s = request.granularity.seconds
        to_s = int(fetched_s)
        from_s = (to_s // length_s - request.limit + 1) * length_s
        try:
            buckets = await rest.candles(request.product_id, request.granularity, from_s, to_s, call)
        except RestRefused as exc:
            if exc.status == 404:
                return [UnknownProduct(request.product_id)]
            raise
        return [encode_candles(buckets[-request.limit :])]


def encode_candles(buckets: Sequence[Bucket | Candle]) -> bytes:
    """Return candles, oldest first, as REST gives them: newest first, strings."""
    entries = [
        {"start": str(b.start_s), **{name: str(getattr(b, name)) for name in _CANDLE_VALUES}}
        for b in reversed(buckets)
    ]
    return encode_value({"candles": entries})


@dataclass(frozen=True, slots=True)
class AccountsRequest(Request[tuple[Account, ...]]):
    """All wallets of the key's portfolio."""

    kind: ClassVar[str] = "accounts"

    copy: Copy

    @property
    def what(self) -> str:
        """Name them."""
        return "accounts"

    def parse(self, value: bytes, fetched: datetime) -> tuple[Account, ...]:
        """Return the wallets."""
        return tuple(
            Account(a.uuid, a.currency, parse_decimal(a.available_balance.value), parse_decimal(a.hold.value))
            for a in _json(value, _Accounts).accounts
        )

    @classmethod
    async def fetch(
        cls, requests: Sequence[AccountsRequest], rest: RestSource, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for all pages."""
        return [encode_accounts(await rest.accounts(call))]


def encode_accounts(accounts: Sequence[Account]) -> bytes:
    """Return wallets as REST gives them, all on one page."""
    entries = [
        {
            "uuid": a.uuid,
            "currency": a.currency,
            "available_balance": {"value": f"{a.available:f}", "currency": a.currency},
            "hold": {"value": f"{a.hold:f}", "currency": a.currency},
        }
        for a in accounts
    ]
    return encode_value({"accounts": entries, "has_next": False, "cursor": "", "size": len(entries)})


@dataclass(frozen=True, slots=True)
class BreakdownRequest(Request[PortfolioBreakdown]):
    """What a portfolio is worth and made of."""

    kind: ClassVar[str] = "portfolio_breakdown"

    uuid: str
    copy: Copy

    @property
    def what(self) -> str:
        """Name it."""
        return f"portfolio breakdown {self.uuid}"

    def parse(self, value: bytes, fetched: datetime) -> PortfolioBreakdown:
        """Return the breakdown."""
        found = parse_breakdown(value)
        if found.uuid.lower() != self.uuid.lower():
            raise ValueError(f"it is of portfolio {found.uuid[:40]}")
        return found

    @classmethod
    async def fetch(
        cls, requests: Sequence[BreakdownRequest], rest: RestSource, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for one."""
        (request,) = requests
        return [encode_value({"breakdown": await rest.portfolio_breakdown(request.uuid, call)})]


@dataclass(frozen=True, slots=True)
class ProductsRequest(Request[tuple[Product, ...]]):
    """The facts of every product."""

    kind: ClassVar[str] = "products"
    is_kept_by_stream: ClassVar[bool] = True

    copy: Copy

    @property
    def what(self) -> str:
        """Name them."""
        return "products"

    def parse(self, value: bytes, fetched: datetime) -> tuple[Product, ...]:
        """Return the products that are sound."""
        products = []
        for facts in _json(value, _Products).products:
            try:
                products.append(parse_product(facts))
            except ValueError:
                continue  # one that makes no sense takes none of the others with it
        return tuple(products)

    @classmethod
    async def fetch(
        cls, requests: Sequence[ProductsRequest], rest: RestSource, call: Call, fetched_s: float
    ) -> Sequence[Fetched]:
        """Ask for all of them."""
        products = await rest.products((), call)
        return [encode_value({"products": list(products), "num_products": len(products)})]


class Requests:
    """Makes requests from what callers ask for; the rules for arguments are here.

    Every method raises ConfigError (also a ValueError) for an argument that breaks a rule.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ticker(self, product_id: ProductId) -> TickerRequest:
        """Ask for a price."""
        return TickerRequest(product_id, self._keys.ticker_copy(product_id))

    def candles(self, product_id: ProductId, granularity: Granularity, limit: int) -> CandlesRequest:
        """Ask for candles."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_CANDLES:
            raise ConfigError("limit", limit, f"expected 1 to {MAX_CANDLES} candles")
        return CandlesRequest(
            product_id, granularity, limit, self._keys.candles_copy(product_id, granularity, limit)
        )

    def accounts(self) -> AccountsRequest:
        """Ask for accounts."""
        return AccountsRequest(self._keys.accounts_copy)

    def breakdown(self, uuid: str) -> BreakdownRequest:
        """Ask for a breakdown."""
        return BreakdownRequest(uuid, self._keys.breakdown_copy(uuid))

    def products(self) -> ProductsRequest:
        """Ask for all products."""
        return ProductsRequest(self._keys.products_copy)


# -- shapes (samples of the documentation and of live captures, November 2026) -----------------------------------

_CANDLE_VALUES = ("open", "high", "low", "close", "volume")


class _CandleEntry(msgspec.Struct):
    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class _Candles(msgspec.Struct):
    candles: list[_CandleEntry]


class _Money(msgspec.Struct):
    value: str


class _AccountEntry(msgspec.Struct):
    uuid: str
    currency: str
    available_balance: _Money
    hold: _Money


class _Accounts(msgspec.Struct):
    accounts: list[_AccountEntry]


class _Products(msgspec.Struct):
    products: list[dict[str, Any]]


def _json(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise ValueError(f"not what the exchange sends: {str(exc)[:200]}") from exc
