"""What becomes of the data frames of a connection, channel by channel. Pure.

A feed puts frames in order and hands over what one turn of the event loop has brought; an intake checks the values
and passes them on under the ids that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import msgspec

from streamer.coinbase.messages import CandleFields, Decoder, Message, ProductFields
from streamer.coinbase.orders import OrderEvent, OrderStream
from streamer.coinbase.session import ALL, Session
from streamer.model import ProductId, Stamp, Tick, TickerFields


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A data frame in order, its sequence number, and the Unix time at which it reached us.

    Made for every frame: a NamedTuple costs four times as much to make.
    """

    message: Message
    sequence: int
    received_s: float


class CandleUpdate(NamedTuple):
    """What one message says of the candles of one product.

    Attributes:
        is_snapshot: Whether it is a snapshot, of which nothing was damaged.
    """

    candles: Sequence[CandleFields]
    is_snapshot: bool
    frame: Frame
    stamp: Stamp


class Intake(Protocol):
    """Takes the frames of one connection after another. Nothing here may raise: a transport calls it."""

    ends_on_gap: bool
    """Whether a lost frame ends the connection, because what follows cannot be understood without it."""

    def opened(self, session: Session, stamp: Stamp) -> None:
        """A connection is open; what follows comes through it."""

    def take(self, turn: Sequence[Frame]) -> None:
        """Take the frames of one turn, in order."""

    def doubt(self, product_ids: Collection[ProductId]) -> None:
        """Frames were lost: newer values of these products may have been among them."""

    def ended(self) -> None:
        """The connection is over."""


class _Intake:
    """What intakes have in common."""

    ends_on_gap = False

    def opened(self, session: Session, stamp: Stamp) -> None:
        self._session, self._stamp = session, stamp

    def doubt(self, product_ids: Collection[ProductId]) -> None:
        pass

    def ended(self) -> None:
        pass

    def _asked_as(self, label: str) -> tuple[tuple[ProductId, str | None], ...]:
        return self._session.labels.get(label) or self._session.learn(label)


class TickerIntake(_Intake):
    """Passes on the newest sound ticker of each product of a turn.

    At saturation a turn holds many frames of each product, and only the newest sound one matters: what it replaces
    is not even checked.

    Args:
        on_tick: Takes a tick under the id that was asked for; returns whether it was news.
        on_suspect: Told which products a gap has cast doubt on.
        on_superseded: Told how many frames of a turn held nothing but what newer ones of that turn replace.
    """

    def __init__(
        self,
        decoder: Decoder,
        on_tick: Callable[[ProductId, Tick], bool],
        on_suspect: Callable[[Collection[ProductId]], None],
        on_superseded: Callable[[int], None] = lambda frames: None,
    ) -> None:
        self._sound, self._on_tick, self._on_suspect = decoder.tickers, on_tick, on_suspect
        self._on_superseded = on_superseded

    def take(self, turn: Sequence[Frame]) -> None:
        """Check and pass on, newest first."""
        passed_on: set[str] = set()
        checked = 0
        for frame in reversed(turn):
            message = frame.message
            if all(ticker.product_id in passed_on for event in message.events for ticker in event.tickers):
                continue
            checked += 1
            for fields in self._sound(message):
                if fields.product_id not in passed_on:
                    passed_on.add(fields.product_id)
                    self._pass_on(fields, frame)
        if checked < len(turn):
            self._on_superseded(len(turn) - checked)

    def _pass_on(self, fields: TickerFields, frame: Frame) -> None:
        for product_id, alias_of in self._asked_as(fields.product_id):
            tick = Tick(fields, self._stamp, frame.sequence, frame.message.timestamp, frame.received_s, alias_of)
            if self._on_tick(product_id, tick):
                self._session.seen(product_id)

    def doubt(self, product_ids: Collection[ProductId]) -> None:
        """Let readers see the doubt."""
        self._on_suspect(product_ids)


class CandleIntake(_Intake):
    """Passes on the candles of each frame, a product at a time.

    Args:
        on_candles: Takes what one message says of one product, under the id that was asked for.
        on_lost: Told whose candles may miss something: after a gap, and when the connection has ended.
    """

    def __init__(
        self,
        decoder: Decoder,
        on_candles: Callable[[ProductId, CandleUpdate], None],
        on_lost: Callable[[Collection[ProductId]], None],
    ) -> None:
        self._sound, self._on_candles, self._on_lost = decoder.candles, on_candles, on_lost

    def take(self, turn: Sequence[Frame]) -> None:
        """Check and pass on, in order."""
        for frame in turn:
            by_label: dict[str, list[CandleFields]] = {}
            candles, is_whole = self._sound(frame.message)
            for candle in candles:
                by_label.setdefault(candle.product_id, []).append(candle)
            for label, of_product in by_label.items():
                for product_id, _ in self._asked_as(label):
                    self._on_candles(product_id, CandleUpdate(of_product, is_whole, frame, self._stamp))
                    self._session.seen(product_id)

    def doubt(self, product_ids: Collection[ProductId]) -> None:
        """Pass the doubt on."""
        self._on_lost(product_ids)

    def ended(self) -> None:
        """Whatever comes next comes after a hole."""
        self._on_lost(self._session.wanted)


class StatusIntake(_Intake):
    """Passes on what the exchange says of its products, also of those that nobody asked for.

    Args:
        on_products: Takes the products of one frame.
    """

    def __init__(self, decoder: Decoder, on_products: Callable[[Sequence[ProductFields]], None]) -> None:
        self._sound, self._on_products = decoder.products, on_products

    def take(self, turn: Sequence[Frame]) -> None:
        """Check and pass on, in order."""
        for frame in turn:
            products = self._sound(frame.message)
            if products:
                self._on_products(products)
            told = {product.id for product in products}
            for product_id in self._session.wanted:
                if product_id in told or self._session.canonical(product_id) in told:
                    self._session.seen(product_id)


class UserIntake(_Intake):
    """Passes on order events, each one and in order: they are a log, and never conflated.

    A gap ends the connection. What follows one cannot be understood: the rest of a snapshot in batches looks like a
    whole one, and an order that was lost is nowhere repeated.

    Args:
        on_event: Takes an event.
        on_lost: Told that events may have been lost: after a gap, and when the connection has ended.
    """

    ends_on_gap = True

    def __init__(self, on_event: Callable[[OrderEvent, Frame, Stamp], None], on_lost: Callable[[], None]) -> None:
        self._on_event, self._on_lost = on_event, on_lost
        self._stream = OrderStream()
        self._deaf = False

    def opened(self, session: Session, stamp: Stamp) -> None:
        """Start over: the exchange sends a snapshot first."""
        super().opened(session, stamp)
        self._stream, self._deaf = OrderStream(), False

    def take(self, turn: Sequence[Frame]) -> None:
        """Read and pass on, in order."""
        for frame in turn:
            for event in () if self._deaf else self._stream.read(frame.message, frame.received_s):
                if event.is_snapshot:
                    self._session.seen(ALL)
                self._on_event(event, frame, self._stamp)

    def doubt(self, product_ids: Collection[ProductId]) -> None:
        """Listen no more until the next connection."""
        self._deaf = True
        self._on_lost()

    def ended(self) -> None:
        """Whatever happens from here on happens unseen."""
        self._on_lost()
