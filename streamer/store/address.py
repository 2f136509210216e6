"""Where Redis is: an argument, the environment, a `.env` file, or the embedded server's state file.

On the path of `stream-status`, which a probe may start every second, so imports are counted: pathlib,
urllib.parse, typing and dataclasses would each cost more than the whole of this module.
"""
# ruff: noqa: PTH100, PTH101, PTH103, PTH105, PTH110, PTH111, PTH116, PTH117, PTH118, PTH123

from __future__ import annotations

import os

from streamer.errors import ConfigError

TYPE_CHECKING = False  # typing's own constant costs its import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PORT = 6379
STATE_FILE = "redis.json"
LAST_STATE_FILE = "redis.last.json"
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
OPTIONS = ("db", "username", "password", *TLS_OPTIONS)
"""What may follow the '?' of a Redis URL. redis-py would take each further argument of its connections, also those
that undo our deadlines (`socket_timeout`), and fail on the rest only when it connects."""
_YES_OR_NO = ("true", "false", "yes", "no", "1", "0")
_ENCODE_RULE = "write / ? # @ and % of a user name or password percent-encoded (%2F %3F %23 %40 %25)"


class RedisAddress:
    """A Redis URL taken apart and checked.

    Attributes:
        scheme: "redis", "rediss" (TLS) or "unix".
        host: Name or address; "" for a unix socket.
        port: TCP port; 0 for a unix socket.
        path: Absolute path of the unix socket, else "".
        username: ACL user, or None for the default user.
        password: In clear, or None.
        db: Database number.
        options: The query parameters, decoded; only those of `OPTIONS`.
    """

    __slots__ = ("db", "host", "options", "password", "path", "port", "scheme", "username")

    def __init__(self, scheme: str, host: str, port: int, path: str, options: dict[str, str]) -> None:
        self.scheme, self.host, self.port, self.path, self.options = scheme, host, port, path, options
        self.username: str | None = options.get("username")
        self.password: str | None = options.get("password")
        self.db = 0


class RedisState:
    """What a running embedded Redis tells the other processes of this user.

    Attributes:
        url: Its URL, password included.
        redis_pid: The redis-server process.
        parent_pid: The process that started it and stops it.
        port: TCP port on 127.0.0.1.
        version: As the server reports it.
        started_ms: Unix ms.
    """

    __slots__ = ("parent_pid", "port", "redis_pid", "started_ms", "url", "version")

    def __init__(
        self, *, url: str, redis_pid: int, parent_pid: int, port: int, version: str, started_ms: int
    ) -> None:
        self.url, self.redis_pid, self.parent_pid = url, redis_pid, parent_pid
        self.port, self.version, self.started_ms = port, version, started_ms


def find_redis_url(environ: Mapping[str, str], explicit: str | None = None) -> str | None:
    """Return the URL of the Redis to use, unchecked, or None where nothing names one.

    In order: `explicit`, REDIS_URL of the environment, REDIS_URL of `.env` in the working directory, the
    embedded instance that runs and answers.

    Raises:
        ConfigError: `.env` is there but cannot be read.
    """
    named = explicit or setting(environ, "REDIS_URL")
    if named:
        return named
    state = live_state(state_dir(environ))
    return state.url if state else None


def key_prefix(environ: Mapping[str, str]) -> str:
    """Return what every key starts with: STREAMER_KEY_PREFIX (environment or `.env`), else ""."""
    return setting(environ, "STREAMER_KEY_PREFIX") or ""


def state_dir(environ: Mapping[str, str]) -> str:
    """Return the embedded Redis's folder: STREAMER_STATE_DIR, else `streamer` in the XDG state folder."""
    chosen = setting(environ, "STREAMER_STATE_DIR")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    xdg = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(xdg):  # the XDG specification asks to ignore a relative one
        xdg = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")
    return os.path.join(xdg, "streamer")


def setting(environ: Mapping[str, str], name: str) -> str | None:
    """Return `name` from the environment, else from `.env` in the working directory; empty means not set."""
    value = environ.get(name)
    if value:
        return value
    try:
        with open(".env", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as exc:
        raise ConfigError(".env", os.path.abspath(".env"), f"cannot be read: {exc.strerror}") from exc
    return parse_env_file(text, environ).get(name) or None


def parse_env_file(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a `.env` file, read as python-dotenv reads it (which costs 20 ms to import).

    Understood: `KEY=VALUE`, `export`, comments, both kinds of quotes (over several lines too: PEM keys),
    `${NAME}` and `${NAME:-default}`. A line that is none of these is skipped.
    """
    values: dict[str, str] = {}
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    at = 0
    while at < len(text):
        end = _line_end(text, at)
        key, equals, rest = text[at:end].partition("=")
        key = key.strip()
        key = key[7:].strip() if key.startswith("export ") else key
        rest = rest.lstrip()
        if key and equals and not key.startswith("#"):
            if rest[:1] in ("'", '"'):
                start = end - len(rest) + 1
                close = _closing_quote(text, start, rest[0])
                if close >= 0:
                    values[key] = _expand(_unescape(text[start:close], rest[0]), values, environ)
                    end = _line_end(text, close)
            else:
                values[key] = _expand(_without_comment(rest), values, environ)
        at = end + 1
    return values


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _closing_quote(text: str, start: int, quote: str) -> int:
    close = text.find(quote, start)
    while close > start and text[close - 1] == "\\":
        close = text.find(quote, close + 1)
    return close


def _unescape(text: str, quote: str) -> str:
    known = {"\\": "\\", "'": "'"}
    if quote == '"':
        known |= {'"': '"', "n": "\n", "r": "\r", "t": "\t"}
    out, at = "", 0
    while at < len(text):
        pair = text[at : at + 2]
        if len(pair) == 2 and pair[0] == "\\" and pair[1] in known:
            out, at = out + known[pair[1]], at + 2
        else:
            out, at = out + text[at], at + 1
    return out


def _without_comment(rest: str) -> str:
    """Cut a comment off an unquoted value; a '#' inside a word (a URL's, say) is part of the value."""
    for at, char in enumerate(rest):
        if char == "#" and at > 0 and rest[at - 1].isspace():
            return rest[:at].rstrip()
    return "" if rest.startswith("#") else rest.rstrip()


def _expand(value: str, values: Mapping[str, str], environ: Mapping[str, str]) -> str:
    out, *parts = value.split("${")
    for part in parts:
        inner, closed, tail = part.partition("}")
        name, _, default = inner.partition(":-")
        out += (values.get(name, environ.get(name, default)) + tail) if closed else "${" + part
    return out


def hide_password(url: str) -> str:
    """Return `url` fit for a log: no password, even where the URL is malformed.

    A lone word before '@' is hidden too: it is a user name by the rules, and a password by a common slip.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if not rest.startswith("/"):
        userinfo, at, place = rest.rpartition("@")
        if at:
            user, colon, _ = userinfo.partition(":")
            rest = f"{user if colon else ''}{':' if colon else ''}***@{place}"
        else:
            authority = rest.split("/", 1)[0].split("?", 1)[0]
            host, colon, port = authority.rpartition(":")
            if colon and port and not port.isdigit() and not authority.endswith("]"):
                rest = f"{host}:***"  # "redis://:secret", the host forgotten
    base, mark, query = rest.partition("?")
    pairs = [_hide_pair(pair) for pair in query.split("&")]
    return scheme + separator + base + mark + "&".join(pairs)


def _hide_pair(pair: str) -> str:
    # A name we do not know may be a password's with a slip in it.
    name, equals, _ = pair.partition("=")
    return pair if not equals or (name in OPTIONS and name != "password") else f"{name}{equals}***"


def check_redis_url(url: str, name: str = "REDIS_URL") -> RedisAddress:
    """Take a Redis URL apart, by the rules of redis-py but without its silent guesses.

    Args:
        url: redis://, rediss:// or unix://; options after '?' are those of `OPTIONS`, each once and with a value.
        name: The setting or option it came from, for the message.

    Raises:
        ConfigError: The URL breaks a rule; the message holds no password.
    """

    def broken(rule: str) -> ConfigError:
        return ConfigError(name, hide_password(url), rule)

    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("redis", "rediss", "unix"):
        raise broken("expected redis://host:port/db, rediss://host:port/db (TLS) or unix:///path/to/socket")
    if any(char <= " " or char == "\x7f" for char in url):
        raise broken("a URL holds no blanks or control characters")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    if "#" in url or ("@" in path + query and "@" not in authority and scheme != "unix"):
        raise broken(_ENCODE_RULE)
    userinfo, at, place = authority.rpartition("@")
    options, rule = _parse_query(query, scheme)
    if rule:
        raise broken(rule)
    if scheme == "unix":
        if place or not path:
            raise broken("expected an absolute path: unix:///path/to/socket")
        address = RedisAddress(scheme, "", 0, "/" + _unquote(path), options)
        number = options.get("db", "")
    else:
        host, port, rule = _split_place(place)
        if rule:
            raise broken(rule)
        address = RedisAddress(scheme, host, port, "", options)
        number = options.get("db", path.strip("/"))
    if number and not (number.isascii() and number.isdigit() and len(number) < 10):
        raise broken("the database is a whole number, 0 or more, as in redis://host:6379/0")
    address.db = int(number or 0)
    user, _, password = userinfo.partition(":")
    if at:
        address.username = _unquote(user) or address.username
        address.password = _unquote(password) or address.password
    return address


def _split_place(place: str) -> tuple[str, int, str | None]:
    """Split host and port; the third is the rule broken, or None."""
    if place.startswith("["):
        host, closed, tail = place[1:].partition("]")
        if not closed or not _is_ipv6(host) or (tail and not tail.startswith(":")):
            return "", 0, "an IPv6 address stands in brackets: redis://[::1]:6379"
        port = tail[1:]
    else:
        host, _, port = place.partition(":")
        if ":" in port:
            return "", 0, "one host and one port; an IPv6 address stands in brackets: redis://[::1]:6379"
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        return "", 0, "the port is a number from 1 to 65535"
    return _unquote(host) or "localhost", int(port or DEFAULT_PORT), None


def _is_ipv6(host: str) -> bool:
    import socket  # only where a URL has brackets

    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def _parse_query(query: str, scheme: str) -> tuple[dict[str, str], str | None]:
    """Return the options; the second is the rule broken, or None."""
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        name, text = _unquote(key.replace("+", " ")), _unquote(value.replace("+", " "))
        if name not in OPTIONS:
            return {}, f"option {name!r} is not known here; known are {', '.join(OPTIONS)}"
        if name in options:
            return {}, f"option {name!r} is given twice"
        if not text:
            return {}, f"option {name!r} has no value"
        if name in TLS_OPTIONS and scheme != "rediss":
            return {}, f"option {name!r} is about TLS, and TLS is spoken with rediss:// only"
        if name == "ssl_check_hostname" and text.lower() not in _YES_OR_NO:
            return {}, f"option {name!r} is true or false"
        options[name] = text
    return options, None


def _unquote(text: str) -> str:
    head, *parts = text.split("%")
    out = head.encode()
    for part in parts:
        digits, tail = part[:2], part[2:]
        if len(digits) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            out += bytes.fromhex(digits) + tail.encode()
        else:
            out += b"%" + part.encode()
    return out.decode("utf-8", "replace")


def ensure_private_folder(folder: str) -> None:
    """Make `folder` if need be, and for its owner only: the state file inside holds a password."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_mode & 0o077:
        os.chmod(folder, 0o700)


def write_state(folder: str, state: RedisState) -> None:
    """Publish the embedded server to other processes: mode 0600, replaced as a whole."""
    import json

    ensure_private_folder(folder)
    draft = os.path.join(folder, f".{STATE_FILE}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, json.dumps({name: getattr(state, name) for name in RedisState.__slots__}).encode())
    finally:
        os.close(fd)
    os.replace(draft, os.path.join(folder, STATE_FILE))


def retire_state(folder: str) -> None:
    """Take the state file away, but keep port and password for the next start: readers find the way back."""
    try:
        os.replace(os.path.join(folder, STATE_FILE), os.path.join(folder, LAST_STATE_FILE))
    except FileNotFoundError:
        return


def read_state(folder: str, name: str = STATE_FILE) -> RedisState | None:
    """Return what the state file says, true or not; None where there is none or it is unreadable."""
    import json

    try:
        with open(os.path.join(folder, name), "rb") as file:
            facts: dict[str, Any] = json.loads(file.read())
        state = RedisState(**{key: facts[key] for key in RedisState.__slots__})
        check_redis_url(state.url)
    except (OSError, ValueError, TypeError, KeyError, ConfigError, AttributeError):
        return None
    return state if isinstance(state.redis_pid, int) and isinstance(state.port, int) else None


def live_state(folder: str, within_s: float = 0.5) -> RedisState | None:
    """Return the state of an embedded Redis that runs and answers within `within_s`, else None."""
    state = read_state(folder)
    if state is None or not process_alive(state.redis_pid) or not _answers(state, within_s):
        return None
    return state


def process_alive(pid: int) -> bool:
    """Whether a process with this id runs, ours or not; a killed one that nobody has reaped does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return os.path.exists(f"/proc/{pid}") or not os.path.exists("/proc/self")


def _answers(state: RedisState, within_s: float) -> bool:
    """Whether the server on that port takes our password: only then is it ours, whoever has the pid now."""
    import socket
    import time

    deadline = time.monotonic() + within_s
    password = check_redis_url(state.url).password or ""
    heard = b""
    try:
        with socket.create_connection(("127.0.0.1", state.port), within_s) as sock:
            sock.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            while heard.count(b"\r\n") < 2 and len(heard) < 1024:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = sock.recv(1024)
                if not chunk:
                    return False
                heard += chunk
                if time.monotonic() > deadline:
                    return False
    except OSError:
        return False
    return heard.startswith((b"+OK\r\n+PONG", b"+OK\r\n-LOADING"))
