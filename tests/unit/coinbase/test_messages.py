"""What is taken off the wire, what is refused, and what is said to the exchange."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamer.coinbase.messages import Decoder, Message, subscribe, unsubscribe
from streamer.errors import MalformedFrame
from streamer.model import ProductId

DATA = Path(__file__).parents[2] / "data"
RECEIVED = sorted(path.stem for path in DATA.glob("ws_*.json") if not path.stem.startswith("ws_send_"))
BTC, ETH = ProductId("BTC-USD"), ProductId("ETH-USD")

NO_NUMBERS = [
    "NaN",
    "nan",
    "-NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "inf",
    "1e999999999999999999",
    "1e5",
    "1E-5",
    "1_000",
    "1,000",
    "0x10",
    "\uff11\uff12",
    "1\uff12",
    "\u0663\u0664",
    "\xb2",
    " ",
    " 1",
    "1 ",
    "\t1",
    "1\xa0",
    "1\u2028",
    "1.",
    ".5",
    ".",
    "-",
    "+1",
    "--1",
    "1.2.3",
    "1" * 31,
    "0." + "1" * 31,
    "1\n2",
    "1\n",
    "\n1",
    "1\0",
    "\0",
    "null",
    "9" * 5000,
]
SIGNED = "price_percent_chg_24_h"


def sample(name: str) -> bytes:
    """The bytes of a recorded or documented frame."""
    return (DATA / f"{name}.json").read_bytes()


def ticker(product_id: str = BTC, **values: Any) -> dict[str, Any]:
    """One ticker as the exchange sends it."""
    return {"type": "ticker", "product_id": product_id, "price": "84210.37"} | values


def frame(*tickers: Any, **envelope: Any) -> bytes:
    """A ticker frame that is sound but for what is given."""
    sound = {
        "channel": "ticker",
        "client_id": "",
        "timestamp": "2026-11-20T15:04:06.101204319Z",
        "sequence_num": 2,
        "events": [{"type": "update", "tickers": list(tickers)}],
    }
    return json.dumps(sound | envelope).encode()


def kept(decoder: Decoder, payload: bytes) -> list[str]:
    """The product ids of the tickers that a frame yields."""
    return [fields.product_id for fields in decoder.tickers(decoder.decode(payload))]


# -- samples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECEIVED)
def test_every_sample_decodes(name: str) -> None:
    """Each documented frame keeps its envelope and holds nothing unknown."""
    payload, decoder = sample(name), Decoder()
    raw = json.loads(payload)
    message = decoder.decode(payload)
    assert message.channel == raw.get("channel", "")
    assert message.timestamp == raw.get("timestamp", "")
    assert message.sequence_num == raw.get("sequence_num")
    assert message.type == raw.get("type", "")
    assert message.message == raw.get("message", "")
    assert len(message.events) == len(raw.get("events", []))
    assert not decoder.unknown


@pytest.mark.parametrize("name", RECEIVED)
def test_client_id_makes_no_difference(name: str) -> None:
    """A frame decodes alike with and without `client_id`."""
    raw = json.loads(sample(name))
    without = {key: value for key, value in raw.items() if key != "client_id"}
    decoder = Decoder()
    one, other = (decoder.decode(json.dumps(each).encode()) for each in (without, without | {"client_id": "x"}))
    assert one == other
    assert not decoder.unknown


def test_ticker_sample_keeps_its_strings() -> None:
    """Prices stay the decimal strings the exchange sent."""
    decoder = Decoder()
    [fields] = decoder.tickers(decoder.decode(sample("ws_ticker_update")))
    raw = json.loads(sample("ws_ticker_update"))["events"][0]["tickers"][0]
    assert {name: getattr(fields, name) for name in raw if name != "type"} == {
        name: value for name, value in raw.items() if name != "type"
    }


def test_memoryview_is_as_good_as_bytes() -> None:
    """A transport may hand over a view instead of a copy."""
    decoder, payload = Decoder(), sample("ws_ticker_snapshot")
    assert decoder.decode(memoryview(payload)) == decoder.decode(payload)


def test_acknowledgement_and_heartbeat_are_read() -> None:
    """Subscriptions come as channel to products, heartbeats with their counter."""
    decoder = Decoder()
    ack = decoder.decode(sample("ws_subscriptions_ticker")).events[0].subscriptions
    assert ack == {"heartbeats": ["heartbeats"], "ticker": ["BTC-USD", "ETH-USD"]}
    assert decoder.decode(sample("ws_subscriptions_empty")).events[0].subscriptions == {}
    assert decoder.decode(sample("ws_heartbeats")).events[0].heartbeat_counter == 66987


def test_empty_snapshot_is_empty_not_rejected() -> None:
    """The snapshot without values that the exchange sends is counted as what it is."""
    decoder = Decoder()
    assert kept(decoder, sample("ws_ticker_empty_snapshot")) == []
    assert (decoder.empty_tickers, decoder.rejected_tickers) == (1, 0)


def test_empty_ticker_with_a_name_is_empty_too() -> None:
    """A product without any value is empty, and its sibling is kept."""
    decoder = Decoder()
    assert kept(decoder, frame(ticker(price=""), ticker(ETH))) == [ETH]
    assert (decoder.empty_tickers, decoder.rejected_tickers) == (1, 0)


def test_several_events_are_all_read() -> None:
    """Tickers of every event of a frame come out, in order."""
    events = [{"type": "update", "tickers": [ticker(BTC)]}, {"type": "update", "tickers": [ticker(ETH)]}]
    assert kept(Decoder(), frame(events=events)) == [BTC, ETH]


# -- unknown names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b'{"channel":"l3_data","sequence_num":1,"events":[]}', "channel:l3_data"),
        (b'{"channel":1,"sequence_num":1}', "channel:"),
        (frame(ticker(), colour="red"), "message.colour"),
        (frame(events=[{"type": "update", "tickers": [], "colour": 1}]), "event.colour"),
        (frame(ticker(colour="red")), "ticker.colour"),
        (b'{"channel":"heartbeats","events":[{"heartbeat_counter":1,"mood":1}]}', "event.mood"),
    ],
)
def test_unknown_names_are_counted_and_passed_over(payload: bytes, name: str) -> None:
    """A channel, field or type we do not know is counted under its name and stops nothing."""
    decoder = Decoder()
    decoder.decode(payload)
    assert decoder.unknown == {name: 1}


def test_ticker_with_unknown_fields_is_kept() -> None:
    """New fields in the protocol cost no value."""
    events = [{"type": "update", "tickers": [ticker(colour="red")], "colour": 1}]
    assert kept(Decoder(), frame(events=events, colour=[{}])) == [BTC]


def test_event_of_unknown_type_is_counted_and_passed_over() -> None:
    """Nobody says that its values are current; the event beside it is taken."""
    events = [{"type": "delta", "tickers": [ticker()]}, {"type": "update", "tickers": [ticker()]}]
    decoder = Decoder()
    assert kept(decoder, frame(events=events)) == [BTC]
    assert decoder.unknown["type:delta"] == 1
    assert decoder.rejected_tickers == 1


def test_error_frames_are_no_unknown_channel() -> None:
    """An error carries neither channel nor number, and is known."""
    decoder = Decoder()
    message = decoder.decode(sample("ws_error_auth"))
    assert (message.type, message.message) == ("error", "authentication failure")
    assert (message.sequence_num, message.events) == (None, [])
    assert not decoder.unknown


def test_fields_are_looked_for_on_the_first_and_every_1024th_frame() -> None:
    """A field that appears later is still found, without a look at every frame."""
    decoder = Decoder()
    decoder.decode(frame(ticker()))
    for _ in range(1023):
        decoder.decode(frame(ticker(late="x")))
    assert not decoder.unknown
    decoder.decode(frame(ticker(late="x")))
    assert decoder.unknown == {"ticker.late": 1}


def test_unknown_names_are_bounded() -> None:
    """A peer that makes up names fills neither memory nor the status."""
    decoder = Decoder()
    for number in range(300):
        decoder.decode(json.dumps({"channel": f"{number:03}" + "x" * 1000}).encode())
    assert len(decoder.unknown) == 100
    assert max(map(len, decoder.unknown)) <= 48


# -- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["price", "best_bid", "best_ask_quantity", "volume_24_h", SIGNED])
@pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: ascii(text)[:24])
def test_what_is_no_number_is_refused_alone(field: str, text: str) -> None:
    """A value that is not plain digits costs its ticker, not the sibling in the same frame."""
    decoder = Decoder()
    assert kept(decoder, frame(ticker(**{field: text}), ticker(ETH))) == [ETH]
    assert (decoder.rejected_tickers, decoder.empty_tickers) == (1, 0)


@pytest.mark.parametrize("text", ["", "0", "0.0", "000", "0.00000000", "-1", "-0.5", "-0"])
def test_price_must_be_positive(text: str) -> None:
    """A price of nothing, zero or less is no price; the sibling is kept."""
    decoder = Decoder()
    assert kept(decoder, frame(ticker(price=text, best_bid="1"), ticker(ETH))) == [ETH]
    assert (decoder.rejected_tickers, decoder.empty_tickers) == (1, 0)


@pytest.mark.parametrize("text", ["1", "0.1", "0.00000001", "00012.50", "1" * 30, "1" * 30 + "." + "1" * 30])
def test_plain_digits_are_a_price(text: str) -> None:
    """Up to 30 digits on each side of the point are taken."""
    decoder = Decoder()
    assert kept(decoder, frame(ticker(price=text), ticker(ETH))) == [BTC, ETH]
    assert decoder.rejected_tickers == 0


@pytest.mark.parametrize("field", ["best_bid", "best_bid_quantity", "volume_24_h", "low_52_w", SIGNED])
@pytest.mark.parametrize("text", ["", "0", "0.00"])
def test_other_values_may_be_empty_or_zero(field: str, text: str) -> None:
    """A product without a bid or without volume still has a price."""
    assert kept(Decoder(), frame(ticker(**{field: text}))) == [BTC]


@pytest.mark.parametrize("field", ["best_bid", "best_ask", "volume_24_h", "high_24_h"])
def test_only_the_change_may_be_negative(field: str) -> None:
    """A minus belongs to the 24 h change and to nothing else."""
    assert kept(Decoder(), frame(ticker(**{field: "-1"}))) == []
    assert kept(Decoder(), frame(ticker(**{SIGNED: "-0.84213377190458"}))) == [BTC]


@pytest.mark.parametrize(
    "product_id",
    [
        "",
        "btc-usd",
        "BTC/USD",
        "-BTC",
        "BTC USD",
        "BTC-USD\n",
        "BTC-USD\0",
        "\uff22TC-USD",
        "B" * 33,
        "BTC-USD:stale",
        "*",
    ],
)
def test_ids_that_may_not_become_keys_are_refused(product_id: str) -> None:
    """What breaks the rule of the Redis contract goes no further."""
    decoder = Decoder()
    assert kept(decoder, frame(ticker(product_id), ticker(ETH))) == [ETH]
    assert decoder.rejected_tickers == 1


@pytest.mark.parametrize("value", [None, 84210, 84210.5, True, ["84210"], {"v": "84210"}], ids=repr)
@pytest.mark.parametrize("field", ["product_id", "price", "best_ask", SIGNED])
def test_value_of_a_wrong_type_is_refused_alone(field: str, value: object) -> None:
    """Null, a number or a list in one ticker costs that ticker and counts it; the frame goes on."""
    decoder = Decoder()
    payload = frame(ticker() | {field: value}, ticker(ETH))
    message = decoder.decode(payload)
    assert [fields.product_id for fields in decoder.tickers(message)] == [ETH]
    assert (decoder.rejected_tickers, decoder.empty_tickers) == (1, 0)
    assert (message.channel, message.sequence_num) == ("ticker", 2)
    assert message.timestamp == json.loads(payload)["timestamp"]


@pytest.mark.parametrize("odd", [None, 5, "x", [], {"type": 5, "tickers": 7}, {"tickers": {"a": 1}}], ids=repr)
def test_odd_event_costs_no_sibling(odd: object) -> None:
    """An element of `events` that is none leaves the others."""
    assert kept(Decoder(), frame(events=[odd, {"type": "update", "tickers": [ticker()]}])) == [BTC]


@pytest.mark.parametrize("odd", [None, 5, "x", []], ids=repr)
def test_odd_ticker_is_counted(odd: object) -> None:
    """An element of `tickers` that is none is counted as rejected."""
    decoder = Decoder()
    assert kept(decoder, frame(odd, ticker())) == [BTC]
    assert decoder.rejected_tickers == 1


@pytest.mark.parametrize("events", [None, 5, "x", {}], ids=repr)
def test_events_that_are_no_list_are_none(events: object) -> None:
    """The envelope stays usable: its number still counts for the sequence."""
    message = Decoder().decode(frame(events=events))
    assert (message.sequence_num, message.events) == (2, [])


def test_damaged_acknowledgement_acknowledges_nothing() -> None:
    """An ack of a wrong shape is passed over, not believed in part."""
    payload = b'{"channel":"subscriptions","sequence_num":1,"events":[{"subscriptions":{"ticker":["BTC-USD",1]}}]}'
    assert Decoder().decode(payload).events[0].subscriptions is None


# -- times ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", range(10))
def test_times_with_up_to_nine_decimals_are_taken(decimals: int) -> None:
    """The exchange trims trailing zeros, so any number of decimals is a time."""
    fraction = "." + "1" * decimals if decimals else ""
    assert kept(Decoder(), frame(ticker(), timestamp=f"2026-11-20T15:04:06{fraction}Z")) == [BTC]


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "2026-11-20T15:04:06",
        "2026-11-20T15:04:06.123",
        "2026-11-20T15:04:06+00:00",
        "2026-11-20T15:04:06.1+01:00",
        "2026-11-20T15:04:06z",
        "2026-11-20 15:04:06Z",
        "2026-11-20T15:04:06.Z",
        "2026-11-20T15:04:06,5Z",
        "2026-11-20T15:04:06.1234567890Z",
        "2026-11-20T15:04Z",
        "2026-11-20Z",
        "\uff12026-11-20T15:04:06Z",
        "2026-11-20T15:04:06Z\n",
        "1795186800",
        None,
        1795186800,
    ],
    ids=repr,
)
def test_other_times_are_refused(timestamp: object) -> None:
    """Without an exact time in UTC nobody could tell how old a value is."""
    decoder = Decoder()
    assert kept(decoder, frame(ticker(), ticker(ETH), timestamp=timestamp)) == []
    assert decoder.rejected_tickers == 2


# -- sequence numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [None, "3", True, 3.5, [3], {}], ids=repr)
def test_what_is_no_sequence_number_is_none(number: object) -> None:
    """Only an integer counts; the rest of the frame is still read."""
    decoder = Decoder()
    message = decoder.decode(frame(ticker(), sequence_num=number))
    assert message.sequence_num is None
    assert [fields.product_id for fields in decoder.tickers(message)] == [BTC]


def test_missing_sequence_number_is_none() -> None:
    """A frame without a number is unnumbered, not number 0."""
    assert Decoder().decode(b'{"channel":"heartbeats","events":[]}').sequence_num is None


def test_sequence_number_of_5000_digits_is_malformed() -> None:
    """A number that no machine counts to takes nothing down."""
    with pytest.raises(MalformedFrame):
        Decoder().decode(b'{"channel":"ticker","sequence_num":' + b"9" * 5000 + b',"events":[]}')


# -- not the protocol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"\0",
        b"hello",
        b"<html></html>",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b'{"channel":"ticker"',
        b'{"channel":"ticker"} {}',
        b'{"sequence_num":NaN}',
        b"[" * 10**5,
        b"[" * 10**5 + b"]" * 10**5,
        b'{"events":' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"other":' + b'{"a":' * 10**5 + b"1" + b"}" * 10**5 + b"}",
        b"\xff\xfe",
        b'{"channel":"\xff"}',
        b'{"channel":"\xed\xa0\x80"}',
        b'{"channel":"\\ud800"}',
        '{"channel":"ticker"}'.encode("utf-16"),
    ],
    ids=lambda payload: ascii(payload)[:32],
)
def test_what_is_not_the_protocol_is_malformed(payload: bytes) -> None:
    """Not JSON, not an object, nested beyond reason or not UTF-8: one error, whatever the library raises."""
    decoder = Decoder()
    with pytest.raises(MalformedFrame):
        decoder.decode(payload)
    assert not decoder.unknown


def test_error_of_a_malformed_frame_does_not_quote_it() -> None:
    """Bytes from outside do not reach a log line."""
    with pytest.raises(MalformedFrame) as caught:
        Decoder().decode(b"secret garbage")
    assert "secret" not in str(caught.value)


def test_decoder_goes_on_after_garbage() -> None:
    """A malformed frame leaves no trace in the next."""
    decoder = Decoder()
    for payload in (b"[" * 10**5, b"\xff"):
        with pytest.raises(MalformedFrame):
            decoder.decode(payload)
    assert kept(decoder, frame(ticker())) == [BTC]


def test_messages_do_not_share_their_lists() -> None:
    """A default list belongs to one message."""
    one, other = Message(), Message()
    assert one.events is not other.events


# -- what we say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (subscribe("ticker", [BTC, ETH]), "ws_send_subscribe_ticker"),
        (unsubscribe("ticker", [ETH]), "ws_send_unsubscribe_ticker"),
    ],
)
def test_requests_equal_the_samples(message: bytes, name: str) -> None:
    """What we send is what the documentation shows."""
    assert json.loads(message) == json.loads(sample(name))


def test_heartbeats_are_asked_for_without_products() -> None:
    """As the sample, but for the empty list that the SDK sends as well: no heartbeat a product."""
    expected = json.loads(sample("ws_send_subscribe_heartbeats")) | {"product_ids": []}
    assert json.loads(subscribe("heartbeats")) == expected


def test_unsubscribe_without_products_drops_the_channel() -> None:
    """No product ids means all of the channel."""
    assert json.loads(unsubscribe("ticker")) == {"type": "unsubscribe", "product_ids": [], "channel": "ticker"}


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-19-39T29:59:69Z",
        "2026-02-30T00:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T15:04:60Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_time_outside_the_calendar_is_refused(timestamp: str) -> None:
    """The reader would refuse it, and then both the hash and its shadow would be unreadable."""
    ticker = {"product_id": "BTC-USD", "price": "1"}
    events = [{"type": "update", "tickers": [ticker]}]
    frame = {"channel": "ticker", "timestamp": timestamp, "sequence_num": 1, "events": events}
    decoder = Decoder()
    assert decoder.tickers(decoder.decode(json.dumps(frame).encode())) == []
    assert decoder.rejected_tickers == 1


@pytest.mark.parametrize("number", ["-1", "100000000000000000000000", "9007199254740993"])
def test_sequence_beyond_reason_is_none(number: str) -> None:
    """Redis' Lua and JSON readers cannot count so far; it once ended the ingester at its report."""
    payload = b'{"channel":"ticker","sequence_num":' + number.encode() + b',"events":[]}'
    assert Decoder().decode(payload).sequence_num is None


def test_frame_from_the_future_is_refused() -> None:
    """Taken once, it would make every later value of its product look old."""
    decoder = Decoder()
    decoder.latest_date = "2026-11-21"
    kept_today = kept(decoder, frame(ticker(), timestamp="2026-11-21T00:00:00Z"))
    kept_later = kept(decoder, frame(ticker(), timestamp="2026-11-22T00:00:00Z"))
    assert (kept_today, kept_later) == ([BTC], [])
    assert decoder.rejected_tickers == 1
