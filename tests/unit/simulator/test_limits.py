"""Limits let through what they say, and the books hold every request."""

from __future__ import annotations

import random

from streamer.simulator.limits import Limit, RestBooks


def test_no_second_has_more_than_the_limit() -> None:
    """Whatever the times, at most so many pass in any window of one second, and never fewer than could."""
    chance, limit, passed, now_s = random.Random(1), Limit(5), list[float](), 0.0
    for _ in range(2000):
        now_s += chance.expovariate(8)
        recent = [at_s for at_s in passed if at_s > now_s - 1]
        verdict = limit.ask("key", now_s)
        assert verdict.is_allowed == (len(recent) < 5)
        if verdict.is_allowed:
            passed.append(now_s)
            assert verdict.remaining == 4 - len(recent)
        else:
            assert verdict.remaining == 0


def test_everybody_has_a_limit_of_their_own() -> None:
    """One key's requests cost another nothing."""
    limit = Limit(1)
    assert limit.ask("a", 0).is_allowed
    assert not limit.ask("a", 0.5).is_allowed
    assert limit.ask("b", 0.5).is_allowed
    assert limit.ask("a", 1).is_allowed


def test_the_books_count_by_route_and_status() -> None:
    """A request counts when it comes, its status when it is answered; the last minute forgets."""
    books = RestBooks()
    first = books.arrived("GET /accounts", 0.1234567, "then", "10.0.0.1")
    assert books.described(0)["statuses"] == {"0": 1}
    books.answered(first, 200)
    books.answered(books.arrived("GET /accounts", 1, "later", "10.0.0.2"), 429)
    books.exceeded(books.arrived("GET /time", 59, "now", "10.0.0.1"))
    described = books.described(60.5)
    assert described["total"] == 3
    assert described["routes"] == {"GET /accounts": 2, "GET /time": 1}
    assert described["statuses"] == {"200": 1, "429": 1, "0": 1}
    assert described["routes_by_status"]["GET /accounts"] == {"200": 1, "429": 1}
    assert described["last_minute"] == {"total": 2, "routes": {"GET /accounts": 1, "GET /time": 1}}
    assert (described["limit_exceeded"], described["exceeded"]) == (True, 1)
    assert described["remotes"] == {"10.0.0.1": 2, "10.0.0.2": 1}
    assert described["recent"][0] == {
        "at_s": 0.123457,
        "time": "then",
        "route": "GET /accounts",
        "remote": "10.0.0.1",
        "key": "",
        "status": 200,
    }


def test_the_books_list_the_newest_and_count_all() -> None:
    """As many as asked for; enough of them by default to hold a benchmark."""
    few, many = RestBooks(history=3), RestBooks()
    for i in range(2500):
        few.arrived("GET /time", i, f"{i}")
        many.arrived("GET /time", i, f"{i}")
    assert [request["at_s"] for request in few.described(2500)["recent"]] == [2497, 2498, 2499]
    assert len(many.described(2500)["recent"]) >= 2000
    assert few.described(2500)["total"] == few.described(2500)["remotes"][""] == 2500
