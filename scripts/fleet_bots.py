"""The fleet: bots, dashboards and a Celery task, the same code over the SDK and over its drop-in.

Only `client_of` knows which of the two it is. What each read took and how good it was goes to a file of JSON lines
for each process; nothing is judged here. Cadences are those of real time divided by `FLEET_FACTOR`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import requests

PRODUCTS = tuple(
    f"{base}-USD"
    for base in (
        *("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "LTC", "DOT", "BCH", "UNI", "AAVE", "ATOM"),
        *("ETC", "XLM", "SHIB", "NEAR", "ICP", "FIL", "USDT", "ALGO", "HBAR", "SUI", "APT"),
    )
)
BOTS = {f"bot-{number}": product_id for number, product_id in enumerate(PRODUCTS, 1)}
PROCESSES, DASHBOARDS = 4, 2
EVALUATE_S, FAST_S, POLL_S, VALIDATE_S = 300.0, 0.5, 5.0, 600.0
CANDLES, CANDLE_S = 100, 300
CROWD = 250
"""Concurrent requests of one process."""
_FLUSH_S = 0.25
_TIMEOUT_S = 5


def setting(name: str, default: str = "") -> str:
    """Return what `fleet.py` has set."""
    return os.environ.get(f"FLEET_{name}", default)


def factor() -> float:
    """By how much time is compressed."""
    return float(setting("FACTOR", "1"))


def client_of(name: str) -> Any:
    """Return the REST client of a bot: the import is all that differs, and that it says who it is."""
    where = {"key_file": setting("KEY_FILE"), "base_url": setting("HOST"), "timeout": _TIMEOUT_S}
    if setting("WAY") == "new":
        from streamer.compat import RESTClient

        return RESTClient(**where, caller=name)
    from coinbase.rest import RESTClient as SdkClient

    return SdkClient(**where)


class Log:
    """Writes what happens down: for all threads of a process, and anew after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[str] = []
        self._file: TextIO | None = None
        self._pid, self._flush_at = 0, 0.0

    def row(self, *fields: object) -> None:
        """Add a line; to the file go several at a time."""
        with self._lock:
            self._rows.append(json.dumps(fields))
            now = time.monotonic()
            if self._file is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._file = Path(setting("FOLDER"), f"fleet-{self._pid}.jsonl").open("a")  # noqa: SIM115
            if now >= self._flush_at:
                self._flush_at = now + _FLUSH_S
                self._file.write("\n".join(self._rows) + "\n")
                self._file.flush()
                self._rows.clear()

    def read(self, who: str, kind: str, ask: Callable[[], Any], product_id: str = "") -> Any:
        """Return an answer; None where there is none: then a bot logs that, and skips.

        A line is "read", when it began, who, kind, product, ms it took, tier ("exchange" for an answer that is the
        exchange's own, "429", or "error"), the age it says it has, and the price.
        """
        began = time.monotonic()
        answer, tier, age_s, price = None, "exchange", 0.0, ""
        try:
            answer = ask()
        except requests.RequestException as exc:
            is_limited = exc.response is not None and exc.response.status_code == 429
            tier, price = ("429", "") if is_limited else ("error", f"{type(exc).__name__}: {exc}"[:200])
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is a bot's error
            tier, price = "error", f"{type(exc).__name__}: {exc}"[:200]
        took_ms = (time.monotonic() - began) * 1000
        if answer is not None:
            marker = getattr(answer, "streamer", None)
            if marker:
                tier, age_s = marker["tier"], marker["age_s"]
            price = (getattr(answer, "price", None) or "") if product_id else ""
        self.row("read", round(began, 4), who, kind, product_id, round(took_ms, 3), tier, age_s, price)
        return answer


log = Log()


class Bot:
    """A bot and its product."""

    def __init__(self, name: str) -> None:
        self.name, self.product_id, self.client = name, BOTS[name], client_of(name)

    def price(self, kind: str) -> Any:
        """Read the price of the product."""
        return log.read(self.name, kind, lambda: self.client.get_product(self.product_id), self.product_id)

    def evaluate(self) -> bool:
        """Evaluate on market data: price, candles, accounts, best bid and ask; say whether all of it was there."""
        end = int(time.time())
        start, client = end - end % CANDLE_S - (CANDLES - 1) * CANDLE_S, self.client
        found = (
            self.price("product"),
            log.read(
                *(self.name, "candles"),
                lambda: client.get_candles(self.product_id, str(start), str(end), "FIVE_MINUTE", limit=CANDLES),
            ),
            self.accounts(),
            log.read(self.name, "best_bid_ask", lambda: client.get_best_bid_ask(product_ids=[self.product_id])),
        )
        return None not in found

    def accounts(self) -> Any:
        """Read the balances."""
        return log.read(self.name, "accounts", lambda: self.client.get_accounts(limit=250))

    def validate(self) -> bool:
        """Check what an order needs."""
        return self.price("product") is not None and self.accounts() is not None


def evaluate_fast(bots: Sequence[Bot]) -> int:
    """Evaluate all bots on the price of their product; return how many could be."""
    began = time.monotonic()
    done = sum(bot.price("fast") is not None for bot in bots)
    log.row("round", round(began, 4), "fast", done, round((time.monotonic() - began) * 1000, 3))
    return done


def evaluate_all(bots: Sequence[Bot]) -> None:
    """Evaluate the bots of a process on market data."""
    began = time.monotonic()
    done = sum(bot.evaluate() for bot in bots)
    log.row("round", round(began, 4), "market", done, round((time.monotonic() - began) * 1000, 3))


class Dashboard:
    """Polls what it shows."""

    def __init__(self, name: str) -> None:
        self.name, self.client = name, client_of(name)

    def poll(self) -> None:
        """Read all prices and the balances."""
        log.read(self.name, "products", lambda: self.client.get_products(product_ids=list(PRODUCTS)))
        log.read(self.name, "accounts", lambda: self.client.get_accounts(limit=250))


def every(period_s: float, job: Callable[[], object], ends: threading.Event) -> None:
    """Do a job at its cadence; what could not be done in time is left out."""
    due = time.monotonic() + period_s
    while not ends.wait(max(0.0, due - time.monotonic())):
        job()
        due = max(due + period_s, time.monotonic())


def in_turns(bots: Sequence[Bot]) -> Iterator[Bot]:
    """Yield one bot after the other, without end."""
    while True:
        yield from bots


def run(number: int) -> None:
    """Be one process of the fleet: look at everything once, say "ready", and go on from the word until the next."""
    bots = [Bot(name) for name in list(BOTS)[number::PROCESSES]]
    jobs: list[tuple[float, Callable[[], object]]] = [(EVALUATE_S, lambda: evaluate_all(bots))]
    if number < DASHBOARDS:
        jobs.append((POLL_S, Dashboard(f"dashboard-{number + 1}").poll))
    turns = in_turns(bots)
    jobs.append((VALIDATE_S, lambda: next(turns).validate()))
    for _, job in jobs:
        job()
    print("ready", flush=True)
    sys.stdin.readline()
    ends = threading.Event()
    threads = [threading.Thread(target=every, args=(s / factor(), job, ends)) for s, job in jobs]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    ends.set()
    for thread in threads:
        thread.join()


def crowd(product_id: str, callers: int) -> None:
    """Have many threads ask for one product at once, or one thread again and again where `callers` is negative."""
    client = client_of("crowd")
    client.get_product(PRODUCTS[0])  # connected
    print("ready", flush=True)
    sys.stdin.readline()
    tiers: Counter[str] = Counter()
    barrier = threading.Barrier(max(1, callers))

    def one() -> None:
        barrier.wait()
        try:
            marker = getattr(client.get_product(product_id), "streamer", None)
            tiers[marker["tier"] if marker else "exchange"] += 1
        except Exception as exc:  # noqa: BLE001 - counted
            tiers[f"error: {exc}"[:120]] += 1

    if callers < 0:
        for _ in range(-callers):
            one()
    else:
        threads = [threading.Thread(target=one) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps(tiers), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "crowd":
        crowd(sys.argv[2], int(sys.argv[3]))
    else:
        run(int(sys.argv[1]))
