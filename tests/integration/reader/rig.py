"""What the tests of the readers share: a Redis filled by hand, both readers as one, and a proxy that counts."""

from __future__ import annotations

import inspect
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from streamer.ingest.lease import Lease
from streamer.ingest.sink import Sink
from streamer.model import CANDLE_S, Basis, Granularity, ProductId, Source, Stamp, Tick, TickerFields
from streamer.reader.reader import AsyncReader
from streamer.reader.sync import Reader
from streamer.settings import Settings, load
from streamer.store.connect import Script, Store
from streamer.store.keys import Copy, Keys
from streamer.store.records import balance_record, ticker_record
from tests.support import RedisServer

BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")
KEYS = Keys()
FEED = "default.market-0"
EPOCH = 7
UUID = "5c1e8f2a-7b34-5d0e-9a61-2f0c3d4e5b6a"


def settings(**changed: Any) -> Settings:
    """Nothing of the tester's own."""
    return load(**{"key_prefix": "", "demand": False, "stale_after_s": 5.0} | changed)


def stamp_of(at_ms: int) -> str:
    """A time as the exchange writes it."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


class World:
    """A Redis as an ingester would have left it, written by hand: a live feed, and what it has brought."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self._sequence = 0

    @property
    def now_ms(self) -> int:
        """The clock of Redis."""
        seconds, micros = self.redis.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def feed(self, *, state: str = "live", age_ms: int = 0, connection: int = 1) -> None:
        """Report the feed."""
        entry = {"state": state, "connection": connection, "epoch": EPOCH, "alive_ms": self.now_ms - age_ms}
        self.redis.ask("HSET", KEYS.feeds, FEED, json.dumps(entry))

    def ticker(
        self,
        product_id: ProductId = BTC,
        price: str = "100",
        *,
        age_ms: int = 0,
        connection: int = 1,
        suspect: bool = False,
        to: str = "both",
    ) -> dict[str, str]:
        """Write a ticker as hash and shadow, or to one of them, and return its record."""
        self._sequence += 1
        at_ms = self.now_ms - age_ms
        tick = Tick(
            TickerFields(product_id, price),
            Stamp(FEED, connection, Source.COINBASE),
            self._sequence,
            stamp_of(at_ms),
            at_ms / 1000,
        )
        record = ticker_record(product_id, tick, suspect=suspect, epoch=EPOCH) | {"written_ms": str(at_ms)}
        for key in {"both": [0, 1], "hash": [0], "shadow": [1]}[to]:
            name = (KEYS.ticker(product_id), KEYS.ticker_stale(product_id))[key]
            self.redis.ask("DEL", name)
            self._hset(name, record)
        return record

    def push(self, product_id: ProductId = BTC, price: str = "100", *, connection: int = 1) -> None:
        """Write a ticker and tell those who watch."""
        record = self.ticker(product_id, price, connection=connection)
        self.publish([record])

    def publish(self, message: object) -> None:
        """Tell those who watch something."""
        data = message if isinstance(message, bytes) else msgspec.msgpack.encode(message)
        self.redis.ask("PUBLISH", KEYS.ticker_updates, data)

    def balance(
        self, currency: str, amount: str, *, suspect: bool = False, age_ms: int = 0, to: str = "both"
    ) -> None:
        """Write a balance."""
        at_ms = self.now_ms - age_ms
        record = balance_record(
            currency,
            available=Decimal(amount),
            hold=Decimal(0),
            total=Decimal(amount),
            basis=Basis.CONFIRMED,
            suspect=suspect,
            account_uuid=f"uuid-{currency}",
            time=stamp_of(at_ms),
            received_s=at_ms / 1000,
            stamp=Stamp(FEED, 1, Source.COINBASE),
            epoch=EPOCH,
        )
        self.redis.ask("SADD", KEYS.currencies, currency)
        for name in (KEYS.balance(currency), KEYS.balance_stale(currency))[: 2 if to == "both" else 1]:
            self._hset(name, record | {"written_ms": str(at_ms)})

    def candles(self, product_id: ProductId = BTC, *, count: int = 5) -> int:
        """Write the newest five-minute candles and return where the first begins."""
        now_ms = self.now_ms
        newest_s = now_ms // 1000 // CANDLE_S * CANDLE_S
        first_s = newest_s - (count - 1) * CANDLE_S
        fields = {str(first_s + i * CANDLE_S): json.dumps([str(i)] * 4 + ["1"]) for i in range(count)}
        self._hset(KEYS.candles(product_id), fields)
        meta = {"feed": FEED, "connection": 1, "sequence": 1, "epoch": EPOCH, "source": "coinbase"}
        times = {"time": stamp_of(now_ms), "received_ms": now_ms, "written_ms": now_ms}
        reach = {"since_s": first_s, "newest_s": newest_s}
        self._hset(KEYS.candles_meta(product_id), {k: str(v) for k, v in (meta | times | reach).items()})
        return first_s

    def copy(self, where: Copy, value: object, *, age_ms: int = 0, to: str = "both") -> None:
        """Keep an answer of REST."""
        body = json.dumps({"source": "coinbase", "fetched_ms": self.now_ms - age_ms, "value": value})
        for key in {"both": [where.key, where.stale_key], "fresh": [where.key], "stale": [where.stale_key]}[to]:
            self.redis.ask("SET", key, body)

    def _hset(self, key: str, fields: Mapping[str, str]) -> None:
        self.redis.ask("HSET", key, *(word for pair in fields.items() for word in pair))


def candle_entries(first_s: int, count: int, granularity: Granularity) -> dict[str, Any]:
    """Candles as REST tells them."""
    starts = [first_s + i * granularity.seconds for i in range(count)]
    values = dict.fromkeys(("open", "high", "low", "close", "volume"), "9")
    return {"candles": [{"start": str(start_s), **values} for start_s in reversed(starts)]}


async def ask(reader: AsyncReader | Reader, method: str, *args: Any, **how: Any) -> Any:
    """Ask either reader; the synchronous one answers inside the running loop."""
    answer = getattr(reader, method)(*args, **how)
    return await answer if inspect.isawaitable(answer) else answer


class Proxy:
    """Passes bytes to a Redis and counts round trips: how often somebody speaks after having been answered.

    Attributes:
        trips: Counted so far, over all connections.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.trips = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Count what the block costs; the list then holds it."""
        cost: list[int] = []
        before = self.trips
        yield cost
        cost.append(self.trips - before)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._port))
                except OSError:  # Redis is away
                    client.close()
                    continue
                self._sockets += [client, server]
                spoke = [False]
                for source, target, up in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, target, spoke, up), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, spoke: list[bool], up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 20):
                with self._lock:
                    if up and not spoke[0]:
                        self.trips += 1
                    spoke[0] = up
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all."""
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Writer:
    """An ingester reduced to its writes."""

    def __init__(self, store: Store) -> None:
        self.lease = Lease(store, KEYS, "default", name="test", ttl_s=60)
        self.sink = Sink(store, KEYS, self.lease)
        self._report = Script(store, "report_life")
        self.stamp = Stamp(FEED, 1, Source.COINBASE)
        self._sequence = 0

    async def write(self, product_id: ProductId, price: str) -> None:
        """Write a price."""
        self._sequence += 1
        fields = TickerFields(product_id, price)
        now = time.time()
        tick = Tick(fields, self.stamp, self._sequence, stamp_of(int(now * 1000)), now)
        self.sink.tickers.apply(product_id, tick)
        assert await self.sink.flush() == 1

    async def report(self, *, state: str = "live", age_ms: int = 0) -> None:
        """Report the feed."""
        entry = f'{{"state":"{state}","connection":{self.stamp.connection},"epoch":{self.lease.epoch}'
        status = f'{{"epoch":{self.lease.epoch}'
        keys = [KEYS.feeds, KEYS.status]
        await self._report(keys, [self.lease.epoch, "default", 15000, status, FEED, entry, str(age_ms)])
