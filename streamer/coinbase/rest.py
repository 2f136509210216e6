"""The official SDK's REST client, made safe to use from an event loop.

The SDK names the paths and parameters; what goes over the wire is ours, because the SDK waits without end, follows
redirects, tries to read errors as JSON, logs what it gets, and dates its tokens by our clock alone (read in SDK
1.8.4, November 2026). Here every call has a deadline and a size limit, certificates are verified with the same
trust as the feeds', and a token is dated by the exchange's clock.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from coinbase.constants import USER_AGENT
from coinbase.rest import RESTClient
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from streamer.coinbase.auth import Signer
from streamer.coinbase.clock import ExchangeClock, parse_http_date
from streamer.coinbase.messages import CandleFields, is_sound_candle
from streamer.coinbase.transport import SIMULATOR_SERVER, tls_context
from streamer.errors import RestError, RestRateLimited, RestRefused, RestUnauthorized, RestUnavailable
from streamer.model import Account, Bucket, ProductId, Source
from streamer.providers.base import CallCounts
from streamer.store.records import parse_decimal

CALL_DEADLINE_S = 10.0
"""A call with all its pages takes no longer; after that nobody waits for it any more, and it is cut off."""
_CUT_EVERY_S = 1.0
_CONNECT_TIMEOUT_S = 3.0
_READ_TIMEOUT_S = 5.0
_MAX_BODY_BYTES = 64 << 20
_MAX_PAGES = 40
_PAGE = 250
"""Most accounts a page (List Accounts documentation, June 2026)."""
_PREFIX = "/api/v3/brokerage"
_PUBLIC = (f"{_PREFIX}/market/", f"{_PREFIX}/time")

T = TypeVar("T")


class CoinbaseRest:
    """Calls Coinbase, or whatever `base_url` names.

    Args:
        base_url: https://host[:port]; http on loopback only (checked by the settings).
        signer: Signs private calls; without one only public data can be had.
        clock: Dates tokens, and learns from every answer.
        ca_file: PEM file of certificates to trust beside the system's.

    Attributes:
        counts: Calls made so far.
        source: Coinbase, or the simulator once it has answered: it names itself, whatever the URL says.
    """

    def __init__(
        self,
        base_url: str,
        *,
        signer: Signer | None,
        clock: ExchangeClock,
        ca_file: str | None = None,
        source: Source = Source.COINBASE,
    ) -> None:
        self.counts, self.source = CallCounts(), source
        self._base_url, self._signer, self._clock = base_url, signer, clock
        # Once: reading all the system's certificates takes 60 ms, and calls are made from an event loop.
        self._tls = tls_context(base_url, ca_file)
        self._idle: list[_Client] = []

    async def accounts(self) -> list[Account]:
        """Return the wallets of the key's portfolio, all pages, one a currency.

        Raises:
            RestError: No usable answer; half an answer is none.
        """
        return await self._call("accounts", _accounts)

    async def candles(self, product_id: ProductId, from_s: int, to_s: int) -> list[Bucket]:
        """Return the five-minute candles of a range, oldest first; none for buckets without trades.

        Raises:
            RestError: No usable answer; RestRefused with status 400 where the range is too long.
        """
        return await self._call("candles", lambda client: _candles(client, product_id, from_s, to_s))

    async def products(self) -> Sequence[Mapping[str, Any]]:
        """Return all products as the exchange describes them.

        Raises:
            RestError: No usable answer.
        """
        return await self._call("products", _products)

    def _client(self) -> _Client:
        return _Client(self._base_url, self._signer, self._tls, self.counts)

    async def _call(self, route: str, work: Callable[[_Client], T]) -> T:
        """Run `work` in a thread of its own.

        Threads of a pool would be waited for when the process ends, and a server that never finishes its answer
        could occupy all of them. A client whose call came to no good end is not used again. The clock is asked and
        told here only, because the feeds do so from this thread.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        client = self._idle.pop() if self._idle else self._client()

        def tell(value: T | None, exc: BaseException | None) -> None:
            if isinstance(exc, RestUnauthorized):
                self._clock.forget()  # our idea of the exchange's time may be what it refused; the refusal is dated
            for told, at in client.dates:
                self._clock.saw(told, at, resolution_s=1.0)
            if client.is_simulator:
                self.source = Source.SIMULATOR
            if not answer.done():
                if exc is not None:
                    answer.set_exception(exc)
                else:
                    answer.set_result(value)  # type: ignore[arg-type]

        def run() -> None:
            value: T | None = None
            failure: Exception | None = None
            try:
                value = work(client)
            except Exception as exc:  # noqa: BLE001 - a bug must reach the caller, not die with the thread
                failure = exc
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(tell, value, failure)

        def give_up() -> None:
            if thread.is_alive():  # also what it has opened since
                client.cut()
                loop.call_later(_CUT_EVERY_S, give_up)

        now_s = time.time()
        client.start(route, ahead_s=self._clock.now(now_s) - now_s)
        thread = threading.Thread(target=run, name=f"rest-{route}", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(CALL_DEADLINE_S):
                result = await answer
        except TimeoutError as exc:
            self.counts.failures += 1
            raise RestUnavailable(route, f"no answer within {CALL_DEADLINE_S:g} s") from exc
        except RestError:
            self.counts.failures += 1
            raise
        finally:
            if not answer.done() or answer.cancelled():
                give_up()
        self._idle.append(client)
        return result


class _Client(RESTClient):  # type: ignore[misc]
    """The SDK's client with its way to the wire replaced.

    Attributes:
        dates: What the answers to the present call said the time is, each with ours.
        is_simulator: Whether the project's own exchange has answered.
    """

    def __init__(
        self, base_url: str, signer: Signer | None, tls: ssl.SSLContext | None, counts: CallCounts
    ) -> None:
        parts = urlsplit(base_url)
        # Nothing from the environment: the SDK reads keys there when it is imported.
        host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")  # as it will be sent
        super().__init__(api_key=None, api_secret=None, base_url=host)
        self.is_authenticated = signer is not None
        self._base_url, self._signer, self._counts = base_url, signer, counts
        self.dates: list[tuple[float, float]] = []
        self.is_simulator = False
        self.start("", ahead_s=0.0)
        # Not trust_env: an entry in .netrc would take the place of our token.
        self.session.trust_env = False
        self.session.proxies.update(get_environ_proxies(base_url))
        self._adapter = _Adapter(tls)
        self.session.mount(base_url, self._adapter)

    def start(self, route: str, *, ahead_s: float) -> None:
        """Begin a call; the exchange's clock is so far ahead of ours."""
        self.route, self._ahead_s, self._is_cut = route, ahead_s, False
        self.dates.clear()

    def cut(self) -> None:
        """End the present call: what is open is dropped, and nothing is asked any more. From any thread."""
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
        self._counts.made(self.route, time.monotonic())
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

    def ask(self, path: str, kind: type[T], **params: Any) -> T:
        """Return the answer of `GET path` as `kind`.

        Raises:
            RestError: No usable answer.
        """
        body: bytes = self.get(_PREFIX + path, params, public=not self.is_authenticated)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            why = f"an answer without sense: {str(exc)[:200]}"
        raise RestUnavailable(self.route, why)


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
    deadline, parts, size = time.monotonic() + CALL_DEADLINE_S, [], 0
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


# -- answers (samples of the documentation and of live captures, November 2026) ----------------------------------


class _Money(msgspec.Struct):
    value: str


class _Account(msgspec.Struct):
    uuid: str
    currency: str
    available_balance: _Money
    hold: _Money | None = None
    default: bool = False
    active: bool = True
    type: str = ""

    def parsed(self) -> Account:
        """Return the account with numbers; raises ValueError."""
        hold = parse_decimal(self.hold.value) if self.hold is not None else parse_decimal("0")
        return Account(self.uuid, self.currency, parse_decimal(self.available_balance.value), hold)


class _Accounts(msgspec.Struct):
    accounts: list[_Account]
    has_next: bool = False
    cursor: str = ""


class _CandleFields(msgspec.Struct):
    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class _Candles(msgspec.Struct):
    candles: list[_CandleFields]


class _Products(msgspec.Struct):
    products: list[dict[str, Any]]


def _preference(account: _Account) -> tuple[bool, bool, bool]:
    """Where a currency has several wallets, the one that orders are settled in comes first."""
    return account.type.endswith("VAULT"), not account.active, not account.default


def _accounts(client: _Client) -> list[Account]:
    chosen: dict[str, _Account] = {}
    for account in sorted(_all_accounts(client), key=_preference):
        chosen.setdefault(account.currency, account)
    try:
        return [account.parsed() for account in chosen.values()]
    except ValueError as exc:
        why = f"an answer without sense: {exc}"
    raise RestUnavailable(client.route, why)


def _all_accounts(client: _Client) -> list[_Account]:
    """Return all pages, up to a cursor that repeats (ccxt issues 16944, 22780): there is no way on from there.

    Wallets behind it are not told of; nobody takes that for an empty wallet.
    """
    accounts: list[_Account] = []
    cursor, seen = "", set[str]()
    for _ in range(_MAX_PAGES):
        page = client.ask("/accounts", _Accounts, limit=_PAGE, cursor=cursor or None)
        accounts += page.accounts
        if not page.has_next:
            return accounts
        seen.add(cursor)
        cursor = page.cursor
        if cursor in seen:
            return accounts
    raise RestUnavailable(client.route, f"more than {_MAX_PAGES} pages")


def _candles(client: _Client, product_id: ProductId, from_s: int, to_s: int) -> list[Bucket]:
    answer = client.ask(
        f"/market/products/{product_id}/candles",
        _Candles,
        start=str(from_s),
        end=str(to_s),
        granularity="FIVE_MINUTE",
        limit=350,
    )
    buckets = []
    for c in answer.candles:
        if not is_sound_candle(CandleFields(c.start, c.open, c.high, c.low, c.close, c.volume, product_id)):
            raise RestUnavailable(client.route, "an answer without sense: a candle of it cannot be")
        buckets.append(Bucket(int(c.start), c.open, c.high, c.low, c.close, c.volume))
    return sorted(buckets, key=lambda bucket: bucket.start_s)


def _products(client: _Client) -> list[dict[str, Any]]:
    return client.ask("/market/products", _Products).products
