"""`streamer watch`: a line a change, through every outage of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import pytest
from rich.console import Console

from streamer.cli import watch
from streamer.errors import StoreUnavailable
from streamer.model import ProductId, Reading, Ticker
from tests.unit.cli.test_get import BTC, URL, read

GONE = StoreUnavailable(URL, "gone \x1b[2J")


class Outages:
    """A reader whose Redis goes and comes back by plan.

    It fakes what a reader tells of outages; tests/integration/reader/test_watch.py holds the real one to it.
    """

    plan: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        assert kwargs["rest"] is False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def explain(self, product_id: ProductId) -> None:
        """Answer, or not."""
        if self.plan.pop(0) == "gone":
            raise GONE

    async def watch(
        self, product_ids: list[ProductId], *, on_outage: Callable[[str | None], None]
    ) -> AsyncIterator[tuple[ProductId, Reading[Ticker]]]:
        """Follow the plan: a reading, or the beginning or the end of an outage."""
        for step in self.plan:
            if step == "here":
                yield BTC, read()
            else:
                on_outage(str(GONE) if step == "gone" else None)


async def watched(monkeypatch: pytest.MonkeyPatch, *plan: str, count: int) -> int:
    """Run the command against a plan, as quickly as it goes."""
    monkeypatch.setattr(Outages, "plan", list(plan), raising=False)
    monkeypatch.setattr(watch, "AsyncReader", Outages)
    return await watch._watch([BTC], URL, as_lines=True, count=count)


async def test_an_outage_is_said_once_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said of it comes on stderr, on one line whatever words it has; so does the end of the outage."""
    plan = ["here", "here", "gone", "back", "here"]
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
    assert await watched(monkeypatch, "here", "gone", "back", "gone", "back", "here", count=1) == 0
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
