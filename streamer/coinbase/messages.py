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
from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from streamer.errors import MalformedFrame
from streamer.model import ProductId, TickerFields

HEARTBEATS = "heartbeats"
TICKER = "ticker"
SUBSCRIPTIONS = "subscriptions"
CHANNELS = frozenset(
    {
        HEARTBEATS,
        TICKER,
        SUBSCRIPTIONS,
        "ticker_batch",
        "candles",
        "market_trades",
        "status",
        "l2_data",
        "user",
    }
    | {"futures_balance_summary"}
)

_TICKER_EVENTS = ("update", "snapshot")
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


class Event(msgspec.Struct, gc=False):
    """One element of `events`. Only the fields of its channel are set."""

    type: str = ""
    tickers: list[TickerFields] = []
    subscriptions: dict[str, list[str]] | None = None
    heartbeat_counter: int | str | None = None


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
    "event": frozenset(Event.__struct_fields__) | {"current_time"},
    "ticker": frozenset(TickerFields.__struct_fields__) | {"type"},
}


class Decoder:
    """Decodes frames and counts what it passed over.

    Attributes:
        rejected_tickers: Tickers dropped because a value of theirs is not what the protocol allows.
        empty_tickers: Tickers without any value; the exchange sends such snapshots.
        latest_date: The last date (ISO) a frame may be stamped with; a clock gone wild would otherwise make every
            later value look old.
        unknown: Names never seen in the protocol, such as "channel:foo" or "ticker.foo". Fields are looked for
            on the first frame of each kind and on every 1024th after, so their counts are sightings, not totals.
    """

    def __init__(self) -> None:
        self.rejected_tickers = 0
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
        if message.timestamp[:10] != self._known_date and not self._is_date(message.timestamp[:10]):
            self.rejected_tickers += sum(len(event.tickers) for event in message.events)
            return sound
        for event in message.events:
            if event.type not in _TICKER_EVENTS:
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
        raw_tickers = raw.get("tickers")
        tickers = []
        for item in raw_tickers if isinstance(raw_tickers, list) else []:
            try:
                tickers.append(msgspec.convert(item, TickerFields))
            except msgspec.ValidationError:
                self.rejected_tickers += 1
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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def subscribe(channel: str, product_ids: Iterable[ProductId] = ()) -> bytes:
    """Return the subscribe message for one channel; one channel a message is a rule of the exchange."""
    return _request("subscribe", channel, product_ids)


def unsubscribe(channel: str, product_ids: Iterable[ProductId] = ()) -> bytes:
    """Return the unsubscribe message for one channel; without product ids it drops the whole channel."""
    return _request("unsubscribe", channel, product_ids)


def _request(kind: str, channel: str, product_ids: Iterable[ProductId]) -> bytes:
    # heartbeats with product ids are sent once a product (hummingbot issue 6458), so none are given there.
    return msgspec.json.encode({"type": kind, "product_ids": list(product_ids), "channel": channel})
