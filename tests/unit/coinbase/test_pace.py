"""How fast we knock, with time as a plain number."""

from __future__ import annotations

import pytest

from streamer.coinbase.pace import Pace, Paces, ReconnectDelay

# -- pace -------------------------------------------------------------------------------------------------------


def test_pace_lets_the_first_pass_and_spaces_the_rest() -> None:
    """`limit` at once; each further one a window after the one `limit` before it."""
    pace = Pace(limit=3, window_s=1.0)
    assert [pace.reserve(0.0) for _ in range(8)] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_pace_counts_a_sliding_window() -> None:
    """A place is free again a window after it was taken, neither sooner nor later."""
    pace = Pace(limit=2, window_s=1.0)
    assert [pace.reserve(0.0), pace.reserve(0.75)] == [0, 0]
    assert pace.reserve(0.75) == 0.25
    assert pace.reserve(1.75) == 0
    assert pace.reserve(1.75) == 0.25


def test_pace_after_a_pause_is_free() -> None:
    """Reservations of long ago cost nothing."""
    pace = Pace(limit=2, window_s=1.0)
    for _ in range(6):
        pace.reserve(0.0)
    assert [pace.reserve(100.0) for _ in range(3)] == [0, 0, 1]


def test_pace_keeps_to_the_limit_of_the_exchange() -> None:
    """By default 8 in a little more than a second."""
    pace = Pace()
    waits = [pace.reserve(0.0) for _ in range(9)]
    assert waits[:8] == [0.0] * 8
    assert 1.0 < waits[8] < 1.25


# -- reconnect delay --------------------------------------------------------------------------------------------


def longest(ceiling: float) -> float:
    """The unluckiest jitter."""
    return ceiling


@pytest.mark.parametrize(
    ("refused", "delays"),
    [
        (False, [0.5, 1, 2, 4, 5, 5, 5, 5]),
        (True, [0.5, 1, 2, 4, 8, 16, 32, 60, 60]),
    ],
)
def test_delay_doubles_to_its_cap(refused: bool, delays: list[float]) -> None:
    """Network trouble is retried within 5 s, a refusal within 60 s."""
    delay = ReconnectDelay(jitter=longest)
    assert [delay.after(refused=refused) for _ in delays] == delays


def test_delay_does_not_overflow() -> None:
    """Days of failures end at the cap, not in an error."""
    delay = ReconnectDelay(jitter=longest)
    assert {delay.after(refused=True) for _ in range(3000)} >= {60.0}
    assert delay.after(refused=True) == 60.0


def test_jitter_is_full_and_bounded() -> None:
    """Every delay lies between nothing and its ceiling, and no two fleets wait alike."""
    delay = ReconnectDelay()
    for ceiling in (0.5, 1, 2, 4):
        assert 0 <= delay.after(refused=False) <= ceiling
    later = [delay.after(refused=False) for _ in range(200)]
    assert all(0 <= seconds <= 5.0 for seconds in later)
    assert len(set(later)) > 100


def test_jitter_may_be_nothing() -> None:
    """Full jitter: the luckiest reconnects at once."""
    assert ReconnectDelay(jitter=lambda ceiling: 0.0).after(refused=False) == 0.0


@pytest.mark.parametrize(("valid_s", "next_s"), [(0.0, 4.0), (9.75, 4.0), (10.0, 0.5), (3600.0, 0.5)])
def test_only_steady_data_starts_it_over(valid_s: float, next_s: float) -> None:
    """An exchange that accepts and then drops us is not hammered."""
    delay = ReconnectDelay(jitter=longest)
    for _ in range(3):
        delay.after(refused=False)
    assert delay.after(refused=False, valid_s=valid_s) == next_s


@pytest.mark.parametrize(
    ("retry_after_s", "at_least_s"),
    [(None, 0.0), (0.0, 0.0), (7.0, 7.0), (90.0, 90.0), (600.0, 600.0), (1e9, 600.0), (float("inf"), 600.0)],
)
def test_retry_after_is_never_undercut(retry_after_s: float | None, at_least_s: float) -> None:
    """What the exchange asks for holds whatever the jitter says, up to ten minutes."""
    lucky, unlucky = ReconnectDelay(jitter=lambda ceiling: 0.0), ReconnectDelay(jitter=longest)
    assert lucky.after(refused=True, retry_after_s=retry_after_s) == at_least_s
    assert unlucky.after(refused=True, retry_after_s=retry_after_s) == max(0.5, at_least_s)


@pytest.mark.parametrize("retry_after_s", [-5.0, float("nan"), float("-inf")])
def test_nonsense_in_retry_after_is_harmless(retry_after_s: float) -> None:
    """A header that means nothing falls back on our own delay."""
    assert ReconnectDelay(jitter=longest).after(refused=True, retry_after_s=retry_after_s) == 0.5


# -- a key that is refused --------------------------------------------------------------------------------------


def test_a_refused_key_is_tried_again_every_15_to_30_seconds() -> None:
    """Only a person can mend it: never at once, however lucky the jitter, and never so late that nobody waits."""
    lucky, unlucky = ReconnectDelay(jitter=lambda ceiling: 0.0), ReconnectDelay(jitter=longest)
    for _ in range(50):
        assert lucky.after(refused=False, unauthenticated=True) == 15.0
        assert unlucky.after(refused=False, unauthenticated=True) == 30.0
    waits = [ReconnectDelay().after(refused=False, unauthenticated=True) for _ in range(200)]
    assert all(15.0 <= wait <= 30.0 for wait in waits)
    assert len(set(waits)) > 100


def test_heartbeats_before_the_refusal_do_not_hasten_the_next_try() -> None:
    """A key without permission gets heartbeats for as long as it likes."""
    assert (
        ReconnectDelay(jitter=lambda ceiling: 0.0).after(refused=False, unauthenticated=True, valid_s=3600) == 15.0
    )


def test_a_refused_key_does_not_slow_down_what_follows() -> None:
    """Network trouble after it begins with short waits, as any."""
    delay = ReconnectDelay(jitter=longest)
    for _ in range(10):
        delay.after(refused=False, unauthenticated=True)
    assert delay.after(refused=False) == 0.5


def test_feeds_share_what_the_exchange_allows() -> None:
    """Connects and messages are counted apart, each over all feeds; two sets share nothing."""
    paces, other = Paces(), Paces()
    for _ in range(8):
        paces.connects.reserve(0.0)
    assert paces.connects.reserve(0.0) > 1.0
    assert paces.messages.reserve(0.0) == 0.0
    assert other.connects.reserve(0.0) == 0.0
