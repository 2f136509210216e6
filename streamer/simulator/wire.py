"""The one way out of a connection: our frames and the library's control frames leave in one order.

It stands in the place of the connection's transport, so that a fault may slow down or cut up what is sent
without tearing a frame apart: a pong of the library can never land inside one of our frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

Spawn = Callable[[Coroutine[Any, Any, None]], object]

_LINGER_RST = struct.pack("ii", 1, 0)


class Wire(asyncio.Transport):
    """A transport that can be made slow.

    Args:
        inner: The real transport.
        drain: Waits until the real transport's buffer is low.
        spawn: Starts a coroutine as a task of the exchange.
    """

    def __init__(
        self, inner: asyncio.Transport, drain: Callable[[], Coroutine[Any, Any, None]], spawn: Spawn
    ) -> None:
        super().__init__()
        self._inner, self._drain, self._spawn = inner, drain, spawn
        self._queue: deque[bytes | Iterator[bytes]] = deque()
        self._queued_bytes = 0
        self._is_pumping = False
        self._close_after = False
        self.byte_delay_s: float | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send, at once or, while the wire is slow, after what waits already."""
        if self._is_pumping or self.byte_delay_s is not None:
            self._enqueue(bytes(data), len(data))
        else:
            self._inner.write(data)

    def write_pieces(self, pieces: Iterator[bytes]) -> None:
        """Send many pieces that together are whole frames, waiting for the buffer between them."""
        self._enqueue(pieces, 0)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._inner.get_write_buffer_size() + self._queued_bytes

    def reset(self) -> None:
        """Cut the connection off with a TCP reset: the peer sees no close frame (1006)."""
        sock = self._inner.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # already gone: nothing left to reset
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
        self.abort()

    def _enqueue(self, item: bytes | Iterator[bytes], size: int) -> None:
        self._queue.append(item)
        self._queued_bytes += size
        if not self._is_pumping:
            self._is_pumping = True
            self._spawn(self._pump())

    async def _pump(self) -> None:
        try:
            while self._queue and not self._inner.is_closing():
                item = self._queue.popleft()
                if isinstance(item, bytes):
                    await self._send(item)
                    self._queued_bytes -= len(item)
                else:
                    for piece in item:
                        self._inner.write(piece)
                        await self._drain()
        except OSError:
            self._queue.clear()  # the peer left in the middle; the handler hears of it by itself
        finally:
            self._is_pumping = False
            if self._close_after:
                self._inner.close()

    async def _send(self, data: bytes) -> None:
        for i in range(len(data)):
            delay_s = self.byte_delay_s
            if delay_s is None:  # healed: the rest may go at once
                self._inner.write(data[i:])
                return
            self._inner.write(data[i : i + 1])
            # asyncio sets TCP_NODELAY, so each byte is a segment of its own.
            await asyncio.sleep(delay_s)
        await self._drain()

    # The rest of the transport's surface, as the library uses it.

    def close(self) -> None:
        """Close after what waits has been sent."""
        if self._is_pumping:
            self._close_after = True
        else:
            self._inner.close()

    def abort(self) -> None:
        """Close at once and drop what waits."""
        self._queue.clear()
        self._inner.abort()

    def is_closing(self) -> bool:
        """Say whether the transport is closing or closed."""
        return self._inner.is_closing()

    def can_write_eof(self) -> bool:
        """Say no while slow: the end of the stream must not overtake what waits."""
        return not self._is_pumping and self._inner.can_write_eof()

    def write_eof(self) -> None:
        """Close the sending half."""
        self._inner.write_eof()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the real transport knows."""
        return self._inner.get_extra_info(name, default)
