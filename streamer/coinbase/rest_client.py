"""The official SDK's REST client, made safe: one request at a time, in a thread of its own, that always ends.

The SDK names paths and headers; what goes over the wire is ours, because the SDK waits without end, follows
redirects, tries to read errors as JSON, logs what it gets, and dates its tokens by our clock alone (read in SDK
1.8.4, November 2026). Here every request has a deadline and a size limit, certificates are verified with the same
trust as the feeds', and a token is dated by the exchange's clock.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from coinbase.constants import USER_AGENT
from coinbase.rest import RESTClient
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from streamer.coinbase.auth import Signer
from streamer.coinbase.clock import parse_http_date
from streamer.coinbase.transport import SIMULATOR_SERVER
from streamer.errors import RestError, RestRateLimited, RestRefused, RestUnauthorized, RestUnavailable

DEADLINE_S = 10.0
"""A request takes no longer; after that nobody waits for it any more, and it is cut off."""
_CUT_EVERY_S = 1.0
_CONNECT_TIMEOUT_S = 3.0
_READ_TIMEOUT_S = 5.0
_MAX_BODY_BYTES = 64 << 20
_PREFIX = "/api/v3/brokerage"
_PUBLIC = (f"{_PREFIX}/market/", f"{_PREFIX}/time")

T = TypeVar("T")


async def in_thread(client: Client, work: Callable[[Client], T]) -> T:
    """Have a client, started for this request, do `work` in a thread of its own, and return what that returns.

    Threads of a pool would be waited for when the process ends, and a server that never finishes its answer could
    occupy all of them. A client whose work came to no good end is not to be used again: it may still be at it.

    Raises:
        RestUnavailable: It took longer than the deadline; it is cut off then, as it is where the caller gives up.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    args = (loop, answer, client, work)
    thread = threading.Thread(target=_do, args=args, name=f"rest-{client.route}", daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await answer
    except TimeoutError as exc:
        raise RestUnavailable(client.route, f"no answer within {DEADLINE_S:g} s") from exc
    finally:
        if not answer.done() or answer.cancelled():
            _cut_off(loop, client, thread)


def _do(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T], client: Client, work: Callable[[Client], T]
) -> None:
    value: T | None = None
    failure: Exception | None = None
    try:
        value = work(client)
    except Exception as exc:  # noqa: BLE001 - a bug must reach the caller, not die with the thread
        failure = exc
    with suppress(RuntimeError):  # the loop has ended, and nobody waits
        loop.call_soon_threadsafe(_tell, answer, value, failure)


def _tell(answer: asyncio.Future[T], value: T | None, failure: Exception | None) -> None:
    if answer.done():
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(value)  # type: ignore[arg-type]


def _cut_off(loop: asyncio.AbstractEventLoop, client: Client, thread: threading.Thread) -> None:
    """Cut a client until its thread has ended: also what it has opened since the last time."""
    if thread.is_alive():
        client.cut()
        loop.call_later(_CUT_EVERY_S, _cut_off, loop, client, thread)


class Client(RESTClient):  # type: ignore[misc]
    """The SDK's client with its way to the wire replaced; for one request at a time.

    Args:
        base_url: https://host[:port], or http.
        signer: Signs private requests; None to sign none.
        tls: What to trust; None where the URL needs none.

    Attributes:
        route: What the present request asks for, such as "accounts".
        dates: What the answers to the present request said the time is, each with ours.
        is_simulator: Whether the project's own exchange has answered.
    """

    def __init__(self, base_url: str, signer: Signer | None, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(base_url)
        # Nothing from the environment: the SDK reads keys there when it is imported.
        host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")  # as it will be sent
        super().__init__(api_key=None, api_secret=None, base_url=host)
        self.is_authenticated = signer is not None
        self._base_url, self._signer = base_url, signer
        self.dates: list[tuple[float, float]] = []
        self.is_simulator = False
        self.start("", ahead_s=0.0)
        # Not trust_env: an entry in .netrc would take the place of our token.
        self.session.trust_env = False
        self.session.proxies.update(get_environ_proxies(base_url))
        self._adapter = _Adapter(tls)
        self.session.mount(base_url, self._adapter)

    def start(self, route: str, *, ahead_s: float) -> None:
        """Begin a request; the exchange's clock is so far ahead of ours."""
        self.route, self._ahead_s, self._is_cut = route, ahead_s, False
        self.dates.clear()

    def cut(self) -> None:
        """End the present request: what is open is dropped, and nothing is asked any more. From any thread."""
        self._is_cut = True
        self._adapter.cut()

    def set_headers(self, method: str, path: str) -> dict[str, str]:
        """Return the headers of a request; public paths carry no token, so that a bad key costs no public data."""
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if self._signer is not None and not path.startswith(_PUBLIC):
            token = self._signer.rest_token(method, self.base_url, path, time.time() + self._ahead_s)
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def send_request(
        self, http_method: str, url_path: str, params: Any, headers: dict[str, str], data: Any = None
    ) -> bytes:
        """Send one request and return the body of a good answer.

        Raises:
            RestError: Anything else; what it says holds neither token nor body.
        """
        if self._is_cut:
            raise RestUnavailable(self.route, "nobody waits for the answer any more")
        try:
            with self.session.request(
                http_method,
                self._base_url + url_path,
                params=params,
                headers=headers,
                timeout=(_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                if (told := parse_http_date(response.headers.get("date", ""))) is not None:
                    self.dates.append((told, time.time()))
                self.is_simulator |= response.headers.get("server") == SIMULATOR_SERVER
                if response.status_code == 200:
                    return _body(self.route, response)
                failure = _refusal(self.route, response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            failure = RestUnavailable(self.route, _explain(exc))
        raise failure  # outside of `except`: what was caught there holds the request with its token

    def ask(self, path: str, decode: Callable[[bytes], T], **params: Any) -> T:
        """Return what `decode` makes of the answer to `GET path`, one request; params of None are left out.

        Args:
            path: Below the prefix of all paths.
            decode: Raises ValueError for a body without sense.

        Raises:
            RestError: No usable answer.
        """
        body: bytes = self.get(_PREFIX + path, params, public=not self.is_authenticated)
        try:
            return decode(body)
        except (ValueError, RecursionError) as exc:
            why = without_sense(exc)
        raise RestUnavailable(self.route, why)


def without_sense(exc: Exception) -> str:
    """Return in words that an answer cannot be believed; bounded, as the answer may be quoted in the error."""
    return f"an answer without sense: {str(exc)[:200]}"


class _Adapter(HTTPAdapter):
    """Connects with the same trust as the feeds, and can be cut off in the middle of an answer.

    The time limits of `requests` are for each piece that comes: headers may come a byte at a time for ever.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._connection: Any = None
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool with our context."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the pool of a proxy with our context."""
        manager = super().proxy_manager_for(*args, ssl_context=self._tls, **kwargs)
        self._watch(manager)
        return manager

    def _watch(self, manager: urllib3.PoolManager) -> None:
        """Know the newest connection: a client makes one request at a time."""
        adapter = self

        class Plain(urllib3.HTTPConnectionPool):
            def _new_conn(self) -> Any:
                adapter._connection = super()._new_conn()
                return adapter._connection

        class Secure(urllib3.HTTPSConnectionPool):
            def _new_conn(self) -> Any:
                adapter._connection = super()._new_conn()
                return adapter._connection

        manager.pool_classes_by_scheme = {"http": Plain, "https": Secure}

    def cut(self) -> None:
        """Drop what is open."""
        sock = getattr(self._connection, "sock", None)
        if isinstance(sock, socket.socket):
            with suppress(OSError):  # closed by now
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # an SSLSocket's own would take its context away


def _body(route: str, response: requests.Response) -> bytes:
    """Read a body that ends in time and within the size limit; a server may send it a byte at a time."""
    deadline, parts, size = time.monotonic() + DEADLINE_S, [], 0
    while part := response.raw.read1(1 << 16, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > _MAX_BODY_BYTES or time.monotonic() > deadline:
            raise RestUnavailable(route, "an answer without end")
    return b"".join(parts)


def _refusal(route: str, response: requests.Response) -> RestError:
    """Judge by the status alone: error bodies are text, HTML or JSON of several shapes, or empty."""
    status = response.status_code
    text = response.headers.get("retry-after", "")
    retry_after_s = float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
    why = f"HTTP {status}"
    if status == 401:
        return RestUnauthorized(route, f"{why}: the key is wrong, revoked or expired", status=status)
    if status == 403:
        return RestUnauthorized(route, f"{why}: the key lacks the permission (view)", status=status)
    if status == 429:
        return RestRateLimited(route, f"{why}: too many calls", status=status, retry_after_s=retry_after_s)
    if 400 <= status < 500:
        return RestRefused(route, why, status=status)
    return RestUnavailable(route, why, status=status, retry_after_s=retry_after_s)


def _explain(exc: Exception) -> str:
    if isinstance(exc, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(exc, requests.exceptions.SSLError):
        is_certificate = "CERTIFICATE_VERIFY_FAILED" in str(exc) or "doesn't match" in str(exc)
        return "the certificate is not trusted" if is_certificate else "the server does not speak TLS as we do"
    return f"the connection failed or broke off ({type(exc).__name__})"
