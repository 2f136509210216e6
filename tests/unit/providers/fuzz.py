"""Answers as a broken provider, a proxy or nobody at all would make them: samples with parts replaced by junk.

Whatever comes, an adapter makes sound values of it or raises RestError, ValueError, KeyError or TypeError, which is
what its callers can tell from a bug.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

from streamer.errors import RestError
from streamer.providers.adapter import Access, Adapter, Answer, Flow
from streamer.providers.registry import ADAPTERS
from streamer.providers.shape import Bar, Interval, Price, Quota, Series, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, FOLDER, KEY, Reader, Unanswered, load

PROVIDERS: Final = tuple(ADAPTERS)
ALLOWED: Final = (RestError, ValueError, KeyError, TypeError)
_OWN: Final = FOLDER.parent
_COINBASE: Final = ("rest_product", "rest_product_alias", "rest_products", "rest_candles", "rest_error_400")
_SYMBOLS: Final = (crypto("BTC", "USD"), crypto("BTC", "USDT"), crypto("ETH", "USD"), stock("SPY"))
_DAY_MS: Final = 86_400_000
_EARLIEST_MS: Final = 10**11 - _DAY_MS
"""March 1973, less the length of a bar that bears its end."""
_MOST_ASKED: Final = 12
_LONGEST_TEXT: Final = 1000
_JUNK: Final[Sequence[Any]] = (
    *(None, True, False, [], {}, "", " ", "NaN", "Infinity", "-Infinity", "1e400", "-1", "0", "NA", "None", "null"),
    *(0, -1, 1, 10**11, 10**13, 10**14, 10**18, 10**30, 10**400, 2**63, -(2**63), 1.5, -0.0, 1e-300, 1e300),
    *("\u0661\u0662", "1_0", "1e5", "0x10", "1" * 61, "9" * 5000, "\x00", "\ud7ff", "2026-11-20", "0001-01-01"),
    *(
        "9999-12-31T23:59:59Z",
        "2026-11-20 09:59",
        "0001-01-01T00:00:00+14:00",
        "2026-13-45",
        "24:00",
        "BTC",
        "X:BTCUSD",
    ),
    *([[]], [[None] * 12], {"error": "x"}, {"error": {"status": None}}, [1, [2, [3]]], {"status": "ERROR"}),
    *({"status": {"error_code": "1008"}}, {"code": "-1003"}, {"Information": 7}, {"Note": None}, "<html>"),
)
_BYTES: Final = (
    b"",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\x00",
    b"\xff",
    b"null",
    b"1e999",
    b"-",
    b"<html>",
)
_WAITS: Final = ("53", "-1", "1e5", "Fri, 20 Nov 2026 15:01:00 GMT", "never", "\u0661", "9" * 400, "")
_HEADERS: Final = ("retry-after", "x-ratelimit-reset", "x-ratelimit-remaining", "x-mbx-used-weight-1m")
_KINDS: Final = ("application/json", "text/html", "text/plain", "text/csv", "")
_STATUSES: Final = (200, 200, 200, 200, 204, 301, 400, 401, 402, 403, 404, 408, 409, 418, 422, 429, 451, 500, 503)
_SPANS: Final = (
    Span(CLOCK_MS // 1000 - 86_400, CLOCK_MS // 1000, 48),
    Span(CLOCK_MS // 1000 - 5 * 86_400, CLOCK_MS // 1000 + 60, 3),
    Span(CLOCK_MS // 1000 - 20 * 86_400, CLOCK_MS // 1000 - 86_400, 100),
)


@dataclass(slots=True)
class Fuzz:
    """Plays cases against one provider, and counts what becomes of them.

    Attributes:
        readers: What reads a sample rightly, by its name; everything else reads it too.
        outcomes: By how a flow or reader ended: "value", "another request", or the class of its error.
    """

    provider: str
    readers: Mapping[str, Reader] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    _samples: dict[str, Answer] = field(init=False)

    def __post_init__(self) -> None:
        self._samples = dict(_samples_of(self.provider))

    def play(self, random: Random) -> None:
        """Make one answer and let everything read it that could get it.

        Raises:
            AssertionError: An unsound value came out, or an error that callers cannot tell from a bug.
        """
        name, answer = self.case(random)
        plan = random.choice(("", "pro", "free", "all-in-one", "premium"))
        adapter = ADAPTERS[self.provider](Access(key=KEY, plan=plan))
        symbol, interval, span = random.choice(_SYMBOLS), random.choice(tuple(Interval)), random.choice(_SPANS)
        runs: list[tuple[str, Callable[[], object]]] = [
            ("check", lambda: adapter.check(answer, CLOCK_MS)),
            ("price", lambda: driven(adapter, adapter.price(symbol, CLOCK_MS), answer)),
            ("bars", lambda: driven(adapter, adapter.bars(symbol, interval, span, CLOCK_MS), answer)),
            ("listing", lambda: driven(adapter, adapter.listing(), answer)),
            ("quota", lambda: driven(adapter, adapter.quota(), answer)),
        ]
        if name in self.readers:
            runs.append(("reader", lambda: _read(adapter, self.readers[name], answer)))
        for what, run in runs:
            try:
                value = run()
            except ALLOWED as exc:
                if isinstance(exc, RestError) and len(str(exc)) > _LONGEST_TEXT:
                    raise AssertionError(f"{what} of {name}: an error of {len(str(exc))} characters") from exc
                self.outcomes[type(exc).__name__] += 1
            except Unanswered:
                self.outcomes["another request"] += 1
            except Exception as exc:
                raise AssertionError(f"{what} of {name}: {exc!r} for {answer!r:.3000}") from exc
            else:
                if value is not None:
                    self.outcomes["value"] += 1
                for fault in unsound(value):
                    raise AssertionError(f"{what} of {name}: {fault} for {answer!r:.3000}")

    def case(self, random: Random) -> tuple[str, Answer]:
        """Return the name of a sample and what was made of it."""
        name = random.choice(tuple(self._samples))
        sample = self._samples[name]
        how = random.randrange(10)
        if how == 0:
            body = random.randbytes(random.randrange(80))
        elif how == 1:
            body = json.dumps(_made_up(random, 3)).encode("utf-8", "replace")
        elif how <= 3:
            body = _bytes_changed(sample.body, random)
        else:
            body = _values_changed(sample.body, random)
        status = sample.status if random.randrange(3) else random.choice(_STATUSES)
        headers = dict(sample.headers)
        if not random.randrange(4):
            headers[random.choice(_HEADERS)] = random.choice(_WAITS)
        if not random.randrange(8):
            headers["content-type"] = random.choice(_KINDS)
        return name, replace(sample, status=status, headers=headers, body=body)


def unsound(value: object) -> Iterator[str]:
    """Return what is wrong with a value: prices above 0 and finite, times within those of markets."""
    if isinstance(value, Price):
        yield from _unsound_number("price", value.price, positive=True)
        if value.as_of_ms is not None and not _EARLIEST_MS <= value.as_of_ms <= CLOCK_MS + _DAY_MS:
            yield f"as of {value.as_of_ms}"
    elif isinstance(value, Bar):
        for name in ("open", "high", "low", "close"):
            yield from _unsound_number(name, getattr(value, name), positive=True)
        if value.volume is not None:
            yield from _unsound_number("volume", value.volume, positive=False)
        if type(value.start_s) is not int or not _EARLIEST_MS <= value.start_s * 1000 <= CLOCK_MS + _DAY_MS:
            yield f"begins at {value.start_s}"
    elif isinstance(value, Series):
        starts = [bar.start_s for bar in value.bars]
        if starts != sorted(starts) or not starts:
            yield f"starts of bars: {starts[:20]}"
    elif isinstance(value, Quota):
        for each in fields(value):
            found = getattr(value, each.name)
            if found is not None and type(found) is not (str if each.name == "plan" else int):
                yield f"{each.name} is {found!r:.60}"
    yield from (fault for part in _parts(value) for fault in unsound(part))


def _unsound_number(name: str, value: object, *, positive: bool) -> Iterator[str]:
    if type(value) is not Decimal or not value.is_finite() or (positive and value <= 0):
        yield f"{name} is {value!r:.60}"


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, Series):
        return value.bars
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if is_dataclass(value) and not isinstance(value, Price | Bar | type):
        return [getattr(value, each.name) for each in fields(value)]
    return ()


def _read(adapter: Adapter, reader: Reader, answer: Answer) -> object:
    adapter.check(answer, CLOCK_MS)
    return reader(answer)


def driven(adapter: Adapter, flow: Flow[Any] | None, answer: Answer) -> object:
    """Run a flow that gets the same answer to whatever it asks, as long as it asks."""
    if flow is None:
        return None
    try:
        next(flow)
        for _ in range(_MOST_ASKED):
            try:
                adapter.check(answer, CLOCK_MS)
            except RestError as refused:
                flow.throw(refused)
            else:
                flow.send(answer)
    except StopIteration as done:
        return done.value
    flow.close()
    return None


def _samples_of(provider: str) -> Iterator[tuple[str, Answer]]:
    for path in sorted(Path(FOLDER, provider).glob("*.json")):
        yield path.stem, load(f"{provider}/{path.stem}")
    if provider == "coinbase":
        for name in _COINBASE:
            yield name, Answer(200, {"content-type": "application/json"}, Path(_OWN, f"{name}.json").read_bytes())


def _junk(random: Random) -> Any:
    return deepcopy(random.choice(_JUNK))


def _made_up(random: Random, depth: int) -> Any:
    if depth == 0 or random.randrange(3) == 0:
        return _junk(random)
    many = range(random.randrange(4))
    if random.randrange(2):
        return [_made_up(random, depth - 1) for _ in many]
    return {
        random.choice(("status", "data", "results", "error", "code", "x")): _made_up(random, depth - 1)
        for _ in many
    }


def _bytes_changed(body: bytes, random: Random) -> bytes:
    at = random.randrange(len(body) + 1)
    end = min(len(body), at + random.randrange(4))
    return random.choice((body[:at], body[at:], body[:at] + random.choice(_BYTES) + body[end:]))


def _values_changed(body: bytes, random: Random) -> bytes:
    try:
        tree = json.loads(body)
    except ValueError:
        return _bytes_changed(body, random)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        places = list(_places(tree))
        if not places:
            return json.dumps(_junk(random)).encode("utf-8", "replace")
        holder, key = random.choice(places)
        how = random.randrange(8)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif how == 2:
            other, name = random.choice(places)
            holder[key] = other[name] if not isinstance(other[name], list | dict) else _junk(random)
        else:
            holder[key] = _junk(random)
    return json.dumps(tree).encode("utf-8", "replace")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])
