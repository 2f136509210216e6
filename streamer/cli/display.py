"""How start-stream shows that it works: a live table in a terminal, a log line now and then when piped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamer.cli.plain import plain
from streamer.ingest.supervisor import Supervisor, Vitals
from streamer.model import ProductId, Source, Tick

log = structlog.get_logger("streamer")

_REFRESH_S = 0.25
_LOG_EVERY_S = 5.0
_LOGGED_PRICES = 8


class Progress:
    """Reads the supervisor; never writes to it."""

    def __init__(self, supervisor: Supervisor, redis: str, exchange: str) -> None:
        self._supervisor, self._redis, self._exchange = supervisor, redis, exchange
        self._counts: dict[ProductId, tuple[int, float]] = {}
        self._rates: dict[ProductId, float] = {}
        self._last_frames = (0, time.monotonic())
        self._frame_rate = 0.0

    async def log_forever(self) -> None:
        """One line every five seconds: what is live, how fast, and some prices."""
        while True:
            await asyncio.sleep(_LOG_EVERY_S)
            vitals = self._supervisor.vitals()
            live = sum(1 for facts in vitals.feeds if facts.state == "live")
            prices = {p: tick.fields.price for p, tick in list(self._ticks())[:_LOGGED_PRICES]}
            log.info(
                "stream.progress",
                role=vitals.role,
                feeds=f"{live}/{len(vitals.feeds)}",
                products=vitals.wanted,
                frames_per_s=round(self._rate_of_frames(vitals), 1),
                **({"balances": len(self._supervisor.sink.portfolio.currencies)} if self._has_balances else {}),
                **prices,
            )

    async def show_forever(self, console: Console) -> None:
        """Redraw the table four times a second."""
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                live.update(self._screen(console.height), refresh=True)
                await asyncio.sleep(_REFRESH_S)

    def _ticks(self) -> Iterator[tuple[ProductId, Tick]]:
        book = self._supervisor.sink.tickers
        for product_id in sorted(self._supervisor.wanted):
            if (tick := book.get(product_id)) is not None:
                yield product_id, tick

    @property
    def _has_balances(self) -> bool:
        return self._supervisor.streams.accounts is not None

    def _balances(self, rows: int) -> list[Table | Text]:
        """Return the balances that are not zero, as many as there is room for."""
        if not self._has_balances:
            return []
        ledger = self._supervisor.sink.portfolio.ledger
        states = {c: state for c in sorted(ledger.currencies) if (state := ledger.state(c)) and state.amounts.total}
        if not states:
            return [Text("\nno balances yet", style="dim")]
        table = Table(title=None, expand=False, pad_edge=False, box=None, header_style="bold")
        table.add_column("currency")
        for name in ("available", "hold", "total"):
            table.add_column(name, justify="right")
        table.add_column("basis")
        for currency, state in list(states.items())[:rows]:
            amounts, basis = state.amounts, "suspect" if state.suspect else state.basis.value
            style = "red" if state.suspect else "green" if basis == "confirmed" else "yellow"
            figures = (f"{amount:f}" for amount in (amounts.available, amounts.hold, amounts.total))
            table.add_row(currency, *figures, Text(basis, style=style))
        return [Text(""), table]

    def _rate_of_frames(self, vitals: Vitals) -> float:
        frames, at = self._last_frames
        now = time.monotonic()
        if now - at >= 1.0:
            self._frame_rate = (vitals.frames - frames) / (now - at)
            self._last_frames = (vitals.frames, now)
        return self._frame_rate

    def _screen(self, height: int) -> Group:
        vitals = self._supervisor.vitals()
        states = {facts.id: facts.state.value for facts in vitals.feeds}
        table = Table(title=None, expand=False, pad_edge=False, box=None, header_style="bold")
        for name, justify in (("product", "left"), ("price", "right"), ("bid", "right"), ("ask", "right")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for name in ("age", "updates/s", "feed"):
            table.add_column(name, justify="right")
        ticks = dict(self._ticks())
        balances = self._balances(max(2, height // 3))
        rows = max(3, height - 8 - sum(part.row_count + 1 for part in balances if isinstance(part, Table)))
        now = time.time()
        for product_id in sorted(self._supervisor.wanted)[:rows]:
            tick = ticks.get(product_id)
            if tick is None:
                table.add_row(product_id, Text("waiting", style="dim"), "", "", "", "", "")
                continue
            state = states.get(tick.stamp.feed, "gone")
            table.add_row(
                product_id,
                tick.fields.price,
                tick.fields.best_bid,
                tick.fields.best_ask,
                f"{max(0.0, now - tick.received_s):.1f} s",
                f"{self._updates_per_s(product_id):.1f}",
                Text(state, style="green" if state == "live" else "red"),
            )
        hidden = len(self._supervisor.wanted) - rows
        footer = [Text(f"… and {hidden} more", style="dim")] if hidden > 0 else []
        return Group(self._headline(vitals), table, *footer, *balances)

    def _headline(self, vitals: Vitals) -> Text:
        simulated = any(facts.source is Source.SIMULATOR for facts in vitals.feeds)
        text = Text()
        if simulated:
            text.append("SIMULATED PRICES, not a market  ", style="bold black on yellow")
        text.append(f"{self._exchange} → {self._redis}  ", style="bold")
        text.append(f"{vitals.role}, {self._rate_of_frames(vitals):,.0f} frames/s, {vitals.writes:,} writes")
        if vitals.lag_s > 1:
            text.append(f", {vitals.lag_s:.0f} s behind", style="red")
        if vitals.redis_why is not None:
            text.append(f"\nRedis is away: {plain(vitals.redis_why)}", style="bold red")
        accounts = self._supervisor.streams.accounts
        if accounts is not None and accounts.why is not None:
            text.append(f"\naccounts: {plain(accounts.why)}", style="red")
        for facts in vitals.feeds:
            if facts.why:
                text.append(f"\n{facts.id} {facts.state.value}: {plain(facts.why)}", style="red")
        return text

    def _updates_per_s(self, product_id: ProductId) -> float:
        count, now = self._supervisor.sink.tickers.updates.get(product_id, 0), time.monotonic()
        before, at = self._counts.get(product_id, (count, now))
        if now - at >= 1.0:
            self._rates[product_id] = (count - before) / (now - at)
            self._counts[product_id] = (count, now)
        elif product_id not in self._counts:
            self._counts[product_id] = (count, now)
        return self._rates.get(product_id, 0.0)
