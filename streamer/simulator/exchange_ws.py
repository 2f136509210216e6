"""A Coinbase Advanced Trade WebSocket exchange to test against: the real one's rules, on loopback.

What it imitates is written down, with sources, in the protocol notes (sections 2-6 and 14). Where those say
that nobody knows (close codes of its own drops, the answer to a frame that is not JSON), a setting or a
comment here says what was chosen. `level2` is not simulated and is answered as an unknown channel.
"""

from __future__ import annotations

import asyncio
import functools
import math
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamer.errors import ConfigError
from streamer.simulator.account import Bank
from streamer.simulator.admin import AdminCommand, SetStatus
from streamer.simulator.catalogue import Catalogue
from streamer.simulator.client import Client
from streamer.simulator.clock import Clock
from streamer.simulator.counters import RateMeter
from streamer.simulator.desk import Desk
from streamer.simulator.exchange_rest import RestServer
from streamer.simulator.faults import Command, Fault, FaultBoard, FaultKind, Heal, Pause, Query, Tick
from streamer.simulator.keys import JwtChecker
from streamer.simulator.listener import Connection, listen
from streamer.simulator.market import Market, RandomWalkMarket
from streamer.simulator.rest_account import RestAccount
from streamer.simulator.rest_market import RestMarket
from streamer.simulator.rest_routes import Routes
from streamer.simulator.settings import ExchangeSettings
from streamer.simulator.staff import Staff
from streamer.simulator.tape import Tape
from streamer.simulator.ticking import CLOCK_TICK_S, Ticking
from streamer.simulator.trading import Trade, carry_out


class ExchangeServer:
    """The exchange, listening while the `async with` block runs.

    Args:
        market: Where tickers come from; a `Recording` is replayed from the first ticker subscription on.
        settings: How it behaves.
        keys: Key name to public key (PEM) of everyone who may log in.
        ssl_context: Makes both hosts speak TLS.
        clock_ns: Wall clock, in nanoseconds: a wrong one imitates clock offset.
        bank: Accounts and orders of the keys.
    """

    def __init__(
        self,
        market: Market,
        settings: ExchangeSettings | None = None,
        *,
        keys: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        bank: Bank | None = None,
    ) -> None:
        self.market = market
        self.settings = settings or ExchangeSettings()
        self._ssl, self._clock_ns = ssl_context, clock_ns
        self.clock, self.catalogue = Clock(clock_ns), Catalogue(market)
        seed, guide = (market.seed, market.guide) if isinstance(market, RandomWalkMarket) else (0, None)
        # A past costs 10 ms a product, all at once where someone subscribes to many: a saturated core has no time.
        opening = market.opening if math.isfinite(self.settings.ticks_per_s) else lambda product_id: None
        self.tape = Tape(opening, clock_ns(), seed, len(market.products), guide)
        self.bank = bank or Bank()
        self.bank.admit(keys or {})
        checker = JwtChecker(keys or {})
        self.desk = Desk(market, checker, self.settings, self.clock, self.catalogue, self.tape, self.bank)
        self._staff = Staff(checker, self.clock, self.catalogue)
        self._ticking = Ticking(market, self.desk, self.settings.ticks_per_s, self._flush, self._drain, clock_ns)
        self.desk.on_ticker_subscription = self._ticking.start_replay
        self.board = FaultBoard()
        routes = Routes(
            RestMarket(
                market,
                self.catalogue,
                self.tape,
                self.clock,
                fill_candles=self.settings.fill_candles,
                unknown_products=self.settings.unknown_products,
            ),
            RestAccount(self.bank, market, checker, self.clock),
        )
        rest = RestServer(routes, checker, self.clock, self.board, self.settings, self._now_s)
        self.rest = None if self.settings.rest_port is None else rest
        self.connects, self.messages = RateMeter(), RateMeter()
        self.refused = 0
        self.clients: dict[int, Client] = {}
        self._attempts = 0
        self._listening: asyncio.Future[None]
        self._stop = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup
        self._work: set[asyncio.Task[None]] = set()
        self._servers: dict[str, Server] = {}

    async def __aenter__(self) -> Self:
        self._listening = asyncio.get_running_loop().create_future()
        self._main = asyncio.create_task(self._run(), name="exchange")
        # Whatever ends first: an address in use ends the main task.
        await asyncio.wait({self._main, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        if self._main.done():
            await self._main
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._main is not None:
            await self._main

    async def wait(self) -> None:
        """Wait until the exchange stops, and raise what it died of, if it did."""
        assert self._main is not None
        await asyncio.shield(self._main)

    @property
    def ended(self) -> asyncio.Event:
        """Set when a recording has been replayed to its end. The exchange stays up."""
        return self._ticking.ended

    @property
    def port(self) -> int:
        """Port of the market host."""
        return self._port("market")

    @property
    def user_port(self) -> int:
        """Port of the user host."""
        return self._port("user")

    @property
    def url(self) -> str:
        """WebSocket URL of the market host."""
        return self._url(self.port)

    @property
    def user_url(self) -> str:
        """WebSocket URL of the user host."""
        return self._url(self.user_port)

    def _port(self, host: str) -> int:
        port: int = next(iter(self._servers[host].sockets)).getsockname()[1]
        return port

    def _url(self, port: int) -> str:
        # A certificate for localhost also names 127.0.0.1 and ::1, so the bind address can be used as it is.
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"{'wss' if self._ssl else 'ws'}://{host}:{port}"

    @property
    def rest_url(self) -> str | None:
        """URL of REST, without a path; None if there is no REST."""
        if self.rest is None:
            return None
        return self._url(self.rest.port).replace("ws", "http", 1)

    # Life

    async def _run(self) -> None:
        try:
            await self._listen()  # outside of the group, which would wrap its error
            async with asyncio.TaskGroup() as self._tasks:
                self._spawn(self._ticking.run())
                self._spawn(self._keep_house())
                if self.rest is not None:
                    self._spawn(self.rest.run())
                self._listening.set_result(None)
                await self._stop.wait()
                await self._shut()
                for task in self._work:
                    task.cancel()
        finally:
            await self._shut()

    async def _listen(self) -> None:
        ports = {"market": self.settings.port, "user": self.settings.user_port}
        for host, port in ports.items():
            if port is None:
                continue
            serve = functools.partial(self._serve, host)
            try:
                self._servers[host] = await listen(
                    serve, self._upgrade, self.settings.host, port, ssl_context=self._ssl, now_s=self.clock.now_s
                )
            except OSError as exc:
                raise ConfigError(f"{host} port", port, f"cannot be listened on: {exc}") from exc
        if self.rest is not None and self.settings.rest_port is not None:
            self.rest.listen(self.settings.rest_port, self._ssl)

    async def _shut(self) -> None:
        for server in self._servers.values():
            server.close(close_connections=False)  # ours close below, under a deadline
        if self.rest is not None:
            await self.rest.stop()
        await asyncio.gather(*(client.close(1001) for client in list(self.clients.values())))
        for server in self._servers.values():
            # Unfinished handshakes would hold the server up for the library's 10 s.
            for ws in list(server.handlers):
                ws.transport.abort()
            await server.wait_closed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # Connections

    async def _upgrade(self, ws: ServerConnection, request: Request) -> Response | None:
        assert isinstance(ws, Connection)
        self._attempts += 1
        ws.number = self._attempts
        self.connects.add(self._now_s())
        if self.board.find(FaultKind.DROP_HANDSHAKE, self._attempts):
            self.refused += 1
            ws.transport.abort()
            await ws.wait_closed()
            return None
        refusal = self.board.find(FaultKind.REFUSE_UPGRADE, self._attempts)
        if refusal is None:
            return None
        self.refused += 1
        response = ws.respond(refusal.options["status"], "refused by the simulator\n")
        if refusal.options["retry_after_s"] is not None:
            response.headers["Retry-After"] = str(refusal.options["retry_after_s"])
        return response

    async def _serve(self, host: str, ws: ServerConnection) -> None:
        assert isinstance(ws, Connection)
        number = ws.number
        client = Client(number, host, ws, self._spawn, self._now_s())
        self.clients[number] = client
        client.apply(self.board.effects(number))
        try:
            async for message in ws:
                self._hear(client, message)
                client.flush(self._now_s())
        except ConnectionClosed:
            pass  # a client may leave as it likes
        finally:
            del self.clients[number]
            self.desk.forget(client)

    def _hear(self, client: Client, message: str | bytes) -> None:
        self.messages.add(self._now_s())
        if self.board.find(FaultKind.REFUSE_SUBSCRIPTIONS, client.number):
            client.send_error("authentication failure")
            return
        self.desk.hear(client, message)
        if self.board.find(FaultKind.DROP_AFTER_SUBSCRIBE, client.number):
            client.wire.reset()

    async def _drain(self) -> None:
        for client in list(self.clients.values()):
            # Everybody gets every tick; who does not read at all is cut off, or all would wait for it.
            await client.drain(self.settings.slow_consumer_s)

    def _flush(self) -> None:
        now_s = self._now_s()
        for client in self.clients.values():
            client.flush(now_s)

    # The clock

    async def _keep_house(self) -> None:
        while True:
            now_s = self._now_s()
            if self.board.expire(now_s):
                self._apply_board()
            self.desk.on_clock(now_s, list(self.clients.values()))
            for client in list(self.clients.values()):
                client.flush(now_s)
                self._police(client, now_s)
            await asyncio.sleep(CLOCK_TICK_S)

    def _police(self, client: Client, now_s: float) -> None:
        settings = self.settings
        if not client.is_open:
            return
        if (not client.has_subscribed and now_s - client.opened_at_s > settings.subscribe_deadline_s) or (
            "heartbeats" not in client.subscriptions and now_s - client.last_update_at_s > settings.idle_after_s
        ):
            self._spawn(client.close(settings.drop_code))
        waiting = client.wire.get_write_buffer_size()
        if waiting <= settings.max_buffer_bytes:
            client.full_since_s = None
        elif client.full_since_s is None:
            client.full_since_s = now_s
        elif now_s - client.full_since_s > settings.slow_consumer_s:
            self._spawn(client.close(1008, "ErrSlowConsume"))

    # Commands

    def _apply_board(self) -> None:
        for client in self.clients.values():
            client.apply(self.board.effects(client.number))

    def command(self, command: Command) -> dict[str, Any]:
        """Carry out a command and return the reply of the control port.

        Raises:
            ConfigError: The command asks for something this market cannot do.
        """
        match command:
            case Fault():
                self._fault(command)
            case Heal():
                self.board.heal()
                self.bank.outbox.heal()
                self._ticking.is_paused = False
                self._apply_board()
                for client in self.clients.values():
                    client.heal()
                self._flush()
            case Pause(paused):
                self._ticking.is_paused = paused
            case Tick(product_id, price):
                if not isinstance(self.market, RandomWalkMarket):
                    raise ConfigError("tick", product_id, "a recording cannot be changed")
                if price is None:
                    self.market.tick(product_id)
                else:
                    self.market.set_price(product_id, price)
                self.desk.trade(product_id)
                self._flush()
            case Query("rest"):
                if self.rest is None:
                    raise ConfigError("query", "rest", "this exchange has no REST")
                return {"ok": True, **self.rest.described()}
            case Query():
                return {"ok": True, **self.state()}
            case Trade():
                return self._trade(command)
            case _:
                self._administer(command)
        return {"ok": True}

    def _administer(self, command: AdminCommand) -> None:
        closed = self._staff.carry_out(command)
        for client in list(self.clients.values()):
            if closed is not None and closed in client.key_names:
                self._spawn(client.close(self.settings.drop_code))
        if isinstance(command, SetStatus):
            self.desk.tell_status(command.product_id, self.clients.values())
            self._flush()

    def _trade(self, trade: Trade) -> dict[str, Any]:
        reply = carry_out(self.bank, trade, self._clock_ns() / 1e9)
        if updates := self.bank.outbox.take():
            self.desk.tell_orders(updates, self.clients.values())
            # At once and not with the clock's next tick: who measures latency measures from here.
            self._flush()
        return reply

    def _fault(self, fault: Fault) -> None:
        if fault.is_lasting:
            self.board.start(fault, self._now_s())
            self._apply_board()
            return
        for client in list(self.clients.values()):
            if fault.connection in (None, client.number):
                client.strike(fault)
                client.flush(self._now_s())

    def state(self) -> dict[str, Any]:
        """Return the truth: newest tickers, connections and their subscriptions, counters, faults."""
        return {
            "tickers": {p: t for p in self.market.products if (t := self.market.latest(p)) is not None},
            "connections": [client.described() for client in self.clients.values()],
            "counters": {
                "connects": self.connects.described(),
                "messages": self.messages.described(),
                "refused": self.refused,
            },
            "faults": [fault.shown() for fault in self.board.active()],
            "clock_offset_s": self.clock.offset_s,
            "paused": self._ticking.is_paused,
            "ended": self._ticking.ended.is_set(),
        }
