"""The fast transport: picows calls us for every frame straight from its receive buffer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from streamer.coinbase.transport import (
    MAX_MESSAGE_BYTES,
    OPEN_TIMEOUT_S,
    Connection,
    OnMessage,
    Turns,
    explain,
    refused,
)
from streamer.errors import ConnectFailed

_TEXT, _BINARY, _CONTINUATION, _CLOSE = (
    WSMsgType.TEXT,
    WSMsgType.BINARY,
    WSMsgType.CONTINUATION,
    WSMsgType.CLOSE,
)


class _Listener(WSListener):
    """Turns frames into messages. picows answers pings itself."""

    def __init__(self, on_message: OnMessage) -> None:
        self._on_message = on_message
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self.why: str | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._turns = Turns(transport.underlying_transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._turns.take()
        kind = frame.msg_type
        if kind is _TEXT and frame.fin:
            self._on_message(frame.get_payload_as_bytes())
        elif kind is _TEXT or kind is _BINARY or kind is _CONTINUATION:
            self._fragment(transport, frame)
        elif kind is _CLOSE:
            code, reason = frame.get_close_code(), frame.get_close_message()
            number = code.value if isinstance(code, WSCloseCode) else code
            self.why = f"closed with {number} {bytes(reason or b'').decode(errors='replace')}".rstrip()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def _fragment(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not _CONTINUATION:
            self._parts, self._parts_bytes = [], 0
        self._parts.append(frame.get_payload_as_bytes())
        self._parts_bytes += frame.payload_size
        if self._parts_bytes > MAX_MESSAGE_BYTES:  # picows bounds a frame, not the sum of its fragments
            self.why = "message too big"
            transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect(graceful=False)
        elif frame.fin:
            self._on_message(b"".join(self._parts))
            self._parts, self._parts_bytes = [], 0


class _Picows:
    def __init__(self, transport: WSTransport, listener: _Listener) -> None:
        self._transport, self._listener = transport, listener
        self.headers: Mapping[str, str] = {
            str(name).lower(): str(value) for name, value in transport.response.headers.items()
        }

    async def send(self, message: bytes) -> None:
        if self._transport.is_disconnected:
            raise ConnectFailed("the exchange", "sending failed: the connection is closed")
        self._transport.send(_TEXT, message)

    async def closed(self) -> str:
        try:
            await asyncio.shield(self._transport.wait_disconnected())
        except (OSError, WSError) as exc:
            return explain(exc)
        return self._listener.why or "connection lost without a closing handshake"

    def abort(self) -> None:
        self._transport.disconnect(graceful=False)

    async def close(self) -> None:
        with suppress(TimeoutError, OSError, WSError):
            async with asyncio.timeout(1.0):
                self._transport.send_close(WSCloseCode.OK)
                self._transport.disconnect()
                await self._transport.wait_disconnected()
                return
        self.abort()


async def connect_picows(url: str, on_message: OnMessage, *, tls: ssl.SSLContext | None) -> Connection:
    """Connect with picows; see `Connect` in transport.py."""
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            transport, listener = await ws_connect(
                lambda: _Listener(on_message),
                url,
                ssl_context=tls,
                websocket_handshake_timeout=None,
                max_frame_size=MAX_MESSAGE_BYTES,
                max_redirects=0,
                use_aiofastnet=False,
                read_buffer_init_size=256 * 1024,
            )
    except WSHandshakeError as exc:
        if exc.response is not None and exc.response.status != 101:
            raise refused(url, int(exc.response.status), exc.response.headers.get("Retry-After")) from exc
        raise ConnectFailed(url, explain(exc)) from exc
    except TimeoutError as exc:
        raise ConnectFailed(url, f"no WebSocket within {OPEN_TIMEOUT_S:g} s") from exc
    except (OSError, WSError, ValueError) as exc:
        raise ConnectFailed(url, explain(exc)) from exc
    if not isinstance(listener, _Listener):
        # picows 2.3 returns without a listener where the peer leaves, or speaks no HTTP, before the upgrade.
        raise ConnectFailed(url, "the connection ended before the WebSocket was open")
    return _Picows(transport, listener)
