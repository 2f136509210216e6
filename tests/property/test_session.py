"""Laws of a session against a model that keeps everything, and of the pace in any window."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamer.coinbase.messages import Event, Message
from streamer.coinbase.pace import Pace, ReconnectDelay
from streamer.coinbase.session import Arrival, Session, SessionRules
from streamer.model import ProductId

PRODUCTS = [ProductId(name) for name in ("BTC-USD", "ETH-USD", "BTC-USDC", "USDT-USDC")]
RULES = SessionRules()

# Mostly near each other, so that order, gaps, repeats and late frames all happen.
sequences = st.one_of(st.none(), st.integers(0, 12), st.integers(0, 12), st.integers(-5, 10**25))


def subscribed() -> Session:
    """A session with everything sent and acknowledged, and no frame yet."""
    session = Session()
    session.want(PRODUCTS)
    session.opened(0.0)
    list(session.due(0.0))
    channels = {"heartbeats": ["heartbeats"], "ticker": [str(product_id) for product_id in PRODUCTS]}
    session.control(Message(channel="subscriptions", events=[Event(subscriptions=channels)]), 0.0)
    return session


@given(st.lists(sequences, max_size=60))
def test_counts_agree_with_what_arrived(numbers: list[int | None]) -> None:
    """Every frame is one of four kinds, and every number below the next expected has come in time or is missed."""
    session = subscribed()
    kinds = Counter(session.arrived(number, 1.0) for number in numbers)
    counted = [number for number in numbers if number is not None]
    assert sum(kinds.values()) == len(numbers)
    assert kinds[Arrival.UNNUMBERED] == numbers.count(None)
    assert (kinds[Arrival.GAP], kinds[Arrival.LATE]) == (session.counts.gaps, session.counts.late)
    assert session.expected == max(0, max(counted, default=-1) + 1)
    assert session.counts.missed == session.expected - kinds[Arrival.IN_ORDER] - kinds[Arrival.GAP]


@given(st.integers(0, 40), st.data())
def test_an_unbroken_stream_has_no_faults(length: int, data: st.DataObject) -> None:
    """Numbers from 0 without a hole are all in order; taking one out makes exactly one gap, or a shorter stream."""
    session = subscribed()
    assert {session.arrived(number, 1.0) for number in range(length)} <= {Arrival.IN_ORDER}
    if length:
        missing = data.draw(st.integers(0, length - 1))
        broken = subscribed()
        kinds = [broken.arrived(number, 1.0) for number in range(length) if number != missing]
        assert kinds.count(Arrival.GAP) == (missing != length - 1) == broken.counts.missed


@dataclass(frozen=True)
class Frame:
    """A frame with this number arrives."""

    number: int | None


@dataclass(frozen=True)
class Value:
    """A sound value of a product arrives."""

    product_id: ProductId


histories = st.lists(
    st.builds(Frame, sequences) | st.builds(Value, st.sampled_from(PRODUCTS)),
    max_size=60,
)


@given(histories)
def test_suspect_means_a_gap_since_the_last_value(history: list[Frame | Value]) -> None:
    """A product is suspect if and only if it had a value, and a gap came after the newest."""
    session = subscribed()
    last_gap, last_value, highest = -1, dict.fromkeys(PRODUCTS, -1), -1
    for moment, step in enumerate(history):
        if isinstance(step, Value):
            session.seen(step.product_id)
            last_value[step.product_id] = moment
        elif step.number is not None:
            if step.number > highest + 1:
                last_gap = moment
            highest = max(highest, step.number)
            session.arrived(step.number, float(moment))
        else:
            session.arrived(None, float(moment))
        expected = {product_id for product_id, at in last_value.items() if last_gap > at >= 0}
        assert session.suspect == expected
        assert session.products(float(moment)).suspect == sorted(expected)


@given(histories)
def test_proof_of_life_is_the_last_frame_in_order(history: list[Frame | Value]) -> None:
    """Death comes `silence_s` after the last frame in order, whatever else arrives."""
    session, proof = subscribed(), 0.0
    for moment, step in enumerate(history, start=1):
        if isinstance(step, Frame) and session.arrived(step.number, float(moment)) is Arrival.IN_ORDER:
            proof = float(moment)
    assert not session.is_dead(proof + RULES.silence_s)
    assert session.is_dead(proof + RULES.silence_s + 0.001)


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.booleans()), max_size=60))
def test_healing_is_never_hurried(history: list[tuple[int, bool, bool]]) -> None:
    """However many gaps: unsubscribes are at least `heal_s` apart, and each is followed by its subscribe."""
    session, now, healed = subscribed(), 0.0, []
    for quarters, gap, value in history:
        now += quarters / 4
        session.arrived(session.expected + (3 if gap else 0), now)
        if value:
            session.seen(PRODUCTS[0])
        messages = [json.loads(message) for message in session.due(now)]
        for message, following in zip(messages, [*messages, None][1:], strict=True):
            if message["type"] == "unsubscribe":
                healed.append(now)
                assert following == message | {"type": "subscribe"}
    assert all(later - earlier >= RULES.heal_s for earlier, later in pairwise(healed))


@given(st.lists(st.tuples(st.sets(st.sampled_from(PRODUCTS)), st.booleans()), max_size=20))
def test_the_exchange_ends_up_with_what_is_wanted(wishes: list[tuple[set[ProductId], bool]]) -> None:
    """Following every message we send, an exchange carries exactly the wanted products, also after reconnects."""
    session, carried = Session(), set[str]()
    session.opened(0.0)
    for moment, (wanted, reconnects) in enumerate(wishes):
        if reconnects:
            session.opened(float(moment))
            carried.clear()
        session.want(wanted)
        if moment % 3 == 0:
            continue  # the wanted set changes again before anything could be sent
        for payload in session.due(float(moment)):
            message = json.loads(payload)
            if message["channel"] == "ticker":
                assert message["product_ids"], "an empty list would mean the whole channel"
                carried = (
                    carried | set(message["product_ids"])
                    if message["type"] == "subscribe"
                    else carried - set(message["product_ids"])
                )
        assert carried == wanted


@given(
    st.lists(st.integers(0, 100), max_size=80),
    st.integers(1, 9),
    st.integers(1, 200),
)
def test_no_window_holds_more_than_the_limit(steps: list[int], limit: int, window: int) -> None:
    """In any window of `window_s` at most `limit` reservations, and none waits longer than that takes."""
    pace, now, taken = Pace(limit, window / 64), 0.0, list[float]()
    for step in steps:
        now += step / 64  # sixty-fourths are exact in binary, so the comparison below is too
        wait = pace.reserve(now)
        at = now + wait
        assert at == max(now, taken[-limit] + window / 64 if len(taken) >= limit else now)
        taken.append(at)
    assert taken == sorted(taken)
    for start in taken:
        assert sum(start <= at < start + window / 64 for at in taken) <= limit


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.floats(0, 30),
            st.none() | st.floats(-10, 5000) | st.sampled_from([float("inf"), float("nan")]),
        ),
        max_size=40,
    )
)
def test_delays_stay_within_their_bounds(failures: list[tuple[bool, float, float | None]]) -> None:
    """Never negative, never above cap or request, never below what was asked for, up to ten minutes."""
    delay, in_a_row = ReconnectDelay(), 0
    for refused, valid_s, retry_after_s in failures:
        in_a_row = 0 if valid_s >= 10 else in_a_row
        ceiling = min(60.0 if refused else 5.0, 0.5 * 2**in_a_row)
        asked = retry_after_s if retry_after_s is not None and retry_after_s > 0 else 0.0
        waits = delay.after(refused=refused, valid_s=valid_s, retry_after_s=retry_after_s)
        assert min(asked, 600.0) <= waits <= max(ceiling, min(asked, 600.0))
        in_a_row += 1
