"""The newest balance of every currency, and which of them Redis does not have yet. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from streamer.coinbase.messages import parse_timestamp
from streamer.coinbase.orders import OrderEvent
from streamer.ingest.dirty import Dirty
from streamer.ingest.ledger import Ledger, State
from streamer.model import Account, Stamp, is_product_id

_APART_S = 2.0
"""How far ahead of the exchange our idea of its time may be: see `ExchangeClock`."""


class PendingBalance(NamedTuple):
    """A balance on its way to Redis.

    Attributes:
        time: The exchange's time of what it follows from, RFC 3339.
        received_s: Unix time at which that reached us.
        since_s: Unix time at which the oldest change not yet in Redis reached us.
    """

    currency: str
    state: State
    time: str
    received_s: float
    since_s: float


class Portfolio:
    """What the ledger knows, with its times; the sink takes changes from here.

    Order events all go to the ledger, one by one; only its results are conflated.

    Args:
        on_dirty: Called when there is something to write where there was nothing.
        stamp: What balances are filed under before the first order event.

    Attributes:
        stamp: The connection whose life vouches for the balances.
        unusable: Accounts of the last answer whose currency cannot become part of a key.
    """

    def __init__(self, on_dirty: Callable[[], None], stamp: Stamp) -> None:
        self.ledger = Ledger()
        self.stamp = stamp
        self._dirty = Dirty[str](on_dirty)
        self._learnt: dict[str, tuple[str, float]] = {}
        self.unusable = 0

    def forget(self) -> None:
        """Start over, as when another ingester becomes the owner: from here on we do not know what happens.

        Else a later tenure would begin by writing what was true in this one over what is true by then.
        """
        self.ledger = Ledger()
        self._dirty.clear()
        self._learnt.clear()

    def opened(self, stamp: Stamp) -> None:
        """Another connection carries the orders from now on."""
        self.stamp = stamp

    def apply(self, event: OrderEvent, *, time: str, received_s: float, now: float) -> None:
        """Take an event of the user channel, `now` on the monotonic clock."""
        self._learn(self.ledger.apply(event, now), time, received_s)

    def lost(self, now_s: float) -> None:
        """Order events may be lost from here on: every balance is in doubt until REST has told."""
        for currency in self.ledger.lost():
            self._dirty.mark(currency, now_s)

    def answer(self, accounts: Sequence[Account], *, asked_at: float, now: float, time: str, now_s: float) -> None:
        """Take what REST has told, by its question and answer on the monotonic clock.

        Args:
            time: When it was true, as far as we know: the exchange's clock, RFC 3339.
            now_s: Unix time of the answer.
        """
        listed = [account for account in accounts if is_product_id(account.currency)]
        self.unusable = len(accounts) - len(listed)
        self._learn(self.ledger.answer(listed, asked_at, now), time, now_s)

    def settle(self, *, now: float, time: str, now_s: float) -> None:
        """Believe REST where no order event has explained its answer in time."""
        self._learn(self.ledger.settle(now), time, now_s)

    def _learn(self, currencies: Iterable[str], time: str, received_s: float) -> None:
        for currency in currencies:
            before = self._learnt.get(currency)
            self._learnt[currency] = _not_before(before and before[0], time), received_s
            self._dirty.mark(currency, received_s)

    # -- what goes out -------------------------------------------------------------------------------------------

    @property
    def currencies(self) -> Collection[str]:
        """Currencies of which there is something to write."""
        return self._learnt.keys()

    def rewrite(self, currencies: Iterable[str] | None, now_s: float) -> None:
        """Have balances written again (None: all), as after a restart of Redis or to renew their life there."""
        if currencies is None:
            self._dirty.clear()
            currencies = list(self._learnt)
        for currency in currencies:
            self._dirty.mark(currency, now_s)

    def drain(self, limit: int) -> list[PendingBalance]:
        """Hand over up to `limit` balances to write, longest waiting first."""
        batch = []
        for currency, since_s in self._dirty.take(limit):
            state = self.ledger.state(currency)
            if state is not None:
                batch.append(PendingBalance(currency, state, *self._learnt[currency], since_s))
        return batch

    def restore(self, batch: Iterable[PendingBalance]) -> None:
        """Take back what could not be written; what has changed since goes on with its newer value."""
        self._dirty.put_back((pending.currency, pending.since_s) for pending in batch)

    @property
    def dirty(self) -> int:
        """How many balances Redis does not have the newest of."""
        return len(self._dirty)

    def oldest_dirty_s(self) -> float | None:
        """Unix time of the longest waiting change, None where there is none."""
        return self._dirty.oldest_s


def _not_before(before: str | None, time: str) -> str:
    """Return the time of a balance that follows on one of `before`.

    Updates are stamped by the exchange, answers by our idea of its clock; between the two, time must not go back.
    """
    if before is not None and (was := parse_timestamp(before)) is not None:
        told = parse_timestamp(time)
        if told is not None and 0 < was - told <= _APART_S:
            return before
    return time
