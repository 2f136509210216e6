"""`streamer record`: what goes onto the tape, and what ends the command."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from streamer import settings
from streamer.cli import record
from streamer.coinbase.feed import Feed
from streamer.errors import StreamerError
from streamer.model import ProductId

FRAME = b'{"channel":"ticker","events":[]}'


class Disk(io.RawIOBase):
    """A file that takes so many bytes, at most ten at once, and fails as told from then on."""

    def __init__(self, room: int, failure: OSError | None = None) -> None:
        self.held, self._room, self._failure = b"", room, failure

    def write(self, data: Any) -> int:
        """Take some."""
        if len(self.held) >= self._room:
            raise self._failure or OSError(28, "No space left on device")
        self.held += bytes(data[:10])
        return len(data[:10])


def test_frames_are_written_whole_and_others_are_not() -> None:
    """One JSON line a ticker frame, however little the file takes at once."""
    disk = Disk(10_000)
    tape = record._Tape("x", disk)
    for payload in (FRAME, b'{"channel":"heartbeats"}', b'"ticker" garbage', b'["ticker"]', FRAME):
        tape.take(payload)
    tape.check()
    assert [json.loads(line)["frame"] for line in disk.held.splitlines()] == [json.loads(FRAME)] * 2
    assert tape.frames == 2


def test_a_full_disk_is_told_and_raises_nothing_at_the_transport() -> None:
    """The first failure is reported at once, nothing more is tried, and the error says what was saved."""
    told: list[None] = []
    tape = record._Tape("prices.jsonl", Disk(60))
    tape.on_failure = lambda: told.append(None)
    for _ in range(5):
        tape.take(FRAME)
    assert len(told) == 1
    with pytest.raises(StreamerError) as caught:
        tape.check()
    assert str(caught.value) == "prices.jsonl cannot be written: No space left on device; it holds 1 frames"


def test_a_reader_that_has_left_is_no_failure_of_the_disk() -> None:
    """`streamer record - | head` ends as any other command does there."""
    tape = record._Tape("-", Disk(0, BrokenPipeError()))
    tape.take(FRAME)
    with pytest.raises(BrokenPipeError):
        tape.check()


async def test_a_crash_of_the_feed_ends_the_command_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is not taken for the end of the recording."""

    async def crash(self: Feed) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Feed, "run", crash)
    config = settings.load(ws_url="ws://127.0.0.1:1")
    with pytest.raises(ExceptionGroup) as caught:
        await record._record(config, [ProductId("BTC-USD")], record._Tape("x", Disk(10)), None)
    assert caught.group_contains(RuntimeError, match="a bug")
