"""Plays random orders and random trouble on a simulated exchange, and notes what nobody can know of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, ClassVar

from judge import GAP_S, NOTHING, SILENCE_S, Hidden, Judge, Trouble, money
from rig import Control

Command = dict[str, Any]
WORDS = ("SETTLING", "UNDER_REVIEW", "open", "Zzz 9")
_PRICES = {"BTC-USD": 84000, "ETH-USD": 2700, "SOL-USD": 142, "BTC-USDC": 84000}
_SIZES = {"BTC-USD": "0.012", "ETH-USD": "0.35", "SOL-USD": "4", "BTC-USDC": "0.006"}
_DEPOSITS = {"USD": 900, "USDC": 400, "BTC": 1, "ETH": 5, "SOL": 20}
_MOST_OPEN = 40
_CROWD = 56  # a snapshot of more than one batch
_SILENT_S = 6.0
_REMEMBERED_S = 8.0
_CUTS = {"lose", "hush, then reset", "reset", "close", "silence", "reorder", "crowd"}
_SHAKEN = {*_CUTS, "deposit", "withdraw"}


@dataclass(slots=True)
class Order:
    """An order as its owner sees it."""

    name: str
    product: str
    is_buy: bool
    size: Decimal
    price: Decimal
    status: str = "OPEN"
    filled: Decimal = Decimal(0)
    is_limit: bool = True
    edits: int = 0

    @property
    def left(self) -> Decimal:
        """What is left to fill."""
        return self.size - self.filled


class Player:
    """A trader and a nuisance.

    Args:
        control: The exchange.
        judge: Told what cannot be known, and what is wrong with the wire.
        seed: The same seed plays the same orders, though never at the very same times.
        orders: How many to place.
        per_s: Steps a second while trading; a step is a batch of some commands.
        calm_s: Balances that are derived or suspect cannot be wrong, they say so. So most trouble waits so long
            for every balance to be confirmed, and half as long is traded slowly after it.
        is_settled: Whether every balance is confirmed.
    """

    def __init__(
        self,
        control: Control,
        judge: Judge,
        *,
        seed: int,
        orders: int,
        per_s: float,
        calm_s: float,
        is_settled: Callable[[], bool],
    ) -> None:
        self._control, self._judge, self._random = control, judge, Random(seed)
        self._wanted, self._per_s, self._calm_s, self._is_settled = orders, per_s, calm_s, is_settled
        self._open: dict[str, Order] = {}
        self._is_hushed = False
        self._lags: list[tuple[float, float]] = [(0.0, 0.0)]
        self._done: deque[tuple[float, str]] = deque(maxlen=400)
        self.orders = self.commands = 0
        self.verbs: Counter[str] = Counter()
        self.troubles: Counter[str] = Counter()
        self.doing = ""

    # -- what it did ---------------------------------------------------------------------------------------------

    def context(self, at: float) -> str:
        """Return what was done shortly before a time, for the report of a violation."""
        told = [f"    {when - at:+.3f} s  {what}" for when, what in self._done if -_REMEMBERED_S < when - at < 1]
        return "\n".join(told[-40:])

    def lag_at(self, at: float) -> float:
        """Return how late REST was at a time; the larger one where it was just being changed."""
        before = [lag for since, lag in self._lags if since <= at][-1:]
        return max([*before, *(lag for since, lag in self._lags if at < since <= at + 0.1)])

    def _note(self, what: str) -> None:
        self._done.append((time.time(), what))

    # -- sending -------------------------------------------------------------------------------------------------

    async def _send(self, commands: list[Command]) -> bool:
        """Carry out in one go, hidden or not; return whether the exchange did all of it."""
        if not commands:
            return True
        self.commands += len(commands)
        self.verbs.update(verb for command in commands for verb in list(command)[:1])
        if self._is_hushed:
            return all([await self._send_hidden(command) for command in commands])
        self._note(" ".join(map(_short, commands)))
        replies = (await self._control.tell({"batch": commands}))["replies"]
        now = time.time()
        for command, reply in zip(commands, replies, strict=True):
            self._heed(command, reply, now)
        return all(reply["ok"] for reply in replies)

    async def _send_hidden(self, command: Command) -> bool:
        """Carry out one command whose effect nobody tells, and note the effect."""
        self._note(f"hidden: {_short(command)}")
        look = {"query": "accounts", "orders": "none"}
        before, reply, after = (await self._control.tell({"batch": [look, command, look]}))["replies"]
        changes = {}
        for currency in before["accounts"].keys() | after["accounts"].keys():
            change = money(after["accounts"].get(currency)).minus(money(before["accounts"].get(currency)))
            if change != NOTHING:
                changes[currency] = change
        name = _subject(command)
        if changes:
            self._judge.hidden.append(Hidden(after["time_s"], changes, name))
        self._heed(command, reply, time.time())
        return bool(reply["ok"])

    def _heed(self, command: Command, reply: Command, now: float) -> None:
        name = _subject(command)
        if name is None:
            return
        if not self._is_hushed and reply["ok"]:
            self._judge.told(name, now)
        if "order" in command:
            if reply["ok"]:
                self.orders += 1
            else:
                self._open.pop(name, None)
                self.troubles["refused"] += 1
        elif not reply["ok"] and name in self._open:
            # We do not know what it is like now; it can be cancelled whatever it is like.
            self._open[name].status = "ODD"

    # -- orders --------------------------------------------------------------------------------------------------

    def _amount(self, most: Decimal, digits: int = 8) -> Decimal:
        unit = Decimal(1).scaleb(-digits)
        return Decimal(self._random.randint(1, max(1, int(most / unit)))) * unit

    def _new(self, *, product: str | None = None, status: str = "OPEN", is_limit: bool = True) -> Order:
        chance = self._random
        product = product or chance.choices(list(_PRICES), weights=(4, 3, 2, 2))[0]
        price = (Decimal(_PRICES[product]) * chance.randint(9000, 11000) / 10000).quantize(Decimal("0.01"))
        size = self._amount(Decimal(_SIZES[product]))
        name = f"o-{self.orders + len(self._open)}-{chance.getrandbits(40):x}"
        return Order(name, product, chance.random() < 0.5, size, price, status, is_limit=is_limit)

    def _place(self, order: Order, *, fails: bool = False) -> Command:
        command: Command = {
            "product_id": order.product,
            "side": "BUY" if order.is_buy else "SELL",
            "price": f"{order.price:f}",
            "size": f"{order.size:f}",
            "client_order_id": order.name,
        }
        if fails:
            return {"order": {**command, "fail": True}}
        self._open[order.name] = order
        command |= {"status": order.status, "type": "Limit" if order.is_limit else "Market"}
        return {"order": command}

    def _fill(self, order: Order, *, fully: bool) -> Command:
        chance = self._random
        command: Command = {"fill": order.name}
        size = order.left if fully else self._amount(order.left)
        if size < order.left:
            command["size"] = f"{size:f}"
        # Better than the limit, or anything for a market order, though its hold must pay for it.
        better = Decimal(chance.randint(0, 300)) / 10000
        price = (order.price * (1 - better if order.is_buy else 1 + better)).quantize(Decimal("0.01"))
        if chance.random() < 0.7 and (order.is_limit is False or price != order.price):
            command["price"] = f"{price:f}"
        if chance.random() < 0.3:
            command["fee"] = f"{self._amount(size * order.price * Decimal('0.004'), 11):f}"
        order.filled += size
        order.status = "OPEN" if order.status in ("PENDING", "QUEUED") else order.status
        if order.left == 0:
            del self._open[order.name]
        return command

    def _end(self, order: Order) -> Command:
        del self._open[order.name]
        return {"expire" if self._random.random() < 0.2 else "cancel": order.name}

    def _act(self) -> list[Command]:
        """Return the next thing to do to some order, or a new one."""
        chance, is_full = self._random, self.orders >= self._wanted
        if not self._open or (not is_full and len(self._open) < _MOST_OPEN and chance.random() < 0.38):
            return [] if is_full else self._begin()
        order = chance.choice(list(self._open.values()))
        if len(self._open) >= _MOST_OPEN:
            return [
                self._fill(order, fully=True)
                if chance.random() < 0.5 and order.status != "ODD"
                else self._end(order)
            ]
        if order.status == "ODD":
            return [self._end(order)]
        if order.status in ("PENDING", "QUEUED"):
            what = chance.choices(["open", "part", "end", "word"], weights=(6, 2, 1, 1))[0]
        elif order.status == "CANCEL_QUEUED":
            what = chance.choices(["end", "part", "full", "word"], weights=(6, 2, 1, 1))[0]
        else:
            what = chance.choices(["part", "full", "end", "queue", "edit", "word"], weights=(30, 25, 15, 8, 14, 5))[
                0
            ]
        match what:
            case "open":
                order.status = "OPEN"
                return [{"open": order.name}]
            case "part" | "full":
                return [self._fill(order, fully=what == "full")]
            case "end":
                return [self._end(order)]
            case "queue":
                order.status = "CANCEL_QUEUED"
                return [{"cancel": order.name, "queued": True}]
            case "edit":
                return [self._edit(order)]
            case _:
                return [{"status": order.name, "as": chance.choice(WORDS)}]

    def _begin(self) -> list[Command]:
        chance = self._random
        kind = chance.choices(["limit", "market", "wait", "fail"], weights=(70, 15, 10, 5))[0]
        if kind == "fail":
            return [self._place(self._new(), fails=True)]
        if kind == "market":
            return self._at_market(self._new(is_limit=False))
        return [self._place(self._new(status=chance.choice(("PENDING", "QUEUED")) if kind == "wait" else "OPEN"))]

    def _at_market(self, order: Order) -> list[Command]:
        commands = [self._place(order)]
        if self._random.random() < 0.5:
            commands.append(self._fill(order, fully=False))
        if order.left:
            commands.append(self._fill(order, fully=True))
        return commands

    def _edit(self, order: Order) -> Command:
        chance = self._random
        command: Command = {"edit": order.name}
        if chance.random() < 0.6:
            order.price = (order.price * chance.randint(9800, 10200) / 10000).quantize(Decimal("0.01"))
            command["price"] = f"{order.price:f}"
        if "price" not in command or chance.random() < 0.5:
            order.size = order.filled + self._amount(Decimal(_SIZES[order.product]))
            command["size"] = f"{order.size:f}"
        return command

    def _some(self, n: int) -> list[Command]:
        commands: list[Command] = []
        while len(commands) < n:
            more = self._act()
            if not more:
                break
            commands += more
        return commands

    # -- the game ------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Place all orders, with all kinds of trouble in between; some orders stay open at the end."""
        every = max(8.0, self._wanted / 32) if self._wanted >= 400 else self._wanted / len(self._troubles)
        next_at, deck = every / 2, list[str]()
        while self.orders < self._wanted or len(self._open) > 12:
            if self.orders >= next_at:
                next_at += every
                deck = deck or self._deck()
                await self._have(deck.pop())
                self.doing = ""
            await self._send(self._some(self._random.choice((1, 1, 1, 2, 3))))
            await self._pause(1 / self._per_s)

    async def _have(self, trouble: str) -> None:
        calm = self._calm_s if self._random.random() < 0.6 else 0.0
        self.doing, ends = f"calm before {trouble}", time.monotonic() + calm
        while time.monotonic() < ends and not self._is_settled():
            await asyncio.sleep(0.02)
        self.doing = trouble
        self.troubles[trouble] += 1
        self._note(f"-- {trouble}")
        await self._troubles[trouble](self)
        if calm and trouble in _SHAKEN:
            self.doing = f"calm after {trouble}"
            await self._go_on(calm / 2, 1)

    def _deck(self) -> list[str]:
        """Return one of each kind of trouble, in any order; in a short game the cuts come last."""
        kinds = [kind for kind in self._troubles if kind != "crowd" or self._wanted >= 400]
        self._random.shuffle(kinds)
        return kinds if self._wanted >= 400 else sorted(kinds, key=lambda kind: kind not in _CUTS)

    async def finish(self) -> None:
        """End the trouble; trade each product once more, so that REST is asked for a last time."""
        await self._control.must({"heal": True})
        await self._set_lag(0.0)
        await self._touch(list(_PRICES))

    async def _pause(self, mean_s: float) -> None:
        await asyncio.sleep(min(10 * mean_s, self._random.expovariate(1 / mean_s)))

    async def _go_on(self, for_s: float, per_s: float) -> None:
        """Trade for a while."""
        ends = time.monotonic() + for_s
        while time.monotonic() < ends:
            await self._send(self._some(1))
            await self._pause(1 / per_s)

    async def _touch(self, products: list[str]) -> None:
        """End an order of each product in full view."""
        for product in products:
            await self._send(self._at_market(self._new(product=product, is_limit=False)))

    async def _lag(self) -> None:
        await self._set_lag(0.0 if self._random.random() < 0.3 else round(self._random.uniform(0, 2), 3))

    async def _set_lag(self, lag_s: float) -> None:
        self._note(f"REST lags {lag_s} s")
        self._lags.append((time.time(), lag_s))
        await self._control.must({"accounts_lag_s": lag_s})

    async def _deposit(self, sign: int = 1) -> None:
        currency = self._random.choice(list(_DEPOSITS))
        amount = sign * self._amount(Decimal(_DEPOSITS[currency]) / 10, 9)
        self.commands += 1
        await self._send_hidden({"deposit": currency, "amount": f"{amount:f}"})

    async def _withdraw(self) -> None:
        await self._deposit(-1)

    async def _lose(self) -> None:
        """Lose some updates, with a gap in the numbers."""
        lost = self._some(self._random.randint(1, 4))
        self._judge.troubles.append(Trouble(time.time(), GAP_S))
        await self._send([{"lose": 10_000}, *lost, {"lose": 0}])

    async def _hush(self) -> None:
        """Let some orders live unseen and unnumbered."""
        await self._send([{"hush": True}])
        self._is_hushed = True
        for _ in range(self._random.randint(2, 6)):
            await self._send(self._some(1))
            await self._pause(0.1)
        self._is_hushed = False
        await self._send([{"hush": False}])

    async def _hush_and_trade(self) -> None:
        await self._hush()
        await self._touch(list(_PRICES))

    async def _hush_and_reset(self) -> None:
        await self._hush()
        await self._reset()

    async def _strike(self, kind: str, noticed_s: float, **options: Any) -> bool:
        """Let a fault befall the connection that carries the orders; return whether there was one."""
        connection = await self._control.user_connection()
        if connection is None:
            return False
        self._judge.troubles.append(Trouble(time.time(), noticed_s))
        self._note(f"{kind} {options}")
        await self._control.must({"fault": kind, "connection": connection, **options})
        return True

    async def _reset(self) -> None:
        await self._strike("reset", 0.0)

    async def _close(self) -> None:
        await self._strike("close", 0.0, code=self._random.choice((1000, 1001, 1011, 1012)))

    async def _silence(self) -> None:
        """No frame for a few seconds on the connection that carries the orders; trading goes on."""
        if await self._strike("silence", SILENCE_S, for_s=_SILENT_S):
            await self._go_on(_SILENT_S - 0.5, 4)

    async def _repeat(self) -> None:
        """Send frames twice, with the same numbers: no trouble at all."""
        await self._strike("repeat", 0.0, n=5)
        await self._send(self._some(5))

    async def _reorder(self) -> None:
        """Send frames in the wrong order: the first of them shows a gap."""
        n = self._random.randint(2, 5)
        if await self._strike("reorder", SILENCE_S, n=n):
            await self._send(self._some(n + 1))

    async def _replay(self) -> None:
        await self._send([{"replay": self._random.randint(1, 20)}])

    async def _shuffle(self) -> None:
        await self._send([{"replay": self._random.randint(2, 40), "shuffled": True}])

    async def _quiet(self) -> None:
        """Nothing happens, long enough for REST to confirm everything."""
        await asyncio.sleep(self._random.uniform(6, 8))

    async def _burst(self) -> None:
        """Much at once."""
        await self._send(self._some(self._random.randint(20, 40)))

    async def _crowd(self) -> None:
        """Have so many orders open that a snapshot comes in batches, and reconnect."""
        await self._send([self._place(self._new()) for _ in range(_CROWD - len(self._open))])
        await self._reset()

    _troubles: ClassVar[dict[str, Callable[[Player], Coroutine[Any, Any, Any]]]] = {
        "lag": _lag,
        "deposit": _deposit,
        "withdraw": _withdraw,
        "lose": _lose,
        "hush, then trade": _hush_and_trade,
        "hush, then reset": _hush_and_reset,
        "reset": _reset,
        "close": _close,
        "silence": _silence,
        "repeat": _repeat,
        "reorder": _reorder,
        "replay": _replay,
        "shuffle": _shuffle,
        "quiet": _quiet,
        "burst": _burst,
        "crowd": _crowd,
    }


def _subject(command: Command) -> str | None:
    """Return the order a command is about."""
    if "order" in command:
        return str(command["order"]["client_order_id"])
    for verb in ("fill", "cancel", "expire", "edit", "open", "status"):
        if verb in command:
            return str(command[verb])
    return None


def _short(command: Command) -> str:
    if "order" in command:
        order = command["order"]
        kind = "fails " if order.get("fail") else f"{order['type']} {order['status']} "
        money_words = f"{order['side']} {order['size']} {order['product_id']} at {order['price']}"
        return f"[place {order['client_order_id'][:8]} {kind}{money_words}]"
    return "[" + " ".join(f"{k} {str(v)[:8]}" for k, v in command.items()) + "]"
