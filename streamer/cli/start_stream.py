"""`start-stream`: the main job. Streams into Redis until stopped."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from rich.console import Console

from streamer import logs, settings
from streamer.cli.beside import serve_beside
from streamer.cli.common import add_redis_option, redis_url, run, run_async
from streamer.cli.display import Progress
from streamer.cli.exchange import brings_its_own, exchange
from streamer.cli.systemd import Systemd
from streamer.errors import ConfigError, StoreUnavailable
from streamer.gateway.admission import Admission
from streamer.gateway.caller import admission_of
from streamer.gateway.gate import CallGate
from streamer.gateway.group import MarkingGate
from streamer.gateway.refresher import Refresher
from streamer.gateway.standing import Standing
from streamer.health.keeper import Keeper
from streamer.ingest.supervisor import Supervisor
from streamer.ingest.upstream import Upstream, upstream
from streamer.model import ProductId, Source, parse_product_id
from streamer.store.address import hide_password, setting, state_dir
from streamer.store.connect import Store
from streamer.store.counters import Counters
from streamer.store.embedded import ChildEvent, EmbeddedRedis
from streamer.store.keys import Keys
from streamer.web.address import bound, check_access, url_of

log = structlog.get_logger("streamer")

_CLOSE_S = 0.5


def main() -> None:
    """Run the command and exit: 0 when stopped by a signal, 2 for bad input, 1 for anything else."""
    sys.exit(run(lambda: _main(sys.argv[1:])))


def _main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    config = settings.load(
        channels=arguments.channels,
        exchange=arguments.exchange,
        ws_url=arguments.ws_url,
        ws_user_url=arguments.ws_user_url,
        rest_url=arguments.rest_url,
        transport=arguments.transport,
        log_level=arguments.log_level,
        api_host=arguments.host,
        api_port=arguments.port,
    )
    products = [parse_product_id(text) for text in arguments.products]
    if not brings_its_own(config):
        upstream(config, Source.COINBASE)  # a key that is none is told at the start, before anything runs
    logs.configure(config.log_level)
    redis = _redis_url(arguments.redis_url)
    with _api_socket(config, is_wanted=not arguments.no_api) as sock:
        return run_async(_stream(config, products, redis, sock))


@contextmanager
def _api_socket(config: settings.Settings, *, is_wanted: bool) -> Iterator[socket.socket | None]:
    """Bind the port of the API before anything runs; None where it is not served.

    A port that nobody has asked for and somebody else holds, as a standby on the same machine finds it, is not
    fatal: the stream matters more.
    """
    if not is_wanted:
        yield None
        return
    check_access(config)
    try:
        sock = bound(config)
    except ConfigError as exc:
        if "api_port" in config.model_fields_set:
            raise
        log.warning("api.not_served", why=str(exc))
        yield None
        return
    with sock:
        yield sock


def _redis_url(explicit: str | None) -> str | None:
    """Return a Redis given by URL; None means embedded, also where another start-stream runs it already."""
    named = explicit or setting(os.environ, "REDIS_URL")
    return redis_url(named) if named else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="start-stream",
        description="Stream prices, balances, candles and products from Coinbase into Redis until stopped with "
        "Ctrl-C or SIGTERM. "
        "Without a Redis URL it runs an embedded redis-server of its own.",
        epilog=settings.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "products",
        metavar="PRODUCT_ID",
        nargs="*",
        help="such as BTC-USD; added to those already wanted (default: the wanted set, else STREAMER_PRODUCTS)",
    )
    parser.add_argument("--channels", help=f"comma separated, of: {', '.join(settings.CHANNELS)}")
    add_redis_option(parser)
    parser.add_argument("--ws-url", metavar="URL", help="market data WebSocket; ws:// on loopback only")
    parser.add_argument("--ws-user-url", metavar="URL", help="user WebSocket")
    parser.add_argument("--rest-url", metavar="URL", help="REST base URL")
    parser.add_argument(
        "--exchange",
        help="coinbase (default), simulator, or auto: Coinbase where it can be reached, "
        "else the simulator if Redis is the embedded one",
    )
    parser.add_argument("--transport", help="auto (default), websockets or picows")
    parser.add_argument("--log-level", help="debug, info (default), warning or error")
    api = parser.add_argument_group("HTTP API and dashboard")
    api.add_argument(
        "--host", metavar="H", help="address (127.0.0.1); beyond loopback only with STREAMER_API_TOKEN"
    )
    api.add_argument("--port", metavar="N", type=int, help="port (8700)")
    api.add_argument("--no-api", action="store_true", help="do not serve it")
    return parser


@dataclass(frozen=True, slots=True)
class _Redis:
    """Where to write.

    Attributes:
        supervise: Runs the embedded server again whenever it dies, until cancelled; None where it is not ours.
    """

    url: str
    shown: str
    supervise: Callable[[], Coroutine[Any, Any, None]] | None = None


@asynccontextmanager
async def _redis(url: str | None) -> AsyncIterator[_Redis]:
    """Yield the Redis to write to: the one given, else an embedded one that lives as long as this block."""
    if url is not None:
        yield _Redis(url, hide_password(url))
        return
    async with EmbeddedRedis(state_dir(os.environ)) as server:
        if server.warning:
            log.warning("redis.embedded", note=server.warning)
        shown = f"embedded Redis {server.version}, port {server.port}"
        yield _Redis(server.url, shown, lambda: server.supervise(_embedded_event))


def _embedded_event(event: ChildEvent) -> None:
    log.warning(f"redis.{event.what}", pid=event.pid, why=event.why)


async def _stream(
    config: settings.Settings, products: list[ProductId], url: str | None, api: socket.socket | None
) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        _redis(url) as redis,
        exchange(config, products=products, embedded=redis.supervise is not None) as market,
    ):
        store = Store(redis.url)
        gate_store = Store(redis.url, max_connections=16)  # its calls must not wait for those the sink has taken
        admission = admission_of(market.settings, gate_store)
        there = upstream(market.settings, market.source, MarkingGate(CallGate(admission)))
        standing = Standing(admission, Counters(store, Keys(market.settings.key_prefix)))
        refreshers: list[Refresher] = []
        supervisor = Supervisor(
            market.settings,
            store,
            there,
            products=products,
            defaults=config.products,
            gateway=lambda: _rest_facts(standing, refreshers),
            provider_urls=market.provider_urls,
        )
        if there.warning:
            log.warning("key.open", note=there.warning)
        for note in there.notes:
            log.info("stream.missing", note=note)
        if market.source is Source.SIMULATOR:
            log.warning("exchange.simulated", note="SIMULATED PRICES, not a market; source=simulator in every hash")
        log.info("stream.starting", exchange=market.name, redis=redis.shown, products=len(products) or "as wanted")
        systemd = Systemd()
        try:
            keeper = Keeper(store, supervisor.keys, lambda: supervisor.lease.was_ours)
            refreshers += _refresher(there, admission, gate_store, market.settings, supervisor)
            chores = [standing.keep(), keeper.keep(), systemd.keep(supervisor), *(r.keep() for r in refreshers)]
            if api is not None:
                chores.append(_serve(redis.url, market.settings, api, stop))
            await _until_stopped(supervisor, Progress(supervisor, redis.shown, market.name), chores, redis, stop)
        finally:
            systemd.stopping()
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await standing.farewell()
                    await admission.close()
                    await gate_store.close()
            with suppress(StoreUnavailable):
                await store.close()
        log.info("stream.stopped", writes=supervisor.sink.writes)
    return 0


def _rest_facts(standing: Standing, refreshers: Sequence[Refresher]) -> dict[str, Any] | None:
    """Return how REST stands, with what is renewed ahead of time."""
    if standing.facts is None:
        return None
    return standing.facts | {"refresh": refreshers[0].facts if refreshers else None}


def _refresher(
    there: Upstream, admission: Admission, store: Store, config: settings.Settings, supervisor: Supervisor
) -> list[Refresher]:
    """Return what renews copies of REST's answers; nothing where there is no REST."""
    if there.rest is None:
        return []
    is_owner, wanted = (lambda: supervisor.lease.was_ours), (lambda: supervisor.wanted)
    return [Refresher(there.rest, admission, store, config, is_owner=is_owner, wanted=wanted)]


async def _serve(redis_url: str, config: settings.Settings, sock: socket.socket, stop: asyncio.Event) -> None:
    log.info("api.served", url=url_of(config))
    await serve_beside(redis_url, config, sock, stop)


async def _until_stopped(
    supervisor: Supervisor,
    progress: Progress,
    chores: Sequence[Coroutine[Any, Any, None]],
    redis: _Redis,
    stop: asyncio.Event,
) -> None:
    console = Console()
    show = progress.show_forever(console) if console.is_terminal else progress.log_forever()
    async with asyncio.TaskGroup() as tasks:
        children = [tasks.create_task(show, name="progress"), *(tasks.create_task(chore) for chore in chores)]
        if redis.supervise is not None:
            children.append(tasks.create_task(redis.supervise(), name="embedded-redis"))
        await supervisor.run(stop)
        for child in children:
            child.cancel()
