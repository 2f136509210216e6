"""The rules of one connection: what to subscribe, what to believe, when to give up. Pure.

A connection carries one data channel beside its heartbeats: the exchange counts frames over all channels, so a gap
among several could not be blamed on one of them. Time comes in as an argument (seconds of any monotonic clock);
messages to send and findings go out as values. `feed.py` is the shell around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from streamer.coinbase.messages import (
    HEARTBEATS,
    STATUS,
    SUBSCRIPTIONS,
    TICKER,
    USER,
    Message,
    subscribe,
    unsubscribe,
)
from streamer.model import ProductId

ALL = ProductId("*")
"""Stands for all products, where a channel is subscribed to as a whole."""
AUTHENTICATION_FAILURE = "authentication failure"
"""The exchange's word for a bad token, and also for a channel it does not know."""
_ACKED_AS_A_WHOLE = (USER, STATUS)  # the first lists a user id, of the second nothing is known

# Pairs quoted in USDC that have a book of their own; every other one answers as its USD pair.
# Advanced Trade WebSocket Channels page (the first two) and JKorf/Coinbase.Net.
OWN_BOOK = frozenset({"USDT-USDC", "EURC-USDC", "XSGD-USDC", "AUDD-USDC", "TGBP-USDC"})


def canonical_by_rule(product_id: str) -> str:
    """Return the id under which the exchange labels a product's public data, as far as its documentation says."""
    if product_id.endswith("-USDC") and product_id not in OWN_BOOK:
        return product_id[:-1]
    return product_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """Deadlines of a connection, in seconds.

    Attributes:
        silence_s: No application frame in order for so long: the connection is dead, whatever its pongs say.
        ack_timeout_s: A subscribe that is not acknowledged in this time is sent again.
        data_timeout_s: An acknowledged product that has sent nothing in this time is reported as silent.
        heal_s: Least time between two resubscribes of what is acknowledged.
        token_retry_s: How long after a refused token a fresh one is tried, once.
    """

    silence_s: float = 3.5
    ack_timeout_s: float = 5.0
    data_timeout_s: float = 10.0
    heal_s: float = 1.0
    token_retry_s: float = 1.0


class Arrival(StrEnum):
    """What the sequence number of a frame says about it."""

    IN_ORDER = "in order"
    GAP = "gap"
    LATE = "late"
    UNNUMBERED = "unnumbered"


@dataclass(slots=True)
class _Product:
    """Where one wanted product stands on this connection."""

    sent_at: float | None = None
    first_sent_at: float | None = None
    acked: bool = False
    acked_before: bool = False

    def send(self, now: float) -> None:
        self.sent_at, self.acked_before, self.acked = now, self.acked_before or self.acked, False
        if self.first_sent_at is None:
            self.first_sent_at = now

    def is_overdue(self, since: float) -> bool:
        """Whether the subscription was acknowledged, and sent before `since`."""
        return self.acked and self.sent_at is not None and self.sent_at <= since


@dataclass(frozen=True, slots=True)
class Products:
    """The products of a connection by what is wrong with them; a product without fault is in none of the lists.

    Attributes:
        waiting: Not yet due for judgement.
        unconfirmed: The exchange has not acknowledged the subscription in time.
        silent: Subscribed, but the exchange has sent nothing.
        suspect: Between a sequence gap and the next value.
    """

    waiting: list[ProductId]
    unconfirmed: list[ProductId]
    silent: list[ProductId]
    suspect: list[ProductId]


@dataclass(slots=True)
class Counts:
    """What a feed has seen since the process started; plain integers, bumped on the hot path."""

    gaps: int = 0
    missed: int = 0
    late: int = 0
    heartbeat_gaps: int = 0
    errors: int = 0
    unasked: int = 0


@dataclass(slots=True)
class Session:
    """State of one connection; `opened` starts it afresh, the wanted products stay.

    Attributes:
        channel: The data channel.
        sign: Makes a fresh token for each message; None where the channel is public. Public ones never carry a
            token, though the exchange would take it: a key that has gone bad must not cost public data.
        canonical: Tells under which id the exchange labels a product's public data.
        expected: The next `sequence_num` in order.
        proof_at: When the last frame arrived in order, None before the first.
        suspect: Products that a gap may have robbed of their newest value.
        unseen: Products that this connection has brought no sound value of.
        labels: What `learn` has found so far.
        last_error: Text of the last error message from the exchange on this connection.
        is_unauthenticated: The exchange has refused two tokens in a row.
    """

    rules: SessionRules = field(default_factory=SessionRules)
    channel: str = TICKER
    sign: Callable[[], str] | None = None
    canonical: Callable[[str], str] = canonical_by_rule
    counts: Counts = field(default_factory=Counts)
    expected: int = 0
    proof_at: float | None = None
    suspect: set[ProductId] = field(default_factory=set)
    unseen: set[ProductId] = field(default_factory=set)
    last_error: str | None = None
    _opened_at: float = 0.0
    _heartbeats_sent_at: float | None = None
    _heartbeats_acked: bool = False
    _counter: int | None = None
    _wanted: dict[ProductId, _Product] = field(default_factory=dict)
    _dropping: set[ProductId] = field(default_factory=set)
    _own_label: set[str] = field(default_factory=set)
    labels: dict[str, tuple[tuple[ProductId, str | None], ...]] = field(default_factory=dict)
    _renewed_at: float = -1e9
    _tries: int = 0
    _refused_at: float | None = None
    _tried_fresh_token: bool = False
    is_unauthenticated: bool = False

    # -- what is wanted ------------------------------------------------------------------------------------

    @property
    def wanted(self) -> Collection[ProductId]:
        """The products this connection is to carry."""
        return self._wanted.keys()

    def want(self, products: Collection[ProductId]) -> None:
        """Set the products this connection is to carry; `due` then says what to send."""
        for product_id in self._wanted.keys() - products:
            if self._wanted.pop(product_id).sent_at is not None:
                self._dropping.add(product_id)
            self.suspect.discard(product_id)
            self.unseen.discard(product_id)
        for product_id in products:
            if product_id not in self._wanted:
                self._wanted[product_id] = _Product()
                self.unseen.add(product_id)
        self.labels.clear()

    def opened(self, now: float) -> None:
        """Forget the last connection: the exchange starts at sequence 0 with no subscriptions."""
        self.expected, self.proof_at, self.last_error = 0, None, None
        self._opened_at, self._renewed_at = now, -1e9
        self._heartbeats_sent_at, self._heartbeats_acked, self._counter = None, False, None
        self._refused_at, self._tried_fresh_token, self.is_unauthenticated = None, False, False
        self._dropping.clear()
        self.suspect.clear()
        self.unseen = set(self._wanted)
        for product_id in self._wanted:
            self._wanted[product_id] = _Product()

    def due(self, now: float) -> Iterator[bytes]:
        """Yield the messages that are due, noting each as sent.

        Heartbeats come first: they are the proof of life, and any subscribe meets the exchange's 5 s rule.
        """
        self._try_fresh_token(now)
        if self._resend(self._heartbeats_sent_at, self._heartbeats_acked, now):
            self._heartbeats_sent_at = now
            yield self._subscribe(HEARTBEATS)
        if self._dropping:
            # Also what is wanted again by now: only a fresh subscription surely brings a snapshot.
            dropped, self._dropping = sorted(self._dropping), set()
            yield self._unsubscribe(dropped)
        yield from self._renewed(now)
        missing = [p for p, state in self._wanted.items() if self._resend(state.sent_at, state.acked, now)]
        if missing:
            for product_id in missing:
                self._wanted[product_id].send(now)
            yield self._subscribe(self.channel, missing)

    def _subscribe(self, channel: str, product_ids: Collection[ProductId] = ()) -> bytes:
        return subscribe(channel, [p for p in product_ids if p != ALL], self.sign() if self.sign else None)

    def _unsubscribe(self, product_ids: Collection[ProductId]) -> bytes:
        return unsubscribe(self.channel, [p for p in product_ids if p != ALL], self.sign() if self.sign else None)

    def _try_fresh_token(self, now: float) -> None:
        """Some time after a refusal, send everything that is not acknowledged once more.

        The refused token may have been dated by a clock a little ahead of the exchange's.
        """
        if self._refused_at is None or self._tried_fresh_token or now - self._refused_at < self.rules.token_retry_s:
            return
        self._tried_fresh_token = True
        if not self._heartbeats_acked:
            self._heartbeats_sent_at = None
        for state in self._wanted.values():
            if not state.acked:
                state.sent_at = None

    def _resend(self, sent_at: float | None, acked: bool, now: float) -> bool:
        return sent_at is None or (not acked and now - sent_at >= self.rules.ack_timeout_s)

    def _renewed(self, now: float) -> Iterator[bytes]:
        """Subscribe anew to what needs a fresh snapshot.

        That is what a gap has made suspect, and what was acknowledged but has sent nothing for `data_timeout_s`:
        its snapshot may have been lost, and a quiet product sends no other. At most once in `heal_s`,
        and ever more seldom where that does not help.
        Unsubscribe first: whether a repeated subscribe brings a snapshot is documented nowhere.
        """
        if not self.suspect:
            self._tries = 0
        patience_s = self.rules.heal_s * 2.0 ** min(max(0, self._tries - 1), 30)
        if now - self._renewed_at < min(patience_s, self.rules.data_timeout_s):
            return
        again = {p for p in self.unseen if self._wanted[p].is_overdue(now - self.rules.data_timeout_s)}
        again |= {p for p in self.suspect if self._wanted[p].sent_at is not None}
        if again:
            self._renewed_at = now
            self._tries += 1
            for product_id in again:
                self._wanted[product_id].send(now)
            yield self._unsubscribe(sorted(again))
            yield self._subscribe(self.channel, sorted(again))

    # -- what arrives --------------------------------------------------------------------------------------

    def arrived(self, sequence: int | None, now: float) -> Arrival:
        """Check a frame's sequence number, which counts per connection over all channels.

        Only a frame in order is proof of life: a peer that repeats itself is not alive.
        """
        if sequence == self.expected:
            self.expected += 1
            self.proof_at = now
            return Arrival.IN_ORDER
        if sequence is None:
            return Arrival.UNNUMBERED
        if sequence < self.expected:
            self.counts.late += 1
            return Arrival.LATE
        self.counts.gaps += 1
        self.counts.missed += sequence - self.expected
        self.expected = sequence + 1
        for product_id, state in self._wanted.items():
            if product_id not in self.unseen:
                self.suspect.add(product_id)
            elif state.acked:
                state.sent_at = -math.inf  # what was lost may have been its snapshot: ask once more, and soon
        return Arrival.GAP

    def control(self, message: Message, now: float) -> None:
        """Take in anything but data: acknowledgements, heartbeats, errors."""
        if message.type == "error":
            self.counts.errors += 1
            self.last_error = message.message or "error without text"
            if self.sign is not None and self.last_error == AUTHENTICATION_FAILURE:
                self._token_refused(now)
        elif message.channel == SUBSCRIPTIONS:
            for event in message.events:
                if event.subscriptions is not None:
                    self._acknowledged(event.subscriptions)
        elif message.channel == HEARTBEATS:
            for event in message.events:
                self._heartbeat(event.heartbeat_counter)

    def _acknowledged(self, channels: dict[str, list[str]]) -> None:
        self._heartbeats_acked |= HEARTBEATS in channels
        acked = set(channels.get(self.channel, ()))
        whole = self.channel in _ACKED_AS_A_WHOLE and self.channel in channels
        if whole:
            self._refused_at, self._tried_fresh_token = None, False
        for product_id, state in self._wanted.items():
            # An alias may be acknowledged under either name (unsure in the documentation).
            if whole or product_id in acked or self.canonical(product_id) in acked:
                state.acked |= state.sent_at is not None
            elif state.acked:
                # Acknowledgements are cumulative: the exchange has dropped this one.
                state.acked, state.sent_at = False, None
                if product_id not in self.unseen:
                    self.suspect.add(product_id)

    def _token_refused(self, now: float) -> None:
        if self._tried_fresh_token:
            self.is_unauthenticated = True
        elif self._refused_at is None:
            self._refused_at = now

    def _heartbeat(self, counter: int | str | None) -> None:
        try:
            value = int(counter) if counter is not None else None
        except ValueError:
            value = None
        if value is not None:
            if self._counter is not None and value > self._counter + 1:
                self.counts.heartbeat_gaps += 1
            self._counter = value

    def learn(self, label: str) -> tuple[tuple[ProductId, str | None], ...]:
        """Return under which wanted ids a ticker labelled `label` belongs, each with what it is an alias of.

        The exchange answers a subscription to BTC-USDC with tickers labelled BTC-USD. The answer is kept in
        `labels`; nothing is kept of a label that nobody asked for, and each such ticker is counted.
        """
        targets: list[tuple[ProductId, str | None]] = []
        own = ProductId(label)
        if own in self._wanted:
            targets.append((own, None))
            if (of := self.canonical(own)) != own:
                # It has a book of its own, known to us or not: its canonical product no longer speaks for it.
                self._own_label.add(own)
                self.labels.pop(of, None)
        for alias in self._wanted:
            if alias != own and alias not in self._own_label and self.canonical(alias) == label:
                targets.append((alias, label))
        if targets:
            self.labels[label] = tuple(targets)
        else:
            self.counts.unasked += 1
        return tuple(targets)

    def relearn(self) -> None:
        """Forget which label belongs to whom: `canonical` has changed its mind."""
        self.labels.clear()

    def seen(self, product_id: ProductId) -> None:
        """Note a sound value of a product: it has data, and a gap no longer casts doubt on it.

        Needed only while `unseen` or `suspect` hold anything.
        """
        self.unseen.discard(product_id)
        self.suspect.discard(product_id)

    # -- what to make of it --------------------------------------------------------------------------------

    def is_dead(self, now: float) -> bool:
        """Whether the connection has been silent too long, also where it was silent from the first frame."""
        return now - (self.proof_at if self.proof_at is not None else self._opened_at) > self.rules.silence_s

    def products(self, now: float) -> Products:
        """Sort the wanted products by what is wrong with them."""
        found = Products([], [], [], sorted(self.suspect))
        for product_id in sorted(self.unseen):
            state = self._wanted[product_id]
            waited = now - (self._opened_at if state.first_sent_at is None else state.first_sent_at)
            if waited >= self.rules.data_timeout_s and (state.acked or state.acked_before):
                found.silent.append(product_id)
            elif not state.acked and waited >= self.rules.ack_timeout_s:
                found.unconfirmed.append(product_id)
            else:
                found.waiting.append(product_id)
        return found
