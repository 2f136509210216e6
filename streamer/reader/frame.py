"""Candles as a pandas DataFrame, for those who have pandas (extra `pandas`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamer.errors import ConfigError
from streamer.model import Candle

if TYPE_CHECKING:
    from pandas import DataFrame

_VALUES = ("open", "high", "low", "close", "volume")


def candles_frame(candles: Iterable[Candle], *, decimals: bool = False) -> DataFrame:
    """Return candles as a DataFrame: one row each, by their start (`DatetimeIndex` "start", UTC), oldest first.

    Columns are open, high, low, close, volume and closed.

    Args:
        decimals: Keep the numbers as `Decimal`, exact and slow; else they are float64, which is for analysis and
            not for money.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as exc:
        raise ConfigError("pandas", None, "not installed: pip install 'coinbase-streamer[pandas]'") from exc
    rows = list(candles)
    index = pandas.DatetimeIndex(
        pandas.to_datetime([candle.start_s for candle in rows], unit="s", utc=True), name="start"
    )
    convert = (lambda value: value) if decimals else float
    columns = {name: [convert(getattr(candle, name)) for candle in rows] for name in _VALUES}
    columns["closed"] = [candle.closed for candle in rows]
    return pandas.DataFrame(columns, index=index)
