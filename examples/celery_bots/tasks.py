"""Bots as Celery tasks. There is nothing to start and nothing to set up: one Reader serves every worker.

celery -A tasks worker --concurrency 4      # prefork; also --pool threads, --pool gevent
celery -A tasks beat                        # fast_trading_evaluation every 500 ms
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, Final

from celery import Celery

from streamer import Priority, Reader, Tier

PRODUCTS: Final = tuple(os.environ.get("BOT_PRODUCTS", "BTC-USD,ETH-USD,SOL-USD").split(","))
EVERY_S: Final = 0.5
FETCH_EVERY_S: Final = 5.0
OLDEST_S: Final = 5.0
"""Nobody trades on a price that is older."""

app = Celery("bots", broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/1"))
app.conf.update(
    # What has not been begun when the next one is due is worth nothing any more: it expires, and cannot pile up.
    beat_schedule={
        "evaluate": {"task": "fast_trading_evaluation", "schedule": EVERY_S, "options": {"expires": EVERY_S}},
        "fetch": {
            "task": "fetch_market_data_task",
            "schedule": FETCH_EVERY_S,
            "options": {"expires": FETCH_EVERY_S},
        },
    },
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)

reader = Reader(caller="celery-bots")  # made before the workers are forked: each connects when it first reads


@app.task(name="fast_trading_evaluation")
def fast_trading_evaluation() -> dict[str, Any]:
    """Evaluate every bot, on prices that are at most five seconds old: one round trip for all of them."""
    fleet = reader.snapshot(
        PRODUCTS, "FIVE_MINUTE", 20, accounts=False, max_age_s=OLDEST_S, priority=Priority.BOT_EVALUATION
    )
    signals = {}
    for product_id, ticker in fleet.tickers.items():
        candles = fleet.candles.get(product_id)
        closes = [candle.close for candle in candles.value] if candles is not None else []
        signals[product_id] = signal(ticker.value.price, closes)
    return {"signals": signals, "not_evaluated": sorted(fleet.tickers.missing)}


@app.task(name="fetch_market_data_task")
def fetch_market_data_task() -> dict[str, Any]:
    """Look at the market as a whole, as analyses and reports do; what is old is welcome, and says so."""
    tickers = reader.tickers(PRODUCTS, priority=Priority.MARKET_DATA)
    return {
        "prices": {product_id: f"{reading.value.price:f}" for product_id, reading in tickers.items()},
        "not_live": sorted(product_id for product_id, r in tickers.items() if r.tier is not Tier.REALTIME),
    }


def signal(price: Decimal, closes: list[Decimal]) -> str:
    """Return what a simple bot would do: follow the side of the average that the price is on."""
    if not closes:
        return "wait"
    return "buy" if price * len(closes) > sum(closes) else "sell"
