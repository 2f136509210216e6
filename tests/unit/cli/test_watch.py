"""`streamer watch`: a line a change, through every outage of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.console import Console

from streamer.cli import watch
from streamer.errors import StoreUnavailable
from streamer.model import ProductId, Reading, Ticker
from tests.unit.cli.test_get import BTC, URL, read

GONE = StoreUnavailable(URL, "gone \x1b[2J")


class Outages:
    """A reader whose Redis goes and comes back by plan.

    It fakes a Redis that is there or not as a whole; in life a command may fail between two that do not.
    """

    plan: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def step(self) -> None:
        """Follow the plan by one."""
        if self.plan.pop(0) == "gone":
            raise GONE

    async def tickers(self, product_ids: list[ProductId]) -> dict[ProductId, None]:
        """Answer, or not."""
        self.step()
        return {}

    async def watch(self, product_ids: list[ProductId]) -> AsyncIterator[tuple[ProductId, Reading[Ticker]]]:
        """Yield one reading, then go away."""
        self.step()
        yield BTC, read()
        raise GONE


async def watched(monkeypatch: pytest.MonkeyPatch, *plan: str, count: int) -> int:
    """Run the command against a plan, as quickly as it goes."""
    monkeypatch.setattr(Outages, "plan", list(plan), raising=False)
    monkeypatch.setattr(watch, "AsyncReader", Outages)
    monkeypatch.setattr(watch, "_RETRY_S", 0.001)
    return await watch._watch([BTC], URL, as_lines=True, count=count)


async def test_an_outage_is_said_once_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is asked in between; so is the end of the outage."""
    plan = ["here", "here", "gone", "gone", "gone", "here", "here"]
    assert await watched(monkeypatch, *plan, count=2) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert printed.err.splitlines() == [
        f"Redis at {URL} is unavailable: gone ?[2J; waiting for it",
        "Redis is back",
    ]


async def test_an_outage_right_after_the_first_answer_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the first look and the subscription too."""
    assert await watched(monkeypatch, "here", "gone", "here", "gone", "here", "here", count=1) == 0
    assert capsys.readouterr().err.count("is back") == 2


async def test_a_redis_that_was_never_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a mistyped address would help nobody."""
    with pytest.raises(StoreUnavailable):
        await watched(monkeypatch, "gone", count=1)


def test_words_from_redis_are_printed_as_they_stand() -> None:
    """Markup in a source or reason is no markup, and no escape reaches the terminal."""
    console = Console(width=200, highlight=False)
    with console.capture() as printed:
        console.print(watch._line(BTC, read("[bold]x[/nonsense]", "feed [red] \x1b[2J")))
    assert printed.get().endswith("84210.37 [bold]x[/nonsense] stale: feed [red] ?[2J\n")
