"""The words everyone uses: ids, sources and the values that travel between rooms. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Final, Generic, NewType, TypeVar

import msgspec

from streamer.errors import ConfigError, InvalidProductId, StreamerError

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


class TickerFields(msgspec.Struct, gc=False):
    """The values of one ticker as the exchange sent them: decimal strings, "" where it sent none.

    The hot path keeps these as they came; only a reader turns them into `Decimal`.
    """

    product_id: str = ""
    price: str = ""
    best_bid: str = ""
    best_bid_quantity: str = ""
    best_ask: str = ""
    best_ask_quantity: str = ""
    volume_24_h: str = ""
    low_24_h: str = ""
    high_24_h: str = ""
    low_52_w: str = ""
    high_52_w: str = ""
    price_percent_chg_24_h: str = ""


class Stamp(msgspec.Struct, frozen=True):
    """Which connection a value came through.

    Attributes:
        feed: Feed id, a field of `stream:feeds`.
        connection: Rises with every connect of that feed.
        source: Who made the value.
    """

    feed: str
    connection: int
    source: Source


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One ticker under the id that was asked for.

    Attributes:
        fields: The values; `fields.product_id` is the exchange's label.
        stamp: The connection it came through.
        sequence: `sequence_num` of its frame, within that connection.
        time: The exchange's timestamp of the frame, RFC 3339 ending in Z.
        received_s: Unix time at which the frame reached us.
        alias_of: The canonical id where the asked-for id is an alias (BTC-USDC of BTC-USD), else None.
    """

    fields: TickerFields
    stamp: Stamp
    sequence: int
    time: str
    received_s: float
    alias_of: str | None = None


@dataclass(frozen=True, slots=True)
class Ticker:
    """A ticker as a reader hands it out. Money is `Decimal`; None where the exchange gave no value.

    Attributes:
        time: When the exchange stamped the frame it came in.
        alias_of: Canonical product whose book this id shares, else None.
        status: The exchange's word for the state of the product ("offline", "delisted", ...), None while online.
    """

    product_id: ProductId
    price: Decimal
    time: datetime
    best_bid: Decimal | None = None
    best_bid_quantity: Decimal | None = None
    best_ask: Decimal | None = None
    best_ask_quantity: Decimal | None = None
    volume_24_h: Decimal | None = None
    low_24_h: Decimal | None = None
    high_24_h: Decimal | None = None
    low_52_w: Decimal | None = None
    high_52_w: Decimal | None = None
    price_percent_chg_24_h: Decimal | None = None
    alias_of: ProductId | None = None
    status: str | None = None


CANDLE_S: Final = 300
"""Length of the buckets that the exchange streams and Redis holds, in seconds. They start at multiples of it."""
CLOSING_S: Final = 2
"""For so long after its end a bucket may still change: its last values come up to about a second late."""


class Granularity(StrEnum):
    """How long a candle is, as the exchange names it. All begin at multiples of their length in Unix time."""

    ONE_MINUTE = "ONE_MINUTE"
    FIVE_MINUTE = "FIVE_MINUTE"
    FIFTEEN_MINUTE = "FIFTEEN_MINUTE"
    THIRTY_MINUTE = "THIRTY_MINUTE"
    ONE_HOUR = "ONE_HOUR"
    TWO_HOUR = "TWO_HOUR"
    FOUR_HOUR = "FOUR_HOUR"
    SIX_HOUR = "SIX_HOUR"
    ONE_DAY = "ONE_DAY"

    @property
    def seconds(self) -> int:
        """The length in seconds."""
        return _GRANULARITY_S[self]

    @property
    def is_made_of_streamed(self) -> bool:
        """Whether the streamed five-minute candles can be put together to it."""
        return self.seconds % CANDLE_S == 0


_GRANULARITY_S: Final = {
    Granularity.ONE_MINUTE: 60,
    Granularity.FIVE_MINUTE: CANDLE_S,
    Granularity.FIFTEEN_MINUTE: 900,
    Granularity.THIRTY_MINUTE: 1800,
    Granularity.ONE_HOUR: 3600,
    Granularity.TWO_HOUR: 7200,
    Granularity.FOUR_HOUR: 14_400,
    Granularity.SIX_HOUR: 21_600,
    Granularity.ONE_DAY: 86_400,
}


def parse_granularity(text: str) -> Granularity:
    """Return `text` as a granularity.

    Raises:
        ConfigError: The exchange has none of that name.
    """
    try:
        return Granularity(text)
    except ValueError:
        raise ConfigError("granularity", text, f"expected one of {', '.join(Granularity)}") from None


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """A five-minute candle as the exchange sent it: decimal strings.

    Attributes:
        start_s: Where it begins, Unix seconds.
        volume: In the base currency.
    """

    start_s: int
    open: str
    high: str
    low: str
    close: str
    volume: str


@dataclass(frozen=True, slots=True)
class Candle:
    """Trades of one product within one bucket of time.

    Attributes:
        start_s: Where the bucket begins, Unix seconds.
        volume: In the base currency.
        closed: Whether the bucket is over; an open one still changes.
    """

    start_s: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    closed: bool


class Basis(StrEnum):
    """What a balance rests on."""

    CONFIRMED = "confirmed"
    DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class Account:
    """One wallet as REST tells it.

    Attributes:
        uuid: The wallet's id.
        available: What can be spent.
        hold: What open orders hold back.
    """

    uuid: str
    currency: str
    available: Decimal
    hold: Decimal


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of one currency, as a reader hands it out.

    Attributes:
        total: `available` and `hold` together.
        basis: Whether REST has confirmed it, or it follows from order updates since.
        time: When the exchange stamped what it follows from.
        account_uuid: The wallet's id; None where the exchange has not told yet.
    """

    currency: str
    available: Decimal
    hold: Decimal
    total: Decimal
    basis: Basis
    time: datetime
    account_uuid: str | None = None

    @classmethod
    def confirmed(cls, account: Account, time: datetime) -> Balance:
        """Return what REST has told of a wallet at `time`."""
        return cls(
            currency=account.currency,
            available=account.available,
            hold=account.hold,
            total=account.available + account.hold,
            basis=Basis.CONFIRMED,
            time=time,
            account_uuid=account.uuid or None,
        )


T_co = TypeVar("T_co", covariant=True)


class Priority(IntEnum):
    """How urgent a REST call is; the lowest number goes first. Waiting makes any call more urgent."""

    TRADING = 0
    BOT_EVALUATION = 1
    MARKET_DATA = 2
    BACKGROUND = 3


class Tier(StrEnum):
    """How a value came to the reader, the freshest way first."""

    REALTIME = "realtime"
    CACHE = "cache"
    REST = "rest"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Reading(Generic[T_co]):
    """An answer with its provenance and two ages.

    A quiet market has a large value age and a small age, and is live; a dead feed is the reverse of trust.

    Attributes:
        age_s: Seconds since the value was last known to be current.
        value_age_s: Seconds since the exchange stamped the value.
        as_of: When the exchange stamped it.
        source: Who made the value: "coinbase", "simulator".
        reason: Why it is not realtime, or what there is to mind about a value that is; else None.
    """

    value: T_co
    tier: Tier
    age_s: float
    value_age_s: float
    as_of: datetime
    source: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """A product and its rules, as REST describes it.

    Attributes:
        status: The exchange's word: "online", "offline", "delisted", ...
        alias_of: Canonical product whose book this id shares, else None.
        facts: Everything the exchange says of it, under its own names.
    """

    product_id: ProductId
    status: str
    base: str
    quote: str
    price: Decimal | None
    price_increment: Decimal | None
    base_increment: Decimal | None
    quote_increment: Decimal | None
    base_min_size: Decimal | None
    alias_of: ProductId | None
    facts: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SpotPosition:
    """What a portfolio holds of one asset, in the terms of REST's `spot_positions`.

    Attributes:
        total_balance_fiat: Its worth in the currency of the breakdown; None where no price is known.
        allocation: Its share of the portfolio, 0 to 1; None where that cannot be told.
    """

    asset: str
    account_uuid: str | None
    total_balance_crypto: Decimal
    available_to_trade_crypto: Decimal
    total_balance_fiat: Decimal | None
    available_to_trade_fiat: Decimal | None
    allocation: Decimal | None
    is_cash: bool


@dataclass(frozen=True, slots=True)
class PortfolioBreakdown:
    """What a portfolio is worth and made of.

    Attributes:
        currency: What worth is told in.
        total_balance: The worth of all positions; None where one of them has no known price.
        unpriced: Assets held without a known price.
    """

    uuid: str
    currency: str
    total_balance: Decimal | None
    total_cash_equivalent_balance: Decimal | None
    total_crypto_balance: Decimal | None
    spot_positions: tuple[SpotPosition, ...]
    unpriced: tuple[str, ...] = ()


K = TypeVar("K")


class Answers(dict[K, Reading[T_co]], Generic[K, T_co]):
    """Readings by what was asked for. What cannot be served is not among them: asking for it raises why not.

    Attributes:
        missing: What could not be served, and the error that says why.
    """

    def __init__(self, readings: Mapping[K, Reading[T_co]], missing: Mapping[K, StreamerError]) -> None:
        super().__init__(readings)
        self.missing = dict(missing)

    def __missing__(self, key: K) -> Reading[T_co]:
        if key in self.missing:
            raise self.missing[key]
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class TierSays:
    """What one tier has of a value.

    Attributes:
        where: The Redis key it is in, or "REST".
        reading: What it has, None where it has nothing.
        why_not: Why that is not served, None where it is.
    """

    where: str
    reading: Reading[Any] | None
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a reader serves what it serves.

    Attributes:
        tiers: In the order they are trusted.
        served: What is served without asking REST; None where REST would be asked.
    """

    what: str
    tiers: tuple[TierSays, ...]
    served: Reading[Any] | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a fleet of bots needs, read at one moment.

    Attributes:
        accounts: None where the account was not asked for, or cannot be served; `accounts_error` says why.
    """

    tickers: Answers[ProductId, Ticker]
    candles: Answers[ProductId, tuple[Candle, ...]]
    accounts: Reading[tuple[Account, ...]] | None
    accounts_error: StreamerError | None = None
