"""Balances derived from order updates, and how REST answers confirm or correct them. Pure.

The exchange pushes orders, not balances. But orders come with their cumulative figures, so for each currency

    balance = offset + sum of the effects of all orders seen

where the offset is whatever our orders do not explain: the money that was there before, deposits, transfers. An
update replaces its order's effect, so repeating one changes nothing. REST tells balances, late by an unknown lag
and without saying which updates it has taken into account. So an answer is compared with each sum that was current
within the time it may speak of. Where one of them gives the offset we have, the answer is explained, and if that is
the newest one, the balance is confirmed. An answer older than the updates already applied is explained by an older
sum and so undoes nothing. Where none does, the offset has changed, as by a deposit; if several offsets are
possible, the next answers narrow them down.

At the beginning, and after updates were or may have been lost, no offset can be relied on: until answers have left
only one possible, balances are suspect, and what REST then tells is shown as the best there is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streamer.coinbase.orders import Order, OrderEvent
from streamer.ingest.effects import Amounts, Effects, completed, effects
from streamer.model import Account, Basis

LAG_S = 4.0
"""How long REST may show what was. It does lag behind fills; by how much is documented nowhere."""
AHEAD_S = 1.0
"""How long after a REST answer an update may arrive that the answer has already taken into account."""
_HORIZON_S = 60.0
_KEEP_ORDERS = 20_000


@dataclass(frozen=True, slots=True)
class Difference:
    """REST told something else than what followed from the updates."""

    currency: str
    derived: Amounts
    confirmed: Amounts


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one currency.

    Attributes:
        suspect: Updates may have been lost, and no answer has settled since what they did.
    """

    amounts: Amounts
    basis: Basis
    suspect: bool
    account_uuid: str | None


@dataclass(slots=True)
class Counts:
    """What the ledger has seen; plain integers for the status."""

    updates: int = 0
    repeated: int = 0
    unreadable: int = 0
    unknown_status: int = 0
    answers: int = 0
    differences: int = 0


@dataclass(slots=True)
class _Answer:
    """What REST has told of one currency, when, and the offsets it would mean."""

    amounts: Amounts
    asked_at: float
    at: float
    offsets: set[Amounts]


@dataclass(slots=True)
class _Wallet:
    """One currency.

    Attributes:
        offset: What the orders do not explain; None before REST has told.
        sums: Sums of all effects, each with the time at which it became current; the last one is current.
        candidates: Offsets that the answers so far allow, while they have not settled on one; empty otherwise.
        pending: An answer that waits for an update on its way, or for its time to be over.
        suspect: No answer has settled what the offset is, since the beginning or the last loss.
        is_known: Whether the offset has been settled ever; before, it is no news that REST tells something else.
        told_blind: Whether the offset is from an answer given while updates were being missed.
        believed_at: When the last answer came that was believed against what we knew.
        settled_at: Answers to questions asked before this may miss what we have missed.
    """

    uuid: str | None = None
    offset: Amounts | None = None
    sums: deque[tuple[float, Amounts]] = field(default_factory=lambda: deque([(-math.inf, Amounts())]))
    candidates: set[Amounts] = field(default_factory=set)
    pending: _Answer | None = None
    confirmed: bool = False
    suspect: bool = True
    is_known: bool = False
    told_blind: bool = False
    believed_at: float = -math.inf
    settled_at: float = -math.inf

    @property
    def sum(self) -> Amounts:
        return self.sums[-1][1]

    def move(self, change: Amounts, now: float) -> None:
        """Take a change of the sum of effects."""
        self.sums.append((now, self.sum + change))
        if self.pending is not None:
            self.pending.offsets.add(self.pending.amounts - self.sum)
        while len(self.sums) > 1 and self.sums[1][0] < now - _HORIZON_S:
            self.sums.popleft()
        self.confirmed = False

    def since(self, at: float) -> Iterable[Amounts]:
        """Yield the sums that were current at `at` or later, newest first."""
        for began, amounts in reversed(self.sums):
            yield amounts
            if began <= at:
                return

    @property
    def is_settled(self) -> bool:
        """Whether the offset can be relied on, but for deposits."""
        return self.is_known and not self.suspect

    def wait(self, settled_at: float) -> None:
        """Let only answers to later questions confirm the balance."""
        self.confirmed, self.settled_at = False, max(self.settled_at, settled_at)
        self.candidates = set()

    def doubt(self, settled_at: float) -> None:
        """Take it that the offset may have changed; only answers to later questions can tell."""
        self.wait(settled_at)
        self.suspect = True

    def conclude(self, answer: _Answer) -> None:
        """Take an answer that agrees with the offset."""
        assert self.offset is not None
        self.pending, self.candidates = None, set()
        is_settled = answer.asked_at >= self.settled_at
        self.suspect &= not is_settled
        self.confirmed = is_settled and answer.amounts == self.offset + self.sum


class Ledger:
    """Derives balances from orders; keeps no time of its own.

    Every method that changes anything returns the currencies whose state has changed.

    Args:
        lag_s: How late REST may be.
        ahead_s: How far REST may be ahead of the updates.

    Attributes:
        last_difference: Found last; None while REST has never told anything else than the updates.
        wants_answer: Whether something has happened that only REST can make sense of.
    """

    def __init__(self, *, lag_s: float = LAG_S, ahead_s: float = AHEAD_S) -> None:
        self._lag_s, self._ahead_s = lag_s, ahead_s
        self._wallets: dict[str, _Wallet] = {}
        self._orders: dict[str, tuple[Order, Effects]] = {}
        self._settled_at = math.inf  # nothing is known of what happens before the first snapshot
        self._seen_at = math.inf  # when the last snapshot came
        self._differences: list[Difference] = []
        self.last_difference: Difference | None = None
        self.counts = Counts()
        self.wants_answer = True

    # -- what the exchange pushes --------------------------------------------------------------------------------

    def lost(self) -> set[str]:
        """Updates may be missed, from now until the next snapshot: every balance is in doubt."""
        self._settled_at = math.inf
        return self._doubt(math.inf)

    def apply(self, event: OrderEvent, now: float) -> set[str]:
        """Take an event of the user channel."""
        ends_blindness = event.is_snapshot and self.is_blind
        sums = {c: wallet.sum for c, wallet in self._wallets.items() if wallet.told_blind and ends_blindness}
        changed: set[str] = set()
        for order in event.orders:
            changed |= self._update(order, now)
        if event.unreadable:
            self.counts.unreadable += event.unreadable
            self.wants_answer = True
            self._settled_at = max(self._settled_at, now + self._lag_s)
            changed |= self._doubt(self._settled_at)
        for currency, before in sums.items():
            # REST has told after the last update, and so of these orders too.
            wallet = self._wallets[currency]
            assert wallet.offset is not None
            wallet.offset -= wallet.sum - before
        if ends_blindness:
            self._see_again(now, is_quiet=not self._orders and not event.unreadable)
        changed |= self._explained_by_now()
        while len(self._orders) > _KEEP_ORDERS:
            # What it has done stays in the sums, so it had better be over.
            over = (order_id for order_id, (order, _) in self._orders.items() if order.is_over)
            del self._orders[next(over, next(iter(self._orders)))]
        return {c for c in changed if self._wallets[c].offset is not None}

    @property
    def is_blind(self) -> bool:
        """Whether updates are being missed: no snapshot has come since the last loss."""
        return self._settled_at == math.inf

    def _see_again(self, now: float, *, is_quiet: bool) -> None:
        """A snapshot ends the time in which updates are missed; what was missed, only REST can tell.

        And only once it cannot lag behind that any more. At the beginning, an account without orders is believed to
        be a quiet one, and its first answer is taken; but it is asked for again.
        """
        is_first, self._seen_at = self._seen_at == math.inf, now
        self._settled_at = now if is_first and is_quiet else now + self._lag_s
        self.wants_answer = True
        for wallet in self._wallets.values():
            wallet.settled_at, wallet.told_blind = self._settled_at, False

    def _doubt(self, settled_at: float) -> set[str]:
        changed = {c for c, wallet in self._wallets.items() if wallet.offset is not None and not wallet.suspect}
        for wallet in self._wallets.values():
            wallet.doubt(settled_at)
        return changed

    def _update(self, order: Order, now: float) -> set[str]:
        self.counts.updates += 1
        if not order.is_spot:
            self.wants_answer = True  # margin moves in ways of its own
            return set()
        known = self._orders.get(order.order_id)
        before, done_before = known if known is not None else (None, {})
        if before is not None and before.is_over and not order.is_over and order.quantity > before.quantity:
            order = replace(order, status=before.status)  # what is over stays so, but more was filled than we knew
        if before is not None and order.rank < before.rank:
            self.counts.repeated += 1
            return set()
        order = completed(order, before)
        done = effects(order)
        self._orders.pop(order.order_id, None)
        self._orders[order.order_id] = order, done  # at the end: the dict is in order of the last update
        self.counts.unknown_status += not order.is_known_status
        changed = {
            currency: change
            for currency in done.keys() | done_before.keys()
            if (change := done.get(currency, Amounts()) - done_before.get(currency, Amounts())) != Amounts()
        }
        if not changed:
            self.counts.repeated += 1
        for currency, change in changed.items():
            self._wallet(currency, now).move(change, now)
        news = before is None or before.status != order.status
        self.wants_answer |= news and (order.is_over or not order.is_known_status)
        unsure = set() if self._is_sure(before, order, changed=bool(changed)) else set(done)
        # Had this come in time, it might have explained the answer that we have just believed. And an order that
        # somebody wants to change is older than we knew: REST may have told us long ago of what it holds.
        doubtful = {c for c in changed if now < self._wallets[c].believed_at + self._lag_s}
        doubtful |= set(done) if before is None and order.is_changing else set()
        for currency in unsure:
            self._wallet(currency, now).wait(now + self._lag_s)
        for currency in doubtful:
            self._wallet(currency, now).doubt(now + self._lag_s)
        self.wants_answer |= bool(unsure | doubtful)
        return changed.keys() | unsure | doubtful

    @staticmethod
    def _is_sure(before: Order | None, order: Order, *, changed: bool) -> bool:
        """Whether an order's effects are what they are; else only REST can tell."""
        if before is None:
            # What it held, if it is over and we had never heard of it, nobody says.
            return order.is_complete and (changed or not order.is_over)
        # Of two updates that differ, and neither is further, the one that came last may be the older one.
        return order.is_complete and before.is_complete and not (changed and order.rank == before.rank)

    def _wallet(self, currency: str, now: float) -> _Wallet:
        wallet = self._wallets.get(currency)
        if wallet is None:
            # A currency that REST has not listed: we had none of it.
            offset = Amounts() if self.counts.answers else None
            suspect = offset is None or self.is_blind or self._settled_at > now
            wallet = self._wallets[currency] = _Wallet(
                offset=offset, suspect=suspect, is_known=not suspect, settled_at=self._settled_at
            )
        return wallet

    # -- what REST answers ---------------------------------------------------------------------------------------

    def asking(self) -> None:
        """A question to REST goes out; what happens from here on may need another."""
        self.wants_answer = False

    def answer(self, accounts: Iterable[Account], asked_at: float, now: float) -> set[str]:
        """Take the balances of all accounts, as asked for at `asked_at` and answered at `now`."""
        told = {account.currency: account for account in accounts}
        for currency in told:
            self._wallet(currency, now)
        self.counts.answers += 1
        self.wants_answer |= self._seen_at != math.inf and asked_at < self._seen_at + self._lag_s
        changed = set()
        for currency, wallet in self._wallets.items():
            before, account = self.state(currency), told.get(currency)
            if account is not None:
                wallet.uuid = account.uuid
            elif wallet.uuid is not None:
                continue  # the exchange lists empty wallets too: one that is missing is not known to be empty
            amounts = Amounts(account.available, account.hold) if account is not None else Amounts()
            offsets = {amounts - total for total in wallet.since(asked_at - self._lag_s)}
            self._take(wallet, _Answer(amounts, asked_at, now, offsets))
            if self.state(currency) != before:
                changed.add(currency)
        return changed

    def _take(self, wallet: _Wallet, answer: _Answer) -> None:
        if wallet.offset is None:
            at_question = [total for began, total in wallet.sums if began <= answer.asked_at]
            wallet.offset = answer.amounts - (at_question or [wallet.sum])[-1]
            wallet.told_blind = self.is_blind
        if wallet.is_settled and wallet.offset in answer.offsets:
            self._conclude(wallet, answer)
        else:
            wallet.confirmed = False
            wallet.pending = answer

    def _conclude(self, wallet: _Wallet, answer: _Answer) -> None:
        wallet.conclude(answer)
        known_from = max(wallet.settled_at, self._seen_at + self._lag_s)
        wallet.is_known |= not wallet.suspect and answer.asked_at >= known_from
        self._ask_again_unless(wallet.confirmed)

    def _ask_again_unless(self, confirmed: bool) -> None:
        # While we are blind another answer settles nothing; the snapshot asks for one.
        self.wants_answer |= not confirmed and not self.is_blind

    def _explained_by_now(self) -> set[str]:
        """See whether an update has explained an answer that had come before it."""
        changed = set()
        for currency, wallet in self._wallets.items():
            answer = wallet.pending
            if answer is not None and wallet.is_settled and wallet.offset in answer.offsets:
                self._conclude(wallet, answer)
                changed.add(currency)
        return changed

    def settle(self, now: float) -> set[str]:
        """Believe answers that no update has explained in time; call it when `settles_at` has come."""
        changed = set()
        for currency, wallet in self._wallets.items():
            answer = wallet.pending
            if answer is None or now < answer.at + self._ahead_s:
                continue
            before = self.state(currency)
            wallet.pending = None
            possible = answer.offsets & wallet.candidates or answer.offsets
            # Two answers that leave one offset together may both know of an order that we have not heard of, or
            # not in that order. No third one does.
            is_one = len(answer.offsets) == 1 or (len(possible) == 1 and possible == wallet.candidates)
            is_timely = answer.asked_at >= wallet.settled_at
            # Until it has been settled, and while we are blind, what REST tells is the best there is.
            if is_one and (is_timely or self.is_blind or not wallet.is_known):
                self._adopt(currency, wallet, answer, *possible)
                self._conclude(wallet, answer)
            else:
                if is_timely:
                    wallet.candidates = possible
                self._ask_again_unless(confirmed=False)
            if self.state(currency) != before:
                changed.add(currency)
        return changed

    def _adopt(self, currency: str, wallet: _Wallet, answer: _Answer, offset: Amounts) -> None:
        if len(answer.offsets) == 1 and not (wallet.is_known and offset == wallet.offset):
            wallet.believed_at = answer.at
        if offset == wallet.offset:
            return
        assert wallet.offset is not None
        if wallet.is_known:
            self._found(Difference(currency, wallet.offset + wallet.sum, offset + wallet.sum))
        wallet.offset, wallet.told_blind = offset, self.is_blind

    def _found(self, difference: Difference) -> None:
        self.counts.differences += 1
        self._differences.append(difference)
        self.last_difference = difference

    def take_differences(self) -> list[Difference]:
        """Return the differences found since the last call."""
        found, self._differences = self._differences, []
        return found

    @property
    def settles_at(self) -> float | None:
        """When `settle` has something to do; None while nothing waits."""
        times = [w.pending.at + self._ahead_s for w in self._wallets.values() if w.pending is not None]
        return min(times, default=None)

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def currencies(self) -> list[str]:
        """Currencies of which the balance is known."""
        return [c for c, wallet in self._wallets.items() if wallet.offset is not None]

    def state(self, currency: str) -> State | None:
        """Return what is known of a currency, None where nothing is."""
        wallet = self._wallets.get(currency)
        if wallet is None or wallet.offset is None:
            return None
        basis = Basis.CONFIRMED if wallet.confirmed else Basis.DERIVED
        return State(wallet.offset + wallet.sum, basis, wallet.suspect, wallet.uuid)
