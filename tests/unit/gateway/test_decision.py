"""Who goes first, and whom the dead and the late hold up."""

from __future__ import annotations

from streamer.gateway.decision import GRACE_MS, Ask, Decision, Grant, Place, Refused, Reply, Wait
from streamer.gateway.limits import Outcome, Window
from streamer.model import Priority
from streamer.providers.base import Budget

T = 1_700_000_000_000
M = Budget.MARKET


def decision() -> Decision:
    """One call a second, with one just made."""
    made = Decision({M: (Window(1, 1.0),)}, T - 10_000)
    grant = ask(made, "x", T)
    assert isinstance(grant, Grant)
    made.settle(grant, Outcome.OK, T)
    return made


def ask(
    made: Decision, name: str, now_ms: int, priority: Priority = Priority.TRADING, since_ms: int | None = None
) -> Reply:
    """A process asks for its only waiter."""
    place = Place(now_ms - (now_ms if since_ms is None else since_ms), priority)
    return made.admit(Ask(M, name, f"{name}:{now_ms}", place, queued=1), now_ms)


def test_the_told_time_is_the_time() -> None:
    """Who waits alone is told when the place is free, and has it then."""
    made = decision()
    assert ask(made, "one", T + 10) == Wait(991, 991)
    assert isinstance(ask(made, "one", T + 1001, since_ms=T + 10), Grant)


def test_the_urgent_go_first() -> None:
    """Background came first, trading goes first; background then has the next place."""
    made = decision()
    ask(made, "slow", T + 10, Priority.BACKGROUND)
    assert ask(made, "fast", T + 20) == Wait(981, 981)
    assert isinstance(ask(made, "slow", T + 1001, Priority.BACKGROUND, T + 10), Wait)
    grant = ask(made, "fast", T + 1002, since_ms=T + 20)
    assert isinstance(grant, Grant)
    made.settle(grant, Outcome.OK, T + 1002)
    assert isinstance(ask(made, "slow", T + 2003, Priority.BACKGROUND, T + 10), Grant)


def test_waiting_makes_urgent() -> None:
    """After thirty seconds a background call stands where trading calls of that moment stand."""
    made = decision()
    ask(made, "slow", T + 900, Priority.BACKGROUND, T - 30_000)
    ask(made, "fast", T + 901)
    assert isinstance(ask(made, "fast", T + 1001, since_ms=T + 901), Wait)
    assert isinstance(ask(made, "slow", T + 1001, Priority.BACKGROUND, T - 30_000), Grant)


def test_a_dead_head_is_waited_for_a_second() -> None:
    """It was told a time and does not come: one second later the next one goes."""
    made = decision()
    ask(made, "dead", T + 10)
    ask(made, "next", T + 20)
    reply = ask(made, "next", T + 1001, since_ms=T + 20)
    assert reply == Wait(GRACE_MS + 1, 1001)
    assert isinstance(ask(made, "next", T + 1001 + GRACE_MS + 1, since_ms=T + 20), Grant)


def test_a_dead_head_is_expected_sooner_when_a_call_ends_sooner() -> None:
    """Told to sleep for a call's whole lease, it does not hold the others up for that long."""
    made = Decision({M: (Window(1, 1.0),)}, T - 10_000)
    grant = ask(made, "x", T)
    assert isinstance(grant, Grant)
    assert ask(made, "dead", T + 10) == Wait(12_991, 1001)
    made.settle(grant, Outcome.OK, T + 100)
    assert made.wakes == 1
    assert isinstance(ask(made, "next", T + 1101, since_ms=T + 20), Wait)
    assert isinstance(ask(made, "next", T + 1101 + GRACE_MS + 1, since_ms=T + 20), Grant)


def test_leaving_the_line_lets_the_next_one_know() -> None:
    """Those behind are woken, and nobody is woken where nobody waits."""
    made = decision()
    ask(made, "one", T + 10)
    ask(made, "two", T + 20)
    made.leave(M, "one")
    assert made.wakes == 1
    made.leave(M, "one")
    made.leave(M, "two")
    assert made.wakes == 1


def test_the_next_waiter_of_a_process_takes_its_place() -> None:
    """Between two questions of an urgent process nobody less urgent slips in."""
    made = Decision({M: (Window(4, 1.0),)}, T - 10_000)
    blockers = [ask(made, "x", T) for _ in range(4)]
    ask(made, "slow", T + 5, Priority.BACKGROUND)
    for blocker in blockers:
        assert isinstance(blocker, Grant)
        made.settle(blocker, Outcome.OK, T + 10)
    urgent = Place(900, Priority.TRADING)
    reply = made.admit(Ask(M, "fast", "t", urgent, queued=2, next=urgent), T + 1011)
    assert isinstance(reply, Grant)
    assert isinstance(ask(made, "slow", T + 1012, Priority.BACKGROUND, T + 5), Wait)


def test_an_open_breaker_refuses_those_in_line_too() -> None:
    """They are woken, told when to try again, and stand in line no more."""
    made = Decision({M: (Window(1, 1.0),), Budget.PRIVATE: (Window(99, 1.0),)}, T - 10_000)
    ask(made, "x", T)
    ask(made, "one", T + 1)
    for number in range(5):
        reply = made.admit(Ask(Budget.PRIVATE, "x", str(number), Place(0, Priority.TRADING)), T + 2)
        assert isinstance(reply, Grant)
        made.settle(reply, Outcome.FAILED, T + 2)
    assert made.wakes == 1
    assert ask(made, "one", T + 3, since_ms=T + 1) == Refused(4_999)
    assert made.lines[M] == {}


def test_one_probe_for_all_budgets() -> None:
    """While a probe of one budget is out, the other waits for its verdict too."""
    made = Decision({M: (Window(9, 1.0),), Budget.PRIVATE: (Window(9, 1.0),)}, T - 10_000)
    made.breaker.is_open, made.breaker.until_ms = True, T - 1
    probe = ask(made, "one", T)
    assert isinstance(probe, Grant)
    private = Ask(Budget.PRIVATE, "two", "t", Place(0, Priority.TRADING))
    assert isinstance(made.admit(private, T + 1), Refused)
    made.settle(probe, Outcome.OK, T + 2)
    assert isinstance(made.admit(private, T + 3), Grant)
