"""A canary key goes through everything that can go wrong, and nothing of it is found anywhere.

Looked for in every log and output at the loudest level, in all that was ever sent to Redis or is in it, in files
and on command lines: any 16 characters of the private key, tokens, and the header that carries them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from redis import Redis

from streamer import settings
from streamer.coinbase.auth import Signer, parse_private_key, read_key_file
from streamer.coinbase.feed import Endpoint, Feed
from streamer.coinbase.intake import UserIntake
from streamer.coinbase.messages import Decoder
from streamer.coinbase.pace import Paces
from streamer.coinbase.session import ALL, Session
from streamer.coinbase.transport import connect_websockets
from streamer.ingest.upstream import upstream
from streamer.model import Source
from streamer.simulator.keys import make_key_file
from streamer.store.address import find_redis_url
from tests.support import Lanes, Process, RedisServer, Simulator, Stream, is_healthy, run, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

lanes = Lanes()

START_S = 60.0
WINDOW = 16
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}|[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}")
HEADER = re.compile(rb"authorization|bearer ", re.IGNORECASE)


class Canary:
    """A key that must be found nowhere."""

    def __init__(self, file: Path) -> None:
        self.file = file
        content = json.loads(file.read_text())
        self.name, self.secret = str(content["name"]), str(content["privateKey"])
        lines = self.secret.splitlines()
        body = "".join(lines[1:-1]) if len(lines) > 1 else self.secret
        key = parse_private_key(self.secret, "canary")
        raw = self._raw(key)
        texts = [body, raw.hex(), raw.hex().upper(), *self._encoded(raw)]
        self._windows = {text[i : i + WINDOW].encode() for text in texts for i in range(len(text) - WINDOW + 1)}
        self._windows |= {raw[i : i + 8] for i in range(len(raw) - 7)}

    @staticmethod
    def _raw(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.private_numbers().private_value.to_bytes(32, "big")
        return key.private_bytes_raw()

    @staticmethod
    def _encoded(raw: bytes) -> Iterator[str]:
        for shift in range(3):  # base64 of the same bytes looks different at each place
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield encode(b"\0" * shift + raw).decode().rstrip("=")[4 if shift else 0 :]

    def found_in(self, content: bytes) -> list[str]:
        """Return what was found, in words that do not show it."""
        found = []
        if any(window in content for window in self._windows):
            found.append("a part of the private key")
        if (match := TOKEN.search(content)) is not None:
            found.append(f"a token at {match.start()}: {content[max(0, match.start() - 60) : match.start()]!r}")
        if (match := HEADER.search(content)) is not None:
            found.append(f"the header at {match.start()}: {content[max(0, match.start() - 60) : match.start()]!r}")
        return found


class Wiretap:
    """Listens to all that a Redis is told, in a thread of its own: values may come and go between two looks."""

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url, socket_timeout=10)
        self._thread = threading.Thread(target=self._listen, name="wiretap", daemon=True)
        self._ready, self._stop = threading.Event(), threading.Event()
        self._heard: list[bytes] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(15)

    def _listen(self) -> None:
        where = self._client.connection_pool.connection_kwargs
        with socket.create_connection((where["host"], where["port"]), 10) as sock:
            login = f"AUTH {where['password']}\r\n" if where.get("password") else ""
            sock.sendall(f"{login}MONITOR\r\n".encode())
            sock.settimeout(0.2)
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    piece = sock.recv(1 << 20)
                    if not piece:
                        return
                    self._heard.append(piece)
                    self._ready.set()

    @property
    def heard(self) -> bytes:
        """All so far, also what was published."""
        return b"".join(self._heard)

    def kept(self) -> bytes:
        """Return all keys and all they hold."""
        found: list[bytes] = []
        for key in self._client.scan_iter(count=1000):
            kind: Any = self._client.type(key)
            read: dict[Any, Any] = {
                b"string": lambda k: self._client.get(k),
                b"hash": lambda k: self._client.hgetall(k),
                b"set": lambda k: self._client.smembers(k),
                b"zset": lambda k: self._client.zrange(k, 0, -1),
                b"list": lambda k: self._client.lrange(k, 0, -1),
                b"stream": lambda k: self._client.xrange(k),
            }
            found += [key, *_flat(read[kind](key))]
        return b"\n".join(found)


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from (*_flat(name), *_flat(inside))
    elif isinstance(value, list | tuple | set):
        for inside in value:
            yield from _flat(inside)
    elif value is not None:
        yield bytes(value)


def files(folder: Path, but: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file there, but those of one folder."""
    for path in folder.rglob("*"):
        if path.is_file() and but not in path.parents:
            yield str(path.relative_to(folder)), path.read_bytes()


def command_lines(pid: int) -> Iterator[tuple[str, bytes]]:
    """Yield the command lines of a process and its children."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if int(stat.parent.name) == pid or parent == pid:
                yield f"command line of {stat.parent.name}", (stat.parent / "cmdline").read_bytes()


ORDER = {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.001"}
REST_FAULTS: list[dict[str, Any]] = [
    {"fault": "rest_status", "status": 401},
    {"fault": "rest_status", "status": 403},
    {"fault": "rest_garbage"},
    {"fault": "rest_reset"},
    {"fault": "rest_hang"},
]
STREAM_FAULTS: list[tuple[str, list[dict[str, Any]]]] = [
    ("feed.gap", [{"fault": "skip", "n": 3}]),
    ("feed.garbage", [{"fault": "garbage"}]),
    ('"event":"feed.down"', [{"fault": "drop_handshake"}, {"fault": "reset"}]),
    ("with HTTP 401", [{"fault": "refuse_upgrade", "status": 401}, {"fault": "reset"}]),
    ("authentication failure", [{"fault": "refuse_subscriptions"}, {"fault": "close", "code": 1008}]),
    ("refuses our tokens", [{"revoke": True, "close": True}]),
]
"""Faults, and what the log says when they have been seen."""


def suffer(simulator: Simulator, stream: Process) -> None:
    """One fault after the other; each is seen by the stream before it ends."""

    def until_seen(word: str, *commands: dict[str, Any]) -> None:
        before = stream.log.count(
            word
        )  # counted first: what a command causes may be logged before its reply is here
        simulator.tell(*commands)
        wait_until(lambda: stream.log.count(word) > before, 60, why=f"{word} is not logged")

    for fault in REST_FAULTS:
        # An order that ends is something that only REST can confirm.
        order_id = simulator.tell(fault, {"order": ORDER})["order_id"]
        until_seen("accounts.unavailable", {"fill": order_id})
        until_seen("accounts.back", {"heal": True})
    for word, faults in STREAM_FAULTS:
        until_seen(word, *faults)
        simulator.tell({"heal": True})
    simulator.tell({"restore": True})


def ask_everything(canary: Canary, folder: Path, env: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield what every command says, with a good key, and with keys damaged in several ways."""
    commands = [
        ("stream-status",),
        ("stream-status", "--json"),
        ("streamer", "get", "--balances", "--json", "--all"),
        ("streamer", "get", "BTC-USD", "--json"),
        ("streamer", "doctor"),
        ("streamer", "doctor", "--json"),
    ]
    for command in commands:
        done = run(command[0], *command[1:], folder=folder, env=env, deadline_s=40)
        yield " ".join(command), (done.stdout + done.stderr).encode()
    half = canary.secret[: len(canary.secret) // 2 + 20]
    damaged = [
        {"COINBASE_API_KEY": canary.name, "COINBASE_API_SECRET": half},
        {"COINBASE_API_KEY": canary.secret, "COINBASE_API_SECRET": canary.name},
        {"COINBASE_API_SECRET": canary.secret},
        {"COINBASE_KEY_FILE": canary.secret},
    ]
    for wrong in damaged:
        for name in ("start-stream", "streamer"):
            more = ("doctor",) if name == "streamer" else ("--redis-url", "redis://127.0.0.1:1")
            done = run(name, *more, folder=folder, env=wrong, deadline_s=40)
            assert done.returncode, (name, wrong.keys())
            yield f"{name} with {', '.join(wrong)} damaged", (done.stdout + done.stderr).encode()


@contextmanager
def own_redis(folder: Path, kind: str) -> Iterator[str | None]:
    """A Redis for one of the two; the other brings its own."""
    if kind == "ES256":
        with RedisServer(folder) as redis:
            yield redis.url
    else:
        yield None


@pytest.mark.parametrize("case", ["ES256", "EdDSA"])
@lanes.test
def test_no_part_of_a_key_is_found_anywhere(folder: Path, case: str) -> None:
    """One key comes from the environment into a Redis of its own, the other from a file into an embedded one."""
    (folder / "secret").mkdir()
    key = folder / "secret" / "key.json"
    with (
        own_redis(folder, case) as url,
        Simulator(folder, "--make-key", str(key), "--key-kind", case, products=2, rate=20) as simulator,
    ):
        canary = Canary(key)
        env = {"COINBASE_KEY_FILE": str(key), "STREAMER_LOG_LEVEL": "debug"}
        if case == "ES256":
            env = {"COINBASE_API_KEY": canary.name, "COINBASE_API_SECRET": canary.secret}
        env |= {"STREAMER_WS_URL": simulator.url, "STREAMER_REST_URL": simulator.rest_url}
        env |= {"REDIS_URL": url} if url else {}
        with Stream(folder, *simulator.products, "--log-level", "debug", env=env) as stream:
            wait_until(lambda: find_redis_url({"HOME": str(folder)} | env), START_S, why="no Redis")
            there = find_redis_url({"HOME": str(folder)} | env)
            assert there is not None
            with Wiretap(there) as tap:
                wait_until(lambda: is_healthy(there), START_S)
                suffer(simulator, stream)
                found = {name: canary.found_in(content) for name, content in command_lines(stream.pid)}
                assert found, "no command line was looked at"
                asked = dict(ask_everything(canary, folder, env))
                found |= {name: canary.found_in(content) for name, content in asked.items()}
                assert b"BTC-USD" in asked["streamer get BTC-USD --json"]
                assert b"available" in asked["streamer get --balances --json --all"]
                kept, heard = tap.kept(), tap.heard
            assert stream.code is None
            found |= {"log": canary.found_in(stream.log.encode())}
    # What was looked at was there to be looked at.
    assert stream.log.count("feed.down") >= 4 and "accounts.unavailable" in stream.log
    assert b"portfolio_realtime" in kept and b"stream:status" in kept
    assert b'"publish"' in heard.lower() and b"portfolio_realtime" in heard
    found |= {"Redis": canary.found_in(kept), "what Redis was told": canary.found_in(heard)}
    looked_at = dict(files(folder, but=key.parent))
    assert any("stream" in name for name in looked_at)
    found |= {name: canary.found_in(content) for name, content in looked_at.items()}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
def test_the_search_finds_what_is_there(tmp_path: Path, kind: Any) -> None:
    """Else the test above could not fail."""
    file = tmp_path / "key.json"
    make_key_file(file, kind)
    canary, other = Canary(file), tmp_path / "other.json"
    make_key_file(other, kind)
    signer = Signer(read_key_file(file))
    body = "".join(canary.secret.splitlines()[1:-1]) or canary.secret
    raw = canary._raw(parse_private_key(canary.secret, "canary"))
    for planted in (
        canary.secret,
        canary.secret.replace("\n", "\\n"),
        f"why={body[20:36]}",
        raw.hex(),
        base64.b64encode(b"x" + raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        signer.ws_token(time.time()),
        f"{{'Authorization': 'Bearer {signer.rest_token('GET', 'h', '/p', time.time())}'}}",
        "AUTHORIZATION: x",
    ):
        assert canary.found_in(f"level=info event=x {planted} y=1".encode()), planted[:12]
    assert canary.found_in(b"\x81" + raw + b"\x82")
    innocent = f"{canary.name} REST accounts: HTTP 401 4e5f2c1a-0b1c-4d2e-8f3a-112233445566.7.8 redis://127.0.0.1"
    assert canary.found_in(innocent.encode()) == []
    if kind == "EdDSA":  # the DER of two PEM files has its beginning in common
        assert canary.found_in(other.read_bytes()) == []


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
@pytest.mark.parametrize("given", ["file", "environment"])
async def test_nothing_that_holds_a_key_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, given: str
) -> None:
    """Printed, logged or in an error of somebody else's: settings, key, signer, exchange, client and feed."""
    file = tmp_path / "key.json"
    make_key_file(file, kind)
    canary = Canary(file)
    for name in [name for name in os.environ if name.startswith(("COINBASE", "STREAMER"))]:
        monkeypatch.delenv(name)
    if given == "file":
        config = settings.load(key_file=str(file))
    else:
        config = settings.load(api_key=canary.name, api_secret=canary.secret)
    there = upstream(config, Source.COINBASE)
    signer = there.signer
    assert signer is not None and there.rest is not None
    session = Session(channel="user", sign=lambda: signer.ws_token(0.0))
    session.want([ALL])
    decoder = Decoder()
    feed = Feed(
        "default.user-0",
        there.user,
        connect=connect_websockets,
        session=session,
        intake=UserIntake(lambda event, frame, stamp: None, lambda: None),
        decoder=decoder,
        paces=Paces(),
    )
    things = [
        config,
        read_key_file(file),
        signer,
        there,
        there.rest,
        feed,
        session,
        feed.facts(0.0),
        Endpoint("wss://x"),
    ]
    for thing in things:
        shown = f"{thing!r} {thing} {[thing]}"
        assert len(shown) > 20
        assert canary.found_in(shown.encode()) == [], type(thing).__name__
    assert canary.found_in(config.model_dump_json().encode()) == []
    assert canary.found_in(str(config.model_dump()).encode()) == []
