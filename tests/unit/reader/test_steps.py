"""Plans side by side: shared round trips, and each plan its own replies."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.errors import StoreUnavailable, Unavailable
from streamer.gateway.requests import Requests
from streamer.model import ProductId
from streamer.providers.base import Call
from streamer.reader.steps import Fetch, Plan, together
from streamer.reader.wire import Lookup
from streamer.store.keys import Keys

GONE = StoreUnavailable("redis://h", "gone")


def looking(*names: str) -> Plan[list[Any]]:
    """Look once for each name, two keys a time, and return what came."""
    found = []
    for name in names:
        found.append((yield Lookup([("GET", name), ("GET", name + "2")])))
    return found


def fetching(product_id: str, *, looks: int = 0, since: float = 1.0) -> Plan[Any]:
    """Look so often, then ask REST."""
    for _ in range(looks):
        yield Lookup([("PING",)])
    return (yield Fetch([Requests(Keys()).ticker(ProductId(product_id))], Call(), since))


def result(plan: Plan[Any]) -> Any:
    """End a plan that has all it needs."""
    with pytest.raises(StopIteration) as done:
        plan.send(None)
    return done.value.value


def test_lookups_share_a_round_trip() -> None:
    """As long as both have one to make; each gets its own replies, in order."""
    plan = together([looking("a", "b"), looking("c")])
    first = plan.send(None)
    assert isinstance(first, Lookup) and first.size == 4
    assert first.packed == Lookup([("GET", "a"), ("GET", "a2"), ("GET", "c"), ("GET", "c2")]).packed
    second = plan.send([1, 2, 3, 4])
    assert isinstance(second, Lookup) and second.size == 2
    with pytest.raises(StopIteration) as done:
        plan.send([5, 6])
    assert done.value.value == [[[1, 2], [5, 6]], [[3, 4]]]


def test_fetches_share_a_call_as_old_as_the_oldest_asks() -> None:
    """What will do for the first will do for all."""
    plan = together([fetching("BTC-USD", since=2.0), fetching("ETH-USD", since=1.0)])
    step = plan.send(None)
    assert isinstance(step, Fetch) and step.since == 1.0
    assert [request.what for request in step.requests] == ["ticker BTC-USD", "ticker ETH-USD"]
    with pytest.raises(StopIteration) as done:
        plan.send(["x", "y"])
    assert done.value.value == [["x"], ["y"]]


def test_a_lookup_goes_before_a_call_of_the_same_round() -> None:
    """It is the quicker one; neither waits for the other's next."""
    plan = together([fetching("BTC-USD"), looking("a")])
    assert isinstance(plan.send(None), Lookup)
    step = plan.send([1, 2])
    assert isinstance(step, Fetch)
    with pytest.raises(StopIteration) as done:
        plan.send(["x"])
    assert done.value.value == [["x"], [[1, 2]]]


def test_an_outage_reaches_every_plan_that_looked() -> None:
    """Each deals with it in its own way."""

    def tolerant() -> Plan[str]:
        try:
            yield Lookup([("PING",)])
        except StoreUnavailable as exc:
            return str(exc)
        return ""

    plan = together([tolerant(), tolerant()])
    plan.send(None)
    with pytest.raises(StopIteration) as done:
        plan.throw(GONE)
    assert done.value.value == [str(GONE)] * 2


def test_what_a_plan_raises_ends_all() -> None:
    """A plan that should not must catch it itself."""

    def failing() -> Plan[None]:
        yield Lookup([("PING",)])
        raise Unavailable("x", {})

    plan = together([failing(), looking("a")])
    plan.send(None)
    with pytest.raises(Unavailable):
        plan.send([b"PONG", 1, 2])


def test_plans_that_need_nothing_take_no_step() -> None:
    """None at all, too."""

    def ready() -> Plan[int]:
        return 5
        yield

    assert result(together([ready(), ready()])) == [5, 5]
    assert result(together([])) == []
