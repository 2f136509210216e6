"""What becomes a trouble, and when it is over."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamer.health.troubles import MOST_UNTOLD, NO_TROUBLE, SETTLED_MS, Troubles
from streamer.health.verdict import Reason, Verdict
from streamer.store.journal import Trouble, folded

SILENT = Reason("feed_silent", "feed m-0 has received nothing for 7 s", "it reconnects", "m-0")
LIMITED = Reason("rate_limited", "the exchange answered 429 3 times", "ask less")


def after(troubles: Troubles, *seconds: tuple[Reason, ...], start_ms: int = 0) -> list[Trouble]:
    """Follow one verdict a second and return what is to be written."""
    for second, reasons in enumerate(seconds):
        level = "degraded" if reasons else "healthy"
        troubles.follow(Verdict(level, reasons), start_ms + 1000 * second)  # type: ignore[arg-type]
    told = list(troubles.untold)
    troubles.untold.clear()
    return told


def test_what_lasts_is_one_trouble_from_its_first_moment() -> None:
    """However often its figures change; nothing is written again while it lasts."""
    moving = [(Reason("feed_silent", f"silent for {n} s", "wait", "m-0"),) for n in range(10)]
    (told,) = after(Troubles(), *moving)
    assert (told.code, told.subject, told.error_type, told.began_ms, told.ended_ms) == (
        "feed_silent", "m-0", "market_data", 0, None,
    )  # fmt: skip


def test_what_passes_at_once_is_none() -> None:
    """A reconnect within seconds is counted elsewhere; it would bury what matters here."""
    assert after(Troubles(), (SILENT,), (SILENT,), (), (), (), ()) == []


def test_it_is_over_when_it_has_stayed_away() -> None:
    """It ended when it was last seen; a pause of a second does not end it."""
    held, away = [(LIMITED,)] * 5, [()] * 5
    begun, ended = after(Troubles(), *held, (), (LIMITED,), *away)
    assert begun.ended_ms is None
    assert (ended.id, ended.began_ms, ended.ended_ms) == (begun.id, 0, 6000)


def test_two_feeds_are_two_troubles() -> None:
    """Each begins and ends by itself."""
    other = Reason("feed_silent", "feed m-1 has received nothing", "it reconnects", "m-1")
    told = after(Troubles(), *[(SILENT, other)] * 4, *[(other,)] * 4)
    assert [(one.subject, one.ended_ms is None) for one in told] == [("m-0", True), ("m-1", True), ("m-0", False)]


def test_a_state_somebody_has_chosen_is_no_trouble() -> None:
    """A stream without products is not an error."""
    chosen = tuple(Reason(code, "so it is", "nothing") for code in sorted(NO_TROUBLE))
    assert after(Troubles(), *[chosen] * 10) == []


def test_what_another_has_left_open_goes_on_or_ends() -> None:
    """A new owner does not open again what is open, and ends what is over by now."""
    left = [
        Trouble("1-feed_silent-m-0", "market_data", "feed_silent", "m-0", "silent", 1),
        Trouble("2-rate_limited", "market_data", "rate_limited", "", "429", 2),
        Trouble("0-clock_skew", "system", "clock_skew", "", "off", 0, 1),
    ]
    troubles = Troubles()
    troubles.adopt(left, 10_000)
    (ended,) = after(troubles, *[(SILENT,)] * 6, start_ms=10_000)
    assert (ended.id, ended.began_ms, ended.ended_ms) == ("2-rate_limited", 2, 10_000)


def test_a_clock_that_goes_back_ends_nothing_before_it_began() -> None:
    """Times stay in order whatever the clock of Redis does."""
    troubles = Troubles()
    after(troubles, *[(SILENT,)] * 5, start_ms=100_000)
    told = after(troubles, *[()] * 5, start_ms=0)
    assert [one.ended_ms >= one.began_ms for one in told if one.ended_ms is not None] == [True]


def test_what_cannot_be_written_is_bounded_and_counted() -> None:
    """Redis away for a day costs the oldest events, not memory."""
    troubles = Troubles()
    for n in range(MOST_UNTOLD + 7):
        verdict = Verdict("down", [Reason("feed_silent", "silent", "wait", f"m-{n}")])
        for at_ms in (n * 10_000, n * 10_000 + SETTLED_MS):
            troubles.follow(verdict, at_ms)
    assert len(troubles.untold) == MOST_UNTOLD
    assert troubles.dropped > 0


@given(st.lists(st.sets(st.sampled_from(["a", "b", "c"])), max_size=60))
def test_what_is_written_folds_into_what_happened(history: list[set[str]]) -> None:
    """Read back, troubles of one kind never overlap, each ends after it begins, and what lasts is open."""
    troubles = Troubles()
    told = after(troubles, *[tuple(Reason(code, code, "wait") for code in sorted(codes)) for codes in history])
    events = [(b"", {k.encode(): v.encode() for k, v in as_fields(one).items()}) for one in told]
    kept = folded(events)
    for code in ("a", "b", "c"):
        mine = sorted((one for one in kept if one.code == code), key=lambda one: one.began_ms)
        for earlier, later in pairwise(mine):
            assert earlier.ended_ms is not None
            assert earlier.began_ms <= earlier.ended_ms < later.began_ms
        newest = history[-(SETTLED_MS // 1000 + 1) :]
        if len(newest) > SETTLED_MS // 1000 and all(code in codes for codes in newest):
            assert mine
            assert mine[-1].ended_ms is None


def as_fields(one: Trouble) -> dict[str, str]:
    """A trouble as the fields of an event."""
    fields = {
        "id": one.id, "type": one.error_type, "code": one.code, "subject": one.subject, "message": one.message,
        "began_ms": str(one.began_ms),
    }  # fmt: skip
    return fields if one.ended_ms is None else fields | {"ended_ms": str(one.ended_ms)}
