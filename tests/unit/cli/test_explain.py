"""`streamer explain`: what each tier has, and what would be served."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from streamer.cli import explain
from streamer.errors import StoreUnavailable
from streamer.model import Explanation, Reading, TierSays
from streamer.reader.reader import AsyncReader
from tests.unit.cli.test_get import BTC, URL, read

REALTIME, SHADOW = read(), read(reason="only the stale shadow is left: it is no longer streamed")


def told(served: Reading[Any] | None, stream: Reading[Any] | None, why_not: str | None) -> Explanation:
    """An explanation with a realtime hash or none, and a shadow."""
    tiers = (
        TierSays("the:hash", stream, why_not),
        TierSays("the:copy", None, "nothing there"),
        TierSays("the:shadow", SHADOW, SHADOW.reason),
    )
    return Explanation("ticker BTC-USD", tiers, served)


def explained(monkeypatch: pytest.MonkeyPatch, found: Explanation | Exception, *, as_json: bool = False) -> int:
    """Run the command on a reader that says just that."""

    async def answer(self: AsyncReader, product_id: str, **how: Any) -> Explanation:
        assert (product_id, how) == (BTC, {"max_age_s": None})
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self: AsyncReader) -> None:
        """There is no Redis to close."""

    monkeypatch.setattr(AsyncReader, "explain", answer)
    monkeypatch.setattr(AsyncReader, "close", close)
    given = {"product": BTC, "symbol": None, "redis_url": URL, "max_age_s": None, "json": as_json}
    given |= {"interval": None, "provider": None, "timeout_s": None, "trading": False}
    return explain.execute(argparse.Namespace(**given))


def test_each_tier_has_a_row_and_the_last_line_says_what_is_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is, its tier, price and ages, and why it is or is not served."""
    assert explained(monkeypatch, told(REALTIME, REALTIME, None)) == 0
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["where", "tier", "price", "age", "value", "age", "source", "served"]
    assert rows[0].split() == ["the:hash", "realtime", "84210.37", "0.1", "s", "0.2", "s", "coinbase", "yes"]
    assert rows[1].split() == ["the:copy", "-", "no:", "nothing", "there"]
    assert rows[2].endswith(f"no: {SHADOW.reason}")
    assert last == "ticker BTC-USD: 84210.37 is served, realtime, 0.1 s old"


def test_where_nothing_will_do_rest_would_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is an answer too; the status is 0."""
    assert explained(monkeypatch, told(None, None, "nothing there")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ticker BTC-USD: REST would be asked"


def test_json_has_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One object; what is not there is null."""
    assert explained(monkeypatch, told(None, None, "nothing there"), as_json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["served"] is None
    assert answer["tiers"][0] == {
        "where": "the:hash",
        "reading": None,
        "served": False,
        "why_not": "nothing there",
    }
    assert explained(monkeypatch, told(REALTIME, REALTIME, None), as_json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["served"]["tier"] == answer["tiers"][0]["reading"]["tier"] == "realtime"
    assert [tier["served"] for tier in answer["tiers"]] == [True, False, False]


def test_without_redis_it_cannot_tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and status 3, as with get."""
    assert explained(monkeypatch, StoreUnavailable(URL, "gone")) == 3
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == f"error: Redis at {URL} is unavailable: gone\n"


def test_words_from_redis_are_printed_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Markup in a source or reason is no markup, and no escape reaches the terminal."""
    odd = read("[bold]x[/no]", "feed [red] \x1b[2J")
    assert explained(monkeypatch, told(odd, odd, None)) == 0
    out = capsys.readouterr().out
    assert "[bold]x[/no]" in out and "feed [red] ?[2J" in out and "\x1b" not in out
