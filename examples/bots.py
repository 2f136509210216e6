"""Twenty-five bots on one snapshot: prices, candles and accounts of the whole fleet in one round trip.

    start-stream AAA-USD BBB-USD ... &
    python bots.py AAA-USD BBB-USD ...        # every five seconds; --once for a single evaluation

A bot gets numbers that say how old they are, and does nothing on those that are too old.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from streamer import Priority, Reader, Tier
from streamer.model import Candle, Reading, Snapshot, Ticker

EVERY_S = 5.0
OLDEST_S = 5.0
CANDLES = 20


@dataclass(frozen=True)
class Bot:
    """Follows the average of the last candles of one product."""

    name: str
    product_id: str

    def evaluate(self, fleet: Snapshot) -> str:
        """Return what it would do, and why not where it does nothing."""
        ticker, candles = fleet.tickers.get(self.product_id), fleet.candles.get(self.product_id)
        if ticker is None:
            return f"nothing: {fleet.tickers.missing[self.product_id]}"
        if ticker.tier is not Tier.REALTIME and ticker.age_s > OLDEST_S:
            return f"nothing: the price is {ticker.age_s:.0f} s old ({ticker.reason})"
        if candles is None or not candles.value:
            return "nothing: no candles yet"
        return decide(ticker, candles)


def decide(ticker: Reading[Ticker], candles: Reading[tuple[Candle, ...]]) -> str:
    """Return which side of the average the price is on."""
    average = sum((candle.close for candle in candles.value), Decimal(0)) / len(candles.value)
    side = "buy" if ticker.value.price > average else "sell"
    return f"{side}: {ticker.value.price:f} against {average:.2f}, {ticker.tier}, {ticker.age_s * 1000:.0f} ms old"


def evaluate_all(reader: Reader, bots: Sequence[Bot]) -> dict[str, str]:
    """Return what each bot would do, after one round trip for all of them."""
    products = sorted({bot.product_id for bot in bots})
    fleet = reader.snapshot(products, "FIVE_MINUTE", CANDLES, timeout_s=EVERY_S, priority=Priority.BOT_EVALUATION)
    return {bot.name: bot.evaluate(fleet) for bot in bots}


def main() -> None:
    """Evaluate for ever, or once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", metavar="PRODUCT_ID", nargs="+")
    parser.add_argument("--bots", type=int, default=25)
    parser.add_argument("--once", action="store_true")
    arguments = parser.parse_args()
    names = arguments.products
    bots = [Bot(f"bot-{n + 1}", names[n % len(names)]) for n in range(arguments.bots)]
    with Reader(caller="bots") as reader:
        while True:
            began = time.perf_counter()
            decisions = evaluate_all(reader, bots)
            took_ms = (time.perf_counter() - began) * 1000
            for name, decision in decisions.items():
                print(f"{name:<8} {decision}")
            print(f"{len(bots)} bots evaluated in {took_ms:.1f} ms", flush=True)
            if arguments.once:
                return
            time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
