"""Hash fields to model and back: the one place that knows how a value looks in Redis. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
from msgspec.structs import astuple

from streamer.model import (
    Balance,
    Basis,
    ProductId,
    Source,
    Stamp,
    Tick,
    Ticker,
    TickerFields,
    is_product_id,
)

T = TypeVar("T")

_FIELD_NAMES = TickerFields.__struct_fields__
# What nearly all numbers look like: checked together, they cost a fraction of one by one.
_ALL_PLAIN = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?: -?[0-9]{1,30}(?:\.[0-9]{1,30})?)*", re.ASCII).fullmatch
_UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII).fullmatch

TICKER_VALUES: Final = (
    "price",
    "best_bid",
    "best_bid_quantity",
    "best_ask",
    "best_ask_quantity",
    "volume_24_h",
    "low_24_h",
    "high_24_h",
    "low_52_w",
    "high_52_w",
    "price_percent_chg_24_h",
)
"""The decimal fields of `ticker_realtime:<product_id>`, as the exchange names them."""


def ticker_record(
    product_id: ProductId,
    tick: Tick,
    *,
    suspect: bool,
    epoch: int,
    status: str | None = None,
    outlier: str | None = None,
) -> dict[str, str]:
    """Return the hash fields of a tick, all but `written_ms`, which the script takes from the clock of Redis.

    A value that the exchange left empty is absent, and so is `status` where the product is online.

    Args:
        outlier: Why the price is out of the ordinary, in words; None where it is not, or nobody knows.
    """
    record = {name: value for name, value in zip(_FIELD_NAMES, astuple(tick.fields), strict=True) if value}
    record["product_id"] = product_id
    record["time"] = tick.time
    record["received_ms"] = str(int(tick.received_s * 1000))
    record["feed"] = tick.stamp.feed
    record["connection"] = str(tick.stamp.connection)
    record["sequence"] = str(tick.sequence)
    record["epoch"] = str(epoch)
    record["source"] = tick.stamp.source.value
    if suspect:
        record["suspect"] = "1"
    if tick.alias_of is not None:
        record["alias_of"] = tick.alias_of
    if status is not None:
        record["status"] = status
    if outlier is not None:
        record["outlier"], record["outlier_why"] = "1", outlier
    return record


def balance_record(
    currency: str,
    *,
    available: Decimal,
    hold: Decimal,
    total: Decimal,
    basis: Basis,
    suspect: bool,
    account_uuid: str | None,
    time: str,
    received_s: float,
    stamp: Stamp,
    epoch: int,
) -> dict[str, str]:
    """Return the hash fields of a balance, all but `written_ms`, which the script takes from the clock of Redis."""
    record = {
        "currency": currency,
        "available": f"{available:f}",
        "hold": f"{hold:f}",
        "total": f"{total:f}",
        "basis": basis.value,
        "time": time,
        "received_ms": str(int(received_s * 1000)),
        "feed": stamp.feed,
        "connection": str(stamp.connection),
        "epoch": str(epoch),
        "source": stamp.source.value,
    }
    if account_uuid is not None:
        record["account_uuid"] = account_uuid
    if suspect:
        record["suspect"] = "1"
    return record


class StoredTicker:
    """A ticker hash as read from Redis, with what a reader needs to judge it.

    Attributes:
        ticker: The values.
        feed: Feed id, a field of `stream:feeds`.
        connection: Which connection of that feed wrote it.
        sequence: Of its frame, within that connection.
        epoch: Fencing epoch of its writer.
        received_ms: Clock of the ingester when the value reached it.
        written_ms: Clock of Redis at the last write; a value is also written to renew it.
        suspect: Between a sequence gap and its healing.
        outlier: Why its price is out of the ordinary, in words; None where it is not.
    """

    __slots__ = (
        "connection",
        "epoch",
        "feed",
        "outlier",
        "received_ms",
        "sequence",
        "source",
        "suspect",
        "ticker",
        "written_ms",
    )

    def __init__(self, fields: Mapping[str, str]) -> None:
        """Parse hash fields.

        Raises:
            ValueError: A field is missing or not what the schema says: foreign or damaged data.
        """
        try:
            self.feed = fields["feed"]
            self.connection = parse_count(fields["connection"])
            self.sequence = parse_count(fields["sequence"])
            self.epoch = parse_count(fields["epoch"])
            self.received_ms = parse_count(fields["received_ms"])
            self.written_ms = parse_count(fields["written_ms"])
            self.source = Source(fields["source"])
            self.suspect = fields.get("suspect") == "1"
            is_outlier = fields.get("outlier") == "1"
            self.outlier = fields.get("outlier_why", "the price is an outlier") if is_outlier else None
            self.ticker = _ticker(fields)
        except KeyError as exc:
            raise ValueError(f"field {exc} is missing") from exc


class StoredBalance:
    """A balance hash as read from Redis, with what a reader needs to judge it.

    Attributes:
        balance: The values.
        feed: Feed id, a field of `stream:feeds`.
        connection: Which connection of that feed vouches for it.
        epoch: Fencing epoch of its writer.
        received_ms: Clock of the ingester when it learned of the value.
        written_ms: Clock of Redis at the last write; a value is also written to renew it.
        suspect: Order updates may have been lost since REST last told.
    """

    __slots__ = ("balance", "connection", "epoch", "feed", "received_ms", "source", "suspect", "written_ms")

    def __init__(self, fields: Mapping[str, str]) -> None:
        """Parse hash fields.

        Raises:
            ValueError: A field is missing or not what the schema says: foreign or damaged data.
        """
        try:
            self.feed = fields["feed"]
            self.connection = parse_count(fields["connection"])
            self.epoch = parse_count(fields["epoch"])
            self.received_ms = parse_count(fields["received_ms"])
            self.written_ms = parse_count(fields["written_ms"])
            self.source = Source(fields["source"])
            self.suspect = fields.get("suspect") == "1"
            if not is_product_id(fields["currency"]):  # one rule for all ids
                raise ValueError(f"{fields['currency'][:40]!r} is not a currency")
            self.balance = Balance(
                currency=fields["currency"],
                available=parse_decimal(fields["available"]),
                hold=parse_decimal(fields["hold"]),
                total=parse_decimal(fields["total"]),
                basis=Basis(fields["basis"]),
                time=parse_time(fields["time"]),
                account_uuid=fields.get("account_uuid"),
            )
        except KeyError as exc:
            raise ValueError(f"field {exc} is missing") from exc


def _ticker(fields: Mapping[str, str]) -> Ticker:
    alias_of = fields.get("alias_of")
    for name in (fields["product_id"], *([alias_of] if alias_of else [])):
        if not is_product_id(name):
            raise ValueError(f"{name!r} is not a product id")
    texts = {name: text for name in TICKER_VALUES if (text := fields.get(name)) is not None}
    together = " ".join(texts.values())
    are_plain = together.count(" ") == len(texts) - 1 and _ALL_PLAIN(together)
    parse = Decimal if are_plain else parse_decimal
    values = {name: parse(text) for name, text in texts.items()}
    return Ticker(
        product_id=ProductId(fields["product_id"]),
        price=values.pop("price"),
        time=parse_time(fields["time"]),
        alias_of=ProductId(alias_of) if alias_of else None,
        status=fields.get("status"),
        **values,
    )


def parse_json(raw: bytes | str, kind: type[T]) -> T | None:
    """Return JSON from Redis as `kind`, None where it is not that: anyone may have written there."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def parse_count(text: str) -> int:
    """Return a whole number of at most 18 digits, such as an epoch or a time in ms.

    Raises:
        ValueError: Anything else that `int` would take, or that would overflow later.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def parse_decimal(text: str) -> Decimal:
    """Return a decimal from plain digits.

    Raises:
        ValueError: Anything else that `Decimal` would take ("NaN", "1e9", "1_000") or choke on.
    """
    digits = text.removeprefix("-").replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 64):
        raise ValueError(f"{text[:40]!r} is not a decimal number")
    return Decimal(text)


def parse_time(text: str) -> datetime:
    """Return an RFC 3339 time; `datetime` holds microseconds, further digits are cut.

    Raises:
        ValueError: Not an RFC 3339 time in UTC.
    """
    if _UTC_TIME(text) is None:
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 time in UTC")
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")
