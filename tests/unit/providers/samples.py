"""The sample answers of all providers, and the form in which a test says what becomes of each.

What is expected of one provider's samples stands in `expected_<provider>.py`, which has two names:

    ADAPTER = Binance(Access(key=samples.KEY))
    EXPECTED: Mapping[str, Expected] = {
        # read by a flow, which gets this answer to its first request
        "ticker_price_v2_single": Gives(flow(ADAPTER, lambda: ADAPTER.price(BTC_USDT, CLOCK_MS)), Price(...)),
        # read by a function of the document, for endpoints that no flow calls
        "ticker_book_single": Gives(body(lambda it: read_book(it, BTC_USDT, CLOCK_MS)), Price(...)),
        # read by a function of the answer itself
        "real_time_csv_default": Gives(lambda answer: read_csv(answer), ...),
        # refused by `ADAPTER.check`
        "error_rate_limited_429": Refuses(RestRateLimited, retry_after_s=53),
        # passes the check; its reader refuses it
        "aggs_empty": Refuses(NoData, by=flow(ADAPTER, lambda: ADAPTER.bars(...))),
    }

The values are written down from the samples by hand, not taken from what the code says. The test is
`test_samples.py`; every answer first passes `ADAPTER.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from streamer.errors import MalformedAnswer, RestError
from streamer.providers.adapter import Adapter, Answer, Flow, Get
from streamer.providers.decode import document

T = TypeVar("T")

FOLDER: Final = Path(__file__).parents[2] / "data" / "providers"
CLOCK_MS: Final = 1_795_186_807_123
"""The moment that all samples share: 2026-11-20T15:00:07.123Z, a Friday."""
KEY: Final = "YOUR_KEY"
"""What stands for the key in the samples."""
WEBHOOKS: Final = "webhooks"
"""The folder of samples that are sent to us, not asked for."""

Reader: TypeAlias = Callable[[Answer], object]


@dataclass(frozen=True, slots=True)
class Gives:
    """The answer is sound: `read` makes `value` of it."""

    read: Reader
    value: object


@dataclass(frozen=True, slots=True)
class Refuses:
    """The answer is refused with exactly this class: by `check`, or if that lets it pass, when `by` reads it.

    Attributes:
        retry_after_s: What the error must say; None where it must say nothing.
    """

    error: type[RestError]
    retry_after_s: float | None = None
    by: Reader | None = None


Expected: TypeAlias = Gives | Refuses


class _Sent(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: msgspec.Raw = msgspec.Raw()
    body_text: str | None = None


class _File(msgspec.Struct):
    response: _Sent


def load(name: str) -> Answer:
    """Return one sample as the runner of adapters would hand it over: the key is blotted out.

    Args:
        name: Such as "binance/ping".
    """
    sent = msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=_File).response
    raw = bytes(sent.body) if sent.body_text is None else sent.body_text.encode()
    headers = {name.lower(): value for name, value in sent.headers.items()}
    return Answer(sent.status, headers, raw.replace(KEY.encode(), b"***"))


def names() -> Iterator[str]:
    """Return what the index names, webhooks included, as `load` takes it."""
    index = msgspec.json.decode((FOLDER / "index.json").read_bytes())
    return (entry["file"].removesuffix(".json") for entry in index["files"])


def answer(body: bytes | str, status: int = 200, **headers: str) -> Answer:
    """Return an answer made by hand; an underscore in a header's name stands for a dash."""
    raw = body.encode() if isinstance(body, str) else body
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


class Unanswered(AssertionError):
    """A flow asks for more than there are answers, or for less."""


def drive(adapter: Adapter, flow: Flow[T], *answers: Answer) -> tuple[list[Get], T]:
    """Run a flow over answers, each checked first; return what it asked and what it makes of them.

    Raises:
        RestError: What the flow lets out; MalformedAnswer where its parsing fails, as for the product's callers.
        Unanswered: It asks once more than there are answers, or is done before all are used.
    """
    asked: list[Get] = []
    left = iter(answers)
    try:
        asked.append(next(flow))
        while True:
            found = next(left, None)
            if found is None:
                raise Unanswered(f"no answer left for {asked[-1]}")
            try:
                adapter.check(found, CLOCK_MS)
            except RestError as refused:
                asked.append(flow.throw(refused))
            else:
                asked.append(flow.send(found))
    except StopIteration as done:
        if next(left, None) is not None:
            raise Unanswered("an answer was never asked for") from None
        value: T = done.value
        return asked, value
    except (ValueError, KeyError, TypeError) as exc:
        raise MalformedAnswer(adapter.name, f"{type(exc).__name__}: {str(exc)[:200]}") from exc


def flow(adapter: Adapter, start: Callable[[], Flow[T]]) -> Callable[[Answer], T]:
    """Return a reader: a new flow that gets the sample to its first request, and asks no second."""
    return lambda found: drive(adapter, start(), found)[1]


def body(read: Callable[[Any], T]) -> Callable[[Answer], T]:
    """Return a reader of the answer's JSON."""
    return lambda found: read(document(found, "sample"))


def ms(when: str) -> int:
    """Return an ISO time as Unix ms; without a zone it is UTC."""
    at = datetime.fromisoformat(when)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1000)
