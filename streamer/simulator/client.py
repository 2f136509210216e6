"""One connection of the exchange: subscriptions, sequence numbers, and what faults do to its frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from streamer.simulator import frames
from streamer.simulator.faults import Effects, Fault, FaultKind
from streamer.simulator.garbage import garbage
from streamer.simulator.market import canonical
from streamer.simulator.wire import Spawn, Wire

_HEALTHY = Effects()
_PIECE_BYTES = 64 << 10
_AFTER_STAMP_BYTES = len(frames.AFTER_STAMP)
_CLOSE_TIMEOUT_S = 0.7  # so that the exchange as a whole stops within a second


class Client:
    """One connection.

    Args:
        number: Number of its connection attempt, from 1.
        host: "market" or "user".
        ws: The library's connection; from here on everything leaves through our wire.
        spawn: Starts a task of the exchange.
        now_s: Time on the exchange's steady clock.
    """

    def __init__(self, number: int, host: str, ws: ServerConnection, spawn: Spawn, now_s: float) -> None:
        self.number, self.host = number, host
        self._ws, self._spawn = ws, spawn
        self.wire = Wire(ws.transport, ws.drain, spawn)
        ws.transport = self.wire
        self.sequence = 0
        self.sent = 0
        # Channel to ids as asked for, in order: acks repeat them, data uses their canonical form.
        self.subscriptions: dict[str, list[str]] = {}
        # Whose orders the user channel tells, and of which products; none means all.
        self.user_key: str | None = None
        self.user_products: frozenset[str] = frozenset()
        self.opened_at_s = self.last_update_at_s = now_s
        self.has_subscribed = False
        self.key_names: set[str] = set()
        self.heartbeat_counter = 0
        self.full_since_s: float | None = None
        self.seen: dict[tuple[str, str], bytes] = {}
        self._out: list[bytes] = []
        self._effects = _HEALTHY
        self._repeat = self._reorder = 0
        self._held: list[bytes] = []
        self._is_odd = False

    @property
    def is_open(self) -> bool:
        """Whether frames may still be sent."""
        return self._ws.state is State.OPEN

    @property
    def muted(self) -> frozenset[str]:
        """Products of which nothing is sent."""
        return self._effects.muted

    def wants(self, channel: str) -> list[str]:
        """Return the canonical ids of a channel's subscription, each once."""
        return list(dict.fromkeys(map(canonical, self.subscriptions.get(channel, ()))))

    def hears_of(self, key_name: str, product_ids: frozenset[str]) -> bool:
        """Whether it gets the orders of a key that are of one of these products."""
        is_mine = "user" in self.subscriptions and self.user_key == key_name
        return is_mine and (not self.user_products or not self.user_products.isdisjoint(product_ids))

    def send(self, before: bytes, stamp: bytes, after: bytes, product_id: str | None = None) -> bool:
        """Put one message into the next write and say whether it was sent at all.

        Args:
            before: What stands before the time stamp (`frames.before_stamp`).
            stamp: The envelope's time.
            after: What stands after the sequence number (`frames.after_sequence`).
            product_id: The product it is about, for faults; "" for data about several or none, None for
                acks and heartbeats.
        """
        if self._is_odd:
            return self._send_odd(before, stamp, after, product_id)
        number = b"%d" % self.sequence
        self.sequence += 1
        self.sent += 1
        size = len(before) + len(stamp) + len(number) + len(after) + _AFTER_STAMP_BYTES
        # Pieces, not a joined frame: one join for a whole batch is cheaper than one for each frame.
        head = b"\x81~" + size.to_bytes(2, "big") if 126 <= size < 65536 else frames.header(size)
        self._out += (head, before, stamp, frames.AFTER_STAMP, number, after)
        return True

    def send_error(self, message: str) -> None:
        """Send an error, which has no sequence number."""
        if not self._effects.is_silent:
            self._out.append(self._framed(b'{"type":"error","message":"%b"}' % message.encode()))
            self.sent += 1

    def flush(self, now_s: float) -> None:
        """Write what was sent since the last flush, as one write."""
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        self.last_update_at_s = now_s
        # After a close frame nothing may follow, whoever closed.
        if self.is_open:
            self.wire.write(data)

    async def drain(self, timeout_s: float) -> None:
        """Wait until the peer has read most of what was sent; cut it off if it does not."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ws.drain()
        except TimeoutError:
            self.wire.abort()
        except OSError:
            pass  # gone: its handler hears of it by itself

    async def close(self, code: int, reason: str = "") -> None:
        """Close politely, or abruptly if the peer does not answer in time."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._ws.close(code, reason)
        except (TimeoutError, ConnectionClosed):
            pass
        finally:
            self.wire.abort()

    # Faults

    def apply(self, effects: Effects) -> None:
        """Take over what lasting faults do from now on."""
        if effects.pings_per_s and not self._effects.pings_per_s:
            self._spawn(self._flood())
        self._effects = effects
        self.wire.byte_delay_s = effects.byte_delay_s
        self._judge()

    def strike(self, fault: Fault) -> None:
        """Let a fault happen that happens once."""
        options = fault.options
        match fault.kind:
            case FaultKind.CLOSE:
                self._spawn(self.close(options["code"]))
            case FaultKind.RESET:
                self.wire.reset()
            case FaultKind.SKIP:
                self.sequence += options["n"]
            case FaultKind.RESTART_SEQUENCE:
                self.sequence = 0
            case FaultKind.REPEAT:
                self._repeat = options["n"]
            case FaultKind.REORDER:
                self._release()
                self._reorder = options["n"]
            case FaultKind.GARBAGE:
                product_id = next(iter(self.wants("ticker")), "BTC-USD")
                self._out += map(self._framed, garbage(options["kind"], self._take_number, product_id))
            case FaultKind.OVERSIZED:
                self._oversized(options["size_bytes"])
            case _:
                raise AssertionError(f"{fault.kind} lasts")
        self._judge()

    def heal(self) -> None:
        """Forget faults that still wait for frames; what they held back is sent."""
        self._repeat = 0
        self._release()
        self._judge()

    def _judge(self) -> None:
        self._is_odd = bool(self._effects != _HEALTHY or self._repeat or self._reorder)

    def _take_number(self) -> bytes:
        self.sequence += 1
        return b"%d" % (self.sequence - 1)

    def _framed(self, payload: bytes) -> bytes:
        return frames.fragments(payload) if self._effects.is_fragmented else frames.frame(payload)

    def _send_odd(self, before: bytes, stamp: bytes, after: bytes, product_id: str | None) -> bool:
        effects = self._effects
        if effects.is_silent or (product_id is not None and product_id in effects.muted):
            return False
        # Acks and heartbeats are about no product and go on.
        if effects.has_no_data and product_id is not None:
            return False
        frame = self._framed(b"".join((before, stamp, frames.AFTER_STAMP, self._take_number(), after)))
        self.sent += 1
        if self._reorder:
            self._held.append(frame)
            if len(self._held) >= self._reorder:
                self._release()
        elif self._repeat:
            self._out += (frame, frame)
            self._repeat -= 1
        else:
            self._out.append(frame)
        self._judge()
        return True

    def _release(self) -> None:
        self._out += reversed(self._held)
        self._held.clear()
        self._reorder = 0

    def _oversized(self, size_bytes: int) -> None:
        # A well-formed, numbered message: only its size is wrong.
        before = frames.before_stamp("l2_data", client_id=True) + b"2026-11-20T15:04:06Z" + frames.AFTER_STAMP
        start = before + self._take_number() + b',"events":[{"type":"snapshot","product_id":"'
        end = b'","updates":[]}]}'
        filler = max(0, size_bytes - len(start) - len(end))

        def pieces() -> Iterator[bytes]:
            yield frames.header(len(start) + filler + len(end)) + start
            for sent in range(0, filler, _PIECE_BYTES):
                yield b"X" * min(_PIECE_BYTES, filler - sent)
            yield end

        self.flush(self.last_update_at_s)  # what has lower numbers goes first
        self.wire.write_pieces(pieces())

    async def _flood(self) -> None:
        pause_s = 0.01
        while self.is_open and self._effects.pings_per_s:
            count = max(1, int(self._effects.pings_per_s * pause_s))
            self.wire.write(frames.frame(b"flood", opcode=frames.PING) * count)
            with contextlib.suppress(OSError):
                await self._ws.drain()
            await asyncio.sleep(max(pause_s, count / self._effects.pings_per_s if self._effects.pings_per_s else 0))

    def described(self) -> dict[str, Any]:
        """Return what the control port tells about the connection."""
        return {
            "connection": self.number,
            "host": self.host,
            "subscriptions": self.subscriptions,
            "sequence_num": self.sequence,
            "frames": self.sent,
            "unsent_bytes": self.wire.get_write_buffer_size(),
        }
