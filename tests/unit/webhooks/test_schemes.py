"""What each scheme takes and what it refuses, beyond the samples."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import pytest

from streamer.webhooks.delivery import TOLERANCE_S, Posted, Reason, Refused
from streamer.webhooks.schemes import parse_secrets
from tests.unit.webhooks.rig import BODIES, ID, NOW_S, OTHER_SECRETS, SECRETS, Signed, sender_of, signed

PROVIDERS = list(SECRETS)
WITH_SIGNATURE = [provider for provider in PROVIDERS if provider != "tradingview"]
STAMPS = {"binance": "webhook-timestamp", "coingecko": "x-cg-timestamp"}


def refused(provider: str, sent: Signed, now_s: float = NOW_S, remote: str | None = None) -> Reason:
    """Return why a delivery is refused."""
    posted = sent.posted() if remote is None else sent.posted(remote)
    with pytest.raises(Refused) as caught:
        sender_of(provider).verify(posted, now_s)
    return caught.value.reason


# -- all schemes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_signed_is_taken(provider: str) -> None:
    """With its id, its time, its kind and its data."""
    delivery = sender_of(provider).verify(signed(provider).posted(), NOW_S)
    assert ID in delivery.id
    assert delivery.timestamp_s == NOW_S
    assert delivery.type in ("price.updated", "cg.coin.price.moved", "onchain.activity.detected", "alert")
    assert delivery.data


@pytest.mark.parametrize("provider", PROVIDERS)
def test_either_of_two_secrets_will_do(provider: str) -> None:
    """While a secret is changed, what is signed with the old or the new one is taken; a third one is not."""
    new, old = OTHER_SECRETS[provider], SECRETS[provider]
    sender = sender_of(provider, new, old)
    for secret in (new, old):
        assert sender.verify(signed(provider, secret).posted(), NOW_S).timestamp_s == NOW_S
    with pytest.raises(Refused, match=r"signature|token"):
        sender_of(provider, new).verify(signed(provider, old).posted(), NOW_S)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_a_secret_nothing_is_taken(provider: str) -> None:
    """No key is no proof."""
    with pytest.raises(Refused, match=r"signature|token"):
        sender_of(provider).scheme.verify(signed(provider).posted(), (), NOW_S)


@pytest.mark.parametrize("provider", WITH_SIGNATURE)
@pytest.mark.parametrize(
    ("off_s", "reason"),
    [
        (TOLERANCE_S, None),
        (-TOLERANCE_S, None),
        (TOLERANCE_S + 1, Reason.TOO_NEW),
        (-TOLERANCE_S - 1, Reason.TOO_OLD),
        (10**11, Reason.TOO_NEW),
    ],
)
def test_the_window_is_as_wide_either_way(provider: str, off_s: int, reason: Reason | None) -> None:
    """At 300 s it is still open; beyond, it is said on which side."""
    sent = signed(provider, at_s=NOW_S + off_s)
    if reason is None:
        assert sender_of(provider).verify(sent.posted(), NOW_S).timestamp_s == NOW_S + off_s
    else:
        assert refused(provider, sent) is reason


STRANGE = ["", "1795186805.9", "+1795186805", "-1", " 1795186805", "1_795", "0x6b", "١٧٩٥", "1e9", "9" * 13, "nan"]


@pytest.mark.parametrize("provider", WITH_SIGNATURE)
@pytest.mark.parametrize("stamp", STRANGE)
def test_a_timestamp_is_digits_only(provider: str, stamp: str) -> None:
    """Also where the sender has signed it: what reads it in two ways could be replayed."""
    try:
        sent = signed(provider, at_s=stamp)
    except UnicodeEncodeError:
        name = STAMPS.get(provider)
        sent = signed(provider).changed(**{name.replace("-", "_"): stamp} if name else {"x_hook0_signature": stamp})
        assert refused(provider, sent) in (Reason.TIMESTAMP, Reason.V1_REQUIRED)
        return
    assert refused(provider, sent) is Reason.TIMESTAMP


@pytest.mark.parametrize("provider", WITH_SIGNATURE)
def test_a_header_that_is_missing_or_repeated_is_refused(provider: str) -> None:
    """Each that the scheme reads must be there once: of two, something on the way may have read the other one."""
    sent = signed(provider)
    for name, value in sent.headers:
        if name == "content-type" and provider != "coinbase":
            continue
        without = sent.changed(**{name.replace("-", "_"): None})
        assert refused(provider, without) is Reason.MISSING_HEADER, name
        twice = Signed((*sent.headers, (name, value)), sent.body)
        assert refused(provider, twice) is Reason.REPEATED_HEADER, name


@pytest.mark.parametrize("provider", WITH_SIGNATURE)
@pytest.mark.parametrize("id_", ["", "a b", "a{", "x" * 129, "\u00e9", "a\x00", 'a"'])
def test_an_id_is_plain(provider: str, id_: str) -> None:
    """It becomes part of a key and of a signed text; also of a sender who signs it so."""
    sent = signed(provider, id_=id_)
    reasons = (Reason.ID, Reason.COVERED_HEADERS) if provider == "coinbase" else (Reason.ID,)
    assert refused(provider, sent) in reasons


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b'"x"', b"\xff", b"[" * 60_000, b"NaN", b"1" * 9999],
)
def test_a_signed_body_that_is_no_object_is_malformed(provider: str, body: bytes) -> None:
    """And never another error; without a signature nobody is told so much."""
    reason = refused(provider, signed(provider, body=body))
    assert reason is (Reason.NO_TOKEN if provider == "tradingview" else Reason.MALFORMED)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("binance", {"type": "price.updated"}),
        ("binance", {"data": {}}),
        ("binance", {"type": 7, "data": {}}),
        ("binance", {"type": "a b", "data": {}}),
        ("binance", {"type": "x" * 129, "data": {}}),
        ("binance", {"type": "price.updated", "data": []}),
        ("coingecko", {"type": "cg.coin.listed", "data": {}}),
        ("coingecko", {"event_type": "cg.coin.listed", "data": None}),
        ("tradingview", {"time": "2026-11-20T15:00:00Z"}),
        ("tradingview", BODIES["tradingview"] | {"time": 5}),
        ("tradingview", BODIES["tradingview"] | {"symbol": "A B"}),
        ("tradingview", BODIES["tradingview"] | {"timenow": "now"}),
    ],
)
def test_what_is_proved_and_no_event_is_malformed(provider: str, body: object) -> None:
    """Its sender is told what is missing."""
    assert refused(provider, signed(provider, body=json.dumps(body).encode())) is Reason.MALFORMED


# -- each of its own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", "AQgw")
def test_base64_is_taken_in_the_one_right_way_only(last: str) -> None:
    """Sixteen letters before the padding stand for the same bytes; only one of them is how it is written."""
    sent = signed("binance")
    right = dict(sent.headers)["webhook-signature"]
    index = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".index(right[-2])
    other = right[:-2] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[index | 1] + "="
    assert base64.b64decode(other[3:]) == base64.b64decode(right[3:])
    assert refused("binance", sent.changed(webhook_signature=other)) is Reason.SIGNATURE
    assert refused("binance", sent.changed(webhook_signature=right[:-2] + last + "!")) is Reason.SIGNATURE


@pytest.mark.parametrize(
    "form", ["v1a,{}", "v2,{}", "v1{}", "v1,{},", "v1,,{}", ",{}", "V1,{}", "v1, {}", "v1\t,{}"]
)
def test_only_v1_counts(form: str) -> None:
    """A right signature under another version, or written otherwise, is none; beside a right one it is harmless."""
    sent = signed("binance")
    right = dict(sent.headers)["webhook-signature"]
    odd = form.format(right.removeprefix("v1,"))
    assert refused("binance", sent.changed(webhook_signature=odd)) is Reason.SIGNATURE
    both = sent.changed(webhook_signature=f"{odd} {right}")
    assert sender_of("binance").verify(both.posted(), NOW_S).id == ID


@pytest.mark.parametrize("secret", ["0123456789abcdef" * 2, SECRETS["binance"][6:]])
def test_a_secret_of_coingecko_is_not_decoded(secret: str) -> None:
    """Signed with anything but the text as it stands is signed with another key."""
    assert refused("coingecko", signed("coingecko", secret)) is Reason.SIGNATURE


def test_hexadecimal_is_in_small_letters() -> None:
    """As all three vendors write it: capitals, spaces and a sign before it are no signature."""
    sent = signed("coingecko")
    right = dict(sent.headers)["x-cg-signature"]
    for odd in (right.upper(), f" {right}", f"{right} ", right[:-1], f"{right}00", f"0x{right}", "\u0660" * 64):
        assert refused("coingecko", sent.changed(x_cg_signature=odd)) is Reason.SIGNATURE


LESS = [
    "",
    "x-event-id x-event-type",
    "content-type x-event-id",
    "content-type x-event-id x-event-type x-event-type",
    "content-type  x-event-id x-event-type",
    "Content-Type x-event-id x-event-type",
    "content-type x-event-id x-event-type x.y",
]


@pytest.mark.parametrize("names", LESS)
def test_hook0_must_cover_three_headers_once(names: str) -> None:
    """Also of a sender who signs less: what is not covered could be changed on the way."""
    assert refused("coinbase", signed("coinbase", names=names)) is Reason.COVERED_HEADERS


def test_hook0_may_cover_more() -> None:
    """Names in any order, as long as they are there."""
    sent = signed("coinbase", names="x-event-type x-more content-type x-event-id", x_more="m")
    assert sender_of("coinbase").verify(sent.posted(), NOW_S).type == "onchain.activity.detected"
    assert refused("coinbase", sent.changed(x_more=None)) is Reason.MISSING_HEADER
    assert refused("coinbase", sent.changed(x_more="n")) is Reason.SIGNATURE


def test_hook0_cannot_be_cut_anew() -> None:
    """The signed text joins values with points: the same text with another id under it is not taken for it."""
    sent = signed("coinbase", kind="onchain.activity.detected")
    (signature,) = (value for name, value in sent.headers if name == "x-hook0-signature")
    for id_, kind in ((f"{ID}.onchain", "activity.detected"), (f"{ID}.onchain.activity", "detected")):
        cut = sent.changed(x_event_id=id_, x_event_type=kind)
        assert dict(cut.headers)["x-hook0-signature"] == signature
        assert refused("coinbase", cut) is Reason.COVERED_HEADERS
    moved = Signed(sent.changed(x_event_type="onchain.activity").headers, b"detected." + sent.body)
    assert refused("coinbase", moved) is Reason.MALFORMED


def test_hook0_signs_other_headers_only_without_points() -> None:
    """Two values with points could share them out anew; so a sender who covers such a header is refused."""
    names = "content-type x-event-id x-event-type x-host"
    assert refused("coinbase", signed("coinbase", names=names, x_host="a.example")) is Reason.COVERED_HEADERS


def test_hook0_without_v1_or_with_two_is_refused() -> None:
    """The older v0 covers no header; of two signatures nobody could say which one counts."""
    sent = signed("coinbase")
    right = dict(sent.headers)["x-hook0-signature"]
    assert refused("coinbase", sent.changed(x_hook0_signature=right.replace("v1=", "v0="))) is Reason.V1_REQUIRED
    assert refused("coinbase", sent.changed(x_hook0_signature="")) is Reason.V1_REQUIRED
    for more in ("v1=" + "0" * 64, "t=1", "h=a"):
        assert refused("coinbase", sent.changed(x_hook0_signature=f"{right},{more}")) is Reason.SIGNATURE
    beside = sent.changed(x_hook0_signature=f"{right},v9=abc")
    assert sender_of("coinbase").verify(beside.posted(), NOW_S).id == ID


@pytest.mark.parametrize("remote", ["", "127.0.0.1", "52.89.214.239", "52.89.214.238 ", "::ffff:52.89.214.238"])
def test_alerts_come_from_listed_addresses(remote: str) -> None:
    """From any other, also with the right token, they are refused."""
    assert refused("tradingview", signed("tradingview"), remote=remote) is Reason.SOURCE_ADDRESS


@pytest.mark.parametrize(
    "token", ["", "x", SECRETS["tradingview"][:-1], SECRETS["tradingview"] + "1", "\u00e9", "\ud800"]
)
def test_a_wrong_token_is_refused(token: str) -> None:
    """Near misses, no letters and what is no text too."""
    assert refused("tradingview", signed("tradingview", token)) in (Reason.TOKEN, Reason.NO_TOKEN)


def test_an_alert_is_kept_without_its_token() -> None:
    """What is stored and published has no secret in it, and its numbers are as they were sent."""
    body = json.dumps(BODIES["tradingview"] | {"volume": 128.41, "count": 3}).encode()
    delivery = sender_of("tradingview").verify(signed("tradingview", body=body).posted(), NOW_S)
    assert SECRETS["tradingview"] not in f"{delivery}"
    assert b'"volume":128.41' in delivery.payload
    assert delivery.data["volume"] == Decimal("128.41")
    assert delivery.id == f"BINANCE:BTCUSDT {ID} 2026-11-20T15:00:00Z"


def test_an_alert_that_tells_its_time_is_held_to_it() -> None:
    """`timenow` must be of now, where the alert has it."""

    def at(text: str) -> Signed:
        return signed("tradingview", body=json.dumps(BODIES["tradingview"] | {"timenow": text}).encode())

    delivery = sender_of("tradingview").verify(at("2026-11-20T15:00:05Z").posted(), NOW_S)
    assert delivery.timestamp_s == NOW_S - 2
    assert refused("tradingview", at("2026-11-20T14:50:00Z")) is Reason.TOO_OLD
    assert refused("tradingview", at("2026-11-20T15:10:00Z")) is Reason.TOO_NEW


# -- who is let in ----------------------------------------------------------------------------------------------


def test_the_scheme_follows_from_the_provider() -> None:
    """Three have schemes of their own, every other name stands for a relay."""
    text = ", ".join(f"{provider}:{secret}" for provider, secret in SECRETS.items())
    senders = parse_secrets(text + f",polygon:{SECRETS['binance']},binance:{OTHER_SECRETS['binance']},")
    names = {provider: (sender.scheme.name, len(sender.keys)) for provider, sender in senders.items()}
    assert names == {
        "binance": ("standard", 2),
        "polygon": ("standard", 1),
        "coingecko": ("coingecko", 1),
        "coinbase": ("hook0", 1),
        "tradingview": ("tradingview", 1),
    }
    assert parse_secrets("") == parse_secrets(" , ") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SECRETS["binance"], "entry 1: expected provider:secret"),
        (f"Binance:{SECRETS['binance']}", "entry 1: expected provider:secret"),
        (f"{'x' * 33}:{SECRETS['binance']}", "entry 1: expected provider:secret"),
        ("binance:", "entry 1: expected whsec_"),
        ("binance:whsec_c2hvcnQ=", "entry 1: expected whsec_"),
        (f"binance:{SECRETS['binance'][6:]}", "entry 1: expected whsec_"),
        (f"binance:{SECRETS['binance'][:-1]}", "entry 1: expected whsec_"),
        (
            f"polygon:{SECRETS['binance']},coingecko:hush-hush-hush-hush",
            "entry 2: expected the secret of the endpoint",
        ),
        ("coinbase:hush", "entry 1: expected the secret of the subscription"),
        ("tradingview:hush", "entry 1: expected a long random token"),
        ("tradingview:hush hush hush hush hush", "entry 1: expected a long random token"),
        ("coinbase-commerce:hush-hush-hush-hush", "entry 1: there is no scheme"),
        (f"binance:{SECRETS['binance']},binance:{SECRETS['binance']}", "entry 2: expected at most 4 secrets"),
    ],
)
def test_a_bad_secret_is_told_by_its_place(text: str, told: str) -> None:
    """With the rule that it breaks, and without any of it."""
    with pytest.raises(ValueError, match=told) as caught:
        parse_secrets(text)
    assert "hush" not in str(caught.value)
    assert SECRETS["binance"][6:20] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_keys_and_bodies_are_in_no_repr() -> None:
    """What is logged by mistake tells nothing."""
    posted = Posted([("webhook-signature", "v1,seen")], b"seen", "192.0.2.1")
    assert "seen" not in repr(posted)
    assert repr(sender_of("coingecko")).count("whsec_") == 0
