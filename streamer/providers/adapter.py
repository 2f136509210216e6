"""What a provider's file has to say: how it is asked, how its answers read, and what its refusals mean. Pure.

A question is a generator: it yields requests, is sent their answers, and returns what they mean. So pages, second
tries at another endpoint and prices worked out from two read as plain code, and a test needs no network:

    flow = Binance(Access()).price(parse_symbol("BTC-USDT"), now_ms)
    get = next(flow)                        # Get("/fapi/v2/ticker/price", {"symbol": "BTCUSDT"})
    flow.send(Answer(200, {}, b"..."))      # StopIteration, its value the Price

An answer that refuses is thrown into the generator as its error, for those that know another way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias, TypeVar

from streamer.errors import RestError
from streamer.providers.shape import AssetClass, Instrument, Interval, Listed, Price, Quota, Series, Span, Symbol

T = TypeVar("T")

_PIECE: Final = 5000
"""So many bars a piece of a range has at most, as far as can be expected: it is one value in Redis."""
_IDLE: Final = 2
"""Stocks are traded less than half of the time, early and late hours included."""
_DAY_S: Final = 86_400
_WEEK_S: Final = 7 * _DAY_S


@dataclass(frozen=True, slots=True)
class Get:
    """One request: GET of a path below the provider's base URL.

    Attributes:
        path: Begins with a slash, percent-encoded.
        headers: Beside that of the key, which `Adapter.key_header` or `Adapter.key_param` names.
        cost: How many calls the provider counts it as.
    """

    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status.

    Attributes:
        headers: Names in lower case.
        body: Uncompressed; our key, where the provider repeats it, is blotted out.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


Flow: TypeAlias = Generator[Get, Answer, T]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` within any `length_s` seconds. A rate of 0.083 a second is 1 call in 12.05 s."""

    calls: int
    length_s: float


@dataclass(frozen=True, slots=True)
class Access:
    """How one user reaches a provider.

    Attributes:
        url: Instead of the provider's own, else None.
        plan: The user's word for the plan, "" where not told; adapters know "pro" and the like.
    """

    url: str | None = None
    key: str = field(default="", repr=False)
    plan: str = ""


class Adapter(ABC):
    """One provider.

    All flows raise RestError (the branch tells why) and, for a symbol or interval that the provider cannot have,
    UnknownSymbol or BadInterval before the first request.

    Attributes:
        name: In keys, settings, routes: "binance".
        title: For people: "Binance USD-M futures".
        base_url: The provider's own, for `access.plan`.
        key_header: Header that carries the key; None where it goes elsewhere.
        key_param: Query parameter that does; None likewise.
        key_prefix: Goes before the key in the header ("Bearer ").
        needs_key: Whether nothing is answered without one.
        limits: Of the plan that costs nothing; settings may say otherwise.
        assets: What kinds of symbols it has.
        intervals: What bars it has, those that are put together from shorter ones included.
        max_bars: So many bars one flow may be asked for; of which length that holds, `most_bars` says.
        free_days: So far back the plan that costs nothing goes, where more is refused; else None.
        market: What its prices of coins are the prices of, where an answer does not say.
        listed: What the provider's own list said when it was last read; empty before that.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    key_header: ClassVar[str | None] = None
    key_param: ClassVar[str | None] = None
    key_prefix: ClassVar[str] = ""
    needs_key: ClassVar[bool] = False
    limits: ClassVar[Sequence[Limit]]
    assets: ClassVar[frozenset[AssetClass]]
    intervals: ClassVar[frozenset[Interval]]
    max_bars: ClassVar[int]
    free_days: ClassVar[int | None] = None
    market: ClassVar[Instrument] = Instrument.AGGREGATE

    def __init__(self, access: Access, listed: Sequence[Listed] = ()) -> None:
        self.access, self.listed = access, listed

    @property
    @abstractmethod
    def base_url(self) -> str:
        """The provider's own address for this access, without a slash at its end."""

    @abstractmethod
    def check(self, answer: Answer, now_ms: int) -> None:
        """Let a usable answer pass.

        Raises:
            RestError: The answer refuses or is none; its branch tells what to do, `retry_after_s` when to come
                again where the provider tells.
        """

    @abstractmethod
    def price(self, symbol: Symbol, now_ms: int) -> Flow[Price]:
        """Ask for the newest price."""

    @abstractmethod
    def bars(self, symbol: Symbol, interval: Interval, span: Span, now_ms: int) -> Flow[Series]:
        """Ask for bars, at most `most_bars` or those of a `piece`; fewer come where there are fewer."""

    def most_bars(self, interval: Interval) -> int:
        """Return how many bars of this length one flow may be asked for; `max_bars`, unless they count for more."""
        return self.max_bars

    def piece(self, symbol: Symbol, interval: Interval, at_s: int, now_s: int) -> tuple[int, int]:
        """Return begin and end of the piece that a long range is asked for in at `at_s`; the same whoever asks.

        It is what one flow may be asked for, and no more than is good to keep in one place.
        """
        is_idle = symbol.asset is AssetClass.STOCK and interval is not Interval.D1
        length_s = min(self.most_bars(interval), _PIECE * (_IDLE if is_idle else 1)) * interval.seconds
        from_s = at_s // length_s * length_s
        free_from_s = self.free_from_s(now_s)
        if at_s < free_from_s:
            return from_s, min(from_s + length_s, free_from_s)
        return max(from_s, free_from_s), from_s + length_s

    def free_from_s(self, now_s: int) -> int:
        """Return since when the plan that costs nothing has bars: no piece crosses that, or all would be refused.

        For a week it is the same, so that pieces are; 0 where no plan ends anywhere.
        """
        return 0 if self.free_days is None else -(-(now_s - self.free_days * _DAY_S) // _WEEK_S) * _WEEK_S

    def listing(self) -> Flow[Sequence[Listed]] | None:
        """Ask for the list of what there is; None where the provider has none."""
        return None

    def quota(self) -> Flow[Quota] | None:
        """Ask how much of the plan is left; None where the provider does not tell."""
        return None

    def fault(self, kind: type[RestError], what: str, why: str, answer: Answer | None = None) -> RestError:
        """Return an error of this provider; `what` is what was asked, such as "price"."""
        return kind(f"{self.name} {what}", why, status=answer.status if answer is not None else None)
