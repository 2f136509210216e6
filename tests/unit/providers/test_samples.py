"""Every sample answer of every provider becomes the value, or is refused with the error, that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from types import ModuleType
from typing import Final

import pytest

from streamer.errors import MalformedAnswer, RestError
from streamer.providers.adapter import Adapter, Answer
from tests.unit.providers import (
    expected_alphavantage,
    expected_binance,
    expected_coingecko,
    expected_coinmarketcap,
    expected_eodhd,
    expected_polygon,
)
from tests.unit.providers.samples import CLOCK_MS, FOLDER, KEY, WEBHOOKS, Expected, Gives, Reader, load, names

MODULES: Final[Mapping[str, ModuleType]] = {
    "alphavantage": expected_alphavantage,
    "binance": expected_binance,
    "coingecko": expected_coingecko,
    "coinmarketcap": expected_coinmarketcap,
    "eodhd": expected_eodhd,
    "polygon": expected_polygon,
}
ADAPTERS: Final[Mapping[str, Adapter]] = {name: module.ADAPTER for name, module in MODULES.items()}
TABLE: Final[Mapping[str, Expected]] = {
    f"{name}/{sample}": expected for name, module in MODULES.items() for sample, expected in module.EXPECTED.items()
}
READERS: Final[Mapping[str, Mapping[str, Reader]]] = {
    name: {sample: expected.read for sample, expected in module.EXPECTED.items() if isinstance(expected, Gives)}
    for name, module in MODULES.items()
}
"""By provider and sample, what reads it."""
LONG: Final = 40
"""In bytes; shorter bodies have no beginning that could pass for the whole."""


def outcome(adapter: Adapter, expected: Expected, found: Answer) -> object:
    """What a sample becomes: a value or an error, as for whoever runs the product's flows."""
    read = expected.read if isinstance(expected, Gives) else expected.by
    try:
        adapter.check(found, CLOCK_MS)
        return read(found) if read is not None else None
    except RestError as refused:
        return refused
    except (ValueError, KeyError, TypeError) as exc:
        return MalformedAnswer(adapter.name, f"{type(exc).__name__}: {exc}")


def test_nothing_is_lost() -> None:
    """The index names what is in the folder, and each of it is either in the table or a webhook."""
    indexed = list(names())
    webhooks = [name for name in indexed if PurePath(name).parts[0] == WEBHOOKS]
    files = {str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.json")} - {"index"}
    assert len(indexed) == len(set(indexed)) == 174
    assert set(indexed) == files
    assert set(indexed) - set(webhooks) == set(TABLE)
    assert len(TABLE) + len(webhooks) == 174


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_sample_becomes_what_is_written_down(name: str) -> None:
    """A sound answer becomes the value, another the error of exactly that class; no text shows the key."""
    adapter, expected = ADAPTERS[PurePath(name).parts[0]], TABLE[name]
    found = outcome(adapter, expected, load(name))
    if isinstance(expected, Gives):
        assert found == expected.value
        return
    assert isinstance(found, RestError)
    assert type(found) is expected.error, found
    assert found.retry_after_s == pytest.approx(expected.retry_after_s)
    assert KEY not in f"{found} {found!r} {vars(found)}"


@pytest.mark.parametrize("name", sorted(name for name in TABLE if len(load(name).body) >= LONG))
def test_a_sample_cut_short_is_no_value(name: str) -> None:
    """The first half of a sample never passes for the whole."""
    adapter, expected = ADAPTERS[PurePath(name).parts[0]], TABLE[name]
    whole = load(name)
    found = outcome(adapter, expected, replace(whole, body=whole.body[: len(whole.body) // 2]))
    assert isinstance(found, RestError)
