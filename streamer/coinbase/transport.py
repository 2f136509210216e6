"""Two WebSocket libraries behind one seam: `connect` gives a `Connection` that pushes each message to a callback.

Both verify TLS always, answer pings, and hand over whole messages. Neither judges liveness: pings prove that a
peer's kernel lives, not that its data flows; the session's silence deadline does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from streamer.errors import ConfigError, ConnectFailed, ConnectRefused

MAX_MESSAGE_BYTES = 32 * 2**20
"""A level2 snapshot of BTC-USD has passed 4 MiB (ccxt issue 23597); beyond this the connection is closed."""
OPEN_TIMEOUT_S = 5.0
SIMULATOR_SERVER = "streamer-simulator"
"""`Server` header of the project's own exchange: what it sends is marked as simulated, whatever the URL says."""

_MAX_REASON_CHARS = 300
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", re.ASCII)

OnMessage = Callable[[bytes], None]


class Connection(Protocol):
    """An open WebSocket."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the upgrade response, names in lower case."""

    async def send(self, message: bytes) -> None:
        """Send one text message. Raises ConnectFailed where the connection is gone."""

    async def closed(self) -> str:
        """Wait for the end, also a clean one, and return why, in words."""

    def abort(self) -> None:
        """Drop the socket now. A dead peer does not answer a closing handshake (measured: 10 s lost)."""

    async def close(self) -> None:
        """Say goodbye, then drop the socket; takes at most a second."""


class Connect(Protocol):
    """Opens a connection."""

    async def __call__(self, url: str, on_message: OnMessage, *, tls: ssl.SSLContext | None) -> Connection:
        """Connect to `url`; each message goes to `on_message`, which must not raise.

        Raises:
            ConnectRefused: The exchange answered the upgrade with an HTTP status.
            ConnectFailed: The network, TLS or the handshake failed, or took longer than 5 s.
        """


def check_ws_url(name: str, url: str) -> str:
    """Return `url` if we may connect to it: wss anywhere, ws on loopback only.

    Raises:
        ConfigError: Naming the setting `name`.
    """
    if "@" in url:
        raise ConfigError(
            name, "…@" + url.rpartition("@")[2], "a URL with a password ends up in logs; leave it out"
        )
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigError(name, url, "a URL holds no blanks or control characters")  # urlsplit drops some silently
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigError(name, url, f"not a URL: {exc}") from exc
    if parts.scheme not in ("ws", "wss") or not host:
        raise ConfigError(name, url, "expected wss://host[:port][/path]")
    if "#" in url:
        raise ConfigError(name, url, "a WebSocket's URL has no fragment (#...)")
    if not _is_host(host):
        rule = "the host is an IP address, or a name of letters, digits, '-' and '.', 1 to 63 between the dots"
        raise ConfigError(name, url, rule)
    if parts.scheme == "ws" and not is_loopback(host):
        raise ConfigError(name, url, "ws:// is unencrypted and accepted for loopback only; use wss://")
    return parts._replace(scheme=parts.scheme).geturl()  # the scheme in lower case, as everyone after us expects


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None
    return True


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(url: str, ca_file: str | None = None) -> ssl.SSLContext | None:
    """Return a verifying context for wss and https URLs, None for plain ones.

    Args:
        url: Where to connect.
        ca_file: PEM file of certificates to trust beside the system's.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    if not url.startswith(("wss:", "https:")):
        return None
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)  # not cafile= above: that would take the system's place
        except (OSError, ValueError) as exc:
            rule = f"not a readable PEM file of certificates: {exc}"
            raise ConfigError("STREAMER_CA_FILE", ca_file, rule) from exc
    return context


def choose(name: str) -> Connect:
    """Return the transport called `name`: "websockets", "picows", or "auto" (picows where installed).

    Raises:
        ConfigError: Unknown, or not installed.
    """
    if name == "auto":
        name = "picows" if find_spec("picows") else "websockets"
    if name == "websockets":
        return connect_websockets
    if name == "picows":
        try:
            from streamer.coinbase.transport_picows import connect_picows
        except ImportError as exc:
            raise ConfigError(
                "STREAMER_TRANSPORT", name, "not installed: pip install 'coinbase-streamer[fast]'"
            ) from exc
        return connect_picows
    raise ConfigError("STREAMER_TRANSPORT", name, "expected auto, websockets or picows")


class Turns:
    """Makes a saturated socket take turns with everything else in the event loop.

    An event loop reads a socket until it is empty (uvloop up to 32 times, 2 MB): at saturation a write to Redis
    waited 300 ms for its turn. Reading is paused after a share of frames and resumed in the loop's next round.
    The kernel's receive buffer is bounded too: it would grow to 32 MB of prices that are old before we read them,
    and picows hands over in one go whatever fits into a buffer that grows with it.
    """

    FRAMES = 256
    RECEIVE_BUFFER_BYTES = 512 * 1024

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, self.RECEIVE_BUFFER_BYTES
        )
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._left = self.FRAMES

    def take(self) -> None:
        """Note one frame."""
        self._left -= 1
        if not self._left:
            self._left = self.FRAMES
            self._transport.pause_reading()
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


class _PushConnection(ClientConnection):
    """Hands messages over as they are parsed, without the library's queue and a task switch for each.

    `process_event` is where the library itself puts a frame into its queue; `create_connection` is its
    documented hatch for such customization.
    """

    on_message: OnMessage
    _parts: list[bytes]
    _turns: Turns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._turns = Turns(self.transport)

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._turns.take()
            data = event.data if isinstance(event.data, bytes) else bytes(event.data)
            if event.fin and event.opcode is not Opcode.CONT:
                self.on_message(data)
                return
            if event.opcode is not Opcode.CONT:
                self._parts = []
            self._parts.append(data)  # the library bounds their sum by max_size
            if event.fin:
                self.on_message(b"".join(self._parts))
            return
        super().process_event(event)


class _Connect(websockets_connect):
    """Follows no redirect: it could lead to another host, and the exchange sends none."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Websockets:
    def __init__(self, connection: _PushConnection) -> None:
        self._connection = connection
        response = connection.response
        raw = response.headers.raw_items() if response is not None else ()
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in raw}

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send(message.decode())
        except WebSocketException as exc:
            raise ConnectFailed("the exchange", f"sending failed: {exc}") from exc

    async def closed(self) -> str:
        await self._connection.wait_closed()
        protocol = self._connection.protocol
        if protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            return f"closed by us: {explain(protocol.parser_exc)}"
        code, reason = protocol.close_code, protocol.close_reason
        return f"closed with {code}{f' {reason}' if reason else ''}"

    def abort(self) -> None:
        self._connection.transport.abort()

    async def close(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._connection.close()
        except TimeoutError:
            self.abort()


async def connect_websockets(url: str, on_message: OnMessage, *, tls: ssl.SSLContext | None) -> Connection:
    """Connect with the `websockets` library; see `Connect`."""

    def create(*args: Any, **kwargs: Any) -> _PushConnection:
        connection = _PushConnection(*args, **kwargs)
        connection.on_message = on_message
        return connection

    try:
        # The whole is bounded once more: the library's own timeout does not cover name resolution.
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            connection = await _Connect(
                url,
                ssl=tls,
                create_connection=create,  # type: ignore[arg-type]  # annotated as a class, used as a callable
                open_timeout=None,
                ping_interval=None,
                close_timeout=1,
                compression=None,  # inflating costs more than a local link saves, and hides the frame sizes
                max_size=MAX_MESSAGE_BYTES,
                user_agent_header=None,
            )
    except InvalidStatus as exc:
        raise refused(url, exc.response.status_code, exc.response.headers.get("Retry-After")) from exc
    except TimeoutError as exc:
        raise ConnectFailed(url, f"no WebSocket within {OPEN_TIMEOUT_S:g} s") from exc
    except (OSError, EOFError, InvalidHandshake, WebSocketException, ValueError) as exc:
        raise ConnectFailed(url, explain(exc)) from exc
    assert isinstance(connection, _PushConnection)
    return _Websockets(connection)


def refused(url: str, status: int, retry_after: str | None) -> ConnectRefused:
    """Return the error for an HTTP status on the upgrade, with what its Retry-After asks for."""
    try:
        retry_after_s = float(retry_after) if retry_after is not None else None
    except ValueError:
        retry_after_s = None  # an HTTP date: rare enough to fall back on our own delay
    return ConnectRefused(url, status, retry_after_s)


def explain(exc: BaseException) -> str:
    """Return an exception as a reason a person can act on: one line that can be shown, logged and stored.

    Libraries quote what the peer sent: bytes that are no text come as surrogates, which no JSON encoder takes.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        text = f"its certificate is not trusted: {exc.verify_message}"
    else:
        text = str(exc) or type(exc).__name__
    text = text[:_MAX_REASON_CHARS].encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else "?" for char in text)[:_MAX_REASON_CHARS]
