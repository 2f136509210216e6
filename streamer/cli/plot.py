"""Candles: in a terminal by characters, in a file as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from streamer.errors import ConfigError
from streamer.providers.shape import Bar, Series

ROWS: Final = 16
PICTURES: Final = (".png", ".svg", ".pdf")
_RISE, _FALL = "#11703b", "#b42318"


@dataclass(frozen=True, slots=True)
class Signs:
    """What candles are drawn with."""

    wick: str
    rising: str
    falling: str


UNICODE: Final = Signs("│", "┃", "█")
ASCII: Final = Signs("|", "=", "#")


# -- in a terminal ------------------------------------------------------------------------------------------------


def candles(series: Series, *, width: int, rows: int = ROWS, signs: Signs = UNICODE) -> Text:
    """Return candles in colour, with a scale of prices; where they are more than fit, some share a column.

    Args:
        width: Columns that there are, the scale among them.
    """
    bars = series.bars
    top, bottom = max(bar.high for bar in bars), min(bar.low for bar in bars)
    scale = [_at(row, rows, top, bottom) for row in range(rows)]
    labels = _labels(scale, _places(bars))
    margin = max(map(len, labels)) + 1
    each = -(-len(bars) // max(1, width - margin))
    columns = [_merged(bars[i : i + each]) for i in range(0, len(bars), each)]
    drawn = Text(no_wrap=True)
    for row, label in enumerate(labels):
        drawn.append(label.rjust(margin - 1) + " ", "dim")
        for bar in columns:
            drawn.append(_sign(bar, row, rows, top, bottom, signs), "green" if bar.close >= bar.open else "red")
        drawn.append("\n")
    first, last = (f"{datetime.fromtimestamp(bar.start_s, UTC):%Y-%m-%d %H:%M}" for bar in (bars[0], bars[-1]))
    drawn.append(" " * margin + f"{first} to {last} UTC", "dim")
    shared = f", {each} bars in each column" if each > 1 else ""
    drawn.append(f", {signs.rising} rising {signs.falling} falling{shared}", "dim")
    return drawn


def _at(row: int, rows: int, top: Decimal, bottom: Decimal) -> Decimal:
    """Return the price at the middle of a row, the first row being the highest."""
    return top - (top - bottom) * (2 * row + 1) / (2 * rows)


def _row_of(price: Decimal, rows: int, top: Decimal, bottom: Decimal) -> int:
    return 0 if top == bottom else min(rows - 1, int((top - price) * rows / (top - bottom)))


def _sign(bar: Bar, row: int, rows: int, top: Decimal, bottom: Decimal, signs: Signs) -> str:
    high, low, begin, end = (
        _row_of(price, rows, top, bottom)
        for price in (bar.high, bar.low, max(bar.open, bar.close), min(bar.open, bar.close))
    )
    if begin <= row <= end:
        return signs.rising if bar.close >= bar.open else signs.falling
    return signs.wick if high <= row <= low else " "


def _labels(scale: Sequence[Decimal], places: int) -> list[str]:
    """Return prices for every fourth row, "" for the others."""
    return [f"{price:.{places}f}" if row % 4 == 0 else "" for row, price in enumerate(scale)]


def _places(bars: Sequence[Bar]) -> int:
    """Return how many decimal places closing prices have, eight at most."""
    return min(8, max(0, *(-int(bar.close.as_tuple().exponent) for bar in bars)))


def _merged(bars: Sequence[Bar]) -> Bar:
    """Return several bars as one."""
    first, last = bars[0], bars[-1]
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return Bar(first.start_s, first.open, high, low, last.close, None, last.is_closed)


# -- as a picture -------------------------------------------------------------------------------------------------


def need_matplotlib() -> Any:
    """Return what figures are made with.

    Raises:
        ConfigError: It is not installed; names the extra that has it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ConfigError("matplotlib", None, "not installed: pip install 'coinbase-streamer[plot]'") from exc
    return Figure


def check_picture(name: str) -> None:
    """See that a picture can be written under a name.

    Raises:
        ConfigError: It is of another kind, or matplotlib is not installed.
    """
    if Path(name).suffix.lower() not in PICTURES:
        raise ConfigError("--plot", name, f"expected a file that ends in {', '.join(PICTURES)}")
    need_matplotlib()


def picture(series: Series, title: str, kind: str) -> bytes:
    """Return candles and, where it is known, volume as a picture.

    Args:
        kind: "png", "svg" or "pdf".
    """
    bars = series.bars
    times = [datetime.fromtimestamp(bar.start_s, UTC) for bar in bars]
    has_volume = any(bar.volume is not None for bar in bars)
    figure = need_matplotlib()(figsize=(11, 6), layout="constrained")
    heights = [3, 1] if has_volume else [1]
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    colours = [_RISE if bar.close >= bar.open else _FALL for bar in bars]
    # Matplotlib counts days, and a picture is drawn with floats: no price is read from it again.
    days = series.interval.seconds / 86400 * 0.7
    lows, highs = [float(bar.low) for bar in bars], [float(bar.high) for bar in bars]
    opens, closes = [float(bar.open) for bar in bars], [float(bar.close) for bar in bars]
    axes[0].vlines(times, lows, highs, colors=colours, linewidth=0.8)
    bodies = [close - opened for opened, close in zip(opens, closes, strict=True)]
    axes[0].bar(times, bodies, days, opens, color=colours, edgecolor=colours, linewidth=0.6)
    axes[0].set_title(title)
    axes[0].set_ylabel(f"price in {series.symbol.quote}")
    axes[0].grid(alpha=0.25)
    if has_volume:
        volumes = [float(bar.volume) if bar.volume is not None else 0.0 for bar in bars]
        axes[1].bar(times, volumes, days, color=colours)
        axes[1].set_ylabel("volume")
        axes[1].grid(alpha=0.25)
    figure.autofmt_xdate()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()
