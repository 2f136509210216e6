"""One question to Redis on a plain socket, answered or given up within a second.

No client library: importing one takes ten times as long as asking.
"""

from __future__ import annotations

import json
import socket
import time

from streamer.errors import StoreError
from streamer.store.address import RedisAddress, check_redis_url, hide_password

TYPE_CHECKING = False  # typing's own constant costs its import; type checkers know the name
if TYPE_CHECKING:
    from typing import Any

STATUS_KEY = "stream:status"
DEADLINE_S = 1.0
_MAX_REPLY_BYTES = 4 << 20  # a status is some kilobytes; a server that sends more is not answering us


class ProbeFailed(StoreError):
    """Redis gave no usable answer, so nothing is known about the stream.

    Attributes:
        why: One sentence, without any password.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _ErrorReply(Exception):
    """Redis answered with an error line."""


class _NotRedis(Exception):
    """What came back is not the Redis protocol."""


def probe(url: str, prefix: str = "", deadline_s: float = DEADLINE_S) -> tuple[dict[str, Any] | None, int]:
    """Return the ingester's last report, None where there is none, and the clock of Redis in ms.

    Args:
        url: redis://, rediss:// (verified; `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` honoured) or unix://.
        prefix: What every key starts with.
        deadline_s: For everything together: name lookup, connect, TLS, both answers.

    Raises:
        ConfigError: The URL breaks a rule.
        ProbeFailed: No answer, or not the one asked for.
    """
    address = check_redis_url(url)
    deadline = time.monotonic() + deadline_s
    where = f"Redis at {hide_password(url)}"
    try:
        raw, now_ms = _ask_following(address, prefix, deadline)
    except TimeoutError:
        # A Redis without TLS waits for the end of the line it takes our handshake for.
        or_plain = ", or a server without TLS" if address.scheme == "rediss" else ""
        why = f"{where} did not answer within {deadline_s:g} s (frozen or unreachable{or_plain})"
        raise ProbeFailed(why) from None
    except _ErrorReply as exc:
        raise ProbeFailed(f"{where} {_in_words(str(exc), address)}") from None
    except _NotRedis as exc:
        raise ProbeFailed(f"{where} is not a Redis: it answered {_redact(str(exc), address)}") from None
    except (OSError, EOFError) as exc:
        raise ProbeFailed(f"{where} {_network_words(exc)}") from None
    return _parse_status(raw, where), now_ms


def _parse_status(raw: bytes | None, where: str) -> dict[str, Any] | None:
    if raw is None:
        return None
    try:
        status = json.loads(raw)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        raise ProbeFailed(f"{where} holds a {STATUS_KEY} that is not a JSON object: another program wrote it")
    return status


def _ask_following(address: RedisAddress, prefix: str, deadline: float) -> tuple[bytes | None, int]:
    """Ask; in a Redis Cluster the key may live on another node, which the first one names."""
    try:
        return _ask(address, prefix, deadline)
    except _ErrorReply as exc:
        words = str(exc).split()
        if len(words) != 3 or words[0] != "MOVED":
            raise
        host, _, port = words[2].rpartition(":")
        address.host, address.port = host or address.host, int(port)
        return _ask(address, prefix, deadline)


def _ask(address: RedisAddress, prefix: str, deadline: float) -> tuple[bytes | None, int]:
    commands: list[tuple[str, ...]] = []
    if address.username:
        commands.append(("AUTH", address.username, address.password or ""))
    elif address.password:
        commands.append(("AUTH", address.password))
    if address.db:
        commands.append(("SELECT", str(address.db)))
    with _connect(address, deadline) as sock:
        wire = _Wire(sock, deadline)
        wire.send([*commands, ("TIME",), ("GET", prefix + STATUS_KEY)])
        for _ in commands:
            wire.reply()
        clock, raw = wire.reply(), wire.reply()
    if not isinstance(clock, list) or len(clock) != 2 or not (raw is None or isinstance(raw, bytes)):
        raise _NotRedis("with replies of the wrong kind")
    return raw, int(clock[0]) * 1000 + int(clock[1]) // 1000


class _Wire:
    """RESP2 over a blocking socket; one deadline bounds all waits, however slowly the bytes dribble in."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._heard = bytearray()
        self._total = 0

    def send(self, commands: list[tuple[str, ...]]) -> None:
        """Send all commands at once."""
        out = bytearray()
        for command in commands:
            out += b"*%d\r\n" % len(command)
            for word in command:
                data = word.encode()
                out += b"$%d\r\n%b\r\n" % (len(data), data)
        self._sock.settimeout(_remaining(self._deadline))
        self._sock.sendall(out)

    def reply(self) -> Any:
        """Return the next reply: bytes, int, None or a list of them; an error reply raises."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise _ErrorReply(rest.decode("utf-8", "replace"))
        try:
            number = int(rest)
        except ValueError:
            raise _NotRedis(repr(line[:40].decode("ascii", "replace"))) from None
        if kind == b":":
            return number
        if kind == b"$":
            return None if number < 0 else self._take(number + 2)[:-2]
        return None if number < 0 else [self.reply() for _ in range(min(number, 16))]

    def _line(self) -> bytes:
        while (end := self._heard.find(b"\r\n")) < 0:
            # An HTTP or SSH banner is told from Redis by its first byte: no need to wait for the deadline.
            if self._heard and self._heard[0] not in b"+-:$*":
                raise _NotRedis(repr(self._heard[:40].decode("ascii", "replace")))
            self._fill()
        line = self._take(end + 2)[:-2]
        if line[:1] not in (b"+", b"-", b":", b"$", b"*"):
            raise _NotRedis(repr(line[:40].decode("ascii", "replace")))
        return line

    def _take(self, size: int) -> bytes:
        while len(self._heard) < size:
            self._fill()
        taken = bytes(self._heard[:size])
        del self._heard[:size]
        return taken

    def _fill(self) -> None:
        self._sock.settimeout(_remaining(self._deadline))
        chunk = self._sock.recv(65536)
        self._total += len(chunk)
        if not chunk:
            raise EOFError
        if self._total > _MAX_REPLY_BYTES:
            raise _NotRedis("with megabytes nobody asked for")
        self._heard += chunk


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connect(address: RedisAddress, deadline: float) -> socket.socket:
    if address.scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        return _connected(sock, address.path, _remaining(deadline))
    places = _resolve(address.host, address.port, deadline)
    failure: OSError = TimeoutError()
    for tried, (family, place) in enumerate(places):
        try:
            # A share each, so that a black-holed IPv6 address leaves time for the IPv4 one.
            share_s = _remaining(deadline) / (len(places) - tried)
            sock = _connected(socket.socket(family, socket.SOCK_STREAM), place, share_s)
        except OSError as exc:
            failure = exc
            continue
        return _with_tls(sock, address, deadline) if address.scheme == "rediss" else sock
    raise failure


def _connected(sock: socket.socket, place: Any, within_s: float) -> socket.socket:
    try:
        sock.settimeout(within_s)
        sock.connect(place)
    except BaseException:
        sock.close()
        raise
    return sock


def _resolve(host: str, port: int, deadline: float) -> list[tuple[int, Any]]:
    """Look the host up, within the deadline: getaddrinfo itself has none and may hang for many seconds."""
    import _thread  # always built in; `threading` would cost as much as the answer

    found: list[Any] = []
    done = _thread.allocate_lock()
    done.acquire()

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            found.append(exc)
        done.release()

    _thread.start_new_thread(look_up, ())
    if not done.acquire(timeout=_remaining(deadline)):
        raise TimeoutError
    if isinstance(found[0], UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "not a host name")
    if isinstance(found[0], OSError):
        raise found[0]
    return [(info[0], info[4]) for info in found]


def _with_tls(sock: socket.socket, address: RedisAddress, deadline: float) -> socket.socket:
    import ssl  # 14 ms: only where it is needed

    try:
        context = ssl.create_default_context(cafile=address.options.get("ssl_ca_certs"))
        if certificate := address.options.get("ssl_certfile"):
            context.load_cert_chain(certificate, address.options.get("ssl_keyfile"))
        sock.settimeout(_remaining(deadline))
        return context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def _network_words(exc: OSError | EOFError) -> str:
    if isinstance(exc, EOFError):
        return "closed the connection without an answer (not a Redis, or it expects TLS: rediss://)"
    if isinstance(exc, ConnectionRefusedError):
        return "refuses the connection: no server listens there"
    if isinstance(exc, FileNotFoundError):
        return f"cannot be reached: no such file ({exc.filename or 'the socket'})"
    if isinstance(exc, socket.gaierror):
        return "cannot be found: its host name is unknown"
    reason = getattr(exc, "verify_message", "")
    if reason:
        return f"shows a TLS certificate that is not trusted: {reason} (set ?ssl_ca_certs=/path in the URL)"
    if type(exc).__module__ == "ssl":
        detail = getattr(exc, "reason", None) or "closed"
        return f"does not complete a TLS handshake ({detail}): without TLS it would be redis://"
    return f"cannot be reached: {exc.strerror or exc}"


def _in_words(error: str, address: RedisAddress) -> str:
    code = error.split(" ", 1)[0]
    if code == "WRONGPASS" or "invalid password" in error or "invalid username-password" in error:
        return "does not accept the password"
    if code == "NOAUTH":
        return "asks for a password and the URL has none (redis://:password@host:port)"
    if error.startswith("ERR AUTH"):
        return "has no password set but the URL gives one"
    if code == "LOADING":
        return "is still loading its data"
    if code == "NOPERM":
        return f"does not let this user read {STATUS_KEY}"
    if "DB index" in error:
        return f"has no database {address.db}"
    return f"answered with an error: {_redact(error, address)[:120]}"


def _redact(text: str, address: RedisAddress) -> str:
    """Some servers quote the command they did not understand, and that may be our AUTH."""
    return text.replace(address.password, "***") if address.password else text
