"""The rules of a connection, with time as a plain number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from streamer.coinbase.messages import Event, Message
from streamer.coinbase.session import (
    ALL,
    AUTHENTICATION_FAILURE,
    OWN_BOOK,
    Arrival,
    Session,
    SessionRules,
    canonical_by_rule,
)
from streamer.model import ProductId

BTC, ETH, SOL = ProductId("BTC-USD"), ProductId("ETH-USD"), ProductId("SOL-USD")
BTC_USDC = ProductId("BTC-USDC")
RULES = SessionRules()


def opened(*products: ProductId, at: float = 0.0) -> Session:
    """A session that wants products and has just been connected."""
    session = Session()
    session.want(products)
    session.opened(at)
    return session


def streaming(*products: ProductId) -> Session:
    """A session with everything sent and acknowledged at 0, and a value of each product seen."""
    session = opened(*products)
    sent(session, 0.0)
    session.control(ack(*products), 0.0)
    for product_id in products:
        session.seen(product_id)
    return session


def sent(session: Session, now: float) -> list[tuple[str, str, list[str]]]:
    """What is due, as (type, channel, products)."""
    messages: list[dict[str, Any]] = [json.loads(message) for message in session.due(now)]
    assert all(message.keys() == {"type", "channel", "product_ids"} for message in messages)
    return [(message["type"], message["channel"], message["product_ids"]) for message in messages]


def ack(*products: str, heartbeats: bool = True) -> Message:
    """An acknowledgement: all subscriptions of the connection, as the exchange sends it."""
    channels: dict[str, list[str]] = {"heartbeats": ["heartbeats"]} if heartbeats else {}
    if products:
        channels["ticker"] = list(products)
    return Message(channel="subscriptions", sequence_num=0, events=[Event(subscriptions=channels)])


def beat(counter: int | str | None) -> Message:
    """A heartbeat."""
    return Message(channel="heartbeats", sequence_num=1, events=[Event(heartbeat_counter=counter)])


# -- subscribing ------------------------------------------------------------------------------------------------


def test_heartbeats_are_asked_for_first_and_alone() -> None:
    """The proof of life is the first message; each message has one channel."""
    assert sent(opened(BTC, ETH), 0.0) == [
        ("subscribe", "heartbeats", []),
        ("subscribe", "ticker", [BTC, ETH]),
    ]


def test_heartbeats_are_asked_for_without_products() -> None:
    """A connection without products still proves its life, and meets the 5 s rule."""
    assert sent(opened(), 0.0) == [("subscribe", "heartbeats", [])]


def test_what_was_sent_is_not_due_again() -> None:
    """A second look sends nothing."""
    session = opened(BTC)
    sent(session, 0.0)
    assert sent(session, 0.0) == []
    assert sent(session, RULES.ack_timeout_s - 0.25) == []


def test_unacknowledged_is_sent_again_after_the_timeout() -> None:
    """Whatever the exchange has not confirmed in time is asked for once more, then waited for again."""
    session = opened(BTC)
    sent(session, 0.0)
    again = [("subscribe", "heartbeats", []), ("subscribe", "ticker", [BTC])]
    assert sent(session, RULES.ack_timeout_s) == again
    assert sent(session, 2 * RULES.ack_timeout_s - 0.25) == []
    assert sent(session, 2 * RULES.ack_timeout_s) == again


def test_acknowledged_is_never_sent_again() -> None:
    """Confirmed subscriptions that bring data are left alone."""
    session = streaming(BTC, ETH)
    assert sent(session, 1000.0) == []


def test_acknowledged_without_data_is_subscribed_anew() -> None:
    """Its snapshot may have been lost without a gap, and a quiet product sends no other."""
    session = opened(BTC, ETH)
    sent(session, 0.0)
    session.control(ack(BTC, ETH), 0.0)
    session.seen(ETH)
    anew = [("unsubscribe", "ticker", [BTC]), ("subscribe", "ticker", [BTC])]
    assert sent(session, RULES.data_timeout_s - 0.1) == []
    assert sent(session, RULES.data_timeout_s) == anew
    session.control(ack(BTC, ETH), 0.0)
    assert sent(session, RULES.data_timeout_s * 2 - 0.1) == []
    assert sent(session, RULES.data_timeout_s * 2) == anew


def test_silent_product_stays_silent_while_it_is_asked_for_anew() -> None:
    """The status would otherwise flap with every attempt."""
    session = opened(BTC)
    sent(session, 0.0)
    session.control(ack(BTC), 0.0)
    sent(session, RULES.data_timeout_s)
    assert session.products(RULES.data_timeout_s + 0.1).silent == [BTC]


def test_only_what_is_missing_is_sent_again() -> None:
    """An ack without one of the products has that one resent."""
    session = opened(BTC, ETH)
    sent(session, 0.0)
    session.control(ack(BTC), 0.0)
    assert sent(session, RULES.ack_timeout_s) == [("subscribe", "ticker", [ETH])]


def test_acknowledgements_are_cumulative() -> None:
    """Each ack is the whole state of the connection, so one that comes before the others takes nothing away."""
    session = opened(BTC, ETH)
    sent(session, 0.0)
    session.control(ack(), 0.0)
    session.control(ack(BTC), 0.0)
    session.control(ack(BTC, ETH), 0.0)
    assert sent(session, RULES.data_timeout_s - 0.1) == []


def test_subscription_that_the_exchange_drops_is_made_again() -> None:
    """An ack without a confirmed product: heartbeats would go on and its frozen price look alive."""
    session = streaming(BTC, ETH)
    session.control(ack(ETH), 0.0)
    assert session.suspect == {BTC}
    assert sent(session, 1.0) == [("subscribe", "ticker", [BTC])]


def test_late_acknowledgement_of_nothing_new_changes_nothing() -> None:
    """The same ack twice."""
    session = streaming(BTC)
    session.control(ack(BTC), 0.0)
    assert not session.suspect
    assert sent(session, 1.0) == []


def test_product_without_data_is_not_suspect_after_a_gap() -> None:
    """There is no value to doubt; it is asked for once more, not every second for ever."""
    session = opened(BTC)
    sent(session, 0.0)
    session.control(ack(BTC), 0.0)
    session.arrived(7, 1.0)
    assert not session.suspect
    assert sent(session, 1.0)
    session.control(ack(BTC), 0.0)
    assert [at for at in range(2, 10) if sent(session, float(at))] == []


def test_heartbeats_alone_are_sent_again() -> None:
    """Products that are confirmed do not hide heartbeats that are not."""
    session = opened(BTC)
    sent(session, 0.0)
    session.control(ack(BTC, heartbeats=False), 0.0)
    assert sent(session, RULES.ack_timeout_s) == [("subscribe", "heartbeats", [])]


def test_acknowledgement_before_the_subscribe_counts_for_nothing() -> None:
    """What we have not asked for on this connection cannot be confirmed."""
    session = opened(BTC)
    session.control(ack(BTC), 0.0)
    assert ("subscribe", "ticker", [BTC]) in sent(session, 0.0)
    assert session.products(RULES.ack_timeout_s).unconfirmed == [BTC]


@pytest.mark.parametrize("name", ["BTC-USDC", "BTC-USD"])
def test_alias_is_acknowledged_under_either_name(name: str) -> None:
    """The documentation leaves open under which name BTC-USDC is confirmed."""
    session = opened(BTC_USDC)
    sent(session, 0.0)
    session.control(ack(name), 0.0)
    assert sent(session, RULES.data_timeout_s - 0.1) == []


def test_own_book_is_not_acknowledged_by_another_name() -> None:
    """USDT-USDC has a book of its own: USDT-USD confirms nothing of it."""
    product_id = ProductId("USDT-USDC")
    session = opened(product_id)
    sent(session, 0.0)
    session.control(ack("USDT-USD"), 0.0)
    assert sent(session, RULES.ack_timeout_s) == [("subscribe", "ticker", [product_id])]


@pytest.mark.parametrize("events", [[], [Event()], [Event(subscriptions={})]])
def test_acknowledgement_of_nothing_confirms_nothing(events: list[Event]) -> None:
    """An empty or damaged ack leaves everything unconfirmed."""
    session = opened(BTC)
    sent(session, 0.0)
    session.control(Message(channel="subscriptions", events=events), 0.0)
    assert session.products(RULES.ack_timeout_s).unconfirmed == [BTC]


# -- the wanted set ---------------------------------------------------------------------------------------------


def test_want_adds_and_removes_while_open() -> None:
    """Only the difference is sent: what goes, then what comes."""
    session = streaming(BTC, ETH)
    session.want([ETH, SOL])
    assert set(session.wanted) == {ETH, SOL}
    assert sent(session, 1.0) == [("unsubscribe", "ticker", [BTC]), ("subscribe", "ticker", [SOL])]
    assert sent(session, 1.0) == []


def test_wanting_the_same_sends_nothing() -> None:
    """The wanted set is a state, not an order."""
    session = streaming(BTC)
    session.want([BTC])
    assert sent(session, 1.0) == []


def test_what_was_never_subscribed_is_not_unsubscribed() -> None:
    """A product that comes and goes before its turn leaves no message."""
    session = opened(BTC)
    session.want([])
    assert sent(session, 0.0) == [("subscribe", "heartbeats", [])]


def test_product_wanted_again_at_once_gets_a_fresh_subscription() -> None:
    """Removed and added between two looks: unsubscribed, then subscribed, which surely brings a snapshot."""
    session = streaming(BTC)
    session.want([])
    session.want([BTC])
    assert sent(session, 1.0) == [("unsubscribe", "ticker", [BTC]), ("subscribe", "ticker", [BTC])]


def test_removed_product_is_no_longer_suspect() -> None:
    """Nobody waits for the healing of what nobody wants."""
    session = streaming(BTC, ETH)
    session.arrived(5, 1.0)
    session.want([ETH])
    assert session.suspect == {ETH}
    assert sent(session, 1.0) == [
        ("unsubscribe", "ticker", [BTC]),
        ("unsubscribe", "ticker", [ETH]),
        ("subscribe", "ticker", [ETH]),
    ]


def test_reopened_session_starts_afresh() -> None:
    """A new connection knows no subscription, sequence, suspect or error of the last one."""
    session = streaming(BTC, ETH)
    session.arrived(7, 1.0)
    session.control(Message(type="error", message="too slow"), 0.0)
    session.want([BTC])
    session.opened(10.0)
    assert (session.expected, session.proof_at, session.last_error) == (0, None, None)
    assert session.suspect == set()
    assert sent(session, 10.0) == [("subscribe", "heartbeats", []), ("subscribe", "ticker", [BTC])]
    assert session.arrived(0, 10.0) is Arrival.IN_ORDER
    assert session.products(10.0).waiting == [BTC]


def test_counts_outlive_a_connection() -> None:
    """What a feed has seen since the process started is not forgotten on reconnect."""
    session = streaming(BTC)
    session.arrived(7, 1.0)
    session.opened(10.0)
    assert (session.counts.gaps, session.counts.missed) == (1, 7)


# -- sequence ---------------------------------------------------------------------------------------------------


def test_frames_in_order() -> None:
    """Numbers count from 0, one a frame, over all channels."""
    session = opened(BTC)
    assert [session.arrived(number, 1.0) for number in range(3)] == [Arrival.IN_ORDER] * 3
    assert (session.expected, session.counts.gaps, session.counts.late) == (3, 0, 0)


@pytest.mark.parametrize(("numbers", "missed"), [([0, 2], 1), ([5], 5), ([0, 1, 11], 9)])
def test_gap_is_counted_and_followed(numbers: Sequence[int], missed: int) -> None:
    """A number ahead of its time is a gap of so many frames; the next is expected after it."""
    session = opened(BTC)
    *before, gap = numbers
    assert [session.arrived(number, 0.0) for number in before] == [Arrival.IN_ORDER] * len(before)
    assert session.arrived(gap, 0.0) is Arrival.GAP
    assert (session.counts.gaps, session.counts.missed) == (1, missed)
    assert session.arrived(gap + 1, 0.0) is Arrival.IN_ORDER


@pytest.mark.parametrize("number", [0, 1, -1, -(10**30)])
def test_late_frame_moves_nothing(number: int) -> None:
    """A repeated, reordered or impossible number is late and casts no doubt."""
    session = streaming(BTC)
    session.arrived(0, 0.0)
    session.arrived(1, 0.0)
    assert session.arrived(number, 0.0) is Arrival.LATE
    assert (session.expected, session.counts.late, session.counts.gaps) == (2, 1, 0)
    assert session.suspect == set()


def test_unnumbered_frame_moves_nothing() -> None:
    """Errors carry no number; that is neither gap nor proof."""
    session = opened(BTC)
    assert session.arrived(None, 1.0) is Arrival.UNNUMBERED
    assert (session.expected, session.proof_at, session.counts.gaps, session.counts.late) == (0, None, 0, 0)


def test_only_a_frame_in_order_is_proof_of_life() -> None:
    """Gaps, late and unnumbered frames leave the proof where it was."""
    session = opened(BTC)
    session.arrived(0, 1.0)
    session.arrived(0, 2.0)
    session.arrived(None, 2.0)
    session.arrived(9, 2.0)
    assert session.proof_at == 1.0
    session.arrived(10, 3.0)
    assert session.proof_at == 3.0


# -- suspects and healing ---------------------------------------------------------------------------------------


def test_gap_makes_all_subscribed_products_suspect() -> None:
    """Which product lost a frame is unknowable; one not yet subscribed has lost none."""
    session = streaming(BTC, ETH)
    session.want([BTC, ETH, SOL])
    session.arrived(3, 1.0)
    assert session.suspect == {BTC, ETH}
    assert session.products(1.0).suspect == [BTC, ETH]


def test_next_sound_value_heals() -> None:
    """A ticker is a whole state, so one value is enough, for its own product."""
    session = streaming(BTC, ETH)
    session.arrived(3, 1.0)
    session.seen(BTC)
    assert session.suspect == {ETH}


def test_gap_is_healed_by_unsubscribe_and_subscribe() -> None:
    """A snapshot is asked for at once; a repeated subscribe alone may bring none."""
    session = streaming(BTC, ETH)
    session.arrived(3, 1.0)
    session.seen(ETH)
    assert sent(session, 1.0) == [("unsubscribe", "ticker", [BTC]), ("subscribe", "ticker", [BTC])]


def test_healing_is_tried_at_most_once_in_its_time() -> None:
    """A stream of gaps does not become a stream of subscriptions: each try waits longer than the one before."""
    session = streaming(BTC)
    tries = []
    for tick in range(13):  # a gap every quarter of a second, for three seconds
        session.arrived(session.expected + 2, 1 + tick / 4)
        if sent(session, 1 + tick / 4):
            tries.append(1 + tick / 4)
    assert tries == [1.0, 2.0, 4.0]


def test_healing_goes_on_until_a_value_comes() -> None:
    """A lost resubscribe is repeated; a value ends it."""
    session = streaming(BTC)
    session.arrived(3, 1.0)
    assert sent(session, 1.0)
    assert sent(session, 1.0 + RULES.heal_s)
    session.control(ack(BTC), 0.0)
    session.seen(BTC)
    assert sent(session, 1000.0) == []


def test_product_being_healed_still_has_its_data() -> None:
    """A resubscribed product is suspect, not waiting, unconfirmed or silent: its last value is there."""
    session = streaming(BTC)
    session.arrived(3, 1.0)
    sent(session, 1.0)
    found = session.products(1000.0)
    assert (found.waiting, found.unconfirmed, found.silent, found.suspect) == ([], [], [], [BTC])


def test_resubscription_must_be_confirmed_again() -> None:
    """What was unsubscribed is unconfirmed until the exchange says otherwise."""
    session = streaming(BTC)
    session.arrived(3, 1.0)
    sent(session, 1.0)
    session.seen(BTC)
    assert sent(session, 1.0 + RULES.ack_timeout_s) == [("subscribe", "ticker", [BTC])]


# -- dead or alive ----------------------------------------------------------------------------------------------


def test_silence_from_the_first_moment_is_death() -> None:
    """A connection that never says anything is given up as soon as one that falls silent."""
    session = opened(BTC, at=100.0)
    assert not session.is_dead(100.0 + RULES.silence_s)
    assert session.is_dead(100.0 + RULES.silence_s + 0.25)


def test_silence_after_life_is_death() -> None:
    """The deadline counts from the last frame in order."""
    session = opened(BTC, at=100.0)
    session.arrived(0, 103.0)
    assert not session.is_dead(103.0 + RULES.silence_s)
    assert session.is_dead(103.0 + RULES.silence_s + 0.25)


@pytest.mark.parametrize("number", [0, None, -1], ids=["repeated", "unnumbered", "negative"])
def test_frames_out_of_order_do_not_keep_it_alive(number: int | None) -> None:
    """A peer that repeats itself, or numbers nothing, is dead in time."""
    session = opened(BTC)
    session.arrived(0, 0.0)
    for quarter in range(1, 40):
        session.arrived(number, quarter / 4)
    assert session.is_dead(RULES.silence_s + 0.25)


def test_reopened_session_is_not_dead_of_old_age() -> None:
    """The silence of the last connection is not counted against the new one."""
    session = opened(BTC, at=0.0)
    session.arrived(0, 1.0)
    session.opened(100.0)
    assert not session.is_dead(100.0 + RULES.silence_s)


# -- what is wrong with the products ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acked", "waited", "kind"),
    [
        (False, 0.0, "waiting"),
        (False, RULES.ack_timeout_s - 0.25, "waiting"),
        (True, RULES.ack_timeout_s, "waiting"),
        (True, RULES.data_timeout_s - 0.25, "waiting"),
        (True, RULES.data_timeout_s, "silent"),
        (False, RULES.ack_timeout_s, "unconfirmed"),
        (False, RULES.data_timeout_s, "unconfirmed"),
    ],
)
def test_products_are_judged_by_time(acked: bool, waited: float, kind: str) -> None:
    """First a product is waited for, then it is unconfirmed, or confirmed but silent."""
    session = opened(BTC, at=100.0)
    sent(session, 100.0)
    session.control(ack(*([BTC] if acked else [])), 0.0)
    found = session.products(100.0 + waited)
    lists = {name: getattr(found, name) for name in ("waiting", "unconfirmed", "silent", "suspect")}
    assert lists == {name: [BTC] if name == kind else [] for name in lists}


@pytest.mark.parametrize(("waited", "kind"), [(4.75, "waiting"), (5.0, "unconfirmed")])
def test_product_never_sent_is_judged_from_the_opening(waited: float, kind: str) -> None:
    """A subscribe that could not be sent does not wait for ever."""
    session = opened(BTC, at=100.0)
    assert getattr(session.products(100.0 + waited), kind) == [BTC]


def test_product_with_data_is_in_no_list() -> None:
    """A value is worth more than an acknowledgement."""
    session = opened(BTC)
    sent(session, 0.0)
    session.seen(BTC)
    found = session.products(1000.0)
    assert (found.waiting, found.unconfirmed, found.silent, found.suspect) == ([], [], [], [])


# -- aliases ----------------------------------------------------------------------------------------------------


def test_alias_gets_the_tickers_of_its_pair() -> None:
    """A subscription to BTC-USDC is answered with tickers labelled BTC-USD."""
    session = opened(BTC_USDC)
    assert session.learn("BTC-USD") == ((BTC_USDC, "BTC-USD"),)


def test_both_names_get_the_ticker_where_both_were_learn() -> None:
    """One frame serves the product and its alias."""
    assert opened(BTC, BTC_USDC).learn("BTC-USD") == ((BTC, None), (BTC_USDC, "BTC-USD"))


def test_pair_alone_gets_no_alias() -> None:
    """Nothing is written under a name nobody asked for."""
    assert opened(BTC).learn("BTC-USD") == ((BTC, None),)


@pytest.mark.parametrize("label", ["ETH-USD", "", "BTC-US", "BTC-USDCC", "BTC-EUR", "x" * 100])
def test_label_nobody_asked_for_belongs_nowhere(label: str) -> None:
    """A ticker out of the blue is nobody's."""
    assert opened(BTC, BTC_USDC).learn(label) == ()


@pytest.mark.parametrize("product_id", sorted(OWN_BOOK))
def test_products_with_a_book_of_their_own_are_no_aliases(product_id: ProductId) -> None:
    """The USD pair of such a product says nothing about it."""
    session = opened(product_id)
    assert session.learn(product_id[:-1]) == ()
    assert session.learn(product_id) == ((product_id, None),)
    assert canonical_by_rule(product_id) == product_id


def test_product_that_shows_its_own_label_is_no_alias_any_more() -> None:
    """A book of its own that we did not know of: from then on the USD pair does not speak for it."""
    session = opened(BTC, BTC_USDC)
    assert session.learn("BTC-USD") == ((BTC, None), (BTC_USDC, "BTC-USD"))
    assert session.learn("BTC-USDC") == ((BTC_USDC, None),)
    assert session.learn("BTC-USD") == ((BTC, None),)
    session.opened(10.0)
    session.want([BTC_USDC])
    assert session.learn("BTC-USD") == ()


def test_labels_follow_the_wanted_set() -> None:
    """What was learned of a label is forgotten when the wanted set changes."""
    session = opened(BTC)
    session.learn("BTC-USD")
    session.want([BTC_USDC])
    assert session.learn("BTC-USD") == ((BTC_USDC, "BTC-USD"),)
    session.want([])
    assert session.learn("BTC-USD") == ()


def test_many_labels_take_bounded_memory() -> None:
    """An exchange that makes up labels is still answered, but not remembered without end."""
    session = opened(BTC)
    for number in range(5000):
        assert session.learn(f"X{number}-USD") == ()
    assert session.learn("BTC-USD") == ((BTC, None),)
    assert len(session.labels) == 1


@pytest.mark.parametrize(
    ("product_id", "label"),
    [("BTC-USDC", "BTC-USD"), ("BTC-USD", "BTC-USD"), ("ETH-BTC", "ETH-BTC"), ("USDT-USDC", "USDT-USDC")],
)
def test_canonical_id(product_id: str, label: str) -> None:
    """USDC pairs are shown as their USD pair, all others as themselves."""
    assert canonical_by_rule(product_id) == label


# -- heartbeats and errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counters", "gaps"),
    [
        ([5, 6, 7], 0),
        ([5, 7], 1),
        ([5, 9, 10, 12], 2),
        ([5, 5, 6], 0),
        ([5, 3, 4], 0),
        (["5", "6"], 0),
        (["5", 8], 1),
        ([5, None, "x", "", 6], 0),
        ([5, "9" * 5000, 6], 0),
        ([66987], 0),
    ],
)
def test_missed_heartbeats_are_counted(counters: list[int | str | None], gaps: int) -> None:
    """A counter that jumps ahead is a gap, number or text; what is no counter is passed over."""
    session = opened(BTC)
    for counter in counters:
        session.control(beat(counter), 0.0)
    assert session.counts.heartbeat_gaps == gaps


def test_heartbeat_counter_starts_anew_with_each_connection() -> None:
    """Beats between two connections were not missed."""
    session = opened(BTC)
    session.control(beat(5), 0.0)
    session.opened(1.0)
    session.control(beat(90), 0.0)
    assert session.counts.heartbeat_gaps == 0


@pytest.mark.parametrize(("text", "shown"), [("rate limited", "rate limited"), ("", "error without text")])
def test_error_is_kept_as_a_reason(text: str, shown: str) -> None:
    """What the exchange complained about explains a later silence."""
    session = opened(BTC)
    session.control(Message(type="error", message=text), 0.0)
    assert (session.counts.errors, session.last_error) == (1, shown)


# -- channels ---------------------------------------------------------------------------------------------------


class Tokens:
    """Signs with numbers, so that each token can be told from all others."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return f"token-{self.made}"


def user_session(at: float = 0.0) -> tuple[Session, Tokens]:
    """A session of the user channel as a whole, just connected."""
    tokens = Tokens()
    session = Session(channel="user", sign=tokens)
    session.want([ALL])
    session.opened(at)
    return session, tokens


def said(session: Session, now: float) -> list[dict[str, Any]]:
    """What is due, whole."""
    return [json.loads(message) for message in session.due(now)]


def refusal() -> Message:
    """The exchange does not take a token, or does not know a channel."""
    return Message(type="error", message=AUTHENTICATION_FAILURE)


def acked(**channels: list[str]) -> Message:
    """An acknowledgement of these channels."""
    return Message(channel="subscriptions", sequence_num=0, events=[Event(subscriptions=channels)])


USER_ACK = {"heartbeats": ["heartbeats"], "user": ["1b2c"]}


@pytest.mark.parametrize("channel", ["ticker", "candles", "status"])
def test_public_channels_are_subscribed_without_a_token(channel: str) -> None:
    """A key that has gone bad must not cost public data; the subscription names its channel."""
    session = Session(channel=channel)
    session.want([BTC])
    session.opened(0.0)
    assert [(m["channel"], m["product_ids"]) for m in said(session, 0.0)] == [("heartbeats", []), (channel, [BTC])]
    session.want([ETH])
    assert all("jwt" not in message for message in said(session, 0.0))


def test_the_user_channel_is_subscribed_as_a_whole_with_a_fresh_token_each() -> None:
    """No product ids mean all of them; heartbeats carry a token too, and never the same."""
    session, tokens = user_session()
    assert said(session, 0.0) == [
        {"type": "subscribe", "channel": "heartbeats", "product_ids": [], "jwt": "token-1"},
        {"type": "subscribe", "channel": "user", "product_ids": [], "jwt": "token-2"},
    ]
    said(session, RULES.ack_timeout_s)
    session.want([])
    (unsubscribe,) = said(session, RULES.ack_timeout_s)
    assert unsubscribe == {"type": "unsubscribe", "channel": "user", "product_ids": [], "jwt": "token-5"}
    assert tokens.made == 5


def test_a_token_is_made_when_its_message_is_due() -> None:
    """Not before: it dates from then, and lives for two minutes."""
    session, tokens = user_session()
    messages = session.due(0.0)
    assert tokens.made == 0
    next(messages)
    assert tokens.made == 1


@pytest.mark.parametrize("channel", ["user", "status"])
def test_some_channels_are_acknowledged_as_a_whole(channel: str) -> None:
    """The user channel is confirmed with a user id, and of the status channel nothing is known."""
    session = Session(channel=channel)
    session.want([BTC, ETH])
    session.opened(0.0)
    said(session, 0.0)
    session.control(acked(heartbeats=["heartbeats"], **{channel: ["whatever"]}), 0.0)
    assert said(session, RULES.ack_timeout_s) == []
    assert session.products(RULES.ack_timeout_s).unconfirmed == []


@pytest.mark.parametrize("channel", ["ticker", "candles"])
def test_others_are_acknowledged_product_by_product(channel: str) -> None:
    """A channel in the list does not mean all its products are."""
    session = Session(channel=channel)
    session.want([BTC, ETH])
    session.opened(0.0)
    said(session, 0.0)
    session.control(acked(heartbeats=["heartbeats"], **{channel: [str(BTC)]}), 0.0)
    assert session.products(RULES.ack_timeout_s).unconfirmed == [ETH]


def test_another_channel_confirms_nothing_of_ours() -> None:
    """Tickers of a product are not its candles."""
    session = Session(channel="candles")
    session.want([BTC])
    session.opened(0.0)
    said(session, 0.0)
    session.control(acked(heartbeats=["heartbeats"], ticker=[BTC]), 0.0)
    assert session.products(RULES.ack_timeout_s).unconfirmed == [BTC]


def test_the_user_channel_without_a_snapshot_is_subscribed_anew() -> None:
    """Acknowledged, and no snapshot: the snapshot may have been lost, and orders open since nobody knows when."""
    session, _ = user_session()
    said(session, 0.0)
    session.control(acked(**USER_ACK), 0.0)
    assert said(session, RULES.data_timeout_s - 0.1) == []
    assert [message["type"] for message in said(session, RULES.data_timeout_s)] == ["unsubscribe", "subscribe"]
    session.control(acked(**USER_ACK), RULES.data_timeout_s)
    session.seen(ALL)
    assert said(session, 10 * RULES.data_timeout_s) == []


# -- tokens that are refused ------------------------------------------------------------------------------------


def test_a_refused_token_is_followed_by_a_fresh_one_once() -> None:
    """After a second, for everything that is not confirmed; then the exchange has the last word."""
    session, _ = user_session()
    said(session, 0.0)
    session.control(refusal(), 0.1)
    session.control(refusal(), 0.2)  # one for each of the two messages
    assert not session.is_unauthenticated
    assert said(session, 0.1 + RULES.token_retry_s - 0.01) == []
    again = said(session, 0.1 + RULES.token_retry_s)
    assert [(m["channel"], m["jwt"]) for m in again] == [("heartbeats", "token-3"), ("user", "token-4")]
    assert not session.is_unauthenticated
    session.control(refusal(), 1.2)
    assert session.is_unauthenticated
    assert session.last_error == AUTHENTICATION_FAILURE


def test_only_what_was_refused_is_tried_again() -> None:
    """Heartbeats are good: what the key may not see is the user channel."""
    session, _ = user_session()
    said(session, 0.0)
    session.control(acked(heartbeats=["heartbeats"]), 0.1)
    session.control(refusal(), 0.1)
    assert [m["channel"] for m in said(session, 0.1 + RULES.token_retry_s)] == ["user"]
    session.control(acked(heartbeats=["heartbeats"]), 1.2)
    session.control(refusal(), 1.2)
    assert session.is_unauthenticated


def test_a_token_that_is_taken_starts_the_count_over() -> None:
    """Twice in a row means twice in a row: one refusal a day is none of a key that is bad."""
    session, _ = user_session()
    said(session, 0.0)
    for at in (1.0, 1000.0):
        session.control(refusal(), at)
        said(session, at + RULES.token_retry_s)
        session.control(acked(**USER_ACK), at + RULES.token_retry_s)
    assert not session.is_unauthenticated


def test_a_new_connection_has_two_tries_of_its_own() -> None:
    """What was refused on the last one is forgotten."""
    session, _ = user_session()
    said(session, 0.0)
    session.control(refusal(), 0.0)
    said(session, RULES.token_retry_s)
    session.control(refusal(), RULES.token_retry_s)
    assert session.is_unauthenticated
    session.opened(20.0)
    assert not session.is_unauthenticated
    assert len(said(session, 20.0)) == 2
    session.control(refusal(), 20.1)
    assert not session.is_unauthenticated
    assert said(session, 20.0 + RULES.token_retry_s / 2) == []


def test_without_a_token_nothing_is_unauthenticated() -> None:
    """The exchange says the same of a channel that it does not know."""
    session = opened(BTC)
    sent(session, 0.0)
    for at in (0.0, 2.0, 4.0):
        session.control(refusal(), at)
        assert at == 0.0 or sent(session, at) == []
    assert not session.is_unauthenticated
    assert session.last_error == AUTHENTICATION_FAILURE


@pytest.mark.parametrize("text", ["Authentication Failure", "authentication failure ", "rate limited", ""])
def test_other_errors_are_no_refusal_of_a_token(text: str) -> None:
    """Only the exchange's very words are; whatever else it says, patience."""
    session, _ = user_session()
    said(session, 0.0)
    for at in (0.1, 2.0, 4.0):
        session.control(Message(type="error", message=text), at)
        said(session, at)
    assert not session.is_unauthenticated
