"""Who may ask what, over real sockets: tokens, foreign names, sizes, times and rates."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.integration.web.rig import TOKEN, Api, Full, connections, quiet, settings
from tests.integration.web.test_routes import refused
from tests.support import PATIENCE, RedisServer, until

CHANGES = ["start-stream", "start-portfolio-stream", "stop-stream"]
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
WRONG = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": TOKEN},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": "Bearer"},
    {"Authorization": ""},
    {"X-Token": TOKEN},
]
SECURITY = (
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "content-security-policy",
    "cross-origin-resource-policy",
)


# -- the token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CHANGES)
async def test_changes_need_the_token(guarded: Api, world: Full, path: str) -> None:
    """Every changing route: refused without it and with a wrong one, and Redis is as it was; done with it."""
    for headers in WRONG[:5]:
        body = refused(await guarded.start("BTC-USD", "ETH-USD", path=path, headers=headers), 401, "token")
        assert TOKEN not in str(body)
    assert world.wanted() == ["BTC-USD"]
    answer = await guarded.start("BTC-USD", "ETH-USD", path=path, headers=RIGHT)
    assert answer.status_code == 200
    assert world.wanted() == ([] if path == "stop-stream" else ["BTC-USD", "ETH-USD"])


@pytest.mark.parametrize("path", ["accounts", "%61ccounts", "accounts?max_age_s=5"])
async def test_balances_need_the_token(guarded: Api, path: str) -> None:
    """However the path is written; prices do not need it."""
    for headers in WRONG:
        answer = await guarded.get(f"/api/v1/market/{path}", headers=headers)
        refused(answer, 401, "token")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (await guarded.get(f"/api/v1/market/{path}", headers=RIGHT)).status_code == 200
    lower = {"Authorization": f"bearer {TOKEN}"}
    assert (await guarded.get(f"/api/v1/market/{path}", headers=lower)).status_code == 200
    assert (await guarded.get("/api/v1/market/ticker/BTC-USD")).status_code == 200


async def test_guessing_is_slowed_down(guarded: Api) -> None:
    """Wrong tokens of one address: ten at once, then as many a second, whichever route they are tried on."""
    answers = [await guarded.get("/api/v1/market/accounts", headers=WRONG[1]) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {401, 429}
    refused(next(answer for answer in answers if answer.status_code == 429), 429, "too-many-requests")
    assert (await guarded.get("/api/v1/market/accounts", headers=RIGHT)).status_code == 200


# -- foreign pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1", "localhost.evil"]
)
@pytest.mark.parametrize("path", ["/livez", "/", "/api/v1/stream", "/nothing"])
async def test_a_foreign_host_is_refused(api: Api, host: str, path: str) -> None:
    """A name that was made to point here by somebody else gets nothing, whatever it asks for."""
    refused(await api.get(path, headers={"Host": host}), 421, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8700", "127.0.0.1:1", "[::1]:8700"])
async def test_names_of_this_machine_are_ours(api: Api, host: str) -> None:
    """By whichever of them it is asked."""
    assert (await api.get("/livez", headers={"Host": host})).status_code == 200


ORIGINS = ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[", "127.0.0.1", "\u00e9", ""]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_foreign_origin_is_refused(api: Api, world: Full, origin: str) -> None:
    """A page of another site, or of another port, may neither read nor change."""
    headers = httpx.Headers({"Origin": origin}, encoding="utf-8")
    answer = await api.client.get("/api/v1/market/ticker/BTC-USD", headers=headers)
    refused(answer, 403, "foreign-origin")
    body = {"product_ids": ["ETH-USD"]}
    answer = await api.client.post("/api/v1/ws/start-stream", json=body, headers=headers)
    refused(answer, 403, "foreign-origin")
    assert world.wanted() == ["BTC-USD"]


async def test_our_own_page_may_ask(api: Api) -> None:
    """Its origin is our address."""
    assert (await api.start("ETH-USD", headers={"Origin": api.base})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"), [({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 421)]
)
async def test_a_foreign_page_gets_no_websocket(api: Api, headers: dict[str, str], status: int) -> None:
    """For which browsers ask for no leave: the service has to look itself."""
    line = b"GET /api/v1/stream HTTP/1.1\r\n"
    told = {"Host": f"127.0.0.1:{api.config.api_port}", "Connection": "Upgrade", "Upgrade": "websocket"}
    told |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} | headers
    answer = await api.raw(line + "".join(f"{k}: {v}\r\n" for k, v in told.items()).encode() + b"\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"application/problem+json" in answer
    assert b"content-security-policy" in answer


async def test_a_page_of_ours_gets_a_websocket(api: Api) -> None:
    """Its origin is our address."""
    where = f"ws://127.0.0.1:{api.config.api_port}/api/v1/stream"
    async with connect(where, origin=api.base) as socket:  # type: ignore[arg-type]
        assert "snapshot" in await socket.recv()
    with pytest.raises(InvalidStatus) as caught:
        async with connect(where, origin="http://evil.example"):  # type: ignore[arg-type]
            pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    ("host", "passes"), [("10.1.2.3:8700", True), ("[fe80::1]", True), ("box", True), ("evil.example", False)]
)
async def test_beyond_loopback_addresses_pass(redis: RedisServer, world: Full, host: str, passes: bool) -> None:
    """Probes ask by address, people by the names that are set; a name that was not set is still foreign."""
    config = settings(api_host="0.0.0.0", api_token=TOKEN, api_hosts="box,other")
    async with Api(redis.url, config) as api:
        answer = await api.get("/livez", headers={"Host": host})
        assert answer.status_code == (200 if passes else 421)


async def test_another_loopback_address_is_its_own_name(redis: RedisServer, world: Full) -> None:
    """Who binds it may ask by it."""
    async with Api(redis.url, settings(api_host="127.0.0.2")) as api:
        pass
    assert api.task is not None and api.task.done()


# -- sizes and times ----------------------------------------------------------------------------------------------


def head(api: Api, path: str = "/api/v1/ws/start-stream", *more: str, method: str = "POST") -> bytes:
    """The beginning of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{api.config.api_port}", *more]
    return "\r\n".join(lines).encode() + b"\r\n"


@pytest.mark.parametrize("size", [(64 << 10) + 1, 3 << 20])
async def test_a_large_body_is_413(api: Api, world: Full, size: int) -> None:
    """Refused as too large, with a length and without; the connection is closed and leaves nothing behind."""
    headers = {"Content-Type": "application/json"}
    answer = await api.client.post("/api/v1/ws/start-stream", content=b" " * size, headers=headers)
    refused(answer, 413, "too-large")
    chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
    came = await api.raw(head(api, "/api/v1/ws/start-stream", "Transfer-Encoding: chunked") + b"\r\n" + chunk)
    assert came.startswith(b"HTTP/1.1 413 ")
    await quiet(api)


@pytest.mark.parametrize("path", ["/api/v1/ws/start-stream", "/api/v1/market/accounts"])
async def test_a_refused_body_leaves_nothing_behind(guarded: Api, path: str) -> None:
    """Somebody without a token who sends megabytes: told 401, cut off, and no task is left waiting for him."""
    flood = b"Content-Length: 50000000\r\n\r\n" + b" " * (4 << 20)
    for _ in range(3):
        came = await guarded.raw(head(guarded, path) + flood)
        assert not came or came.startswith(b"HTTP/1.1 401 ")  # he may be cut off before he listens
    await quiet(guarded)


async def test_a_body_of_the_largest_size_is_taken(api: Api) -> None:
    """64 KiB to the byte, also in small pieces."""
    body = b'{"product_ids":["BTC-USD"]}'.ljust(64 << 10)
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
    more = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close")
    came = await api.raw(head(api, "/api/v1/ws/start-stream", *more) + b"\r\n", *pieces)
    assert came.startswith(b"HTTP/1.1 200 ")


async def dribble(api: Api, first: bytes, rest: bytes) -> tuple[float, bytes]:
    """Send a byte each half second; return how long the service bears it, and what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.config.api_port)
    began = time.monotonic()
    reading = asyncio.create_task(reader.read(-1))
    writer.write(first)
    try:
        for byte in rest:
            await asyncio.wait({reading}, timeout=0.5)
            if reading.done():
                break
            writer.write(bytes([byte]))
        return time.monotonic() - began, await reading
    except ConnectionError:
        return time.monotonic() - began, b""
    finally:
        writer.close()


async def test_who_dribbles_is_cut_within_ten_seconds(api: Api) -> None:
    """A header, a second header on the same connection, a body, a body in chunks: none holds a connection."""
    more = ("Content-Type: application/json", "Content-Length: 1000")
    first = head(api, "/livez", method="GET") + b"\r\n"
    chunked = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    cut = await asyncio.gather(
        dribble(api, head(api), b"X-Header: " + b"x" * 100),
        dribble(api, first + head(api), b"X-Header: " + b"x" * 100),
        dribble(api, head(api, "/api/v1/ws/start-stream", *more) + b"\r\n", b"x" * 100),
        dribble(api, head(api, "/api/v1/ws/start-stream", *chunked) + b"\r\n", b"1\r\nx\r\n" * 100),
        dribble(api, b"", b"x" * 100),
    )
    assert max(took for took, _ in cut) < 10 * PATIENCE
    assert cut[2][1].startswith(b"HTTP/1.1 408 ")
    assert cut[3][1].startswith(b"HTTP/1.1 408 ")
    await quiet(api)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000040000000000")
PING = bytes.fromhex("0000080600000000000000000000000000")


def client_hello() -> bytes:
    """The beginning of TLS."""
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


async def test_who_falls_silent_is_cut_within_ten_seconds(api: Api) -> None:
    """After nothing, a whole request, half of one, what calls for HTTP/2, or TLS; pings of HTTP/2 are no life."""
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    said = {
        "nothing": b"",
        "request": head(api, "/livez", method="GET") + b"\r\n",
        "half": head(api, "/livez", method="GET"),
        "upgrade": head(api, "/livez", *upgrade, method="GET") + b"\r\n",
        "preface": PREFACE,
        "half a preface": PREFACE[:20],
        "settings": PREFACE + SETTINGS,
        "tls": client_hello(),
    }
    began = time.monotonic()
    pinging = asyncio.create_task(dribble(api, PREFACE + SETTINGS, PING * 10))
    came = await asyncio.gather(*(api.raw(sent, deadline_s=10) for sent in said.values()))
    await pinging
    assert time.monotonic() - began < 10 * PATIENCE
    answers = dict(zip(said, came, strict=True))
    assert answers["request"].startswith(b"HTTP/1.1 200 ")
    assert answers["upgrade"].startswith(b"HTTP/1.1 200 ")  # who asks for HTTP/2 gets what there is
    assert answers["preface"].startswith(b"HTTP/1.1 421 ")
    await quiet(api)


@pytest.mark.parametrize(
    "line", ["X-Huge: " + "x" * 40_000, "\r\n".join(f"X-{i}: {'x' * 100}" for i in range(400))]
)
async def test_huge_headers_are_refused(api: Api, line: str) -> None:
    """One that is large, and many that are small."""
    came = await api.raw(head(api, "/livez", line, method="GET") + b"\r\n")
    assert came.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\r\n\r\n\r\n\x00\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(api: Api, sent: bytes) -> None:
    """And the service goes on."""
    came = await api.raw(sent, deadline_s=9)
    assert came.startswith(b"HTTP/1.1 400 ")
    assert (await api.get("/livez")).status_code == 200


async def test_too_many_requests(redis: RedisServer, world: Full) -> None:
    """Of one address: 429 and when to come back, and then it may."""
    async with Api(redis.url, settings(api_calls_per_s=20)) as api:
        answers = await asyncio.gather(*(api.get("/livez") for _ in range(60)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429}
        assert codes.count(200) >= 19
        refused(next(answer for answer in answers if answer.status_code == 429), 429, "too-many-requests")
        async with asyncio.timeout(5 * PATIENCE):
            while (await api.get("/livez")).status_code != 200:
                await asyncio.sleep(0.05)


async def test_changes_have_a_rate_of_their_own(api: Api) -> None:
    """Ten a second: nobody fills the wanted set faster than that."""
    codes = [(await api.start("BTC-USD")).status_code for _ in range(25)]
    assert codes[:10] == [200] * 10
    assert 429 in codes


async def test_many_idle_connections_end(api: Api) -> None:
    """Five hundred that say nothing: others are served meanwhile, and they are closed."""
    opened = [await asyncio.open_connection("127.0.0.1", api.config.api_port) for _ in range(500)]
    assert (await api.get("/livez")).status_code == 200
    ended = asyncio.gather(*(reader.read(1) for reader, _ in opened))
    async with asyncio.timeout(10 * PATIENCE):
        assert set(await ended) == {b""}
    for _, writer in opened:
        writer.close()
    await until(lambda: connections() <= 1, 5)


# -- what every answer bears --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/livez", {}, 200),
        ("/docs", {}, 200),
        ("/openapi.json", {}, 200),
        ("/nothing", {}, 404),
        ("/api/v1/ws/start-stream", {}, 405),
        ("/api/v1/market/tickers", {}, 422),
        ("/api/v1/market/accounts", {}, 401),
        ("/livez", {"Host": "evil.example"}, 421),
        ("/livez", {"Origin": "http://evil.example"}, 403),
    ],
)
async def test_every_answer_bears_the_headers(
    guarded: Api, path: str, headers: dict[str, str], status: int
) -> None:
    """Each once; nothing allows other sites to read, and nothing tells what serves it."""
    answer = await guarded.get(path, headers=headers)
    assert answer.status_code == status
    for name in SECURITY:
        assert len(answer.headers.get_list(name)) == 1, name
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "server" not in answer.headers
    assert "unsafe" not in answer.headers["content-security-policy"]


async def test_a_bug_bears_them_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 500 says nothing of our insides, and the log has it."""

    async def broken(*args: object) -> None:
        raise RuntimeError("secret insides")

    monkeypatch.setattr("streamer.web.system.status_of", broken)
    answer = await api.get("/api/v1/system/health")
    refused(answer, 500, "bug")
    assert "secret" not in answer.text
    assert all(name in answer.headers for name in SECURITY)
