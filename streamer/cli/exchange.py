"""Which exchange start-stream talks to: Coinbase, or a simulator that it starts and stops."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog

from streamer.coinbase.transport import explain, tls_context
from streamer.errors import StreamerError
from streamer.model import ProductId, Source
from streamer.settings import WS_URL, Settings
from streamer.simulator.market import canonical, demo_products
from streamer.store.redis_server import child_environment

log = structlog.get_logger("streamer")

_REACH_TIMEOUT_S = 3.0
_SIMULATOR_START_S = 15.0
_STOP_S = 1.0
_DEMO_PRODUCTS = 20
_TICKS_PER_PRODUCT_S = 5
_MAX_ADDRESS_BYTES = 1 << 20  # the line that tells the addresses tells the products too


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where the data comes from.

    Attributes:
        settings: With the addresses of the exchange, and the key that it takes.
        provider_urls: Where other providers are played, by name; nothing where the exchange is a real one.
    """

    settings: Settings
    source: Source
    name: str
    provider_urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Addresses:
    settings: Mapping[str, str]
    provider_urls: Mapping[str, str]


def brings_its_own(settings: Settings) -> bool:
    """Whether the exchange is a simulator that we start: it has a key of its own, and ours is not looked at."""
    return settings.exchange == "simulator" and settings.ws_url == WS_URL


async def reach(url: str, ca_file: str | None = None) -> str | None:
    """Return None where a connection (with TLS for wss) to `url` can be opened within 3 s, else why not."""
    tls = tls_context(url, ca_file)
    try:
        parts = urlsplit(url)
        async with asyncio.timeout(_REACH_TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls)
    except TimeoutError:
        return f"no answer within {_REACH_TIMEOUT_S:g} s"
    except (OSError, ValueError) as exc:  # ValueError: a host name that cannot be one, told by its encoding
        return explain(exc)
    writer.transport.abort()
    return None


@asynccontextmanager
async def exchange(
    settings: Settings, *, products: Collection[ProductId], embedded: bool
) -> AsyncIterator[Exchange]:
    """Yield the exchange to stream from; a simulator started for it ends with it.

    `auto` falls back to the simulator only on an embedded Redis: simulated prices never reach a Redis given by
    URL unless the simulator was asked for by name.

    Args:
        settings: Which exchange, and the products that are streamed by default.
        products: What the command asks for: a simulator knows these, those of the settings and some well-known
            ones, and no others.
        embedded: Whether Redis is our own.

    Raises:
        StreamerError: The simulator does not start.
    """
    given_url = settings.ws_url != WS_URL
    name = settings.exchange
    if name == "auto":
        why = await reach(settings.ws_url, settings.ca_file)
        if why is not None:
            log.warning("exchange.unreachable", url=settings.ws_url, why=why)
        name = "simulator" if why is not None and embedded and not given_url else "coinbase"
    if name == "simulator" and not given_url:
        async with _simulator(simulated_products([*settings.products, *products])) as addresses:
            # Never our own key: it has nothing to do with a simulated account.
            own = {"api_key": None, "api_secret": None, **addresses.settings}
            simulated = settings.model_copy(update=own)
            yield Exchange(simulated, Source.SIMULATOR, "simulator", addresses.provider_urls)
    else:
        source = Source.SIMULATOR if name == "simulator" else Source.COINBASE
        yield Exchange(settings, source, urlsplit(settings.ws_url).netloc)


def simulated_products(asked: Iterable[str]) -> list[str]:
    """Return what the simulator is to know: well-known products and those asked for, under their own books' ids."""
    return list(dict.fromkeys([*demo_products(_DEMO_PRODUCTS), *map(canonical, asked)]))


@asynccontextmanager
async def _simulator(products: Collection[str]) -> AsyncIterator[_Addresses]:
    """Run the simulator as a child process, so that it is as far from us as an exchange is; yield where it is."""
    with TemporaryDirectory(prefix="streamer-") as folder:
        key_file = Path(folder) / "key.json"
        command = [
            sys.executable,
            "-m",
            "streamer.simulator",
            "--port",
            "0",
            "--user-port",
            "0",
            "--rest-port",
            "0",
        ]
        command += ["--providers", "--die-with-parent", "--make-key", str(key_file)]
        command += ["--products", ",".join(products), "--rate", str(_TICKS_PER_PRODUCT_S * len(products))]
        # Its own session: Ctrl-C in the terminal goes to us, and we end it when the feeds have let go.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            env=child_environment(),
            start_new_session=True,
            limit=_MAX_ADDRESS_BYTES,
        )
        try:
            addresses = await _addresses(process)
            yield _Addresses(
                {
                    "ws_url": addresses["url"],
                    "ws_user_url": addresses["user_url"],
                    "rest_url": addresses["rest_url"],
                    "key_file": str(key_file),
                },
                addresses["providers"],
            )
        finally:
            await _end(process)


async def _addresses(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_SIMULATOR_START_S):
            line = await process.stdout.readline()
        addresses: dict[str, Any] = orjson.loads(line)
        return {name: addresses[name] for name in ("url", "user_url", "rest_url", "providers")}
    except (TimeoutError, ValueError, KeyError, TypeError) as exc:  # ValueError: no JSON, or no end of a line
        raise StreamerError("the simulator did not start; try it by itself: streamer simulate") from exc


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
