"""One error tree. Callers catch `StreamerError` or a branch of it; facts are attributes, the message is a sentence.

StreamerError
├── ConfigError            a setting, argument or id that breaks a rule; nothing was started; also a ValueError
│   └── InvalidProductId
├── Unavailable            no tier has anything that may be served
├── UnknownProduct         the exchange has no such product; also a LookupError
├── FeedError              between us and the exchange
│   ├── ConnectFailed      the network did not carry us there
│   ├── ConnectRefused     the exchange answered and said no
│   └── MalformedFrame     a frame that is not what the protocol allows
├── RestError              a REST call brought no usable answer
│   ├── CallNotMade        it was not sent: CircuitOpen, QueueTimeout, or `compat.NotSent`
│   ├── RestUnavailable    no answer, or one of the 5xx kind or without sense
│   │   ├── Maintenance        a page for people instead of data
│   │   └── MalformedAnswer    cut short, or not what the provider sends
│   └── RestRefused        4xx or its like: RestUnauthorized, or another
│       ├── RestRateLimited    too many calls
│       │   ├── QuotaExhausted     those of a day or a month are used up
│       │   └── Banned             this address may not call for a while
│       ├── KeyRefused         the provider does not take our key, or wants one
│       ├── NotEntitled        our plan does not have this
│       ├── UnknownSymbol      the provider has no such symbol
│       ├── BadInterval        or no such interval
│       ├── NoData             the answer is sound and holds nothing
│       └── GeoBlocked         not from this country
└── StoreError             between us and Redis
    ├── StoreUnavailable   no answer within the deadline, or an answer that means "not now"
    └── EmbeddedRedisError the child redis-server cannot be started or found
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TYPE_CHECKING = False  # typing's own constant costs its import; type checkers know the name
if TYPE_CHECKING:
    from typing import Any


class StreamerError(Exception):
    """Base of every error this package raises on purpose. Can be pickled, as results of tasks are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (type(self), self.args, vars(self))


def _revived(kind: type[StreamerError], args: tuple[object, ...], facts: dict[str, Any]) -> StreamerError:
    """Return an error as it was: its message is put together when it is made, and would be once more."""
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(facts)
    return error


class ConfigError(StreamerError, ValueError):
    """A value given by the user breaks a rule. Names the setting, the value and the rule.

    Commands print it as one line and exit with status 2.
    """

    def __init__(self, name: str, value: object, rule: str) -> None:
        super().__init__(f"{name}: {value!r} is not valid: {rule}")
        self.name, self.value, self.rule = name, value, rule


class InvalidProductId(ConfigError):
    """A product id that no Redis key may be built from."""

    def __init__(self, value: object) -> None:
        shown = value if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        super().__init__(
            "product id",
            shown,
            "expected base-quote such as BTC-USD: capitals, digits, '.' and '-', at most 32",
        )


class Unavailable(StreamerError):
    """No tier has anything that may be served within the time and the ages that were asked for.

    Attributes:
        what: What was asked for, such as "ticker BTC-USD".
        tiers: What each tier said, in the order they were asked.
    """

    def __init__(self, what: str, tiers: Mapping[str, str]) -> None:
        said = "; ".join(f"{tier}: {why}" for tier, why in tiers.items())
        super().__init__(f"{what} is unavailable ({said})")
        self.what, self.tiers = what, dict(tiers)


class UnknownProduct(StreamerError, LookupError):
    """The exchange has no product of this id. Remembered for a minute, so that it is not asked again.

    Attributes:
        nearest: Ids that look like it, the likeliest first.
    """

    def __init__(self, product_id: str, nearest: Sequence[str] = ()) -> None:
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(f"the exchange has no product {product_id}{hint}")
        self.product_id, self.nearest = product_id, tuple(nearest)


class FeedError(StreamerError):
    """Something between us and the exchange."""


class ConnectFailed(FeedError):
    """The network did not carry us to the exchange: refused, timed out, reset, or TLS not trusted."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"cannot connect to {url}: {why}")
        self.url, self.why = url, why


class ConnectRefused(FeedError):
    """The exchange answered the upgrade with an HTTP status instead of a WebSocket.

    Attributes:
        status: HTTP status of the answer.
        retry_after_s: What a Retry-After header asked for, else None.
    """

    def __init__(self, url: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"{url} refused the connection with HTTP {status}")
        self.url, self.status, self.retry_after_s = url, status, retry_after_s


class MalformedFrame(FeedError):
    """A frame that is not JSON, or not an object of the protocol's shape. The frame is dropped and counted."""


class RestError(StreamerError):
    """A REST call brought no usable answer.

    Attributes:
        route: What was asked, such as "accounts".
        why: What went wrong, in words.
        status: HTTP status of the answer; None where there was none.
        retry_after_s: What a Retry-After header asked for, else None.
    """

    def __init__(
        self, route: str, why: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"REST {route}: {why}")
        self.route, self.why, self.status, self.retry_after_s = route, why, status, retry_after_s


class CallNotMade(RestError):
    """The call was not sent. `retry_after_s` says when trying again makes sense, where that is known."""


class CircuitOpen(CallNotMade):
    """So many calls have failed that none is made for a while."""


class QueueTimeout(CallNotMade):
    """No call was free within the time that the caller could wait."""


class RestUnavailable(RestError):
    """The network, a time limit, or an answer of the 5xx kind or without sense: trying again may help."""


class RestRefused(RestError):
    """The exchange understood and said no (4xx): the same call will fail again."""


class RestUnauthorized(RestRefused):
    """It does not take our key for this (401, 403). A single 401 happens with good keys too."""


class RestRateLimited(RestRefused):
    """Too many calls (429)."""


class QuotaExhausted(RestRateLimited):
    """The calls of a day or a month are used up: nothing will come before they are counted anew."""


class Banned(RestRateLimited):
    """The provider takes no call from this address until `retry_after_s` is over; each one makes it worse."""


class KeyRefused(RestRefused):
    """The provider does not take our key, or wants one: a new call with the same key will not help."""


class NotEntitled(RestRefused):
    """The plan behind our key does not cover this; it may cover other things."""


class UnknownSymbol(RestRefused):
    """The provider has nothing of this name. Remembered for a minute, so that it is not asked again."""


class BadInterval(RestRefused):
    """The provider has no bars of this length, or not for so long a time."""


class NoData(RestRefused):
    """A sound answer without any value: no trade in that time, or nothing yet."""


class GeoBlocked(RestRefused):
    """The provider does not serve this country."""


class Maintenance(RestUnavailable):
    """A page for people where data should be: maintenance, a proxy, a firewall."""


class MalformedAnswer(RestUnavailable):
    """An answer that was cut short, or is not what the provider sends."""


class StoreError(StreamerError):
    """Something between us and Redis."""


class StoreUnavailable(StoreError):
    """Redis did not answer in time, or answered that it cannot serve (loading, read-only, out of memory).

    Attributes:
        url: The address, with any password hidden.
        why: What went wrong, in words.
    """

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"Redis at {url} is unavailable: {why}")
        self.url, self.why = url, why


class EmbeddedRedisError(StoreError):
    """The embedded redis-server cannot be started, or another process holds its state folder."""
