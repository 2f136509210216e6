"""Bars as CSV and Parquet: each number as the provider gave it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any, Final

from streamer.data.ask import Served
from streamer.data.shown import bar_json
from streamer.errors import ConfigError, StreamerError
from streamer.providers.shape import Bar, Series

COLUMNS: Final = ("start", "open", "high", "low", "close", "volume", "closed")
_NUMBERS: Final = COLUMNS[1:6]
_MOST_DIGITS: Final = 76
"""Of Arrow's widest decimals."""


def csv_of(bars: Iterable[Bar]) -> bytes:
    """Return bars as CSV with a header; times are ISO 8601 in UTC, a volume that is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for bar in bars:
        told = bar_json(bar) | {"closed": str(bar.is_closed).lower()}
        writer.writerow([told[name] for name in COLUMNS])
    return text.getvalue().encode()


def need_pyarrow() -> Any:
    """Return the module that Parquet is written with.

    Raises:
        ConfigError: It is not installed; names the extra that has it.
    """
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError as exc:
        raise ConfigError("pyarrow", None, "not installed: pip install 'coinbase-streamer[parquet]'") from exc


def parquet_of(served: Served[Series]) -> bytes:
    """Return bars as a Parquet file with the columns of the CSV; its metadata says what they are of and whose.

    Numbers are decimals with as many places as the longest of their column has, so none is rounded; `start` is a
    timestamp in UTC, a volume that is not known is null.

    Raises:
        ConfigError: pyarrow is not installed.
        StreamerError: A number has more digits than a decimal can.
    """
    pyarrow = need_pyarrow()
    series, found = served.found.value, served.found
    bars = series.bars
    starts = [datetime.fromtimestamp(bar.start_s, UTC) for bar in bars]
    arrays = [pyarrow.array(starts, pyarrow.timestamp("s", tz="UTC"))]
    for name in _NUMBERS:
        values = [getattr(bar, name) for bar in bars]
        arrays.append(pyarrow.array(values, _decimal_type(pyarrow, name, values)))
    arrays.append(pyarrow.array([bar.is_closed for bar in bars], pyarrow.bool_()))
    about = {
        "symbol": str(series.symbol),
        "interval": series.interval.value,
        "instrument": series.instrument.value,
        "provider": found.provider,
        "source": found.source,  # a simulator's bars must never pass for real
    }
    table = pyarrow.Table.from_arrays(arrays, names=list(COLUMNS)).replace_schema_metadata(about)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _decimal_type(pyarrow: Any, name: str, values: Sequence[Decimal | None]) -> Any:
    """Return the smallest type that holds all values of a column as they are."""
    places, whole = 0, 1
    for value in values:
        if value is not None:
            exponent = int(value.as_tuple().exponent)
            places = max(places, -exponent)
            whole = max(whole, value.adjusted() + 1)
    digits = places + whole
    if digits > _MOST_DIGITS:
        raise StreamerError(f"{name} needs {digits} digits, and Parquet has {_MOST_DIGITS} at most: use --csv")
    return pyarrow.decimal128(digits, places) if digits <= 38 else pyarrow.decimal256(digits, places)
