"""An exchange that sends ticker frames as fast as a core can, or at a set rate; prints its port.

The simulator's market costs more to compute than the fastest client to read, so a benchmark of the client needs
a dumber sender: frames are spliced from ready pieces, only sequence number and time are fresh in each.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from itertools import cycle

import orjson
from websockets.asyncio.server import ServerConnection, serve

BATCH = 64
MAX_BUFFERED_BYTES = 1 << 18
SEND_BUFFER_BYTES = 1 << 19


class Pieces:
    """The ready parts of a ticker frame of each product, with a few prices to go round."""

    def __init__(self, product_ids: list[str]) -> None:
        self.before = b'{"channel":"ticker","client_id":"","timestamp":"'
        self.middle = b'","sequence_num":'
        self.after = []
        for variant in range(10):
            for number, product_id in enumerate(product_ids):
                ticker = {
                    "type": "ticker",
                    "product_id": product_id,
                    "price": f"{84000 + number}.{variant}7",
                    "volume_24_h": "11482.30517221",
                    "low_24_h": "82901.12",
                    "high_24_h": "85377.4",
                    "low_52_w": "61320",
                    "high_52_w": "126200",
                    "price_percent_chg_24_h": "-0.84213377190458",
                    "best_bid": f"{84000 + number}.{variant}6",
                    "best_ask": f"{84000 + number}.{variant}8",
                    "best_bid_quantity": "0.2184",
                    "best_ask_quantity": "0.095",
                }
                self.after.append(b',"events":' + orjson.dumps([{"type": "update", "tickers": [ticker]}]) + b"}")

    def frame(self, after: bytes, stamp: bytes, sequence: int) -> tuple[bytes, ...]:
        number = b"%d" % sequence
        size = len(self.before) + len(stamp) + len(self.middle) + len(number) + len(after)
        return b"\x81\x7e" + size.to_bytes(2, "big"), self.before, stamp, self.middle, number, after


def stamp() -> bytes:
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)).encode() + b".%09dZ" % (now % 10**9)


async def blast(connection: ServerConnection, rate: float) -> None:
    """Acknowledge what is asked for, then send until the client goes."""
    products: list[str] = []
    async for message in connection:
        request = orjson.loads(message)
        if request["type"] == "subscribe" and request["channel"] == "ticker":
            products = request["product_ids"]
            break
    pieces, sequence = Pieces(products), 0
    after = cycle(pieces.after)
    subscriptions = orjson.dumps([{"subscriptions": {"heartbeats": ["heartbeats"], "ticker": products}}])
    ack = b'{"channel":"subscriptions","timestamp":"%b","sequence_num":0,"events":%b}' % (stamp(), subscriptions)
    await connection.send(ack.decode())
    sequence = 1
    started = time.perf_counter()
    transport = connection.transport
    # A frame counts as sent when it is written; megabytes of it waiting in our kernel would be our lag.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    while not transport.is_closing():
        count = BATCH
        if rate:
            count = min(BATCH, int((time.perf_counter() - started) * rate) - sequence)
        if count > 0:
            now, out = stamp(), []
            for _ in range(count):
                out += pieces.frame(next(after), now, sequence)
                sequence += 1
            try:
                transport.write(b"".join(out))
            except RuntimeError:  # uvloop: the client has gone since the last look
                return
        if rate:
            await asyncio.sleep(0.001)
        while transport.get_write_buffer_size() > MAX_BUFFERED_BYTES and not transport.is_closing():
            # Not less: uvloop rounds to milliseconds, and a sender that spins takes Redis' share of the core.
            await asyncio.sleep(0.001)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0, help="frames a second; 0 = as fast as possible")
    arguments = parser.parse_args()
    async with serve(
        lambda c: blast(c, arguments.rate), "127.0.0.1", 0, compression=None, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
