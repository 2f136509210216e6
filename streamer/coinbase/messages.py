"""Wire bytes to typed messages, and what we say to the exchange. Pure.

Tolerant in what it takes: unknown channels, types and fields are counted and passed over, `client_id` may be
absent, one bad ticker does not cost its siblings. Strict in what it lets through: a number is checked by pattern
before anyone believes it, because `Decimal` takes "NaN", "1_000" and full-width digits, and raises on a
"1e999999999999999999" something that is not a ValueError.

Wire facts: Coinbase Advanced Trade WebSocket documentation and SDK 1.8.4, read in June to November 2026.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec.structs import astuple

from streamer.errors import MalformedFrame
from streamer.model import ProductId, TickerFields

T = TypeVar("T")

HEARTBEATS = "heartbeats"
TICKER = "ticker"
CANDLES = "candles"
STATUS = "status"
USER = "user"
SUBSCRIPTIONS = "subscriptions"
CHANNELS = frozenset(
    {HEARTBEATS, TICKER, CANDLES, STATUS, USER, SUBSCRIPTIONS}
    | {"ticker_batch", "market_trades", "l2_data", "futures_balance_summary"}
)

_DATA_EVENTS = ("update", "snapshot")
_INSPECT_EVERY = 1024
_MAX_UNKNOWN_NAMES = 100
_MAX_SEQUENCE = 2**53  # what Redis' Lua and JSON readers can count to

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9}+)?+Z"
_UNSIGNED = r"(?:[0-9]{1,30}+(?:\.[0-9]{1,30}+)?+)?+"
_SIGNED = r"(?:-?+[0-9]{1,30}+(?:\.[0-9]{1,30}+)?+)?+"
_PRICE = r"(?=[0.]*+[1-9])" + _UNSIGNED
# One match over all values of a ticker joined by newlines: a third of the cost of a match for each.
_SOUND_TICKER = re.compile(
    "\n".join([_TIME, r"[A-Z0-9][A-Z0-9.-]{0,31}+", _PRICE, *[_UNSIGNED] * 9, _SIGNED]), re.ASCII
).fullmatch
_EMPTY_TICKER = astuple(TickerFields())[1:]
_SOUND_CANDLE = re.compile(
    "\n".join([r"[0-9]{1,12}+", *[_PRICE] * 4, r"(?!\n)" + _UNSIGNED, r"[A-Z0-9][A-Z0-9.-]{0,31}+"]), re.ASCII
).fullmatch
_SOUND_PRODUCT = re.compile(r"[A-Z0-9][A-Z0-9.-]{0,31}+\n[ -~]{0,64}+\n[^\x00-\x1f]{0,500}+").fullmatch


class CandleFields(msgspec.Struct, frozen=True, gc=False):
    """A candle as the exchange sends it; the bucket is five minutes long.

    Attributes:
        start: Unix seconds.
        volume: In the base currency.
    """

    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    product_id: str


class ProductFields(msgspec.Struct, frozen=True, gc=False):
    """A product as the status channel describes it, as far as it matters here.

    Attributes:
        status: "online", "offline", "delisted" or another word; "" for futures.
    """

    id: str
    status: str = ""
    status_message: str = ""


class OrderFields(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order as the user channel sends it: cumulative state, not a change. `orders.py` makes sense of it.

    Only the fields without a default can be relied on; an empty string means "no value".
    """

    order_id: str
    product_id: str
    order_side: str
    status: str
    cumulative_quantity: str
    product_type: str = ""
    leaves_quantity: str = ""
    filled_value: str = ""
    total_fees: str = ""
    avg_price: str = ""
    limit_price: str = ""
    outstanding_hold_amount: str = ""


class Event(msgspec.Struct, gc=False):
    """One element of `events`. Only the fields of its channel are set.

    Attributes:
        unreadable: Items that are not shaped like their channel's; they are not in its list.
    """

    type: str = ""
    tickers: list[TickerFields] = []
    subscriptions: dict[str, list[str]] | None = None
    heartbeat_counter: int | str | None = None
    candles: list[CandleFields] | None = None
    products: list[ProductFields] | None = None
    orders: list[OrderFields] | None = None
    unreadable: int = msgspec.field(default=0, name="-unreadable")


class Message(msgspec.Struct, gc=False):
    """The envelope of every frame from the exchange.

    Attributes:
        sequence_num: Per connection over all channels, from 0; None on errors, which carry none.
        type: "error" on errors, else "".
        message: The error's text, else "".
    """

    channel: str = ""
    timestamp: str = ""
    sequence_num: Annotated[int, msgspec.Meta(ge=0, le=_MAX_SEQUENCE)] | None = None
    events: list[Event] = []
    type: str = ""
    message: str = ""


_KNOWN_FIELDS: Mapping[str, frozenset[str]] = {
    "message": frozenset(Message.__struct_fields__) | {"client_id"},
    "event": frozenset(Event.__struct_encode_fields__) | {"current_time"},
    "ticker": frozenset(TickerFields.__struct_fields__) | {"type"},
}


class Decoder:
    """Decodes frames and counts what it passed over.

    Attributes:
        rejected_tickers: Tickers dropped because a value of theirs is not what the protocol allows.
        rejected: The same of candles and products; orders are judged by `orders.py`.
        empty_tickers: Tickers without any value; the exchange sends such snapshots.
        latest_date: The last date (ISO) a frame may be stamped with; a clock gone wild would otherwise make every
            later value look old.
        unknown: Names never seen in the protocol, such as "channel:foo" or "ticker.foo". Fields are looked for
            on the first frame of each kind and on every 1024th after, so their counts are sightings, not totals.
    """

    def __init__(self) -> None:
        self.rejected_tickers = self.rejected = 0
        self.empty_tickers = 0
        self.unknown: Counter[str] = Counter()
        self._decode = msgspec.json.Decoder(Message).decode
        self._countdown: dict[str, int] = {}
        self.latest_date = "9999-12-31"
        self._known_date = ""

    def decode(self, payload: bytes | memoryview) -> Message:
        """Return the frame's message; tickers in it are not yet checked (see `tickers`).

        Raises:
            MalformedFrame: Not JSON, not an object, or nested beyond reason.
        """
        try:
            message = self._decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            message = self._decode_loosely(payload)
        countdown = self._countdown.get(message.channel, 0)
        if countdown:
            self._countdown[message.channel] = countdown - 1
        else:
            self._inspect(message, payload)
        return message

    def tickers(self, message: Message) -> list[TickerFields]:
        """Return the tickers of a ticker message whose every value is sound.

        Events of a type we do not know are passed over: nobody says that their values are current.
        """
        sound: list[TickerFields] = []
        if not self._is_dated(message):
            self.rejected_tickers += sum(len(event.tickers) for event in message.events)
            return sound
        for event in message.events:
            if event.type not in _DATA_EVENTS:
                self._count(f"type:{event.type[:40]}")
                self.rejected_tickers += len(event.tickers)
                continue
            for ticker in event.tickers:
                values = "\n".join(astuple(ticker))
                if _SOUND_TICKER(f"{message.timestamp}\n{values}") is not None:
                    sound.append(ticker)
                elif astuple(ticker)[1:] == _EMPTY_TICKER:
                    self.empty_tickers += 1
                else:
                    self.rejected_tickers += 1
        return sound

    def candles(self, message: Message) -> tuple[list[CandleFields], bool]:
        """Return the candles of a message whose every value is sound, and whether they are a whole snapshot."""
        sound, rejected = [], 0
        for event in message.events:
            items = event.candles or ()
            believed = self._is_dated(message) and event.type in _DATA_EVENTS
            good = [c for c in items if is_sound_candle(c)] if believed else []
            rejected += len(items) - len(good) + event.unreadable
            sound += good
        self.rejected += rejected
        return sound, not rejected and all(event.type == "snapshot" for event in message.events)

    def products(self, message: Message) -> list[ProductFields]:
        """Return the products of a status message whose id and status can be believed."""
        sound = []
        for event in message.events:
            items = event.products or ()
            good = [p for p in items if _SOUND_PRODUCT("\n".join(astuple(p)))]
            self.rejected += len(items) - len(good) + event.unreadable
            sound += good
        return sound

    def _is_dated(self, message: Message) -> bool:
        return message.timestamp[:10] == self._known_date or self._is_date(message.timestamp[:10])

    def _is_date(self, text: str) -> bool:
        """Whether a date is in the calendar, and not after `latest_date`. Asked once a day, when dates change."""
        try:
            date.fromisoformat(text)
        except ValueError:
            return False
        if text > self.latest_date:
            return False
        self._known_date = text
        return True

    def _decode_loosely(self, payload: bytes | memoryview) -> Message:
        """Take what is well-formed out of a frame in which something has the wrong type."""
        try:
            frame = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise MalformedFrame(f"not JSON of the protocol: {type(exc).__name__}") from exc
        if not isinstance(frame, dict):
            raise MalformedFrame(f"expected an object, got {type(frame).__name__}")
        sequence = frame.get("sequence_num")
        raw_events = frame.get("events")
        return Message(
            channel=_text(frame.get("channel")),
            timestamp=_text(frame.get("timestamp")),
            sequence_num=sequence if type(sequence) is int and 0 <= sequence <= _MAX_SEQUENCE else None,
            events=[self._event(raw) for raw in raw_events if isinstance(raw, dict)]
            if isinstance(raw_events, list)
            else [],
            type=_text(frame.get("type")),
            message=_text(frame.get("message")),
        )

    def _event(self, raw: dict[str, Any]) -> Event:
        tickers, bad_tickers = _items(raw.get("tickers"), TickerFields)
        self.rejected_tickers += bad_tickers
        candles, bad_candles = _items(raw.get("candles"), CandleFields)
        products, bad_products = _items(raw.get("products"), ProductFields)
        orders, bad_orders = _items(raw.get("orders"), OrderFields)
        counter = raw.get("heartbeat_counter")
        try:
            acked = msgspec.convert(raw.get("subscriptions"), dict[str, list[str]] | None)
        except msgspec.ValidationError:
            acked = None
        return Event(
            type=_text(raw.get("type")),
            tickers=tickers,
            subscriptions=acked,
            heartbeat_counter=counter if type(counter) in (int, str) else None,
            candles=candles,
            products=products,
            orders=orders,
            unreadable=bad_candles + bad_products + bad_orders,
        )

    def _inspect(self, message: Message, payload: bytes | memoryview) -> None:
        """Look for names that the protocol page does not know; decoding passes over them without a word."""
        channel = message.channel
        if channel in CHANNELS:
            self._countdown[channel] = _INSPECT_EVERY - 1
        elif message.type != "error":
            self._count(f"channel:{channel[:40]}")
        try:
            frame = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        for level, holder in _levels(frame, channel):
            for name in holder.keys() - _KNOWN_FIELDS[level]:
                self._count(f"{level}.{name[:40]}")

    def _count(self, name: str) -> None:
        if name in self.unknown or len(self.unknown) < _MAX_UNKNOWN_NAMES:
            self.unknown[name] += 1


def _levels(frame: Any, channel: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield each object of a frame whose fields we know, with the name of its level."""
    if not isinstance(frame, dict):
        return
    yield "message", frame
    if channel not in (TICKER, HEARTBEATS, SUBSCRIPTIONS):
        return
    events = frame.get("events")
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict):
            yield "event", event
            tickers = event.get("tickers")
            for ticker in tickers if isinstance(tickers, list) else []:
                if isinstance(ticker, dict):
                    yield "ticker", ticker


def _items(raw: object, kind: type[T]) -> tuple[list[T], int]:
    """Return what of a list has the shape of `kind`, and how much has not."""
    if not isinstance(raw, list):
        return [], 0 if raw is None else 1
    good = []
    for item in raw:
        with suppress(msgspec.ValidationError):
            good.append(msgspec.convert(item, kind))
    return good, len(raw) - len(good)


def is_sound_candle(candle: CandleFields) -> bool:
    """Whether every value of a candle is one that a candle can have."""
    return _SOUND_CANDLE("\n".join(astuple(candle))) is not None


def parse_timestamp(text: str) -> float | None:
    """Return an envelope's timestamp as Unix seconds, None where it is not an RFC 3339 time in UTC."""
    try:
        return datetime.fromisoformat(text).timestamp() if text.endswith("Z") else None
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def subscribe(channel: str, product_ids: Iterable[ProductId] = (), jwt: str | None = None) -> bytes:
    """Return the subscribe message for one channel; one channel a message is a rule of the exchange."""
    return _request("subscribe", channel, product_ids, jwt)


def unsubscribe(channel: str, product_ids: Iterable[ProductId] = (), jwt: str | None = None) -> bytes:
    """Return the unsubscribe message for one channel; without product ids it drops the whole channel."""
    return _request("unsubscribe", channel, product_ids, jwt)


def _request(kind: str, channel: str, product_ids: Iterable[ProductId], jwt: str | None) -> bytes:
    # heartbeats with product ids are sent once a product (hummingbot issue 6458), so none are given there.
    request: dict[str, Any] = {"type": kind, "product_ids": list(product_ids), "channel": channel}
    return msgspec.json.encode(request | ({"jwt": jwt} if jwt is not None else {}))
