"""The verdict, as a table: what is reported, what is concluded, what a person reads."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from streamer.health.verdict import Verdict, judge, summary

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_790_000_000_000
LISTS = ("suspect", "silent", "unconfirmed", "waiting")


def feed(feed_id: str = "market-0", **facts: Any) -> dict[str, Any]:
    """A live feed that proved it 0.2 s ago."""
    return {
        "id": feed_id,
        "state": "live",
        "alive_ms": NOW - 200,
        "connection": 1,
        "products": 2,
        "sequence": 10,
        "gaps": 0,
        "reconnects": 0,
        "why": None,
    } | facts


def status(**facts: Any) -> dict[str, Any]:
    """A healthy report, 0.4 s old."""
    products: dict[str, Any] = {"wanted": 2, "live": 2}
    for name in LISTS:
        products |= {name: [], f"{name}_count": 0}
    return {
        "written_ms": NOW - 400,
        "epoch": 1,
        "owner": "a",
        "pid": 7,
        "host": "h",
        "version": "0.1.0",
        "started_ms": NOW - 60_000,
        "source": "coinbase",
        "role": "owner",
        "feeds": [feed()],
        "products": products,
        "sink": {"dirty": 0, "lag_ms": 3, "writes": 9, "refused": 0, "failures": 0},
        "frames": {"received": 9, "malformed": 0, "rejected_values": 0, "per_s": 12.5},
    } | facts


def products(**facts: Any) -> dict[str, Any]:
    """The products part of a healthy report, changed."""
    base: dict[str, Any] = copy.deepcopy(status()["products"])
    return base | facts


def listed(kind: str, *ids: str, count: int | None = None) -> dict[str, Any]:
    """A report that lists these products under `kind`."""
    return status(products=products(**{kind: list(ids), f"{kind}_count": len(ids) if count is None else count}))


TABLE: list[tuple[str, dict[str, Any] | None, str, list[str]]] = [
    ("no report", None, "down", ["no ingester has reported; run start-stream"]),
    ("healthy", status(), "healthy", []),
    ("report exactly at the limit", status(written_ms=NOW - 5000), "healthy", []),
    (
        "old report",
        status(written_ms=NOW - 12_300),
        "down",
        ["the ingester last reported 12.3 s ago (process frozen, or cut off from Redis)"],
    ),
    (
        "report from the future",
        status(written_ms=NOW + 42_000, feeds=[feed(alive_ms=NOW + 41_900)]),
        "degraded",
        ["stamped 42.0 s in the future"],
    ),
    (
        "clock went back and the feed is dead by its own clock",
        status(written_ms=NOW + 42_000, feeds=[feed(alive_ms=NOW)]),
        "down",
        ["received nothing for 42.0 s"],
    ),
    (
        "nothing wanted, no feed",
        status(feeds=[], products=products(wanted=0, live=0)),
        "degraded",
        ["no products wanted; streamer wanted add BTC-USD"],
    ),
    (
        "nothing wanted, feed stopped",
        status(feeds=[feed(state="stopped")], products=products(wanted=0, live=0)),
        "degraded",
        ["no products wanted"],
    ),
    ("wanted but no feed", status(feeds=[]), "down", ["no feed is open"]),
    (
        "only feed silent",
        status(feeds=[feed(alive_ms=NOW - 7200)]),
        "down",
        ["feed market-0 has received nothing for 7.2 s"],
    ),
    (
        "only feed never heard",
        status(feeds=[feed(alive_ms=None)]),
        "down",
        ["feed market-0 is connected but the exchange has sent nothing yet"],
    ),
    (
        "all feeds dead, each says why",
        status(
            feeds=[
                feed("a", state="backoff", alive_ms=None, why="connection reset"),
                feed("b", state="refused", why="HTTP 403"),
            ]
        ),
        "down",
        ["feed a is waiting to reconnect: connection reset", "feed b is refused by the exchange: HTTP 403"],
    ),
    (
        "connecting, after a failure",
        status(feeds=[feed(state="connecting", alive_ms=None, why="timed out")]),
        "down",
        ["feed market-0 is connecting to the exchange, last failure: timed out"],
    ),
    (
        "user feed not authenticated",
        status(feeds=[feed(), feed("user", state="unauthenticated", why="bad key")]),
        "degraded",
        ["no true balances: the exchange refuses our tokens; check COINBASE_API_KEY"],
    ),
    (
        "one feed of two stopped",
        status(feeds=[feed(), feed("b", state="stopped")]),
        "degraded",
        ["feed b is stopped"],
    ),
    ("a gap being healed", listed("suspect", "BTC-USD"), "degraded", ["BTC-USD: frames were lost"]),
    (
        "a product the exchange does not send",
        listed("silent", "FOO-USD"),
        "degraded",
        ["FOO-USD: the exchange sends nothing for it: unknown product, or no trades yet since we subscribed"],
    ),
    ("two of them", listed("silent", "FOO-USD", "BAR-USD"), "degraded", ["sends nothing for them"]),
    (
        "many of them are counted, not listed",
        listed("silent", *(f"P{n}-USD" for n in range(20)), count=80),
        "degraded",
        ["P0-USD, P1-USD, P2-USD, P3-USD, P4-USD and 75 more: "],
    ),
    ("not acknowledged", listed("unconfirmed", "BTC-USD"), "degraded", ["BTC-USD: subscription not confirmed"]),
    (
        "sink behind",
        status(sink={"dirty": 1, "lag_ms": 6100, "writes": 0, "refused": 0, "failures": 4}),
        "degraded",
        ["writes to Redis are 6.1 s behind, 1 change waiting (4 failures so far)"],
    ),
    (
        "starting",
        listed("waiting", "BTC-USD") | {"started_ms": NOW - 3000},
        "degraded",
        ["2 of 2 products live, waiting for the first value of BTC-USD"],
    ),
    (
        "no value since a reconnect",
        listed("waiting", "BTC-USD"),
        "degraded",
        ["waiting for the first value of BTC"],
    ),
    ("stopping", status(role="stopping"), "degraded", ["the ingester is stopping"]),
    ("standby only", status(role="standby"), "degraded", ["no ingester owns the stream"]),
]


@pytest.mark.parametrize(("report", "level", "phrases"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_verdict(report: dict[str, Any] | None, level: str, phrases: list[str]) -> None:
    """Each report leads to its level, and one reason for each expected phrase."""
    verdict = judge(report, NOW)
    assert verdict.level == level
    assert len(verdict.reasons) >= len(phrases)
    for phrase in phrases:
        assert any(phrase in reason for reason in verdict.reasons), verdict.reasons
    assert (verdict.level == "healthy") == (not verdict.reasons)


def test_grave_reasons_come_first() -> None:
    """Somebody who reads only the first reason reads why the stream is down."""
    report = listed("silent", "FOO-USD") | {"feeds": [feed(state="backoff", why="reset")]}
    verdict = judge(report, NOW)
    assert verdict.level == "down"
    assert verdict.reasons[0].startswith("feed market-0")
    assert verdict.reasons[1].startswith("FOO-USD")


def test_stale_after_is_the_ingesters() -> None:
    """The limit holds for the report and for the feeds alike."""
    assert judge(status(stale_after_ms=100), NOW).level == "down"
    assert judge(status(stale_after_ms=100, written_ms=NOW), NOW).level == "down"
    old = {"written_ms": NOW - 9000, "feeds": [feed(alive_ms=NOW - 9000)]}
    assert judge(status(stale_after_ms=10_000, **old), NOW).level == "healthy"


@pytest.mark.parametrize(
    "spoil", [lambda s: s.pop("feeds"), lambda s: s.update(written_ms="soon"), lambda s: s.update(products=None)]
)
def test_a_foreign_shape_is_not_judged(spoil: Callable[[dict[str, Any]], object]) -> None:
    """A status of another shape raises; it is never called healthy."""
    report = status()
    spoil(report)
    with pytest.raises((KeyError, TypeError)):
        judge(report, NOW)


def test_summary_is_one_line() -> None:
    """The summary names the level, what is live, the source and the age."""
    report = status()
    line = summary(report, judge(report, NOW), NOW)
    assert (
        line == "healthy: 2 of 2 products live on 1 feed, 12 frames/s, coinbase, reported 0.4 s ago by pid 7 on h"
    )
    assert summary(None, judge(None, NOW), NOW) == "down: no report from any ingester"


def test_simulated_prices_are_called_so() -> None:
    """Nobody takes the simulator for the exchange."""
    report = status(source="simulator")
    assert "SIMULATED" in summary(report, Verdict("healthy"), NOW)


# -- key, REST and clocks ---------------------------------------------------------------------------------------


def portfolio(**facts: Any) -> dict[str, Any]:
    """A portfolio without fault, changed."""
    return {"why": None, "unauthorized": False, "suspect": 0} | facts


def user_feed(**facts: Any) -> dict[str, Any]:
    """The feed of the user channel."""
    return feed("user-0", channel="user", **facts)


def budget(**facts: Any) -> dict[str, Any]:
    """A budget that nobody waits for."""
    return {"blocked_s": 0.0, "queued": 0, "pressed_s": 0.0} | facts


REFUSED = user_feed(state="unauthenticated", why="the exchange refuses our tokens: authentication failure")
WRONG_KEY = portfolio(why="HTTP 401: the key is wrong, revoked or expired", unauthorized=True, suspect=5)
AWAY = "HTTP 503"

SIDES: list[tuple[str, dict[str, Any], list[list[str]]]] = [
    ("all is well", {"portfolio": portfolio()}, []),
    ("REST refuses the key", {"portfolio": WRONG_KEY}, [["refuses the API key", "HTTP 401", "prices go on"]]),
    (
        "the feed refuses it",
        {"feeds": [feed(), REFUSED], "portfolio": portfolio()},
        [["refuses our tokens", "prices go on"]],
    ),
    (
        "both do, and balances are in doubt",
        {"feeds": [feed(), REFUSED], "portfolio": WRONG_KEY},
        [["refuses the API key", "HTTP 401"]],
    ),
    (
        "the feed does, and balances are in doubt",
        {"feeds": [feed(), REFUSED], "portfolio": portfolio(suspect=5)},
        [["no true balances", "tokens"]],
    ),
    ("REST is away", {"portfolio": portfolio(why=AWAY)}, [["balances cannot be confirmed", "REST", AWAY]]),
    (
        "REST is away after a loss",
        {"portfolio": portfolio(why=AWAY, suspect=1)},
        [["1 balance suspect", "cannot be confirmed", "REST", AWAY]],
    ),
    ("only a loss", {"portfolio": portfolio(suspect=2)}, [["2 balances suspect", "REST has not told since"]]),
    (
        "REST is away with all it does",
        {"portfolio": portfolio(why=AWAY), "candles": {"why": f"BTC-USD: {AWAY}"}, "products_why": AWAY},
        [["REST", "balances cannot be confirmed", "candles", "BTC-USD", "facts of products", AWAY]],
    ),
    (
        "REST lacks two things",
        {"portfolio": portfolio(), "candles": {"why": f"BTC-USD: {AWAY}"}, "products_why": "HTTP 429"},
        [["REST", "candles", AWAY, "facts of products", "HTTP 429"]],
    ),
    ("candles alone", {"candles": {"why": f"BTC-USD: {AWAY}"}}, [["candles", "missing", f"BTC-USD: {AWAY}"]]),
    ("products alone", {"products_why": AWAY}, [["facts of products are missing", "REST", AWAY]]),
    (
        "a wrong key does not hide that REST is away",
        {"portfolio": WRONG_KEY, "products_why": AWAY},
        [["refuses the API key"], ["facts of products", AWAY]],
    ),
    ("a clock a little off", {"clock_skew_s": -5.0}, []),
    ("a clock ahead", {"clock_skew_s": 30.4}, [["30 s ahead of", "NTP"]]),
    ("a clock behind", {"clock_skew_s": -3600.0}, [["3600 s behind", "NTP"]]),
    (
        "a clock ahead and a key refused",
        {"clock_skew_s": 30.4, "portfolio": WRONG_KEY},
        [["refuses the API key", "30 s ahead of", "NTP", "COINBASE_API_KEY"]],
    ),
    (
        "the breaker is open",
        {"gateway": {"breaker": {"state": "open", "failures_in_a_row": 5, "retry_s": 12.4}}},
        [["breaker of REST is open after 5 failures", "within 12 s", "streamed prices go on"]],
    ),
    ("429s", {"gateway": {"errors_429_last_5min": 3}}, [["answered 429 3 times in the last 5 minutes"]]),
    (
        "a 429 that forbids calls",
        {"gateway": {"errors_429_last_5min": 1, "budgets": {"market": budget(blocked_s=29.6)}}},
        [["answered 429 1 time", "ask again in 30 s", "streamer calls"]],
    ),
    (
        "calls wait for a spent budget",
        {"gateway": {"budgets": {"market": budget(queued=7, pressed_s=4.0), "private": budget()}}},
        [["the market budget of REST is spent, with 7 calls waiting"]],
    ),
    ("a rush that passes", {"gateway": {"budgets": {"market": budget(queued=7, pressed_s=1.0)}}}, []),
    ("REST at rest", {"gateway": {"breaker": {"state": "closed"}, "budgets": {"market": budget()}}}, []),
    ("a product that is offline", {"offline": {"BTC-USD": "offline"}}, [["BTC-USD is offline"]]),
]


@pytest.mark.parametrize(("facts", "expected"), [row[1:] for row in SIDES], ids=[row[0] for row in SIDES])
def test_one_cause_is_one_reason(facts: dict[str, Any], expected: list[list[str]]) -> None:
    """Whatever a refused key or an absent REST has cost is said in one sentence; prices are never called down."""
    verdict = judge(status(**facts), NOW)
    assert verdict.level == ("degraded" if expected else "healthy")
    assert len(verdict.reasons) == len(expected), verdict.reasons
    for reason, words in zip(verdict.reasons, expected, strict=True):
        assert [word for word in words if word not in reason] == []


@pytest.mark.parametrize("facts", [row[1] for row in TABLE] + [status(**row[1]) for row in SIDES])
def test_every_reason_has_a_name_and_says_what_to_do(facts: dict[str, Any] | None) -> None:
    """Alerts and the journal go by the name; a person goes by what comes after the semicolon."""
    for reason in judge(facts, NOW).reasons:
        assert reason.code.replace("_", "").isalpha()
        assert reason.advice
        assert reason.endswith(f"; {reason.advice}")


def test_a_reason_keeps_its_name_while_its_figures_move() -> None:
    """What lasts is one trouble, not a new one each second."""
    first, later = (judge(status(feeds=[feed(alive_ms=NOW - ms)]), NOW).reasons[0] for ms in (6000, 9000))
    assert first != later
    assert (first.code, first.subject) == (later.code, later.subject) == ("feed_silent", "market-0")
