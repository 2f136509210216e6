"""Logging must not be able to stop prices."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import structlog

from streamer import logs


class FullDisk(io.StringIO):
    """A stderr on a disk without space."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_log_disk_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is lost, the stream goes on."""
    monkeypatch.setattr(sys, "stderr", FullDisk())
    logs.configure()
    structlog.get_logger().warning("feed.gap", missed=1)


def lines(monkeypatch: pytest.MonkeyPatch, *tell: Callable[[], object]) -> list[dict[str, Any]]:
    """What is written, piped."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.configure()
    for one in tell:
        one()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_an_event_and_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped, it is JSON: one object a line, with time, level and event in front."""
    (line,) = lines(monkeypatch, lambda: structlog.get_logger().warning("feed.gap", missed=1, of=Decimal("2.50")))
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["level"], line["event"], line["missed"], line["of"]) == ("warning", "feed.gap", 1, "2.50")
    assert line["timestamp"].endswith("Z")


def test_libraries_and_tracebacks_are_lines_of_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads JSON lines never meets another kind: one line each, whatever it tells."""

    def fail() -> None:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            structlog.get_logger().exception("it.failed")

    monkeypatch.setattr(logging.root, "handlers", [])
    said, failed = lines(monkeypatch, lambda: logging.getLogger("asyncio").warning("slow %s", "task"), fail)
    assert (said["level"], said["event"]) == ("warning", "slow task")
    assert "ValueError: two\nlines" in failed["exception"]


@pytest.mark.parametrize("value", [2**70, "\udcff", {1, 2}])
def test_nothing_that_is_logged_can_end_a_task(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    """A line comes, whatever is in it."""
    (line,) = lines(monkeypatch, lambda: structlog.get_logger().warning("odd", value=value))
    assert line["event"] == "odd"
    assert "value" in line
