"""Candles as a DataFrame, with a moving average, drawn into a PNG.

pip install 'coinbase-streamer[pandas]' matplotlib
start-stream BTC-USD &
python plot.py BTC-USD btc.png
"""

from __future__ import annotations

import sys

import matplotlib as mpl

mpl.use("Agg")  # into a file, on a machine without a screen too

import matplotlib.pyplot as plt

from streamer import Reader
from streamer.reader.frame import candles_frame


def draw(product_id: str, path: str, granularity: str = "FIVE_MINUTE", limit: int = 100) -> int:
    """Draw closes and their average over twelve candles; return how many candles there were."""
    with Reader(caller="plot") as reader:
        reading = reader.candles(product_id, granularity, limit)
    frame = candles_frame(reading.value)
    closes = frame["close"].astype(float)
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.plot(frame.index, closes, label="close")
    axes.plot(frame.index, closes.rolling(12, min_periods=1).mean(), label="average of 12")
    axes.set_title(
        f"{product_id}, {granularity.lower()}: {reading.tier}, {reading.age_s:.1f} s old, {reading.source}"
    )
    axes.legend()
    figure.autofmt_xdate()
    figure.savefig(path, dpi=110)
    return len(frame)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} PRODUCT_ID FILE.png")
    print(f"{draw(sys.argv[1], sys.argv[2])} candles drawn into {sys.argv[2]}")
