"""Carries requests of adapters over one pool of connections, and translates what can go wrong.

The client is aiohttp: a release every few weeks, its own pool with limits per host, timeouts for each phase, and
bodies that can be read piece by piece, so that a size limit holds. The SDK's `requests` would need a thread a call;
httpx has had no release since December 2024.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final

import aiohttp
from yarl import URL

from streamer.errors import MalformedAnswer, RestUnavailable
from streamer.providers.adapter import Adapter, Answer, Get

CONNECT_S: Final = 3.0
ANSWER_S: Final = 10.0
"""No request takes longer: leave to call is given for 12 s."""
_LARGEST: Final = 32 * 1024 * 1024
"""In bytes. Lists of all coins have some MB."""
_PER_HOST: Final = 8
_BLOT: Final = b"***"
_SECRET: Final = 6
"""A shorter key is none that a vendor gives out ("demo" is anybody's), and may be part of any word."""


class HttpClient:
    """One pool for all providers of a process. Made within the event loop that uses it.

    Args:
        tls: Makes the context for a base URL; None for plain http.
    """

    def __init__(self, tls: Callable[[str], ssl.SSLContext | None]) -> None:
        self._tls = tls
        self._contexts: dict[str, ssl.SSLContext | None] = {}
        self._session: aiohttp.ClientSession | None = None

    async def get(self, adapter: Adapter, asked: Get) -> Answer:
        """Send one request of an adapter, with its key; return the answer whatever its status.

        Redirects are not followed: they would carry the key elsewhere, and no provider documents one.

        Raises:
            RestUnavailable: No answer, not in time, or a larger one than any provider sends.
        """
        access, route = adapter.access, f"{adapter.name} request"
        base = (access.url or adapter.base_url).rstrip("/")
        params, headers = dict(asked.params), {"Accept": "application/json"} | dict(asked.headers)
        if access.key and adapter.key_header is not None:
            headers[adapter.key_header] = adapter.key_prefix + access.key
        if access.key and adapter.key_param is not None:
            params[adapter.key_param] = access.key
        # The path is encoded by the adapter; the client's own way with it would decode and encode it anew.
        url = URL(base + asked.path, encoded=True).extend_query(params)
        try:
            async with self._opened().get(
                url, headers=headers, allow_redirects=False, ssl=self._context(base) or True
            ) as response:
                body = await _limited(response)
        except TimeoutError:
            raise RestUnavailable(route, f"no answer within {ANSWER_S:g} s") from None
        except aiohttp.ClientError as exc:
            # Without its cause: texts of the client name the URL, and some keys travel in it.
            raise RestUnavailable(route, _why(exc)) from None
        except _TooLarge:
            raise MalformedAnswer(route, f"an answer of more than {_LARGEST} bytes") from None
        if len(access.key) >= _SECRET:
            body = body.replace(access.key.encode(), _BLOT)
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit_per_host=_PER_HOST, ttl_dns_cache=60),
                timeout=aiohttp.ClientTimeout(total=ANSWER_S, connect=CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "coinbase-streamer"},
                trust_env=True,
            )
        return self._session

    def _context(self, base: str) -> ssl.SSLContext | None:
        if base not in self._contexts:
            self._contexts[base] = self._tls(base)
        return self._contexts[base]


class _TooLarge(Exception):
    pass


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(65536):
        size += len(part)
        if size > _LARGEST:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _why(exc: aiohttp.ClientError) -> str:
    """Return what went wrong in words that name no URL."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its certificate is not trusted"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"no connection: {exc.os_error.strerror or type(exc.os_error).__name__}"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the answer was cut short"
    if isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the connection was closed before an answer"
    return f"no usable answer: {type(exc).__name__}"
