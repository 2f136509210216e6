"""Candles as a DataFrame."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest

from streamer.errors import ConfigError
from streamer.model import Candle
from streamer.reader.frame import candles_frame

D = Decimal
CANDLES = (
    Candle(1_795_000_200, D("1.1"), D("2"), D("1"), D("1.5"), D("10.00000001"), closed=True),
    Candle(1_795_000_500, D("1.5"), D("3"), D("1.5"), D("2.5"), D("0"), closed=False),
)


def test_rows_are_candles_by_their_start_in_utc() -> None:
    """Ready for resampling and plotting."""
    frame = candles_frame(CANDLES)
    assert [str(start) for start in frame.index] == ["2026-11-18 11:10:00+00:00", "2026-11-18 11:15:00+00:00"]
    assert frame.index.name == "start"
    assert list(frame["close"]) == [1.5, 2.5]
    assert list(frame["closed"]) == [True, False]
    assert str(frame["volume"].dtype) == "float64"


def test_decimals_stay_exact_where_asked_for() -> None:
    """Money can be kept as money."""
    frame = candles_frame(CANDLES, decimals=True)
    assert list(frame["volume"]) == [D("10.00000001"), D("0")]


def test_no_candles_are_an_empty_frame() -> None:
    """With the same columns."""
    frame = candles_frame(())
    assert len(frame) == 0
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "closed"]


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"coinbase-streamer\[pandas\]"):
        candles_frame(CANDLES)
