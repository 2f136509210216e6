"""The fast evaluation of all bots as a Celery task, every 500 ms of the fleet's time."""

from __future__ import annotations

import os

from celery import Celery
from fleet_bots import BOTS, FAST_S, Bot, evaluate_fast, factor

EVERY_S = FAST_S / factor()

app = Celery("fleet", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    beat_schedule={
        "evaluate": {"task": "fast_trading_evaluation", "schedule": EVERY_S, "options": {"expires": EVERY_S}}
    },
    beat_max_loop_interval=EVERY_S,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
bots = [Bot(name) for name in BOTS]  # before the workers are forked, as in examples/celery_bots


@app.task(name="fast_trading_evaluation")
def fast_trading_evaluation() -> int:
    """Evaluate every bot on the price of its product."""
    return evaluate_fast(bots)
