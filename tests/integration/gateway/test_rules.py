"""The scripts in Redis and their reference in Python take the same decisions; foreign data wedges neither."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.gateway import breaker, decision, limits
from streamer.gateway.decision import Ask, Decision, Grant, Place, Refused, Reply, Wait
from streamer.gateway.limits import HANDICAP_MS, Outcome, Window
from streamer.model import Priority
from streamer.providers.base import Budget
from tests.support import RedisServer

LUA = files("streamer.store").joinpath("lua")
START_MS = 1_700_000_000_000
CLOCK = "local clock = redis.call('TIME')"
KEYS = {budget: ["state", f"log:{budget}", f"line:{budget}", "spent", "before", "processes"] for budget in Budget}


def script(name: str) -> str:
    """Return a script whose clock is an argument more: the one line that reads the clock is replaced."""
    rules = LUA.joinpath("gateway_rules.lua").read_text()
    assert rules.count(CLOCK) == 1
    clock = "local millis = tonumber(table.remove(ARGV)); local clock = {math.floor(millis/1000), millis%1000*1000}"
    return rules.replace(CLOCK, clock) + LUA.joinpath(f"gateway_{name}.lua").read_text()


SCRIPTS = {name: script(name) for name in ("admit", "settle", "leave", "snapshot")}


def run(redis: RedisServer, name: str, budget: Budget, now_ms: int, *words: Any) -> Any:
    """Run a script at a time of our choosing."""
    keys = KEYS[budget]
    return redis.ask("EVAL", SCRIPTS[name], len(keys), *keys, msgspec.msgpack.encode(words), now_ms)


def limits_of(windows: tuple[Window, ...]) -> list[int]:
    """Return windows as the scripts take them."""
    return [number for window in windows for number in (window.limit, window.length_ms)]


def admit(redis: RedisServer, ask: Ask, windows: tuple[Window, ...], now_ms: int) -> tuple[Reply, int]:
    """Ask the script; return its reply and how often it woke others."""
    after = [False, False] if ask.next is None else [ask.next.waited_ms, HANDICAP_MS[ask.next.priority]]
    words = [ask.budget, ask.name, ask.token, ask.place.waited_ms, HANDICAP_MS[ask.place.priority], ask.queued]
    words += [*after, ask.reborn, True, "wake", *limits_of(windows)]
    kind, first, second, _, *wakes = run(redis, "admit", ask.budget, now_ms, *words)
    if kind == 1:
        return Grant(ask.budget, ask.token, first, second, ask.label), wakes[0]
    return (Wait(first, second) if kind == 2 else Refused(first)), 0


def settle(
    redis: RedisServer, grant: Grant, outcome: Outcome, windows: tuple[Window, ...], now_ms: int, retry: int | None
) -> int:
    """Settle by the script."""
    words: list[Any] = [grant.budget, grant.token, outcome, grant.generation, grant.granted_ms]
    words += [False if retry is None else retry, grant.label, "wake"]
    wakes: int = run(redis, "settle", grant.budget, now_ms, *words, *limits_of(windows))
    return wakes


@dataclass
class Both:
    """The two, side by side."""

    redis: RedisServer
    windows: dict[Budget, tuple[Window, ...]]
    now_ms: int = START_MS
    grants: list[Grant] = field(default_factory=list)
    asked: int = 0
    told_ms: int = 0

    def __post_init__(self) -> None:
        self.redis.ask("FLUSHALL")
        self.model = Decision(self.windows, self.now_ms)
        for budget in self.windows:
            run(self.redis, "snapshot", budget, self.now_ms, budget, *limits_of(self.windows[budget]))

    def admit(
        self, budget: Budget, name: str, place: Place, queued: int, following: Place | None, reborn: bool
    ) -> None:
        """Ask both."""
        self.asked += 1
        ask = Ask(budget, name, f"t{self.asked}", place, queued, following, reborn, f"{name}|x")
        wakes = self.model.wakes
        expected = self.model.admit(ask, self.now_ms)
        found, woke = admit(self.redis, ask, self.windows[budget], self.now_ms)
        assert (found, woke) == (expected, self.model.wakes - wakes)
        if isinstance(found, Grant):
            self.grants.append(found)
        else:
            self.told_ms = self.now_ms + (found.sleep_ms if isinstance(found, Wait) else found.retry_ms)

    def settle(self, which: int, outcome: Outcome, retry: int | None) -> None:
        """Settle a call with both."""
        if not self.grants:
            return
        grant = self.grants.pop(which % len(self.grants))
        wakes = self.model.wakes
        self.model.settle(grant, outcome, self.now_ms, retry)
        woke = settle(self.redis, grant, outcome, self.windows[grant.budget], self.now_ms, retry)
        assert woke == self.model.wakes - wakes

    def leave(self, budget: Budget, name: str) -> None:
        """Leave both lines."""
        wakes = self.model.wakes
        self.model.leave(budget, name)
        assert run(self.redis, "leave", budget, self.now_ms, budget, name, "wake") == self.model.wakes - wakes

    def step(self, millis: int) -> None:
        """Time passes."""
        self.now_ms += millis

    def told(self, late_ms: int) -> None:
        """Time passes up to what the last reply has told: at limits things go wrong."""
        self.now_ms = max(self.now_ms, self.told_ms + late_ms)

    def storm(self, budget: Budget, outcome: Outcome, count: int) -> None:
        """Calls that all end the same way."""
        for _ in range(count):
            before = len(self.grants)
            self.admit(budget, "one", Place(0, Priority.TRADING), 0, None, False)
            if len(self.grants) > before:
                self.settle(before, outcome, None)

    def compare(self) -> None:
        """What is remembered must be the same."""
        now, state = self.now_ms, self.redis.hash("state")
        breaker = self.model.breaker
        found = {name: int(state.get(name, 0)) for name in ("generation", "failures", "streak", "closed", "until")}
        assert (state.get("breaker", "closed") == "open") == breaker.is_open
        assert [*found.values()] == [
            breaker.generation, breaker.failures, breaker.streak, breaker.closed_ms, breaker.until_ms
        ]  # fmt: skip
        buckets = {at: f"{at}:{calls}:{failed}" for at, (calls, failed) in breaker.buckets.items()}
        assert sorted(filter(None, state.get("buckets", "").split(","))) == sorted(buckets.values())
        for budget, windows in self.windows.items():
            line = {
                name: f"{standing.rank}:{standing.until_ms}:{standing.queued}"
                for name, standing in self.model.lines[budget].items()
            }
            assert self.redis.hash(f"line:{budget}") == line
            reply = run(self.redis, "snapshot", budget, now, budget, *limits_of(windows))
            spent = self.model.spent[budget]
            penalty = spent.penalty
            assert reply[0] == penalty.factor_at(now)
            assert reply[1] == max(0, penalty.blocked_until(now) - now)
            assert reply[5] == max(0, breaker.refused_until(now) - now)
            assert list(zip(reply[7][::2], reply[7][1::2], strict=True)) == spent.used(now)
            names = ("blocked", "since", "halved", "strikes")
            assert [int(state.get(f"{budget}:{name}", 0)) for name in names] == [
                penalty.blocked_ms, penalty.since_ms, penalty.halved_ms, penalty.strikes
            ]  # fmt: skip
            self.model._strike_off(self.model.lines[budget], now)  # as the snapshot does


names = st.sampled_from(["one", "two", "three"])
places = st.builds(Place, st.sampled_from([0, 0, 3, 5_000, 7_000, 40_000]), st.sampled_from(Priority))
budgets = st.sampled_from([Budget.MARKET] * 3 + [Budget.PRIVATE])
admits = st.tuples(
    st.just("admit"),
    budgets,
    names,
    places,
    st.integers(0, 3),
    st.none() | places,
    st.sampled_from([False] * 30 + [True]),
)
retries = st.none() | st.sampled_from([0, 1, 2_500, 70_000, 10_000_000])
settles = st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(Outcome), retries)
steps = st.tuples(
    st.just("step"), st.sampled_from([0, 1, 7, 400, 999, 1000, 1001, 5_000, 12_000, 30_000, 61_000, 130_000])
)
tolds = st.tuples(st.just("told"), st.integers(-1, 1))
leaves = st.tuples(st.just("leave"), budgets, names)
storms = st.tuples(
    st.just("storm"), budgets, st.sampled_from([Outcome.FAILED, Outcome.OK, Outcome.LIMITED]), st.integers(1, 6)
)
kinds = [admits, admits, admits, admits, settles, settles, tolds, tolds, tolds, steps, leaves, storms]
windows_of = st.sampled_from(
    [
        {Budget.MARKET: (Window(10, 60.0), Window(10, 1.0)), Budget.PRIVATE: (Window(30, 1.0),)},
        {Budget.MARKET: (Window(2, 10.0), Window(1, 0.3)), Budget.PRIVATE: (Window(1, 7.0), Window(3, 20.0))},
        {Budget.MARKET: (Window(2, 0.5),), Budget.PRIVATE: (Window(400, 1.0),)},
    ]
)


@settings(max_examples=60)
@given(windows=windows_of, schedule=st.integers(20, 80).flatmap(lambda n: st.lists(st.one_of(kinds), min_size=n)))
def test_lua_and_python_take_the_same_decisions(
    redis_server: RedisServer, windows: dict[Budget, tuple[Window, ...]], schedule: list[tuple[Any, ...]]
) -> None:
    """Whatever is asked, settled, left and waited for: every reply, every wake-up and what is remembered agree."""
    both = Both(redis_server, windows)
    for kind, *words in schedule:
        getattr(both, kind)(*words)
        both.compare()


def test_they_agree_to_the_millisecond(redis: RedisServer) -> None:
    """At the very end of an open time, of the time that forgives, of a block and of a window."""
    windows: dict[Budget, tuple[Window, ...]] = {
        Budget.MARKET: (Window(2, 0.5),),
        Budget.PRIVATE: (Window(400, 1.0),),
    }
    both = Both(redis, windows)
    both.step(5_000)

    def ask(name: str, waited_ms: int = 0) -> bool:
        before = len(both.grants)
        both.admit(Budget.MARKET, name, Place(waited_ms, Priority.TRADING), 1, None, False)
        both.compare()
        return len(both.grants) > before

    both.storm(Budget.PRIVATE, Outcome.FAILED, 5)
    assert not ask("one")
    both.told(-1)
    assert not ask("one")
    both.told(0)
    assert ask("one")
    assert not ask("two")  # the probe is out
    both.settle(0, Outcome.OK, None)
    both.step(60_000)
    both.storm(Budget.PRIVATE, Outcome.FAILED, 5)
    both.compare()
    assert both.model.breaker.streak == 1

    both.step(5_000)
    assert ask("one")
    both.settle(0, Outcome.OK, None)
    both.step(501)
    assert ask("one")
    assert ask("two")
    both.settle(0, Outcome.LIMITED, 500)
    both.settle(0, Outcome.LIMITED, 500)
    both.compare()
    assert both.model.spent[Budget.MARKET].penalty.factor == 500

    both.step(1_000_000)
    assert ask("one")
    assert ask("two")
    both.settle(0, Outcome.OK, None)
    both.settle(0, Outcome.OK, None)
    assert not ask("one")
    assert not ask("two")
    wakes = both.model.wakes
    both.told(0)
    assert ask("one", 1_000)
    assert both.model.wakes == wakes + 1
    assert ask("two")


def test_the_numbers_of_the_rules_are_the_same() -> None:
    """Each constant that Lua names has the value it has in Python."""
    text = LUA.joinpath("gateway_rules.lua").read_text()
    compared = 0
    for line in re.findall(r"^local ([A-Z_0-9, ]+) = ([\d, ]+)$", text, re.MULTILINE):
        for name, value in zip(line[0].split(", "), line[1].split(", "), strict=True):
            for module in (limits, breaker, decision):
                if hasattr(module, name):
                    assert getattr(module, name) == int(value), name
                    compared += 1
    assert compared >= 18


WINDOWS = (Window(4, 10.0),)
JUNK = {
    "string": ("SET", "junk"),
    "list": ("RPUSH", "junk"),
    "set": ("SADD", "junk"),
    "zset": ("ZADD", "inf", "junk"),
    "future": ("ZADD", "99999999999999", "junk"),
    "hash": ("HSET", "breaker", "open"),
}


@pytest.mark.parametrize("kind", JUNK)
@pytest.mark.parametrize("key", KEYS[Budget.MARKET])
def test_foreign_data_is_replaced(redis: RedisServer, key: str, kind: str) -> None:
    """Whatever lies in one of our keys, the scripts answer, and soon a call goes through."""
    command, *words = JUNK[kind]
    redis.ask(command, key, *words)
    now_ms = START_MS
    for number in range(30):
        ask = Ask(Budget.MARKET, "one", f"t{number}", Place(0, Priority.TRADING), 1, label="one|x")
        reply, _ = admit(redis, ask, WINDOWS, now_ms)
        if isinstance(reply, Grant):
            break
        now_ms += reply.sleep_ms if isinstance(reply, Wait) else reply.retry_ms
    assert isinstance(reply, Grant)
    assert now_ms - START_MS <= 23_000
    settle(redis, reply, Outcome.LIMITED, WINDOWS, now_ms, None)
    run(redis, "leave", Budget.MARKET, now_ms, Budget.MARKET, "one", "wake")
    run(redis, "snapshot", Budget.MARKET, now_ms, Budget.MARKET, *limits_of(WINDOWS))


STATE_JUNK = ["generation", "until", "probe", "failures", "buckets", "streak", "closed"]
STATE_JUNK += [f"market:{name}" for name in ("blocked", "factor", "since", "halved", "strikes")]


@pytest.mark.parametrize("value", ["", "nan", "inf", "-1", "1e400", "9" * 40, "999999999999999", "0", "x:y:z"])
@pytest.mark.parametrize("is_open", [False, True])
def test_a_state_of_nonsense_is_lived_with(redis: RedisServer, value: str, is_open: bool) -> None:
    """Fields that no script has written neither raise nor keep calls away for longer than the rules allow."""
    now_ms = START_MS
    redis.ask("HSET", "line:market", "ghost", value)
    redis.ask("HSET", "state", *(word for name in STATE_JUNK for word in (name, value)))
    redis.ask("HSET", "state", "breaker", "open" if is_open else "closed")
    for outcome in Outcome:
        waited_ms = 0
        while True:
            ask = Ask(Budget.MARKET, "one", f"t{now_ms}", Place(0, Priority.TRADING), 1)
            reply, _ = admit(redis, ask, WINDOWS, now_ms)
            if isinstance(reply, Grant):
                break
            step_ms = max(1, reply.sleep_ms if isinstance(reply, Wait) else reply.retry_ms)
            now_ms, waited_ms = now_ms + step_ms, waited_ms + step_ms
            assert waited_ms < 900_000
        settle(redis, reply, outcome, WINDOWS, now_ms, None)


def test_a_clock_set_back_does_not_wedge(redis: RedisServer) -> None:
    """An hour earlier, with a full log, a penalty and an open breaker, calls go on within lease and window."""
    now_ms = START_MS
    granted = []
    for number in range(2):
        ask = Ask(Budget.MARKET, "one", f"a{number}", Place(0, Priority.TRADING))
        granted.append(admit(redis, ask, WINDOWS, now_ms)[0])
    assert isinstance(granted[1], Grant)
    settle(redis, granted[1], Outcome.LIMITED, WINDOWS, now_ms, 600_000)
    now_ms -= 3_600_000
    began_ms = now_ms
    while True:
        reply, _ = admit(redis, Ask(Budget.MARKET, "one", "b", Place(0, Priority.TRADING)), WINDOWS, now_ms)
        if isinstance(reply, Grant):
            break
        assert isinstance(reply, Wait)
        now_ms += max(1, reply.sleep_ms)
    assert now_ms - began_ms <= 22_001 + 1
