"""The shapes of answers about other providers, for the OpenAPI document; a test compares them with `data.shown`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamer.web.shapes import Number, Shape

Fate = Literal["served", "left out", "failed", "refused", "late", "passed over"]
Severity = Literal["low", "medium", "high"]


class Turn(Shape):
    """What became of one provider's turn."""

    provider: str = Field(examples=["binance"])
    fate: Fate
    why: str
    took_ms: float
    error: str | None = Field(description="kind of error", examples=["RestRateLimited"])


class DataProvenance(Shape):
    """Who answered, with what, and how old it is."""

    symbol: str = Field(description="what it is the price of", examples=["BTC-USDT"])
    asked: str = Field(description="what was asked for, under its canonical name", examples=["BTC-USD"])
    provider: str = Field(examples=["binance"])
    title: str = Field(examples=["Binance USD-M futures"])
    instrument: Literal["spot", "aggregate", "perpetual", "stock", "derived"]
    quote: str = Field(description="currency that the price counts", examples=["USDT"])
    is_stand_in: bool = Field(description="whether it is of another symbol than was asked for")
    is_live: bool = Field(description="false: delayed by the provider, or of the last close")
    tier: Literal["realtime", "cache", "rest", "stale"]
    age_s: float = Field(description="seconds since it was known to be so")
    value_age_s: float | None = Field(description="seconds since the provider stamped it; null where it did not")
    source: str = Field(description="the provider, or simulator", examples=["binance"])
    reason: str | None = Field(description="what there is to mind about it, else null")
    score: float | None = Field(description="quality of this provider for this symbol, 0 to 100", examples=[98.2])
    story: list[Turn] = Field(description="who was asked, in the order in which it ended")


class SourcePrice(Shape):
    """What one provider says."""

    provider: str
    price: Number
    deviation_bp: float = Field(description="from the median, in basis points")
    tier: Literal["realtime", "cache", "rest", "stale"]
    age_s: float


class SourceGroup(Shape):
    """Prices that can be compared: of one symbol, one kind of market, all live or all delayed."""

    of: str = Field(examples=["BTC-USD spot"])
    verdict: Literal["alone", "agree", "disagree"]
    median: Number
    tolerance_bp: float
    dissenters: list[str] = Field(description="who is further from the median than the tolerance")
    is_clear: bool = Field(description="whether it is they who are wrong: more than half of three or more agree")
    sources: list[SourcePrice]


class VerificationShape(Shape):
    """What several providers say."""

    groups: list[SourceGroup]
    unusable: list[str]


class DataPrice(DataProvenance):
    """A price from any provider."""

    price: Number
    as_of: str | None = Field(description="when the provider stamped it, RFC 3339")
    verification: VerificationShape | None


class BarShape(Shape):
    """One bar."""

    start: str = Field(description="RFC 3339")
    start_s: int = Field(description="the same in Unix seconds")
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number | None = Field(description="null where the provider has none for a bar")
    closed: bool = Field(description="whether it is over; an open one still changes")


class FindingShape(Shape):
    """Something found in a series; nothing of it is changed or left out."""

    code: str = Field(examples=["spike"])
    severity: Severity
    what: str
    index: int | None = Field(description="of the bar in `bars`")
    start_s: int | None


class ReportShape(Shape):
    """What checks have found."""

    worst: Severity | None
    completeness: float = Field(ge=0, le=1)
    counts: dict[str, int]
    judged: int = Field(description="bars that were compared with those before; of others it is unknown")
    findings: list[FindingShape]


class DataBars(DataProvenance):
    """Bars of one provider, oldest first."""

    interval: Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d"]
    count: int
    bars: list[BarShape]
    validation: ReportShape | None


class Hold(Shape):
    """Why a provider is not asked by anybody."""

    kind: str = Field(examples=["Banned"])
    why: str
    left_s: float


class DataWindow(Shape):
    """Calls within a time, over all processes."""

    used: int
    allowed: int
    length_s: float


class ScoreShape(Shape):
    """Quality of a provider for one symbol."""

    symbol: str
    score: float | None
    parts: dict[str, float]


class ProviderShape(Shape):
    """One provider."""

    name: str
    title: str
    assets: list[Literal["crypto", "stock"]]
    intervals: list[str]
    needs_key: bool
    has_key: bool
    held: Hold | None
    breaker: Literal["closed", "open", "half-open"]
    blocked_s: float
    windows: list[DataWindow]
    calls: int = Field(description="made by this process since its start")
    scores: list[ScoreShape]


class Providers(Shape):
    """All providers."""

    providers: list[ProviderShape]
    order: dict[str, list[str]] = Field(description="who is asked, by kind of symbol, the first choice first")
    by_score: bool = Field(description="whether a clearly better score goes before that order")
