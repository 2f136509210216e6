"""Logging must not be able to stop prices."""

from __future__ import annotations

import io
import sys

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


def test_a_line_is_an_event_and_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped, it is logfmt: one event a line, key=value."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.configure()
    structlog.get_logger().warning("feed.gap", missed=1)
    assert out.getvalue().rstrip().endswith("level=warning event=feed.gap missed=1")
