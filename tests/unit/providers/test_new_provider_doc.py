"""The walkthrough for new providers: its code is taken from the page and run."""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamer.data.settings import Budget, ProviderSettings, variable_of
from streamer.errors import (
    BadInterval,
    KeyRefused,
    Maintenance,
    MalformedAnswer,
    NoData,
    RestError,
    RestRateLimited,
    UnknownSymbol,
)
from streamer.providers.adapter import Access, Adapter, Answer, Get
from streamer.providers.shape import Bar, Instrument, Interval, Price, Series, Span
from streamer.providers.symbols import crypto, stock
from tests.unit.providers.samples import CLOCK_MS, answer, drive

PAGE = (Path(__file__).parents[3] / "docs" / "new-provider.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BTC_USD = crypto("BTC", "USD")
NOW_S = CLOCK_MS // 1000
LAST, UNKNOWN, ROWS = re.findall(r"\| 200 \| `(\{.*?\})` \|", PAGE)


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """The provider of the page, from its code."""
    module: Any = ModuleType("tidemark_of_the_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(CODE[0], "docs/new-provider.md", "exec"), module.__dict__)
    found: Adapter = module.Tidemark(Access(key="k"))
    return found


def test_the_page_has_one_file_of_at_most_150_lines() -> None:
    """As is promised in its first sentence."""
    assert len(CODE) == 1
    assert len(CODE[0].splitlines()) <= 150


def test_its_lines_would_pass_the_check() -> None:
    """It can be copied as it is."""
    assert [line for line in CODE[0].splitlines() if len(line) > 116 or line != line.rstrip()] == []


def test_its_price_is_the_one_of_the_page(adapter: Adapter) -> None:
    """The first answer of the page's table."""
    asked, price = drive(adapter, adapter.price(BTC_USD, CLOCK_MS), answer(LAST))
    assert asked == [Get("/v1/last/BTC_USD")]
    assert price == Price(BTC_USD, Decimal("91310.5"), Instrument.SPOT, 1_795_186_805_000)


def test_its_bars_are_those_of_the_page(adapter: Adapter) -> None:
    """The third; as minutes, it is one that is over."""
    span = Span(1_795_186_440, 1_795_186_800, 10)
    asked, series = drive(adapter, adapter.bars(BTC_USD, Interval.M1, span, CLOCK_MS), answer(ROWS))
    params = {"length": "minute", "from": "1795186440", "to": "1795186800"}
    assert asked == [Get("/v1/candles/BTC_USD", params)]
    bar = Bar(1_795_186_500, Decimal(1), Decimal(3), Decimal(1), Decimal(2), Decimal("9.5"))
    assert series == Series(BTC_USD, Interval.M1, Instrument.SPOT, (bar,))


def test_its_longer_bars_are_put_together(adapter: Adapter) -> None:
    """Five minutes of one that is there are open still."""
    span = Span(1_795_186_500, 1_795_186_800, 10)
    asked, series = drive(adapter, adapter.bars(BTC_USD, Interval.M5, span, CLOCK_MS), answer(ROWS))
    assert asked[0].params["length"] == "minute"
    assert [(bar.start_s, bar.is_closed) for bar in series.bars] == [(1_795_186_500, False)]


def test_its_most_bars_are_one_request(adapter: Adapter) -> None:
    """What `max_bars` says about 500 rows is so for every length, and hardly fewer are asked for."""
    for interval in adapter.intervals:
        get = next(adapter.bars(BTC_USD, interval, Span(0, NOW_S, adapter.most_bars(interval)), CLOCK_MS))
        part_s = {"minute": 60, "hour": 3600, "day": 86_400}[get.params["length"]]
        assert 450 * part_s < int(get.params["to"]) - int(get.params["from"]) <= 500 * part_s


@pytest.mark.parametrize(
    ("found", "kind", "retry_after_s"),
    [
        (answer(UNKNOWN), UnknownSymbol, None),
        (answer("Slow down", 429, retry_after="7"), RestRateLimited, 7),
        (answer("", 401), KeyRefused, None),
        (answer("<html>Back on Monday", 503), Maintenance, None),
        (answer('{"rows": []}'), NoData, None),
        (answer('{"rows": [[1795186500, "1"]]}'), MalformedAnswer, None),
        (answer('{"rows"'), MalformedAnswer, None),
    ],
)
def test_its_refusals_are_told_apart(
    adapter: Adapter, found: Answer, kind: type[RestError], retry_after_s: float | None
) -> None:
    """Those of the page's table, and those that every provider has."""
    with pytest.raises(RestError) as caught:
        drive(adapter, adapter.bars(BTC_USD, Interval.H1, Span(NOW_S - 7200, NOW_S, 10), CLOCK_MS), found)
    assert (type(caught.value), caught.value.retry_after_s) == (kind, retry_after_s)


def test_it_refuses_before_a_request(adapter: Adapter) -> None:
    """What it cannot have costs no call."""
    with pytest.raises(UnknownSymbol):
        next(adapter.price(stock("SPY"), CLOCK_MS))
    with pytest.raises(BadInterval):
        next(adapter.bars(BTC_USD, Interval.M30, Span(NOW_S - 7200, NOW_S, 10), CLOCK_MS))


def test_the_page_names_every_setting_of_a_provider() -> None:
    """Each as it is written for this one."""
    word = variable_of("tidemark")
    names = {f"STREAMER_{word}_{field.upper()}" for field in ProviderSettings.model_fields}
    names |= {f"FKS_{word}_{field.upper()}" for field in Budget.model_fields}
    assert set(re.findall(r"`((?:STREAMER|FKS)_TIDEMARK_[A-Z]+)`", PAGE)) == names


def test_the_files_that_the_page_names_are_there() -> None:
    """Beside those of the provider that it adds."""
    root = Path(__file__).parents[3]
    named = {
        name for name in re.findall(r"`((?:streamer|tests)/[\w/]+(?:\.py|/))`", PAGE) if "tidemark" not in name
    }
    assert named
    assert [name for name in named if not (root / name).exists()] == []
