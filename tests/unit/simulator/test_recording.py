"""A capture is read strictly and passes in its own time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.simulator.recording import Recording

CAPTURE = Path("/work/shared/captures/coinbase-2021-04-17.jsonl")
needs_capture = pytest.mark.skipif(not CAPTURE.exists(), reason=f"the capture {CAPTURE} is not on this machine")


def row(at_s: float, product_id: str, price: str, stamp: str = "2021-04-17T16:43:30Z") -> dict[str, Any]:
    ticker = {"type": "ticker", "product_id": product_id, "price": price}
    events = [{"type": "update", "tickers": [ticker]}]
    frame = {"channel": "ticker", "timestamp": stamp, "sequence_num": 0, "events": events}
    return {"at_s": at_s, "frame": frame}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "capture.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_lines_pass_when_their_time_has_come(tmp_path: Path) -> None:
    """Speed divides the times; newest frames and their recorded stamps are kept verbatim."""
    lines = [row(0, "A-USD", "1"), row(2, "B-USD", "2.50"), row(4, "A-USD", "3", "2021-04-17T16:43:34.1Z")]
    recording = Recording.load(written(tmp_path, *lines), speed=2)
    assert recording.products == ["A-USD", "B-USD"]
    assert recording.latest("A-USD") is None
    assert [r.at_s for r in recording.advance(0)] == [0]
    assert recording.due_in_s(0.25) == 0.75
    assert [r.at_s for r in recording.advance(1)] == [2]
    assert recording.latest("B-USD") == {"type": "ticker", "product_id": "B-USD", "price": "2.50"}
    assert not recording.has_ended
    assert [r.timestamp for r in recording.advance(99)] == ["2021-04-17T16:43:34.1Z"]
    assert recording.timestamp("A-USD") == b"2021-04-17T16:43:34.1Z"
    assert recording.has_ended
    assert recording.due_in_s(99) is None
    assert list(recording.advance(100)) == []


def test_waiting_exactly_until_due_is_enough(tmp_path: Path) -> None:
    """After `due_in_s` seconds the line passes, at any speed: rounding never makes the replay spin."""
    path = written(tmp_path, *(row(i / 7, "A-USD", str(i + 1)) for i in range(50)))
    for speed in (0.3, 1, 3, 7.7, 1000):
        recording = Recording.load(path, speed=speed)
        elapsed_s = 0.0
        passed = 0
        while (wait_s := recording.due_in_s(elapsed_s)) is not None:
            elapsed_s = max(elapsed_s + wait_s, recording.lines[passed].at_s / speed)
            now = recording.advance(elapsed_s)
            assert now
            passed += len(now)
        assert passed == 50


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "must be JSON"),
        ("[]", "must be an object"),
        ({"frame": {}}, "at_s must be"),
        ({"at_s": True, "frame": {}}, "at_s must be"),
        ({"at_s": -1, "frame": {}}, "at_s must be"),
        ({"at_s": 0}, "must not go back"),
        ({"at_s": 9}, "frame must be an object"),
        ({"at_s": 9, "frame": {}}, "must have a channel"),
        ({"at_s": 9, "frame": {"channel": "ticker", "events": []}}, "timestamp"),
        ({"at_s": 9, "frame": {"channel": "ticker", "timestamp": "x", "events": []}}, "events"),
        ({"at_s": 9, "frame": {"channel": "ticker", "timestamp": "x", "events": [{}]}}, "list of tickers"),
        (
            {"at_s": 9, "frame": {"channel": "ticker", "timestamp": "x", "events": [{"tickers": [{}]}]}},
            "product_id",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, rule: str) -> None:
    """The error says which file, which line and what is wrong with it."""
    if line == {"at_s": 0}:
        line = {"at_s": 0, "frame": row(0, "A-USD", "1")["frame"]}
    path = written(tmp_path, row(5, "A-USD", "1"), line)
    with pytest.raises(ConfigError, match=rule) as caught:
        Recording.load(path)
    assert f"{path}:2" in str(caught.value)


def test_a_number_in_place_of_text_is_refused(tmp_path: Path) -> None:
    """A price that is a JSON number could not be passed on verbatim."""
    bad = row(0, "A-USD", "1")
    bad["frame"]["events"][0]["tickers"][0]["price"] = 1.5
    with pytest.raises(ConfigError, match="price of A-USD must be text"):
        Recording.load(written(tmp_path, bad))


def test_other_channels_are_left_out(tmp_path: Path) -> None:
    """Acks and heartbeats of a capture are not replayed: the exchange makes its own."""
    other = {"at_s": 0, "frame": {"channel": "heartbeats", "events": []}}
    assert len(Recording.load(written(tmp_path, other, row(1, "A-USD", "1"))).lines) == 1
    with pytest.raises(ConfigError, match="no ticker frame"):
        Recording.load(written(tmp_path, other))


def test_missing_file_and_bad_speed(tmp_path: Path) -> None:
    """A file that is not there and a speed that is not positive are refused."""
    with pytest.raises(ConfigError, match="cannot be read"):
        Recording.load(tmp_path / "none.jsonl")
    path = written(tmp_path, row(0, "A-USD", "1"))
    for speed in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="speed"):
            Recording.load(path, speed=speed)


@needs_capture
def test_the_real_capture_is_read_whole() -> None:
    """All lines of the shared capture pass, and the last frame of each product is the newest."""
    frames = [json.loads(line)["frame"] for line in CAPTURE.read_text().splitlines()]
    recording = Recording.load(CAPTURE)
    assert len(recording.advance(60)) == len(frames) == 107
    last = {t["product_id"]: (t, f["timestamp"]) for f in frames for e in f["events"] for t in e["tickers"]}
    assert len(last) == 10
    for product_id, (ticker, stamp) in last.items():
        assert recording.latest(product_id) == ticker
        assert recording.timestamp(product_id) == stamp.encode()
