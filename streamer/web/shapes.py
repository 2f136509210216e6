"""The shapes of answers, for the OpenAPI document. Numbers that are money are decimal strings.

Answers are written by `reader.shown`; a test holds the two to each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Number = Annotated[str, Field(pattern=r"^-?\d*\.?\d*$", examples=["84172.39"])]

PRODUCT_ID: Final = "[A-Z0-9][A-Z0-9.-]{0,31}"
"""The rule of `parse_product_id`, for the document; it is that function that holds everybody to it."""

_BOT: Final = r" *([^,%]{0,64}|([1-9]?[0-9](\.[0-9]{1,9})?|100)%) *"


class Provenance(BaseModel):
    """Where an answer comes from, and how old it is."""

    model_config = ConfigDict(extra="forbid")

    tier: Literal["realtime", "cache", "rest", "stale"]
    age_s: float = Field(description="seconds since the value was known to be current", examples=[0.412])
    value_age_s: float = Field(description="seconds since the exchange stamped it", examples=[1.07])
    as_of: str = Field(description="when the exchange stamped it, RFC 3339", examples=["2026-11-21T12:00:00+00:00"])
    source: str = Field(description="who made the value", examples=["coinbase", "simulator"])
    reason: str | None = Field(
        description="why it is not realtime, or what there is to mind about it, such as a jump; else null",
        examples=[None],
    )


class Ticker(Provenance):
    """The newest ticker of a product."""

    product_id: str = Field(examples=["BTC-USD"])
    price: Number
    best_bid: Number | None
    best_bid_quantity: Number | None
    best_ask: Number | None
    best_ask_quantity: Number | None
    volume_24_h: Number | None
    low_24_h: Number | None
    high_24_h: Number | None
    low_52_w: Number | None
    high_52_w: Number | None
    price_percent_chg_24_h: Number | None
    alias_of: str | None = Field(description="product whose book this id shares", examples=[None])
    status: str | None = Field(description="the exchange's word where it is not online", examples=[None])


class Shape(BaseModel):
    """An answer with these members and no others."""

    model_config = ConfigDict(extra="forbid")


class Missing(Shape):
    """What could not be served, and why."""

    product_id: str
    type: str
    detail: str


class Tickers(Shape):
    """Tickers by product, and what could not be served."""

    tickers: dict[str, Ticker]
    missing: list[Missing]


class Account(Shape):
    """One wallet."""

    uuid: str
    currency: str = Field(examples=["USD"])
    available: Number
    hold: Number
    total: Number


class Accounts(Provenance):
    """All wallets, as good as the worst of them."""

    accounts: list[Account]


class Candle(Shape):
    """Trades within one bucket of time."""

    start_s: int = Field(description="Unix seconds", examples=[1795000200])
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    closed: bool = Field(description="whether the bucket is over")


class Candles(Provenance):
    """The newest candles, oldest first."""

    candles: list[Candle]


class Product(Shape):
    """A product and its rules."""

    product_id: str
    status: str = Field(examples=["online"])
    base: str
    quote: str
    price: Number | None
    price_increment: Number | None
    base_increment: Number | None
    quote_increment: Number | None
    base_min_size: Number | None
    alias_of: str | None


class Products(Provenance):
    """The rules of every product."""

    products: list[Product]


class Change(Shape):
    """Which products to stream, or no longer to stream."""

    product_ids: list[str] = Field(
        min_length=1,
        max_length=500,
        examples=[["BTC-USD", "ETH-USD"]],
        # Bad ones among good ones are refused one by one.
        json_schema_extra={"contains": {"type": "string", "pattern": f"^{PRODUCT_ID}$"}},
    )


class Refused(Shape):
    """A product that was refused."""

    product_id: str
    why: str


class Changed(Shape):
    """What is streamed now."""

    message: str = Field(examples=["streaming started for 2 products"])
    changed: list[str] = Field(description="products that this request has added or removed")
    refused: list[Refused]
    products: list[str] = Field(description="all products that are wanted now")


class StreamStatus(Shape):
    """How the stream stands, as `stream-status --json` says it."""

    level: Literal["healthy", "degraded", "down"]
    reasons: list[str] = Field(description="what is wrong and what to do, the gravest first", examples=[[]])
    codes: list[str] = Field(description="the names of the reasons, in the same order", examples=[[]])
    summary: str = Field(examples=["healthy: 4 of 4 products live on 1 feed"])
    now_ms: int = Field(description="clock of Redis")
    status: dict[str, Any] | None = Field(description="the ingester's last report, null where there is none")


class Live(Shape):
    """The process lives."""

    status: Literal["pass"]


class Ready(Shape):
    """Whether traffic may come."""

    status: Literal["pass", "fail"]
    reasons: list[str] = Field(examples=[[]])


class Window(Shape):
    """One limit of a budget."""

    used: float
    limit: float
    length_s: float = Field(description="how long the window is", examples=[60.0])


class Budget(Shape):
    """What may be asked of REST, and what has been."""

    windows: list[Window]
    rate_factor: float = Field(description="below 1 after a 429", examples=[1.0])
    blocked_s: float
    queued: int


class Breaker(Shape):
    """The circuit breaker that all processes share."""

    state: str = Field(examples=["closed"])
    retry_s: float
    failures_in_a_row: int


class Spent(Shape):
    """Who has spent how much of it."""

    caller: str
    priority: str
    calls: int


class Called(Shape):
    """Calls of one kind, and what has become of them."""

    route: str
    priority: str
    outcome: str
    calls: int


class Calls(Shape):
    """What REST has cost all processes."""

    budgets: dict[str, Budget]
    breaker: Breaker
    processes: int
    spent: list[Spent]
    reads_last_5min: dict[str, dict[str, int]] = Field(description="reads by kind and tier")
    hit_rate_last_5min: float | None
    calls_last_hour: list[Called]
    errors_429_last_5min: int
    errors_429_last_hour: int


class Health(Shape):
    """How it stands, and what to do. Figures of REST are null where there is no REST to call."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    status: Literal["healthy", "degraded", "down"]
    reasons: list[str]
    recommendation: str = Field(examples=["nothing to do"])
    errors_429_last_5min: int | None = Field(alias="429_errors_last_5min")
    errors_429_last_hour: int | None = Field(alias="429_errors_last_hour")
    cache_hit_rate: float | None
    circuit_breaker: Breaker | None
    budgets: dict[str, Budget] | None


class Error(Shape):
    """Something that went wrong, and whether it is over."""

    id: str = Field(examples=["1790000000000-rate_limited"])
    error_type: str = Field(description="market_data, portfolio, store or system", examples=["market_data"])
    code: str = Field(description="stays the same while the message changes", examples=["rate_limited"])
    subject: str = Field(description="such as the id of a feed; empty where it is the whole", examples=[""])
    message: str = Field(examples=["the exchange answered 429 3 times in the last 5 minutes; streamer calls ..."])
    timestamp: str = Field(description="when it began", examples=["2026-09-21T14:13:20.000Z"])
    resolved: bool
    resolved_at: str | None


class Errors(Shape):
    """What has gone wrong, the newest first."""

    errors: list[Error]
    unresolved: int = Field(description="how many of all are not over")


class Flags(Shape):
    """Who goes through the coordinated calls."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    use_coordinated_api_calls: bool = Field(alias="USE_COORDINATED_API_CALLS")
    coordinated_bot_ids: str = Field(
        alias="COORDINATED_BOT_IDS", description="callers and a percentage; empty for all", examples=["bot-1,25%"]
    )


class FlagChange(Shape):
    """Flags to set; what is left out stays."""

    use_coordinated_api_calls: StrictBool | None = Field(None, alias="USE_COORDINATED_API_CALLS")
    coordinated_bot_ids: str | None = Field(
        None,
        alias="COORDINATED_BOT_IDS",
        max_length=10_000,
        pattern=f"^{_BOT}(,{_BOT})*$",
        examples=["bot-1,bot-7,25%"],
    )


class Progress(Shape):
    """How many of the callers of the last hour are coordinated."""

    migrated: int
    total: int
    percentage: float | None


class MigrationCaller(Shape):
    """A caller, and the way it goes."""

    caller: str
    is_coordinated: bool = Field(description="by the flags as they are now")
    last_way: str = Field(description="coordinated or direct: how it was last seen to go")
    last_seen_s: float
    requests: int


class Apart(Shape):
    """How far apart prices were."""

    compared: int
    mean_difference_bp: float | None
    max_difference_bp: float | None


class Unequal(Shape):
    """How many balances were not equal."""

    compared: int
    different: int


class ComparedAge(Shape):
    """How old what was served was."""

    mean_ms: float | None
    max_ms: float | None


class Comparison(Shape):
    """What was served against what REST said at the time."""

    price: Apart
    bid_ask: Apart
    balance: Unequal
    age: ComparedAge


class Migration(Shape):
    """How far callers have moved over, and what has come of it."""

    flags: Flags
    progress: Progress
    callers: list[MigrationCaller]
    requests_last_hour: dict[str, dict[str, int]] = Field(description="by way (served, passed, direct) and kind")
    comparison: Comparison
    coordinator: Calls | None
