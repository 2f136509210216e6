"""The control port: one JSON object a line in, one JSON reply a line out. Plain TCP, for loopback only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import orjson

from streamer.errors import ConfigError
from streamer.simulator.faults import Command, parse_command

_MAX_LINE_BYTES = 1 << 20


class ControlServer:
    """Listens for commands while the `async with` block runs.

    Args:
        carry_out: Carries out a command and returns its reply; may raise ConfigError.
        host: Address to listen on. Whoever reaches it commands the exchange, so keep it on loopback.
        port: Port, 0 for any free one.
    """

    def __init__(
        self, carry_out: Callable[[Command], dict[str, Any]], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._carry_out, self._host, self._wanted_port = carry_out, host, port
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self._wanted_port, limit=_MAX_LINE_BYTES
            )
        except OSError as exc:
            raise ConfigError("control port", self._wanted_port, f"cannot be listened on: {exc}") from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        # A peer that keeps its end open must not hold the exchange up.
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                if line.strip():
                    writer.write(orjson.dumps(self._answer(line)) + b"\n")
                    await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the peer left, or sent a line beyond the limit: the end of this conversation either way
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return self._carry_out(parse_command(orjson.loads(line)))
        except orjson.JSONDecodeError as exc:
            return {"ok": False, "error": f"not JSON: {exc}"}
        except ConfigError as exc:
            return {"ok": False, "error": str(exc)}


async def send_command(host: str, port: int, command: dict[str, Any]) -> dict[str, Any]:
    """Send one command to a control port and return the reply."""
    reader, writer = await asyncio.open_connection(host, port, limit=64 << 20)
    try:
        writer.write(orjson.dumps(command) + b"\n")
        await writer.drain()
        reply: dict[str, Any] = orjson.loads(await reader.readline())
        return reply
    finally:
        writer.close()
